from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import LimitOwner
from oomtracer.pipeline.limit import find_limit

from .builders import CONTAINER, MIB, POD, QOS, examples, kill, level, trigger, victim

LEAF, MIDDLE, TOP = "/a/b/c", "/a/b", "/a"
HALF = 50 * MIB


def found(levels, *, at=LEAF, **changes):
    """Tell the chosen cgroup and whether it is certain, with the trigger at a cgroup."""
    result = find_limit(kill(levels=tuple(levels), trigger=trigger(cgroup=at), **changes))
    return result and (result[0].cgroup, result[0].certain)


def path(leaf=None, middle=None, top=None):
    """Three levels, each without a limit or with (usage, limit) in MiB."""
    pairs = zip((LEAF, MIDDLE, TOP), (leaf, middle, top), strict=True)
    return [level(name, *(value * MIB for value in pair or ())) for name, pair in pairs]


TABLE = {
    "one limit, full": (path(leaf=(100, 100)), LEAF, (LEAF, True)),
    "one limit, far from full": (path(top=(1, 100)), LEAF, (TOP, False)),
    "charged from elsewhere": (path(leaf=(16, 16), top=(17, 1000)), "/a/x", (LEAF, False)),
    "leaf full, parent far": (path(leaf=(100, 100), middle=(100, 400)), LEAF, (LEAF, True)),
    "leaf full, parent nearly": (path(leaf=(100, 100), middle=(390, 400)), LEAF, (LEAF, False)),
    "leaf full, parent just too full": (path(leaf=(100, 100), middle=(300, 400)), LEAF, (LEAF, False)),
    "leaf full, parent just not": (path(leaf=(100, 100), middle=(299, 400)), LEAF, (LEAF, True)),
    "leaf full but for an eighth": (path(leaf=(350, 400), top=(350, 800)), LEAF, (LEAF, True)),
    "leaf less full than that": (path(leaf=(349, 400), top=(349, 800)), LEAF, (LEAF, False)),
    "leaf far, parent full": (path(leaf=(50, 100), middle=(400, 400)), LEAF, (MIDDLE, True)),
    "leaf at its limit, parent's was hit": (path(leaf=(99, 100), middle=(400, 400)), LEAF, (MIDDLE, False)),
    "both full": (path(leaf=(100, 100), middle=(400, 400)), LEAF, (LEAF, False)),
    "none full": (path(leaf=(50, 100), middle=(100, 400)), LEAF, (LEAF, False)),
    "usage beyond the limit": (path(leaf=(101, 100), top=(101, 400)), LEAF, (LEAF, True)),
    "trigger beside the leaf": (path(leaf=(100, 100), middle=(400, 400)), "/a/b/other", (MIDDLE, True)),
    "trigger below the leaf": (path(leaf=(100, 100)), "/a/b/c/d", (LEAF, True)),
    "trigger's name begins like the leaf's": (path(leaf=(100, 100), top=(400, 400)), "/a/b/cc", (TOP, True)),
    "trigger elsewhere": (path(leaf=(100, 100)), "/x", (LEAF, False)),
    "trigger in the root": (path(leaf=(100, 100)), "/", (LEAF, False)),
    "trigger elsewhere, none full": (path(leaf=(50, 100)), "/x", None),
    "trigger unknown": (path(leaf=(100, 100)), None, (LEAF, False)),
    "no limit at all": (path(), LEAF, None),
}


@pytest.mark.parametrize(("levels", "at", "expected"), TABLE.values(), ids=TABLE)
def test_whose_limit_was_hit(levels, at, expected):
    """The fullest cgroup that holds victim and trigger; certain where no other can have been it."""
    assert found(levels, at=at) == expected


def test_a_tie_goes_to_the_leaf():
    """The leaf is charged first, so that equal room means the leaf's limit."""
    tie = path(leaf=(90, 100), middle=(390, 400))
    assert found(tie) == (LEAF, False)
    assert found(tie[::-1]) == (MIDDLE, False), "the order of the levels decides, not their names"


def test_an_incomplete_path_is_never_certain():
    """Levels left out next to the leaf may have had the limit that was hit."""
    assert found(path(top=(100, 100)), levels_complete=False) == (TOP, False)


def test_a_cut_name_is_never_certain_unless_the_trigger_is_the_victims():
    """Two cgroups whose names differ behind the cut look the same."""
    cut = "/a/" + "x" * 127 + "…"
    levels = [level(cut, 100 * MIB, 100 * MIB), level("/a")]
    assert found(levels, at=f"{cut}/below") == (cut, False)
    assert found(levels, at=cut, victim=victim(cgroup=cut)) == (cut, True)


def test_the_owner_and_numbers_are_the_chosen_levels():
    """Owner, limit and usage are told of the cgroup that was chosen, and its index with them."""
    levels = (level(CONTAINER, HALF, 100 * MIB), level(POD, 200 * MIB, 200 * MIB), level(QOS, HALF))
    limit, index = find_limit(kill(levels=levels, trigger=trigger(cgroup=CONTAINER)))
    assert (limit.owner, limit.limit_bytes, limit.usage_bytes, index) == (
        LimitOwner.POD,
        200 * MIB,
        200 * MIB,
        1,
    )


def test_what_the_kernel_said_is_certain_wherever_the_trigger_was():
    """A limit level from the kernel is taken as it is; one without a limit is none."""
    levels = path(leaf=(100, 100), top=(10, 400))
    assert found(levels, at=None, limit_level=2) == (TOP, True)
    assert found(levels, at=LEAF, limit_level=1) is None


@pytest.mark.parametrize("constraint", [0, 1, 2, 3])
def test_where_the_kernel_named_no_level_none_is_told(constraint):
    """A limit in a level that is missing, or of no memory cgroup, is not told as another one's."""
    assert found(path(leaf=(100, 100)), constraint=constraint) is None


NAMES = st.lists(st.sampled_from(["a", "b", "bc", "c"]), min_size=1, max_size=5)


@st.composite
def kills(draw):
    """Draw a kill on a path of any depth, with limits and usages anywhere near each other."""
    names = draw(NAMES)
    paths = ["/" + "/".join(names[: len(names) - i]) for i in range(len(names))]
    pages = st.integers(0, 64)
    levels = [level(one, draw(pages), draw(st.none() | pages)) for one in paths]
    at = draw(
        st.sampled_from(paths) | NAMES.map(lambda some: "/" + "/".join(some)) | st.sampled_from(["/", None])
    )
    complete = draw(st.booleans())
    return kill(levels=tuple(levels), trigger=trigger(cgroup=at), levels_complete=complete)


def holds(cgroup: str, at: str | None) -> bool:
    """Compare level by level: an oracle of another kind than a prefix of text."""
    if at is None:
        return True
    mine, theirs = cgroup.split("/")[1:], at.split("/")[1:]
    return theirs[: len(mine)] == mine


def expected_candidates(one) -> list:
    """Tell what may be chosen, by the rule: holds both and full; else full; else holds both, if all is known."""
    limited = [each for each in one.levels if each.limit_bytes is not None]
    holding = [each for each in limited if holds(each.cgroup, one.trigger.cgroup)]
    full = [each for each in limited if 8 * (each.limit_bytes - each.usage_bytes) <= each.limit_bytes]
    both = [each for each in holding if each in full]
    return both or full or (holding if one.levels_complete else [])


@given(kills())
@examples(500)
def test_a_choice_is_the_fullest_of_those_it_may_be(one):
    """No other candidate has less room, and what does not hold the trigger or is not full is not certain."""
    candidates = expected_candidates(one)
    result = find_limit(one)
    if not candidates:
        assert result is None
        return
    limit, index = result
    chosen = one.levels[index]
    assert chosen in candidates
    assert (limit.cgroup, limit.limit_bytes) == (chosen.cgroup, chosen.limit_bytes)
    assert limit.usage_bytes == chosen.usage_bytes
    room = [each.limit_bytes - each.usage_bytes for each in candidates]
    assert chosen is candidates[room.index(min(room))]
    if limit.certain:
        assert holds(chosen.cgroup, one.trigger.cgroup)
        assert 8 * (chosen.limit_bytes - chosen.usage_bytes) <= chosen.limit_bytes


@given(kills())
@examples(500)
def test_certain_means_that_no_other_cgroup_is_close_to_full(one):
    """With another candidate at 7/8 or more, or an incomplete path, nothing is certain."""
    result = find_limit(one)
    if result is None or not result[0].certain:
        return
    assert one.levels_complete
    assert one.trigger.cgroup is not None
    for index, other in enumerate(one.levels):
        if index == result[1] or other.limit_bytes is None or not holds(other.cgroup, one.trigger.cgroup):
            continue
        assert other.usage_bytes * 8 < other.limit_bytes * 7
