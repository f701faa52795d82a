from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.codec import PAGE_BYTES, decode
from oomtracer.events import Outcome, Source

from . import records
from .builders import examples
from .records import Fields, Level, Path, decoded, record

OF_THE_RUN = Fields.CONTEXT | Fields.CONSTRAINT | Fields.TOTAL_PAGES | Fields.CHOSEN_POINTS
SIZES = ("total_vm", "anon_rss", "file_rss", "shmem_rss", "swap")


@given(values=records.scalars(), comm=records.text(16), trigger_comm=records.text(16))
@examples(200)
def test_every_value_of_a_record_arrives_in_its_own_place_and_unit(values, comm, trigger_comm):
    """Each member decodes to the field named like it, pages as bytes, whatever its value."""
    fields = Fields.MEMORY | Fields.CONTAINER_PID | OF_THE_RUN
    kill = decode(record(**values, fields=fields, victim_comm=comm, trigger_comm=trigger_comm))
    victim = kill.victim
    assert (kill.seq, kill.boot_time_ns) == (values["seq"], values["boot_time_ns"])
    assert (victim.pid, victim.tid, victim.uid) == tuple(
        values[f"victim_{key}"] for key in ("tgid", "tid", "uid")
    )
    assert victim.container_pid == values["victim_container_pid"]
    assert kill.pid_namespace_level == values["victim_pid_ns_level"]
    assert victim.oom_score_adj == values["victim_oom_score_adj"]
    assert victim.start_time_ns == values["victim_start_time_ns"]
    for name in SIZES:
        assert getattr(victim, f"{name}_bytes") == values[f"victim_{name}_pages"] * PAGE_BYTES
    assert victim.page_tables_bytes == values["victim_page_tables_bytes"]
    assert (victim.comm, kill.trigger.comm) == (decoded(comm), decoded(trigger_comm))
    assert (kill.trigger.pid, kill.trigger.tid) == (values["trigger_tgid"], values["trigger_tid"])
    assert (kill.constraint, kill.order) == (values["oom_constraint"], values["oom_order"])
    assert (kill.gfp_mask, kill.total_pages) == (values["oom_gfp_mask"], values["oom_total_pages"])
    assert kill.chosen_points == values["oom_chosen_points"]


@given(values=records.scalars())
@examples(50)
def test_a_value_whose_bit_is_missing_is_unknown_whatever_stands_in_its_place(values):
    """Without its bit an optional value decodes to None."""
    kill = decode(record(**values, fields=0))
    victim = kill.victim
    unknown = [getattr(victim, f"{name}_bytes") for name in (*SIZES, "page_tables")]
    unknown += [
        victim.container_pid,
        victim.cgroup,
        victim.cmdline,
        kill.pid_namespace_level,
        kill.trigger.cgroup,
    ]
    unknown += [kill.unified_cgroup, kill.constraint, kill.order, kill.gfp_mask, kill.total_pages]
    unknown += [kill.chosen_points, kill.limit_level]
    assert unknown == [None] * len(unknown)
    assert (kill.levels, kill.stack) == ((), ())


def test_zero_stays_zero_where_its_bit_is_set():
    """A 0 that the kernel reported is a real zero, never unknown."""
    kill = decode(record(fields=Fields.MEMORY | Fields.CONTAINER_PID | OF_THE_RUN))
    victim = kill.victim
    assert [getattr(victim, f"{name}_bytes") for name in (*SIZES, "page_tables")] == [0] * 6
    assert (victim.container_pid, kill.pid_namespace_level) == (0, 0)
    assert (kill.constraint, kill.order, kill.gfp_mask, kill.total_pages, kill.chosen_points) == (
        0,
        0,
        0,
        0,
        0,
    )


@given(levels=records.levels(), skipped=st.integers(0, 5))
@examples(200)
def test_levels_carry_their_path_counters_and_marks(levels, skipped):
    """Level i is the path down to the i-th name above the leaf, with usage, limit and flags of its own."""
    kill = decode(record(victim_levels=levels, levels_skipped=skipped, fields=Fields.LEVELS))
    names = [decoded(level.name, cut=level.cut) for level in levels]
    assert [level.cgroup for level in kill.levels] == [
        "/" + "/".join(reversed(names[i:])) for i in range(len(names))
    ]
    assert [level.usage_bytes for level in kill.levels] == [level.usage * PAGE_BYTES for level in levels]
    assert [level.oom_group for level in kill.levels] == [level.oom_group for level in levels]
    assert [level.includes_swap for level in kill.levels] == [level.memsw for level in levels]
    for told, level in zip(kill.levels, levels, strict=True):
        unlimited = level.limit * PAGE_BYTES > 2**63 - 1 - PAGE_BYTES
        assert told.limit_bytes == (None if unlimited else level.limit * PAGE_BYTES)
    assert kill.levels_complete == (skipped == 0)
    whole = "/" + "/".join([*reversed(names), *(["…"] if skipped else [])])
    assert kill.victim.cgroup == whole


@given(stack=st.lists(st.integers(0, 2**64 - 1), max_size=records.STACK_MAX))
@examples(50)
def test_the_stack_is_as_deep_as_the_record_says(stack):
    """Return addresses come innermost first, and none beyond the depth."""
    assert decode(record(stack=stack)).stack == tuple(stack)


@given(unified=records.path(), trigger=records.path())
@examples(100)
def test_a_wide_record_carries_two_further_paths(unified, trigger):
    """Cgroup v2 path and trigger path are told with cut names and skipped levels marked."""
    kill = decode(record(paths={records.UNIFIED: unified, records.TRIGGER: trigger}))
    for told, path in ((kill.unified_cgroup, unified), (kill.trigger.cgroup, trigger)):
        names = [decoded(name, cut=bool(path.cut >> i & 1)) for i, name in enumerate(path.names)]
        assert told == "/" + "/".join([*reversed(names), *(["…"] if path.skipped else [])])


def test_skipped_levels_are_told_at_the_leaf():
    """The levels left out of a path are those next to the leaf, and one ellipsis stands for them."""
    kill = decode(record(paths={records.UNIFIED: Path([b"b", b"a"], skipped=3)}))
    assert kill.unified_cgroup == "/a/b/…"


@pytest.mark.parametrize(
    ("fields", "cgroup"),
    [(Fields.TRIGGER_SAME, "/a/b"), (Fields.TRIGGER_ROOT, "/"), (Fields.TRIGGER_PATH, None), (0, None)],
)
def test_the_trigger_is_placed_by_its_bits(fields, cgroup):
    """The trigger is where the victim is, in the root, or nowhere known; a path needs a wide record."""
    kill = decode(record(victim_levels=[Level(b"b"), Level(b"a")], fields=Fields.LEVELS | fields))
    assert kill.trigger.cgroup == cgroup


def test_a_victim_without_a_memory_controller_is_where_cgroup_v2_says():
    """Without levels, the cgroup v2 path is the victim's cgroup."""
    kill = decode(record(paths={records.UNIFIED: Path([b"b", b"a"])}))
    assert (kill.victim.cgroup, kill.unified_cgroup) == ("/a/b", "/a/b")


def test_a_victim_in_the_root_has_the_path_slash():
    """No level, but a known memory controller: the root."""
    assert decode(record(fields=Fields.LEVELS)).victim.cgroup == "/"


@pytest.mark.parametrize(
    ("outcome", "told", "shared"),
    [
        (records.UNKNOWN, Outcome.UNKNOWN, False),
        (records.KILLED, Outcome.KILLED, False),
        (records.MARKED, Outcome.ALREADY_EXITING, False),
        (records.SHARED, Outcome.KILLED, True),
    ],
)
def test_outcomes(outcome, told, shared):
    """A mark without a signal was no kill; a sharer of the memory was killed."""
    kill = decode(record(outcome=outcome))
    assert (kill.outcome, kill.shared_memory, kill.source) == (told, shared, Source.TP_BTF)


@pytest.mark.parametrize(
    ("field", "known"),
    [
        (Fields.CONTEXT, {"order": 7, "gfp_mask": 8}),
        (Fields.CONSTRAINT, {"constraint": 9}),
        (Fields.TOTAL_PAGES, {"total_pages": 10}),
        (Fields.CHOSEN_POINTS, {"chosen_points": -11}),
    ],
)
def test_what_the_kernel_worked_out_is_told_bit_by_bit(field, known):
    """Of a run of the OOM killer exactly that is known whose bit is set."""
    values = {"oom_order": 7, "oom_gfp_mask": 8, "oom_constraint": 9, "oom_total_pages": 10}
    kill = decode(record(**values, oom_chosen_points=-11, fields=field))
    unknown = dict.fromkeys(("order", "gfp_mask", "constraint", "total_pages", "chosen_points"))
    assert {name: getattr(kill, name) for name in unknown} == unknown | known


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.KMSG])
def test_every_hook_of_the_record_has_its_source(source):
    """A record says which hook wrote it, and each source is written by one."""
    assert decode(record(hook=getattr(records.lib, f"OOM_HOOK_{source.name}"))).source is source


def test_names_of_invalid_utf8_are_replaced_not_refused():
    """Bytes that are no UTF-8 become replacement characters, also where a name fills its field."""
    full = b"\xff" * (records.NAME_SIZE - 1)
    kill = decode(record(victim_levels=[Level(full, cut=True)], victim_comm=b"\xc3(\xff"))
    assert kill.victim.comm == "\ufffd(\ufffd"
    assert kill.victim.cgroup == "/" + "\ufffd" * 127 + "…"


def test_the_kernels_known_limit_is_an_index_into_the_levels():
    """The level whose limit was hit is told only where the kernel said so."""
    levels = [Level(b"b"), Level(b"a")]
    fields = Fields.LEVELS | Fields.LIMIT_LEVEL
    assert decode(record(victim_levels=levels, fields=fields, limit_level=1)).limit_level == 1
    assert decode(record(victim_levels=levels, fields=Fields.LEVELS, limit_level=1)).limit_level is None
