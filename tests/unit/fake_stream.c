/* SPDX-License-Identifier: BSD-3-Clause */
/* A stream and a backend that do what a test tells them. */
#include "fake_stream.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

#include "util/blob.h"
#include "util/error.h"
#include "util/list.h"

static const struct stream_ops fake_ops;
static const struct backend_ops fake_backend_ops;

void trace_add(struct trace *trace, const char *fmt, ...)
{
	va_list ap;

	if (!trace)
		return;
	if (trace->len)
		trace->text[trace->len++] = ' ';
	va_start(ap, fmt);
	trace->len += (size_t)vsnprintf(trace->text + trace->len,
					sizeof trace->text - trace->len, fmt, ap);
	va_end(ap);
	assert(trace->len + 1 < sizeof trace->text);
}

void fake_stream_init(struct fake_stream *f, struct trace *trace, const char *prefix)
{
	*f = (struct fake_stream){
		.base.ops = &fake_ops, .base.ready = STREAM_OUT, .base.type = VSOCK_TYPE_STREAM,
		.trace = trace, .prefix = prefix, .takes = SIZE_MAX,
	};
}

static struct fake_stream *fake_of(struct stream *base)
{
	struct fake_stream *f = container_of(base, struct fake_stream, base);

	assert(base->ops == &fake_ops);
	assert(!f->is_closed);
	return f;
}

/* Copies what fits of @src, or of 'x', and returns how much. */
static size_t fill(const struct iovec *v, int nv, size_t skip, const char *src, size_t len)
{
	size_t done = 0;

	for (int i = 0; i < nv && done < len; i++) {
		size_t off = skip < v[i].iov_len ? skip : v[i].iov_len;
		size_t here = v[i].iov_len - off;

		skip -= off;
		if (here > len - done)
			here = len - done;
		if (src)
			memcpy((char *)v[i].iov_base + off, src + done, here);
		else
			memset((char *)v[i].iov_base + off, 'x', here);
		done += here;
	}
	return done;
}

static int fake_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fake_stream *f = fake_of(base);
	size_t room = 0, given, more;

	for (int i = 0; i < nv; i++)
		room += v[i].iov_len;
	assert(room > 0);
	f->read_calls++;
	if (!f->n_give && !f->n_more) {
		base->ready &= ~(unsigned)STREAM_IN;
		return f->end ? f->end : STREAM_E_AGAIN;
	}
	given = fill(v, nv, 0, f->give, f->n_give);
	memmove(f->give, f->give + given, f->n_give - given);
	f->n_give -= given;
	more = fill(v, nv, given, NULL, f->n_more);
	f->n_more -= more;
	*n = given + more;
	f->n_read += *n;
	if (*n > f->largest_read)
		f->largest_read = *n;
	return 0;
}

static int fake_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fake_stream *f = fake_of(base);
	char text[64] = "";
	size_t done = 0, noted = 0;

	f->write_calls++;
	if (!f->takes) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return f->write_error ? f->write_error : STREAM_E_AGAIN;
	}
	for (int i = 0; i < nv && done < f->takes; i++) {
		size_t here = v[i].iov_len < f->takes - done ? v[i].iov_len : f->takes - done;

		for (size_t k = 0; k < here && noted + 1 < sizeof text; k++)
			text[noted++] = ((const char *)v[i].iov_base)[k];
		done += here;
	}
	assert(done > 0);
	if (f->takes != SIZE_MAX)
		f->takes -= done;
	f->n_written += done;
	trace_add(f->trace, "%s<%s", f->prefix, text);
	*n = done;
	return 0;
}

void fake_stream_give_message(struct fake_stream *f, const char *bytes, size_t len, uint32_t flags)
{
	assert(f->n_messages < FAKE_MESSAGES && len <= sizeof f->give - f->n_give);
	memcpy(f->give + f->n_give, bytes, len);
	f->n_give += len;
	f->messages[f->n_messages++] = (struct fake_message){ len, flags };
}

static int fake_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
			     uint32_t *flags)
{
	struct fake_stream *f = fake_of(base);
	struct fake_message m = f->messages[0];
	size_t given;

	assert(base->type == VSOCK_TYPE_SEQPACKET);
	f->read_calls++;
	if (!f->n_messages) {
		base->ready &= ~(unsigned)STREAM_IN;
		return f->end ? f->end : STREAM_E_AGAIN;
	}
	given = fill(v, nv, 0, f->give, m.len);
	f->n_messages--;
	memmove(f->messages, f->messages + 1, f->n_messages * sizeof m);
	f->n_give -= m.len;
	memmove(f->give, f->give + m.len, f->n_give);
	f->n_read += given;
	*n = m.len;
	*flags = m.flags;
	return given == m.len ? 0 : STREAM_E_TOO_LONG;
}

static int fake_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	struct fake_stream *f = fake_of(base);
	char text[64] = "";
	size_t len = 0;

	assert(base->type == VSOCK_TYPE_SEQPACKET);
	assert(!(flags & ~(uint32_t)VSOCK_SEQ_EOR));
	f->write_calls++;
	for (int i = 0; i < nv; i++) {
		for (size_t k = 0; k < v[i].iov_len && len + k + 1 < sizeof text; k++)
			text[len + k] = ((const char *)v[i].iov_base)[k];
		len += v[i].iov_len;
	}
	if (f->message_max && len > f->message_max)
		return STREAM_E_TOO_LONG;
	if (!f->takes) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return f->write_error ? f->write_error : STREAM_E_AGAIN;
	}
	if (f->takes != SIZE_MAX)
		f->takes--;
	f->n_written += len;
	trace_add(f->trace, "%s<[%s]%s", f->prefix, text, flags ? "eor" : "");
	return 0;
}

static int fake_shutdown(struct stream *base, int how)
{
	struct fake_stream *f = fake_of(base);

	trace_add(f->trace, "%s%s", f->prefix, how == SHUT_WR ? "shut_wr" : "shut_rd");
	return 0;
}

static void fake_consumed(struct stream *base, uint32_t total)
{
	struct fake_stream *f = fake_of(base);

	trace_add(f->trace, "%sconsumed:%u", f->prefix, total);
}

static void fake_window(struct stream *base, uint32_t bytes)
{
	struct fake_stream *f = fake_of(base);

	trace_add(f->trace, "%swindow:%u", f->prefix, bytes);
}

static void fake_accepted(struct stream *base, const struct vsock_addr *guest)
{
	struct fake_stream *f = fake_of(base);

	trace_add(f->trace, "%saccepted:%u", f->prefix, guest->port);
}

static void fake_wait_for(struct stream *base, unsigned events)
{
	fake_of(base)->waits_for = events;
}

static void fake_close(struct stream *base, bool is_orderly)
{
	struct fake_stream *f = fake_of(base);

	f->is_orderly = is_orderly;
	f->is_closed = true;
	trace_add(f->trace, "%sclose", f->prefix);
}

static void fake_save(const struct stream *base, struct blob *out)
{
	const struct fake_stream *f = container_of_const(base, struct fake_stream, base);
	size_t section = blob_open(out, FAKE_TAG, 1);

	assert(base->ops == &fake_ops);
	assert(!f->is_closed);
	blob_put_u32(out, f->id);
	blob_put_u8(out, f->is_pending);
	blob_close(out, section);
}

static const struct stream_ops fake_ops = {
	.read = fake_read, .write = fake_write,
	.read_message = fake_read_message, .write_message = fake_write_message,
	.shutdown = fake_shutdown,
	.consumed = fake_consumed, .window = fake_window,
	.accepted = fake_accepted, .wait_for = fake_wait_for,
	.close = fake_close, .save = fake_save,
};

void fake_backend_init(struct fake_backend *b, uint64_t cid, struct fake_stream *streams,
		       size_t n_streams)
{
	*b = (struct fake_backend){
		.base.ops = &fake_backend_ops, .cid = cid,
		.streams = streams, .n_streams = n_streams,
	};
	for (uint32_t i = 0; i < n_streams; i++)
		streams[i].id = i;
}

static struct fake_backend *backend_of(struct backend *base)
{
	assert(base->ops == &fake_backend_ops);
	return container_of(base, struct fake_backend, base);
}

static bool fake_serves(struct backend *base, uint64_t cid)
{
	return backend_of(base)->cid == cid;
}

static int fake_connect(struct backend *base, enum vsock_type type, const struct vsock_addr *src,
			const struct vsock_addr *dst, struct stream **out)
{
	struct fake_backend *b = backend_of(base);

	(void)src;
	(void)dst;
	if (b->result && b->result != BACKEND_E_PENDING)
		return b->result;
	if (b->n_connects == b->n_streams)
		return BACKEND_E_NOBODY;
	b->streams[b->n_connects].base.type = (uint16_t)type;
	b->streams[b->n_connects].is_pending = b->result == BACKEND_E_PENDING;
	*out = &b->streams[b->n_connects++].base;
	return b->result;
}

static void fake_explain(struct backend *base, const struct vsock_addr *dst, int error,
			 char *text, size_t size)
{
	(void)base;
	snprintf(text, size, "port %u, error %d", dst->port, error);
}

static void fake_free(struct backend *base)
{
	(void)base;
}

/* The stream itself: who saved it, is not to touch it any more. */
static int fake_load_stream(struct backend *base, const struct vsock_addr *guest,
			    const struct vsock_addr *peer, struct blob_reader *in,
			    struct stream **out)
{
	struct fake_backend *b = backend_of(base);
	struct blob_reader section;
	uint32_t version, id;
	bool is_pending;

	(void)guest;
	(void)peer;
	if (b->load_result)
		return b->load_result;
	if (!blob_enter(in, &section, FAKE_TAG, 1, &version))
		return BACKEND_E_BAD_STATE;
	id = blob_get_u32(&section);
	is_pending = blob_get_bool(&section);
	if (!blob_is_whole(&section) || id >= b->n_streams || b->streams[id].base.conn)
		return BACKEND_E_BAD_STATE;
	b->streams[id].base.ready |= b->ready_after_load;
	b->streams[id].is_closed = false;
	*out = &b->streams[id].base;
	return is_pending ? BACKEND_E_PENDING : 0;
}

static const struct backend_ops fake_backend_ops = {
	.serves = fake_serves, .connect = fake_connect,
	.explain = fake_explain, .free = fake_free,
	.stream_tag = FAKE_TAG, .load_stream = fake_load_stream,
};
