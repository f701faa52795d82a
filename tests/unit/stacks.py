"""Kernel stacks as bpf_get_stack() gives them, symbolised, and a stand-in for the kernel's symbols."""

from __future__ import annotations

TRACING = (
    "bpf_prog_6deef7357e7b4530_mark_victim_task+0x1c7",
    "bpf_trace_run2+0x95",
    "__bpf_trace_mark_victim+0xe",
    "__traceiter_mark_victim+0x4e",
)
FAULT = (
    "alloc_anon_folio+0x1b2",
    "do_anonymous_page+0x6d",
    "__handle_mm_fault+0x8c1",
    "handle_mm_fault+0x11d",
    "do_user_addr_fault+0x1f8",
    "exc_page_fault+0x7c",
    "asm_exc_page_fault+0x26",
)
_KILL = ("mark_oom_victim+0x8a", "__oom_kill_process+0x1f0", "oom_kill_process+0x10b", "out_of_memory+0xf4")
_CHARGE = ("try_charge_memcg+0x6a5", "charge_memcg+0x3d", "__mem_cgroup_charge+0x2b")
_WORKER = ("process_one_work+0x18e", "worker_thread+0x2d4", "kthread+0xfc", "ret_from_fork+0x1b1")
_MEMBER = (
    *("mark_oom_victim+0x8a", "__oom_kill_process+0x1f0", "oom_kill_memcg_member+0x6c"),
    *("mem_cgroup_scan_tasks+0x93", "oom_kill_process+0x15f", "out_of_memory+0xf4"),
)

MEMCG = (*TRACING, *_KILL, "mem_cgroup_out_of_memory+0x12e", *_CHARGE, *FAULT)
MEMCG_SUFFIXES = (
    *("__oom_kill_process.constprop.0+0x1f0", "oom_kill_process.cold+0xb", "out_of_memory.part.0+0xf4"),
    *("mem_cgroup_out_of_memory.isra.0+0x12e", "try_charge_memcg.constprop.0+0x6a5"),
)
# Before 5.19 the v1 controller kills at the end of the page fault, which is then tried again.
MEMCG_AT_FAULT_END = (
    *_KILL,
    *("mem_cgroup_out_of_memory+0x12e", "mem_cgroup_oom_synchronize+0x26d"),
    *("pagefault_out_of_memory+0x5d", "mm_fault_error+0x8a", "do_user_addr_fault+0x5a1"),
)
MEMCG_FOLDED = (*_KILL, "mem_cgroup_oom+0x1c1", "try_charge+0x6ee", "mem_cgroup_charge+0x86")
MEMCG_LOWERED_LIMIT = (
    *_KILL,
    *("mem_cgroup_out_of_memory+0x12e", "memory_max_write+0x1b6", "cgroup_file_write+0x8c"),
    *("kernfs_fop_write_iter+0x13b", "vfs_write+0x2f1", "ksys_write+0x6d", "do_syscall_64+0x82"),
)
MEMCG_MEMBER = (*TRACING, *_MEMBER, "mem_cgroup_out_of_memory+0x12e", *_CHARGE, *FAULT)
GLOBAL = (
    *TRACING,
    *_KILL,
    *("__alloc_pages_slowpath.constprop.0+0xb9f", "__alloc_frozen_pages_noprof+0x31a"),
    *("alloc_pages_mpol+0x8b", "folio_alloc_noprof+0x5c", "vma_alloc_folio_noprof+0x6a"),
    *FAULT,
)
GLOBAL_MEMBER = (*_MEMBER, "__alloc_pages_slowpath.constprop.0+0xb9f", "__alloc_pages+0x21e")
GLOBAL_FAST = ("mark_oom_victim+0x8a", "out_of_memory+0x3a7", "__alloc_pages_slowpath.constprop.0+0xb9f")
# Up to 5.15 a fault that found no memory asked for a kill itself.
GLOBAL_PAGEFAULT = (*_KILL, "pagefault_out_of_memory+0x5d", "mm_fault_error+0x8a", "do_user_addr_fault+0x5a1")
SYSRQ = (*TRACING, *_KILL, "moom_callback+0x7e", *_WORKER)
SHARER = (
    *("bpf_prog_0b1f2a_signal_generate_task+0x9d", "bpf_trace_run5+0x90", "__bpf_trace_signal_generate+0x11"),
    *("__traceiter_signal_generate+0x5b", "__send_signal_locked+0x2e6", "send_signal_locked+0xbc"),
    *("do_send_sig_info+0x6e", "__oom_kill_process+0x2c4", "oom_kill_process+0x10b", "out_of_memory+0xf4"),
    *("mem_cgroup_out_of_memory+0x12e", *_CHARGE),
)


class Symbols:
    """Gives every frame an address, and the frame for that address."""

    def __init__(self) -> None:
        self._frames: list[str] = []

    def stack(self, frames: tuple[str | None, ...]) -> tuple[int, ...]:
        """Return addresses of these frames; one without a symbol for None."""
        return tuple(0 if frame is None else self._address(frame) for frame in frames)

    def _address(self, frame: str) -> int:
        self._frames.append(frame)
        return len(self._frames)

    def name(self, address: int) -> str | None:
        """Give the frame back."""
        return self._frames[address - 1] if address else None
