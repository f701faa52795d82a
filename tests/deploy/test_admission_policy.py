"""The admission policy, request by request: what an agent needs passes, all else is denied."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.kube.event import REPORTING_CONTROLLER
from oomtracer.kube.fence import PROBE_ANNOTATION
from tests.deploy.admission import Request, judge
from tests.deploy.render import Object, overlay

OBJECTS = overlay("admission-policy")
PARAMS = OBJECTS.one("ConfigMap", "oomtracer-mark")
ANNOTATION = PARAMS["data"]["victim-annotation"].split("=")[0]
LABEL = PARAMS["data"]["victim-label"].split("=")[0]
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "demo",
        "annotations": {"kept": "as it is"},
        "labels": {"app": "web"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
    },
    "spec": {"nodeName": "node-a", "containers": [{"name": "web", "image": "web:1"}]},
}
WRONG_NODE = "the pod is not on the node that the agent's token names"
WRONG_ANNOTATION = "of the annotations, only the one in the ConfigMap oomtracer-mark may change"
WRONG_LABEL = "of the labels, only the one in the ConfigMap oomtracer-mark may change"
NO_PATCH = "the agent may only patch pods"
OTHER = "spec, finalizers and owners may not change"
WRONG_EVENT = "the agent may write Events only under its own name and node"
FOREIGN_EVENT = "the agent may change only its own Events"

Change = Callable[[Object], object]


def patch(change: Change, *, before: Change = lambda pod: None) -> Request:
    """A patch of a pod of the agent's node that does this."""
    old = copy.deepcopy(POD)
    before(old)
    new = copy.deepcopy(old)
    change(new)
    return Request(group="", resource="pods", operation="UPDATE", new=new, old=old, params=PARAMS)


def annotate(key: str, value: str = "yes") -> Change:
    """Sets an annotation."""
    return lambda pod: pod["metadata"].setdefault("annotations", {}).update({key: value})


def label(key: str, value: str = "true") -> Change:
    """Sets a label."""
    return lambda pod: pod["metadata"].setdefault("labels", {}).update({key: value})


def without(*names: str) -> Change:
    """Takes away parts of the metadata."""

    def change(pod: Object) -> None:
        for name in names:
            del pod["metadata"][name]

    return change


def both(one: Change, other: Change) -> Change:
    """One change after the other."""
    return lambda pod: (one(pod), other(pod))


ALLOWED = {
    "the annotation": patch(annotate(ANNOTATION)),
    "the label": patch(label(LABEL)),
    "both marks": patch(both(annotate(ANNOTATION), label(LABEL))),
    "the annotation, changed": patch(annotate(ANNOTATION, "no"), before=annotate(ANNOTATION)),
    "the annotation, removed": patch(
        lambda pod: pod["metadata"]["annotations"].pop(ANNOTATION), before=annotate(ANNOTATION)
    ),
    "the only annotation, removed": patch(
        without("annotations"), before=both(without("annotations"), annotate(ANNOTATION))
    ),
    "the label, removed": patch(lambda pod: pod["metadata"]["labels"].pop(LABEL), before=label(LABEL)),
    "a pod without annotations and labels": patch(
        both(annotate(ANNOTATION), label(LABEL)), before=without("annotations", "labels")
    ),
    "a value of 1024 characters": patch(annotate(ANNOTATION, "x" * 1024)),
    "a patch that changes nothing": patch(lambda pod: None),
    "a static pod": patch(annotate(ANNOTATION), before=annotate("kubernetes.io/config.mirror", "hash")),
}
DENIED = {
    "a foreign annotation": (patch(annotate("other")), WRONG_ANNOTATION),
    "the probe of the fence": (patch(annotate(PROBE_ANNOTATION)), WRONG_ANNOTATION),
    "a foreign annotation beside the mark": (
        patch(both(annotate(ANNOTATION), annotate("other"))),
        WRONG_ANNOTATION,
    ),
    "a foreign annotation, changed": (patch(annotate("kept", "no")), WRONG_ANNOTATION),
    "a foreign annotation, removed": (
        patch(lambda pod: pod["metadata"]["annotations"].pop("kept")),
        WRONG_ANNOTATION,
    ),
    "all annotations, removed": (patch(without("annotations")), WRONG_ANNOTATION),
    "the descheduler's own annotation": (
        patch(annotate("descheduler.alpha.kubernetes.io/evict")),
        WRONG_ANNOTATION,
    ),
    "the label's key as annotation": (patch(annotate(LABEL)), WRONG_ANNOTATION),
    "a value of 1025 characters": (
        patch(annotate(ANNOTATION, "x" * 1025)),
        "the annotation may hold at most 1024 characters",
    ),
    "a foreign label": (patch(label("other")), WRONG_LABEL),
    "a foreign label, changed": (patch(label("app", "no")), WRONG_LABEL),
    "all labels, removed": (patch(without("labels")), WRONG_LABEL),
    "the annotation's key as label": (patch(label(ANNOTATION)), WRONG_LABEL),
    "the image": (patch(lambda pod: pod["spec"]["containers"][0].update(image="other:1")), OTHER),
    "the deadline": (patch(lambda pod: pod["spec"].update(activeDeadlineSeconds=1)), OTHER),
    "a finalizer": (patch(lambda pod: pod["metadata"].update(finalizers=["kept.example/stuck"])), OTHER),
    "the owner, removed": (patch(without("ownerReferences")), OTHER),
    "another node's pod": (replace(patch(annotate(ANNOTATION)), token_node="node-b"), WRONG_NODE),
    "another node's pod, nothing changed": (
        replace(patch(lambda pod: None), token_node="node-b"),
        WRONG_NODE,
    ),
    "a pod of no node": (
        patch(annotate(ANNOTATION), before=lambda pod: pod["spec"].pop("nodeName")),
        WRONG_NODE,
    ),
    "a token that names no node": (replace(patch(annotate(ANNOTATION)), token_node=None), WRONG_NODE),
    "a token of an empty node, a pod of no node": (
        replace(patch(annotate(ANNOTATION), before=lambda pod: pod["spec"].pop("nodeName")), token_node=""),
        WRONG_NODE,
    ),
    "a pod created": (
        Request(group="", resource="pods", operation="CREATE", new=POD, old=None, params=PARAMS),
        NO_PATCH,
    ),
    "a pod deleted": (
        Request(group="", resource="pods", operation="DELETE", new=None, old=POD, params=PARAMS),
        NO_PATCH,
    ),
    "an eviction": (
        Request(
            group="",
            resource="pods",
            subresource="eviction",
            operation="CREATE",
            new={"metadata": {"name": "web-0"}},
            old=None,
            params=PARAMS,
        ),
        NO_PATCH,
    ),
    "a status": (replace(patch(annotate(ANNOTATION)), subresource="status"), NO_PATCH),
    "a shell in a pod": (
        Request(
            group="",
            resource="pods",
            subresource="exec",
            operation="CONNECT",
            new={"kind": "PodExecOptions"},
            old=None,
            params=PARAMS,
        ),
        NO_PATCH,
    ),
    "no ConfigMap": (replace(patch(annotate(ANNOTATION)), params=None), "no params found"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_marking_needs_passes(case: str) -> None:
    """Setting, changing and removing the configured marks on a pod of the own node is allowed."""
    assert judge(OBJECTS, ALLOWED[case]) is None


@pytest.mark.parametrize("case", DENIED)
def test_all_else_is_denied(case: str) -> None:
    """Anything else that could be asked about a pod is denied, for the reason that applies."""
    request, reason = DENIED[case]
    assert judge(OBJECTS, request) == reason


@pytest.mark.parametrize("case", DENIED)
def test_nobody_else_is_concerned(case: str) -> None:
    """The same requests of other accounts, of administrators and of nodes pass."""
    request, _ = DENIED[case]
    for name in (
        "kubernetes-admin",
        "system:node:node-a",
        "system:serviceaccount:demo:web",
        "mallory:oomtracer",
    ):
        assert judge(OBJECTS, replace(request, name=name)) is None


@pytest.mark.parametrize("namespace", ["oomtracer", "elsewhere"])
def test_the_account_is_known_in_any_namespace(namespace: str) -> None:
    """The policy holds for the account under whatever namespace it is installed."""
    objects = overlay("admission-policy", namespace)
    name = f"system:serviceaccount:{namespace}:oomtracer"
    assert judge(objects, replace(DENIED["the image"][0], name=name)) == OTHER
    assert judge(objects, replace(ALLOWED["the label"], name=name)) is None


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        ({"victim-annotation": "a.example/b = c=d"}, {"the annotation of the test"}),
        ({"victim-annotation": "", "victim-label": "a.example/b=c"}, {"the label of the test"}),
        ({"victim-label": "a.example/b=c"}, {"the label of the test"}),
        ({"victim-annotation": "", "victim-label": ""}, set()),
        ({}, set()),
        ({"annotationKey": "a.example/b"}, set()),
    ],
)
def test_the_keys_are_those_of_the_config_map(data: dict[str, str], allowed: set[str]) -> None:
    """A key counts up to the first '=', as for the agent; an entry that is empty or missing allows nothing."""
    requests = {
        "the annotation of the test": patch(annotate("a.example/b")),
        "the label of the test": patch(label("a.example/b")),
        "the usual annotation": patch(annotate(ANNOTATION)),
    }
    params = PARAMS | {"data": data}
    passed = {name for name, each in requests.items() if judge(OBJECTS, replace(each, params=params)) is None}
    assert passed == allowed


def event(controller: str = REPORTING_CONTROLLER, instance: str = "node-a") -> Object:
    """An Event of the agent's, or of somebody else."""
    return {"reportingController": controller, "reportingInstance": instance}


def write(new: Object, old: Object | None = None) -> Request:
    """Creates or changes an Event."""
    operation = "UPDATE" if old else "CREATE"
    return Request(group="events.k8s.io", resource="events", operation=operation, new=new, old=old)


LONG = "n" * 200
EVENTS = {
    "its own": (write(event()), None),
    "its own, changed": (write(event() | {"series": {"count": 2}}, event()), None),
    "of a node with a long name": (
        replace(write(event(instance=LONG[:128])), token_node=LONG),
        None,
    ),
    "of another controller": (write(event("kubelet")), WRONG_EVENT),
    "of another node": (write(event(instance="node-b")), WRONG_EVENT),
    "of no node": (replace(write(event(instance="")), token_node=None), WRONG_EVENT),
    "of no node, by an empty name": (replace(write(event(instance="")), token_node=""), WRONG_EVENT),
    "somebody else's, taken over": (write(event(), event("kubelet")), FOREIGN_EVENT),
    "another node's, taken over": (write(event(), event(instance="node-b")), FOREIGN_EVENT),
}


@pytest.mark.parametrize("case", EVENTS)
def test_events_are_its_own(case: str) -> None:
    """The agent writes Events under its own name and node, and changes no other's."""
    request, reason = EVENTS[case]
    assert judge(OBJECTS, request) == reason


KEYS = st.sampled_from(["a", "b", ANNOTATION, LABEL])
VALUES = st.dictionaries(KEYS, st.sampled_from(["1", "2"]), max_size=4)


@given(old=st.tuples(VALUES, VALUES), new=st.tuples(VALUES, VALUES))
def test_only_the_two_keys_are_free(
    old: tuple[dict[str, str], dict[str, str]], new: tuple[dict[str, str], dict[str, str]]
) -> None:
    """Whatever annotations and labels a patch leads from and to: it passes if, and only if, the marks alone differ."""

    def put(values: tuple[dict[str, str], dict[str, str]]) -> Change:
        return lambda pod: pod["metadata"].update(annotations=values[0], labels=values[1])

    def foreign(values: dict[str, str], mark: str) -> dict[str, str]:
        return {key: value for key, value in values.items() if key != mark}

    same = all(
        foreign(old[index], mark) == foreign(new[index], mark)
        for index, mark in enumerate((ANNOTATION, LABEL))
    )
    assert (judge(OBJECTS, patch(put(new), before=put(old))) is None) == same
