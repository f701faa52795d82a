"""``make vm``: boots guests and prints what became of each."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.vm import support
from tests.vm.archive import ArchiveError
from tests.vm.guests import Guest, all_guests
from tests.vm.run import Lab, Result


def main() -> int:
    """Boot the guests asked for; 0 if all passed."""
    options = _options()
    guests = [guest for guest in all_guests() if _is_asked_for(guest, options)]
    if not guests:
        print("error: no such guest\nhint: tests/vm/guests.toml lists them", file=sys.stderr)
        return 2
    lab = Lab(options.wheels)
    try:
        lab.update()
    except ArchiveError as error:
        print(f"error: {error}\nhint: look at the network and at apt-get update", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(lab.run, guest, options.test, brief=options.brief) for guest in guests]
        results = [_told(done.result()) for done in as_completed(running)]
    if not options.test:  # a part of the tests says nothing of a kernel
        support.keep(results)
        support.write()
    return 1 if any(result.faults for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="")
    parser.add_argument("--arch", default="")
    parser.add_argument("--cgroup", default="")
    parser.add_argument("--kind", default="")
    parser.add_argument("--test", default="", help="further arguments of pytest in the guest")
    parser.add_argument("--brief", action="store_true", help="what `make test` has time for")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="guests at a time")
    parser.add_argument("--wheels", type=Path, default=Path("dist"), help="the folder with both wheels")
    return parser.parse_args()


def _is_asked_for(guest: Guest, options: argparse.Namespace) -> bool:
    asked = (
        (options.kernel, guest.kernel),
        (options.arch, guest.arch),
        (options.cgroup, guest.cgroup),
        (options.kind, guest.tests),
    )
    return all(not want or want == have for want, have in asked)


def _told(result: Result) -> Result:
    verdict = "failed" if result.faults else "passed"
    print(f"{result.guest}: {verdict}, {result.passed} tests in {result.seconds} s, Linux {result.kernel}")
    for fault in result.faults:
        print("  " + fault.replace("\n", "\n  "))
    sys.stdout.flush()
    return result


if __name__ == "__main__":
    sys.exit(main())
