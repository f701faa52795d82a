// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs: one record for each process that the kernel's OOM killer marks or kills. Which of them are
 * loaded is the table in oomtracer/tracer/hooks.py.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "oom_event.h"

#include "compat.bpf.h"

#include "cgroup.bpf.h"
#include "find_task.bpf.h"
#include "invocation.bpf.h"
#include "meta.bpf.h"
#include "share.bpf.h"
#include "task.bpf.h"

#include "record.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGKILL 9
#define SEND_SIG_PRIV 1 /* sent by the kernel, not by a process */
#define TRACE_SIGNAL_DELIVERED 0
#define PF_EXITING 0x4
/* The kernel goes on at once, or after the lines it prints on a slow console. */
#define SAME_KILL_NS 5000000000ULL

_Static_assert(sizeof(struct oom_event) % 8 == 0, "paths follow aligned");
_Static_assert(sizeof(struct oom_path) % 8 == 0, "an array of paths stays aligned");

/* A struct that is only ever pointed at is left out of BTF; the loader compares these with its own. */
const struct oom_event_wide *layout_event __attribute__((unused));
const struct oom_counters *layout_counters __attribute__((unused));
const struct oom_meta *layout_meta __attribute__((unused));

/* Set by the loader: whether signal_generate is attached too, so that a missing signal means something. */
const volatile bool signals_seen = false;

/* The last SIGKILL that a task sent as the kernel, and the last process it marked. */
struct oom_call {
	__u64 signalled_task;
	__u64 signalled_start_ns;
	__u32 signalled_tgid;
	__u32 reserved;
	__u64 marked_mm;
	__u64 marked_at_ns;
	__u64 marked_count; /* kills that the kernel has counted for the cgroup of that memory, by then */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct oom_call);
} calls SEC(".maps");

static __always_inline struct oom_call *get_call(void)
{
	__u64 key = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&calls, &key);
}

static __always_inline bool is_signalled(struct oom_call *call, struct task_struct *task)
{
	return call && call->signalled_tgid == (__u32)BPF_CORE_READ(task, tgid) &&
	       call->signalled_start_ns == process_start_ns(task);
}

/* Not oom_kill_process(): that is a static function, which compilers fold into its caller. */
SEC("?fentry/out_of_memory")
int out_of_memory_fentry(__u64 *arguments)
{
	return begin_invocation((void *)arguments[0], OOM_HOOK_FENTRY);
}

SEC("?kprobe/out_of_memory")
int out_of_memory_kprobe(struct pt_regs *registers)
{
	return begin_invocation((void *)PT_REGS_PARM1(registers), OOM_HOOK_KPROBE);
}

static __always_inline __u16 outcome_of(bool signalled)
{
	if (!signals_seen)
		return OOM_OUTCOME_UNKNOWN;
	return signalled ? OOM_OUTCOME_KILLED : OOM_OUTCOME_MARKED;
}

static __always_inline int mark(void *ctx, struct oom_call *call, struct task_struct *task, __u16 hook)
{
	__u16 outcome = outcome_of(is_signalled(call, task));

	if (call) {
		call->signalled_tgid = 0; /* its mark has come */
		call->marked_mm = (__u64)BPF_CORE_READ(task, mm);
		call->marked_at_ns = bpf_ktime_get_boot_ns();
		call->marked_count = kills_counted((void *)call->marked_mm);
	}
	return send(ctx, task, outcome, hook);
}

static __always_inline int mark_by_number(void *ctx, int number, __u16 hook)
{
	struct oom_call *call = get_call();
	struct task_struct *signalled = NULL, *task;

	if (call && call->signalled_tgid)
		signalled = (void *)call->signalled_task;
	task = find_task(number, signalled);
	if (!task)
		return count_not_found(outcome_of(call && call->signalled_tgid == (__u32)number));
	return mark(ctx, call, task, hook);
}

/* The tracepoint hands over the task, and with it nothing is to be looked for. */
SEC("?tp_btf/mark_victim")
int BPF_PROG(mark_victim_task, struct task_struct *task)
{
	return mark(ctx, get_call(), task, OOM_HOOK_TP_BTF);
}

/*
 * commit 72ba14deb40a ("mm: update mark_victim tracepoints fields") (in v6.9, and in stable kernels since)
 * made the tracepoint hand over the task; before that it was the pid.
 */
SEC("?tp_btf/mark_victim")
int BPF_PROG(mark_victim_pid, int pid)
{
	return mark_by_number(ctx, pid, OOM_HOOK_TP_BTF);
}

/* The same tracepoint as an event for tracing tools: its pid has been there all the time. */
SEC("?tracepoint/oom/mark_victim")
int mark_victim_event(struct trace_event_raw_mark_victim *ctx)
{
	return mark_by_number(ctx, BPF_CORE_READ(ctx, pid), OOM_HOOK_TRACEPOINT);
}

/*
 * What follows a mark in the same task without a mark of its own: a process that shares the victim's memory,
 * or one that was marked before. Returns whether it was one of these.
 *
 * One that was marked before can also be signalled as a sharer of the memory of the one marked last, and that
 * is no kill. The kernel's own count for their cgroup tells the two apart: only a kill moves it.
 */
static __always_inline bool follows_a_mark(void *ctx, struct oom_call *call, struct task_struct *task,
					   int result)
{
	__u64 mm = (__u64)BPF_CORE_READ(task, mm), marked_before, counted;
	struct oom_counters *count;

	if (mm && mm == call->marked_mm && result == TRACE_SIGNAL_DELIVERED) {
		send(ctx, task, OOM_OUTCOME_SHARED, OOM_HOOK_TP_BTF);
		return true;
	}
	marked_before = (__u64)BPF_CORE_READ(task, signal, oom_mm);
	if (!marked_before)
		return false;
	if (marked_before == call->marked_mm) {
		counted = kills_counted((void *)marked_before);
		if (counted && counted == call->marked_count)
			return true;
		call->marked_count = counted;
	}
	count = get_counters();
	if (count)
		count->second_kills++;
	return true;
}

/*
 * Fires just before mark_victim, in the same task. An exiting task can kill too, but what it sends after a
 * mark is rather the end of its pid namespace or of the processes it traced.
 */
SEC("?tp_btf/signal_generate")
int BPF_PROG(signal_generate_task, int signal, struct kernel_siginfo *info, struct task_struct *task,
	     int group __attribute__((unused)), int result)
{
	struct task_struct *sender = (void *)bpf_get_current_task();
	__u64 key = bpf_get_current_pid_tgid();
	struct oom_call next = {}, *call;

	if (signal != SIGKILL || (__u64)info != SEND_SIG_PRIV)
		return 0;

	call = bpf_map_lookup_elem(&calls, &key);
	if (call && bpf_ktime_get_boot_ns() - call->marked_at_ns < SAME_KILL_NS) {
		if (!(BPF_CORE_READ(sender, flags) & PF_EXITING) && follows_a_mark(ctx, call, task, result))
			return 0;
		next.marked_mm = call->marked_mm;
		next.marked_at_ns = call->marked_at_ns;
		next.marked_count = call->marked_count;
	}
	next.signalled_task = (__u64)task;
	next.signalled_tgid = BPF_CORE_READ(task, tgid);
	next.signalled_start_ns = process_start_ns(task);
	bpf_map_update_elem(&calls, &key, &next, BPF_ANY);
	return 0;
}
