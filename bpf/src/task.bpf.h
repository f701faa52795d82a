/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The victim and the trigger, as the kernel's own log tells them. */
#ifndef __TASK_BPF_H__
#define __TASK_BPF_H__

static __always_inline __u64 process_start_ns(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

static __always_inline void fill_container_pid(struct oom_event *event, struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[PIDTYPE_TGID]);
	struct upid number = {};
	__u32 level;

	if (!pid)
		return;
	level = BPF_CORE_READ(pid, level);
	/* numbers[] has one element for each level; its declared length differs between kernels. */
	if (bpf_probe_read_kernel(&number.nr, sizeof(number.nr),
				  (void *)pid + bpf_core_field_offset(struct pid, numbers) +
					  level * bpf_core_type_size(struct upid) +
					  bpf_core_field_offset(struct upid, nr)))
		return;
	event->victim_pid_ns_level = level;
	event->victim_container_pid = number.nr;
	event->fields |= OOM_FIELD_CONTAINER_PID;
}

static __always_inline void fill_memory(struct oom_event *event, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	if (!mm)
		return;
	event->victim_total_vm_pages = BPF_CORE_READ(mm, total_vm);
	event->victim_anon_rss_pages = mm_counter_pages(mm, MM_ANONPAGES);
	event->victim_file_rss_pages = mm_counter_pages(mm, MM_FILEPAGES);
	event->victim_shmem_rss_pages = mm_counter_pages(mm, MM_SHMEMPAGES);
	event->victim_swap_pages = mm_counter_pages(mm, MM_SWAPENTS);
	event->victim_page_tables_bytes = BPF_CORE_READ(mm, pgtables_bytes.counter);
	event->fields |= OOM_FIELD_MEMORY;
}

static __always_inline void fill_victim(struct oom_event *event, struct task_struct *task)
{
	event->victim_tgid = BPF_CORE_READ(task, tgid);
	event->victim_tid = BPF_CORE_READ(task, pid);
	event->victim_uid = BPF_CORE_READ(task, real_cred, uid.val);
	event->victim_oom_score_adj = BPF_CORE_READ(task, signal, oom_score_adj);
	event->victim_start_time_ns = process_start_ns(task);
	BPF_CORE_READ_STR_INTO(&event->victim_comm, task, comm);
	fill_memory(event, task);
	fill_container_pid(event, task);
}

static __always_inline void fill_trigger(struct oom_event *event, struct task_struct *task)
{
	event->trigger_tgid = BPF_CORE_READ(task, tgid);
	event->trigger_tid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_STR_INTO(&event->trigger_comm, task, comm);
}

#endif
