"""How the recordings of LIST and WATCH are played."""

from __future__ import annotations

from collections.abc import Mapping

from tests.kube.apiserver import make_pod

from . import recorded
from .not_compared import NOT_COMPARED
from .play import KEY, Play, Scene, pods_of


def others(count: int) -> list[dict[str, object]]:
    """Pods of another node, behind all recorded ones."""
    return [make_pod(f"z{number}", namespace="zz", node="node-b") for number in range(count)]


async def _list(play: Play) -> None:
    play.seed(*pods_of("01a", "limit=500"), *others(3), version=230)
    await play.rest(but=NOT_COMPARED.get(play.name))


async def _gzip(play: Play) -> None:
    play.seed(*(make_pod(f"p{n}", namespace="big") for n in range(40)), make_pod("web-0"), version=1500)
    await play.rest()


async def _lifecycle(play: Play) -> None:
    play.seed(*pods_of("01a", "limit=500"), version=230)
    created, with_status, *_ = [event["object"] for event in recorded(play.name, "watch").events]

    def live() -> None:
        api = play.api
        api.add_pod({part: created[part] for part in ("metadata", "spec", "status")})
        api.change_pod("demo", "w-new", lambda pod: pod.update(status=with_status["status"]))
        api.change_pod("demo", "w-new", lambda pod: pod["metadata"].update(annotations={KEY: "1"}))
        api.add_pod(make_pod("elsewhere", node="node-b"))
        api.delete_pod("demo", "w-new")

    await play.step("watch", live)


async def _binding(play: Play) -> None:
    (bound,) = pods_of(play.name, "watch")
    unbound = {**bound, "spec": {key: value for key, value in bound["spec"].items() if key != "nodeName"}}
    play.seed(*pods_of("01a", "limit=500"), unbound, version=240)

    def bind() -> None:
        play.api.update_pod(bound)

    await play.step("watch", bind)


async def _initial_events(play: Play) -> None:
    source = ("02c", "no resourceVersion") if play.name.startswith("02c") else ("02e", "limit=1")
    play.seed(*pods_of(*source), *others(1), version=241 if play.name.startswith("02c") else 246)
    await play.rest()


async def _selector_leave(play: Play) -> None:
    (web_0,) = pods_of(play.name, "watch")
    play.seed({**web_0, "metadata": web_0["metadata"] | {"resourceVersion": "224"}}, version=241)

    def relabel() -> None:
        play.api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(labels={"app": "other"}))
        play.api.change_pod("demo", "web-0", lambda pod: pod["metadata"].update(annotations={"unseen": "1"}))
        play.api.update_pod(web_0)

    await play.step("watch", relabel)


async def _bookmark_interval(play: Play) -> None:
    play.seed(version=1118)
    await play.rest()


async def _future(play: Play) -> None:
    (web_0,) = [pod for pod in pods_of("02e", "limit=1") if pod["metadata"]["name"] == "web-0"]
    play.seed(web_0, version=246)

    def change() -> None:
        for value in "01234":
            later = {**web_0, "metadata": web_0["metadata"] | {"annotations": {"fut": value}}}
            play.api.update_pod(later)

    await play.step("watch from now+3", change)


async def _send_initial_events(play: Play) -> None:
    play.seed(*pods_of(play.name, "resourceVersion=now"), version=253)
    await play.rest()


async def _gone(play: Play) -> None:
    play.seed(*pods_of(play.name, "sendInitialEvents with"), version=1250, oldest=1246)
    await play.rest()


async def _resume(play: Play) -> None:
    play.seed(version=1234, oldest=1234)
    text = recorded(play.name, "watch").events[0]["object"]["message"]
    play.api.store.oldest = play.api.store.version = int(text.partition("(")[2].rstrip(")"))
    await play.rest()


SCENES: Mapping[str, Scene] = {
    "01a-list-rv0": _list,
    "01b-list-paged": _list,
    "01c-list-rv-variants": _list,
    "01d-list-accept": _list,
    "02a-watch-lifecycle": _lifecycle,
    "02b-watch-binding": _binding,
    "02c-watch-no-rv": _initial_events,
    "02d-watch-selector-leave": _selector_leave,
    "02e-watch-errors": _initial_events,
    "02f-watch-bookmark-interval": _bookmark_interval,
    "02g-watch-future-rv": _future,
    "03-watch-send-initial-events": _send_initial_events,
    "04-410-gone": _gone,
    "12c-watch-resume-after-restart": _resume,
    "18b-gzip": _gzip,
}
