"""The real agent on a node of a fake cluster, and what came of its work there."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.kubelet import NODE
from tests.kernel.agent import DEADLINE_SECONDS, Agent, get
from tests.kernel.test_storm import serving_port
from tests.kube.apiserver import ThreadedApiServer, as_core, event_policy, make_pod, pod_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.kubelet import RunningPod
    from tests.kube.apiserver import Request

ANNOTATION = "oom-tracer.alpha.kubernetes.io/evict-me"
LABEL = "oomtracer/victim"
MARKING = ("--victim-annotation", f"{ANNOTATION}=yes")
UNLIMITED = ("--mark-budget", "1000/1m", "--mark-cooldown", "0", "--qps", "100", "--burst", "100")
"""So that one mark never costs another one its place."""
ANY_LIMIT = (*MARKING, "--mark-on", "any", *UNLIMITED)
"""Every kill in a pod marks it, whosever limit was hit."""
KILLED, MARKED = "ProcessOOMKilled", "MarkedForEviction"
OWN_POD = ("oomtracer", "oomtracer-x")


@dataclass(frozen=True, slots=True)
class Node:
    """An agent, and the API server that it talks to."""

    api: ThreadedApiServer
    agent: ClusterAgent


class ClusterAgent(Agent):
    """``oomtracer run`` for node-a, following its pods once the context is entered.

    With ``synced`` False the context is entered as soon as kills are traced.
    """

    def __init__(
        self, api: ThreadedApiServer, folder: Path, *flags: str, synced: bool = True, **options: Any
    ) -> None:
        kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
        cluster = ("--node-name", NODE, "--kubeconfig", str(kubeconfig), "--start-jitter", "0")
        super().__init__(*cluster, "--metrics-bind-address", "127.0.0.1:0", *flags, **options)
        self._synced = synced

    def wait_until_ready(self) -> None:
        """Wait until it traces and, where that was asked for, knows the pods."""
        super().wait_until_ready()
        if self._synced:
            self.log.until("following the pods of this node")

    @property
    def address(self) -> str:
        """Host and port of the metrics."""
        return f"127.0.0.1:{serving_port(self)}"

    def page(self) -> str:
        """The metrics now."""
        return get(f"http://{self.address}/metrics")[1]

    def wait_for(self, value: float, name: str, **labels: str) -> None:
        """Wait until a series, whose name is without the prefix, is there and has this value."""
        wait_gently(lambda: value_of(self.page(), name, **labels) == value, f"{name} {labels} is {value}")

    def wait_to_know(self, pod: RunningPod) -> None:
        """Wait until the watch has told of the pod: its series begin at 0."""
        self.wait_for(0, "pod_kills_total", **pod.labels)

    def log_to_the_end(self) -> str:
        """The whole log, once the agent has been stopped."""
        self.log.rest()
        return "\n".join(self.log.all)


def wait_gently(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_SECONDS) -> None:
    """Wait for a condition that is work for others to answer, with a deadline."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.03)


@contextmanager
def fenced(folder: Path, *flags: str) -> Iterator[Node]:
    """An agent that talks TLS and is limited by the admission policies of the manifests."""
    namespace, name = OWN_POD
    with ThreadedApiServer(tls=True) as api:
        api.enforce(pod_policy(ANNOTATION, LABEL), event_policy())
        api.add_pod(make_pod(name, namespace=namespace, node=NODE, owner=("DaemonSet", "oomtracer")))
        own = ("--pod-name", name, "--pod-namespace", namespace)
        with ClusterAgent(api, folder, *own, *flags) as agent:
            yield Node(api, agent)
            assert agent.stop()[0] == 0
            assert "lost: none" in agent.log_to_the_end()


def value_of(page: str, name: str, **labels: str) -> float | None:
    """The value of a series on a page of metrics, None if it is not there; ``name`` is without the prefix."""
    name = f"oom_tracer_{name}"
    lines = "\n".join(line for line in page.splitlines() if line.startswith(name)) + "\n"
    samples = [sample for family in text_string_to_metric_families(lines) for sample in family.samples]
    wanted = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
    assert len(wanted) <= 1
    return float(wanted[0]) if wanted else None


def increase(before: str, after: str, name: str, **labels: str) -> float:
    """How much a series that is on both pages has grown from one to the other."""
    then, now = value_of(before, name, **labels), value_of(after, name, **labels)
    assert then is not None
    assert now is not None
    return now - then


def patches(api: ThreadedApiServer, pod: RunningPod | None = None) -> list[Request]:
    """The patches of one pod (or of all) that the API server got, whatever it answered."""
    return [
        request
        for request in api.requests
        if request.method == "PATCH" and "/pods/" in request.path and (not pod or request.path == pod.path)
    ]


def annotations_of(api: ThreadedApiServer, pod: RunningPod) -> dict[str, str]:
    """What the pod carries now."""
    return dict(api.pod(pod.namespace, pod.name)["metadata"].get("annotations", {}))


def wait_for_mark(api: ThreadedApiServer, pod: RunningPod) -> None:
    """Wait until the pod carries the mark."""
    api.until(lambda: annotations_of(api, pod).get(ANNOTATION) == "yes", timeout_s=DEADLINE_SECONDS)


def described(api: ThreadedApiServer, pod: RunningPod, reason: str, *, uid: str = "") -> list[dict[str, Any]]:
    """The Events of a reason that ``kubectl describe pod`` shows: it asks for name, namespace and uid.

    ``uid`` is what it asks for where that is not the pod's (a static pod's).
    """
    wanted = {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": uid or pod.uid}
    return [
        event
        for event in map(as_core, api.events)
        if event["reason"] == reason and wanted.items() <= event["involvedObject"].items()
    ]


def wait_for_event(
    api: ThreadedApiServer, pod: RunningPod, reason: str = KILLED, *, uid: str = ""
) -> dict[str, Any]:
    """Wait for the one Event of a reason that ``kubectl describe pod`` shows."""
    api.until(lambda: described(api, pod, reason, uid=uid), timeout_s=DEADLINE_SECONDS)
    [event] = described(api, pod, reason, uid=uid)
    return event
