"""The stream of a watch, in chunks of any size: ``oomtracer.kube.lines``, ``records``, ``status``."""

from __future__ import annotations

import json
import zlib
from random import Random
from typing import Any

from oomtracer.kube.json_list import MalformedError
from oomtracer.kube.lines import LineSplitter, LineTooLongError
from oomtracer.kube.records import MAX_VALUE_CHARACTERS, EventType, PodReader, WatchEvent
from oomtracer.kube.trouble import stream_error
from oomtracer.pods import Pod
from tests.kube.recordings import names, steps
from tests.unit.builders import unfit

from .json_values import altered, text_of
from .mutate import noise

_ANNOTATIONS, _LABELS = ("example.com/victim", "oomtracer/ignore"), ("oomtracer/victim",)
_LONGEST_LINE_BYTES = 8 * 1024
_TOO_LONG = "too long"
READER = PodReader(_ANNOTATIONS, _LABELS)
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-7d4b9c6f5d-x2x4v",
        "namespace": "shop",
        "uid": "ca70517f-bacb-4793-9052-117fcef9238b",
        "resourceVersion": "224",
        "creationTimestamp": "2026-03-01T12:34:56Z",
        "deletionTimestamp": "2026-03-01T13:34:56Z",
        "labels": {"pod-template-hash": "7d4b9c6f5d", "oomtracer/victim": "true"},
        "annotations": {
            "example.com/victim": "yes",
            "kubernetes.io/config.mirror": "0123456789abcdef0123456789abcdef",
            "oomtracer/ignore": "false",
        },
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d4b9c6f5d", "controller": True}],
    },
    "spec": {
        "containers": [{"name": "app", "image": "x"}],
        "initContainers": [{"name": "setup"}],
        "ephemeralContainers": [{"name": "debug"}],
        "priority": 1000,
        "shareProcessNamespace": True,
        "hostPID": False,
    },
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {
                "name": "app",
                "containerID": f"containerd://{1:064x}",
                "state": {"terminated": {"containerID": f"containerd://{2:064x}"}},
                "lastState": {"terminated": {"containerID": f"containerd://{3:064x}", "exitCode": 137}},
            }
        ],
        "initContainerStatuses": [{"name": "setup", "containerID": f"cri-o://{4:064x}"}],
    },
}
STATUS: dict[str, Any] = {
    "kind": "Status",
    "metadata": {},
    "status": "Failure",
    "message": "too old resource version: 1 (2)",
    "reason": "Expired",
    "code": 410,
    "details": {
        "retryAfterSeconds": 3,
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "x", "field": "y"}],
    },
}
_BOOKMARK = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "300"}}}


def _recorded() -> list[Any]:
    found = [
        json.loads(line)
        for name in names()
        for step in steps(name)
        for line in step.lines
        if line.startswith("{")
    ]
    for event in found:
        if isinstance(event.get("object", {}).get("metadata"), dict):
            event["object"]["metadata"].pop("managedFields", None)
    return found[::5]


_EVENTS: tuple[Any, ...] = (
    *({"type": kind, "object": POD} for kind in ("ADDED", "MODIFIED", "DELETED")),
    {"type": "ERROR", "object": STATUS},
    _BOOKMARK,
)
_RECORDED = tuple(_recorded())


def generate(random: Random) -> bytes:
    """Make one to four lines, most of them nearly what an API server sends."""
    if random.random() < 0.03:
        return noise(random, 4096)
    end = random.choice((b"\n", b"\n", b"\r\n", b"\n\n", b""))
    return end.join(_line(random) for _ in range(random.choice((1, 1, 2, 4)))) + end


def check(data: bytes) -> None:
    """Events or the one documented error, in whatever chunks it comes."""
    events, end = _read(data, [data])
    again = _read(data, _chunks(data))
    # A line that is too long may be seen before or after one that is malformed.
    assert again == (events, end) or _TOO_LONG in (again[1], end)
    for event in events:
        _check_event(event)
    lines = [line for line in data.split(b"\n") if line.strip()]
    for line, event in zip(lines, events, strict=False):
        _check_nothing_needed_was_dropped(line, event)


def _line(random: Random) -> bytes:
    event = random.choice(_EVENTS if random.random() < 0.8 else _RECORDED)
    return text_of(random, altered(random, event))


def _chunks(data: bytes) -> list[bytes]:
    random, chunks, at = Random(zlib.crc32(data)), [], 0
    while at < len(data):
        size = random.choice((1, 7, 100, 1500, len(data)))
        chunks.append(data[at : at + size])
        at += size
    return chunks


def _read(data: bytes, chunks: list[bytes]) -> tuple[list[WatchEvent], str]:
    """The events, and what the reading ended with."""
    splitter, events = LineSplitter(max_bytes=_LONGEST_LINE_BYTES), []
    try:
        for chunk in chunks:
            for line in splitter.feed(chunk):
                if line.strip():
                    events.append(READER.event_of_line(line))  # noqa: PERF401 - those before an error count
        if (rest := splitter.rest()).strip():
            events.append(READER.event_of_line(rest))
    except MalformedError as error:
        check_message(str(error))
        return events, str(error)
    except LineTooLongError:
        assert max(map(len, data.split(b"\n"))) > _LONGEST_LINE_BYTES
        return [], _TOO_LONG
    return events, ""


def _check_event(event: WatchEvent) -> None:
    assert (event.pod is None) == (event.type in (EventType.BOOKMARK, EventType.ERROR))
    assert (event.status is None) == (event.type is not EventType.ERROR)
    assert event.resource_version >= (event.type is not EventType.ERROR)
    if event.pod is not None:
        assert event.pod.resource_version == event.resource_version
        check_pod(event.pod)
    if event.status is not None:
        error = stream_error(event.status)
        assert not unfit(str(error))
        assert len(str(error)) < 400
        assert 0 <= error.pause_s <= 1e9


def check_message(text: str) -> None:
    """An error's text is a short line for people."""
    assert len(text) < 200
    assert not unfit(text)


def check_pod(pod: Pod) -> None:
    """What holds for every pod that was read."""
    assert pod.uid and pod.namespace and pod.name  # noqa: PT018 - one rule
    assert pod.phase
    assert -(2**31) < pod.priority < 2**31
    assert 0 < pod.resource_version < 10**19
    assert set(pod.annotations) <= set(_ANNOTATIONS)
    assert set(pod.labels) <= set(_LABELS)
    assert pod.config_hash is None or (pod.is_mirror and pod.controller is not None)
    assert set(pod.init_containers + pod.ephemeral_containers) <= set(pod.containers)
    values = (*pod.annotations.values(), *pod.labels.values())
    assert all(len(value) <= MAX_VALUE_CHARACTERS for value in values)
    owners = [text for owner in (pod.controller, pod.owner) if owner for text in (owner.kind, owner.name)]
    ids = [text for pair in pod.container_ids.items() for text in pair]
    # Whatever is told of a pod can be written: no lone surrogates.
    "".join((pod.uid, pod.namespace, pod.name, pod.phase, *pod.containers, *values, *owners, *ids)).encode()
    assert pod.created_s == pod.created_s


def _check_nothing_needed_was_dropped(line: bytes, event: WatchEvent) -> None:
    """The record of a pod is the same as one made of the whole pod."""
    whole = json.loads(line.decode(errors="replace"))
    if event.pod is not None:
        assert READER.pod_of(whole["object"]) == event.pod
