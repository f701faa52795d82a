/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a process id in the root pid namespace to its task, for a mark that hands over no task. */
#ifndef __FIND_TASK_BPF_H__
#define __FIND_TASK_BPF_H__

enum {
	/* Six bits a level for 22 bits of pid; four bits where the kernel was built with BASE_SMALL. */
	XARRAY_DEPTH_MAX = 6,
	/* The low bits of an entry that is no plain pointer; a node is told from the reserved small values.
	 */
	XARRAY_TAG_MASK = 3,
	XARRAY_TAG_INTERNAL = 2,
	XARRAY_RESERVED_MAX = 4096,
};

static __always_inline bool is_xarray_node(__u64 entry)
{
	return (entry & XARRAY_TAG_MASK) == XARRAY_TAG_INTERNAL && entry > XARRAY_RESERVED_MAX;
}

/* What an xarray holds at an index; NULL for nothing. */
static __always_inline void *xarray_lookup(__u64 entry, __u32 index)
{
	__u32 i;

	for (i = 0; i < XARRAY_DEPTH_MAX && is_xarray_node(entry); i++) {
		struct xa_node *node = (void *)(entry - XARRAY_TAG_INTERNAL);
		__u64 slots = bpf_core_field_size(node->slots) / sizeof(void *);
		__u64 slot = (index >> BPF_CORE_READ(node, shift)) & (slots - 1);

		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)node + bpf_core_field_offset(struct xa_node, slots) +
					      slot * sizeof(void *));
	}
	return entry & XARRAY_TAG_MASK ? NULL : (void *)entry;
}

static __always_inline struct pid_namespace *root_pid_namespace(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid_namespace *ns = NULL;

	/* numbers[0] is the root's; the array's declared length differs between kernels. */
	bpf_probe_read_kernel(&ns, sizeof(ns),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      bpf_core_field_offset(struct upid, ns));
	return ns;
}

/* The task that the kernel's own table of pids has under this number (find_pid_ns() and pid_task()). */
static __always_inline struct task_struct *task_in_pid_table(int number)
{
	struct pid_namespace *ns = root_pid_namespace((void *)bpf_get_current_task());
	struct hlist_node *first;
	struct pid *pid;

	if (!bpf_core_field_exists(ns->idr.idr_rt.xa_head))
		return NULL;
	pid = xarray_lookup((__u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head), number);
	if (!pid)
		return NULL;
	first = BPF_CORE_READ(pid, tasks[PIDTYPE_PID].first);
	return first ? (void *)first - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_PID])
		     : NULL;
}

static __always_inline bool has_number(struct task_struct *task, int number)
{
	return task && BPF_CORE_READ(task, pid) == number;
}

/*
 * The task that is being marked: current, or whom the table of pids knows by this number, or, last, whom
 * current has just sent SIGKILL to. A task exits no further than its memory while it is being marked, so
 * that the table has it. NULL where none has that number.
 */
static __always_inline struct task_struct *find_task(int number, struct task_struct *signalled)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (has_number(task, number))
		return task;
	task = task_in_pid_table(number);
	if (has_number(task, number))
		return task;
	return has_number(signalled, number) ? signalled : NULL;
}

#endif
