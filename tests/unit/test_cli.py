from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from oomtracer import __version__
from oomtracer.cli import cli

COMMANDS = typer.main.get_command(cli).commands
FLAGS = [(name, parameter) for name, command in COMMANDS.items() for parameter in command.params]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("OOMTRACER_", "KUBE"))
}


def oomtracer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-m", "oomtracer", *arguments]
    every = {**ENVIRONMENT, "COLUMNS": "200", **environment}
    return subprocess.run(command, env=every, capture_output=True, text=True, timeout=60, check=False)


def refused(*arguments: str, **environment: str) -> str:
    """Demand exit code 2 and two lines; give the first without its label."""
    done = oomtracer(*arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert hint.startswith("hint: ")
    return error.removeprefix("error: ")


def variables(parameter) -> list[str]:
    """The variables that a flag is read from, ours first."""
    return [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar)


@pytest.mark.parametrize(("command", "parameter"), FLAGS, ids=[f"{name}-{each.name}" for name, each in FLAGS])
def test_every_flag_has_its_variable(command, parameter):
    """A flag --some-name is the variable OOMTRACER_SOME_NAME in every command that has it."""
    assert parameter.opts == [f"--{parameter.name.replace('_', '-')}"]
    assert variables(parameter)[0] == f"OOMTRACER_{parameter.name.upper()}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_flag_and_variable(command):
    """The help of a command tells what it does, its flags and their variables, and exits with 0."""
    for flag in ("--help", "-h"):
        done = oomtracer(command, flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"oomtracer {command} " in done.stdout
        for parameter in COMMANDS[command].params:
            assert parameter.opts[0] in done.stdout
            assert all(name in done.stdout for name in variables(parameter))


def test_help_lists_every_command():
    """The program's own help names all commands."""
    done = oomtracer("--help")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:")[2].split()
    commands = {"run", "check", "selftest", "history", "unmark", "unpin", "version"}
    assert set(COMMANDS) == commands <= set(listed)


@pytest.mark.parametrize("spelling", ["version", "--version"])
def test_version(spelling):
    """The version is one line."""
    done = oomtracer(spelling)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"oomtracer {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-flag"],
        ["no-such-command"],
        ["run", "--no-such-flag"],
        ["run", "extra"],
        ["run", "--output", "yaml"],
        ["run", "--output"],
        ["run", "--ring-size", "1.5MiB"],
        ["run", "--ring-size=3MiB"],
        ["run", "--on-unsupported=maybe"],
        ["run", "--log-level", "loud"],
        ["run", "--metrics-bind-address", "nonsense"],
        ["run", "--metrics-bind-address=:99999"],
        ["check", "--ring-size=-1"],
        ["selftest", "--output=xml"],
        ["version", "--verbose"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_two_lines_and_exit_code_2(arguments):
    """What can work nowhere is refused before anything is loaded, with what is wrong and what to do."""
    assert refused(*arguments)


def test_the_error_names_what_is_wrong():
    """The first line holds the flag and the value, or the name that is unknown."""
    assert "--nope" in refused("run", "--nope")
    assert "frobnicate" in refused("frobnicate")
    assert "--ring-size" in (error := refused("run", "--ring-size=3MiB"))
    assert "3MiB" in error
    assert "nonsense" in refused("run", "--metrics-bind-address=nonsense")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OOMTRACER_RING_SIZE", "5"),
        ("OOMTRACER_OUTPUT", "yaml"),
        ("OOMTRACER_LOG_LEVEL", "loud"),
        ("OOMTRACER_ON_UNSUPPORTED", "maybe"),
        ("OOMTRACER_METRICS_BIND_ADDRESS", "nonsense"),
    ],
)
def test_a_wrong_variable_is_refused_like_its_flag(name, value):
    """The environment is read and checked as the flags are."""
    assert value in refused("run", **{name: value})


def test_a_flag_beats_its_variable():
    """Where both are given, only the flag counts."""
    assert "'7'" in refused("run", "--ring-size=7", OOMTRACER_RING_SIZE="5")
    assert "'7'" in refused("run", "--ring-size=7", "--log-level=error", OOMTRACER_LOG_LEVEL="loud")


def test_no_command_is_a_wrong_call():
    """Called bare, the program traces nothing and says where commands are listed."""
    assert refused() == "Missing command."


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202e"])
def test_an_error_line_cannot_be_forged_by_an_argument(name):
    """Line ends and control characters in an argument do not reach the terminal."""
    error = refused("run", f"--ring-size={name}")
    assert error.isprintable()
    assert refused(f"no{name}").isprintable()
    assert refused("run", f"--no{name}").isprintable()


def test_a_closed_stdout_is_one_error():
    """Output that nobody reads is exit code 1 and one error line, never a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "oomtracer", "version"]
        done = subprocess.run(
            command,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=ENVIRONMENT,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to stdout: EPIPE (Broken pipe)\n"


@pytest.mark.parametrize("command", ["run", "check", "selftest"])
def test_an_unknown_hook_is_refused_with_those_that_exist(command):
    """By flag and by variable: exit 2 before anything is loaded, and the table's names as the hint."""
    assert refused(command, "--disable-hook", "fentry") == "--disable-hook: there is no hook fentry"
    done = oomtracer(command, OOMTRACER_DISABLE_HOOK="kprobe/out_of_memory,x")
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error == "error: --disable-hook: there is no hook x"
    assert "tp_btf/mark_victim, tp_btf/mark_victim_pid, tracepoint/oom/mark_victim" in hint
