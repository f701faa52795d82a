"""``oomtracer unmark``: removes marks from pods, on one node or in the whole cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import quote

from oomtracer.config import Cluster
from oomtracer.errors import UsageError
from oomtracer.kube.api import Api
from oomtracer.kube.backoff import Backoff
from oomtracer.kube.connection import connect
from oomtracer.kube.paging import list_pages
from oomtracer.kube.patch import PatchOutcome, PatchResult, patch_pod
from oomtracer.printable import printable

TRIES = 6
"""For one pod; with the waits between them some half a minute."""
GIVE_UP_AFTER = 3
"""Pods in a row that could not be reached; each further one is tried once."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key, and the value it must have to be removed; None: any value."""

    key: str
    value: str | None = None

    def matches(self, values: object) -> bool:
        """Whether the annotations or labels of a pod hold it."""
        found = values.get(self.key) if isinstance(values, dict) else None
        return found is not None and self.value in (None, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmarkRequest:
    """Which marks to remove from which pods. ``node_name`` and ``namespace`` are None for all."""

    annotation: Wanted | None = None
    label: Wanted | None = None
    node_name: str | None = None
    namespace: str | None = None
    dry_run: bool = False


class PodResult(StrEnum):
    """What became of one pod's marks; ``gone``: the pod went away before they were removed."""

    REMOVED = "removed"
    WOULD_REMOVE = "would_remove"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmarkedPod:
    """One pod that carried marks; ``message`` says why it failed."""

    namespace: str
    name: str
    uid: str
    annotations: tuple[str, ...]
    labels: tuple[str, ...]
    result: PodResult
    message: str = ""


@dataclass(frozen=True, slots=True)
class UnmarkResult:
    """All pods that carried marks; the exit code is 1 unless ``is_complete``."""

    pods: tuple[UnmarkedPod, ...]
    node_name: str | None = None
    """The only node that was looked at."""

    @property
    def is_complete(self) -> bool:
        """Whether no pod's mark could not be removed."""
        return not self.count(PodResult.FAILED)

    def count(self, result: PodResult) -> int:
        """How many pods ended so."""
        return sum(pod.result is result for pod in self.pods)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marked:
    namespace: str
    name: str
    uid: str
    annotations: tuple[str, ...]
    labels: tuple[str, ...]


def run(
    request: UnmarkRequest, *, kubeconfig: str | None, context: str | None, out: Callable[[str], None]
) -> UnmarkResult:
    """Connect by the rules of kubectl and unmark. Raises OomTracerError."""
    return asyncio.run(_connected(request, Cluster(kubeconfig=kubeconfig, context=context), out))


async def _connected(request: UnmarkRequest, cluster: Cluster, out: Callable[[str], None]) -> UnmarkResult:
    api = await connect(cluster)
    try:
        return await unmark(api, request, out)
    finally:
        await api.close()


async def unmark(
    api: Api, request: UnmarkRequest, out: Callable[[str], None], *, sleep: Sleep = asyncio.sleep
) -> UnmarkResult:
    """Find the marked pods and remove the marks one by one, telling ``out`` a line for each pod.

    Raises OomTracerError: the pods cannot be listed, or no mark is named.
    """
    if request.annotation is None and request.label is None:
        raise UsageError(
            "which mark to remove is not known", hint="give --victim-annotation or --victim-label, or both"
        )
    # All of them first: a page's token expires after minutes. By uid: an item may be listed twice.
    marked = {pod.uid: pod async for pod in _marked_pods(api, request, sleep)}
    pods: list[UnmarkedPod] = []
    silent = 0
    for each in marked.values():
        if request.dry_run:
            pod = _would(each)
        else:
            # A server that is away is away for all of them.
            result = await _remove(api, each, sleep, tries=TRIES if silent < GIVE_UP_AFTER else 1)
            silent = silent + 1 if result.outcome is PatchOutcome.RETRY else 0
            pod = _told(each, result)
        out(_line(pod))
        pods.append(pod)
    return UnmarkResult(tuple(pods), request.node_name)


async def _marked_pods(api: Api, request: UnmarkRequest, sleep: Sleep) -> AsyncIterator[_Marked]:
    namespace = f"namespaces/{quote(request.namespace, safe='')}/" if request.namespace else ""
    query = {"fieldSelector": f"spec.nodeName={request.node_name}"} if request.node_name else {}
    async for page in list_pages(api, f"/api/v1/{namespace}pods", query=query, sleep=sleep):
        for item in page:
            pod = _marked(item.get("metadata"), request)
            if pod is not None:
                yield pod


def _marked(metadata: object, request: UnmarkRequest) -> _Marked | None:
    """The pod's marks that are to go; None where there are none, and for what is no pod."""
    if not isinstance(metadata, dict):
        return None
    namespace, name, uid = (metadata.get(key) for key in ("namespace", "name", "uid"))
    if not (isinstance(namespace, str) and isinstance(name, str) and isinstance(uid, str) and uid):
        return None
    if any("\ud800" <= character <= "\udfff" for character in namespace + name + uid):
        return None  # no name that the API server takes
    annotations = _keys(request.annotation, metadata.get("annotations"))
    labels = _keys(request.label, metadata.get("labels"))
    if not annotations and not labels:
        return None
    return _Marked(namespace=namespace, name=name, uid=uid, annotations=annotations, labels=labels)


def _keys(wanted: Wanted | None, values: object) -> tuple[str, ...]:
    return (wanted.key,) if wanted is not None and wanted.matches(values) else ()


async def _remove(api: Api, pod: _Marked, sleep: Sleep, *, tries: int) -> PatchResult:
    backoff = Backoff(cap_s=10.0)
    for attempt in range(1, tries + 1):
        result = await patch_pod(
            api,
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            annotations=dict.fromkeys(pod.annotations),
            labels=dict.fromkeys(pod.labels),
        )
        if result.outcome is not PatchOutcome.RETRY:
            break
        if attempt < tries:
            await sleep(backoff.next_s(result.retry_after_s))
    return result


def _told(pod: _Marked, result: PatchResult) -> UnmarkedPod:
    ended = _RESULTS.get(result.outcome, PodResult.FAILED)
    message = result.message if ended is PodResult.FAILED else ""
    return UnmarkedPod(**asdict(pod), result=ended, message=message)


_RESULTS = {
    PatchOutcome.APPLIED: PodResult.REMOVED,
    PatchOutcome.GONE: PodResult.GONE,
    PatchOutcome.REPLACED: PodResult.GONE,
}


def _would(pod: _Marked) -> UnmarkedPod:
    return UnmarkedPod(**asdict(pod), result=PodResult.WOULD_REMOVE)


def _line(pod: UnmarkedPod) -> str:
    keys = [*(f"annotation {key}" for key in pod.annotations), *(f"label {key}" for key in pod.labels)]
    text = _TEXTS[pod.result].format(" and ".join(keys))
    return printable(f"{pod.namespace}/{pod.name}: {text}{': ' if pod.message else ''}{pod.message}")


_TEXTS = {
    PodResult.REMOVED: "removed {}",
    PodResult.WOULD_REMOVE: "would remove {}",
    PodResult.GONE: "the pod is gone",
    PodResult.FAILED: "could not remove {}",
}


def as_text(result: UnmarkResult) -> str:
    """One line of numbers; the pods have been told already."""
    if not result.pods:
        where = f"of node {printable(result.node_name)} " if result.node_name else ""
        return f"no pod {where}carries such a mark: nothing to remove\n"
    counts = [f"{result.count(each)} {each.replace('_', ' ')}" for each in PodResult if result.count(each)]
    return f"pods: {', '.join(counts)}\n"


def as_json(result: UnmarkResult) -> str:
    """One JSON object, one line."""
    counts: Mapping[str, int] = {each.value: result.count(each) for each in PodResult}
    return json.dumps({**counts, "pods": [asdict(pod) for pod in result.pods]}) + "\n"
