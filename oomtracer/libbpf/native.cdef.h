/* What the extension declares beside oom_event.h: the part of libbpf's interface that oomtracer uses. */

struct bpf_object;
struct bpf_program;
struct bpf_map;
struct bpf_link;
struct btf;

struct btf_type {
	uint32_t name_off;
	uint32_t type;
	...;
};

struct btf_member {
	uint32_t name_off;
	uint32_t type;
	...;
};

struct btf_param {
	uint32_t name_off;
	uint32_t type;
};

#define BTF_KIND_STRUCT ...
#define BTF_KIND_TYPEDEF ...
#define BTF_KIND_FUNC ...
#define MCL_CURRENT ...
#define MCL_FUTURE ...
#define MCL_ONFAULT ...

const char *libbpf_version_string(void);

struct bpf_object *bpf_object__open_file(const char *path, const void *opts);
int bpf_object__load(struct bpf_object *obj);
void bpf_object__close(struct bpf_object *obj);
struct btf *bpf_object__btf(const struct bpf_object *obj);
struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *obj, const char *name);
struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *obj, const char *name);

int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
struct bpf_link *bpf_program__attach(const struct bpf_program *prog);
int bpf_link__destroy(struct bpf_link *link);

int bpf_map__set_max_entries(struct bpf_map *map, uint32_t max_entries);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__lookup_elem(const struct bpf_map *map, const void *key, size_t key_sz, void *value,
			 size_t value_sz, uint64_t flags);

struct btf *btf__load_vmlinux_btf(void);
void btf__free(struct btf *btf);
int32_t btf__find_by_name_kind(const struct btf *btf, const char *name, uint32_t kind);
const struct btf_type *btf__type_by_id(const struct btf *btf, uint32_t id);
const char *btf__name_by_offset(const struct btf *btf, uint32_t offset);
int64_t btf__resolve_size(const struct btf *btf, uint32_t type_id);
int btf_vlen(const struct btf_type *type);
struct btf_member *btf_members(const struct btf_type *type);
struct btf_param *btf_params(const struct btf_type *type);
uint32_t btf_member_bit_offset(const struct btf_type *type, uint32_t index);

int mlockall(int flags);
int malloc_trim(size_t pad);

/* native.c */
void oomtracer_capture_log(void);
int oomtracer_set_flag(struct bpf_object *obj, const char *variable, bool value);

/* native_ring.h */
struct oomtracer_ring {
	uint64_t *consumer_position;
	const uint64_t *producer_position;
	const unsigned char *data;
	uint64_t size;
	uint64_t position;
};

int oomtracer_ring_open(struct oomtracer_ring *ring, int map_fd);
void oomtracer_ring_close(struct oomtracer_ring *ring);
int oomtracer_ring_next(struct oomtracer_ring *ring, const void **record, uint32_t *size);
void oomtracer_ring_release(struct oomtracer_ring *ring);

extern "Python" void oomtracer_log(int level, const char *text);
