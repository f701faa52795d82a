/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cgroup paths, leaf first.
 *
 * A path deeper than the record loses the levels next to its leaf, never those next to the root: these
 * say which pod or unit it is, and a container may nest cgroups as it likes.
 */
#ifndef __CGROUP_BPF_H__
#define __CGROUP_BPF_H__

enum {
	CHARGE_BATCH_PAGES = 64, /* the kernel's MEMCG_CHARGE_BATCH: 32, later 64 */
};

/* PAGE_COUNTER_MAX is LONG_MAX / PAGE_SIZE: 1 << 47 with the largest pages (64 KiB). */
#define NO_LIMIT_PAGES ((1ULL << 47) - 1)

static __always_inline __u32 cgroup_depth(struct cgroup *cgrp)
{
	return BPF_CORE_READ(cgrp, level);
}

/*
 * The deepest cgroup on the way to cgrp from which the record reaches the root, and how many levels below
 * it are left out. NULL where it cannot be found: then nothing is told, since names from the middle of a
 * path could pass for another pod's.
 */
static __always_inline struct cgroup *deepest_recorded(struct cgroup *cgrp, __u32 *skipped)
{
	__u32 depth = cgroup_depth(cgrp);

	*skipped = 0;
	if (depth <= OOM_LEVELS_MAX)
		return cgrp;
	*skipped = depth - OOM_LEVELS_MAX;
	return cgroup_ancestor(cgrp, OOM_LEVELS_MAX);
}

/* Returns whether the name was longer than its field. */
static __always_inline bool read_name(char *field, struct kernfs_node *kn)
{
	const char *name = BPF_CORE_READ(kn, name);
	char next = 0;

	if (bpf_probe_read_kernel_str(field, OOM_NAME_SIZE, name) < OOM_NAME_SIZE)
		return false;
	bpf_probe_read_kernel(&next, sizeof(next), name + OOM_NAME_SIZE - 1);
	return next != 0;
}

/* Returns whether the path is known. */
static __always_inline bool fill_path(struct oom_path *path, struct cgroup *cgrp)
{
	struct kernfs_node *kn, *parent;
	__u32 skipped, i;

	cgrp = deepest_recorded(cgrp, &skipped);
	if (!cgrp)
		return false;
	kn = BPF_CORE_READ(cgrp, kn);
	path->skipped = skipped;
	path->levels = 0;
	path->cut = 0;
	path->reserved = 0;
	for (i = 0; i < OOM_LEVELS_MAX; i++) {
		parent = kernfs_parent(kn);
		if (!parent)
			break;
		if (read_name(path->name[i], kn))
			path->cut |= 1U << i;
		path->levels = i + 1;
		kn = parent;
	}
	return true;
}

/*
 * In cgroup v1 a second counter, memory and swap together, has a limit of its own. It is the one that was
 * hit if it is nearer to its limit, or has less room than one batch of charges while some memory is swapped
 * out: from then on the kernel reclaims without swapping, and full memory stays full (try_charge_memcg).
 * In v2 the same place holds swap alone.
 */
static __always_inline bool memsw_was_hit(__s64 free, __s64 swapped, __u64 memsw_limit, __s64 memsw_free)
{
	if (memsw_limit >= NO_LIMIT_PAGES)
		return false;
	return memsw_free < free || (swapped > 0 && memsw_free < CHARGE_BATCH_PAGES);
}

static __always_inline void read_counters(struct oom_event *event, __u32 i, struct mem_cgroup *memcg)
{
	__s64 usage = BPF_CORE_READ(memcg, memory.usage.counter);
	__s64 limit = BPF_CORE_READ(memcg, memory.max);

	if (event->fields & OOM_FIELD_CGROUP_V1) {
		__s64 memsw_usage = BPF_CORE_READ(memcg, memsw.usage.counter);
		__s64 memsw_limit = BPF_CORE_READ(memcg, memsw.max);

		if (memsw_was_hit(limit - usage, memsw_usage - usage, memsw_limit,
				  memsw_limit - memsw_usage)) {
			usage = memsw_usage;
			limit = memsw_limit;
			event->levels_memsw |= 1U << i;
		}
	}
	event->level_usage_pages[i] = usage < 0 ? 0 : usage;
	event->level_limit_pages[i] = limit;
}

static __always_inline void fill_levels(struct oom_event *event, struct cgroup_subsys_state *css,
					__u64 limit_memcg)
{
	struct cgroup_subsys_state *parent;
	struct cgroup *cgrp;
	__u32 skipped, i;

	cgrp = deepest_recorded(BPF_CORE_READ(css, cgroup), &skipped);
	if (!cgrp)
		return;
	css = cgroup_memory_css(cgrp);
	event->fields |= OOM_FIELD_LEVELS;
	event->levels_skipped = skipped;
	for (i = 0; i < OOM_LEVELS_MAX; i++) {
		struct mem_cgroup *memcg = (void *)css - bpf_core_field_offset(struct mem_cgroup, css);

		parent = BPF_CORE_READ(css, parent);
		if (!parent)
			break;
		if (read_name(event->level_name[i], BPF_CORE_READ(css, cgroup, kn)))
			event->levels_cut |= 1U << i;
		read_counters(event, i, memcg);
		if (BPF_CORE_READ(memcg, oom_group))
			event->levels_oom_group |= 1U << i;
		if ((__u64)memcg == limit_memcg) {
			event->limit_level = i;
			event->fields |= OOM_FIELD_LIMIT_LEVEL;
		}
		event->levels = i + 1;
		css = parent;
	}
}

#endif
