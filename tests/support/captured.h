/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture file as somebody else reads it: by the kernel's header where it is there, and by
 * tshark where that is installed. Knows nothing of the daemon's own layouts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct captured {				/* a packet */
	uint64_t src_cid, dst_cid, nanos;	/* since 1970 */
	uint32_t src_port, dst_port;
	uint16_t mon_op, op, type;		/* op, type: of the virtio header */
	uint32_t len;				/* that this says */
	uint32_t orig_len;
	const uint8_t *payload;			/* what there is of it */
	size_t n_payload;
};

struct captured_file {
	uint8_t *bytes;
	size_t n_bytes;
	uint32_t snaplen;
	struct captured *packets;
	size_t n;
};

/* What does not look as it has to ends the test; so does a file that is cut. */
void captured_read(struct captured_file *out, const char *path);
/* One that is still written: without a packet at its end that is not all there yet. */
void captured_read_so_far(struct captured_file *out, const char *path);
void captured_parse(struct captured_file *out, uint8_t *bytes, size_t n);	/* takes @bytes over */
void captured_free(struct captured_file *f);

/* Has tshark nothing to object to, and does it see @n packets, or more? True as well, with a line
 * on standard error, where there is no tshark. */
bool captured_is_sound(const char *path, size_t n);
