"""How the recordings of PATCH, of Events, of rights and of admission are played."""

from __future__ import annotations

from collections.abc import Mapping

from tests.kube.apiserver import make_pod, rule

from . import recorded, steps
from .not_compared import NOT_COMPARED
from .play import KEY, RECORDED_POLICY, Play, Scene, pod_of, pods_of


async def _annotation(play: Play) -> None:
    play.seed(pod_of(play.name, "null on an absent key", resourceVersion="257"), version=257)
    await play.rest()


async def _noop(play: Play) -> None:
    play.seed(pod_of("05a", "null on an absent", resourceVersion="261", annotations={KEY: "v3"}), version=261)

    async def patch() -> None:
        for step in steps(play.name):
            if step.method == "PATCH":
                await play.step(step)

    await play.step("watch", patch)


async def _malformed(play: Play) -> None:
    play.seed(pod_of(play.name, "unknown field: Warning"), version=263)
    await play.rest(but=NOT_COMPARED[play.name])


async def _preconditions(play: Play) -> None:
    play.seed(pod_of(play.name, "right uid, merge", resourceVersion="266", annotations=None), version=266)
    await play.rest()


async def _recreated(play: Play) -> None:
    play.seed(pod_of(play.name, "no uid", resourceVersion="275", annotations=None), version=275)
    await play.rest()


async def _terminating(play: Play) -> None:
    play.seed(pod_of(play.name, "graceful delete"), version=279)
    for label in ("no such pod", "no such pod, uid", "no such namespace", "patch while"):
        await play.step(label)
    finished = pod_of(play.name, "patch a terminating pod")["status"]
    play.api.change_pod("demo", "p7", lambda pod: pod.update(status=finished))
    await play.step("patch a terminating pod")
    play.api.delete_pod("demo", "p7", grace=0)
    await play.step("patch after the delete")


def web_0(**metadata: object) -> dict[str, object]:
    """The pod web-0 as it is between cases 05 and 13."""
    (pod,) = [pod for pod in pods_of("04", "sendInitialEvents with") if pod["metadata"]["name"] == "web-0"]
    return {**pod, "metadata": pod["metadata"] | metadata}


async def _forbidden(play: Play) -> None:
    play.seed(web_0(), version=284)
    await play.rest(but=NOT_COMPARED[play.name])


async def _invalid(play: Play) -> None:
    p5 = pod_of(play.name, "value with newline", resourceVersion="263", annotations={KEY: "v4"})
    play.seed(web_0(resourceVersion="251", annotations={"fut": "4"}), p5, version=284)
    await play.rest()


async def _dead_token(play: Play) -> None:
    before = pod_of(play.name, "before", resourceVersion="288")
    events = recorded(play.name, "the watch").events
    agent = {part: events[1]["object"][part] for part in ("metadata", "spec", "status")}
    play.api.add_token("<agent-tmp>", "system:serviceaccount:agent-system:gpu-agent", node="node-a")
    del before["metadata"]["annotations"][KEY]
    play.seed(before, version=288)
    await play.step("before")
    play.seed({**agent, "metadata": agent["metadata"] | {"resourceVersion": "200"}}, version=289)

    def go_on() -> None:
        play.api.rotate_token("another")
        play.api.access.users.pop("<agent-tmp>")
        play.api.delete_pod("agent-system", "agent-tmp", grace=0)
        for event in events[2:]:
            play.api.store.version = int(event["object"]["metadata"]["resourceVersion"]) - 1
            play.api.update_pod({part: event["object"][part] for part in ("metadata", "spec", "status")})

    await play.step("the watch", go_on)
    await play.step("after the agent's own pod")


async def _mirror(play: Play) -> None:
    play.seed(*pods_of(play.name, "listed to the agent"), web_0(), version=370)
    skipped = NOT_COMPARED[play.name]
    await play.rest(but={**skipped, "patch with the old": ""})
    play.seed(pod_of(play.name, "re-created"), version=374)
    await play.rest(but=skipped)


async def _policy(play: Play) -> None:
    api = play.api
    api.enforce(RECORDED_POLICY)
    pods = [pod_of(play.name, "own node, the one key, removed", resourceVersion="377")]
    pods.append(pod_of(play.name, "own node, pod without", annotations=None, resourceVersion="227"))
    pods.append(pod_of(play.name, "agent-b on", annotations={"other-node": "1"}, resourceVersion="300"))
    pods.append(pod_of(play.name, "mirror pod on"))
    del pods[-1]["metadata"]["annotations"][KEY]
    pods += [pod for pod in pods_of("01a", "limit=500") if pod["metadata"]["name"] == "web-1"]
    play.seed(*pods, make_pod("floating", node=None), version=378)
    await play.rest(but=NOT_COMPARED[play.name])


async def _rbac(play: Play) -> None:
    listed = recorded(play.name, "verbs ['list']: list").json["items"]
    pods = [{"metadata": pod["metadata"], "spec": {"nodeName": "node-a"}, "status": {}} for pod in listed]
    play.seed(*pods, version=391)
    for user, verbs in (("u-only-watch", "watch"), ("u-only-list", "list"), ("u-only-patch", "patch")):
        play.api.add_token(user, user, rules=[rule(verbs, "pods")])
    play.api.add_token("u-lwp", "u-lwp", rules=[rule("list watch patch", "pods")])
    await play.rest()


async def _expiry(play: Play) -> None:
    await play.rest(but=NOT_COMPARED[play.name])


async def _events(play: Play) -> None:
    play.seed(web_0(), version=322)
    await play.rest(but=NOT_COMPARED[play.name])


async def _terminating_namespace(play: Play) -> None:
    play.seed(pod_of(play.name, "pod annotation patch", annotations=None, resourceVersion="326"), version=329)
    play.api.terminate_namespace("dying")
    await play.rest(but=NOT_COMPARED[play.name])


SCENES: Mapping[str, Scene] = {
    "05a-patch-annotation-ok": _annotation,
    "05b-patch-noop-watch": _noop,
    "05c-patch-malformed": _malformed,
    "06a-patch-uid-rv": _preconditions,
    "06b-patch-recreated": _recreated,
    "07a-patch-gone-terminating": _terminating,
    "07b-patch-forbidden-unauthorized": _forbidden,
    "07c-patch-invalid": _invalid,
    "07d-bound-token-dead": _dead_token,
    "09b-event-events-k8s-io": _events,
    "09c-event-terminating-namespace": _terminating_namespace,
    "13-mirror-pod": _mirror,
    "14-validating-admission-policy": _policy,
    "15-rbac": _rbac,
    "19-token-expiry": _expiry,
}
