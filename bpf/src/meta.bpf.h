/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether anybody is there to read: programs whose links are pinned outlive their reader.
 */
#ifndef __META_BPF_H__
#define __META_BPF_H__

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oom_meta);
} meta SEC(".maps");

static __always_inline struct oom_meta *get_meta(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&meta, &zero);
}

static __always_inline bool is_replaced(void)
{
	struct oom_meta *about = get_meta();

	return about && about->replaced_ns;
}

static __always_inline bool is_unread(void)
{
	struct oom_meta *about = get_meta();
	__u64 now = bpf_ktime_get_ns();

	return about && about->quiet_after_ns && now > about->read_ns &&
	       now - about->read_ns > about->quiet_after_ns;
}

#endif
