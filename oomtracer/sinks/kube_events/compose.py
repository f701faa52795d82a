"""The Event of an incident or of a mark, and the series that it belongs to."""

from __future__ import annotations

from dataclasses import replace

from oomtracer.config import Marking
from oomtracer.events import OomReport
from oomtracer.kube.event import Event, Regarding, event_name
from oomtracer.policy import Decision
from oomtracer.sinks.kube_events.gather import Incident
from oomtracer.sinks.kube_events.note import mark_note, node_note, pod_note
from oomtracer.sinks.kube_events.series import Key
from oomtracer.sinks.kube_events.subject import field_path

POD_REASON = "ProcessOOMKilled"
NODE_REASON = "NodeOOMKilled"
MARK_REASON = "MarkedForEviction"


def incident_key(incident: Incident, decision: Decision | None) -> Key:
    """Kills of one container (or on the node) of which the same is said are one series.

    Kills that the container survived and those that ended it are two, and so are those that marked the pod.
    """
    uid, cause = incident.subject.uid, _cause(incident.head)
    if not _is_pod(incident.subject):
        return Key(uid, NODE_REASON, container=None, cause=cause, init_died=None, is_chosen=None)
    return Key(
        uid,
        POD_REASON,
        container=incident.container,
        cause=cause,
        init_died=incident.init_died,
        is_chosen=decision.mark if decision else None,
    )


def _cause(report: OomReport) -> str:
    if report.sysrq:
        return "sysrq"
    return report.limit.owner.value if report.limit else report.scope.value


def incident_event(incident: Incident, decision: Decision | None, marking: Marking) -> Event:
    """What one run of the OOM killer did to a pod, or to the node."""
    report, subject, reason = incident.head, incident.subject, NODE_REASON
    if _is_pod(subject):
        reason = POD_REASON
        subject = replace(subject, field_path=field_path(incident.container, incident.pod))
        note = pod_note(incident, decision, marking)
    else:
        note = node_note(incident)
    return Event(
        name=event_name(subject.name, report.incident, subject.uid, reason),
        regarding=subject,
        time=report.time,
        reason=reason,
        action="OOMKill",
        note=note,
        node=report.node,
    )


def mark_key(subject: Regarding) -> Key:
    """The series of a pod's marks; there is rarely more than one."""
    return Key(subject.uid, MARK_REASON, container=None, cause=None, init_died=None, is_chosen=None)


def mark_event(report: OomReport, subject: Regarding, marking: Marking, *, time: str) -> Event:
    """That the pod was marked for this kill: no warning, it is what was asked for."""
    return Event(
        name=event_name(subject.name, report.incident, subject.uid, MARK_REASON),
        regarding=subject,
        time=time,
        reason=MARK_REASON,
        action="Mark",
        note=mark_note(report, marking),
        node=report.node,
        is_warning=False,
    )


def _is_pod(subject: Regarding) -> bool:
    return subject.kind == "Pod"
