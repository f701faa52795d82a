from __future__ import annotations

import copy
import json

import pytest

from oomtracer.events import Owner
from oomtracer.kube.json_list import MalformedError
from oomtracer.kube.records import MAX_VALUE_CHARACTERS, EventType, PodReader

from .apiserver import make_pod, make_static_pod
from .recordings import names, steps

MARK, OPT_OUT, LABEL = "example.com/victim", "oomtracer/ignore", "oomtracer/victim"
HASH = "0123456789abcdef0123456789abcdef"
RUNNING, BEFORE, FIRST, INIT, DEBUG = (f"{number:064x}" for number in range(1, 6))


def reader() -> PodReader:
    """Build one that wants two annotations and a label."""
    return PodReader([MARK, OPT_OUT], [LABEL])


def read(document):
    """Read a pod as an item of a list."""
    document = copy.deepcopy(document)
    document["metadata"].setdefault("resourceVersion", "7")
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [document]}
    (pod,) = reader().pods_of_list(json.dumps(body).encode()).pods
    return pod


def line(kind: str, document) -> bytes:
    """Make a line of a watch."""
    return json.dumps({"type": kind, "object": document}, separators=(",", ":")).encode()


def test_a_pod_is_what_its_json_says():
    """Every field of the record comes from its own place in the pod."""
    document = make_pod(
        "web-7d4b9c6f5d-x2x4v",
        namespace="shop",
        uid="ca70517f-bacb-4793-9052-117fcef9238b",
        containers=["app", "proxy"],
        init_containers=["setup"],
        container_ids={"app": RUNNING, "proxy": FIRST, "setup": INIT},
        owner=("ReplicaSet", "web-7d4b9c6f5d"),
        labels={"pod-template-hash": "7d4b9c6f5d", LABEL: "true", "app": "web"},
        annotations={MARK: "yes", "example.com/other": "no"},
        priority=1000,
        created=1_800_000_000.0,
        shares_pid_namespace=True,
    )
    document["metadata"]["resourceVersion"] = "224"
    pod = read(document)
    assert (pod.uid, pod.namespace, pod.name) == (
        "ca70517f-bacb-4793-9052-117fcef9238b",
        "shop",
        "web-7d4b9c6f5d-x2x4v",
    )
    assert (pod.config_hash, pod.is_mirror) == (None, False)
    assert (pod.created_s, pod.phase, pod.is_terminating) == (1_800_000_000.0, "Running", False)
    assert (pod.priority, pod.shares_pid_namespace, pod.resource_version) == (1000, True, 224)
    assert pod.controller == Owner(kind="ReplicaSet", name="web-7d4b9c6f5d")
    assert pod.owner == Owner(kind="Deployment", name="web")
    assert pod.containers == ("setup", "app", "proxy")
    assert (pod.init_containers, pod.ephemeral_containers) == (("setup",), ())
    assert pod.container_ids == {RUNNING: "app", FIRST: "proxy", INIT: "setup"}
    assert (pod.annotations, pod.labels) == ({MARK: "yes"}, {LABEL: "true"})


def test_the_kind_of_a_container_is_kept():
    """The path in an Event depends on it."""
    document = make_pod("web", containers=["app"], init_containers=["setup"])
    document["spec"]["ephemeralContainers"] = [{"name": "debug"}]
    pod = read(document)
    assert pod.containers == ("setup", "app", "debug")
    assert (pod.init_containers, pod.ephemeral_containers) == (("setup",), ("debug",))


def test_what_a_pod_does_not_say_has_a_neutral_value():
    """A pod that was only just bound has no status, priority or owner."""
    pod = read({"metadata": {"uid": "u", "namespace": "n", "name": "p"}})
    assert (pod.created_s, pod.phase, pod.priority) == (0.0, "Unknown", 0)
    assert (pod.controller, pod.owner, pod.config_hash) == (None, None, None)
    assert (pod.containers, pod.container_ids, pod.annotations, pod.labels) == ((), {}, {}, {})
    assert (pod.is_mirror, pod.is_terminating, pod.shares_pid_namespace) == (False, False, False)


def test_a_static_pod_has_the_hash_of_its_cgroups():
    """The uid of a mirror pod is the object's; its config hash is what the cgroup path holds."""
    pod = read(make_static_pod("etcd", config_hash=HASH, uid="8fa18b8f-a52b-4cc8-bbb4-a356e9ce0e85"))
    assert (pod.is_mirror, pod.config_hash, pod.uid[:8]) == (True, HASH, "8fa18b8f")
    assert pod.owner == Owner(kind="Node", name="node-a")


def test_nobody_takes_a_static_pods_hash():
    """Without the mirror annotation, which the API server protects, a hash counts for nothing."""
    pod = read(make_pod("thief", annotations={"kubernetes.io/config.hash": HASH}))
    assert (pod.is_mirror, pod.config_hash) == (False, None)


@pytest.mark.parametrize("owner", [None, ("ReplicaSet", "web-7d4b9c6f5d")])
def test_a_mirror_pod_without_the_node_as_owner_has_nobodys_kills(owner):
    """Anybody may create a pod with the annotations, but a kubelet's mirror pod belongs to its node."""
    kubelet = {"kubernetes.io/config.hash": HASH, "kubernetes.io/config.mirror": HASH}
    pod = read(make_pod("thief", annotations=kubelet, owner=owner))
    assert (pod.is_mirror, pod.config_hash) == (True, None)


def test_the_hash_that_can_be_changed_counts_for_nothing():
    """The API server lets anybody with the right to patch pods change config.hash, but never config.mirror."""
    other = {"kubernetes.io/config.hash": "f" * 32}
    assert read(make_static_pod("etcd", config_hash=HASH, annotations=other)).config_hash == HASH


@pytest.mark.parametrize("key", ["shareProcessNamespace", "hostPID"])
def test_a_pod_may_share_a_pid_namespace(key):
    """Among its containers or with the node: then the first process of a container is not its init."""
    document = make_pod("web")
    for value, shares in ((True, True), (False, False), ("true", False)):
        document["spec"][key] = value
        assert read(document).shares_pid_namespace is shares


def test_the_owner_may_be_a_rollout():
    """Argo's controller names ReplicaSets as Kubernetes' own does, with another label."""
    labels = {"rollouts-pod-template-hash": "6d4cf56db6"}
    owners = {
        name: read(make_pod("p", owner=("ReplicaSet", name), labels=labels)).owner
        for name in ("web-6d4cf56db6", "web-55", "-6d4cf56db6")
    }
    assert owners.pop("web-6d4cf56db6") == Owner(kind="Rollout", name="web")
    assert owners == {name: Owner(kind="ReplicaSet", name=name) for name in owners}


@pytest.mark.parametrize("value", [None, {"": None}, {"name": 1}, [1], 1, True])
def test_a_deletion_time_that_is_no_text_says_nothing(value):
    """What is of another type counts as absent, here as everywhere."""
    document = make_pod("web")
    document["metadata"]["deletionTimestamp"] = value
    assert not read(document).is_terminating


def test_a_terminating_pod_says_so():
    """A deletionTimestamp is all there is to see of a graceful deletion."""
    document = make_pod("web")
    document["metadata"]["deletionTimestamp"] = "2026-11-22T14:23:01Z"
    assert read(document).is_terminating


@pytest.mark.parametrize(
    ("controller", "template_hash", "owner"),
    [
        (("ReplicaSet", "web-7d4b9c6f5d"), "7d4b9c6f5d", ("Deployment", "web")),
        (("ReplicaSet", "web-7d4b9c6f5d"), "5d", ("ReplicaSet", "web-7d4b9c6f5d")),
        (("ReplicaSet", "web-7d4b9c6f5d"), None, ("ReplicaSet", "web-7d4b9c6f5d")),
        (("ReplicaSet", "web-7d4b9c6f5d"), "", ("ReplicaSet", "web-7d4b9c6f5d")),
        (("ReplicaSet", "-7d4b9c6f5d"), "7d4b9c6f5d", ("ReplicaSet", "-7d4b9c6f5d")),
        (("StatefulSet", "db-7d4b9c6f5d"), "7d4b9c6f5d", ("StatefulSet", "db-7d4b9c6f5d")),
        (("Job", "report-29384756"), None, ("Job", "report-29384756")),
        (("DaemonSet", "logs"), None, ("DaemonSet", "logs")),
        (None, "7d4b9c6f5d", None),
    ],
)
def test_the_owner_is_the_deployment_where_that_is_certain(controller, template_hash, owner):
    """Only a ReplicaSet whose name ends in its pods' template hash is told as a Deployment."""
    labels = {} if template_hash is None else {"pod-template-hash": template_hash}
    pod = read(make_pod("p", owner=controller, labels=labels))
    assert (pod.controller and (pod.controller.kind, pod.controller.name)) == controller
    assert (pod.owner and (pod.owner.kind, pod.owner.name)) == owner


def test_an_owner_that_does_not_control_is_none():
    """Of several owners the one that controls counts."""
    document = make_pod("p", owner=("Job", "batch"))
    other = {"kind": "ConfigMap", "name": "x", "uid": "1", "apiVersion": "v1"}
    (reference,) = document["metadata"]["ownerReferences"]
    document["metadata"]["ownerReferences"] = [other, {**other, "controller": False}, reference]
    assert read(document).owner == Owner(kind="Job", name="batch")
    document["metadata"]["ownerReferences"] = [other]
    assert read(document).owner is None


def test_every_container_that_ever_shows_is_known_by_its_id():
    """Running, terminated and last-terminated ids count, of ordinary, init and ephemeral containers."""
    document = make_pod("web", containers=["app"], container_ids={"app": RUNNING})
    document["spec"]["ephemeralContainers"] = [{"name": "debug"}]
    status = document["status"]
    status["containerStatuses"][0]["lastState"] = {"terminated": {"containerID": f"containerd://{BEFORE}"}}
    status["initContainerStatuses"] = [
        {"name": "setup", "state": {"terminated": {"containerID": f"cri-o://{INIT}"}}, "lastState": {}}
    ]
    status["ephemeralContainerStatuses"] = [{"name": "debug", "containerID": f"docker://{DEBUG}"}]
    pod = read(document)
    assert pod.container_ids == {RUNNING: "app", BEFORE: "app", INIT: "setup", DEBUG: "debug"}
    assert pod.containers == ("app", "debug")


def test_a_waiting_container_has_no_id():
    """An empty containerID is none."""
    document = make_pod("web")
    document["status"]["containerStatuses"] = [{"name": "app", "containerID": "", "state": {"waiting": {}}}]
    assert read(document).container_ids == {}


def test_a_long_annotation_is_cut():
    """256 KiB in an annotation that we ask for cost its owner nothing, and us little."""
    pod = read(make_pod("web", annotations={OPT_OUT: "x" * 250_000}))
    assert pod.annotations == {OPT_OUT: "x" * MAX_VALUE_CHARACTERS}


def test_no_text_breaks_an_encoder():
    r"""A lone surrogate, which JSON can spell as \ud800, is told as a question mark."""
    pod = read(make_pod("web", annotations={MARK: "a\ud800b"}))
    assert pod.annotations[MARK].encode() == b"a?b"


@pytest.mark.parametrize("kind", [EventType.ADDED, EventType.MODIFIED, EventType.DELETED])
def test_an_event_has_its_pod_and_the_version_to_go_on_from(kind):
    """The version of an event is that of its object."""
    document = make_pod("web", uid="u-1")
    document["metadata"]["resourceVersion"] = "1231"
    event = reader().event_of_line(line(kind, {"kind": "Pod", "apiVersion": "v1", **document}))
    assert (event.type, event.resource_version, event.status) == (kind, 1231, None)
    assert event.pod is not None
    assert (event.pod.uid, event.pod.resource_version) == ("u-1", 1231)


def test_a_bookmark_is_a_version_and_nothing_else():
    """A bookmark as a real server sends it has a pod without a name."""
    real = (
        b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1085"},'
        b'"spec":{"containers":null},"status":{}}}'
    )
    event = reader().event_of_line(real)
    assert (event.type, event.resource_version, event.pod, event.status) == ("BOOKMARK", 1085, None, None)


def test_an_error_tells_its_status():
    """An ERROR as a real server sends it for a version that is too old."""
    real = (
        b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
        b'"message":"too old resource version: 1 (1246)","reason":"Expired","code":410}}'
    )
    event = reader().event_of_line(real)
    assert event.type is EventType.ERROR
    assert event.status is not None
    assert (event.status.code, event.status.reason) == (410, "Expired")
    assert event.status.message == "too old resource version: 1 (1246)"


def test_an_error_may_ask_for_patience():
    """The seconds of an ERROR's details are its Retry-After."""
    status = {"kind": "Status", "code": 429, "message": "wait\nnow", "details": {"retryAfterSeconds": 3}}
    event = reader().event_of_line(line("ERROR", status))
    assert event.status is not None
    assert (event.status.code, event.status.retry_after_s) == (429, 3.0)
    assert "\n" not in event.status.message


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"[]",
        b"no JSON",
        b"\xff\xfe",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"7"}}}',
        b'{"type":"MODIFIED","object":{"metadata":{"uid":"u","name":"p","namespace":"n"}}}',
        b'{"type":"MODIFIED","object":{"metadata":{"uid":"u","name":"p","namespace":"n","resourceVersion":"x"}}}',
        b'{"type":"BOOKMARK","object":{}}',
        b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":-5}}}',
        b'{"type":"GREETING","object":{"metadata":{"resourceVersion":"7"}}}',
        b'{"object":{"metadata":{"resourceVersion":"7"}}}',
        b'{"type":["ADDED"],"object":{}}',
        b"[" * 100_000,
        b'{"type":' + b"1" * 5000 + b"}",
    ],
)
def test_a_line_that_is_no_event_is_refused(bad):
    """What is not JSON, of no known type, or no pod, is no event."""
    with pytest.raises(MalformedError):
        reader().event_of_line(bad)


def recorded_lists():
    """All lists of whole pods that a real server sent."""
    for step in (step for name in names() for step in steps(name)):
        if step.body.startswith('{"kind":"PodList"') and step.body.rstrip().endswith("}"):
            yield step.body


def test_the_lists_of_a_real_server_are_read():
    """Each item of each recorded list is a pod, with the uid, phase and containers that its JSON holds."""
    bodies = list(recorded_lists())
    assert len(bodies) > 10
    for body in bodies:
        document = json.loads(body)
        listed = reader().pods_of_list(body.encode())
        assert listed.skipped == 0
        assert listed.resource_version == int(document["metadata"]["resourceVersion"])
        assert [(pod.uid, pod.phase, pod.containers) for pod in listed.pods] == [
            (
                item["metadata"]["uid"],
                item["status"]["phase"],
                tuple(container["name"] for container in item["spec"]["containers"]),
            )
            for item in document["items"]
        ]


def test_the_watches_of_a_real_server_are_read():
    """Each recorded line of whole pods is an event of its type, with its pod or its error."""
    seen: set[str] = set()
    for step in (step for name in names() for step in steps(name)):
        for raw in step.lines:
            document = json.loads(raw)
            if document["object"]["kind"] not in ("Pod", "Status"):
                continue
            event = reader().event_of_line(raw.encode())
            seen.add(event.type)
            assert event.type == document["type"]
            if event.type is EventType.ERROR:
                assert event.status is not None
                assert event.status.code == document["object"]["code"]
                continue
            metadata = document["object"]["metadata"]
            assert event.resource_version == int(metadata["resourceVersion"])
            assert (event.pod and event.pod.uid) == metadata.get("uid")
    assert seen == set(EventType)
