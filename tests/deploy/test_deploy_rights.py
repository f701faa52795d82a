"""Roles: exactly the verbs that are needed, bound to the one account."""

from __future__ import annotations

import pytest

from tests.deploy.render import OVERLAYS, Rendered, overlay, pod_spec

OBSERVE = {("", "pods", "list"), ("", "pods", "watch")}
EVENTS = {("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "patch")}
MARK = {("", "pods", "patch")}
MARKING = {"mark", "admission-policy"}


def rights(objects: Rendered) -> dict[str, set[tuple[str, str, str]]]:
    """Of each role: group, resource and verb."""
    granted = {}
    for role in (*objects.of("ClusterRole"), *objects.of("Role")):
        for rule in role["rules"]:
            assert set(rule) == {"apiGroups", "resources", "verbs"}
        granted[role["metadata"]["name"]] = {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
    return granted


@pytest.mark.parametrize("name", OVERLAYS)
def test_roles_grant_what_is_needed(name: str) -> None:
    """Two roles with these rights and no other: no get, no node, no eviction, no core Event, no wildcard."""
    expected = {} if name == "remove" else {"oomtracer-observe": OBSERVE | EVENTS}
    if name in MARKING:
        expected |= {"oomtracer-mark": MARK}
    assert rights(overlay(name)) == expected


@pytest.mark.parametrize("name", OVERLAYS)
def test_roles_are_bound_to_the_agent_alone(name: str) -> None:
    """Each role has one binding, to the account that the DaemonSet uses; the admission policy knows it by its name."""
    objects = overlay(name)
    bindings = [*objects.of("ClusterRoleBinding"), *objects.of("RoleBinding")]
    assert sorted(binding["roleRef"]["name"] for binding in bindings) == sorted(rights(objects))
    for binding in bindings:
        [subject] = binding["subjects"]
        account = objects.one("ServiceAccount")["metadata"]
        assert subject == {
            "kind": "ServiceAccount",
            "name": account["name"],
            "namespace": account["namespace"],
        }
        assert pod_spec(objects.one("DaemonSet"))["serviceAccountName"] == account["name"] == "oomtracer"


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_agent_gets_a_token(name: str) -> None:
    """The account hands its token to nobody by itself; the pod that asks is the agent's."""
    objects = overlay(name)
    for account in objects.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    mounted = {
        each["metadata"]["name"]
        for each in objects.of("DaemonSet")
        if pod_spec(each).get("automountServiceAccountToken", True)
    }
    assert mounted == (set() if name == "remove" else {"oomtracer"})


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_namespace_admits_the_pods(name: str) -> None:
    """Host paths need the level `privileged` of Pod Security; it is said for all three modes."""
    labels = overlay(name).one("Namespace")["metadata"]["labels"]
    modes = {
        key.removeprefix("pod-security.kubernetes.io/"): value
        for key, value in labels.items()
        if key.startswith("pod-security.kubernetes.io/")
    }
    assert modes == dict.fromkeys(("enforce", "warn", "audit"), "privileged")
