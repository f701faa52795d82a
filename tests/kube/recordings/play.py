"""The stage for replays: the fake API server as it has to be before a recorded request."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.kube.apiserver import EVENTS, MARK, OBSERVE, FakeApiServer, Policy, Validation, rule
from tests.kube.apiserver.policy import keeps, on_own_node, only_changes, service_account, value_fits
from tests.kube.apiserver.state import Json, key_of

from . import Step, recorded, steps
from .replay import During, Replay

KEY = "gpu.example.com/attribution"
ACCOUNT = "system:serviceaccount:agent-system:gpu-agent"
EVICT = rule("create", "pods/eviction")
CORE_EVENTS = rule("create patch", "events")
AGENT = (*OBSERVE, *MARK, *EVENTS, EVICT, CORE_EVENTS)
SECOND_S = 0.003
STANDSTILL_S = 1e6

INITIAL_END = "k8s.io/initial-events-end"

# the policy of recording 14: like the shipped one, but no label may change, and its words are its own
RECORDED_POLICY = Policy(
    "gpu-agent-own-node-one-annotation",
    "pods",
    "",
    service_account("gpu-agent"),
    (
        Validation(
            lambda review: bool(review.user.node),
            "the agent's token carries no node name (it must be bound to a pod that runs on a node)",
        ),
        Validation(
            on_own_node,
            lambda review: f'pod is on node "{review.node}", the token is for node "{review.user.node}"',
        ),
        Validation(
            lambda review: (
                only_changes("labels", "")(review) and keeps("spec", "finalizers", "ownerReferences")(review)
            ),
            "spec, labels, finalizers and ownerReferences may not be changed",
        ),
        Validation(only_changes("annotations", KEY), f"only the annotation {KEY} may be changed"),
        Validation(
            value_fits(KEY), "the annotation's value may hold at most 1024 characters", reason="Invalid"
        ),
    ),
)


class Play:
    """One recording on the stage. ``done`` are the labels of the steps that were compared."""

    def __init__(self, name: str, api: FakeApiServer, replay: Replay) -> None:
        self.name = name
        self.api = api
        self.done: list[str] = []
        self._replay = replay

    def seed(self, *pods: Json, version: int, oldest: int = 1) -> None:
        """These pods exist, as they are; the server is at ``version`` and watches may begin at ``oldest``."""
        for pod in pods:
            pod["metadata"].setdefault("resourceVersion", "1")
            self.api.store.pods[key_of(pod)] = pod
            self.api.store.namespaces.add(pod["metadata"]["namespace"])
        self.api.store.version, self.api.store.oldest = version, oldest

    async def step(self, what: str | Step, during: During | None = None) -> None:
        """Replay one step, given itself or by its label."""
        step = recorded(self.name, what) if isinstance(what, str) else what
        self._catch_up(step)
        # the uid of an Event is new each time
        forget = ("uid",) if "/events" in step.path else ()
        await self._replay.check(step, during and self._in_time(during), forget=forget)
        self.done.append(step.label)

    def _in_time(self, during: During) -> During:
        """The same, but the watch's time only begins to run when it is done."""
        self.api.set_second(STANDSTILL_S)

        async def run() -> None:
            done = during()
            if done is not None:
                await done
            self.api.set_second(SECOND_S)

        return run

    async def rest(self, *, but: Mapping[str, str] | None = None) -> None:
        """Replay all steps that are left, in order, but those that begin with a key of ``but``."""
        for step in steps(self.name):
            if step.label not in self.done and not step.label.startswith(tuple(but or ("\0",))):
                await self.step(step)

    def _catch_up(self, step: Step) -> None:
        """Let pass what was stored between this step and the one before it in the recording."""
        if step.status >= 300 or not (step.body or INITIAL_END in "".join(step.lines)):
            return
        answered = step.events[-1]["object"] if step.lines else step.json
        version, is_write = int(answered["metadata"]["resourceVersion"]), step.method != "GET"
        if version > self.api.store.version:
            self.api.store.version = version - is_write


@asynccontextmanager
async def stage(name: str) -> AsyncIterator[Play]:
    """The fake API server with the users of the recordings; its seconds are short."""
    async with FakeApiServer(second_s=SECOND_S) as api:
        api.add_token("<admin>", "admin", rules=(rule("*", "*", "*"),))
        for token, node in (
            ("agent", "node-a"),
            ("agent-a", "node-a"),
            ("agent-b", "node-b"),
            ("agent-unbound", ""),
        ):
            api.add_token(f"<{token}>", ACCOUNT, rules=AGENT, node=node)
        for token, user in (("norights", "norights"), ("kubelet-a", "system:node:node-a")):
            api.add_token(f"<{token}>", user, rules=())
        async with aiohttp.ClientSession(
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
        ) as session:
            yield Play(name, api, Replay(api.url, session))


def pods_of(name: str, label: str) -> list[Json]:
    """The pods in a recorded answer: of a list, a stream's ADDED events, or the one pod itself."""
    step = recorded(name, label)
    found = [event["object"] for event in step.events if event["type"] == "ADDED"] if step.lines else None
    if found is None:
        found = step.json.get("items", [step.json])
    return [{part: pod[part] for part in ("metadata", "spec", "status")} for pod in found]


def pod_of(name: str, label: str, **metadata: Any) -> Json:
    """The one pod in a recorded answer, with other metadata: ``annotations=None`` leaves them out."""
    (pod,) = copy.deepcopy(pods_of(name, label))
    merged = pod["metadata"] | metadata
    pod["metadata"] = {key: value for key, value in merged.items() if value is not None}
    return pod


Scene = Callable[[Play], Awaitable[None]]
