"""One safe change of a pod's annotations and labels, and what the answer means for the next step.

A merge patch that carries ``metadata.uid``: it can change the pod that was meant and no successor of the same
name. It names single keys, so repeating it does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from oomtracer.kube.api import FIELD_MANAGER, MERGE_PATCH, Api, ApiUnreachableError, Response
from oomtracer.kube.fields import text_of
from oomtracer.kube.status import Status, status_of

PATCH_TIMEOUT_S = 5.0
# Time for connecting and for the way back, on top of what the server may take.
_MARGIN_S = 5.0
_PODS = frozenset({"Pod", "PartialObjectMetadata"})
# A 410 to a write is no API server's, but of something before it.
_TRY_AGAIN = frozenset({401, 408, 409, 410, 425, 429})


class PatchOutcome(StrEnum):
    """What came of a patch; all but ``retry`` are final."""

    APPLIED = "applied"
    GONE = "gone"
    """No pod of that name."""
    REPLACED = "replaced"
    """A pod of that name, but another one."""
    INVALID = "invalid"
    """The API server takes no such patch, however often it is sent."""
    FORBIDDEN = "forbidden"
    """The account lacks the right to patch pods."""
    DENIED = "denied"
    """An admission policy or webhook refused it."""
    RETRY = "retry"
    """Not now: overload, conflict, credentials, no answer."""


@dataclass(frozen=True, slots=True)
class PatchResult:
    """The outcome; ``message`` is short, printable and empty where it was applied.

    ``in_doubt``: sent but not answered, or an error in the middle of the work; it may have been applied.
    """

    outcome: PatchOutcome
    retry_after_s: float | None = None
    message: str = ""
    in_doubt: bool = False


async def patch_pod(  # noqa: PLR0913 - which pod, what to change and how
    api: Api,
    *,
    namespace: str,
    name: str,
    uid: str,
    annotations: Mapping[str, str | None],
    labels: Mapping[str, str | None],
    dry_run: bool = False,
    timeout_s: float = PATCH_TIMEOUT_S,
) -> PatchResult:
    """Set annotations and labels of one pod, or remove them (None); never raises.

    ``timeout_s`` is what the server may take, in whole seconds. A dry run is judged like a real one, by
    admission policies too, and changes nothing.
    """
    query = {"fieldManager": FIELD_MANAGER, "timeout": f"{timeout_s:.0f}s"}
    if dry_run:
        query["dryRun"] = "All"
    try:
        response = await api.request(
            "PATCH",
            f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}",
            query=query,
            body=_body(uid, annotations, labels),
            content_type=MERGE_PATCH,
            timeout_s=timeout_s + _MARGIN_S,
        )
    except ApiUnreachableError as error:
        return PatchResult(PatchOutcome.RETRY, message=str(error), in_doubt=error.was_sent)
    return result_of(response)


def result_of(response: Response) -> PatchResult:
    """The meaning of an answer to a patch, whatever its status and body."""
    if response.status == 200:
        return _of_success(response)
    status = status_of(response)
    outcome = _outcome(status)
    message = f"HTTP {status.code}{': ' if status.message else ''}{status.message}"
    if outcome is not PatchOutcome.RETRY:
        return PatchResult(outcome, message=message)
    return PatchResult(outcome, status.retry_after_s, message, in_doubt=status.code >= 500)


def _of_success(response: Response) -> PatchResult:
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and text_of(answer.get("kind")) in _PODS:
        return PatchResult(PatchOutcome.APPLIED)
    # A proxy's login page has a 200 too.
    return PatchResult(PatchOutcome.RETRY, message="HTTP 200, but the answer is no pod", in_doubt=True)


def _outcome(status: Status) -> PatchOutcome:
    if status.is_uid_mismatch:
        return PatchOutcome.REPLACED
    if status.is_admission_denial:
        return PatchOutcome.DENIED
    if status.code == 404:
        # A load balancer whose API servers are all away has 404s of its own.
        return PatchOutcome.GONE if status.reason == "NotFound" else PatchOutcome.RETRY
    if status.code == 403:
        return PatchOutcome.FORBIDDEN
    if status.code in _TRY_AGAIN or not 400 <= status.code < 500:
        return PatchOutcome.RETRY
    return PatchOutcome.INVALID


def _body(uid: str, annotations: Mapping[str, str | None], labels: Mapping[str, str | None]) -> bytes:
    if not uid:
        raise ValueError("a patch without uid would change whichever pod has the name")
    metadata: dict[str, object] = {"uid": uid}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if labels:
        metadata["labels"] = dict(labels)
    return json.dumps({"metadata": metadata}).encode()
