/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State as bytes: nested sections of {tag, version, length}, little-endian, and the
 * descriptors that belong to it. One representation for the hand-over to a new engine, and
 * for what is left behind for the one after a crash.
 *
 * A writer never fails halfway: the first error sticks, nothing more is added, and
 * blob_error() tells it at the end. So does a reader: what it is asked for beyond the end of
 * a section is 0, and blob_is_whole() says at the end whether all was there. It believes
 * no length and no descriptor's number; whoever loads checks the values, all of them before
 * any takes effect. Reading never blocks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Four letters, as in a core file: "CONN". */
#define BLOB_TAG(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

enum { BLOB_SECTION_BYTES = 16 };		/* of a section's head: tag, version, length */

enum { BLOB_E_TOO_LARGE = 1 };			/* or too many descriptors */

struct blob {
	uint8_t *bytes;				/* owned */
	size_t len, size, max;
	int *fds;				/* owned array; the descriptors are not */
	size_t n_fds, max_fds;
	int error;				/* the first: BLOB_E_TOO_LARGE, -ENOMEM; 0: none */
};

/* @max, @max_fds: more is BLOB_E_TOO_LARGE. */
void blob_init(struct blob *b, size_t max, size_t max_fds);
void blob_deinit(struct blob *b);
int blob_error(const struct blob *b);

/* Begins a section; returns what blob_close(), which ends it, has to be given. */
size_t blob_open(struct blob *b, uint32_t tag, uint32_t version);
void blob_close(struct blob *b, size_t section);

void blob_put_iov(struct blob *b, const struct iovec *iov, size_t n);	/* u32 length, bytes */
void blob_put_u8(struct blob *b, uint8_t v);
void blob_put_u16(struct blob *b, uint16_t v);
void blob_put_u32(struct blob *b, uint32_t v);
void blob_put_u64(struct blob *b, uint64_t v);
void blob_put_bytes(struct blob *b, const void *bytes, size_t n);	/* no length before them */
void blob_put_string(struct blob *b, const char *text);	/* NULL is told from "" */

/* @fd stays the caller's, and has to stay open until the blob has been sent; -1: none. */
void blob_put_fd(struct blob *b, int fd);

struct blob_reader {
	const uint8_t *at, *end;		/* borrowed; no one else writes them meanwhile */
	struct blob_fds *fds;			/* borrowed */
	bool is_short;				/* it was asked for more than there is */
};

/* Descriptors that came with a blob: each is given away once. */
struct blob_fds {
	int *fds;				/* borrowed array; -1: none, or given away */
	size_t n;
};

/* @fds may be NULL: there are none. */
void blob_read(struct blob_reader *r, const void *bytes, size_t n, struct blob_fds *fds);

bool blob_has_more(const struct blob_reader *r);	/* of the section */
bool blob_is_whole(const struct blob_reader *r);	/* read up to its end, and not beyond */

/*
 * The next section of @r, for @inner to read; @r goes on behind it, whatever @inner reads.
 * False: there is none, it is cut, it has another tag, or a version above @version_max (at
 * least 1). *@version: its version.
 */
bool blob_enter(struct blob_reader *r, struct blob_reader *inner, uint32_t tag,
		uint32_t version_max, uint32_t *version);
uint32_t blob_peek_tag(const struct blob_reader *r);	/* of the next section; 0: there is none */

uint8_t blob_get_u8(struct blob_reader *r);
uint16_t blob_get_u16(struct blob_reader *r);
uint32_t blob_get_u32(struct blob_reader *r);
uint64_t blob_get_u64(struct blob_reader *r);
bool blob_get_bool(struct blob_reader *r);	/* a byte other than 0 and 1 is_short, too */
const void *blob_get_bytes(struct blob_reader *r, size_t n);	/* borrowed; NULL: too few */

/* *@text: a copy, or NULL where there was NULL. 0; -ENOMEM. A string with a NUL in it, or
 * longer than @max bytes, is_short. */
int blob_get_string(struct blob_reader *r, size_t max, char **text);

/* To be closed by the caller; -1: none was put, none came, or it was given away already. */
int blob_get_fd(struct blob_reader *r);
