"""The text of Events, for a developer who reads ``kubectl describe pod`` and knows nothing of this program.

A pod's Event names no process and no pod of another namespace, a node's no pod at all, and command lines are in
none: they hold secrets. What matters most comes first, as a long note is cut.
"""

from __future__ import annotations

from oomtracer.config import Marking
from oomtracer.events import OomReport, Outcome, Trigger, Victim, Workload, WorkloadKind
from oomtracer.kube.event import cut_note
from oomtracer.policy import Decision
from oomtracer.printable import printable, size
from oomtracer.sinks.kube_events.gather import Incident
from oomtracer.sinks.kube_events.words import cause, decided, marks


def pod_note(incident: Incident, decision: Decision | None, marking: Marking) -> str:
    """What happened to the pod, and what was decided about it."""
    report = incident.head
    killed = f"{_process(report)}{_others(incident)} {_verb(incident)} by the kernel's OOM killer"
    return _note(
        f"{killed}: {cause(report)}.",
        _memory(incident),
        _main_process(incident),
        decided(decision, marking),
        _trigger(report),
    )


def node_note(incident: Incident) -> str:
    """What happened to the node; whose pods it hit, their own Events tell."""
    report = incident.head
    sysrq = "An administrator asked for an OOM kill (sysrq)"
    why = sysrq if report.sysrq else "The node ran out of memory"
    where = _place(report.workload)
    killed = f"{_quoted(report.victim.comm)} (pid {report.victim.pid}{where}){_others(incident)}"
    return _note(f"{why}: {killed} {_verb(incident)} by the kernel's OOM killer.", _memory(incident))


def mark_note(report: OomReport, marking: Marking) -> str:
    """What was done to the pod after which kill."""
    victim = report.victim
    after = f"after the OOM kill of {_quoted(victim.comm)} (pid {victim.pid} on the node)"
    helps = "A descheduler that looks for this mark moves the pod to another node."
    return _note(f"Marked for eviction with {marks(marking)} {after}.", helps)


def _note(*sentences: str) -> str:
    return cut_note(" ".join([sentence for sentence in sentences if sentence]))


def _quoted(comm: str) -> str:
    return f'process "{printable(comm)}"'


def _process(report: OomReport) -> str:
    return f'Process "{printable(report.victim.comm)}" ({_pids(report.victim, report.workload.container)})'


def _pids(victim: Victim, container: str | None) -> str:
    where = f'container "{printable(container)}"' if container else ""
    on_node = f"pid {victim.pid} on the node"
    if victim.container_pid in (None, victim.pid):
        return f"{on_node}, {where}" if where else on_node
    return f"pid {victim.container_pid} in {where or 'its container'}, {on_node}"


def _others(incident: Incident) -> str:
    others = incident.processes - 1
    return f" and {others} more process{'es' if others > 1 else ''}" if others else ""


def _verb(incident: Incident) -> str:
    done = "marked for killing" if incident.head.outcome is Outcome.UNKNOWN else "killed"
    return f"were {done}" if incident.processes > 1 else f"was {done}"


def _main_process(incident: Incident) -> str:
    """Whether the container goes on: if it does, Kubernetes shows nothing of the kill."""
    if incident.init_died is None:
        return ""
    if not incident.init_died:
        return (
            "The container's main process (PID 1) survived: "
            "the pod's status and restart count do not show this kill."
        )
    which = "It was" if incident.processes == 1 else "One of them was"
    return f"{which} the container's main process (PID 1): the container ends."


def _memory(incident: Incident) -> str:
    victim = incident.head.victim
    kinds = (
        f"anon {size(victim.anon_rss_bytes)}, file {size(victim.file_rss_bytes)}, "
        f"shmem {size(victim.shmem_rss_bytes)}"
    )
    if incident.processes == 1:
        return f"It held {kinds}."
    return f"It held {kinds}; all {incident.processes} held {size(incident.resident_bytes)}."


def _trigger(report: OomReport) -> str:
    """Who asked for the memory that was not there, where it was not the victim itself."""
    trigger, workload = report.trigger, report.trigger_workload
    if trigger is None or workload is None or trigger.pid == report.victim.pid:
        return ""
    return f"The memory was asked for by {_asker(trigger, workload, report.workload)}."


def _asker(trigger: Trigger, workload: Workload, victims: Workload) -> str:
    if _is_same_pod(workload, victims):
        return f"{_quoted(trigger.comm)} (pid {trigger.pid} on the node) of {_part(workload, victims)}"
    if workload.kind is not WorkloadKind.POD or workload.namespace is None:
        return "a process outside this pod"
    if workload.namespace != victims.namespace or workload.pod is None:
        return "a process outside this namespace"
    return f'{_quoted(trigger.comm)} (pid {trigger.pid} on the node) of pod "{printable(workload.pod)}"'


def _is_same_pod(workload: Workload, victims: Workload) -> bool:
    if workload.kind is not WorkloadKind.POD:
        return False
    if workload.pod_uid is not None or victims.pod_uid is not None:
        return workload.pod_uid == victims.pod_uid
    return workload.container_id is not None and workload.container_id == victims.container_id


def _part(workload: Workload, victims: Workload) -> str:
    if workload.container_id is not None and workload.container_id == victims.container_id:
        return "the same container"
    return f'container "{printable(workload.container)}"' if workload.container else "the same pod"


def _place(workload: Workload) -> str:
    match workload.kind:
        case WorkloadKind.POD:
            return ", in a pod"
        case WorkloadKind.CONTAINER:
            return ", in a container"
        case WorkloadKind.UNIT if workload.unit:
            return f", in unit {printable(workload.unit)}"
    return ""
