"""Lines to kills: what the kernel prints, in order and out of order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oomtracer.backfill import LoggedKill, parse

from . import printed
from .printed import Kill

PLAIN = Kill()


def one(lines) -> LoggedKill:
    """The only kill that the lines tell."""
    [kill] = parse(lines)
    return kill


def test_a_whole_invocation():
    """Everything that the dump and the kill say."""
    kill = one(printed.invocation(PLAIN))
    assert (kill.pid, kill.killed.tid, kill.killed.comm, kill.killed.uid) == (4242, 4242, "shop", 1000)
    assert kill.killed.oom_score_adj == -998
    sizes = (kill.killed.total_vm_kib, kill.killed.anon_kib, kill.killed.file_kib, kill.killed.shmem_kib)
    assert (*sizes, kill.killed.page_tables_kib) == (66780, 16384, 592, 4, 68)
    assert (kill.context.oom_memcg, kill.task_memcg) == (PLAIN.oom_memcg, PLAIN.task_memcg)
    assert (kill.context.order, kill.context.gfp_mask, kill.context.constraint) == (0, 0xCC0, "MEMCG")
    assert (kill.context.trigger_tid, kill.context.trigger_pid, kill.context.trigger_comm) == (
        4242,
        4242,
        "shop",
    )
    assert kill.context.usage
    assert (kill.context.usage.usage_kib, kill.context.usage.limit_kib) == (65536, 65536)
    assert (kill.incident, kill.group, kill.group_index) == ((4242, PLAIN.time_us), None, None)


def test_a_kill_without_a_dump_says_no_more_than_its_line():
    """Dumps are rate-limited; of what only they say, nothing is taken from the kill before."""
    first, second = parse([*printed.invocation(PLAIN), printed.killed(replace(PLAIN, pid=5, comm="b"))])
    assert first.context.oom_memcg == PLAIN.oom_memcg
    assert (second.pid, second.task_memcg, second.group) == (5, None, None)
    assert {getattr(second.context, name) for name in second.context.__slots__} == {None}
    assert second.incident == (5, PLAIN.time_us)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("NONE", "Out of memory"),
        ("CPUSET", "Out of memory"),
        ("MEMORY_POLICY", "Out of memory (oom_kill_allocating_task)"),
    ],
)
def test_kills_that_no_memory_cgroup_asked_for(constraint, message):
    """A global, cpuset or mempolicy kill has a constraint and no cgroup at its limit."""
    kill = one(
        printed.invocation(
            replace(PLAIN, constraint=constraint, message=message, oom_memcg=None, cpuset="job7")
        )
    )
    assert (kill.context.constraint, kill.context.oom_memcg) == (constraint, None)
    assert kill.task_memcg == PLAIN.task_memcg
    assert not kill.killed.is_memcg


def test_memory_and_swap_is_the_limit_where_that_is_nearer():
    """Cgroup v1 has two counters, and either can be the one that was full."""
    kill = one(printed.invocation(replace(PLAIN, usage_kib=9000, swap_usage_kib=70000, swap_limit_kib=70000)))
    assert kill.context.usage
    assert (kill.context.usage.includes_swap, kill.context.usage.limit_kib) == (True, 70000)


def test_a_thread_of_a_process_whose_leader_has_ended():
    """The kill names the thread, the dump the process."""
    kill = one(printed.invocation(replace(PLAIN, tid=4250, trigger=4250)))
    assert (kill.pid, kill.killed.tid, kill.task_memcg) == (4242, 4250, PLAIN.task_memcg)
    assert kill.context.trigger_pid == 4242


def test_a_trigger_that_the_dump_does_not_list_has_no_process_id():
    """The stack's task is a thread; of which process, only the dump's table says."""
    others = replace(PLAIN, trigger=77, trigger_comm="other")
    assert one(printed.invocation(others)).context.trigger_pid == 77
    kill = one(printed.invocation(replace(others, is_trigger_listed=False)))
    assert (kill.context.trigger_tid, kill.context.trigger_pid) == (77, None)


def test_lines_of_other_cpus_in_between():
    """Whatever else is printed meanwhile, a stack included, changes nothing."""
    noise = [
        printed.line(printed.WARNING, "CPU: 0 PID: 9 Comm: kworker/0:1 Tainted: G W 6.1.0 #1"),
        printed.line(printed.INFO, "EXT4-fs (vda1): mounted filesystem"),
        printed.line(
            printed.INFO, "oom_reaper: reaped process 3 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
        ),
    ]
    lines = [each for line in printed.invocation(PLAIN) for each in (*noise, line, *noise)]
    assert parse(lines) == parse(printed.invocation(PLAIN))


def test_two_stacks_of_the_same_command_name_no_trigger():
    """What cannot be told apart is not known."""
    lines = printed.invocation(PLAIN)
    twin = printed.line(printed.WARNING, "CPU: 0 PID: 9 Comm: shop Not tainted 6.1.0 #1")
    kill = one([*lines[:3], twin, *lines[3:]])
    assert (kill.context.trigger_comm, kill.context.trigger_tid) == ("shop", None)


def test_a_group_kill_tells_the_chosen_one_twice_and_is_one_incident():
    """The dump lists all members, and the group is the cgroup at its limit: whose they are is certain."""
    others = ((11, "a"), (12, "b"))
    head = replace(PLAIN, others=others)
    members = [replace(head, pid=pid, comm=comm) for pid, comm in others]
    lines = [
        *printed.invocation(head),
        printed.group("/shop.slice"),
        printed.killed(members[0]),
        printed.killed(head),
        printed.spared(replace(head, pid=13)),
        printed.killed(members[1]),
    ]
    kills = parse(lines)
    assert [(kill.pid, kill.group_index) for kill in kills] == [(4242, 0), (11, 1), (12, 2)]
    assert {kill.incident for kill in kills} == {(4242, head.time_us)}
    assert {kill.group for kill in kills} == {"/shop.slice"}
    assert {kill.context for kill in kills} == {kills[0].context}
    assert [kill.task_memcg for kill in kills] == [head.task_memcg, None, None]


def test_members_that_could_be_of_another_invocation_are_kills_of_their_own():
    """A group below the cgroup at its limit, or without a dump: the next kill need not belong to it."""
    other = replace(PLAIN, pid=11, comm="a")
    listed = replace(PLAIN, others=((11, "a"),))
    for head in (printed.invocation(listed), [printed.killed(listed)]):
        first, second = parse(
            [*head, printed.group("/shop.slice/shop.service"), printed.killed(other), printed.killed(PLAIN)]
        )
        assert (first.group, first.group_index) == ("/shop.slice/shop.service", 0)
        assert (second.pid, second.group, second.incident) == (11, None, (11, PLAIN.time_us))
        assert second.context.oom_memcg is None


def test_a_group_whose_chosen_one_was_spared_is_nobodys():
    """What is killed afterwards belongs neither to that run's dump nor to the kill before."""
    before = replace(PLAIN, pid=3, others=((11, "a"),))
    lines = [
        *printed.invocation(before),
        *printed.dump(PLAIN),
        printed.spared(PLAIN),
        printed.group("/shop.slice"),
        printed.killed(replace(PLAIN, pid=11, comm="a")),
    ]
    first, second = parse(lines)
    assert (first.group, second.group, second.context.oom_memcg) == (None, None, None)


def test_nobody_to_kill_ends_a_dump():
    """``no killable processes``: the next kill is another invocation's."""
    nobody = printed.line(printed.WARNING, "Out of memory and no killable processes...")
    kill = one([*printed.dump(PLAIN)[:-1], nobody, printed.killed(PLAIN)])
    assert kill.context.order is None


def test_missing_records_end_a_dump():
    """Where the log was overwritten while it was read, what is before and behind is not one invocation."""
    lines = [replace(line, sequence=i) for i, line in enumerate(printed.invocation(PLAIN))]
    assert one(lines).task_memcg == PLAIN.task_memcg
    lines[-1] = replace(lines[-1], sequence=len(lines))
    assert one(lines).task_memcg is None


def test_a_log_that_starts_within_a_dump():
    """Of the oldest invocation the first lines may be overwritten: the rest is still true."""
    kill = one([printed.summary(PLAIN), printed.killed(PLAIN)])
    assert (kill.task_memcg, kill.context.oom_memcg) == (PLAIN.task_memcg, PLAIN.oom_memcg)
    assert (kill.context.order, kill.context.usage, kill.context.trigger_tid) == (None, None, None)


def test_a_dump_that_names_another_user_is_not_believed():
    """The summary's process and the killed one are the same user's, or one of both lines is somebody else's."""
    kill = one([*printed.dump(replace(PLAIN, uid=5)), printed.killed(PLAIN)])
    assert (kill.task_memcg, kill.context.constraint) == (None, None)


@pytest.mark.parametrize("uid", [0, 65534, 2**31, 2**32 - 2])
def test_every_user_id(uid):
    """The dump prints it signed, the kill unsigned."""
    assert one(printed.invocation(replace(PLAIN, uid=uid))).task_memcg == PLAIN.task_memcg


@pytest.mark.parametrize("end", ["", ", shmem-rss:7kB"])
def test_a_line_that_ends_early_is_no_kill(end):
    """No kernel from 5.8 on prints it so; a rule of netfilter, whose prefix has room for 127 bytes, could."""
    text = f"Out of memory: Killed process 1 (systemd) total-vm:10kB, anon-rss:9kB, file-rss:8kB{end}"
    assert parse([printed.line(printed.ERROR, text)]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 11},  # facility 1: user space
        {"priority": 6},
        {"is_fragment": True},
        {"text": "x" + printed.killed(PLAIN).text},
        {"text": printed.killed(PLAIN).text + "x"},
        {"text": printed.killed(PLAIN).text.replace("shop", "x" * 16)},
    ],
)
def test_what_is_no_kill(change):
    """Facility, level, place and every fixed word count."""
    assert parse([printed.killed(PLAIN)])
    assert parse([replace(printed.killed(PLAIN), **change)]) == []


def test_the_statistics_settle_which_cgroup_was_at_its_limit():
    """Their heading is the same path alone; without it this name can be read in two ways."""
    twice = "/a,task_memcg=/a/b"
    kill = replace(PLAIN, oom_memcg=twice, task_memcg=twice)
    told = one(printed.invocation(kill))
    assert (told.context.oom_memcg, told.task_memcg) == (twice, twice)
    told = one([line for line in printed.invocation(kill) if not line.text.startswith("Memory cgroup stats")])
    assert (told.context.oom_memcg, told.task_memcg, told.context.constraint) == (None, None, "MEMCG")


def test_a_group_after_a_spared_one_is_not_the_last_kills():
    """Without a dump only the spared process's line says that another run began."""
    lines = [
        printed.killed(PLAIN),
        printed.spared(replace(PLAIN, pid=5)),
        printed.group("/x"),
        printed.killed(PLAIN),
    ]
    assert [kill.group for kill in parse(lines)] == [None, None]


def test_a_chosen_one_that_was_killed_twice_is_told_once_whatever_comes_between():
    """Also where whose the members are is not known; a third time it would be another process of that number."""
    other = replace(PLAIN, pid=11, comm="a")
    lines = [printed.killed(PLAIN), printed.group("/x"), printed.killed(other), printed.killed(PLAIN)]
    assert [kill.pid for kill in parse(lines)] == [4242, 11]
    assert [kill.pid for kill in parse([*lines, printed.killed(PLAIN)])] == [4242, 11, 4242]
