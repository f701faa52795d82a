/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The record that the BPF program writes and user space reads: the only place where it is described.
 *
 * Included by the BPF program and by the C extension; its preprocessed text is the extension's
 * declarations. Enums and structs only, so that all three can read it.
 *
 * Rules: fixed-width members, naturally aligned, 8-byte members first; struct oom_event is zeroed before
 * it is filled, a struct oom_path is all undefined unless its bit in fields is set.
 * struct oom_event only grows at its end; a reader finds what follows it by paths_offset, so that an
 * older reader or writer stays understood. A value whose bit in fields is missing is unknown, whatever
 * stands in its place.
 */
#ifndef __OOM_EVENT_H__
#define __OOM_EVENT_H__

enum oom_sizes {
	OOM_EVENT_VERSION = 1,
	OOM_COMM_SIZE = 16,
	OOM_NAME_SIZE = 128, /* of one cgroup directory, with the NUL */
	OOM_LEVELS_MAX = 16, /* named levels; the root has no name and is not counted */
	OOM_STACK_MAX = 32,
	OOM_BUILD_SIZE = 32,
};

enum oom_event_type {
	OOM_EVENT_KILL = 1,
};

enum oom_hook { /* the one that told most of the kill */
		OOM_HOOK_TP_BTF = 1,
		OOM_HOOK_TRACEPOINT = 2,
		OOM_HOOK_FENTRY = 3, /* struct oom_control was readable by this probe */
		OOM_HOOK_KPROBE = 4, /* by this one */
};

enum oom_outcome {
	OOM_OUTCOME_UNKNOWN = 0,
	OOM_OUTCOME_KILLED = 1, /* SIGKILL sent, counted in /proc/vmstat oom_kill */
	OOM_OUTCOME_MARKED = 2, /* already exiting: marked, no SIGKILL, not counted */
	OOM_OUTCOME_SHARED = 3, /* SIGKILL because it shares the victim's memory: no mark, not counted */
};

enum oom_field {
	OOM_FIELD_LEVELS = 1 << 0, /* victim_* and level_* of the memory controller */
	OOM_FIELD_MEMORY = 1 << 1, /* victim sizes: the victim still had an mm */
	OOM_FIELD_CONTAINER_PID = 1 << 2,
	OOM_FIELD_STACK = 1 << 3,
	OOM_FIELD_TRIGGER_SAME = 1 << 4, /* the trigger is in the victim's memory cgroup */
	OOM_FIELD_TRIGGER_ROOT = 1 << 5, /* the trigger is in the root memory cgroup */
	OOM_FIELD_TRIGGER_PATH = 1 << 6, /* paths[OOM_PATH_TRIGGER] */
	OOM_FIELD_UNIFIED_PATH = 1 << 7, /* paths[OOM_PATH_UNIFIED] */
	OOM_FIELD_CONTEXT = 1 << 8,	 /* oom_order, oom_gfp_mask: struct oom_control was readable */
	OOM_FIELD_LIMIT_LEVEL = 1 << 9,
	OOM_FIELD_CGROUP_V1 = 1 << 10,	/* the memory controller is in a cgroup v1 hierarchy */
	OOM_FIELD_CONSTRAINT = 1 << 11, /* of the three the kernel works out only what it needs */
	OOM_FIELD_TOTAL_PAGES = 1 << 12,
	OOM_FIELD_CHOSEN_POINTS = 1 << 13,
};

enum oom_path_index {
	OOM_PATH_UNIFIED = 0, /* the victim's cgroup v2 path where it differs from level_name */
	OOM_PATH_TRIGGER = 1, /* the trigger's path in the memory controller's hierarchy */
	OOM_PATHS = 2,
};

struct oom_event {
	uint16_t type; /* enum oom_event_type */
	uint16_t version;
	uint16_t size;	       /* of the whole record */
	uint16_t paths_offset; /* where struct oom_path[OOM_PATHS] starts; 0: not in this record */
	uint32_t fields;       /* enum oom_field: which optional values are real */
	uint16_t hook;	       /* enum oom_hook */
	uint16_t outcome;      /* enum oom_outcome */
	uint64_t seq;	       /* counts records attempted, from 1: a gap is a loss */
	uint64_t boot_time_ns; /* CLOCK_BOOTTIME */

	uint64_t victim_start_time_ns; /* of the thread group leader, CLOCK_BOOTTIME */
	uint64_t victim_total_vm_pages;
	uint64_t victim_anon_rss_pages;
	uint64_t victim_file_rss_pages;
	uint64_t victim_shmem_rss_pages;
	uint64_t victim_swap_pages;
	uint64_t victim_page_tables_bytes;
	uint64_t oom_total_pages; /* the limit, or RAM and swap: never the victim's size */
	int64_t oom_chosen_points;
	uint64_t level_usage_pages[OOM_LEVELS_MAX]; /* leaf first */
	uint64_t level_limit_pages[OOM_LEVELS_MAX];
	uint64_t stack[OOM_STACK_MAX]; /* return addresses, innermost first */

	uint32_t victim_tgid;
	uint32_t victim_tid;
	uint32_t victim_container_pid;
	uint32_t victim_pid_ns_level; /* 0: the root pid namespace */
	uint32_t victim_uid;
	int32_t victim_oom_score_adj;
	uint32_t trigger_tgid;
	uint32_t trigger_tid;
	uint32_t oom_constraint; /* the kernel's enum oom_constraint */
	int32_t oom_order;	 /* -1: sysrq */
	uint32_t oom_gfp_mask;
	uint32_t limit_level;	   /* index into level_* */
	uint32_t levels;	   /* how many of level_* are filled */
	uint32_t levels_skipped;   /* levels next to the leaf left out of a path too deep */
	uint32_t levels_cut;	   /* bit i: level_name[i] was longer than its field */
	uint32_t levels_oom_group; /* bit i: memory.oom.group is set */
	uint32_t levels_memsw;	   /* bit i: usage and limit are those of memory and swap (v1) */
	uint32_t stack_depth;

	char victim_comm[OOM_COMM_SIZE];
	char trigger_comm[OOM_COMM_SIZE];
	char level_name[OOM_LEVELS_MAX][OOM_NAME_SIZE];
};

/* A cgroup path. Its size never changes: a reader steps over it by that. */
struct oom_path {
	uint32_t levels;
	uint32_t skipped;
	uint32_t cut;
	uint32_t reserved;
	char name[OOM_LEVELS_MAX][OOM_NAME_SIZE]; /* leaf first */
};

/* What the ring holds: struct oom_event, or this where a path differs from the victim's. */
struct oom_event_wide {
	struct oom_event event;
	struct oom_path paths[OOM_PATHS];
};

/* One element of the map "counters": what the program itself knows of its losses. */
struct oom_counters {
	uint64_t attempted;    /* the last seq given */
	uint64_t ring_full;    /* records that found no room in the ring */
	uint64_t second_kills; /* of processes marked before: the kernel counts these again */
	uint64_t not_found;    /* records of a pid whose task was not found */
	/* Counted whatever becomes of the record; no outcome is known unless the program sees signals. */
	uint64_t kills;	     /* OOM_OUTCOME_KILLED: with second_kills, what /proc/vmstat oom_kill counts */
	uint64_t marks;	     /* OOM_OUTCOME_MARKED */
	uint64_t shared;     /* OOM_OUTCOME_SHARED */
	uint64_t over_share; /* records left out of a ring that was half full, for other pods' to fit in */
	uint64_t unread;     /* records not made: nobody had read for longer than quiet_after_ns */
};

/*
 * One element of the map "meta": what the next process must know of maps and links that it finds pinned.
 * Written by user space alone. A build that it was not made by may read it: it only grows at its end.
 */
struct oom_meta {
	uint64_t instance;   /* random: names this ring, and with it the sequence of its records */
	uint64_t created_ns; /* CLOCK_BOOTTIME */
	uint64_t read_ns; /* when a reader was there last; CLOCK_MONOTONIC, which no suspended time is in */
	uint64_t quiet_after_ns;	/* no record is made once no reader was there for so long; 0: never */
	uint64_t replaced_ns;		/* another instance has taken over: nothing is counted; 0: none has */
	uint64_t baseline_kernel_kills; /* oom_kill of /proc/vmstat just after attaching */
	uint64_t baseline_program_kills; /* kills and second_kills of the counters at that moment */
	uint64_t ring_bytes;
	uint32_t record_version; /* OOM_EVENT_VERSION */
	uint32_t event_size;	 /* of struct oom_event */
	uint32_t links;		 /* how many programs were attached */
	uint32_t reserved;
	uint8_t build[OOM_BUILD_SIZE]; /* the same: made by the same object, with the same settings */
};

#endif
