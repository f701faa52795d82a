from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from .mark_scene import ANNOTATION, LABEL, MARKING, Node
from .virtual_time import run_virtual

MARKED = {ANNOTATION.key: ANNOTATION.value}


def told(caplog) -> list[str]:
    """Collect what was said of pods that are not evicted."""
    return [r.getMessage() for r in caplog.records if "not evicted" in r.getMessage()]


def test_pods_with_our_mark_are_counted():
    """Either mark counts, with our value only, until the pod is on its way out."""

    async def main():
        node = Node(marking=replace(MARKING, label=LABEL), pods=6)
        node.see(node.pods[0], annotations=MARKED)
        node.see(node.pods[1], labels={LABEL.key: LABEL.value})
        node.see(node.pods[2], annotations={ANNOTATION.key: "no"})
        node.see(node.pods[3], annotations=MARKED, is_terminating=True)
        node.see(node.pods[4], annotations=MARKED)
        node.directory.remove(node.pods[4].uid)
        assert node.sink.marked_pods() == 2

    run_virtual(main())


def test_a_mark_that_nobody_acts_on_is_told_once(caplog):
    """After half an hour there is one line for each such pod, and none for one that was evicted in time."""
    caplog.set_level(logging.WARNING)

    async def main():
        async with Node(pods=3) as node:
            for pod in node.pods[:2]:
                node.see(pod, annotations=MARKED)
            await asyncio.sleep(29 * 60)
            node.directory.remove(node.pods[1].uid)
            assert told(caplog) == []
            await asyncio.sleep(3 * 60)
            assert len(told(caplog)) == 1
            assert told(caplog)[0].startswith("pod shop/shop-0 has been marked for 30 minutes")
            await asyncio.sleep(3600)
            assert len(told(caplog)) == 1

    run_virtual(main())


def test_a_mark_removed_and_set_again_begins_anew(caplog):
    """The half hour is one of being marked without a break."""
    caplog.set_level(logging.WARNING)

    async def main():
        async with Node() as node:
            for _ in range(3):
                node.see(node.pod, annotations=MARKED)
                await asyncio.sleep(20 * 60)
                node.see(node.pod, annotations={})
                await asyncio.sleep(2 * 60)
            assert told(caplog) == []

    run_virtual(main())


def test_a_mark_set_again_may_be_told_again(caplog):
    """Each time that a pod is marked is a time of its own."""
    caplog.set_level(logging.WARNING)

    async def main():
        async with Node() as node:
            for told_before in range(2):
                node.see(node.pod, annotations=MARKED)
                await asyncio.sleep(40 * 60)
                assert len(told(caplog)) == told_before + 1
                node.see(node.pod, annotations={})
                await asyncio.sleep(2 * 60)

    run_virtual(main())
