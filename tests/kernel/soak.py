"""What the long runs by hand share: the machine for themselves, and places of their own."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.conftest import one_at_a_time
from tests.kernel.conftest import CgroupMaker, compile_victim, mounted_bpffs

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Place:
    """Where a run takes place; all of it goes with the run."""

    directory: Path
    pin_path: Path
    cgroups: CgroupMaker
    victim: str


@contextmanager
def place() -> Iterator[Place]:
    """Make one, once nobody else on this machine makes kills."""
    with ExitStack() as stack:
        stack.enter_context(one_at_a_time())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="oomtracer-soak-")))
        maker = CgroupMaker()
        stack.callback(maker.remove_all)
        bpffs = stack.enter_context(mounted_bpffs(directory / "bpf"))
        yield Place(directory, bpffs / "oomtracer", maker, compile_victim(directory))


def verdict(wrong: list[str], well: str) -> bool:
    """Tell it; whether something was wrong."""
    print("\n".join(wrong) or well)
    return bool(wrong)
