"""The real Prometheus: what it makes of the agent's metrics, and whether its rules tell of a real kill."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError
from urllib.parse import urlencode

import pytest
import yaml

from tests.cluster.kubelet import NODE, Kubelet
from tests.cluster.scene import Node, wait_gently
from tests.deploy.render import overlay
from tests.deploy.tools import prometheus
from tests.kernel.agent import get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.kubelet import RunningPod

KILL_ALERT, SILENT_ALERT = "OomTracerContainerKilled", "OomTracerSilentKill"


class Prometheus:
    """A Prometheus server that scrapes an agent each second, and evaluates the shipped rules as often."""

    def __init__(self, folder: Path, target: str) -> None:
        self._folder = folder
        self._url = f"http://127.0.0.1:{free_port()}"
        (folder / "rules.yaml").write_text(yaml.safe_dump(shipped_rules()))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration(target)))

    def __enter__(self) -> Self:
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    prometheus(),
                    f"--config.file={self._folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    "--storage.tsdb.retention.time=1h",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
                env={"GOMAXPROCS": "1"},
            )
        try:
            wait_gently(self._is_ready, "Prometheus is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Stop it; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def log(self) -> str:
        """What it said so far."""
        return (self._folder / "log").read_text()

    def value(self, query: str) -> float | None:
        """What a query with one result gives, None if it gives none."""
        result = self._ask("query", query=query)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def wait_for(self, query: str) -> None:
        """Wait until a query gives something."""
        wait_gently(lambda: self.value(query) is not None, query)

    def firing(self, pod: RunningPod) -> dict[str, dict[str, str]]:
        """The labels of the alerts that fire for a pod, by name."""
        alerts = self._ask("alerts")["alerts"]
        return {
            alert["labels"]["alertname"]: alert["labels"]
            for alert in alerts
            if alert["state"] == "firing" and alert["labels"].get("pod") == pod.name
        }

    def rule_errors(self) -> dict[str, str]:
        """What went wrong with the last evaluation of each rule, by name."""
        groups = self._ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return {
            rule["name"]: f"{rule['health']} {rule.get('lastError')}"
            for rule in rules
            if rule["health"] != "ok"
        }

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        status, body = get(f"{self._url}/api/v1/{what}?{urlencode(parameters)}")
        assert status == 200, body
        return dict(json.loads(body)["data"])

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            return get(f"{self._url}/-/ready")[0] == 200
        except URLError:
            return False


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def shipped_rules() -> dict[str, Any]:
    """The rules of the overlay as a rules file; nothing has to last before it fires."""
    rules: dict[str, Any] = overlay("monitoring").one("PrometheusRule")["spec"]
    return {
        "groups": [
            group | {"rules": [{**rule, "for": "0s"} for rule in group["rules"]]} for group in rules["groups"]
        ]
    }


def configuration(target: str) -> dict[str, Any]:
    """What the PodMonitor stands for: the victims' labels are kept, and ``node`` is added."""
    [endpoint] = overlay("monitoring").one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["node"]
    scrape = {
        "job_name": "oomtracer",
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "static_configs": [{"targets": [target], "labels": {"node": NODE}}],
    }
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [scrape],
    }


@pytest.fixture
def server(quiet_node: Node, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the node's agent."""
    with Prometheus(tmp_path, quiet_node.agent.address) as running:
        yield running


def test_a_kill_reaches_prometheus(server: Prometheus, quiet_node: Node, kubelet: Kubelet) -> None:
    """The first kill of a container is an increase, under the victim's labels, and the alerts fire for its pod."""
    pod, bystander = (kubelet.start(quiet_node.api, name) for name in ("monitored-0", "monitored-1"))
    series = f'oom_tracer_pod_kills_total{{namespace="{pod.namespace}",pod="{pod.name}",container="app"}}'
    server.wait_for(f"count_over_time({series}[1m]) >= 2")
    assert server.value(series) == 0
    with kubelet.start_silent_kill(pod) as killer:
        assert killer.wait(30) == 0
    server.wait_for(f"{series} == 1")
    server.wait_for(f"increase({series}[1m]) > 0")
    wait_gently(lambda: server.firing(pod).keys() >= {KILL_ALERT, SILENT_ALERT}, "both alerts fire")
    for labels in server.firing(pod).values():
        assert (labels["namespace"], labels["container"], labels["node"]) == (pod.namespace, "app", NODE)
    assert not server.firing(bystander)
    assert server.value('up{job="oomtracer"}') == 1
    assert server.rule_errors() == {}
    assert server.stop() == 0
    assert "level=error" not in server.log().lower()
