/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who may put a record into a ring that fills up: a pod or unit that dies in a loop while nobody reads may
 * not cost another one's kill its place.
 *
 * Up to half of the ring is for everybody. Beyond it, who has SHARE_RECORDS records since the ring was last
 * empty gets no further ones. "Who" has to survive restarts, each of which makes a new cgroup: of a pod it
 * is the pod's cgroup, the outermost if pods run in a pod, since a pod can make what names it likes inside;
 * of all others it is the leaf's name below its parent.
 */
#ifndef __SHARE_BPF_H__
#define __SHARE_BPF_H__

enum {
	SHARE_RECORDS = 8,
	SHARE_NAME_SIZE = 64, /* of a name, as much as is looked at; a multiple of 8 */
};

#define FNV_PRIME 0x100000001b3ULL

struct oom_share {
	__u64 epoch;
	__u64 records; /* since the ring was empty when that epoch began */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct oom_share);
} shares SEC(".maps");

struct share_state {
	__u64 epoch;
	__u64 who; /* what is kept here is unknown to the verifier, which then follows one path from here on
		    */
	char name[SHARE_NAME_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct share_state);
} share_state SEC(".maps");

/*
 * "pod" at the start of a name or behind a "-", then the first eight digits of a uid: pod01234567-89ab-...,
 * kubepods-burstable-pod01234567_89ab_....slice; but not podman.service. Bit i: this byte may be the i-th.
 * Without a branch, since each would double what the verifier has to look at.
 */
#define POD_END (1 << 11)
#define POD_HEX (0xff << 4)

static const __u16 pod_bytes[256] = {
	['-'] = 1 << 0,		 ['p'] = 1 << 1,	  ['o'] = 1 << 2,	    ['0' ... '9'] = POD_HEX,
	['A' ... 'F'] = POD_HEX, ['a' ... 'c'] = POD_HEX, ['d'] = POD_HEX | 1 << 3, ['e' ... 'f'] = POD_HEX,
};

static __always_inline bool is_pod_name(const char *name)
{
	__u32 matched = 1, found = 0, i; /* the start of a name is as good as a "-" */

	for (i = 0; i < SHARE_NAME_SIZE; i++) {
		matched = (matched << 1 | 1) & pod_bytes[(__u8)name[i]];
		found |= matched;
	}
	return found & POD_END;
}

static __always_inline void read_share_name(struct share_state *state, struct kernfs_node *kn)
{
	__u64 *words = (void *)state->name;
	__u32 i;

	for (i = 0; i < SHARE_NAME_SIZE / sizeof(*words); i++)
		((volatile __u64 *)words)[i] = 0;
	bpf_probe_read_kernel_str(state->name, SHARE_NAME_SIZE, BPF_CORE_READ(kn, name));
}

static __always_inline __u64 hash_of_leaf(struct share_state *state, struct kernfs_node *kn)
{
	struct kernfs_node *parent = kernfs_parent(kn);
	__u64 *words = (void *)state->name;
	__u64 hash = BPF_CORE_READ(parent, id);
	__u32 i;

	read_share_name(state, kn);
	for (i = 0; i < SHARE_NAME_SIZE / sizeof(*words); i++) {
		hash = (hash ^ words[i]) * FNV_PRIME;
		hash ^= hash >> 32;
	}
	return hash;
}

static __always_inline struct share_state *get_share_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&share_state, &zero);
}

/*
 * Whose cgroup this is, as a number. A function of its own, with a number for an argument, is verified once
 * and not on every way on which it is called (global functions: in v5.6).
 *
 * Goes on above the root, where everything reads as nothing: one way out of the loop instead of sixteen.
 */
__noinline __u64 who_of(__u64 cgroup)
{
	struct share_state *state = get_share_state();
	struct cgroup *cgrp = (void *)cgroup;
	struct kernfs_node *kn;
	__u32 skipped, i;
	__u64 who;

	if (!state)
		return 0;
	who = hash_of_leaf(state, BPF_CORE_READ(cgrp, kn));
	cgrp = deepest_recorded(cgrp, &skipped);
	kn = BPF_CORE_READ(cgrp, kn);
	for (i = 0; i < OOM_LEVELS_MAX; i++) {
		read_share_name(state, kn);
		if (is_pod_name(state->name))
			who = BPF_CORE_READ(kn, id);
		kn = kernfs_parent(kn);
	}
	return who;
}

/* NULL for who has none yet. */
static __always_inline struct oom_share *get_share(struct share_state *state)
{
	__u64 who = state->who;

	return bpf_map_lookup_elem(&shares, &who);
}

/* Whether the ring has no place for another record of this victim's pod or unit. */
static __always_inline bool is_over_share(struct task_struct *victim, void *ring)
{
	struct cgroup_subsys_state *css = memory_css(victim);
	__u64 unread_bytes = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	struct share_state *state = get_share_state();
	struct oom_share *share;

	if (!state)
		return false;
	if (!unread_bytes)
		state->epoch++;
	state->who =
		who_of((__u64)(css ? BPF_CORE_READ(css, cgroup) : BPF_CORE_READ(victim, cgroups, dfl_cgrp)));
	share = get_share(state);
	return share && share->epoch == state->epoch && share->records >= SHARE_RECORDS &&
	       2 * unread_bytes >= bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);
}

/* Of the victim that was asked for last: its record has its place. */
static __always_inline void count_in_share(void)
{
	struct share_state *state = get_share_state();
	struct oom_share fresh = {.records = 1}, *share;
	__u64 who;

	if (!state)
		return;
	share = get_share(state);
	if (share && share->epoch == state->epoch) {
		share->records++;
		return;
	}
	who = state->who;
	fresh.epoch = state->epoch;
	bpf_map_update_elem(&shares, &who, &fresh, BPF_ANY);
}

#endif
