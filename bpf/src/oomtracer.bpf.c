// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * One record for each process that the kernel's OOM killer marks or kills.
 *
 * The ring and the counters are written inside out_of_memory() only, which holds oom_lock: one at a time on
 * the whole machine. That is why plain increments are exact.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "oom_event.h"

#include "compat.bpf.h"

#include "cgroup.bpf.h"
#include "task.bpf.h"

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

/* Set by the loader: whether signal_generate is attached too, so that a missing signal means something. */
const volatile bool signals_seen = false;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oom_counters);
} counters SEC(".maps");

/* The last SIGKILL that a task sent as the kernel, and the last process it marked. */
struct oom_call {
	__u64 signalled_start_ns;
	__u32 signalled_tgid;
	__u32 reserved;
	__u64 marked_mm;
	__u64 marked_at_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct oom_call);
} calls SEC(".maps");

static __always_inline struct oom_counters *get_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/* volatile: clang would make a call to memset of it, which BPF has not. */
static __always_inline void zero_event(struct oom_event *event)
{
	volatile __u64 *words = (void *)event;
	__u32 i;

	for (i = 0; i < sizeof(*event) / sizeof(*words); i++)
		words[i] = 0;
}

/* Which paths differ from the victim's memory cgroup path, and so need room of their own. */
static __always_inline __u32 path_fields(struct task_struct *victim, struct task_struct *trigger)
{
	struct cgroup_subsys_state *css = memory_css(victim), *trigger_css = memory_css(trigger);
	struct cgroup *unified = BPF_CORE_READ(victim, cgroups, dfl_cgrp);
	struct cgroup *memory = css ? BPF_CORE_READ(css, cgroup) : NULL;
	__u32 fields = 0;

	if (memory && BPF_CORE_READ(memory, root) != BPF_CORE_READ(unified, root))
		fields |= OOM_FIELD_CGROUP_V1;
	if (unified != memory && cgroup_depth(unified) > 0)
		fields |= OOM_FIELD_UNIFIED_PATH;
	if (!trigger_css)
		return fields;
	if (!BPF_CORE_READ(trigger_css, parent))
		fields |= OOM_FIELD_TRIGGER_ROOT;
	else if (trigger_css == css)
		fields |= OOM_FIELD_TRIGGER_SAME;
	else
		fields |= OOM_FIELD_TRIGGER_PATH;
	return fields;
}

static __always_inline void fill_paths(struct oom_event_wide *record, struct task_struct *victim,
				       struct task_struct *trigger)
{
	struct cgroup_subsys_state *css = memory_css(trigger);

	record->event.size = sizeof(*record);
	record->event.paths_offset = __builtin_offsetof(struct oom_event_wide, paths);
	if (record->event.fields & OOM_FIELD_UNIFIED_PATH &&
	    !fill_path(&record->paths[OOM_PATH_UNIFIED], BPF_CORE_READ(victim, cgroups, dfl_cgrp)))
		record->event.fields &= ~OOM_FIELD_UNIFIED_PATH;
	if (record->event.fields & OOM_FIELD_TRIGGER_PATH &&
	    !fill_path(&record->paths[OOM_PATH_TRIGGER], BPF_CORE_READ(css, cgroup)))
		record->event.fields &= ~OOM_FIELD_TRIGGER_PATH;
}

static __always_inline void fill_stack(struct oom_event *event, void *ctx)
{
	long size = bpf_get_stack(ctx, event->stack, sizeof(event->stack), 0);

	if (size <= 0)
		return;
	event->stack_depth = size / sizeof(event->stack[0]);
	event->fields |= OOM_FIELD_STACK;
}

/*
 * From here on decisions are read back from the record: to the verifier these are unknown values, so that
 * it follows each branch once, and not each combination of branches.
 */
static __always_inline void fill_event(struct oom_event *event, void *ctx, struct task_struct *victim,
				       struct task_struct *trigger, __u16 outcome)
{
	struct cgroup_subsys_state *css = memory_css(victim);

	event->type = OOM_EVENT_KILL;
	event->version = OOM_EVENT_VERSION;
	event->size = sizeof(struct oom_event);
	event->hook = OOM_HOOK_TP_BTF;
	event->outcome = outcome;
	event->boot_time_ns = bpf_ktime_get_boot_ns();
	fill_victim(event, victim);
	fill_trigger(event, trigger);
	if (css)
		fill_levels(event, css);
	fill_stack(event, ctx);
}

static __always_inline int send(void *ctx, struct task_struct *victim, __u16 outcome)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();
	__u32 fields = path_fields(victim, trigger);
	struct oom_counters *count = get_counters();
	struct oom_event *event;
	bool wide;

	if (!count)
		return 0;
	count->attempted++;
	wide = fields & (OOM_FIELD_UNIFIED_PATH | OOM_FIELD_TRIGGER_PATH);
	if (wide)
		event = bpf_ringbuf_reserve(&events, sizeof(struct oom_event_wide), 0);
	else
		event = bpf_ringbuf_reserve(&events, sizeof(struct oom_event), 0);
	if (!event) {
		count->ring_full++;
		return 0;
	}
	zero_event(event);
	event->seq = count->attempted;
	event->fields = fields;
	fill_event(event, ctx, victim, trigger, outcome);
	if (wide)
		fill_paths((void *)event, victim, trigger);
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return 0;
}

static __always_inline bool is_signalled(struct oom_call *call, struct task_struct *task)
{
	return call && call->signalled_tgid == (__u32)BPF_CORE_READ(task, tgid) &&
	       call->signalled_start_ns == process_start_ns(task);
}

SEC("?tp_btf/mark_victim")
int BPF_PROG(mark_victim_task, struct task_struct *task)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct oom_call *call = bpf_map_lookup_elem(&calls, &key);
	__u16 outcome = OOM_OUTCOME_UNKNOWN;

	if (signals_seen)
		outcome = is_signalled(call, task) ? OOM_OUTCOME_KILLED : OOM_OUTCOME_MARKED;
	if (call) {
		call->signalled_tgid = 0; /* its mark has come */
		call->marked_mm = (__u64)BPF_CORE_READ(task, mm);
		call->marked_at_ns = bpf_ktime_get_boot_ns();
	}
	return send(ctx, task, outcome);
}

/*
 * What follows a mark in the same task without a mark of its own: a process that shares the victim's memory,
 * or one that was marked before. Returns whether it was one of these.
 */
static __always_inline bool follows_a_mark(void *ctx, struct oom_call *call, struct task_struct *task,
					   int result)
{
	__u64 mm = (__u64)BPF_CORE_READ(task, mm);
	struct oom_counters *count;

	if (mm && mm == call->marked_mm && result == TRACE_SIGNAL_DELIVERED) {
		send(ctx, task, OOM_OUTCOME_SHARED);
		return true;
	}
	if (!BPF_CORE_READ(task, signal, oom_mm))
		return false;
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
	}
	next.signalled_tgid = BPF_CORE_READ(task, tgid);
	next.signalled_start_ns = process_start_ns(task);
	bpf_map_update_elem(&calls, &key, &next, BPF_ANY);
	return 0;
}
