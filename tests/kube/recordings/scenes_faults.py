"""How the recordings of overload, of stops and of a lost store are played."""

from __future__ import annotations

from collections.abc import Mapping

from tests.kube.apiserver import (
    End,
    disruption_budget,
    etcd_timeout,
    overloaded,
    request_timeout,
    shutting_down,
    storage_initializing,
)

from . import recorded
from .not_compared import NOT_COMPARED
from .play import Play, Scene


async def _sigterm(play: Play) -> None:
    step = recorded(play.name, "the watch")
    states = [event["object"] for event in step.events if event["type"] == "MODIFIED"]
    first, second = ({part: pod[part] for part in ("metadata", "spec", "status")} for pod in states)
    play.seed({**first, "metadata": first["metadata"] | {"resourceVersion": "1"}}, version=1231)

    def stop_and_change() -> None:
        play.api.refuse()
        play.api.update_pod(first)
        play.api.store.version = 1234
        play.api.update_pod(second)
        play.api.store.version = 1243

    await play.step(step.label, stop_and_change)


async def _kill(play: Play) -> None:
    play.seed(version=1166)
    await play.step("watch when", lambda: play.api.end_watches(End.CUT))


async def _reinit(play: Play) -> None:
    play.seed(version=1272)
    await play.step("the open watch", lambda: play.api.end_watches(End.CLEAN))
    play.api.fail(storage_initializing())
    await play.rest(but=NOT_COMPARED[play.name])


async def _prepared_answers(play: Play) -> None:
    prepared = {
        "11a": overloaded(1),
        "11b": overloaded(16),
        "12e": shutting_down(),
        "10b": disruption_budget(),
    }
    play.api.fail(prepared[play.name[:3]])
    await play.rest(but=NOT_COMPARED[play.name])


async def _etcd_down(play: Play) -> None:
    play.api.fail(
        request_timeout(), when=lambda request: request.method == "GET" or "timeout" in request.query
    )
    play.api.fail(etcd_timeout(), when=lambda request: request.method == "PATCH" and not request.query)
    await play.rest(but=NOT_COMPARED[play.name])


SCENES: Mapping[str, Scene] = {
    "10b-eviction-pdb": _prepared_answers,
    "11a-429-max-in-flight": _prepared_answers,
    "11b-429-apf": _prepared_answers,
    "12a-apiserver-sigterm": _sigterm,
    "12d-apiserver-kill9": _kill,
    "12e-apiserver-sigterm-graceful": _prepared_answers,
    "16-etcd-down": _etcd_down,
    "20-watch-cache-reinit": _reinit,
}
