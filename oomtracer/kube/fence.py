"""Proves that an admission policy limits what this agent may change: its fence.

Two server-side dry runs on the agent's own pod change nothing and are judged like real patches: a foreign
annotation must be refused by admission, the configured marks accepted.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from oomtracer.config import Marking
from oomtracer.kube.api import Api
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.limiter import WriteLimiter
from oomtracer.kube.patch import PatchOutcome, PatchResult, patch_pod
from oomtracer.pods import Pod
from oomtracer.printable import printable

logger = logging.getLogger("oomtracer.fence")

PROBE_ANNOTATION = "oomtracer/fence-probe"
UNTIL_SYNCED_S = 1.0
WHILE_ENFORCED_S = 3600.0
WHILE_NOT_S = 600.0
# Of the time between two proofs, so that the agents of a cluster do not ask together.
_JITTER = 0.2


class FenceState(StrEnum):
    """What the last proof showed."""

    UNKNOWN = "unknown"
    """Nothing yet: the own pod is not known, or the API server did not answer."""
    ENFORCED = "enforced"
    OPEN = "open"
    """The foreign annotation was accepted: nothing limits the agent."""
    BLOCKED = "blocked"
    """The configured marks are refused as well."""
    NO_RIGHTS = "no_rights"
    """The account may not patch pods at all, which proves nothing about policies."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one try showed; ``message`` is the server's or ours, short and printable."""

    state: FenceState
    message: str = ""
    retry_after_s: float | None = None


class Fence:
    """Tries out the admission policy again and again; says each change of its state once.

    A try without an answer says nothing new: the state stays what was proved last. ``own_pod`` is namespace
    and name of the pod that the agent runs in, None on a plain host.
    """

    def __init__(
        self,
        *,
        api: Api,
        directory: PodDirectory,
        marking: Marking,
        limiter: WriteLimiter,
        own_pod: tuple[str, str] | None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.state = FenceState.UNKNOWN
        self.enforced = asyncio.Event()
        """Set while the state is ``enforced``."""
        self._api = api
        self._directory = directory
        self._marking = marking
        self._limiter = limiter
        self._own_pod = own_pod
        self._random = random
        self._backoff = Backoff(random=random)
        self._doubt_told = False

    @property
    def is_enforced(self) -> bool:
        """Whether the fence is proved: the gauge ``admission_policy_enforced``."""
        return self.state is FenceState.ENFORCED

    async def run(self) -> None:
        """Prove the fence until cancelled."""
        while True:
            proof = await self.prove()
            self._take(proof)
            await asyncio.sleep(self._pause_s(proof))

    async def prove(self) -> Proof:
        """One try, two requests at most; never raises."""
        pod = self._find_own_pod()
        if pod is None:
            return Proof(FenceState.UNKNOWN, self._why_no_pod())
        refused = await self._dry_run(pod, {PROBE_ANNOTATION: "true"}, {})
        if refused.outcome is not PatchOutcome.DENIED:
            return _unproved(refused)
        marking = self._marking
        annotations = {mark.key: mark.value for mark in (marking.annotation,) if mark}
        labels = {mark.key: mark.value for mark in (marking.label,) if mark}
        return _proved(await self._dry_run(pod, annotations, labels))

    async def _dry_run(self, pod: Pod, annotations: dict[str, str], labels: dict[str, str]) -> PatchResult:
        await self._limiter.acquire()
        return await patch_pod(
            self._api,
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            annotations=annotations,
            labels=labels,
            dry_run=True,
        )

    def _find_own_pod(self) -> Pod | None:
        pods = self._directory.pods()
        return next((pod for pod in pods if (pod.namespace, pod.name) == self._own_pod), None)

    def _why_no_pod(self) -> str:
        if self._own_pod is None:
            return "the agent's own pod is not known: give --pod-name and --pod-namespace"
        return f"the agent's own pod {printable('/'.join(self._own_pod))} is not on this node"

    def _take(self, proof: Proof) -> None:
        if proof.state is FenceState.UNKNOWN:
            self._doubt(proof)
            return
        self._backoff.reset()
        self._doubt_told = False
        if proof.state is self.state:
            return
        self.state = proof.state
        if self.is_enforced:
            self.enforced.set()
        else:
            self.enforced.clear()
        level, text = _TOLD[proof.state]
        logger.log(level, "%s%s", text, f" ({proof.message})" if proof.message else "")

    def _doubt(self, proof: Proof) -> None:
        if self._doubt_told or not self._directory.is_synced:
            return
        self._doubt_told = True
        held = self._marking.require_admission_policy and not self.is_enforced
        logger.warning(
            "the admission policy cannot be tried out: %s%s",
            proof.message,
            "; marks wait until it is proved" if held else "",
        )

    def _pause_s(self, proof: Proof) -> float:
        if not self._directory.is_synced:
            return UNTIL_SYNCED_S
        if proof.state is FenceState.UNKNOWN:
            return self._backoff.next_s(proof.retry_after_s)
        usual_s = WHILE_ENFORCED_S if self.is_enforced else WHILE_NOT_S
        return usual_s * (1 - _JITTER + 2 * _JITTER * self._random())


def _unproved(foreign: PatchResult) -> Proof:
    """What it means that admission did not refuse the foreign annotation."""
    match foreign.outcome:
        case PatchOutcome.APPLIED:
            return Proof(FenceState.OPEN)
        case PatchOutcome.FORBIDDEN:
            return Proof(FenceState.NO_RIGHTS, foreign.message)
        case _:
            return Proof(FenceState.UNKNOWN, foreign.message, foreign.retry_after_s)


def _proved(configured: PatchResult) -> Proof:
    """What it means, after that refusal, how the configured marks fared."""
    match configured.outcome:
        case PatchOutcome.APPLIED:
            return Proof(FenceState.ENFORCED)
        case PatchOutcome.DENIED:
            return Proof(FenceState.BLOCKED, configured.message)
        case _:
            return _unproved(configured)


_TOLD = {
    FenceState.ENFORCED: (
        logging.INFO,
        "an admission policy limits this agent: a foreign annotation is refused, the configured marks are not",
    ),
    FenceState.OPEN: (
        logging.WARNING,
        "no admission policy limits what this agent may change on pods: apply the component admission-policy",
    ),
    FenceState.BLOCKED: (
        logging.ERROR,
        "the admission policy refuses the configured marks as well: the ConfigMap oomtracer-mark names the keys",
    ),
    FenceState.NO_RIGHTS: (
        logging.ERROR,
        "this agent may not patch pods: unless that is wanted, apply the components mark and admission-policy",
    ),
}
