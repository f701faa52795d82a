"""The log on standard error: safe lines, and never a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

_PROGRAM = """
import logging
from oomtracer.logs import log_to_stderr
log_to_stderr("info")
logger = logging.getLogger("test")
for number in range(3000):
    logger.info("message %d of many", number)
print("done", flush=True)
input()
logger.info("the last one")
"""


def test_a_reader_that_stops_costs_messages_and_no_time():
    """What does not fit is dropped; the number is told once there is room, before the next message."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        watchdog = threading.Timer(30, process.send_signal, (signal.SIGKILL,))
        watchdog.start()
        assert process.stdout.readline() == "done\n"
        kept = os.read(process.stderr.fileno(), 1 << 20).decode()
        process.stdin.write("\n")
        process.stdin.flush()
        last = process.stderr.read()
        watchdog.cancel()
    assert process.returncode == 0
    lines = kept.splitlines()
    assert 0 < len(lines) < 3000
    assert last.splitlines()[-2] == f"{3000 - len(lines)} log messages were dropped here"
    assert last.endswith("the last one\n")


def test_a_message_is_one_line_and_a_traceback_is_indented():
    """Neither a message nor the text of an exception can start a line of its own."""
    program = """
import logging
from oomtracer.logs import log_to_stderr
log_to_stderr("info")
try:
    raise ValueError("a\\n2026 ERROR forged\\x1b[2J")
except ValueError:
    logging.getLogger("test").exception("two\\nlines")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *rest = done.stderr.splitlines()
    assert first.endswith("two\\x0alines")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
