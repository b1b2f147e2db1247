/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads connections that may be anybody's invention, lets them live, and looks on. */
#include "judge.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/list.h"
#include "vsock/conn_internal.h"
#include "vsock/conn_snapshot.h"
#include "vsock/mux_internal.h"

enum { RX_SIZE = 4096, SPILL_SIZE = 10000, ROUNDS = 4, ROUND_MS = 700, LINGER_MS = 30000 };

/* In the number of a saved stream. */
enum { OF_SIBLING = 1 << 8, CANNOT_GO_ON = 1 << 9, FAILS = 1 << 10 };

/* A stream that does as it likes; which is a matter of its number. */
struct puppet {
	struct stream base;
	uint32_t number, n_calls;
	bool is_pending;			/* not to be used before it is connected */
	_Atomic uint32_t consumed;
};

static struct court {
	const struct judge_config *config;
	struct mux *mux;
	struct mux_scratch scratch;
	struct backend backend;
	size_t n_puppets;
	uint64_t now_ms;
	uint64_t n_saved, used_saved, largest;	/* connections; bytes, of all and of one */
	/* RX buffers. */
	size_t left, lent;
	char spill[SPILL_SIZE];
	unsigned n_said;
	uint8_t memory[RX_BORROW_MAX][RX_SIZE];
	struct iovec iovs[RX_BORROW_MAX];
	struct rx_buf bufs[RX_BORROW_MAX];
} court;

static const struct stream_ops puppet_ops, puppet_message_ops;

static struct puppet *puppet_of(struct stream *base)
{
	assert(base->ops == &puppet_ops || base->ops == &puppet_message_ops);
	return container_of(base, struct puppet, base);
}

static unsigned next_whim(struct puppet *p)
{
	assert(!p->is_pending);
	p->n_calls++;
	return (p->number * 2654435761u + p->n_calls * 40503u) >> 7;
}

static size_t total_of(const struct iovec *v, int nv)
{
	size_t total = 0;

	assert(nv >= 0 && nv <= MUX_IOVS);
	for (int i = 0; i < nv; i++)
		total += v[i].iov_len;
	return total;
}

static void fill(const struct iovec *v, size_t n)
{
	for (size_t i = 0, left = n; left; i++) {
		size_t here = v[i].iov_len < left ? v[i].iov_len : left;

		memset(v[i].iov_base, 'x', here);
		left -= here;
	}
}

static int puppet_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	static const int ends[] = { STREAM_E_EOF, STREAM_E_CLOSED, STREAM_E_RESET, -EIO };
	struct puppet *p = puppet_of(base);
	unsigned whim = next_whim(p);
	size_t total = total_of(v, nv);

	assert(total > 0);
	if (whim % 8 < 4) {
		*n = whim % 3 && total > whim % 1000 ? whim % 1000 + 1 : total;
		fill(v, *n);
		return 0;
	}
	base->ready &= ~(unsigned)STREAM_IN;
	return whim % 8 < 7 ? STREAM_E_AGAIN : ends[whim / 8 % 4];
}

static int puppet_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	static const int ends[] = { STREAM_E_NO_READER, STREAM_E_RESET, -EIO };
	struct puppet *p = puppet_of(base);
	unsigned whim = next_whim(p);
	size_t total = total_of(v, nv);

	assert(total > 0);
	if (whim % 8 < 3) {
		*n = whim % 3 && total > whim % 1000 ? whim % 1000 + 1 : total;
		return 0;
	}
	base->ready &= ~(unsigned)STREAM_OUT;
	return whim % 8 < 7 ? STREAM_E_AGAIN : ends[whim / 8 % 3];
}

static int puppet_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
			       uint32_t *flags)
{
	static const int ends[] = {
		STREAM_E_EOF, STREAM_E_CLOSED, STREAM_E_RESET, -EIO, STREAM_E_TOO_LONG,
	};
	struct puppet *p = puppet_of(base);
	unsigned whim = next_whim(p);
	size_t total = total_of(v, nv);

	if (whim % 8 < 4) {
		*n = whim % 3 && total > whim % 1000 ? whim % 1000 : total;
		*flags = whim & 0x100 ? VSOCK_SEQ_EOR : 0;
		fill(v, *n);
		return 0;
	}
	base->ready &= ~(unsigned)STREAM_IN;
	return whim % 8 < 7 ? STREAM_E_AGAIN : ends[whim / 8 % 5];
}

/* What waits goes first. */
static int puppet_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	static const int ends[] = { STREAM_E_NO_READER, STREAM_E_RESET, -EIO, STREAM_E_TOO_LONG };
	struct puppet *p = puppet_of(base);
	const struct conn *c = base->conn;
	unsigned whim = next_whim(p);
	struct conn_message first;
	struct iovec iov[2];

	if (byte_ring_peek(&c->messages->ends, iov)) {
		memcpy(&first, iov[0].iov_base, sizeof first);
		assert(first.len == total_of(v, nv) && first.flags == flags);
	}
	if (whim % 8 < 3)
		return 0;
	base->ready &= ~(unsigned)STREAM_OUT;
	return whim % 8 < 7 ? STREAM_E_AGAIN : ends[whim / 8 % 4];
}

static int puppet_shutdown(struct stream *base, int how)
{
	(void)puppet_of(base);
	(void)how;
	return 0;
}

static void puppet_consumed(struct stream *base, uint32_t total)
{
	(void)total;
	assert(puppet_of(base)->number & OF_SIBLING);
}

static void puppet_window(struct stream *base, uint32_t bytes)
{
	(void)puppet_of(base);
	assert(bytes);
}

static void puppet_accepted(struct stream *base, const struct vsock_addr *guest)
{
	assert(!puppet_of(base)->is_pending && guest->cid == court.config->guest_cid);
}

static void puppet_wait_for(struct stream *base, unsigned events)
{
	(void)puppet_of(base);
	assert(!(events & ~(unsigned)(STREAM_IN | STREAM_OUT)));
}

static void puppet_close(struct stream *base, bool is_orderly)
{
	(void)is_orderly;
	free(puppet_of(base));
	court.n_puppets--;
}

static void puppet_save(const struct stream *base, struct blob *out)
{
	const struct puppet *p = container_of_const(base, struct puppet, base);
	size_t section = blob_open(out, court.config->stream_tag, base->type);

	blob_put_u32(out, p->number);
	blob_put_u8(out, p->is_pending);
	blob_close(out, section);
}

static const struct stream_ops puppet_ops = {
	.read = puppet_read, .write = puppet_write, .shutdown = puppet_shutdown,
	.consumed = puppet_consumed, .window = puppet_window, .accepted = puppet_accepted,
	.wait_for = puppet_wait_for, .close = puppet_close, .save = puppet_save,
};

static const struct stream_ops puppet_message_ops = {
	.read_message = puppet_read_message, .write_message = puppet_write_message,
	.shutdown = puppet_shutdown, .consumed = puppet_consumed, .accepted = puppet_accepted,
	.wait_for = puppet_wait_for, .close = puppet_close, .save = puppet_save,
};

static int load_stream(struct backend *b, const struct vsock_addr *guest,
		       const struct vsock_addr *peer, struct blob_reader *in,
		       struct stream **out)
{
	struct blob_reader section;
	uint32_t version, number;
	struct puppet *p;
	bool is_pending;

	(void)b, (void)peer;
	assert(guest->cid == court.config->guest_cid);
	if (!blob_enter(in, &section, court.config->stream_tag, VSOCK_TYPE_SEQPACKET, &version))
		return BACKEND_E_BAD_STATE;
	number = blob_get_u32(&section);
	is_pending = blob_get_bool(&section);
	if (!blob_is_whole(&section))
		return BACKEND_E_BAD_STATE;
	if (number & CANNOT_GO_ON)
		return BACKEND_E_NOBODY;
	if (number & FAILS)
		return -EIO;
	p = malloc(sizeof *p);
	if (!p)
		abort();
	*p = (struct puppet){
		.base.ops = version == VSOCK_TYPE_SEQPACKET ? &puppet_message_ops : &puppet_ops,
		.base.type = (uint16_t)version, .base.ready = STREAM_IN | STREAM_OUT,
		.number = number, .is_pending = is_pending, .consumed = number >> 16,
	};
	if (number & OF_SIBLING) {
		p->base.consumed = &p->consumed;
		p->base.peer_window = number >> 11;
	}
	court.n_puppets++;
	*out = &p->base;
	return is_pending ? BACKEND_E_PENDING : 0;
}

static bool serves(struct backend *b, uint64_t cid)
{
	(void)b, (void)cid;
	return false;
}

static const struct backend_ops court_ops = { .serves = serves, .load_stream = load_stream };

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void begin(void)
{
	static struct backend_ops ops;
	const struct judge_config *config = court.config;
	struct mux_config mux = {
		.guest_cid = config->guest_cid,
		.limits = {
			.tx_buffer_size = config->buf_alloc,
			.max_connections = config->max_connections,
			.max_buffered = config->max_buffered, .linger_ms = LINGER_MS,
		},
		.connect_ms = 1500, .request_ms = 2000, .closing_ms = 10000, .hash_seed = 7,
		.tag = "judge", .scratch = &court.scratch, .wake = on_wake,
	};

	ops = court_ops;
	ops.stream_tag = config->stream_tag;
	court.backend.ops = &ops;
	if (mux_new(&court.mux, &mux))
		abort();
	court.scratch.spill = (struct conn_spill){ court.spill, sizeof court.spill };
	mux_set_types(court.mux, MUX_STREAMS | MUX_SEQPACKETS);
	mux_add_backend(court.mux, &court.backend);
	mux_set_running(court.mux, true);
}

static void end(void)
{
	mux_free(court.mux);
	assert(!court.n_puppets);
}

static int load(const struct blob *blob)
{
	void *copy = malloc(blob->len ? blob->len : 1);	/* of exact size */
	struct blob_reader in;
	int r;

	if (!copy)
		abort();
	if (blob->len)
		memcpy(copy, blob->bytes, blob->len);
	blob_read(&in, copy, blob->len, NULL);
	r = mux_load(court.mux, &in, court.now_ms);
	free(copy);
	return r;
}

static void note_largest(uint64_t n)
{
	if (n > court.largest)
		court.largest = n;
}

static void check_messages(const struct conn *c)
{
	const struct conn_messages *m = c->messages;
	uint64_t total = m->begun;
	struct iovec iov[2];
	size_t n = byte_ring_peek(&m->ends, iov);

	for (size_t i = 0; i < n; i++) {
		const struct conn_message *all = iov[i].iov_base;

		assert(iov[i].iov_len % sizeof *all == 0);
		for (size_t k = 0; k < iov[i].iov_len / sizeof *all; k++)
			total += all[k].len;
	}
	assert(c->mux.ending || total == c->to_host.len);
	note_largest(m->ends.room);
	note_largest(m->to_guest.room);
}

/* Whatever was saved of them, gauges are of what there is; and all of it can be shown. */
static void check_counters(const struct mux *mux)
{
	static struct conn_snapshot rows[CONN_SNAPSHOT_MIN];
	struct conn_cursor cursor = { .at = 0 };
	uint64_t n = 0;

	for (unsigned i = 0; i < CONN_NUM_ORIGINS * CONN_DEAD; i++)
		n += mux->counters.connections[i];
	assert(n == mux->n_conns);
	while (!cursor.is_over) {
		size_t n_rows = mux_snapshot_conns(mux, &cursor, rows, CONN_SNAPSHOT_MIN,
						   court.now_ms);

		for (size_t i = 0; i < n_rows; i++)
			assert(rows[i].waits_for < CONN_NUM_WAITS &&
			       rows[i].waits_ms <= court.now_ms && rows[i].age_ms <= court.now_ms);
	}
}

static void check(void)
{
	uint64_t used = mux_budget(court.mux)->used;
	struct mux *mux = court.mux;

	for (struct conn *c = conn_table_next(&mux->table, NULL); c;
	     c = conn_table_next(&mux->table, c)) {
		assert(!c->stream == !conn_needs_stream(c));
		assert(c->mux.ending || credit_is_sound(&c->credit, c->to_host.len));
		note_largest(c->credit.buf_alloc);
		if (c->messages)
			check_messages(c);
	}
	check_counters(mux);
	/* More than the limits allow is only what was saved, or all of one connection. */
	assert(mux->n_conns <= court.config->max_connections || mux->n_conns <= court.n_saved);
	assert(used <= court.config->max_buffered || used <= court.used_saved ||
	       used <= court.largest);
}

/* Saved by the judge's own mux, and loaded, and saved once more: that is the same. */
static void check_again(void)
{
	struct blob once, twice;

	blob_init(&once, SIZE_MAX, 0);
	mux_save(court.mux, &once);
	assert(!blob_error(&once));
	end();
	begin();
	assert(load(&once) == 0);
	blob_init(&twice, SIZE_MAX, 0);
	mux_save(court.mux, &twice);
	assert(once.len == twice.len && memcmp(once.bytes, twice.bytes, once.len) == 0);
	blob_deinit(&once);
	blob_deinit(&twice);
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	(void)ctx;
	assert(want > 0 && want <= RX_BORROW_MAX);
	court.lent = want < court.left ? want : court.left;
	for (size_t i = 0; i < court.lent; i++) {
		court.iovs[i] = (struct iovec){ court.memory[i], RX_SIZE };
		court.bufs[i] = (struct rx_buf){ &court.iovs[i], 1, RX_SIZE };
	}
	*bufs = court.bufs;
	return court.lent;
}

/* They are of data that is a message's, or of SHUTDOWN. */
static void check_flags(const struct pkt *pkt)
{
	if (pkt->op == VSOCK_OP_SHUTDOWN)
		return;
	if (pkt->op == VSOCK_OP_RW && pkt->type == VSOCK_TYPE_SEQPACKET)
		assert(pkt->flags & VSOCK_SEQ_EOM || (!pkt->flags && pkt->len));
	else
		assert(!pkt->flags && !pkt->len == (pkt->op != VSOCK_OP_RW));
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	(void)ctx;
	assert(n > 0 && n <= court.lent);
	for (size_t i = 0; i < n; i++) {
		struct iov_cur cur;
		struct pkt pkt;

		assert(lens[i] >= PKT_HDR_SIZE && lens[i] <= RX_SIZE);
		iov_cur_init(&cur, &court.iovs[i], 1);
		assert(!pkt_parse(&pkt, &cur) && lens[i] == PKT_HDR_SIZE + pkt.len);
		check_flags(&pkt);
	}
	court.left -= n;
	court.lent = 0;
}

/* However much there is to say, it comes to an end, or to that of the buffers. */
static void output(size_t n_bufs)
{
	struct rx_sink port = { .borrow = borrow, .used = used };

	court.left = n_bufs;
	while (mux_output(court.mux, &port, court.now_ms) == MUX_E_MORE)
		;
	assert(!court.left || !mux_has_output(court.mux));
	check();
}

static void say(struct conn *c, uint16_t op, uint32_t len)
{
	static uint8_t bytes[65536];
	struct iovec iov = { bytes, len };
	struct pkt pkt = {
		.src = c->guest, .dst = c->peer, .type = (uint16_t)conn_type(c), .op = op,
		.len = len, .flags = VSOCK_SHUTDOWN_SEND, .buf_alloc = 1 << 16, .fwd_cnt = c->credit.sent_to_guest,
	};
	struct iov_cur cur;

	if (op == VSOCK_OP_RW)			/* every other ends a message */
		pkt.flags = court.n_said++ & 1 ? VSOCK_SEQ_EOM : 0;
	iov_cur_init(&cur, &iov, 1);
	mux_input(court.mux, &pkt, &cur, court.now_ms);
}

/* Would it end the connection, because it must not come? */
static bool is_rude(const struct conn *c, uint16_t op)
{
	if (op == VSOCK_OP_RESPONSE)
		return c->state != CONN_REQUESTED;
	if (op == VSOCK_OP_RW)
		return c->state != CONN_OPEN || c->guest_shutdown & VSOCK_SHUTDOWN_SEND;
	return false;
}

/* Says something to each; what is rude only in the last round. */
static void say_all(uint16_t op, uint32_t len, bool is_last)
{
	struct conn *c = conn_table_next(&court.mux->table, NULL), *next;

	for (; c; c = next) {
		uint32_t room = c->credit.buf_alloc -
			(c->credit.received - c->credit.reported_fwd_cnt);

		next = conn_table_next(&court.mux->table, c);
		if (is_last || !is_rude(c, op))
			say(c, op, len < room ? len : room);
		mux_flush(court.mux, court.now_ms);
	}
	check();
}

static void all_ready(void)
{
	struct conn *c = conn_table_next(&court.mux->table, NULL), *next;

	for (; c; c = next) {
		next = conn_table_next(&court.mux->table, c);
		if (!c->stream)
			continue;
		c->stream->ready |= STREAM_IN | STREAM_OUT;
		if (c->state == CONN_CONNECTING) {
			puppet_of(c->stream)->is_pending = false;
			mux_stream_connected(court.mux, c->stream, c->stream, 0, court.now_ms);
		} else {
			mux_stream_ready(court.mux, c->stream, court.now_ms);
		}
	}
	check();
}

static void live(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		bool is_last = i == ROUNDS - 1;

		output(i ? 300 : 3);
		say_all(VSOCK_OP_RW, i ? 65536 : 7, is_last);
		say_all(VSOCK_OP_CREDIT_REQUEST, 0, is_last);
		output(300);
		all_ready();
		say_all(VSOCK_OP_RESPONSE, 0, is_last);
		say_all(VSOCK_OP_RW, 4096, is_last);
		output(300);
		if (i == ROUNDS - 2)
			say_all(VSOCK_OP_SHUTDOWN, 0, is_last);
		court.now_ms += ROUND_MS;
		mux_expire(court.mux, court.now_ms);
		check();
	}
}

static void check_names(const struct conn_names_area *area)
{
	const struct conn_names *names = &court.mux->names;
	uint32_t n = area->n_unnamed;

	for (uint32_t i = 0; i < names->n_rows; i++)
		n += area->rows[i].is_used;
	assert(n == court.mux->table.n + court.mux->replies.n);
}

static void load_names(struct conn_names_area *area, size_t size)
{
	int r = mux_load_names(court.mux, area, size, false, court.now_ms);

	assert(r == 0 || r == MUX_E_NAMES_LOST);
	check();
	check_names(area);
	live();
	check_names(area);
}

void judge(const struct judge_config *config, const struct blob *saved)
{
	size_t size = sizeof(struct conn_names_area) + config->n_names;
	struct conn_names_area *area = calloc(1, size);
	int r;

	if (!area)
		abort();
	if (config->n_names)
		memcpy(area, config->names, config->n_names);
	court.config = config;
	court.now_ms = config->now_ms;
	court.n_said = 0;
	begin();
	r = load(saved);
	court.n_saved = court.mux->n_conns;
	court.used_saved = mux_budget(court.mux)->used;
	court.largest = 0;
	assert(court.n_saved <= saved->len / 48 && court.used_saved <= saved->len);
	check();
	if (r) {
		assert(!config->must_load);
		assert(!court.mux->n_conns && !court.mux->table.n && !court.n_puppets);
		assert(!mux_budget(court.mux)->used && !mux_has_output(court.mux));
		assert(mux_next_deadline(court.mux) == UINT64_MAX);
	} else {
		check_again();
	}
	mux_resume(court.mux, court.now_ms);
	check();
	live();
	load_names(area, size);
	mux_reset(court.mux, court.now_ms);
	while (mux_end_some(court.mux, court.now_ms))
		;
	mux_expire(court.mux, court.now_ms + LINGER_MS);
	assert(!court.mux->n_conns);
	check_names(area);
	end();
	free(area);
}
