"""Without a cluster: a kubeconfig alone makes nobody a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.kubelet import Kubelet
from tests.kernel.agent import Agent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.apiserver import ThreadedApiServer


def test_switched_off(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """With --kubernetes=off the agent asks nobody: a pod's kill is told at once by what its cgroup says."""
    pod = kubelet.start(api, "web-0")
    variable = f"KUBECONFIG={api.write_kubeconfig(tmp_path / 'kubeconfig')}"
    with Agent("--kubernetes", "off", prefix=["env", variable]) as agent:
        workload = agent.report_of(kubelet.kill(pod))["workload"]
        assert (workload["kind"], workload["pod_uid"], workload["resolved"]) == ("pod", pod.uid, False)
        assert agent.stop() == (0, [])
    assert not api.requests


def test_found_by_itself(api: ThreadedApiServer, tmp_path: Path, kubelet: Kubelet) -> None:
    """With the same variable and nothing switched off, the same kill is named."""
    pod = kubelet.start(api, "web-0")
    variable = f"KUBECONFIG={api.write_kubeconfig(tmp_path / 'kubeconfig')}"
    with Agent("--node-name", "node-a", "--start-jitter", "0", prefix=["env", variable]) as agent:
        workload = agent.report_of(kubelet.kill(pod))["workload"]
        assert (workload["pod"], workload["resolved"]) == ("web-0", True)
        assert agent.stop() == (0, [])
    assert api.requests
