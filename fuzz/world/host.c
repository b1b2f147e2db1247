/* SPDX-License-Identifier: BSD-3-Clause */
/* Host programs: streams that give and take what the script says. */
#include "host.h"

#include <errno.h>
#include <stdlib.h>

#include "util/blob.h"
#include "util/error.h"
#include "util/list.h"
#include "vsock/conn.h"

struct fuzz_stream {
	struct stream base;
	struct ledger *book;
	struct side *side;
	bool is_left;				/* another has taken over */
	bool is_lost;				/* a message could not pass: to be closed */
};

static const struct stream_ops fuzz_ops, fuzz_message_ops;

static struct fuzz_stream *stream_of(struct stream *base)
{
	assert(base->ops == &fuzz_ops || base->ops == &fuzz_message_ops);
	return container_of(base, struct fuzz_stream, base);
}

const struct conn *host_conn(const struct side *side)
{
	return side->stream->base.conn;
}

unsigned host_stream_ready(const struct side *side)
{
	return side->stream->base.ready;
}

static int fuzz_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	size_t total = 0;

	assert(nv > 0 && !s->is_left && !side->has_ended);
	for (int i = 0; i < nv; i++) {
		assert(v[i].iov_len > 0);
		for (size_t k = 0; k < v[i].iov_len && side->to_give; k++, side->to_give--) {
			((uint8_t *)v[i].iov_base)[k] =
				flow_byte(s->book, side->in, side->in->sent++);
			total++;
		}
	}
	*n = total;
	if (total)
		return 0;
	base->ready &= ~(unsigned)STREAM_IN;
	side->has_ended = side->end != 0;
	return side->end ? side->end : STREAM_E_AGAIN;
}

static int fuzz_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	size_t total = 0;

	assert(nv > 0 && nv <= MUX_IOVS);
	if (s->is_left) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (side->write_error) {
		side->is_deaf = true;
		return side->write_error;
	}
	for (int i = 0; i < nv; i++)
		for (size_t k = 0; k < v[i].iov_len && side->takes; k++, side->takes--) {
			assert(((uint8_t *)v[i].iov_base)[k] ==
			       flow_byte(s->book, side->out, side->out->arrived));
			side->out->arrived++;
			total++;
		}
	assert(side->out->arrived <= side->out->sent);
	*n = total;
	if (!side->takes)			/* a short write tells that it is full */
		base->ready &= ~(unsigned)STREAM_OUT;
	return total ? 0 : STREAM_E_AGAIN;
}

static size_t total_of(const struct iovec *v, int nv)
{
	size_t total = 0;

	assert(nv >= 0 && nv <= MUX_IOVS);
	for (int i = 0; i < nv; i++)
		total += v[i].iov_len;
	return total;
}

/* It is too long only for a guest that buffers less; or for us. */
static int too_long_to_read(struct fuzz_stream *s, size_t room)
{
	const struct conn_spill *spill = &s->book->scratch.spill;

	assert(room >= s->side->buf_alloc || room >= spill->size);
	s->is_lost = true;
	return STREAM_E_TOO_LONG;
}

static int fuzz_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
			     uint32_t *flags)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	struct flow *in = side->in;
	size_t room = total_of(v, nv), done = 0;
	const struct message *m;

	assert(!s->is_left && !s->is_lost && !side->has_ended);
	if (in->n_sent == in->n_messages) {
		base->ready &= ~(unsigned)STREAM_IN;
		side->has_ended = side->end != 0;
		return side->end ? side->end : STREAM_E_AGAIN;
	}
	m = &in->messages[in->n_sent];
	if (m->len > room)
		return too_long_to_read(s, room);
	for (int i = 0; done < m->len; i++)
		for (size_t k = 0; k < v[i].iov_len && done < m->len; k++, done++)
			((uint8_t *)v[i].iov_base)[k] = flow_byte(s->book, in, in->sent++);
	in->n_sent++;
	*n = done;
	*flags = m->is_record ? VSOCK_SEQ_EOR : 0;
	return 0;
}

/* One costs a byte more than it has, so that empty ones have to wait as well. */
static int fuzz_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	struct flow *out = side->out;
	const struct message *m = flow_next(out);
	size_t len = total_of(v, nv);

	assert(!s->is_lost);
	if (s->is_left) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (side->write_error) {
		side->is_deaf = true;
		s->is_lost = side->write_error == STREAM_E_TOO_LONG;
		return side->write_error;
	}
	assert(m && len == m->len && flags == (m->is_record ? VSOCK_SEQ_EOR : 0u));
	if (side->takes <= len) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	side->takes -= len + 1;
	for (int i = 0; i < nv; i++)
		for (size_t k = 0; k < v[i].iov_len; k++)
			assert(((uint8_t *)v[i].iov_base)[k] ==
			       flow_byte(s->book, out, out->arrived++));
	flow_message_arrived(out);
	return 0;
}

/* What would be said of the next is left to be said by itself. */
static size_t fuzz_write_messages(struct stream *base, const struct iovec *v,
				  const struct stream_message *m, size_t n)
{
	size_t done = 0;

	while (done < n && !stream_of(base)->side->write_error &&
	       fuzz_write_message(base, v, (int)m[done].n, m[done].flags) == 0)
		v += m[done++].n;
	return done;
}

static int fuzz_shutdown(struct stream *base, int how)
{
	assert(!stream_of(base)->is_lost);
	(void)how;
	return 0;
}

static void fuzz_accepted(struct stream *base, const struct vsock_addr *guest)
{
	struct side *side = stream_of(base)->side;

	assert(!side->is_open && guest->port == side->guest_port);
	side->is_open = true;
}

static void fuzz_wait_for(struct stream *base, unsigned events)
{
	struct fuzz_stream *s = stream_of(base);

	if (!s->is_left)
		s->side->waits_for = events;
}

static void fuzz_close(struct stream *base, bool is_orderly)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;

	if (!s->is_left) {
		assert(!is_orderly || side->is_deaf ||
		       (side->out->arrived == side->out->sent && !flow_next(side->out)));
		assert(!is_orderly || !s->is_lost);
		side->stream = NULL;
	}
	free(s);
}

static void fuzz_save(const struct stream *base, struct blob *out)
{
	const struct fuzz_stream *s = container_of_const(base, struct fuzz_stream, base);
	size_t section = blob_open(out, HOST_STREAM_TAG, base->type);

	assert(!s->is_left && !s->is_lost);
	blob_put_u32(out, (uint32_t)(s->side - s->book->sides));
	blob_put_u8(out, s->side->is_pending);
	blob_close(out, section);
}

static const struct stream_ops fuzz_ops = {
	.read = fuzz_read, .write = fuzz_write, .shutdown = fuzz_shutdown,
	.accepted = fuzz_accepted, .wait_for = fuzz_wait_for, .close = fuzz_close,
	.save = fuzz_save,
};

static const struct stream_ops fuzz_message_ops = {
	.read_message = fuzz_read_message, .write_message = fuzz_write_message,
	.write_messages = fuzz_write_messages,
	.shutdown = fuzz_shutdown, .accepted = fuzz_accepted, .wait_for = fuzz_wait_for,
	.close = fuzz_close, .save = fuzz_save,
};

static void new_stream(struct side *side, unsigned ready)
{
	side->stream = malloc(sizeof *side->stream);
	if (!side->stream)
		abort();
	*side->stream = (struct fuzz_stream){
		.base.ops = side->type == VSOCK_TYPE_SEQPACKET ? &fuzz_message_ops : &fuzz_ops,
		.base.ready = ready, .base.type = (uint16_t)side->type,
		.book = side->vm->book, .side = side,
	};
}

/* NULL: there were enough. */
static struct side *open_stream(struct vm *vm, enum vsock_type type, uint32_t guest_port,
				const struct vsock_addr *peer)
{
	struct side *side = side_new(vm, type, guest_port, peer);

	if (side)
		new_stream(side, STREAM_OUT);
	return side;
}

static bool host_serves(struct backend *b, uint64_t cid)
{
	(void)b;
	return cid == VSOCK_CID_HOST;
}

static int host_connect(struct backend *b, enum vsock_type type,
			const struct vsock_addr *src, const struct vsock_addr *dst,
			struct stream **out)
{
	struct vm *vm = container_of(b, struct vm, host);
	struct side *side;

	assert(vm->types & 1u << type);
	if (vm->connect_result && vm->connect_result != BACKEND_E_PENDING)
		return vm->connect_result;
	side = open_stream(vm, type, src->port, dst);
	if (!side)
		return -EMFILE;
	side->is_pending = vm->connect_result == BACKEND_E_PENDING;
	side->is_live = !side->is_pending;
	*out = &side->stream->base;
	return vm->connect_result;
}

static void host_explain(struct backend *b, const struct vsock_addr *dst, int error,
			 char *text, size_t size)
{
	(void)b, (void)dst, (void)error;
	assert(size > 0);
	*text = '\0';
}

/* Of a side that was left; its mux only loads what another of ours has saved. */
static int host_load_stream(struct backend *b, const struct vsock_addr *guest,
			    const struct vsock_addr *peer, struct blob_reader *in,
			    struct stream **out)
{
	struct vm *vm = container_of(b, struct vm, host);
	struct blob_reader section;
	struct side *side;
	uint32_t version;

	assert(blob_enter(in, &section, HOST_STREAM_TAG, VSOCK_TYPE_SEQPACKET, &version));
	side = &vm->book->sides[blob_get_u32(&section)];
	assert(side->vm == vm && !side->stream && side->guest_port == guest->port);
	assert(side->type == version);
	assert(side->peer.cid == peer->cid && (!side->peer.port || side->peer.port == peer->port));
	assert(side->is_pending == blob_get_bool(&section) && blob_is_whole(&section));
	new_stream(side, STREAM_IN | STREAM_OUT |
		   (side->end == STREAM_E_CLOSED ? STREAM_HUP : 0u));
	*out = &side->stream->base;
	return side->is_pending ? BACKEND_E_PENDING : 0;
}

const struct backend_ops host_ops = {
	.serves = host_serves, .connect = host_connect, .explain = host_explain,
	.stream_tag = HOST_STREAM_TAG, .load_stream = host_load_stream,
};

void host_leave(struct vm *vm)
{
	struct ledger *book = vm->book;

	for (size_t i = 0; i < book->n_sides; i++) {
		struct side *side = &book->sides[i];

		if (side->vm != vm || !side->stream)
			continue;
		side->stream->is_left = true;
		side->stream = NULL;
	}
}

void host_ready(struct side *side, unsigned events)
{
	struct vm *vm = side->vm;

	side->stream->base.ready |= events;
	mux_stream_ready(vm->mux, &side->stream->base, vm->book->now_ms);
}

void host_connects(struct vm *vm, struct slot *slot, enum vsock_type type)
{
	const struct vsock_addr unnamed = { VSOCK_CID_HOST, 0 };
	struct side *side = side_find(vm, slot->guest_port, &unnamed);
	int r;

	if (side && side->stream)		/* REQUEST not said yet: one at a time */
		return;
	if (side)
		side->guest_port = 0;
	side = open_stream(vm, type, slot->guest_port, &unnamed);
	if (!side)
		return;
	side->is_live = true;
	r = mux_connect_from_host(vm->mux, &side->stream->base, VSOCK_CID_HOST, slot->guest_port,
				  vm->book->now_ms);
	assert(r || vm->types & 1u << type);
	if (r) {
		side->stream->base.ops->close(&side->stream->base, false);
		side->guest_port = 0;
	}
}

void host_connected(struct side *side, int error)
{
	struct vm *vm;

	if (!side || !side->stream || !side->is_pending)
		return;
	vm = side->vm;
	side->is_pending = false;
	side->is_live = true;
	mux_stream_connected(vm->mux, &side->stream->base, &side->stream->base, error,
			     vm->book->now_ms);
	assert(!error || !side->stream);
}
