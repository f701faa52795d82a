/*
 * The ring reader under libFuzzer with the address sanitizer: what reads a byte too far in C does not show in
 * Python. The input is that of ring.py: size's exponent, limit, two positions, data.
 */
#include <stdlib.h>
#include <string.h>

#include "native_ring.h"

enum { HEAD_BYTES = 2 + 2 * sizeof(uint64_t) };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
	struct oomtracer_ring ring = {};
	uint64_t consumer, producer, taken = 0;
	const void *record;
	uint8_t *data;
	uint32_t size;
	size_t given;
	int found;

	if (length < HEAD_BYTES)
		return 0;
	ring.size = 1ull << (3 + input[0] % 10);
	memcpy(&consumer, input + 2, sizeof(consumer));
	memcpy(&producer, input + 2 + sizeof(consumer), sizeof(producer));
	/* Exactly as much as is mapped, so that one byte more is seen. */
	data = calloc(2, ring.size);
	given = length - HEAD_BYTES < ring.size ? length - HEAD_BYTES : ring.size;
	memcpy(data, input + HEAD_BYTES, given);
	memcpy(data + ring.size, data, ring.size);
	ring.consumer_position = &consumer;
	ring.producer_position = &producer;
	ring.data = data;
	ring.position = consumer;
	while ((found = oomtracer_ring_next(&ring, &record, &size)) > 0) {
		void *copy = malloc(size);

		memcpy(copy, record, size);
		free(copy);
		taken += size + RING_HEADER_BYTES;
		if (taken > ring.size)
			abort(); /* more than the ring holds */
	}
	oomtracer_ring_release(&ring);
	if (consumer != ring.position || (!found && producer - consumer > ring.size))
		abort();
	free(data);
	return 0;
}
