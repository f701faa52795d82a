/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel knows of this run of its OOM killer: struct oom_control, found at the entry of
 * out_of_memory() and read when the first process is marked. At the entry the kernel has not worked out
 * constraint and total pages yet.
 *
 * There is one slot for the machine, as there is one oom_lock. Nothing runs when out_of_memory() returns: a
 * return probe would change the stack that is reported. So the slot may be a former run's of the same
 * task where the entry of this one went unseen (the kernel leaves out a kprobe's program while another one's
 * task sits in a bpf() call on that processor). Therefore it is used once, for the first mark, and only if
 * what stands there is still what was seen at the entry and names this victim.
 */
#ifndef __INVOCATION_BPF_H__
#define __INVOCATION_BPF_H__

struct oom_invocation {
	__u64 caller;  /* pid_tgid of the task that runs the OOM killer */
	__u64 control; /* struct oom_control on its stack; 0: used */
	__u64 memcg;   /* seen at the entry, like the next two; the kernel changes none of them */
	__u32 gfp_mask;
	__s32 order;
	__u64 limit_memcg; /* for the record that is being filled: whose limit was hit; 0: not known */
	__u32 hook;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oom_invocation);
} invocation SEC(".maps");

static __always_inline struct oom_invocation *get_invocation(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&invocation, &zero);
}

static __always_inline int begin_invocation(struct oom_control *control, __u32 hook)
{
	struct oom_invocation *run = get_invocation();

	if (!run)
		return 0;
	run->caller = bpf_get_current_pid_tgid();
	run->memcg = (__u64)BPF_CORE_READ(control, memcg);
	run->gfp_mask = BPF_CORE_READ(control, gfp_mask);
	run->order = BPF_CORE_READ(control, order);
	run->hook = hook;
	run->control = (__u64)control;
	return 0;
}

static __always_inline bool is_unchanged(struct oom_invocation *run, struct oom_control *control)
{
	return run->memcg == (__u64)BPF_CORE_READ(control, memcg) &&
	       run->gfp_mask == BPF_CORE_READ(control, gfp_mask) &&
	       run->order == BPF_CORE_READ(control, order);
}

/*
 * A current task that is exiting already is marked before anything is worked out: no victim was chosen then,
 * and total pages, which is never 0 afterwards where the limit is a memory cgroup's, is 0.
 */
static __always_inline bool is_of_victim(struct oom_control *control, struct task_struct *victim)
{
	struct task_struct *chosen = BPF_CORE_READ(control, chosen);

	if (!chosen)
		return victim == (void *)bpf_get_current_task() && !BPF_CORE_READ(control, totalpages);
	/* The marked task may be another thread of the chosen one's process. */
	return BPF_CORE_READ(chosen, signal) == BPF_CORE_READ(victim, signal);
}

static __always_inline void read_control(struct oom_event *event, struct oom_control *control)
{
	struct task_struct *chosen = BPF_CORE_READ(control, chosen);
	bool of_memcg = BPF_CORE_READ(control, memcg);

	event->oom_order = BPF_CORE_READ(control, order);
	event->oom_gfp_mask = BPF_CORE_READ(control, gfp_mask);
	event->oom_total_pages = BPF_CORE_READ(control, totalpages);
	event->oom_chosen_points = BPF_CORE_READ(control, chosen_points);
	event->oom_constraint = of_memcg ? CONSTRAINT_MEMCG : BPF_CORE_READ(control, constraint);
	event->fields |= OOM_FIELD_CONTEXT;
	if (chosen || of_memcg)
		event->fields |= OOM_FIELD_CONSTRAINT;
	if (chosen)
		event->fields |= OOM_FIELD_TOTAL_PAGES;
	/* With vm.oom_kill_allocating_task nobody is compared, and the allocating task is chosen with 0. */
	if (event->oom_chosen_points || (chosen && chosen != (void *)bpf_get_current_task()))
		event->fields |= OOM_FIELD_CHOSEN_POINTS;
}

static __always_inline void fill_invocation(struct oom_event *event, struct oom_invocation *run,
					    struct task_struct *victim)
{
	struct oom_control *control = (void *)run->control;

	run->limit_memcg = 0;
	if (!control || run->caller != bpf_get_current_pid_tgid())
		return;
	run->control = 0;
	if (!is_unchanged(run, control) || !is_of_victim(control, victim))
		return;
	read_control(event, control);
	event->hook = run->hook;
	run->limit_memcg = run->memcg;
}

#endif
