from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from oomtracer.errors import UnsupportedError
from oomtracer.tracer import HOOKS, choose_hooks, tracer
from oomtracer.tracer.hooks import Hook

TASK = {"mark_victim": ("task_struct *", "uid_t")}
PID = {"mark_victim": ("int",)}
SIGNAL = {"signal_generate": ("int", "kernel_siginfo *", "task_struct *", "int", "int")}


def chosen(prototypes: dict[str, tuple[str, ...]], hooks=HOOKS) -> dict[str, str | None]:
    """Tell the program in use for each group."""
    choices = choose_hooks(prototypes.get, hooks)
    return {choice.group: choice.hook and choice.hook.program for choice in choices}


def test_a_mark_that_hands_over_the_task_is_used():
    """With the newer prototype both groups have their program."""
    assert chosen(TASK | SIGNAL) == {"victim": "mark_victim_task", "truth": "signal_generate_task"}


def test_a_mark_that_hands_over_a_pid_is_never_taken_for_a_task():
    """With the older prototype a program that takes a task would read garbage."""
    choice = choose_hooks((PID | SIGNAL).get)[0]
    assert choice.hook is None or choice.hook.program != "mark_victim_task"
    if choice.hook is None:
        assert (choice.required, choice.reason) == (True, "mark_victim takes (int) here")


@pytest.mark.parametrize(
    ("prototypes", "reason"),
    [
        ({}, "this kernel has no tracepoint mark_victim"),
        ({"mark_victim": ()}, "mark_victim takes () here"),
        ({"mark_victim": ("uid_t", "task_struct *")}, "mark_victim takes (uid_t, task_struct *) here"),
    ],
)
def test_a_group_without_a_hook_says_why(prototypes, reason):
    """A tracepoint that is missing, or has another prototype, is the reason given."""
    victim = tuple(hook for hook in HOOKS if hook.program == "mark_victim_task")
    choice = choose_hooks(prototypes.get, victim)[0]
    assert (choice.hook, choice.required, choice.reason) == (None, True, reason)


def test_further_arguments_do_no_harm():
    """A later kernel that hands over more still fits."""
    more = {
        "mark_victim": ("task_struct *", "uid_t", "int"),
        "signal_generate": (*SIGNAL["signal_generate"], "u64"),
    }
    assert all(chosen(more).values())


def test_what_is_not_required_may_be_absent():
    """Without the signal's tracepoint reports only say less."""
    choices = {choice.group: choice for choice in choose_hooks(TASK.get)}
    assert choices["victim"].hook
    assert (choices["truth"].hook, choices["truth"].required) == (None, False)


def test_the_first_hook_of_a_group_that_fits_wins():
    """The order of the table is the order of preference; all reasons are told where none fits."""
    first = HOOKS[0]
    second = replace(first, name="second", program="second", arguments=("int",), required=False)
    assert chosen(TASK, (first, second)) == {"victim": first.program}
    assert chosen(PID, (first, second)) == {"victim": "second"}
    assert chosen(TASK, (second, first)) == {"victim": first.program}
    choice = choose_hooks({"mark_victim": ("long",)}.get, (first, second))[0]
    assert choice.reason == "mark_victim takes (long) here; mark_victim takes (long) here"
    assert choice.required


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_table_explains_each_hook(hook: Hook):
    """Every row says what it adds and why it is there."""
    assert hook.adds
    assert hook.name.endswith(f"/{hook.tracepoint}")


def test_another_architecture_is_refused_by_name(monkeypatch):
    """A machine without an object is told, with those that have one."""
    monkeypatch.setattr(tracer.os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(UnsupportedError, match="no BPF object for riscv64") as caught:
        tracer.object_path()
    assert caught.value.hint == "supported architectures: x86_64, aarch64"


def test_a_tracer_that_is_not_loaded_has_lost_nothing():
    """Before it is entered, counters are 0 and every hook of the table is told as not attached."""
    idle = tracer.Tracer(ring_size_bytes=4096)
    assert (idle.records_lost(), idle.second_kills()) == (0, 0)
    assert idle.attached() == {hook.name: False for hook in HOOKS}
