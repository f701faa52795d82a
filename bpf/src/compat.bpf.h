/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One getter for each thing that kernels from 5.8 on keep in different places. */
#ifndef __COMPAT_BPF_H__
#define __COMPAT_BPF_H__

struct kernfs_node___parent {
	struct kernfs_node *parent;
} __attribute__((preserve_access_index));

struct kernfs_node___rcu_parent {
	struct kernfs_node *__parent;
} __attribute__((preserve_access_index));

/*
 * commit 633488947ef6 ("kernfs: Use RCU to access kernfs_node::parent.") (in v6.15) renamed parent to
 * __parent.
 */
static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	struct kernfs_node___rcu_parent *renamed = (void *)kn;
	struct kernfs_node___parent *original = (void *)kn;

	if (bpf_core_field_exists(renamed->__parent))
		return BPF_CORE_READ(renamed, __parent);
	return BPF_CORE_READ(original, parent);
}

struct mm_rss_stat___single {
	atomic_long_t count[4];
} __attribute__((preserve_access_index));

struct mm_struct___single {
	struct mm_rss_stat___single rss_stat;
} __attribute__((preserve_access_index));

struct mm_struct___percpu {
	struct percpu_counter rss_stat[4];
} __attribute__((preserve_access_index));

/*
 * commit f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (in v6.2) made each counter a
 * percpu_counter. Its count leaves out what the CPUs have not folded in yet and can be below zero; the
 * kernel's own log reads it the same way, and clamps it.
 *
 * Asked of a field, not of the type mm_rss_stat: for a type that the kernel has not, libbpf goes on to the
 * modules, which only CAP_SYS_ADMIN may list.
 */
static __always_inline __u64 mm_counter_pages(struct mm_struct *mm, int member)
{
	struct mm_struct___percpu *percpu = (void *)mm;
	struct mm_struct___single *single = (void *)mm;
	__s64 pages = 0;

	if (bpf_core_field_exists(single->rss_stat.count))
		bpf_core_read(&pages, sizeof(pages), &single->rss_stat.count[member].counter);
	else
		bpf_core_read(&pages, sizeof(pages), &percpu->rss_stat[member].count);
	return pages < 0 ? 0 : pages;
}

struct cgroup___ancestors {
	struct cgroup *ancestors[1];
} __attribute__((preserve_access_index));

enum {
	WALK_MAX = 256,
};

/*
 * The ancestor of a cgroup at a level below its own (the root is level 0). NULL where it cannot be reached.
 *
 * commit 7f203bc89eb6 ("cgroup: Replace cgroup->ancestor_ids[] with ->ancestors[]") (in v6.1) gave each
 * cgroup all its ancestors; before that there is only the way up, level by level, and the verifier wants
 * an end to it.
 */
static __always_inline struct cgroup *cgroup_ancestor(struct cgroup *cgrp, __u32 level)
{
	struct cgroup___ancestors *all = (void *)cgrp;
	struct cgroup *found = NULL;
	__u32 steps, i;

	if (bpf_core_field_exists(all->ancestors)) {
		bpf_probe_read_kernel(&found, sizeof(found),
				      (void *)cgrp +
					      bpf_core_field_offset(struct cgroup___ancestors, ancestors) +
					      level * sizeof(found));
		return found;
	}
	steps = BPF_CORE_READ(cgrp, level) - level;
	for (i = 0; i < WALK_MAX && i < steps; i++)
		cgrp = (void *)BPF_CORE_READ(cgrp, self.parent) - bpf_core_field_offset(struct cgroup, self);
	return i == steps ? cgrp : NULL;
}

/* The memory controller's element of a subsys[] array; NULL where the kernel was built without it. */
static __always_inline struct cgroup_subsys_state *memory_element(void *subsys)
{
	struct cgroup_subsys_state *css = NULL;

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		bpf_probe_read_kernel(&css, sizeof(css),
				      subsys + bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) *
						       sizeof(css));
	return css;
}

static __always_inline struct cgroup_subsys_state *memory_css(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);

	return memory_element(__builtin_preserve_access_index(&set->subsys));
}

static __always_inline struct cgroup_subsys_state *cgroup_memory_css(struct cgroup *cgrp)
{
	return memory_element(__builtin_preserve_access_index(&cgrp->subsys));
}

/*
 * How many OOM kills the kernel has counted for the cgroup that this memory is charged to, itself alone
 * (memory.events.local). 0 where it cannot be told: without the memory controller nobody owns memory.
 *
 * commit 1e577f970f66 ("mm, memcg: introduce memory.events.local") (in v5.2) brought the counter; its
 * index is another one in many releases.
 */
static __always_inline __u64 kills_counted(struct mm_struct *mm)
{
	struct cgroup_subsys_state *css;
	struct mem_cgroup *memcg = NULL;
	__u64 count = 0;

	if (!bpf_core_field_exists(mm->owner) || !bpf_core_field_exists(memcg->memory_events_local) ||
	    !bpf_core_enum_value_exists(enum memcg_memory_event, MEMCG_OOM_KILL))
		return 0;
	css = memory_css(BPF_CORE_READ(mm, owner));
	if (!css)
		return 0;
	memcg = (void *)css - bpf_core_field_offset(struct mem_cgroup, css);
	bpf_probe_read_kernel(&count, sizeof(count),
			      (void *)memcg + bpf_core_field_offset(struct mem_cgroup, memory_events_local) +
				      bpf_core_enum_value(enum memcg_memory_event, MEMCG_OOM_KILL) *
					      sizeof(count));
	return count;
}

#endif
