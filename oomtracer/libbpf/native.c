/*
 * The little that cffi cannot say by declarations alone: a va_list callback, a callback's type, and a
 * variable in the object's read-only data.
 */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "oom_event.h"

static void oomtracer_log(int level, const char *text);
static int oomtracer_record(void *handle, void *data, size_t size);

/* A verifier log is one call of up to 16 MiB; its end holds the reason. */
static int print_log(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text = NULL;
	int length = vasprintf(&text, format, args);

	if (length < 0)
		return 0;
	oomtracer_log(level, text);
	free(text);
	return length;
}

static void oomtracer_capture_log(void)
{
	libbpf_set_print(print_log);
}

static struct ring_buffer *oomtracer_ring_new(int map_fd, void *handle)
{
	return ring_buffer__new(map_fd, oomtracer_record, handle, NULL);
}

/* A "const volatile bool" of the BPF program, before it is loaded. Returns 0 or -ENOENT. */
static int oomtracer_set_flag(struct bpf_object *obj, const char *variable, bool value)
{
	struct bpf_map *map = bpf_object__find_map_by_name(obj, ".rodata");
	const struct btf *btf = bpf_object__btf(obj);
	const struct btf_var_secinfo *section;
	const struct btf_type *type;
	size_t size;
	char *data;
	int id, i;

	if (!map || !btf)
		return -ENOENT;
	data = (char *)bpf_map__initial_value(map, &size);
	id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	if (!data || id < 0)
		return -ENOENT;
	type = btf__type_by_id(btf, id);
	section = btf_var_secinfos(type);
	for (i = 0; i < btf_vlen(type); i++, section++) {
		const struct btf_type *var = btf__type_by_id(btf, section->type);

		if (strcmp(btf__name_by_offset(btf, var->name_off), variable) != 0)
			continue;
		if (section->size != sizeof(bool) || section->offset + section->size > size)
			return -ENOENT;
		data[section->offset] = value;
		return 0;
	}
	return -ENOENT;
}
