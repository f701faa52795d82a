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


def incident_key(incident: Incident) -> Key:
    """Kills of one container (or on the node) that hit the limit of the same kind of thing are one series."""
    limit = incident.head.limit
    reason = POD_REASON if _is_pod(incident.subject) else NODE_REASON
    container = incident.container if _is_pod(incident.subject) else None
    return Key(incident.subject.uid, reason, container, limit.owner if limit else None)


def incident_event(incident: Incident, decision: Decision | None, marking: Marking) -> Event:
    """What one run of the OOM killer did to a pod, or to the node."""
    report, subject, reason = incident.head, incident.subject, incident_key(incident).reason
    if _is_pod(subject):
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
    return Key(subject.uid, MARK_REASON, None, None)


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
