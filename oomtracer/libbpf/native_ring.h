/*
 * Reads a ring buffer of the kernel (BPF_MAP_TYPE_RINGBUF) where it is mapped, and gives its room back only
 * when told to: libbpf's own reader does so after each record.
 *
 * The layout is that of kernel/bpf/ringbuf.c and Documentation/bpf/ringbuf.rst: a page with the consumer's
 * position, which is ours to write, a page with the producer's, and the data twice in a row, so that no
 * record is ever in two pieces. Positions only grow; a record is a 4-byte length with two flags in it, 4
 * bytes that are the kernel's own, and the data, rounded up to 8 bytes.
 */
#ifndef __NATIVE_RING_H__
#define __NATIVE_RING_H__

#include <errno.h>
#include <stdint.h>

enum {
	RING_BUSY = 1u << 31, /* still being written: BPF_RINGBUF_BUSY_BIT of include/uapi/linux/bpf.h */
	RING_DISCARDED = 1u << 30,
	RING_HEADER_BYTES = 8,
};

struct oomtracer_ring {
	uint64_t *consumer_position;
	const uint64_t *producer_position;
	const unsigned char *data;
	uint64_t size;	   /* of the data once: a power of two */
	uint64_t position; /* where the next record is that was not read yet */
};

/*
 * The next record that was not read yet. Returns 1; 0 if there is none now; -EBADMSG where the ring is not as
 * the kernel leaves it, and nothing behind can be trusted.
 */
static int oomtracer_ring_next(struct oomtracer_ring *ring, const void **record, uint32_t *size)
{
	uint64_t produced = __atomic_load_n(ring->producer_position, __ATOMIC_ACQUIRE);

	if (produced - ring->position > ring->size || ring->position % RING_HEADER_BYTES)
		return -EBADMSG;
	while (ring->position != produced) {
		const unsigned char *header = ring->data + (ring->position & (ring->size - 1));
		/* The kernel takes the busy flag away last, with everything written before. */
		uint32_t length = __atomic_load_n((const uint32_t *)header, __ATOMIC_ACQUIRE);
		uint64_t bytes;

		if (length & RING_BUSY)
			return 0;
		*size = length & ~RING_DISCARDED;
		bytes = ((uint64_t)*size + RING_HEADER_BYTES + 7) & ~7ULL;
		if (bytes > produced - ring->position)
			return -EBADMSG;
		ring->position += bytes;
		if (!(length & RING_DISCARDED)) {
			*record = header + RING_HEADER_BYTES;
			return 1;
		}
	}
	return 0;
}

/* Gives the room of all that was read back to the kernel; what was read must not be touched any more. */
static void oomtracer_ring_release(struct oomtracer_ring *ring)
{
	__atomic_store_n(ring->consumer_position, ring->position, __ATOMIC_RELEASE);
}

#endif
