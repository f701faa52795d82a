"""``oomtracer selftest``: one small, contained, real OOM kill, and the demand that it is reported right.

The victim is a process of ours, alone in a cgroup of ours (``oomtracer-selftest-...``) with a limit of its
own: nothing else on the machine can be chosen.
"""

from oomtracer.selftest.selftest import SelftestError, SelftestResult, as_json, as_text, selftest

__all__ = ["SelftestError", "SelftestResult", "as_json", "as_text", "selftest"]
