from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from oomtracer.errors import UnsupportedError, UsageError
from oomtracer.libbpf import Member
from oomtracer.tracer import HOOKS, choose_hooks, hook_names, loading, tracer
from oomtracer.tracer.hooks import Hook
from oomtracer.tracer.needs import EventField, Function, Kprobes, Tracepoint

from .kernels import EVENT, OUT_OF_MEMORY, PID, SIGNAL, TASK, FakeKernel, complete

VICTIMS = tuple(hook for hook in HOOKS if hook.group == "victim")


def chosen(kernel: FakeKernel, *disabled: str, hooks=HOOKS) -> dict[str, str | None]:
    """Tell the program in use for each group."""
    choices = choose_hooks(kernel, disabled=frozenset(disabled), hooks=hooks)
    return {choice.group: choice.hook and choice.hook.program for choice in choices}


KERNELS = {
    "task, all there": (
        complete(),
        {"victim": "mark_victim_task", "truth": "signal_generate_task", "context": "out_of_memory_fentry"},
    ),
    "pid only (5.10.223)": (
        complete(PID),
        {"victim": "mark_victim_pid", "truth": "signal_generate_task", "context": "out_of_memory_fentry"},
    ),
    "no mark_victim in BTF, tracefs mounted": (
        replace(complete({})),
        {"victim": "mark_victim_event", "truth": "signal_generate_task", "context": "out_of_memory_fentry"},
    ),
    "out_of_memory folded away": (
        replace(complete(), functions={}),
        {"victim": "mark_victim_task", "truth": "signal_generate_task", "context": None},
    ),
    "another oom_control": (
        replace(complete(), functions={"out_of_memory": ("oom_context *",)}),
        {"victim": "mark_victim_task", "truth": "signal_generate_task", "context": None},
    ),
    "nothing": (FakeKernel(), {"victim": None, "truth": None, "context": None}),
}


@pytest.mark.parametrize(("kernel", "programs"), KERNELS.values(), ids=KERNELS)
def test_what_a_kernel_has_decides(kernel, programs):
    """For each shape of BTF the first hook of each group that fits is used."""
    assert chosen(kernel) == programs


def test_a_mark_that_hands_over_a_pid_is_never_taken_for_a_task():
    """With the older prototype a program that takes a task would read garbage, and the other way round."""
    for mark, wrong in ((PID, "mark_victim_task"), (TASK, "mark_victim_pid")):
        kernel = FakeKernel(mark | SIGNAL)
        assert chosen(kernel)["victim"] not in (None, wrong)
        others = [hook.name for hook in VICTIMS if hook.program != wrong]
        assert chosen(kernel, *others)["victim"] is None


@pytest.mark.parametrize("mark", [TASK, PID])
def test_the_next_hook_takes_over_from_one_that_is_switched_off(mark):
    """Each group goes on with its next hook that fits, down to none."""
    kernel = complete(mark)
    first = "tp_btf/mark_victim" if mark is TASK else "tp_btf/mark_victim_pid"
    assert chosen(kernel, first)["victim"] == "mark_victim_event"
    assert chosen(kernel, first, "tracepoint/oom/mark_victim")["victim"] is None
    assert chosen(kernel, "fentry/out_of_memory")["context"] == "out_of_memory_kprobe"
    assert chosen(kernel, "fentry/out_of_memory", "kprobe/out_of_memory")["context"] is None
    assert chosen(kernel, "tp_btf/signal_generate")["truth"] is None


def test_why_each_hook_is_not_used_is_told():
    """Switched off and unfit hooks have their reasons; one that would be next has none."""
    choices = choose_hooks(complete(), disabled=frozenset({"tp_btf/mark_victim"}))
    assert [candidate.reason for candidate in choices[0].candidates] == [
        "switched off by --disable-hook",
        "mark_victim takes (task_struct *, uid_t) here",
        "",
    ]
    assert choices[0].reason == (
        "tp_btf/mark_victim: switched off by --disable-hook; "
        "tp_btf/mark_victim_pid: mark_victim takes (task_struct *, uid_t) here"
    )
    assert choices[2].reason == ""


def test_a_hook_that_was_refused_gives_way_to_the_next():
    """What the kernel refuses is ruled out with its reason, and nothing else changes."""
    choice = choose_hooks(complete())[2]
    after = choice.without(choice.hook, "refused")
    assert (after.hook.name, after.reason) == ("kprobe/out_of_memory", "fentry/out_of_memory: refused")
    assert after.without(after.hook, "too").hook is None
    assert choice.without(HOOKS[0], "another group's") == choice


@pytest.mark.parametrize(
    ("need", "kernel", "missing"),
    [
        (Tracepoint("t", ("int",)), FakeKernel(), "this kernel has no tracepoint t"),
        (Tracepoint("t", ("int",)), FakeKernel({"t": ()}), "t takes () here"),
        (Tracepoint("t", ("int",)), FakeKernel({"t": ("long", "int")}), "t takes (long, int) here"),
        (Tracepoint("t", ("int",)), FakeKernel({"t": ("int", "long")}), ""),
        (Function("f", ("x *",)), FakeKernel(), "this kernel has no function f"),
        (Function("f", ("x *",)), FakeKernel(functions={"f": ("y *",)}), "f takes (y *) here"),
        (Function("f", ("x *",)), FakeKernel(functions=OUT_OF_MEMORY | {"f": ("x *", "int")}), ""),
        (EventField("oom", "mark_victim", "pid"), FakeKernel(events=True), "has no pid here"),
        (
            EventField("oom", "mark_victim", "pid"),
            FakeKernel(structs={"trace_event_raw_mark_victim": (Member("tgid", 8, 4),)}, events=True),
            "has no pid here",
        ),
        (EventField("oom", "mark_victim", "pid"), FakeKernel(structs=EVENT), "mounted on"),
        (EventField("oom", "mark_victim", "pid"), FakeKernel(structs=EVENT, events=True), ""),
        (Kprobes(), FakeKernel(), "without kprobes"),
        (Kprobes(), FakeKernel(kprobes=True), ""),
    ],
)
def test_a_need_says_what_is_missing(need, kernel, missing):
    """A missing thing, or another prototype, is named; further arguments of a later kernel do no harm."""
    told = need.missing(kernel)
    assert missing in told if missing else told == ""


def test_what_is_not_required_may_be_absent():
    """Without the signal's tracepoint or a function probe reports only say less."""
    choices = {choice.group: choice for choice in choose_hooks(FakeKernel(TASK))}
    assert choices["victim"].hook
    assert [(choices[group].hook, choices[group].required) for group in ("truth", "context")] == [
        (None, False)
    ] * 2


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_table_explains_each_hook(hook: Hook):
    """Every row says what it adds and what it needs, under a name of its own."""
    assert hook.adds
    assert hook.needs
    assert [other.name for other in HOOKS].count(hook.name) == 1
    assert [other.program for other in HOOKS].count(hook.program) == 1


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([], set()),
        (["fentry/out_of_memory"], {"fentry/out_of_memory"}),
        (["fentry/out_of_memory, kprobe/out_of_memory,"], {"fentry/out_of_memory", "kprobe/out_of_memory"}),
        (["tp_btf/mark_victim", "tp_btf/mark_victim,"], {"tp_btf/mark_victim"}),
    ],
)
def test_hooks_are_named_one_by_one_or_by_commas(given, names):
    """Names of the table, in any grouping."""
    assert hook_names(given) == names


@pytest.mark.parametrize("name", ["fentry", "mark_victim_task", "TP_BTF/mark_victim", "tp_btf/mark_victim;"])
def test_an_unknown_hook_is_wrong_usage(name):
    """A name that is not in the table is refused with those that are."""
    with pytest.raises(UsageError, match=f"there is no hook {name}") as caught:
        hook_names(["tp_btf/mark_victim", name])
    assert all(hook.name in caught.value.hint for hook in HOOKS)


def test_another_architecture_is_refused_by_name(monkeypatch):
    """A machine without an object is told, with those that have one."""
    monkeypatch.setattr(loading.os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(UnsupportedError, match="no BPF object for riscv64") as caught:
        loading.object_path()
    assert caught.value.hint == "supported architectures: x86_64, aarch64"


def test_a_tracer_that_is_not_loaded_has_lost_nothing():
    """Before it is entered, counters are 0 and every hook of the table is told as not attached."""
    idle = tracer.Tracer(ring_size_bytes=4096)
    assert set(idle.counted()) == {0}
    assert idle.attached() == {hook.name: False for hook in HOOKS}
