/* SPDX-License-Identifier: BSD-3-Clause */
/* State as bytes. */
#include "util/blob.h"

#include <endian.h>
#include <stdlib.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/iov.h"

enum { ROOM_FIRST = 4096, NO_STRING = UINT32_MAX, NO_FD = UINT32_MAX };

void blob_init(struct blob *b, size_t max, size_t max_fds)
{
	*b = (struct blob){ .max = max, .max_fds = max_fds };
}

void blob_deinit(struct blob *b)
{
	free(b->bytes);
	free(b->fds);
	*b = (struct blob){ .max = 0 };
}

int blob_error(const struct blob *b)
{
	return b->error;
}

static bool make_room(struct blob *b, size_t n)
{
	size_t size = b->size ? b->size : ROOM_FIRST;
	uint8_t *bytes;

	if (b->error)
		return false;
	if (n > b->max - b->len) {
		b->error = BLOB_E_TOO_LARGE;
		return false;
	}
	if (n <= b->size - b->len)
		return true;
	while (n > size - b->len)
		size *= 2;
	bytes = realloc(b->bytes, size);
	if (!bytes) {
		b->error = -ENOMEM;
		return false;
	}
	b->bytes = bytes;
	b->size = size;
	return true;
}

void blob_put_bytes(struct blob *b, const void *bytes, size_t n)
{
	if (!n || !make_room(b, n))
		return;
	memcpy(b->bytes + b->len, bytes, n);
	b->len += n;
}

void blob_put_iov(struct blob *b, const struct iovec *iov, size_t n)
{
	blob_put_u32(b, (uint32_t)iov_total(iov, n));
	for (size_t i = 0; i < n; i++)
		blob_put_bytes(b, iov[i].iov_base, iov[i].iov_len);
}

void blob_put_u8(struct blob *b, uint8_t v)
{
	blob_put_bytes(b, &v, sizeof v);
}

void blob_put_u16(struct blob *b, uint16_t v)
{
	v = htole16(v);
	blob_put_bytes(b, &v, sizeof v);
}

void blob_put_u32(struct blob *b, uint32_t v)
{
	v = htole32(v);
	blob_put_bytes(b, &v, sizeof v);
}

void blob_put_u64(struct blob *b, uint64_t v)
{
	v = htole64(v);
	blob_put_bytes(b, &v, sizeof v);
}

void blob_put_string(struct blob *b, const char *text)
{
	blob_put_u32(b, text ? (uint32_t)strlen(text) : NO_STRING);
	if (text)
		blob_put_bytes(b, text, strlen(text));
}

void blob_put_fd(struct blob *b, int fd)
{
	int *fds;

	if (fd < 0) {
		blob_put_u32(b, NO_FD);
		return;
	}
	if (!b->error && b->n_fds == b->max_fds)
		b->error = BLOB_E_TOO_LARGE;
	if (b->error)
		return;
	fds = realloc(b->fds, (b->n_fds + 1) * sizeof *fds);
	if (!fds) {
		b->error = -ENOMEM;
		return;
	}
	b->fds = fds;
	blob_put_u32(b, (uint32_t)b->n_fds);
	b->fds[b->n_fds++] = fd;
}

size_t blob_open(struct blob *b, uint32_t tag, uint32_t version)
{
	size_t section = b->len;

	blob_put_u32(b, tag);
	blob_put_u32(b, version);
	blob_put_u64(b, 0);			/* its length, once it is known */
	return section;
}

void blob_close(struct blob *b, size_t section)
{
	uint64_t len;

	if (b->error)
		return;
	len = htole64(b->len - section - BLOB_SECTION_BYTES);
	memcpy(b->bytes + section + BLOB_SECTION_BYTES - sizeof len, &len, sizeof len);
}

/* ---- the reader ---- */

void blob_read(struct blob_reader *r, const void *bytes, size_t n, struct blob_fds *fds)
{
	const uint8_t *at = bytes;

	*r = (struct blob_reader){ .at = at, .end = n ? at + n : at, .fds = fds };
}

bool blob_has_more(const struct blob_reader *r)
{
	return !r->is_short && r->at != r->end;
}

bool blob_is_whole(const struct blob_reader *r)
{
	return !r->is_short && r->at == r->end;
}

const void *blob_get_bytes(struct blob_reader *r, size_t n)
{
	const uint8_t *bytes = r->at;

	if (r->is_short || n > (size_t)(r->end - r->at)) {
		r->is_short = true;
		return NULL;
	}
	r->at += n;
	return bytes;
}

static void get(struct blob_reader *r, void *out, size_t n)
{
	const void *bytes = blob_get_bytes(r, n);

	if (bytes)
		memcpy(out, bytes, n);
}

uint8_t blob_get_u8(struct blob_reader *r)
{
	uint8_t v = 0;

	get(r, &v, sizeof v);
	return v;
}

uint16_t blob_get_u16(struct blob_reader *r)
{
	uint16_t v = 0;

	get(r, &v, sizeof v);
	return le16toh(v);
}

uint32_t blob_get_u32(struct blob_reader *r)
{
	uint32_t v = 0;

	get(r, &v, sizeof v);
	return le32toh(v);
}

uint64_t blob_get_u64(struct blob_reader *r)
{
	uint64_t v = 0;

	get(r, &v, sizeof v);
	return le64toh(v);
}

bool blob_get_bool(struct blob_reader *r)
{
	uint8_t v = blob_get_u8(r);

	r->is_short |= v > 1;
	return v == 1 && !r->is_short;
}

int blob_get_string(struct blob_reader *r, size_t max, char **text)
{
	uint32_t n = blob_get_u32(r);
	const char *bytes;

	*text = NULL;
	if (n == NO_STRING)
		return 0;
	bytes = blob_get_bytes(r, n);
	if (!bytes || n > max || memchr(bytes, '\0', n)) {
		r->is_short = true;
		return 0;
	}
	*text = strndup(bytes, n);
	return *text ? 0 : -ENOMEM;
}

int blob_get_fd(struct blob_reader *r)
{
	uint32_t i = blob_get_u32(r);

	if (r->is_short || !r->fds || i >= r->fds->n)
		return -1;
	return fd_take(&r->fds->fds[i]);
}

uint32_t blob_peek_tag(const struct blob_reader *r)
{
	struct blob_reader copy = *r;

	return blob_get_u32(&copy);
}

bool blob_enter(struct blob_reader *r, struct blob_reader *inner, uint32_t tag,
		uint32_t version_max, uint32_t *version)
{
	uint32_t found = blob_get_u32(r);
	uint64_t len;

	*version = blob_get_u32(r);
	len = blob_get_u64(r);
	if (len > (size_t)(r->end - r->at) || found != tag || !*version ||
	    *version > version_max)
		r->is_short = true;
	if (r->is_short) {
		blob_read(inner, r->end, 0, r->fds);
		inner->is_short = true;
		return false;
	}
	blob_read(inner, r->at, (size_t)len, r->fds);
	r->at += len;
	return true;
}
