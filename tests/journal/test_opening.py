from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from oomtracer.errors import OomTracerError
from oomtracer.journal import Journal, Retention, schema
from oomtracer.journal.aside import MOST_KEPT
from oomtracer.journal.database import Database
from oomtracer.journal.reader import Reader, Wanted
from oomtracer.kernel.directory_lock import DirectoryHeldError
from tests.unit.pipes import run

from .scene import RING, journal, numbered, recent_ids, row

ROOT = Path(__file__).parents[2]

OURS = schema.VERSION
NEWER = OURS + 1


@pytest.fixture
def state(tmp_path) -> Path:
    """Make a state directory with a journal of 60 reports, closed."""

    async def fill() -> None:
        async with journal(tmp_path / "state") as opened:
            await opened.store(RING, [(seq, b"x" * 700) for seq in range(60)])
            await opened.add([row(number) for number in range(60)], [(RING, seq) for seq in range(60)])

    run(fill())
    return tmp_path / "state"


def known(directory: Path) -> list[str]:
    """Tell the ids in a journal, after opening it as an agent does."""
    found: list[str] = []

    async def scenario() -> None:
        async with journal(directory) as opened:
            found.extend(await opened.submit(lambda each: recent_ids(each, 1000)))
            await opened.add([row(999)])

    run(scenario())
    return [each for each in found if each != numbered(999).id]


def aside(directory: Path) -> list[str]:
    """Tell the files that were set aside."""
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("journal.db."))


def refused(directory: Path) -> OomTracerError:
    """Demand that an agent does not start with that directory."""
    caught: list[OomTracerError] = []

    async def scenario() -> None:
        with pytest.raises(OomTracerError) as error:
            await Journal(directory, Retention(boot_id="b")).start()
        caught.append(error.value)

    run(scenario())
    return caught[0]


def test_the_directory_is_made_its_parents_are_not(tmp_path):
    """A parent that is missing is a mistake in the path, and is told as one."""
    assert known(tmp_path / "state") == []
    error = refused(tmp_path / "no/state")
    assert str(tmp_path / "no") in error.message
    assert (error.exit_code, bool(error.hint)) == (1, True)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777], ids=oct)
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    """Whoever can put files there could have the agent read and write others'."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    assert "chmod" in refused(tmp_path / "state").hint


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user: run `sudo make test`")
def test_a_directory_of_another_user_is_refused(tmp_path):
    """Its owner could change what is in it at any time."""
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 65534, 65534)
    assert "belongs to user 65534" in refused(tmp_path / "state").message


def test_a_file_is_no_directory(tmp_path):
    """What is there and is no directory is told."""
    (tmp_path / "state").write_text("")
    assert "is not a directory" in refused(tmp_path / "state").message


def test_a_second_agent_is_told_who_has_it(state):
    """One agent at a time; once the first is gone, however it went, the directory is free."""
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from oomtracer.journal import Journal, Retention\n"
        "async def main():\n"
        "    journal = Journal(Path(sys.argv[1]), Retention(boot_id='b'))\n"
        "    await journal.start(); print('open', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        error = refused(state)
        assert isinstance(error, DirectoryHeldError)
        assert (error.pid, error.exit_code) == (first.pid, 1)
        first.kill()
    assert len(known(state)) == 60


def test_random_damage_never_stops_it(state, tmp_path, caplog):
    """Whatever bytes are broken: the journal opens and takes reports; what it does not set aside it can still read."""
    draw = random.Random(5)
    whole = (state / "journal.db").read_bytes()
    outcomes = set()
    for number in range(60):
        directory = tmp_path / f"state-{number}"
        directory.mkdir(mode=0o700)
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 8, 200))):
            damaged[draw.randrange(draw.choice((100, 4096, len(whole))))] = draw.randrange(256)
        (directory / "journal.db").write_bytes(damaged)
        found = known(directory)
        assert len(found) <= 60
        assert len(known(directory)) == len(found) or aside(directory)
        outcomes.add(bool(aside(directory)))
        shutil.rmtree(directory)
    assert outcomes == {True, False}


@pytest.mark.parametrize("position", [18, 19])
def test_a_format_that_sqlite_would_only_read_is_damage(state, position):
    """Else the journal would wait for ever for a file that was read-only."""
    with (state / "journal.db").open("r+b") as file:
        file.seek(position)
        file.write(b"\x07")
    assert known(state) == []
    assert aside(state)[0].startswith("journal.db.corrupt-")


def test_a_name_in_the_schema_that_is_no_text_is_damage(state):
    """SQLite's own message then cannot be read either: the file is set aside, and `history` says that it is damaged."""
    whole = (state / "journal.db").read_bytes()
    assert whole.count(b"records_by_done") == 2
    (state / "journal.db").write_bytes(whole.replace(b"records_by_done", b"records_by_\xe3\x28ne", 1))
    with pytest.raises(OomTracerError, match="damaged"), Reader(state) as reader:
        list(reader.reports(Wanted()))
    assert known(state) == []
    assert aside(state)[0].startswith("journal.db.corrupt-")


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_file_is_set_aside(state, part):
    """What is left of it stays, under a name that says why and when."""
    whole = (state / "journal.db").stat().st_size
    os.truncate(state / "journal.db", int(whole * part))
    if part == 0.0:
        (state / "journal.db-wal").write_bytes(b"x" * 100)
    assert known(state) == []
    [name, *_] = aside(state)
    assert name.startswith("journal.db.corrupt-2")
    assert (state / name).stat().st_size == int(whole * part)
    assert known(state) == []


def test_a_file_that_was_never_begun_is_simply_used(tmp_path):
    """An agent that was killed between making the file and its first byte lost nothing."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state/journal.db").touch()
    assert known(tmp_path / "state") == []
    assert aside(tmp_path / "state") == []


@pytest.mark.parametrize("content", [b"no database at all\n" * 500, b"x"], ids=["long", "short"])
def test_a_file_that_is_no_database_is_set_aside(state, content):
    """Its bytes stay as they are."""
    (state / "journal.db").write_bytes(content)
    assert known(state) == []
    [name] = aside(state)
    assert (state / name).read_bytes() == content


def test_a_database_of_another_program_is_set_aside(state, caplog):
    """It is named foreign, is left as it was, and the log says so."""
    (state / "journal.db").unlink()
    other = sqlite3.connect(state / "journal.db")
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = (state / "journal.db").read_bytes()
    assert known(state) == []
    [name] = aside(state)
    assert name.startswith("journal.db.foreign-")
    assert (state / name).read_bytes() == before
    assert f"is no journal of oomtracer: set aside as {name}" in caplog.text


def test_only_a_few_are_kept(state, caplog):
    """The oldest of what was set aside makes room, and that is logged."""
    for number in range(MOST_KEPT + 2):
        (state / "journal.db").write_bytes(b"%d" % number * 100)
        assert known(state) == []
    names = aside(state)
    assert len(names) == MOST_KEPT
    assert {(state / name).read_bytes()[:1] for name in names} == {b"2", b"3", b"4"}
    assert "was removed" in caplog.text


def test_damage_that_shows_later_costs_what_was_in_the_file_only(state, caplog):
    """A file that turns out to be broken is set aside, and what was to be written goes to a new one."""

    async def scenario() -> None:
        async with journal(state) as opened:
            await opened.add([row(100)])
            other = sqlite3.connect(state / "journal.db")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            other.close()
            with (state / "journal.db").open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(4096)
                file.write(b"\xa5" * (size - 4096))
            for number in range(100, 200):
                await opened.add([row(number)])
            assert opened.set_aside == {"corrupt": 1}
            assert opened.fault == ""
            assert opened.dropped_total == {}

    run(scenario())
    assert known(state) == [numbered(number).id for number in range(100, 200)]


def test_a_newer_agents_file_is_kept_and_taken_in_when_that_agent_is_back(state):
    """A roll-back begins a journal of its own; after the roll-forward both are one history."""
    newer = {schema.VERSION: lambda each: each.execute("ALTER TABLE reports ADD COLUMN mood TEXT")}
    _opened_by(state, newer)
    assert known(state) == []
    [name] = aside(state)
    assert name.startswith(f"journal.db.version-{NEWER}-")
    connection = _opened_by(state, newer)
    assert sorted(connection) == sorted(numbered(number).id for number in (*range(60), 999))
    assert aside(state) == []


def _opened_by(state: Path, migrations) -> list[str]:
    """Open and close it as an agent of the next version does; tell the ids it then has."""
    database = Database(state, version=NEWER, migrations=migrations)
    connection = database.connect()
    assert schema.version_of(connection) == NEWER
    found = [each for (each,) in connection.execute("SELECT id FROM reports ORDER BY n")]
    connection.close()
    database.directory.release()
    return found


def test_migrations_are_run_in_order_and_as_a_whole(state):
    """Each step sees what the one before it made; one that fails leaves the file as it was."""
    steps = []

    def step(number: int):
        def run_step(connection) -> None:
            steps.append(number)
            connection.execute(f"CREATE TABLE step_{number} (n)")

        return run_step

    def failing(_) -> None:
        raise sqlite3.DatabaseError("a defect of the migration")

    numbered_steps = {OURS: step(1), OURS + 1: step(2)}
    database = Database(state, version=OURS + 3, migrations={**numbered_steps, OURS + 2: failing})
    with pytest.raises(sqlite3.DatabaseError):
        database.connect()
    database.directory.release()
    assert steps == [1, 2]
    assert len(known(state)) == 60
    _, _, third = (steps.clear(), None, step(3))
    database = Database(state, version=OURS + 3, migrations={**numbered_steps, OURS + 2: third})
    connection = database.connect()
    assert (steps, schema.version_of(connection)) == ([1, 2, 3], OURS + 3)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert {"step_1", "step_2", "step_3"} <= names
    connection.close()
    database.directory.release()


def test_a_journal_of_version_1_is_brought_to_ours(state):
    """It knew by a single instant which kills had left it; its reports stay."""
    connection = sqlite3.connect(state / "journal.db")
    connection.executescript(
        f"DROP TABLE gone; PRAGMA user_version = 1; PRAGMA application_id = {schema.APPLICATION_ID}"
    )
    connection.close()
    assert len(known(state)) == 60
    connection = sqlite3.connect(state / "journal.db")
    assert schema.version_of(connection) == OURS
    assert connection.execute("SELECT count(*) FROM gone").fetchone() == (0,)
    connection.close()
    assert aside(state) == []


def test_every_version_can_be_brought_to_ours():
    """There is a step for each version from the first to the one before ours."""
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.VERSION))
