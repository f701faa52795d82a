/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One record into the ring.
 *
 * The ring, the shares in it and the counters are written inside out_of_memory() only, which holds oom_lock:
 * one at a time on the whole machine. That is why plain increments are exact.
 */
#ifndef __RECORD_BPF_H__
#define __RECORD_BPF_H__

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

/* NULL where another instance counts in the place of this one. */
static __always_inline struct oom_counters *get_counters(void)
{
	__u32 zero = 0;

	return is_replaced() ? NULL : bpf_map_lookup_elem(&counters, &zero);
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
				       struct task_struct *trigger, struct oom_invocation *run)
{
	struct cgroup_subsys_state *css = memory_css(victim);

	event->type = OOM_EVENT_KILL;
	event->version = OOM_EVENT_VERSION;
	event->size = sizeof(struct oom_event);
	event->boot_time_ns = bpf_ktime_get_boot_ns();
	fill_victim(event, victim);
	fill_trigger(event, trigger);
	fill_invocation(event, run, victim);
	if (css)
		fill_levels(event, css, run->limit_memcg);
	fill_stack(event, ctx);
}

static __always_inline void count_outcome(struct oom_counters *count, __u16 outcome)
{
	if (outcome == OOM_OUTCOME_KILLED)
		count->kills++;
	else if (outcome == OOM_OUTCOME_MARKED)
		count->marks++;
	else if (outcome == OOM_OUTCOME_SHARED)
		count->shared++;
}

/* A kill that cannot be told is a gap in the sequence, with a count of its own. */
static __always_inline int count_not_found(__u16 outcome)
{
	struct oom_counters *count = get_counters();

	if (!count)
		return 0;
	count->attempted++;
	count_outcome(count, outcome);
	if (is_unread())
		count->unread++;
	else
		count->not_found++;
	return 0;
}

static __always_inline int send(void *ctx, struct task_struct *victim, __u16 outcome, __u16 hook)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();
	__u32 fields = path_fields(victim, trigger);
	struct oom_invocation *run = get_invocation();
	struct oom_counters *count = get_counters();
	struct oom_event *event;
	bool wide;

	if (!count || !run)
		return 0;
	count->attempted++;
	count_outcome(count, outcome);
	if (is_unread()) {
		count->unread++;
		return 0;
	}
	if (is_over_share(victim, &events)) {
		count->over_share++;
		return 0;
	}
	wide = fields & (OOM_FIELD_UNIFIED_PATH | OOM_FIELD_TRIGGER_PATH);
	if (wide)
		event = bpf_ringbuf_reserve(&events, sizeof(struct oom_event_wide), 0);
	else
		event = bpf_ringbuf_reserve(&events, sizeof(struct oom_event), 0);
	if (!event) {
		count->ring_full++;
		return 0;
	}
	count_in_share();
	zero_event(event);
	event->seq = count->attempted;
	event->fields = fields;
	event->outcome = outcome;
	event->hook = hook;
	fill_event(event, ctx, victim, trigger, run);
	if (wide)
		fill_paths((void *)event, victim, trigger);
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return 0;
}

#endif
