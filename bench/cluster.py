"""The measurements with a cluster: a real agent, real kills and the tests' fake API server, each a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from agent import DEADLINE_SECONDS, Agent, BenchError
from api_process import NODE, ApiProcess
from cluster_results import Changes, ClusterResults, Import, Imports, MarkStorm, Node, Quiet
from measure import idle, settled_memory
from pod_kills import pod_victims
from process import cpu_seconds, memory, peak_rss_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from api_process import KnownPod
    from context import Context
    from plan import ClusterPlan
    from pod_kills import PodVictims

# Every kill marks its pod, and the rate of writes does not hold up single ones.
QPS, BURST = 50, 50
FLAGS = (
    *("--node-name", NODE, "--metrics-bind-address", "127.0.0.1:0", "--start-jitter", "0"),
    *("--victim-annotation", "oom-tracer.alpha.kubernetes.io/evict-me=yes", "--mark-on", "any"),
    *("--mark-budget", "1000/1m", "--mark-cooldown", "0", "--mark-min-pod-age", "0"),
    *("--qps", str(QPS), "--burst", str(BURST)),
)
CHANGES_PER_SECOND = 100
# Victims of a storm at the same time: on few processors, more would only make each other and the agent wait.
AT_ONCE = 2
# Between single kills: what the one before left to do is done.
PAUSE_SECONDS = 0.02
IMPORTS = {
    "aiohttp": "import aiohttp",
    "lean": "from oomtracer.kube.lean import kubernetes_client; kubernetes_client()",
    "ordinary": "import kubernetes_asyncio.client, kubernetes_asyncio.config",
}


def measure_cluster(plan: ClusterPlan, context: Context, victim: Path) -> ClusterResults:
    """Everything, in turn; ``victim`` is the program that gets killed."""
    measure = _Measure(plan, context, victim)
    return ClusterResults(
        imports=measure.imports(),
        quiet=measure.quiet(),
        usual=measure.node(plan.pods),
        crowded=measure.node(plan.many_pods),
        large=measure.node(plan.pods, elsewhere=plan.cluster_pods - plan.pods),
        latency_ns=measure.latency(plan.pods),
        new_latency_ns=measure.latency(plan.pods, new_connections=True),
        busy_latency_ns=measure.latency(plan.many_pods, changes=True),
        storm=measure.storm(),
    )


class _Measure:
    def __init__(self, plan: ClusterPlan, context: Context, victim: Path) -> None:
        self._plan = plan
        self._context = context
        self._victim = victim

    def imports(self) -> Imports:
        self._context.say("cluster: imports")
        return Imports(**{name: self._import(code) for name, code in IMPORTS.items()})

    def quiet(self) -> Quiet:
        self._context.say("cluster: one pod, nothing happens")
        with self._context.alone(), self._server(1) as api, self._agent(api) as agent:
            agent.synced_seconds()
            start_memory = settled_memory(agent, self._plan.settle_seconds)
            rest = idle(agent, self._plan.idle_seconds)
            agent.stop()
        return Quiet(memory=start_memory, idle=rest)

    def node(self, pods: int, *, elsewhere: int = 0) -> Node:
        self._context.say(f"cluster: {pods} pods, {elsewhere} on other nodes")
        with self._server(pods, elsewhere) as api, self._context.alone():
            synced = [self._synced_seconds(api) for _ in range(self._plan.starts - 1)]
            with self._agent(api) as agent:
                synced.append(agent.synced_seconds())
                peak_rss = peak_rss_bytes(agent.pid)
                synced_memory = settled_memory(agent, self._plan.settle_seconds)
                changes = self._changes(api, agent, here=not elsewhere)
                after_memory = settled_memory(agent, self._plan.settle_seconds)
                agent.stop()
            return Node(
                pods=pods,
                pods_elsewhere=elsewhere,
                pod_bytes=api.pod_bytes,
                synced_seconds=synced,
                peak_rss_bytes=peak_rss,
                synced_memory=synced_memory,
                changes=changes,
                after_memory=after_memory,
                foreign_requests=_foreign_requests(api),
            )

    def latency(self, pods: int, *, new_connections: bool = False, changes: bool = False) -> list[int]:
        """From the kernel's mark to the PATCH, of single kills in different pods."""
        how = "new connections" if new_connections else "pods change" if changes else "nothing else happens"
        self._context.say(f"cluster: {self._plan.marks} kills, {how}")
        with self._server(pods) as api, self._context.alone(), self._agent(api) as agent:
            agent.synced_seconds()
            chosen = api.pods[: self._plan.marks]
            if changes:
                api.ask("begin_changes", per_second=CHANGES_PER_SECOND)
            with pod_victims(self._victim, chosen) as victims:
                return [_latency_ns(api, agent, victims, pod, hang_up=new_connections) for pod in chosen]

    def storm(self) -> MarkStorm:
        kills, answer_seconds = self._plan.storm_marks, self._plan.storm_answer_seconds
        self._context.say(f"cluster: a storm of {kills} kills in as many pods")
        with self._server(kills) as api, self._context.alone(), self._agent(api) as agent:
            agent.synced_seconds()
            api.ask("answer_patches_late", seconds=answer_seconds)
            with pod_victims(self._victim, api.pods) as victims:
                victims.kill_all(at_once=AT_ONCE)
                reports = [_report(agent) for _ in api.pods]
            marked = api.patches(kills)
        killed = {report["workload"]["pod"]: int(report["boot_time_ns"]) for report in reports}
        order = sorted(killed, key=killed.__getitem__)
        return MarkStorm(
            qps=QPS,
            burst=BURST,
            answer_seconds=answer_seconds,
            killed_ns=[killed[name] for name in order],
            marked_ns=[marked[name] for name in order],
        )

    def _server(self, here: int, elsewhere: int = 0) -> ApiProcess:
        return ApiProcess(self._context.folder / "apiserver", here=here, elsewhere=elsewhere)

    def _agent(self, api: ApiProcess) -> Agent:
        return Agent(api.environment(self._context.environment), *FLAGS, around=api.around())

    def _synced_seconds(self, api: ApiProcess) -> float:
        with self._agent(api) as agent:
            seconds = agent.synced_seconds()
            agent.stop()
            return seconds

    def _changes(self, api: ApiProcess, agent: Agent, *, here: bool) -> Changes:
        seconds = self._plan.change_seconds if here else self._plan.foreign_change_seconds
        cpu = cpu_seconds(agent.pid)
        told = api.ask("change", seconds=seconds, per_second=CHANGES_PER_SECOND, here=here)
        return Changes(**told, cpu_seconds=cpu_seconds(agent.pid) - cpu)

    def _import(self, code: str) -> Import:
        program = f"import sys; {code}; print(len(sys.modules), flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", program]
        for _ in range(2):  # the first one writes the bytecode
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._context.environment
            ) as process:
                assert process.stdout
                result = Import(modules=int(process.stdout.readline()), memory=memory(process.pid))
        return result


def _latency_ns(api: ApiProcess, agent: Agent, victims: PodVictims, pod: KnownPod, *, hang_up: bool) -> int:
    time.sleep(PAUSE_SECONDS)
    if hang_up:
        api.ask("hang_up")
    with victims.start(pod) as victim:
        report = _report(agent)
        victim.wait(DEADLINE_SECONDS)
    if report["workload"]["pod_uid"] != pod.uid:
        raise BenchError("a kill that this program did not make came in between: run it again")
    return api.patches(1)[pod.name] - int(report["boot_time_ns"])


def _report(agent: Agent) -> Any:
    [(_, line)] = agent.reports.take(1)
    return json.loads(line)


def _foreign_requests(api: ApiProcess) -> int:
    """Requests that are neither limited to the agent's node nor for a single object."""
    own = f"spec.nodeName={NODE}"
    return sum(method != "PATCH" and selector != own for method, selector in api.ask("asked")["requests"])
