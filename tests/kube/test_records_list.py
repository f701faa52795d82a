from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.json_list import JsonListReader, MalformedError
from oomtracer.kube.records import PodListReader, PodReader
from tests.unit.builders import examples

from .apiserver import make_pod

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "items"), VALUES, max_size=3)


def parse(body: bytes, cuts: list[int], **limits) -> tuple[list[object], dict[str, object]]:
    """Feed the body cut at these places; the items and the other members."""
    items: list[object] = []
    reader = JsonListReader(json.JSONDecoder(), items.append, **limits)
    places = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    for start, end in pairwise(places):
        reader.feed(body[start:end])
    reader.finish()
    return items, reader.members


def pod_list(*pods, version: str = "230") -> bytes:
    """Write a list as an API server does."""
    metadata = {"resourceVersion": version}
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": list(pods)}
    return json.dumps(body, separators=(",", ":")).encode()


def versioned(name: str, **rest):
    """Make a pod with a version."""
    pod = make_pod(name, **rest)
    pod["metadata"]["resourceVersion"] = "7"
    return pod


@examples(150)
@given(
    items=st.lists(VALUES, max_size=5),
    before=MEMBERS,
    after=MEMBERS,
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
)
def test_a_list_reads_the_same_however_it_arrives(items, before, after, cuts, indent, ascii_only):
    """Any list, cut anywhere (also inside a character), gives its items in order and its other members."""
    after = {key: value for key, value in after.items() if key not in before}
    document = {**before, "items": items, **after}
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    expected = json.loads(body.decode(errors="replace"))
    assert parse(body, cuts) == (expected.pop("items"), expected)


@examples(150)
@given(
    st.binary(max_size=60) | st.text(alphabet='{}[],:"items0e-\\ ', max_size=40).map(str.encode), st.data()
)
def test_what_is_read_is_json(body, data):
    """What is not refused is what a JSON parser makes of it."""
    cuts = data.draw(st.lists(st.integers(0, 60), max_size=4))
    try:
        items, members = parse(body, cuts)
    except MalformedError:
        return
    document = json.loads(body.decode(errors="replace"))
    assert document.pop("items", None) in (items, None)
    assert set(members) == set(document)


@pytest.mark.parametrize("end", range(1, 60))
def test_half_a_list_is_refused(end):
    """A body that ends early is no list, wherever it ends."""
    body = b'{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":2}]}'
    with pytest.raises(MalformedError):
        parse(body[:end], [])


@pytest.mark.parametrize("cut", range(30))
def test_a_number_is_not_taken_for_its_beginning(cut):
    """A number cut in two is one number."""
    assert parse(b'{"n":12345,"items":[67890,1e3]}', [cut]) == ([67890, 1000.0], {"n": 12345})


NO_LISTS = [b"", b"{}", b"[]", b"null", b"<html>", b'{"items":[]} x', b'{"items":{}}', b'{"items":[1 2]}']


@pytest.mark.parametrize("bad", [*NO_LISTS, b"[" * 200_000, b'{"items":' + b"[" * 200_000])
def test_what_is_no_list_is_refused(bad):
    """Anything else, also JSON of other shape or endless depth, is malformed."""
    with pytest.raises(MalformedError):
        parse(bad, [])


def test_an_item_without_end_is_given_up_at_the_limit():
    """What is held never grows much beyond the limit."""
    reader = JsonListReader(json.JSONDecoder(), [].append, max_characters=1 << 20)
    reader.feed(b'{"items":["')
    with pytest.raises(MalformedError, match="no item"):
        feed_for_ever(reader, most_bytes=3 << 20)


class CountingDecoder(json.JSONDecoder):
    """A decoder that counts the characters it is shown."""

    seen = 0

    def raw_decode(self, s: str, idx: int = 0):
        """Decode and count."""
        self.seen += len(s) - idx
        return super().raw_decode(s, idx)


def test_a_large_item_in_small_chunks_is_not_read_again_and_again():
    """An item is tried when twice as much of it is there, so that the work grows with its size, not its square."""
    decoder, items = CountingDecoder(), []
    reader = JsonListReader(decoder, items.append)
    body = json.dumps({"items": ["x" * (1 << 20)]}).encode()
    for start in range(0, len(body), 512):
        reader.feed(body[start : start + 512])
    reader.finish()
    assert items == ["x" * (1 << 20)]
    assert decoder.seen < 4 * len(body)


def feed_for_ever(reader: JsonListReader, *, most_bytes: int) -> None:
    """Feed a string that does not end."""
    for _ in range(most_bytes >> 16):
        reader.feed(b"x" * (1 << 16))


def test_pods_are_handed_over_while_the_list_arrives():
    """No more than one item is held: pods are records before the body has ended."""
    taken: list[object] = []
    reader = JsonListReader(json.JSONDecoder(), taken.append)
    reader.feed(b'{"items":[{"a":1},{"b"')
    assert taken == [{"a": 1}]
    reader.feed(b":2},")
    assert taken == [{"a": 1}, {"b": 2}]


def test_a_list_of_pods_has_its_version():
    """The version of the list is the one to watch from, not that of any pod."""
    listed = PodReader([], []).pods_of_list(pod_list(versioned("a"), versioned("b")))
    assert (listed.resource_version, [pod.name for pod in listed.pods], listed.skipped) == (
        230,
        ["a", "b"],
        0,
    )


@pytest.mark.parametrize("items", ["[]", "null"])
def test_a_node_without_pods_has_an_empty_list(items):
    """No pods are a list too, as Go may write it."""
    body = f'{{"kind":"PodList","items":{items},"metadata":{{"resourceVersion":"5"}}}}'
    listed = PodReader([], []).pods_of_list(body.encode())
    assert (listed.resource_version, listed.pods) == (5, ())


WHOLE = {"uid": "u", "name": "p", "namespace": "n", "resourceVersion": "7"}
NAMELESS = [
    {"metadata": {key: value for key, value in WHOLE.items() if key != left_out}} for left_out in WHOLE
]


def test_an_item_that_is_no_pod_costs_only_itself():
    """One strange item is counted, and the others are read."""
    listed = PodReader([], []).pods_of_list(
        pod_list(versioned("a"), {}, None, {"metadata": {"uid": 5}}, *NAMELESS)
    )
    assert ([pod.name for pod in listed.pods], listed.skipped) == (["a"], 7)


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"NodeList","metadata":{"resourceVersion":"9"},"items":[]}',
        b'{"kind":null,"metadata":{"resourceVersion":"9"},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"web-0"}},7,null]}',
    ],
)
def test_a_list_of_something_else_is_refused(body):
    """Another kind of list, or one without any pod among its items, does not say that there are no pods."""
    with pytest.raises(MalformedError):
        PodReader([], []).pods_of_list(body)


@pytest.mark.parametrize("version", ["", "0", "abc", "-1", "9" * 20, "٣"])
def test_a_list_without_a_version_is_refused(version):
    """Without a version to watch from, a list is no beginning."""
    with pytest.raises(MalformedError):
        PodReader([], []).pods_of_list(pod_list(version=version))


@examples(150)
@given(st.binary(max_size=80), st.integers(0, 400), st.binary(max_size=8))
def test_any_bytes_raise_nothing_but_malformed(noise, at, patch):
    """Neither garbage nor a damaged real list or line raises anything else."""
    body = pod_list(versioned("a"))
    line = json.dumps({"type": "ADDED", "object": versioned("a")}).encode()
    reader = PodReader(["a"], ["b"])
    for damaged in (noise, body[:at] + patch + body[at + len(patch) :]):
        with suppress(MalformedError):
            reader.pods_of_list(damaged)
    for damaged in (noise, line[:at] + patch + line[at + len(patch) :]):
        with suppress(MalformedError):
            reader.event_of_line(damaged)


_KEYS = ["metadata", "spec", "status", "name", "namespace", "uid", "resourceVersion", "annotations", "labels"]
_KEYS += ["ownerReferences", "controller", "kind", "containers", "containerStatuses", "containerID", "state"]
_KEYS += ["lastState", "terminated", "priority", "creationTimestamp", "phase", "type", "object", "code"]
_KEYS += ["kubernetes.io/config.mirror", "kubernetes.io/config.hash", "details", "message"]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["7", "2026-11-22T14:21:37Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=30,
)


@examples(150)
@given(ODD, st.sampled_from(["ADDED", "DELETED", "BOOKMARK", "ERROR"]))
def test_any_json_is_a_pod_or_none(document, kind):
    """Fields of any type where a pod has others are absent, never an error."""
    reader = PodReader(["a"], ["b"])
    item = document if isinstance(document, dict) else {"metadata": document}
    metadata = item.get("metadata")
    named = {
        **item,
        "metadata": {**(metadata if isinstance(metadata, dict) else {}), "uid": "u", "name": "p"},
    }
    named["metadata"] |= {"namespace": "n", "resourceVersion": "7"}
    assert len(reader.pods_of_list(pod_list(named, item)).pods) >= 1
    with suppress(MalformedError):
        reader.event_of_line(json.dumps({"type": kind, "object": document}).encode())


def test_the_reader_of_a_stream_reads_what_the_reader_of_a_body_does():
    """A list in small chunks is the same list."""
    reader = PodReader(["a"], ["b"])
    body = pod_list(*(versioned(f"p{number}") for number in range(20)))
    stream = PodListReader(reader)
    for start in range(0, len(body), 1000):
        stream.feed(body[start : start + 1000])
    assert stream.finish() == reader.pods_of_list(body)
