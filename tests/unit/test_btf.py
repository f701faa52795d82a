from __future__ import annotations

import platform
from dataclasses import replace

import pytest

from oomtracer.errors import BuildMismatchError
from oomtracer.libbpf import BpfObject, check_layout, extension_size
from oomtracer.libbpf.btf import LAYOUT_STRUCTS, Member, extension_members
from oomtracer.tracer.loading import ARCHITECTURES, object_path

from . import records


class FakeBtf:
    """The extension's own layout, with some structs told otherwise."""

    def __init__(self, **changes) -> None:
        self._changes = changes

    def members(self, struct: str) -> tuple[Member, ...] | None:
        """Tell a struct."""
        return self._changes.get(struct, extension_members(struct))


def mismatch(**changes) -> str:
    """Take the error's text; its hint must say what to do."""
    with pytest.raises(BuildMismatchError) as caught:
        check_layout(FakeBtf(**changes))
    assert caught.value.hint.startswith("object and extension come from different builds: ")
    assert caught.value.exit_code == 3
    return caught.value.message


EVENT = extension_members("oom_event")


def test_the_same_layout_passes():
    """Names, offsets and sizes that agree are no error."""
    check_layout(FakeBtf())


@pytest.mark.parametrize("change", [{"name": "other"}, {"offset": 4}, {"size": 8}])
def test_a_member_that_differs_is_named_with_both_sides(change):
    """Another name, place or size is told by the first member that differs."""
    theirs = (EVENT[0], replace(EVENT[1], **change), *EVENT[2:])
    message = mismatch(oom_event=theirs)
    assert message.startswith("struct oom_event in the BPF object is not the extension's: ")
    assert str(theirs[1]) in message
    assert str(EVENT[1]) in message


def test_a_missing_struct_is_a_mismatch():
    """A struct that the object does not know is told as missing."""
    assert "it is missing" in mismatch(oom_event=None)


@pytest.mark.parametrize("theirs", [EVENT[:-1], (*EVENT, Member("later", 9999, 4)), ()])
def test_missing_and_further_members_are_a_mismatch(theirs):
    """A struct that is shorter, longer or empty is another build's."""
    assert "different number of members" in mismatch(oom_event=theirs)


@pytest.mark.parametrize("struct", LAYOUT_STRUCTS)
def test_every_struct_of_the_contract_is_compared(struct):
    """Whatever crosses the seam is checked, the counters too."""
    assert f"struct {struct} " in mismatch(**{struct: extension_members(struct)[1:]})


def test_members_are_told_as_the_compiler_laid_them_out():
    """Offset and size of each member follow each other, up to the size of the struct."""
    end = 0
    for member in EVENT:
        assert member.offset == end
        end += member.size
    assert end == extension_size("oom_event") == records.EVENT_BYTES
    assert extension_size("oom_event_wide") == records.WIDE_BYTES


@pytest.mark.skipif(platform.machine() not in ARCHITECTURES, reason="no BPF object for this machine")
def test_the_built_object_is_the_extensions():
    """Object and extension of this tree come from the same header."""
    with BpfObject(object_path()) as found:
        check_layout(found.btf)
