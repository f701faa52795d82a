"""A hook that the kernel refuses, played by an object that refuses it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Self

import pytest

from oomtracer.errors import UnsupportedError
from oomtracer.libbpf import LoadError
from oomtracer.tracer import choose_hooks, loading
from oomtracer.tracer.loading import Loading
from oomtracer.tracer.telling import tell_refused

from .kernels import PID, TASK, FakeKernel, complete


class Objects:
    """Stands for every object that is opened; ``refused`` maps a program to the step that refuses it."""

    def __init__(self, refused: dict[str | None, str], number: int = errno.EPERM) -> None:
        self.refused = refused
        self.number = number
        self.open = 0
        self.loads: list[list[str]] = []
        self.attached: list[str] = []
        self.flags: list[bool] = []
        self.btf = None

    def __call__(self, _path: Path) -> Objects:
        """Open one."""
        self.loads.append([])
        self.attached.clear()
        return self

    def __enter__(self) -> Self:
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1

    def enable(self, program: str) -> None:
        """Note it."""
        self.loads[-1].append(program)

    def set_flag(self, _variable: str, *, value: bool) -> None:
        """Note it."""
        self.flags.append(value)

    def set_ring_size(self, _name: str, _size_bytes: int) -> None:
        """Nothing depends on it."""

    def load(self) -> None:
        """Refuse what is to be refused."""
        for program in (*self.loads[-1], None):
            self._refuse(program, "load")

    def attach(self, program: str) -> None:
        """Refuse it, or note it."""
        self._refuse(program, "attach")
        self.attached.append(program)

    def _refuse(self, program: str | None, step: str) -> None:
        if self.refused.get(program) == step:
            raise LoadError(f"cannot {step} {program}", number=self.number, log="", program=program)


def load(
    monkeypatch: pytest.MonkeyPatch,
    kernel: FakeKernel,
    refused: dict[str | None, str],
    number: int = errno.EPERM,
) -> tuple[Loading, Objects]:
    """Load on a kernel that refuses some programs."""
    objects = Objects(refused, number)
    monkeypatch.setattr(loading, "BpfObject", objects)
    monkeypatch.setattr(loading, "check_layout", lambda _btf: None)
    tried = Loading(choose_hooks(kernel), ring_size_bytes=4096)
    try:
        tried.load(Path("object"))
    finally:
        assert objects.open in (0, 1)
    return tried, objects


def test_nothing_refused_is_loaded_once(monkeypatch):
    """The ordinary case: one load, and marks are attached last."""
    _, objects = load(monkeypatch, complete(), {})
    assert len(objects.loads) == 1
    assert objects.attached == ["signal_generate_task", "out_of_memory_fentry", "mark_victim_task"]
    assert objects.flags == [True]


@pytest.mark.parametrize("step", ["load", "attach"])
@pytest.mark.parametrize(
    ("program", "group", "successor"),
    [
        ("out_of_memory_fentry", "context", "kprobe/out_of_memory"),
        ("mark_victim_task", "victim", "tracepoint/oom/mark_victim"),
        ("signal_generate_task", "truth", None),
    ],
)
def test_the_next_hook_of_the_group_takes_over(monkeypatch, step, program, group, successor):
    """Refused at load or at attach, the object is opened again without it, and the reason is kept."""
    tried, objects = load(monkeypatch, complete(), {program: step})
    choice = next(choice for choice in tried.choices if choice.group == group)
    assert (choice.hook and choice.hook.name) == successor
    assert "the kernel refuses it: EPERM (Operation not permitted)" in choice.reason
    assert len(objects.loads) == 2
    assert program not in objects.attached
    assert objects.flags[-1] is (group != "truth")
    assert objects.open == 1


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.EAGAIN])
def test_what_passes_is_no_refusal(monkeypatch, number):
    """Short of memory or descriptors, the start fails and says so: no hook is given up for the life of the process."""
    with pytest.raises(LoadError, match="cannot load signal_generate_task") as caught:
        load(monkeypatch, complete(), {"signal_generate_task": "load"}, number)
    assert caught.value.hint


def test_each_refusal_costs_one_more_load(monkeypatch):
    """A group may end empty where it is not required."""
    refused: dict[str | None, str] = {"out_of_memory_fentry": "load", "out_of_memory_kprobe": "attach"}
    tried, objects = load(monkeypatch, complete(PID), refused)
    assert tried.choices[2].hook is None
    assert tried.choices[2].reason.count("the kernel refuses it") == 2
    assert objects.attached == ["signal_generate_task", "mark_victim_pid"]


def test_where_every_victim_hook_is_refused_the_first_refusal_is_the_error(monkeypatch):
    """What stopped the hook of choice is told, with a hint; nothing stays open."""
    refused: dict[str | None, str] = {"mark_victim_task": "load", "mark_victim_event": "attach"}
    with pytest.raises(LoadError, match="cannot load mark_victim_task") as caught:
        load(monkeypatch, complete(), refused)
    assert caught.value.hint


def test_a_refusal_that_names_no_program_is_final(monkeypatch):
    """No memory for a map, or bpf() forbidden: another hook would change nothing."""
    with pytest.raises(LoadError, match="cannot load None") as caught:
        load(monkeypatch, complete(), {None: "load"})
    assert caught.value.hint


def test_without_a_victim_hook_nothing_is_opened(monkeypatch):
    """Where none fits, the error says why not, hook by hook."""
    with pytest.raises(UnsupportedError, match="no hook for the victim group: tp_btf/mark_victim: "):
        load(monkeypatch, FakeKernel({"signal_generate": TASK["mark_victim"]}), {})


@pytest.mark.parametrize(
    ("program", "level"), [("signal_generate_task", "WARNING"), ("out_of_memory_fentry", "INFO")]
)
def test_a_refusal_is_told_once_all_is_loaded(monkeypatch, caplog, program, level):
    """Reports that say less are worth a warning; where nothing works the error alone is told, in its two lines."""
    caplog.set_level("INFO")
    tried, _ = load(monkeypatch, complete(), {program: "load"})
    assert not caplog.records
    tell_refused(tried.refused)
    assert [record.levelname for record in caplog.records if "is refused" in record.message] == [level]
