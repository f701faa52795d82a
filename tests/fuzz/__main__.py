"""``python -m tests.fuzz``: many inputs for each target, on all cores; see ``--help``."""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .runner import Failure, Shard, limit_memory, position_of, run, smaller
from .targets import TARGETS

FINDINGS = Path(__file__).parent / "findings"
_SHARD = 5_000
_SHOWN_BYTES = 200


def main() -> int:
    """Run what the command line asks for; 1 if a rule was broken."""
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(32)
    print(f"seed {seed}, {arguments.jobs} processes")
    broken = 0
    for name in arguments.targets or TARGETS:
        broken += _fuzz(name, seed, arguments)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Try random inputs. One that breaks a rule is made small, shown, and kept in tests/fuzz/findings.",
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; by default all"
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs for each target (%(default)s)")
    parser.add_argument(
        "--seed", type=int, help="inputs are a function of this and their index; by default a new one"
    )
    parser.add_argument("--start", type=int, default=0, help="index of the first input (%(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (%(default)s)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    return arguments


def _fuzz(name: str, seed: int, arguments: argparse.Namespace) -> int:
    """Try one target; how many rules were broken."""
    began_s, done, failures = time.monotonic(), Shard(0), {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for shard in _shards(name, seed, arguments, Path(folder)):
                _add(done, shard)
                failures |= {kind: each for kind, each in shard.failures.items() if kind not in failures}
                _show(name, done, time.monotonic() - began_s, end="\r" if sys.stdout.isatty() else "")
        except BrokenProcessPool:
            failures |= _dead(name, seed, Path(folder))
    _show(name, done, time.monotonic() - began_s, end="\n")
    for failure in failures.values():
        _tell(name, seed, failure)
    return len(failures)


def _shards(name: str, seed: int, arguments: argparse.Namespace, folder: Path) -> Iterator[Shard]:
    end = arguments.start + arguments.count
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, limit_memory) as pool:
        waiting = [
            pool.submit(run, name, seed, start, min(_SHARD, end - start), folder / str(start))
            for start in range(arguments.start, end, _SHARD)
        ]
        for future in as_completed(waiting):
            yield future.result()


def _add(done: Shard, shard: Shard) -> None:
    done.count += shard.count
    done.seconds += shard.seconds
    done.input_bytes += shard.input_bytes
    done.rss_bytes = max(done.rss_bytes, shard.rss_bytes)
    if shard.slowest_s > done.slowest_s:
        done.slowest_s, done.slowest_index = shard.slowest_s, shard.slowest_index


def _show(name: str, done: Shard, took_s: float, *, end: str) -> None:
    if not end:
        return
    rate = f"{done.count / max(took_s, 1e-9):,.0f}/s"
    each = f"{done.count / max(done.seconds, 1e-9):,.0f}/s per core, {done.input_bytes / max(done.count, 1):,.0f} bytes each"
    slowest = (
        f"slowest {1e3 * done.slowest_s:.0f} ms (index {done.slowest_index}), {done.rss_bytes >> 20} MiB"
    )
    print(
        f"{name:<9}{done.count:>10,} inputs in {took_s:,.0f} s: {rate}, {each}, {slowest}",
        end=end,
        flush=True,
    )


def _dead(name: str, seed: int, folder: Path) -> dict[str, Failure]:
    """The inputs that were being tried when a process died: one of them killed it."""
    found = [position_of(path) for path in sorted(folder.iterdir())]
    return {
        f"a process died ({index})": Failure("a process died", index, TARGETS[name].input(seed, index), "")
        for index in found
    }


def _tell(name: str, seed: int, failure: Failure) -> None:
    data = smaller(TARGETS[name], failure) if failure.is_quick else failure.data
    path = FINDINGS / name / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    shown = f"{data[:_SHOWN_BYTES]!r}{'...' if len(data) > _SHOWN_BYTES else ''}"
    print(f"\n{name}: {failure.kind}\n{failure.text.rstrip()}")
    print(f"again: python -m tests.fuzz {name} --seed {seed} --start {failure.index} --count 1")
    print(
        f"input: {shown}\nkept in {path}; fix it and commit that file: the tests try it again\n", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
