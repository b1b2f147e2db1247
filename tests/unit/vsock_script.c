/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a mux by a script of words. */
#include "vsock_script.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "util/blob.h"
#include "util/error.h"
#include "vsock/mux_internal.h"

#define AREA_SIZE mux_names_size(SCRIPT_MAX_CONNS)

static const char *prefix_of(uint32_t guest_port)
{
	return guest_port == 1024 ? "" : "b.";
}

static void on_wake(void *ctx)
{
	((struct script *)ctx)->n_wakes++;
}

static bool open_rx(void *ctx, struct rx_sink *rx)
{
	struct script *s = ctx;

	if (s->keeps_rx)
		return false;
	trace_add(&s->trace, "[");
	*rx = fake_rx_port(&s->rx);
	return true;
}

static void close_rx(void *ctx)
{
	struct script *s = ctx;

	trace_add(&s->trace, "]");
}

static void new_mux(struct script *s)
{
	struct mux_config config = {
		.guest_cid = 3,
		.limits = {
			.tx_buffer_size = SCRIPT_BUF_ALLOC, .max_connections = SCRIPT_MAX_CONNS,
			.max_buffered = 1 << 26, .linger_ms = SCRIPT_LINGER_MS,
		},
		.connect_ms = SCRIPT_CONNECT_MS, .request_ms = SCRIPT_REQUEST_MS,
		.closing_ms = SCRIPT_CLOSING_MS, .hash_seed = 42 + s->n_moves,
		.first_port = 42 + 1000 * s->n_moves, .tag = "test",
		.scratch = &s->scratch, .wake = on_wake, .open_rx = open_rx, .close_rx = close_rx,
		.ctx = s,
	};

	ck_assert_int_eq(mux_new(&s->mux, &config), 0);
	mux_add_backend(s->mux, &s->backend.base);
	mux_set_types(s->mux, s->types);
}

void script_init(struct script *s, size_t rx_size)
{
	memset(s, 0, sizeof *s);
	s->scratch.spill = (struct conn_spill){ s->spill, sizeof s->spill };
	s->types = MUX_STREAMS;
	for (int i = 0; i < SCRIPT_STREAMS; i++)
		fake_stream_init(&s->streams[i], &s->trace, "");
	fake_backend_init(&s->backend, VSOCK_CID_HOST, s->streams, SCRIPT_STREAMS);
	new_mux(s);
	mux_set_running(s->mux, true);
	s->area = calloc(1, AREA_SIZE);
	ck_assert_ptr_nonnull(s->area);
	ck_assert_int_eq(mux_load_names(s->mux, s->area, AREA_SIZE, true, 1000), 0);
	s->n_wakes = 0;
	fake_rx_init(&s->rx, rx_size, 1000, 0);
	s->rx.trace = &s->trace;
	s->rx.prefix = prefix_of;
	for (uint32_t i = 0; i < 2; i++)
		s->conns[i] = (struct script_conn){ 1024 + i, { VSOCK_CID_HOST, 80 }, NULL };
	s->type = VSOCK_TYPE_STREAM;
	s->src_cid = 3;
	s->dst_cid = VSOCK_CID_HOST;
	s->buf_alloc = 1 << 20;
	s->now_ms = 1000;
}

void script_deinit(struct script *s)
{
	mux_free(s->mux);
	fake_rx_deinit(&s->rx);
	free(s->area);
}

/* The area has the name of each connection that the guest may know of, and of each RST that
 * waits: and no others. */
static void check_names(const struct script *s)
{
	uint32_t n = 0;

	if (!s->mux->names.area)		/* a mux of the test's own */
		return;
	for (uint32_t i = 0; i < s->mux->names.n_rows; i++) {
		const struct conn_name *row = &s->area->rows[i];
		const struct vsock_addr peer = { row->peer_cid, row->peer_port };
		const struct conn *c = conn_table_find(&s->mux->table, row->guest_port, &peer);

		if (!row->is_used)
			continue;
		ck_assert_uint_eq(row->is_used, 1);
		ck_assert(s->mux->replies.n ||
			  (c && c->mux.name == i && row->type == conn_type(c)));
		n++;
	}
	ck_assert_uint_eq(n, s->mux->table.n + s->mux->replies.n);
	ck_assert_uint_eq(s->area->n_unnamed, 0);
}

/* What the mux that is left does in its end did not happen: its process is just gone. */
static void leave(struct script *s)
{
	static struct fake_stream streams[SCRIPT_STREAMS];
	static struct trace trace;
	void *area = malloc(AREA_SIZE);

	ck_assert_ptr_nonnull(area);
	memcpy(area, s->area, AREA_SIZE);
	memcpy(streams, s->streams, sizeof streams);
	trace = s->trace;
	mux_free(s->mux);
	memcpy(s->area, area, AREA_SIZE);
	free(area);
	memcpy(s->streams, streams, sizeof streams);
	s->trace = trace;
	for (int i = 0; i < SCRIPT_STREAMS; i++)
		s->streams[i].base.conn = NULL;
}

void script_move(struct script *s)
{
	struct mux_stats before, after;
	uint64_t deadline_ms = mux_next_deadline(s->mux);
	bool is_running = mux_is_running(s->mux);
	struct blob_reader in;
	struct blob blob;

	mux_get_stats(s->mux, &before);
	blob_init(&blob, 1 << 20, 0);
	mux_save(s->mux, &blob);
	ck_assert_int_eq(blob_error(&blob), 0);
	leave(s);
	s->n_moves++;
	new_mux(s);
	blob_read(&in, blob.bytes, blob.len, NULL);
	ck_assert_int_eq(mux_load(s->mux, &in, s->now_ms), 0);
	ck_assert(blob_is_whole(&in));
	blob_deinit(&blob);
	mux_set_running(s->mux, is_running);
	mux_get_stats(s->mux, &after);
	ck_assert_int_eq(memcmp(&before, &after, sizeof before), 0);
	ck_assert_uint_eq(mux_next_deadline(s->mux), deadline_ms);
	mux_resume(s->mux, s->now_ms);
	ck_assert_int_eq(mux_load_names(s->mux, s->area, AREA_SIZE, false, s->now_ms), 0);
	mux_get_stats(s->mux, &before);
	ck_assert_uint_le(before.conns, after.conns);	/* each name is of one that is there */
}

const char *script_trace(const struct script *s)
{
	return s->trace.text;
}

static void send_pkt(struct script *s, struct script_conn *c, uint16_t op, uint32_t flags,
		     char *text)
{
	struct iovec iov = { text, strlen(text) };
	struct pkt pkt = {
		.src = { s->src_cid, c->guest_port }, .dst = { s->dst_cid, c->peer.port },
		.type = s->type, .op = op, .len = (uint32_t)iov.iov_len, .flags = flags,
		.buf_alloc = s->buf_alloc, .fwd_cnt = s->fwd_cnt,
	};
	size_t before = s->backend.n_connects;
	struct iov_cur cur;

	iov_cur_init(&cur, &iov, 1);
	mux_input(s->mux, &pkt, &cur, s->now_ms);
	if (s->backend.n_connects > before) {
		c->stream = &s->streams[before];
		c->stream->prefix = prefix_of(c->guest_port);
	}
}

static uint32_t shutdown_flags(const char *arg)
{
	switch (*arg) {
	case 'r':
		return VSOCK_SHUTDOWN_RCV;
	case 's':
		return VSOCK_SHUTDOWN_SEND;
	case 'b':
		return VSOCK_SHUTDOWN_BOTH;
	default:
		return 0;
	}
}

/* What the guest says. False: not a word of it. */
static bool guest_word(struct script *s, struct script_conn *c, const char *word, char *arg)
{
	static const struct {
		const char *word;
		uint16_t op;
	} ops[] = {
		{ "req", VSOCK_OP_REQUEST }, { "resp", VSOCK_OP_RESPONSE },
		{ "rst", VSOCK_OP_RST }, { "update", VSOCK_OP_CREDIT_UPDATE },
		{ "request", VSOCK_OP_CREDIT_REQUEST },
	};
	static const struct {
		const char *word;
		uint32_t flags;
	} rws[] = {
		{ "rw", 0 }, { "eom", VSOCK_SEQ_EOM }, { "eor", VSOCK_SEQ_EOM | VSOCK_SEQ_EOR },
		{ "not_eom", ~(uint32_t)VSOCK_SEQ_EOM },
	};
	char none[1] = "";

	for (int i = 0; i < COUNT(ops); i++) {
		if (strcmp(word, ops[i].word) == 0) {
			send_pkt(s, c, ops[i].op, 0, none);
			return true;
		}
	}
	for (int i = 0; i < COUNT(rws); i++) {
		if (strcmp(word, rws[i].word) == 0) {
			send_pkt(s, c, VSOCK_OP_RW, rws[i].flags, arg);
			return true;
		}
	}
	if (strcmp(word, "shut") == 0)
		send_pkt(s, c, VSOCK_OP_SHUTDOWN, shutdown_flags(arg), none);
	else if (strcmp(word, "op") == 0)
		send_pkt(s, c, (uint16_t)atoi(arg), 0, none);
	else
		return false;
	return true;
}

static void ready(struct script *s, struct script_conn *c, unsigned events)
{
	ck_assert_ptr_nonnull(c->stream);
	ck_assert(!c->stream->is_closed);
	c->stream->base.ready |= events;
	mux_stream_ready(s->mux, &c->stream->base, s->now_ms);
}

/* "no_reader", "reset", or the number of an errno. */
static int outcome(const char *arg)
{
	return strcmp(arg, "no_reader") == 0 ? STREAM_E_NO_READER :
		strcmp(arg, "reset") == 0 ? STREAM_E_RESET : -atoi(arg);
}

static void host_connects(struct script *s, struct script_conn *c)
{
	int r;

	c->stream = &s->streams[s->backend.n_connects++];
	c->stream->prefix = prefix_of(c->guest_port);
	c->stream->base.type = s->type;
	r = mux_connect_from_host(s->mux, &c->stream->base, VSOCK_CID_HOST, c->guest_port,
				  s->now_ms);
	if (r)
		trace_add(&s->trace, "%s", r == BACKEND_E_NO_GUEST ? "NO_GUEST" :
			  r == BACKEND_E_NO_TYPE ? "NO_TYPE" : "FULL");
}

/* What only a stream of messages does. False: not a word of it. */
static bool message_word(struct script *s, struct script_conn *c, const char *word, const char *arg)
{
	static char many[sizeof c->stream->give];

	if (!c->stream || c->stream->base.type != VSOCK_TYPE_SEQPACKET)
		return false;
	memset(many, 'x', sizeof many);
	if (strcmp(word, "give") == 0)
		fake_stream_give_message(c->stream, arg, strlen(arg), 0);
	else if (strcmp(word, "record") == 0)
		fake_stream_give_message(c->stream, arg, strlen(arg), VSOCK_SEQ_EOR);
	else if (strcmp(word, "more") == 0)
		fake_stream_give_message(c->stream, many, strtoul(arg, NULL, 10), 0);
	else
		return false;
	ready(s, c, STREAM_IN);
	return true;
}

/* What is not taken out of turn waits, and an event tells. */
static void push(struct script *s, struct script_conn *c, const char *bytes)
{
	struct fake_stream *f = c->stream;

	memcpy(f->give + f->n_give, bytes, strlen(bytes));
	f->n_give += strlen(bytes);
	f->base.ready |= STREAM_IN;
	mux_push(s->mux, &f->base, s->now_ms);
	if (f->n_give)
		ready(s, c, STREAM_IN);
}

/* What the host's side does. False: not a word of it. */
static bool host_word(struct script *s, struct script_conn *c, const char *word, const char *arg)
{
	struct fake_stream *f = c->stream;

	if (message_word(s, c, word, arg))
		return true;
	if (strcmp(word, "connect") == 0) {
		host_connects(s, c);
	} else if (strcmp(word, "connected") == 0) {
		f->is_pending = false;
		mux_stream_connected(s->mux, &f->base, &f->base, -atoi(arg), s->now_ms);
	} else if (strcmp(word, "give") == 0) {
		memcpy(f->give + f->n_give, arg, strlen(arg));
		f->n_give += strlen(arg);
		ready(s, c, STREAM_IN);
	} else if (strcmp(word, "push") == 0) {
		push(s, c, arg);
	} else if (strcmp(word, "more") == 0) {
		f->n_more += strtoul(arg, NULL, 10);
		ready(s, c, STREAM_IN);
	} else if (strcmp(word, "eof") == 0) {
		f->end = STREAM_E_EOF;
		ready(s, c, STREAM_IN);
	} else if (strcmp(word, "closed") == 0) {
		f->end = STREAM_E_CLOSED;
		ready(s, c, STREAM_IN | STREAM_OUT | STREAM_HUP);
	} else if (strcmp(word, "hup") == 0) {
		ready(s, c, STREAM_IN | STREAM_OUT | STREAM_HUP);
	} else if (strcmp(word, "fail") == 0) {
		f->end = outcome(arg);
		ready(s, c, STREAM_IN | STREAM_OUT);
	} else if (strcmp(word, "full") == 0) {
		f->takes = 0;
	} else if (strcmp(word, "takes") == 0) {
		f->takes += strtoul(arg, NULL, 10);
		ready(s, c, STREAM_OUT);
	} else if (strcmp(word, "max") == 0) {
		f->message_max = strtoul(arg, NULL, 10);
	} else if (strcmp(word, "deaf") == 0) {
		f->takes = 0;
		f->write_error = outcome(arg);
		ready(s, c, STREAM_OUT);
	} else if (strcmp(word, "stops") == 0) {
		f->takes = 0;
		f->write_error = outcome(arg);
	} else if (strcmp(word, "reads_no_more") == 0) {
		ready(s, c, STREAM_READ_CLOSED);
	} else if (strcmp(word, "window") == 0) {
		f->base.consumed = &f->by_peer;
		f->base.peer_window = (uint32_t)strtoul(arg, NULL, 10);
	} else if (strcmp(word, "consumed") == 0) {
		atomic_store(&f->by_peer, (uint32_t)strtoul(arg, NULL, 10));
		ready(s, c, 0);
	} else if (strcmp(word, "consumed_untold") == 0) {
		atomic_store(&f->by_peer, (uint32_t)strtoul(arg, NULL, 10));
	} else if (strcmp(word, "waits") == 0) {
		trace_add(&s->trace, "waits:%s%s", f->waits_for & STREAM_IN ? "i" : "",
			  f->waits_for & STREAM_OUT ? "o" : "");
	} else {
		return false;
	}
	return true;
}

static void other_word(struct script *s, const char *word, const char *arg)
{
	if (strcmp(word, "refuse") == 0) {
		s->backend.result = -atoi(arg);
	} else if (strcmp(word, "stay") == 0) {
		s->is_moving = false;
	} else if (strcmp(word, "move") == 0) {
		script_move(s);
	} else if (strcmp(word, "pending") == 0) {
		s->backend.result = BACKEND_E_PENDING;
	} else if (strcmp(word, "at_once") == 0) {
		s->backend.result = 0;
	} else if (*word == '+') {
		s->now_ms += strtoul(word + 1, NULL, 10);
		mux_expire(s->mux, s->now_ms);
	} else if (strcmp(word, "starve") == 0) {
		s->rx.left = 0;
	} else if (strcmp(word, "feed") == 0) {
		s->rx.left += strtoul(arg, NULL, 10);
	} else if (strcmp(word, "reset") == 0) {
		mux_reset(s->mux, s->now_ms);
	} else if (strcmp(word, "abort") == 0) {
		mux_abort(s->mux, s->now_ms);
	} else if (strcmp(word, "stopped") == 0) {
		mux_set_running(s->mux, false);
	} else if (strcmp(word, "seq") == 0) {
		s->type = VSOCK_TYPE_SEQPACKET;
		s->types = MUX_STREAMS | MUX_SEQPACKETS;
		mux_set_types(s->mux, s->types);
	} else if (strcmp(word, "types") == 0) {
		s->types = (unsigned)atoi(arg);
		mux_set_types(s->mux, s->types);
	} else if (strcmp(word, "type") == 0) {
		s->type = (uint16_t)atoi(arg);
	} else if (strcmp(word, "keep_rx") == 0) {
		s->keeps_rx = true;
	} else if (strcmp(word, "src") == 0) {
		s->src_cid = strtoull(arg, NULL, 10);
	} else if (strcmp(word, "dst") == 0) {
		s->dst_cid = strtoull(arg, NULL, 10);
	} else if (strcmp(word, "credit") == 0) {
		s->buf_alloc = (uint32_t)strtoul(arg, NULL, 10);
		s->fwd_cnt = (uint32_t)strtoul(strchr(arg, ',') + 1, NULL, 10);
	} else {
		ck_abort_msg("unknown word %s", word);
	}
}

/* The mux speaks, and the peer of a connection that it asks for is learnt. */
static void speak(struct script *s)
{
	struct rx_sink port = fake_rx_port(&s->rx);
	size_t requests = s->rx.n_ops[VSOCK_OP_REQUEST];
	size_t updates = s->rx.n_ops[VSOCK_OP_CREDIT_UPDATE];
	int r, turns = 0;

	mux_flush(s->mux, s->now_ms);
	do {
		r = mux_output(s->mux, &port, s->now_ms);
		ck_assert_int_lt(turns++, 100);
		if (s->rx.n_ops[VSOCK_OP_REQUEST] > requests)
			s->conns[s->rx.last.dst.port - 1024].peer = s->rx.last.src;
	} while (r == MUX_E_MORE);
	if (s->rx.n_ops[VSOCK_OP_CREDIT_UPDATE] > updates &&
	    (s->streams[0].base.consumed || s->rx.last.type == VSOCK_TYPE_SEQPACKET))
		trace_add(&s->trace, "fwd:%u", s->rx.last.fwd_cnt);
	ck_assert_int_eq(r, mux_has_output(s->mux) ? MUX_E_STARVED : 0);
}

static void run_word(struct script *s, char *word)
{
	size_t len = strlen(word);
	bool is_held = word[len - 1] == '&', is_b = strncmp(word, "b.", 2) == 0;
	struct script_conn *c = &s->conns[is_b];
	char *arg;

	if (is_held)
		word[len - 1] = '\0';
	word += is_b ? 2 : 0;
	arg = strchr(word, ':');
	if (arg)
		*arg++ = '\0';
	else
		arg = word + strlen(word);
	if (!guest_word(s, c, word, arg) && !host_word(s, c, word, arg))
		other_word(s, word, arg);
	if (is_held)
		return;
	speak(s);
	check_names(s);
	if (s->is_moving) {
		script_move(s);
		speak(s);
		check_names(s);
	}
}

void script_run(struct script *s, const char *words)
{
	char *copy = strdup(words), *rest = copy;

	for (char *word; (word = strsep(&rest, " ")); )
		if (*word)
			run_word(s, word);
	free(copy);
}
