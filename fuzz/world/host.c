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
};

static const struct stream_ops fuzz_ops;

static struct fuzz_stream *stream_of(struct stream *base)
{
	assert(base->ops == &fuzz_ops);
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

static int fuzz_shutdown(struct stream *base, int how)
{
	(void)stream_of(base);
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
		assert(!is_orderly || side->is_deaf || side->out->arrived == side->out->sent);
		side->stream = NULL;
	}
	free(s);
}

static void fuzz_save(const struct stream *base, struct blob *out)
{
	const struct fuzz_stream *s = container_of_const(base, struct fuzz_stream, base);
	size_t section = blob_open(out, HOST_STREAM_TAG, 1);

	assert(base->ops == &fuzz_ops && !s->is_left);
	blob_put_u32(out, (uint32_t)(s->side - s->book->sides));
	blob_put_u8(out, s->side->is_pending);
	blob_close(out, section);
}

static const struct stream_ops fuzz_ops = {
	.read = fuzz_read, .write = fuzz_write, .shutdown = fuzz_shutdown,
	.accepted = fuzz_accepted, .wait_for = fuzz_wait_for, .close = fuzz_close,
	.save = fuzz_save,
};

static void new_stream(struct side *side, unsigned ready)
{
	side->stream = malloc(sizeof *side->stream);
	if (!side->stream)
		abort();
	*side->stream = (struct fuzz_stream){
		.base.ops = &fuzz_ops, .base.ready = ready, .base.type = VSOCK_TYPE_STREAM, .book = side->vm->book, .side = side,
	};
}

/* NULL: there were enough. */
static struct side *open_stream(struct vm *vm, uint32_t guest_port, const struct vsock_addr *peer)
{
	struct side *side = side_new(vm, guest_port, peer);

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

	assert(type == VSOCK_TYPE_STREAM);	/* the guest knows no others */
	if (vm->connect_result && vm->connect_result != BACKEND_E_PENDING)
		return vm->connect_result;
	side = open_stream(vm, src->port, dst);
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

	assert(blob_enter(in, &section, HOST_STREAM_TAG, 1, &version));
	side = &vm->book->sides[blob_get_u32(&section)];
	assert(side->vm == vm && !side->stream && side->guest_port == guest->port);
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

void host_connects(struct vm *vm, struct slot *slot)
{
	const struct vsock_addr unnamed = { VSOCK_CID_HOST, 0 };
	struct side *side = side_find(vm, slot->guest_port, &unnamed);

	if (side && side->stream)		/* REQUEST not said yet: one at a time */
		return;
	if (side)
		side->guest_port = 0;
	side = open_stream(vm, slot->guest_port, &unnamed);
	if (!side)
		return;
	side->is_live = true;
	if (mux_connect_from_host(vm->mux, &side->stream->base, VSOCK_CID_HOST, slot->guest_port,
			      vm->book->now_ms)) {
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
