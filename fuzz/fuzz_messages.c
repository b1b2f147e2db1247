/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where messages begin and end, in all that holds them; from what is written into it, and from
 * what somebody has saved who means harm.
 *
 * Input: a byte that says what it is about, modulo 4; then
 *
 *	0	a pipe: 2 bytes, where its counters begin; steps of 3 bytes: what, and two numbers
 *	1	a pipe's content: a byte, the flags that there may be; the content
 *	2	a connection: how much it buffers, how much it is said to have (2 bytes), the size
 *		of the guest's buffers, when the host takes nothing; what was saved of its messages
 *	3	siblings: a byte, of each half whether it is of messages; how long the first half
 *		is (2 bytes); both, as saved by the two ends of a connection
 *
 * Asserted: what comes out is what has gone in, message by message, with its flags; a reader
 * that waits is woken; nobody waits who need not; what does not add up is refused and leaves
 * nothing behind; what is loaded is the same when it is saved, and goes on: a message that has
 * begun becomes whole, the rest of one comes to its end; only whole ones are counted.
 */
#include <assert.h>
#include <errno.h>

#include "backend/sibling_internal.h"
#include "backend/spsc_pipe.h"
#include "input.h"
#include "util/blob.h"
#include "vsock/conn_internal.h"
#include "world/world.h"

enum { LEN_MAX = 5000, WAITING_MAX = 1024, READ_MAX = 1 << 16 };

static uint8_t buffer[READ_MAX];

static uint8_t byte_at(uint32_t at)
{
	return (uint8_t)(at ^ at >> 8);
}

/* ---- a pipe ---- */

struct waiting {
	uint32_t len, flags, first;		/* first: of its bytes, in the pattern */
};

static struct pipe_model {
	struct spsc_pipe pipe;
	struct waiting waiting[WAITING_MAX];
	size_t n, first;
	uint32_t held, written;			/* bytes in the pipe, with heads; ever, without */
	bool reader_waits, writer_waits;
} model;

/* In three pieces, the outer of which may be empty. */
static void cut(uint8_t *bytes, uint32_t len, unsigned how, struct iovec iov[3])
{
	uint32_t a = len * (how & 15) / 15, b = a + (len - a) * (how >> 4) / 15;

	iov[0] = (struct iovec){ bytes, a };
	iov[1] = (struct iovec){ bytes + a, b - a };
	iov[2] = (struct iovec){ bytes + b, len - b };
}

/* As its writer does it: more memory, when it is empty. False: it has to be, first. */
static bool make_room(uint32_t len)
{
	uint32_t size = 64;

	if (len + SPSC_PIPE_MESSAGE_BYTES <= model.pipe.size)
		return true;
	if (spsc_pipe_wait_empty(&model.pipe)) {
		assert(model.held);
		model.writer_waits = true;
		return false;
	}
	assert(!model.held);
	model.writer_waits = true;
	while (size < len + SPSC_PIPE_MESSAGE_BYTES)
		size *= 2;
	if (spsc_pipe_resize(&model.pipe, size))
		abort();
	return true;
}

static void pipe_write(uint32_t len, unsigned how)
{
	struct waiting *w = &model.waiting[(model.first + model.n) % WAITING_MAX];
	uint8_t *bytes = input_copy(buffer, len);
	struct iovec iov[3];
	bool wake;

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = byte_at(model.written + i);
	cut(bytes, len, how, iov);
	if (model.n < WAITING_MAX && make_room(len)) {
		uint32_t need = len + SPSC_PIPE_MESSAGE_BYTES;
		int r = spsc_pipe_write_message(&model.pipe, iov, 3, how, &wake);

		assert(r == (need <= model.pipe.size - model.held ? 0 : SPSC_PIPE_E_WAIT));
		model.writer_waits |= r != 0;
		if (r == 0) {
			*w = (struct waiting){ len, how, model.written };
			assert(wake == model.reader_waits);
			model.reader_waits = false;
			model.n++;
			model.held += need;
			model.written += len;
		}
	}
	free(bytes);
}

static void pipe_read(uint32_t room, unsigned how)
{
	const struct waiting w = model.waiting[model.first];
	uint8_t *bytes = input_copy(buffer, room);
	struct iovec iov[3];
	uint32_t flags;
	bool wake;
	size_t n;
	int r;

	cut(bytes, room, how, iov);
	r = spsc_pipe_read_message(&model.pipe, iov, 3, &n, &flags, &wake);
	if (!model.n) {
		assert(r == SPSC_PIPE_E_WAIT);
		model.reader_waits = true;
	} else {
		assert(r == (w.len <= room ? 0 : SPSC_PIPE_E_TOO_LONG));
		assert(n == w.len);
	}
	if (model.n && r == 0) {		/* else it is still there */
		assert(flags == w.flags && wake == model.writer_waits);
		for (uint32_t i = 0; i < w.len; i++)
			assert(bytes[i] == byte_at(w.first + i));
		model.writer_waits = false;
		model.first = (model.first + 1) % WAITING_MAX;
		model.n--;
		model.held -= w.len + SPSC_PIPE_MESSAGE_BYTES;
	}
	assert(spsc_pipe_is_empty(&model.pipe) == !model.n);
	free(bytes);
}

static void check_content(void)
{
	struct iovec iov[2];
	size_t n = spsc_pipe_peek(&model.pipe, iov), len = 0;
	uint8_t *all = malloc(model.held ? model.held : 1);

	if (!all)
		abort();
	for (size_t i = 0; i < n; i++) {
		assert(iov[i].iov_len <= model.held - len);
		memcpy(all + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	assert(len == model.held && spsc_pipe_are_messages(all, len, UINT32_MAX));
	assert(len < 2 || !spsc_pipe_are_messages(all, len - 1, UINT32_MAX));
	free(all);
}

static void try_pipe(struct input *in)
{
	uint32_t at = (uint32_t)input_u16(in) << 16;

	model = (struct pipe_model){ .n = 0 };
	spsc_pipe_init(&model.pipe);
	atomic_store(&model.pipe.read, at);
	atomic_store(&model.pipe.written, at);
	while (in->left) {
		uint8_t what = input_u8(in), a = input_u8(in), b = input_u8(in);
		uint32_t len = (what & 0x80 ? a * 20u : a) % LEN_MAX;

		switch (what % 4) {
		case 0:
		case 1:
			pipe_write(len, b);
			break;
		case 2:
			pipe_read(what & 0x40 ? len : LEN_MAX, b);
			break;
		default:
			check_content();
		}
	}
	while (model.n)
		pipe_read(LEN_MAX, 0);
	spsc_pipe_deinit(&model.pipe);
}

/* ---- a pipe's content ---- */

/* Where the next message ends; 0: there is none that could be believed. */
static size_t end_of_message(const uint8_t *bytes, size_t n, uint32_t *len, uint32_t *flags)
{
	if (n < SPSC_PIPE_MESSAGE_BYTES)
		return 0;
	memcpy(len, bytes, sizeof *len);
	memcpy(flags, bytes + sizeof *len, sizeof *flags);
	return *len <= n - SPSC_PIPE_MESSAGE_BYTES ? SPSC_PIPE_MESSAGE_BYTES + (size_t)*len : 0;
}

static void read_content(const uint8_t *bytes, size_t n)
{
	struct iovec in = { input_copy(bytes, n), n }, out = { buffer, sizeof buffer };
	uint32_t size = 64, len, flags, got_flags;
	struct spsc_pipe pipe;
	size_t written, got;
	bool wake;

	while (size < n)
		size *= 2;
	spsc_pipe_init(&pipe);
	if (spsc_pipe_resize(&pipe, size))
		abort();
	assert(spsc_pipe_write(&pipe, &in, 1, &written, &wake) == 0 && written == n);
	for (size_t at = 0; at < n; at += SPSC_PIPE_MESSAGE_BYTES + len) {
		assert(end_of_message(bytes + at, n - at, &len, &flags));
		assert(spsc_pipe_read_message(&pipe, &out, 1, &got, &got_flags, &wake) == 0);
		assert(got == len && got_flags == flags);
		assert(!memcmp(buffer, bytes + at + SPSC_PIPE_MESSAGE_BYTES, len));
	}
	assert(spsc_pipe_is_empty(&pipe));
	spsc_pipe_deinit(&pipe);
	free(in.iov_base);
}

static void try_content(struct input *in)
{
	uint32_t allowed = input_u8(in), len, flags;
	uint8_t *bytes = input_copy(in->data, in->left);
	size_t n = in->left, at = 0, end;
	bool is_sound;

	while ((end = end_of_message(bytes + at, n - at, &len, &flags)) && !(flags & ~allowed))
		at += end;
	is_sound = at == n;
	assert(spsc_pipe_are_messages(bytes, n, allowed) == is_sound);
	if (is_sound && n && n <= READ_MAX)
		read_content(bytes, n);
	free(bytes);
}

/* ---- a connection ---- */

static struct bench {
	struct conn *conn;
	struct stream stream;
	uint32_t expected[LEN_MAX];		/* lengths of messages, in order */
	uint32_t flags[LEN_MAX];
	size_t n_expected, n_taken;
	uint32_t taken;				/* bytes */
	unsigned refuses, n_calls;		/* bits: which of eight calls in turn */
	struct iovec iov;
	struct rx_buf buf;
	size_t rx_size, n_packets;
	uint32_t to_guest;			/* bytes that came */
	uint32_t last_flags;
} bench;

static int bench_write(struct stream *s, const struct iovec *v, int nv, uint32_t flags)
{
	uint32_t len = 0;

	(void)s;
	if (bench.refuses >> bench.n_calls++ % 8 & 1)
		return STREAM_E_AGAIN;
	assert(bench.n_taken < bench.n_expected && flags == bench.flags[bench.n_taken]);
	for (int i = 0; i < nv; i++)
		for (size_t k = 0; k < v[i].iov_len; k++)
			assert(((uint8_t *)v[i].iov_base)[k] == byte_at(bench.taken + len++));
	assert(len == bench.expected[bench.n_taken++]);
	bench.taken += len;
	assert(bench.taken <= bench.conn->credit.received);
	return 0;
}

static int bench_read(struct stream *s, const struct iovec *v, int nv, size_t *n, uint32_t *flags)
{
	(void)s, (void)v, (void)nv, (void)n, (void)flags;
	return STREAM_E_AGAIN;
}

static int bench_shutdown(struct stream *s, int how)
{
	(void)s, (void)how;
	return 0;
}

static void bench_close(struct stream *s, bool is_orderly)
{
	(void)s, (void)is_orderly;
}

static const struct stream_ops bench_ops = {
	.read_message = bench_read, .write_message = bench_write, .shutdown = bench_shutdown,
	.close = bench_close,
};

static size_t bench_borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	(void)ctx, (void)want;
	*bufs = &bench.buf;
	return 1;
}

static void bench_used(void *ctx, const uint32_t *lens, size_t n)
{
	struct iov_cur cur;
	struct pkt pkt;

	(void)ctx;
	iov_cur_init(&cur, &bench.iov, 1);
	assert(n == 1 && !pkt_parse(&pkt, &cur) && lens[0] == PKT_HDR_SIZE + pkt.len);
	assert(pkt.fwd_cnt == bench.conn->credit.fwd_cnt);
	if (pkt.op != VSOCK_OP_RW)
		return;
	assert(pkt.type == VSOCK_TYPE_SEQPACKET && pkt.len && !bench.last_flags);
	for (uint32_t i = 0; i < pkt.len; i++)
		assert(((uint8_t *)bench.iov.iov_base)[PKT_HDR_SIZE + i] ==
		       byte_at(bench.to_guest++));
	bench.last_flags = pkt.flags;
}

/* Of @saved, which has been believed, what is to come of it: of the @buffered bytes. */
static void expect(const uint8_t *saved, uint32_t buffered)
{
	uint32_t n, len, flags;
	uint64_t total;

	memcpy(&n, saved, sizeof n);
	total = bench.conn->messages->begun;
	for (uint32_t at = 0; at < n; at += SPSC_PIPE_MESSAGE_BYTES) {
		memcpy(&len, saved + sizeof n + at, sizeof len);
		memcpy(&flags, saved + sizeof n + at + sizeof len, sizeof flags);
		bench.expected[bench.n_expected] = len;
		bench.flags[bench.n_expected++] = flags;
		total += len;
	}
	assert(total == buffered);
}

/* Saved again it is the same. */
static void check_saved(const struct conn *c, const uint8_t *saved, size_t n)
{
	struct blob again;

	blob_init(&again, SIZE_MAX, 0);
	conn_messages_save(c, &again);
	assert(!blob_error(&again) && again.len == n && !memcmp(again.bytes, saved, n));
	blob_deinit(&again);
}

/* The bytes of a ring become those of the pattern. */
static void paint(const struct byte_ring *ring)
{
	struct iovec iov[2];
	uint32_t at = 0;

	for (size_t i = 0, n = byte_ring_peek(ring, iov); i < n; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			((uint8_t *)iov[i].iov_base)[k] = byte_at(at++);
}

static void drain(struct conn *c)
{
	for (int i = 0; i < 8 && conn_has_for_host(c); i++) {
		c->stream->ready |= STREAM_OUT;
		conn_stream_ready(c);
		assert(c->credit.fwd_cnt == bench.taken);
	}
}

/* The guest ends the message that it has begun. */
static void end_begun(struct conn *c)
{
	uint32_t len = c->to_host.size - c->to_host.len < 100 ? c->to_host.size - c->to_host.len : 100;
	uint32_t at = bench.taken + c->to_host.len;
	struct iovec iov = { buffer, len };

	for (uint32_t i = 0; i < len; i++)
		buffer[i] = byte_at(at + i);
	bench.expected[bench.n_expected] = c->messages->begun + len;
	bench.flags[bench.n_expected++] = VSOCK_SEQ_EOR;
	c->credit.received += len;
	conn_forward(c, &iov, 1, len, VSOCK_SEQ_EOM | VSOCK_SEQ_EOR);
	if (c->state == CONN_OPEN && bench.refuses != 0xff) {
		drain(c);
		drain(c);
	}
}

static void get_rest(struct conn *c, uint32_t n_rest)
{
	const struct rx_sink rx = { .borrow = bench_borrow, .used = bench_used };
	uint32_t flags = c->messages->to_guest_flags;
	struct iovec scratch[8];
	const struct conn_spill none = { (char *)buffer, 0 };

	c->credit.guest_buf_alloc = UINT32_MAX;
	while (conn_has_rest(c)) {
		size_t moved = 0;

		assert(conn_output(c, &rx, scratch, 8, &none, &moved) != CONN_E_STARVED);
		conn_input(c, &(struct pkt){
			.type = VSOCK_TYPE_SEQPACKET, .op = VSOCK_OP_CREDIT_UPDATE,
			.buf_alloc = UINT32_MAX, .fwd_cnt = c->credit.sent_to_guest,
		}, NULL, NULL);
	}
	assert(bench.to_guest == n_rest && bench.last_flags == (n_rest ? flags : 0));
}

static void go_on(struct conn *c, uint32_t buffered)
{
	uint32_t n_rest = c->messages->to_guest.len;

	bench.stream = (struct stream){
		.ops = &bench_ops, .type = VSOCK_TYPE_SEQPACKET, .ready = STREAM_IN | STREAM_OUT,
	};
	conn_set_stream(c, &bench.stream);
	c->state = CONN_OPEN;
	c->credit.received = buffered;
	c->to_host.size = c->credit.buf_alloc;
	if (byte_ring_fill(&c->to_host, buffer, buffered))
		abort();
	paint(&c->to_host);
	paint(&c->messages->to_guest);
	drain(c);
	end_begun(c);
	if (c->state == CONN_OPEN && !conn_holds_any(c))
		assert(bench.n_taken == bench.n_expected && c->credit.fwd_cnt == bench.taken);
	if (c->state == CONN_OPEN)
		get_rest(c, n_rest);
}

static void try_conn(struct input *in)
{
	static const uint32_t allocs[] = { 1, 16, 4096, 65535 };
	const struct vsock_addr guest = { 3, 1 }, peer = { 2, 2 };
	struct byte_budget *budget = byte_budget_new(1 << 24);
	uint32_t alloc = allocs[input_u8(in) % 4], buffered = input_u16(in);
	struct blob_reader reader;
	bool is_believed;
	uint8_t *saved;
	size_t n;
	int r;

	bench = (struct bench){ .rx_size = PKT_HDR_SIZE + 1u + input_u8(in) * 16u };
	bench.refuses = input_u8(in);
	n = in->left < LEN_MAX ? in->left : LEN_MAX;
	saved = input_copy(in->data, n);
	bench.iov = (struct iovec){ malloc(bench.rx_size), bench.rx_size };
	bench.buf = (struct rx_buf){ &bench.iov, 1, bench.rx_size };
	bench.conn = budget ? conn_alloc(&guest, &peer, alloc, budget) : NULL;
	if (!bench.conn || !bench.iov.iov_base)
		abort();
	blob_read(&reader, saved, n, NULL);
	is_believed = conn_messages_load(bench.conn, &reader, buffered, &r);
	assert(r == 0 && (!is_believed || blob_is_whole(&reader)));
	if (is_believed) {
		check_saved(bench.conn, saved, n);
		expect(saved, buffered);
		if (buffered <= alloc)
			go_on(bench.conn, buffered);
	}
	conn_free(bench.conn);
	assert(!budget->used);
	byte_budget_unref(budget);
	free(bench.iov.iov_base);
	free(saved);
}

/* ---- siblings ---- */

static struct ledger book;

/* NULL: it is not believed. */
static struct stream *load_end(unsigned i, bool is_messages, const uint8_t *bytes, size_t n)
{
	const struct vsock_addr addrs[] = { { 3, 2000 }, { 4, 2000 } };
	struct backend *b = book.vms[i].siblings;
	struct stream *stream = NULL;
	struct blob_reader reader;
	struct blob blob;
	uint8_t *copy;
	size_t section;
	int r;

	blob_init(&blob, SIZE_MAX, 0);
	section = blob_open(&blob, SIBLING_STREAM_TAG, is_messages ? 2 : 1);
	blob_put_bytes(&blob, bytes, n);
	blob_close(&blob, section);
	assert(!blob_error(&blob));
	copy = input_copy(blob.bytes, blob.len);
	blob_read(&reader, copy, blob.len, NULL);
	r = b->ops->load_stream(b, &addrs[i], &addrs[1 - i], &reader, &stream);
	assert(r >= 0 || r == -ENOBUFS);
	if (r && r != BACKEND_E_PENDING)
		stream = NULL;
	assert(!stream || stream->type == (is_messages ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM));
	free(copy);
	blob_deinit(&blob);
	return stream;
}

/* All that it has to read, which is no more than was saved. */
static void read_all(struct stream *s, size_t at_most)
{
	size_t room = at_most ? at_most : 1, n, total = 0;
	struct iovec iov = { malloc(room), room };
	uint32_t flags = 0;
	int r;

	if (!iov.iov_base)
		abort();
	do {
		r = s->type == VSOCK_TYPE_SEQPACKET ?
			s->ops->read_message(s, &iov, 1, &n, &flags) : s->ops->read(s, &iov, 1, &n);
		total += r ? 0 : n + (s->type == VSOCK_TYPE_SEQPACKET ? SPSC_PIPE_MESSAGE_BYTES : 0);
		assert(!(flags & ~(uint32_t)VSOCK_SEQ_EOR) && total <= at_most);
	} while (r == 0);
	assert(r != STREAM_E_TOO_LONG);
	free(iov.iov_base);
}

/* 0, or why not. */
static int write_one(struct stream *s, size_t len)
{
	struct iovec iov = { buffer, len };
	size_t n;

	if (s->type == VSOCK_TYPE_SEQPACKET)
		return s->ops->write_message(s, &iov, 1, VSOCK_SEQ_EOR);
	return s->ops->write(s, &iov, 1, &n);
}

static void try_siblings(struct input *in)
{
	unsigned kinds = input_u8(in), first = input_u16(in);
	struct stream *ends[2];
	size_t n = in->left, lens[2];

	world_init(&book, &(struct world_config){
		.n_vms = VMS, .buf_alloc = 65536, .max_buffered = 1 << 20, .rx_size = 4096,
		.rx_piece = 255, .types = MUX_STREAMS | MUX_SEQPACKETS,
	});
	lens[0] = first < n ? first : n;
	lens[1] = n - lens[0];
	ends[0] = load_end(0, kinds & 1, in->data, lens[0]);
	ends[1] = load_end(1, kinds & 2, in->data + lens[0], lens[1]);
	for (int i = 0; i < 2; i++)
		if (ends[i] && ends[i]->ready)
			read_all(ends[i], n);
	for (int i = 0; i < 2; i++)
		if (ends[i] && ends[i]->ready && write_one(ends[i], 3000 + kinds) == 0)
			write_one(ends[i], 0x10 + kinds);
	for (int i = 0; i < 2; i++)
		if (ends[i])
			ends[i]->ops->close(ends[i], kinds & 4);
	world_deinit(&book);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	switch (input_u8(&in) % 4) {
	case 0:
		try_pipe(&in);
		break;
	case 1:
		try_content(&in);
		break;
	case 2:
		try_conn(&in);
		break;
	default:
		try_siblings(&in);
	}
	return 0;
}
