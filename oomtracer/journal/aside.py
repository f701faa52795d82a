"""Files that are not, or no longer, a journal of ours: kept beside it under a name that says why."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("oomtracer.journal")

MOST_KEPT = 3
"""Older ones are removed."""
_COMPANIONS = ("-wal", "-shm", "-journal")
_VERSION = re.compile(r"\.version-([0-9]{1,9})(?:-[0-9TZ-]+)?")


def set_aside(database: Path, why: str, explanation: str, *, clock: Callable[[], float] = time.time) -> Path:
    """Rename the database and what belongs to it to ``journal.db.<why>``, with the time; tell the new name.

    ``explanation`` goes to the log. Raises OSError.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock()))
    target = _free(database.with_name(f"{database.name}.{why}-{stamp}"))
    for suffix in ("", *_COMPANIONS):
        with suppress(FileNotFoundError):
            Path(f"{database}{suffix}").rename(f"{target}{suffix}")
    logger.error("%s %s: set aside as %s; a new journal was begun", database, explanation, target.name)
    _keep_few(database)
    return target


def of_other_versions(database: Path, newest: int) -> list[Path]:
    """Files of up to version ``newest`` that an older agent set aside, the oldest first."""
    found = [(path, _VERSION.fullmatch(path.name.removeprefix(database.name))) for path in _all(database)]
    return [path for path, match in found if match is not None and int(match[1]) <= newest]


def remove(database: Path) -> None:
    """Remove a database and what belongs to it. Raises OSError."""
    for suffix in ("", *_COMPANIONS):
        with suppress(FileNotFoundError):
            Path(f"{database}{suffix}").unlink()


def _all(database: Path) -> list[Path]:
    """The files that were set aside, the oldest first."""
    found = [
        path
        for path in database.parent.glob(f"{database.name}.*")
        if not path.name.endswith(_COMPANIONS) and path.is_file()
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _free(target: Path) -> Path:
    names = (target, *(target.with_name(f"{target.name}-{number}") for number in range(1, 1000)))
    return next((name for name in names if not name.exists()), target)


def _keep_few(database: Path) -> None:
    for path in _all(database)[:-MOST_KEPT]:
        logger.warning("%s was removed: %d files that were set aside are kept", path, MOST_KEPT)
        remove(path)
