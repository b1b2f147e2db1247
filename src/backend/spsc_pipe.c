/* SPDX-License-Identifier: BSD-3-Clause */
/* A bounded pipe between two threads. */
#include "backend/spsc_pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/iov.h"

void spsc_pipe_init(struct spsc_pipe *p)
{
	memset(p, 0, sizeof *p);
}

int spsc_pipe_resize(struct spsc_pipe *p, uint32_t size)
{
	assert(!(size & (size - 1)) && spsc_pipe_is_empty(p));
	free(p->data);
	p->data = size ? malloc(size) : NULL;
	p->size = p->data ? size : 0;
	return p->size == size ? 0 : -ENOMEM;
}

void spsc_pipe_deinit(struct spsc_pipe *p)
{
	free(p->data);
	p->data = NULL;
}

bool spsc_pipe_is_empty(const struct spsc_pipe *p)
{
	return atomic_load(&p->read) == atomic_load(&p->written);
}

size_t spsc_pipe_peek(const struct spsc_pipe *p, struct iovec out[2])
{
	uint32_t read = atomic_load(&p->read), len = atomic_load(&p->written) - read;
	size_t off, first;

	if (!len)
		return 0;
	off = read & (p->size - 1);
	first = p->size - off < len ? p->size - off : len;
	out[0] = (struct iovec){ p->data + off, first };
	out[1] = (struct iovec){ p->data, len - first };
	return first < len ? 2 : 1;
}

/* Copies between @buf and the pipe, from position @at on. */
static void copy_in(struct spsc_pipe *p, uint32_t at, const uint8_t *buf, size_t len)
{
	size_t off = at & (p->size - 1), first = p->size - off < len ? p->size - off : len;

	memcpy(p->data + off, buf, first);
	memcpy(p->data, buf + first, len - first);
}

static void copy_out(const struct spsc_pipe *p, uint32_t at, uint8_t *buf, size_t len)
{
	size_t off = at & (p->size - 1), first = p->size - off < len ? p->size - off : len;

	memcpy(buf, p->data + off, first);
	memcpy(buf + first, p->data, len - first);
}

static size_t write_some(struct spsc_pipe *p, const struct iovec *v, int nv)
{
	uint32_t written = atomic_load_explicit(&p->written, memory_order_relaxed);
	size_t room = p->size - (written - atomic_load(&p->read)), done = 0;

	for (int i = 0; i < nv && done < room; i++) {
		size_t len = v[i].iov_len < room - done ? v[i].iov_len : room - done;

		copy_in(p, written + (uint32_t)done, v[i].iov_base, len);
		done += len;
	}
	if (done)
		atomic_store(&p->written, written + (uint32_t)done);
	return done;
}

static size_t read_some(struct spsc_pipe *p, const struct iovec *v, int nv)
{
	uint32_t read = atomic_load_explicit(&p->read, memory_order_relaxed);
	size_t there = atomic_load(&p->written) - read, done = 0;

	for (int i = 0; i < nv && done < there; i++) {
		size_t len = v[i].iov_len < there - done ? v[i].iov_len : there - done;

		copy_out(p, read + (uint32_t)done, v[i].iov_base, len);
		done += len;
	}
	if (done)
		atomic_store(&p->read, read + (uint32_t)done);
	return done;
}

/* Tries, says that it waits, and tries again: what came in between is not missed. */
static int move(struct spsc_pipe *p, size_t (*some)(struct spsc_pipe *, const struct iovec *, int),
		const struct iovec *v, int nv, atomic_bool *self, atomic_bool *other,
		size_t *n, bool *wake)
{
	size_t done = some(p, v, nv);

	if (!done) {
		atomic_store(self, true);
		done = some(p, v, nv);
		if (!done)
			return SPSC_PIPE_E_WAIT;
		atomic_store(self, false);
	}
	*n = done;
	*wake = atomic_load(other) && atomic_exchange(other, false);
	return 0;
}

bool spsc_pipe_wait_writable(struct spsc_pipe *p)
{
	atomic_store(&p->writer_waits, true);
	return p->size && atomic_load(&p->written) - atomic_load(&p->read) == p->size;
}

bool spsc_pipe_wait_empty(struct spsc_pipe *p)
{
	atomic_store(&p->writer_waits, true);
	return !spsc_pipe_is_empty(p);
}

int spsc_pipe_write(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n, bool *wake)
{
	return move(p, write_some, v, nv, &p->writer_waits, &p->reader_waits, n, wake);
}

int spsc_pipe_read(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n, bool *wake)
{
	return move(p, read_some, v, nv, &p->reader_waits, &p->writer_waits, n, wake);
}

/* ---- messages ---- */

struct head {					/* before each message */
	uint32_t len, flags;
};
static_assert(sizeof(struct head) == SPSC_PIPE_MESSAGE_BYTES, "as its users reckon");

static bool has_room(struct spsc_pipe *p, size_t len)
{
	return p->size - (atomic_load_explicit(&p->written, memory_order_relaxed) -
			  atomic_load(&p->read)) >= len;
}

int spsc_pipe_write_message(struct spsc_pipe *p, const struct iovec *v, int nv, uint32_t flags,
			    bool *wake)
{
	uint32_t at = atomic_load_explicit(&p->written, memory_order_relaxed);
	struct head head = { (uint32_t)iov_total(v, (size_t)nv), flags };

	assert(head.len <= p->size - sizeof head);
	if (!has_room(p, sizeof head + head.len)) {
		atomic_store(&p->writer_waits, true);
		if (!has_room(p, sizeof head + head.len))
			return SPSC_PIPE_E_WAIT;
		atomic_store(&p->writer_waits, false);
	}
	copy_in(p, at, (const uint8_t *)&head, sizeof head);
	at += (uint32_t)sizeof head;
	for (int i = 0; i < nv; i++) {
		copy_in(p, at, v[i].iov_base, v[i].iov_len);
		at += (uint32_t)v[i].iov_len;
	}
	atomic_store(&p->written, at);		/* the reader sees all of it, or nothing */
	*wake = atomic_load(&p->reader_waits) && atomic_exchange(&p->reader_waits, false);
	return 0;
}

/* Copies out what fits of the @len bytes at @at. False: not all. */
static bool copy_message(const struct spsc_pipe *p, uint32_t at, size_t len, const struct iovec *v,
			 int nv)
{
	for (int i = 0; i < nv && len; i++) {
		size_t here = v[i].iov_len < len ? v[i].iov_len : len;

		copy_out(p, at, v[i].iov_base, here);
		at += (uint32_t)here;
		len -= here;
	}
	return len == 0;
}

int spsc_pipe_read_message(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n,
			   uint32_t *flags, bool *wake)
{
	uint32_t at = atomic_load_explicit(&p->read, memory_order_relaxed);
	struct head head;
	bool is_whole;

	if (spsc_pipe_is_empty(p)) {
		atomic_store(&p->reader_waits, true);
		if (spsc_pipe_is_empty(p))
			return SPSC_PIPE_E_WAIT;
		atomic_store(&p->reader_waits, false);
	}
	copy_out(p, at, (uint8_t *)&head, sizeof head);
	at += (uint32_t)sizeof head;
	is_whole = copy_message(p, at, head.len, v, nv);
	*n = head.len;
	if (!is_whole)
		return SPSC_PIPE_E_TOO_LONG;
	atomic_store(&p->read, at + head.len);
	*flags = head.flags;
	*wake = atomic_load(&p->writer_waits) && atomic_exchange(&p->writer_waits, false);
	return 0;
}

bool spsc_pipe_are_messages(const void *bytes, size_t n, uint32_t flags)
{
	const uint8_t *at = bytes;
	struct head head;

	while (n >= sizeof head) {
		memcpy(&head, at, sizeof head);
		at += sizeof head;
		n -= sizeof head;
		if (head.len > n || head.flags & ~flags)
			return false;
		at += head.len;
		n -= head.len;
	}
	return n == 0;
}
