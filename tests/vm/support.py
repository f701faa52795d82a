"""The support matrix of the README, made of the results of ``make vm``: nobody writes a line of it by hand.

python -m tests.vm.support      write it anew from docs/support.json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.vm.guests import all_guests
from tests.vm.run import Result

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/support.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- support matrix: made by `make vm` -->\n", "<!-- end of the support matrix -->\n"
KINDS = {
    "plain": "all",
    "numa": "two memory nodes: cpuset, memory policy",
    "lockdown": "`lockdown=confidentiality`: refused, and told why",
    "systemd": "systemd as init: units, `oomtracer.service`",
    "podman": "Podman: containers",
    "small": "256 MiB and a disk: no memory left, with a journal",
}
BRIEFLY = "most"
_KEPT = ("arch", "brief", "cgroup", "forced", "hooks", "kernel", "passed", "tests")


def keep(results: list[Result]) -> None:
    """Put the guests that passed into the results; one that failed loses its line."""
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for result in results:
        known.pop(result.guest, None)
        if not result.faults:
            known[result.guest] = {key: value for key, value in asdict(result).items() if key in _KEPT}
    order = {guest.name: i for i, guest in enumerate(all_guests())}
    kept = {
        name: known[name] for name in sorted(known, key=lambda name: order.get(name, -1)) if name in order
    }
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=False) + "\n")


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    lines = [
        "| Linux | machine | cgroups | hooks in use: victim, truth, context | also tried | tests | passed |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results.values():
        used = [f"`{hook}`" for hook in result["hooks"]]
        others = [f"`{hook}`" for hook in result["forced"] if hook not in result["hooks"]]
        cells = (
            result["kernel"],
            result["arch"],
            result["cgroup"],
            ", ".join(used) or "none",
            ", ".join(others) or "",
            BRIEFLY if result["brief"] else KINDS[result["tests"]],
            str(result["passed"]),
        )
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def in_readme(text: str) -> str:
    """The part of the README between the two marks."""
    return text.partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Put the table of the results into the README."""
    text = README.read_text()
    made = table(json.loads(RESULTS.read_text()))
    README.write_text(text.replace(BEGIN + in_readme(text) + END, BEGIN + made + END))


if __name__ == "__main__":
    write()
