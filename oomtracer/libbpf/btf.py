"""Questions to BTF, the kernel's and the object's type information."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from oomtracer._native import ffi, lib
from oomtracer.errors import BuildMismatchError, OomTracerError, UnsupportedError, errno_name

if TYPE_CHECKING:
    from types import TracebackType

    from oomtracer._native import CData

LAYOUT_STRUCTS = ("oom_event", "oom_path", "oom_event_wide", "oom_counters", "oom_meta")


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a struct: offset and size in bytes."""

    name: str
    offset: int
    size: int


class Btf:
    """Type information; a context manager unless it belongs to an object (``owned`` False)."""

    def __init__(self, btf: CData, *, owned: bool = True) -> None:
        self._btf = btf
        self._owned = owned

    @classmethod
    def of_kernel(cls) -> Self:
        """The running kernel's BTF.

        Raises UnsupportedError where the kernel has none (built without ``CONFIG_DEBUG_INFO_BTF``).
        """
        btf = lib.btf__load_vmlinux_btf()
        if btf == ffi.NULL and ffi.errno not in (errno.ENOENT, errno.ESRCH):
            raise OomTracerError(
                f"cannot read the kernel's BTF type information: {errno_name(ffi.errno)}",
                hint="it takes some 10 MiB for a moment: look at the memory limits of this process",
            )
        if btf == ffi.NULL:
            raise UnsupportedError(
                "this kernel has no BTF type information (/sys/kernel/btf/vmlinux)",
                hint="use a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container, mount /sys",
            )
        return cls(btf)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._owned:
            lib.btf__free(self._btf)
        self._btf = ffi.NULL

    def members(self, struct: str) -> tuple[Member, ...] | None:
        """The members of a struct in their order, or None where BTF does not know it."""
        found = lib.btf__find_by_name_kind(self._btf, struct.encode(), lib.BTF_KIND_STRUCT)
        if found < 0:
            return None
        kind = lib.btf__type_by_id(self._btf, found)
        members = lib.btf_members(kind)
        return tuple(
            Member(
                self._name(members[i].name_off),
                lib.btf_member_bit_offset(kind, i) // 8,
                lib.btf__resolve_size(self._btf, members[i].type),
            )
            for i in range(lib.btf_vlen(kind))
        )

    def tracepoint_arguments(self, tracepoint: str) -> tuple[str, ...] | None:
        """The type names of a tracepoint's arguments, or None where the kernel has no such tracepoint.

        The kernel declares each as ``typedef void (*btf_trace_NAME)(void *, ARGUMENTS)``. A pointer is told
        as what it points at with a ``*`` behind it.
        """
        name = f"btf_trace_{tracepoint}".encode()
        typedef = lib.btf__find_by_name_kind(self._btf, name, lib.BTF_KIND_TYPEDEF)
        if typedef < 0:
            return None
        pointer = lib.btf__type_by_id(self._btf, lib.btf__type_by_id(self._btf, typedef).type)
        return self._arguments(pointer.type)[1:]

    def function_arguments(self, function: str) -> tuple[str, ...] | None:
        """The type names of a function's arguments, or None where the kernel has no such function."""
        found = lib.btf__find_by_name_kind(self._btf, function.encode(), lib.BTF_KIND_FUNC)
        return self._arguments(lib.btf__type_by_id(self._btf, found).type) if found >= 0 else None

    def _arguments(self, prototype_id: int) -> tuple[str, ...]:
        prototype = lib.btf__type_by_id(self._btf, prototype_id)
        params = lib.btf_params(prototype)
        return tuple(self._type_name(params[i].type) for i in range(lib.btf_vlen(prototype)))

    def _type_name(self, type_id: int) -> str:
        kind = lib.btf__type_by_id(self._btf, type_id)
        name = self._name(kind.name_off)
        return name if name or not type_id else f"{self._type_name(kind.type)} *"

    def _name(self, offset: int) -> str:
        return ffi.string(lib.btf__name_by_offset(self._btf, offset)).decode()


def extension_members(struct: str) -> tuple[Member, ...]:
    """The members of a struct as the C extension was compiled with."""
    return tuple(
        Member(name, field.offset, ffi.sizeof(field.type))
        for name, field in ffi.typeof(f"struct {struct}").fields
    )


def extension_size(struct: str) -> int:
    """Bytes of a struct as the C extension was compiled with."""
    return ffi.sizeof(f"struct {struct}")


def check_layout(btf: Btf) -> None:
    """Compare the record's structs in the object's BTF with the extension's.

    Raises BuildMismatchError, naming the first difference.
    """
    for struct in LAYOUT_STRUCTS:
        theirs, ours = btf.members(struct), extension_members(struct)
        if theirs == ours:
            continue
        difference = next(
            (pair for pair in zip(theirs or (), ours, strict=False) if pair[0] != pair[1]), None
        )
        what = f"{difference[0]} against {difference[1]}" if difference else "different number of members"
        what = "it is missing" if theirs is None else what
        raise BuildMismatchError(
            f"struct {struct} in the BPF object is not the extension's: {what}",
            hint="object and extension come from different builds: install the package again, "
            "or run `make build` in a checkout",
        )
