"""The names in a dump's last line, where they imitate the line's own words."""

from __future__ import annotations

import pytest

from oomtracer.backfill.names import Names, names_of

IMITATED = "/p,mems_allowed=0,global_oom,task_memcg=/q"


def read(text: str) -> Names | None:
    """The only way to read it."""
    return names_of(text, lambda _: True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("/,mems_allowed=0,global_oom,task_memcg=/a,task=x", (None, "/a", "x")),
        ("job,mems_allowed=0-3,8,oom_memcg=/a,task_memcg=/a/b,task=x", ("/a", "/a/b", "x")),
        ("/,mems_allowed=,oom_memcg=/a,task_memcg=/a,task=", ("/a", "/a", "")),
        ("/,mems_allowed=0,global_oom,task_memcg=/,task=a,pid=1", (None, "/", "a,pid=1")),
        # sixteen bytes are no command
        (
            "/,mems_allowed=0,global_oom,task_memcg=/a,task=ten-bytes-,task=x",
            (None, "/a,task=ten-bytes-", "x"),
        ),
        # the victim is in the cgroup at its limit, or below it
        (
            "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/x,task_memcg=/b,task=x",
            ("/a", "/a/x,task_memcg=/b", "x"),
        ),
        # a cpuset's name has no slash
        (
            f"/,mems_allowed=0,oom_memcg={IMITATED},task_memcg={IMITATED},task=x",
            (IMITATED, IMITATED, "x"),
        ),
        ("q,mems_allowed=0,global_oom,mems_allowed=1,global_oom,task_memcg=/a,task=x", (None, "/a", "x")),
    ],
)
def test_one_way_to_read_it(text, names):
    """What no kernel prints is no way."""
    assert read(text) == Names(*names)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/,mems_allowed=0,global_oom",
        "/,mems_allowed=0,oom_memcg=/a,task_memcg=/b,task=x",
        "a/b,mems_allowed=0,global_oom,task_memcg=/a,task=x",
        "/,mems_allowed=0,global_oom,task_memcg=/a,task=sixteen-bytes-ab",
        # two ways: a command or the end of a cgroup's name
        "/,mems_allowed=0,global_oom,task_memcg=/a,task=b,task=c",
        # two ways: both put the victim at or below the limit
        "/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task_memcg=/a,task_memcg=/a/b,task=x",
    ],
)
def test_no_way_or_more_than_one(text):
    """Then nothing is known."""
    assert read(text) is None


def test_a_text_longer_than_any_record_is_not_read():
    """The time is bounded, whatever the names are."""
    many = [f"/,mems_allowed=0,oom_memcg=/a{',task_memcg=/a/b' * count},task=x" for count in (200, 2_000)]
    assert [read(text) is None for text in many] == [False, True]
