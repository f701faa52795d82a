"""Whatever happens in whatever order: no loss is told that was none, and none stays untold."""

from __future__ import annotations

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oomtracer.audit import SETTLED_SECONDS, UNSEEN, Audit, Processed, Verdict
from tests.audit.kernels import SECOND, SEEN, Kernel

KILLS = st.sampled_from([*SEEN, SECOND, ()])
# Quarters of a second, which add up exactly.
PAUSES_S = st.integers(0, 12).map(lambda quarters: quarters / 4)


class AuditedKernel(RuleBasedStateMachine):
    """A kernel that kills, and an audit that is restarted now and then."""

    @initialize(kills=st.lists(KILLS, max_size=4), before=st.integers(0, 3))
    def begin(self, kills, before) -> None:
        """Tracing begins when there have been kills; one may be in progress."""
        self.kernel = Kernel(vmstat=before)
        for seen in kills:
            self.kernel.begin(seen)
        self.baseline = self.kernel.baseline()
        self.missed_before = self.kernel.missed
        self.told: dict[str, int] = {}
        self.lines: list[str] = []
        self.restart(remembers=True)

    @rule(remembers=st.booleans())
    def restart(self, *, remembers) -> None:
        """The agent is replaced and adopts what is pinned; what was told is remembered, or not."""
        if not remembers:
            self.told, self.lines = {}, []
        self.audit = Audit(self.baseline, sees_signals=True, told=self.told)
        self.last = Verdict()

    @rule(seen=KILLS)
    def kill(self, seen) -> None:
        """A kill begins."""
        self.kernel.begin(seen)

    @rule()
    def end(self) -> None:
        """It ends."""
        self.kernel.end()

    @rule(kind=st.sampled_from(["marks", "shared"]))
    def mark(self, kind) -> None:
        """A mark that is no kill, or a sharer of memory."""
        self.kernel.mark(kind)

    @rule(seconds=PAUSES_S)
    def wait(self, seconds) -> None:
        """Time passes."""
        self.kernel.wait(seconds)

    @rule(meanwhile=st.lists(KILLS | st.none(), max_size=2))
    def read(self, meanwhile) -> None:
        """The audit looks; kills may begin or end meanwhile."""
        steps = [
            self.kernel.end if seen is None else (lambda seen=seen: self.kernel.begin(seen))
            for seen in meanwhile
        ]
        self._observe(*steps)

    @rule(seen=KILLS)
    def read_in_the_middle(self, seen) -> None:
        """The audit looks while a kill is in progress."""
        self.kernel.begin(seen)
        self._observe()

    def _observe(self, *meanwhile) -> None:
        verdict = self.audit.observe(self.kernel.read(*meanwhile), Processed())
        assert all(verdict.lost[stage] >= count for stage, count in self.last.lost.items())
        self.last = verdict
        self.told = dict(verdict.lost)
        self.lines += verdict.log

    @invariant()
    def no_loss_is_invented(self) -> None:
        """Not more than were missed since tracing began."""
        if hasattr(self, "last"):
            assert self.last.lost.get(UNSEEN, 0) <= self.kernel.missed - self.missed_before

    def teardown(self) -> None:
        """Once it is calm for a second, everything adds up, and each loss was told once."""
        if not hasattr(self, "audit"):
            return
        self.kernel.end()
        self._observe()
        if self.last.recheck:
            self.kernel.wait(SETTLED_SECONDS)
            self._observe()
        missed, last = self.kernel.missed - self.missed_before, self.last
        assert not last.recheck
        assert last.lost[UNSEEN] == missed
        assert last.kernel_kills == last.program_kills + missed
        assert last.kernel_kills + last.before_start == self.kernel.vmstat
        assert sum(int(count) for line in self.lines for count in re.findall(r"(\d+) \w+ \(", line)) == (
            sum(last.lost.values())
        )


AuditedKernel.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
test_the_audit_of_a_modelled_kernel = AuditedKernel.TestCase
