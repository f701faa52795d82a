"""A process that traces with pins as the agent does, and reads when it is told to. Run as a script: see ``Loader``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from oomtracer.codec import decode
from oomtracer.errors import OomTracerError
from oomtracer.tracer import Tracer


def main() -> None:
    """Trace with the settings of the first argument; obey commands, one a line, answer each with a line of JSON."""
    settings = json.loads(sys.argv[1])
    tracer = Tracer(
        ring_size_bytes=settings["ring_size_bytes"],
        disabled_hooks=frozenset(settings["disabled_hooks"]),
        pin_path=Path(settings["pin_path"]),
    )
    try:
        with tracer:
            _tell(
                instance=tracer.instance,
                fault=tracer.pin_fault,
                attached=sorted(name for name, attached in tracer.attached().items() if attached),
                unpinned=[hook.name for hook in tracer.unpinned],
                reasons={choice.group: choice.reason for choice in tracer.choices},
            )
            for line in sys.stdin:
                _obey(tracer, line.strip())
    except OomTracerError as error:
        _tell(error=error.message, hint=error.hint)


def _obey(tracer: Tracer, command: str) -> None:
    if command == "read":
        batch = tracer.read()
        kills = [decode(record.data) for record in batch.records]
        _tell(ring=batch.ring, kills=[[kill.victim.pid, kill.victim.start_time_ns] for kill in kills])
    elif command == "release":
        tracer.release()
        _tell()
    elif command == "count":
        counted, baseline = tracer.counted(), tracer.baseline
        before_start = baseline.before_start if baseline else None
        _tell(lost=counted.ring_full, unread=counted.unread, before_start=before_start)


def _tell(**answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
