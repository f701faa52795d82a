"""The packaged oomtracer.service, as the wheel installs it: hardened, reporting, missing nothing while it is away."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oomtracer.kernel.privileges import Capability
from tests.kernel.agent import parse_report
from tests.kernel.conftest import MIB
from tests.kernel.test_reports import assert_agrees
from tests.kernel.waiting import wait_until
from tests.vm.systemd.conftest import show, start_until_killed, systemctl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.agent import Report
    from tests.kernel.kernel_log import KernelLog, LoggedKill
    from tests.vm.systemd.conftest import Units

UNIT = "oomtracer.service"
# As the README installs it; in a guest a link to where pip has put the wheel's files.
PACKAGED = Path("/opt/oomtracer/share/oomtracer", UNIT)
PROGRAM = "/opt/oomtracer/bin/oomtracer"
DEFAULTS = Path("/etc/default/oomtracer")
PINS = Path("/sys/fs/bpf/oomtracer")
STATE = Path("/var/lib/oomtracer")
NEEDED = {Capability.BPF, Capability.PERFMON, Capability.SYSLOG}


@pytest.fixture
def service() -> Iterator[str]:
    """The unit, installed and removed as the README says."""
    systemctl("enable", str(PACKAGED))
    yield UNIT
    systemctl("stop", UNIT)
    oomtracer("unpin")
    systemctl("disable", UNIT)
    remove_state()
    DEFAULTS.unlink(missing_ok=True)


def remove_state() -> None:
    """The state directory is a link of systemd's, and what it leads to."""
    subprocess.run(["rm", "-r", "-f", f"/var/lib/private/{STATE.name}", STATE], check=True)


def oomtracer(*arguments: str) -> str:
    """What the program prints for root."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def journal(*fields: str) -> list[str]:
    """What the unit has written: all, or what fits some fields of the journal."""
    command = ["journalctl", "--output=cat", "--no-pager", *(fields or ("--unit", UNIT))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def said() -> list[str]:
    """What its running process has said since it was started."""
    return journal(f"_PID={show(UNIT, 'MainPID')}")


def start(unit: str) -> None:
    """Start the unit and wait until it traces."""

    def traces() -> bool:
        if show(unit, "NRestarts") != "0":
            pytest.fail("\n".join(journal()))
        return any("tracing OOM kills" in line for line in said())

    systemctl("start", unit)
    wait_until(traces, "it traces", 60)


def loaded() -> list[dict[str, Any]]:
    """Programs of ours that are in the kernel, by their map of events; systemd has others."""
    shown = subprocess.run(["bpftool", "map", "show", "--json"], capture_output=True, text=True, check=True)
    return [each for each in json.loads(shown.stdout) if each["type"] == "ringbuf"]


def test_systemd_finds_no_fault_in_it() -> None:
    """systemd-analyze verify has nothing to say."""
    done = subprocess.run(
        ["systemd-analyze", "verify", PACKAGED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_exposure_is_low() -> None:
    """systemd-analyze security gives it less than 4 of 10."""
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=39", PACKAGED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_three_capabilities_and_no_root(service: str) -> None:
    """What it runs with: another user than root, the three that tracing takes, nothing to gain, locked memory."""
    start(service)
    status = Path("/proc", show(service, "MainPID"), "status").read_text()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    expected = f"{sum(1 << capability for capability in NEEDED):016x}"
    assert [fields[name] for name in ("CapEff", "CapPrm", "CapBnd")] == [[expected]] * 3
    assert "0" not in fields["Uid"]
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == (["1"], ["2"])
    assert int(fields["VmLck"][0]) > 0
    assert Path("/proc", show(service, "MainPID"), "oom_score_adj").read_text() == "-999\n"
    assert [STATE.stat().st_mode & 0o777, PINS.stat().st_mode & 0o777] == [0o700, 0o700]


def kill_another(units: Units, victim: str, kernel_log: KernelLog) -> LoggedKill:
    """Have a process of another unit killed; what the kernel has written of it."""
    grow = f"ExecStart={victim} /dev/null grow {64 * MIB}"
    units.write("nightly.service", "[Service]", grow, "MemoryMax=16M", "MemorySwapMax=0")
    return kernel_log.kill_of(start_until_killed("nightly.service"))


def report_of(logged: LoggedKill) -> Report:
    """The only report of a kill that the running agent writes to the journal."""

    def reports() -> list[Report]:
        found = [parse_report(line) for line in said() if line.startswith("{")]
        return [each for each in found if each["victim"]["tid"] == logged.tid]

    wait_until(lambda: len(reports()) > 0, "the report is in the journal")
    [report] = reports()
    assert report["workload"]["unit"] == "nightly.service"
    return report


def test_it_reports_a_kill_to_the_journal(
    service: str, units: Units, victim: str, kernel_log: KernelLog
) -> None:
    """A complete report, with symbols, as one line of the journal."""
    start(service)
    logged = kill_another(units, victim, kernel_log)
    report = report_of(logged)
    assert_agrees(report, logged)
    assert (report["limit"]["owner"], report["limit"]["certain"]) == ("unit", True)
    assert any(frame.startswith("oom_kill_process+") for frame in report["kernel_stack"])


def test_it_takes_its_settings_from_a_file(service: str) -> None:
    """A variable in /etc/default/oomtracer is a flag; a wrong one ends the start, which is not tried again."""
    DEFAULTS.parent.mkdir(exist_ok=True)
    DEFAULTS.write_text("OOMTRACER_NODE_NAME=set-by-file\n")
    start(service)
    assert any("tracing OOM kills on set-by-file" in line for line in said())
    systemctl("stop", service)
    DEFAULTS.write_text("OOMTRACER_RING_SIZE=nonsense\n")
    systemctl("start", service, check=False)
    wait_until(lambda: show(service, "ActiveState") == "failed", "it has given up")
    assert (show(service, "ExecMainStatus"), show(service, "NRestarts")) == ("2", "0")
    systemctl("reset-failed", service)


def test_a_kill_while_it_is_stopped(service: str, units: Units, victim: str, kernel_log: KernelLog) -> None:
    """The next start reports it, whole; root finds it once in the journal of reports, by the default directory."""
    start(service)
    systemctl("stop", service)
    assert (show(service, "ActiveState"), show(service, "ExecMainStatus")) == ("inactive", "0")
    logged = kill_another(units, victim, kernel_log)
    start(service)
    report = report_of(logged)
    assert report["source"] != "kmsg"
    assert_agrees(report, logged)
    kept = [json.loads(line) for line in oomtracer("history", "--output=json").splitlines()]
    assert [each for each in kept if each["victim"]["tid"] == logged.tid] == [report]


def test_a_kill_while_it_is_dead(service: str, units: Units, victim: str, kernel_log: KernelLog) -> None:
    """After SIGKILL the one that systemd starts again is the same user, finds the programs, and reports."""
    start(service)
    owners = PINS.stat().st_uid, STATE.stat().st_uid
    systemctl("kill", "--kill-whom=main", "--signal=KILL", service)
    wait_until(lambda: show(service, "MainPID") == "0", "it is dead")
    logged = kill_another(units, victim, kernel_log)
    wait_until(lambda: any("tracing OOM kills" in line for line in said()), "it traces again", 60)
    assert show(service, "NRestarts") == "1"
    assert_agrees(report_of(logged), logged)
    assert any("are in use" in line for line in said())
    assert (PINS.stat().st_uid, STATE.stat().st_uid) == owners
    assert owners[0] == owners[1] != 0


def test_another_ring_takes_over(service: str, units: Units, victim: str, kernel_log: KernelLog) -> None:
    """With another setting the programs are replaced, and what the old ring held is reported first."""
    start(service)
    systemctl("stop", service)
    [old] = PINS.iterdir()
    logged = kill_another(units, victim, kernel_log)
    DEFAULTS.parent.mkdir(exist_ok=True)
    DEFAULTS.write_text("OOMTRACER_RING_SIZE=2MiB\n")
    start(service)
    assert_agrees(report_of(logged), logged)
    wait_until(lambda: not old.exists(), "the old instance is gone")
    assert len(list(PINS.iterdir())) == 1


def test_a_kill_before_the_first_start(
    service: str, units: Units, victim: str, kernel_log: KernelLog
) -> None:
    """It is read from the kernel's log, which the unit may."""
    logged = kill_another(units, victim, kernel_log)
    start(service)
    assert report_of(logged)["source"] == "kmsg"


def test_what_it_does_seldom_is_not_filtered(service: str, units: Units) -> None:
    """The barrier between old and new programs, as it is at a replacement: it would fail without a word."""
    program = "from oomtracer.libbpf import wait_for_programs; raise SystemExit(not wait_for_programs())"
    probe = f'ExecStartPre=/usr/bin/python3 -c "{program}"'
    units.write(f"{service}.d/barrier.conf", "[Service]", probe)
    start(service)


def test_without_pins_and_state(service: str) -> None:
    """Empty variables turn both off."""
    DEFAULTS.parent.mkdir(exist_ok=True)
    DEFAULTS.write_text("OOMTRACER_PIN_PATH=\nOOMTRACER_STATE_DIR=\n")
    start(service)
    assert list(PINS.iterdir()) == list(STATE.iterdir()) == []
    systemctl("stop", service)
    wait_until(lambda: loaded() == [], "the kernel has let go of the maps")


def test_nothing_stays_behind(service: str) -> None:
    """Stopped and unpinned, its programs and maps are gone from the kernel; so are its directories."""
    assert loaded() == []
    start(service)
    assert loaded() != []
    systemctl("stop", service)
    assert loaded() != []
    oomtracer("unpin")
    wait_until(lambda: loaded() == [], "the kernel has let go of the maps")
    remove_state()
    assert [path for path in (PINS, STATE, Path("/var/lib/private/oomtracer")) if path.exists()] == []


def test_what_would_hide_the_kernels_symbols(
    service: str, units: Units, victim: str, kernel_log: KernelLog
) -> None:
    """Why the unit has no ProtectKernelTunables=: with it /proc/kallsyms is hidden, and no stack is known."""
    units.write(f"{service}.d/tunables.conf", "[Service]", "ProtectKernelTunables=yes")
    start(service)
    assert report_of(kill_another(units, victim, kernel_log))["kernel_stack"] is None
