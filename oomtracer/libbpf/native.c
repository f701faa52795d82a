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
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "native_ring.h"
#include "oom_event.h"

static void oomtracer_log(int level, const char *text);

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

static size_t ring_mapped_bytes(const struct oomtracer_ring *ring)
{
	return sysconf(_SC_PAGESIZE) + 2 * ring->size; /* the producer's page, and the data twice */
}

/* Maps the ring of a map. What is not released yet is read again. Returns 0 or a negative errno. */
static int oomtracer_ring_open(struct oomtracer_ring *ring, int map_fd)
{
	long page = sysconf(_SC_PAGESIZE);
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);
	void *consumer, *producer;

	if (bpf_obj_get_info_by_fd(map_fd, &info, &length) < 0)
		return -errno;
	if (info.type != BPF_MAP_TYPE_RINGBUF)
		return -EINVAL;
	ring->size = info.max_entries;
	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (consumer == MAP_FAILED)
		return -errno;
	producer = mmap(NULL, ring_mapped_bytes(ring), PROT_READ, MAP_SHARED, map_fd, page);
	if (producer == MAP_FAILED) {
		int error = -errno;

		munmap(consumer, page);
		return error;
	}
	ring->consumer_position = consumer;
	ring->producer_position = producer;
	ring->data = (const unsigned char *)producer + page;
	ring->position = __atomic_load_n(ring->consumer_position, __ATOMIC_RELAXED);
	return 0;
}

static void oomtracer_ring_close(struct oomtracer_ring *ring)
{
	munmap((void *)ring->producer_position, ring_mapped_bytes(ring));
	munmap(ring->consumer_position, sysconf(_SC_PAGESIZE));
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
