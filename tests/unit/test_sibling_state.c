/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sibling connections that another process takes over: both ends are saved, the process with its
 * VMs ends, and another loads them, in either order.
 */
#include "backend/sibling.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "unit.h"
#include "util/blob.h"
#include "util/byte_ring.h"
#include "util/error.h"

enum { OPENER, OTHER, WINDOW = 4096, SMALL = 4096, LARGE = 128 * 1024, BUDGET = 1 << 20, PORT = 1234 };
enum { CONNS = 2 };

static char group[] = "group";
static char *const groups[] = { group };
static const struct vsock_addr src = { 3, 1024 }, dst = { 4, PORT };

/* The core of one VM: what it is told. */
struct mux {
	struct byte_budget *budget;
	struct stream *streams[CONNS];		/* in the order of their beginning */
	size_t n_streams;
	unsigned n_connected, n_asked;
	int error;				/* of the last connect */
	bool refuses;
};

static struct mux muxes[2];
static struct mailbox *boxes[2];
static struct backend *backends[2];
static struct sibling_dir *dir;
static struct loop *loop;
static struct blob blobs[2][CONNS];		/* what was saved of each stream */
static uint64_t budget_max;
static size_t n_vms;

static size_t place_of(const struct mux *mux, const struct stream *s)
{
	size_t i = 0;

	while (mux->streams[i] != s)
		ck_assert_uint_lt(++i, CONNS);
	return i;
}

static void close_stream(int side, size_t i, bool is_orderly)
{
	struct stream *s = muxes[side].streams[i];

	muxes[side].streams[i] = NULL;
	s->ops->close(s, is_orderly);
}

struct byte_budget *mux_budget(struct mux *mux)
{
	return mux->budget;
}

uint32_t mux_window(const struct mux *mux)
{
	return WINDOW * (mux == &muxes[OPENER] ? 1 : 2);
}

void mux_set_siblings(struct mux *mux, size_t n)
{
	(void)mux, (void)n;
}

/* Each VM has a worker of its own. */
void mux_push(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	(void)mux, (void)s, (void)now_ms;
	ck_abort_msg("pushed");
}

bool mux_is_lost(const struct mux *mux)
{
	(void)mux;
	return false;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	(void)now_ms;
	place_of(mux, s);
}

void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms)
{
	(void)now_ms;
	ck_assert_ptr_eq(s, live);
	mux->n_connected++;
	mux->error = error;
	if (error)
		close_stream((int)(mux - muxes), place_of(mux, s), false);
}

int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms)
{
	(void)now_ms;
	ck_assert(from->cid == src.cid && from->port == src.port && port == PORT);
	mux->n_asked++;
	if (mux->refuses)
		return BACKEND_E_NO_GUEST;
	mux->streams[mux->n_streams++] = stream;
	return 0;
}

static void begin_process(void)
{
	struct sibling_entry *entries[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(sibling_dir_new(&dir), 0);
	for (unsigned i = 0; i < 2; i++) {
		muxes[i] = (struct mux){ .budget = byte_budget_new(budget_max) };
		ck_assert_int_eq(mailbox_new(&boxes[i], loop), 0);
		if (i < n_vms)
			ck_assert_int_eq(sibling_dir_add(dir, 3 + i, groups, 1, boxes[i],
							 &entries[i]), 0);
	}
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	for (unsigned i = 0; i < n_vms; i++) {
		struct sibling_config config = {
			.dir = dir, .self = entries[i], .loop = loop, .mux = &muxes[i],
		};

		ck_assert_int_eq(sibling_new(&backends[i], &config), 0);
	}
}

/* As long as there is mail. */
static void settle(void)
{
	bool had_mail;

	do {
		had_mail = mailbox_deliver(boxes[OTHER]);
		had_mail |= mailbox_deliver(boxes[OPENER]);
	} while (had_mail);
}

static void close_all(void)
{
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < CONNS; i++)
			if (muxes[side].streams[i])
				close_stream(side, i, true);
		muxes[side].n_streams = 0;
	}
	settle();
	for (int side = 0; side < 2; side++) {
		ck_assert_uint_eq(muxes[side].budget->used, 0);
		ck_assert_uint_eq(muxes[side].budget->refs, 1);
	}
}

/* Whatever it has is closed; all memory is given back, and no mail is left. */
static void end_process(void)
{
	close_all();
	for (int i = 0; i < 2; i++) {
		if (backends[i])
			backends[i]->ops->free(backends[i]);
		backends[i] = NULL;
	}
	sibling_dir_free(dir);
	for (int i = 0; i < 2; i++) {
		mailbox_free(boxes[i]);
		byte_budget_unref(muxes[i].budget);
	}
	loop_free(loop);
}

static void setup(void)
{
	budget_max = BUDGET;
	n_vms = 2;
	begin_process();
}

static void teardown(void)
{
	end_process();
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < CONNS; i++)
			blob_deinit(&blobs[side][i]);
}

static void save(void)
{
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < CONNS; i++) {
			struct stream *s = muxes[side].streams[i];

			blob_deinit(&blobs[side][i]);
			blob_init(&blobs[side][i], 1 << 20, 0);
			if (s)
				s->ops->save(s, &blobs[side][i]);
			ck_assert_int_eq(blob_error(&blobs[side][i]), 0);
		}
	}
}

static int load_from(int side, const uint8_t *bytes, size_t len)
{
	struct mux *mux = &muxes[side];
	const struct vsock_addr *guest = side == OPENER ? &src : &dst;
	const struct vsock_addr *peer = side == OPENER ? &dst : &src;
	struct stream *s = NULL;
	struct blob_reader in;
	int r;

	blob_read(&in, bytes, len, NULL);
	r = backends[side]->ops->load_stream(backends[side], guest, peer, &in, &s);
	ck_assert(s ? r == 0 || r == BACKEND_E_PENDING : r && r != BACKEND_E_PENDING);
	if (s)
		mux->streams[mux->n_streams++] = s;
	return r;
}

static void load(int side)
{
	for (size_t i = 0; i < CONNS; i++)
		if (blobs[side][i].len)
			load_from(side, blobs[side][i].bytes, blobs[side][i].len);
}

static void resume(void)
{
	for (int i = 0; i < 2; i++)
		if (backends[i])
			backends[i]->ops->resume(backends[i]);
	settle();
}

/* Another process: @first is the side that is loaded first. */
static void move(int first)
{
	save();
	end_process();
	begin_process();
	load(first);
	load(1 - first);
	resume();
}

static enum vsock_type type = VSOCK_TYPE_STREAM;

static void begin(void)
{
	struct mux *mux = &muxes[OPENER];
	struct backend *b = backends[OPENER];

	ck_assert_int_eq(b->ops->connect(b, type, &src, &dst, &mux->streams[mux->n_streams]),
			 BACKEND_E_PENDING);
	mux->n_streams++;
}

static void accept_last(void)
{
	struct stream *s = muxes[OTHER].streams[muxes[OTHER].n_streams - 1];

	s->ops->accepted(s, &dst);
}

static void connect_both(void)
{
	begin();
	settle();
	accept_last();
	settle();
	ck_assert_uint_ge(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, 0);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* @len bytes of a stream, from its byte @at on; what write said. */
static int put(int side, size_t i, size_t at, size_t len)
{
	static uint8_t bytes[LARGE];
	struct stream *s = muxes[side].streams[i];
	size_t n = 0;
	int r;

	for (size_t k = 0; k < len; k++)
		bytes[k] = byte_at(at + k);
	r = s->ops->write(s, &(struct iovec){ bytes, len }, 1, &n);
	ck_assert_uint_eq(n, r ? 0 : len);
	return r;
}

/* Just @len of them. */
static void get(int side, size_t i, size_t at, size_t len)
{
	static uint8_t bytes[LARGE], expected[LARGE];
	struct stream *s = muxes[side].streams[i];
	size_t n;

	for (size_t k = 0; k < len; k++)
		expected[k] = byte_at(at + k);
	for (size_t done = 0; done < len; done += n) {
		ck_assert_int_eq(s->ops->read(s, &(struct iovec){ bytes, len - done }, 1, &n), 0);
		ck_assert_mem_eq(bytes, expected + done, n);
	}
}

static void expect_read(int side, int result)
{
	struct stream *s = muxes[side].streams[0];
	char byte;
	size_t n;

	ck_assert_int_eq(s->ops->read(s, &(struct iovec){ &byte, 1 }, 1, &n), result);
}

static const size_t sizes[] = { 0, 1, SMALL - 1, SMALL, SMALL + 1, LARGE };

/* _i: how much is on the way, and who is loaded first. Then they go on. */
START_TEST(bytes_on_the_way)
{
	size_t n = sizes[_i / 2];

	connect_both();
	if (n) {
		ck_assert_int_eq(put(OPENER, 0, 0, n), 0);
		ck_assert_int_eq(put(OTHER, 0, 0, n), 0);
	}
	move(_i % 2);
	ck_assert_uint_eq(muxes[OPENER].n_connected + muxes[OTHER].n_asked, 0);
	ck_assert_uint_ge(muxes[OPENER].budget->used, n);
	for (int side = 0; side < 2; side++) {
		ck_assert_uint_eq(muxes[side].streams[0]->ready, STREAM_IN | STREAM_OUT);
		get(side, 0, 0, n);
		expect_read(side, STREAM_E_AGAIN);
	}
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(put(side, 0, n, 1000), 0);
		settle();
		get(1 - side, 0, n, 1000);
	}
}
END_TEST

/* What is in a pipe goes round in its memory. */
START_TEST(in_two_pieces)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, SMALL - 10), 0);
	get(OTHER, 0, 0, SMALL - 20);
	ck_assert_int_eq(put(OPENER, 0, SMALL - 10, 1000), 0);
	for (int i = 0; i < 4; i++)		/* and moved again and again, it is the same */
		move(i % 2);
	get(OTHER, 0, SMALL - 20, 1010);
	expect_read(OTHER, STREAM_E_AGAIN);
}
END_TEST

START_TEST(a_full_pipe)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, SMALL), 0);
	ck_assert_int_eq(put(OPENER, 0, 0, 1), STREAM_E_AGAIN);
	move(_i);
	ck_assert_int_eq(put(OPENER, 0, 0, 1), STREAM_E_AGAIN);
	ck_assert_uint_eq(muxes[OPENER].streams[0]->ready & STREAM_OUT, 0);
	get(OTHER, 0, 0, SMALL);
	settle();
	ck_assert_uint_eq(muxes[OPENER].streams[0]->ready & STREAM_OUT, STREAM_OUT);
	ck_assert_int_eq(put(OPENER, 0, 0, 1), 0);
}
END_TEST

/* What each guest has consumed, and how much may be on the way. */
START_TEST(counters)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, 1000), 0);
	get(OTHER, 0, 0, 1000);
	muxes[OTHER].streams[0]->ops->consumed(muxes[OTHER].streams[0], 700);
	move(_i);
	ck_assert_uint_eq(*muxes[OPENER].streams[0]->consumed, 700);
	ck_assert_uint_eq(*muxes[OTHER].streams[0]->consumed, 0);
	ck_assert_uint_eq(muxes[OPENER].streams[0]->peer_window, 2 * WINDOW);
	ck_assert_uint_eq(muxes[OTHER].streams[0]->peer_window, WINDOW);
	muxes[OTHER].streams[0]->ops->consumed(muxes[OTHER].streams[0], 1000);
	ck_assert_uint_eq(*muxes[OPENER].streams[0]->consumed, 1000);
}
END_TEST

/* Saved again, it is the same but for its number. */
START_TEST(saved_again)
{
	uint8_t before[2][200];

	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, 2000), 0);
	get(OTHER, 0, 0, 1950);
	muxes[OTHER].streams[0]->ops->consumed(muxes[OTHER].streams[0], 1500);
	settle();
	move(_i);
	for (int side = 0; side < 2; side++) {
		ck_assert_uint_le(blobs[side][0].len, sizeof before[side]);
		memcpy(before[side], blobs[side][0].bytes, blobs[side][0].len);
	}
	move(_i);
	for (int side = 0; side < 2; side++)
		ck_assert_mem_eq(before[side] + 24, blobs[side][0].bytes + 24,
				 blobs[side][0].len - 24);
}
END_TEST

/* ---- connects ---- */

START_TEST(not_asked_yet)
{
	begin();				/* the mail that asks is lost */
	move(_i);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 1);
	accept_last();
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, 0);
	ck_assert_uint_eq(muxes[OPENER].streams[0]->peer_window, 2 * WINDOW);
	ck_assert_uint_eq(muxes[OTHER].streams[0]->peer_window, WINDOW);
	ck_assert_int_eq(put(OPENER, 0, 0, 100), 0);
	get(OTHER, 0, 0, 100);
}
END_TEST

START_TEST(asked)
{
	begin();
	settle();
	move(_i);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 0);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 0);
	accept_last();
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, 0);
	ck_assert_uint_eq(muxes[OPENER].streams[0]->peer_window, 2 * WINDOW);
	ck_assert_int_eq(put(OTHER, 0, 0, 100), 0);
	get(OPENER, 0, 0, 100);
}
END_TEST

START_TEST(accepted)
{
	begin();
	settle();
	accept_last();				/* the mail that tells is lost */
	ck_assert_int_eq(put(OTHER, 0, 0, 100), 0);
	move(_i);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, 0);
	get(OPENER, 0, 0, 100);
}
END_TEST

START_TEST(refused)
{
	muxes[OTHER].refuses = true;
	begin();
	mailbox_deliver(boxes[OTHER]);
	move(_i);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 0);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, BACKEND_E_NOBODY);
}
END_TEST

/* The other VM is not there any more. */
START_TEST(nobody_to_ask)
{
	begin();
	save();
	end_process();
	n_vms = 1;
	begin_process();
	ck_assert_int_eq(load_from(OPENER, blobs[OPENER][0].bytes, blobs[OPENER][0].len),
			 BACKEND_E_DENIED);
	n_vms = 2;
}
END_TEST

/* ---- ends ---- */

START_TEST(half_closed)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, 100), 0);
	muxes[OPENER].streams[0]->ops->shutdown(muxes[OPENER].streams[0], SHUT_WR);
	move(_i);
	get(OTHER, 0, 0, 100);
	expect_read(OTHER, STREAM_E_EOF);
	ck_assert_int_eq(put(OTHER, 0, 0, 100), 0);
	get(OPENER, 0, 0, 100);
}
END_TEST

START_TEST(reads_no_more)
{
	connect_both();
	muxes[OPENER].streams[0]->ops->shutdown(muxes[OPENER].streams[0], SHUT_RD);
	move(_i);
	ck_assert_uint_ne(muxes[OTHER].streams[0]->ready & STREAM_READ_CLOSED, 0);
	ck_assert_int_eq(put(OTHER, 0, 0, 100), STREAM_E_NO_READER);
}
END_TEST

/* One core is done with it: what it has left waits for the other. _i: orderly? who? */
START_TEST(closed_by_one)
{
	int side = _i % 2, first = _i / 2 % 2;
	bool is_orderly = _i / 4;

	connect_both();
	ck_assert_int_eq(put(side, 0, 0, LARGE), 0);
	close_stream(side, 0, is_orderly);
	for (int i = 0; i < 3; i++)
		move(first);
	ck_assert_ptr_null(muxes[side].streams[0]);
	ck_assert_uint_ne(muxes[1 - side].streams[0]->ready & STREAM_HUP, 0);
	ck_assert_uint_eq(muxes[1 - side].budget->used, LARGE);
	get(1 - side, 0, 0, LARGE);
	settle();
	ck_assert_uint_eq(muxes[1 - side].budget->used, 0);
	expect_read(1 - side, is_orderly ? STREAM_E_CLOSED : STREAM_E_RESET);
	ck_assert_int_eq(put(1 - side, 0, 0, 1), STREAM_E_RESET);
}
END_TEST

/* It was not read to the end by the one, so the other has lost something. */
START_TEST(closed_over_unread)
{
	connect_both();
	ck_assert_int_eq(put(OTHER, 0, 0, 100), 0);
	close_stream(OPENER, 0, true);
	move(_i);
	expect_read(OTHER, STREAM_E_RESET);
}
END_TEST

/* The other half did not come: what came before is read, and then it is reset. */
START_TEST(alone)
{
	int side = _i;

	connect_both();
	ck_assert_int_eq(put(1 - side, 0, 0, 100), 0);
	save();
	end_process();
	begin_process();
	load(side);
	resume();
	ck_assert_uint_ne(muxes[side].streams[0]->ready & STREAM_HUP, 0);
	expect_read(side, STREAM_E_RESET);
	ck_assert_int_eq(put(side, 0, 0, 1), STREAM_E_RESET);
}
END_TEST

START_TEST(alone_and_connecting)
{
	begin();
	settle();
	save();
	end_process();
	begin_process();
	load(OPENER);
	resume();
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, BACKEND_E_NOBODY);
}
END_TEST

/* The first to be loaded is closed before the second comes, or does not wait for it. */
START_TEST(too_late)
{
	int first = _i % 2;

	connect_both();
	save();
	end_process();
	begin_process();
	load(first);
	if (_i / 2)
		close_stream(first, 0, true);
	else
		resume();
	load(1 - first);
	resume();
	expect_read(1 - first, STREAM_E_RESET);
}
END_TEST

/* A name that a guest uses anew while its earlier connection still drains. */
START_TEST(two_of_one_name)
{
	connect_both();
	connect_both();
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(put(OPENER, i, 1000 * i, 100), 0);
		ck_assert_int_eq(put(OTHER, i, 5000 * (i + 1), 100), 0);
	}
	save();
	end_process();
	begin_process();
	load_from(OPENER, blobs[OPENER][1].bytes, blobs[OPENER][1].len);
	load_from(OTHER, blobs[OTHER][0].bytes, blobs[OTHER][0].len);
	load_from(OPENER, blobs[OPENER][0].bytes, blobs[OPENER][0].len);
	load_from(OTHER, blobs[OTHER][1].bytes, blobs[OTHER][1].len);
	resume();
	for (size_t i = 0; i < 2; i++) {
		get(OTHER, i, 1000 * i, 100);
		get(OPENER, 1 - i, 5000 * (i + 1), 100);
	}
}
END_TEST

/* ---- what was not saved by us ---- */

static void expect_refused(int side, const uint8_t *bytes, size_t len, int result)
{
	uint8_t *copy = malloc(len ? len : 1);	/* of just the size */

	memcpy(copy, bytes, len);
	ck_assert_int_eq(load_from(side, copy, len), result);
	free(copy);
	settle();
	ck_assert_uint_eq(muxes[side].budget->used, 0);
	ck_assert_uint_eq(muxes[side].budget->refs, 1);
}

START_TEST(too_little_memory)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, LARGE), 0);
	save();
	end_process();
	budget_max = SMALL;
	begin_process();
	muxes[OPENER].budget->used = 1;		/* of another connection */
	ck_assert_int_eq(load_from(OPENER, blobs[OPENER][0].bytes, blobs[OPENER][0].len),
			 -ENOBUFS);
	settle();
	ck_assert_uint_eq(muxes[OPENER].budget->used, 1);
	muxes[OPENER].budget->used = 0;
	load(OTHER);				/* it has nothing to do with it any more */
	resume();
	expect_read(OTHER, STREAM_E_RESET);
}
END_TEST

/* With both ends, or a closed one, saved. */
static void make(bool is_closed)
{
	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, 20), 0);
	ck_assert_int_eq(put(OTHER, 0, 0, 30), 0);
	if (is_closed)
		close_stream(OTHER, 0, false);
	save();
	end_process();
	begin_process();
}

START_TEST(cut_anywhere)
{
	make(_i);
	for (size_t n = 0; n < blobs[OPENER][0].len; n++)
		expect_refused(OPENER, blobs[OPENER][0].bytes, n, BACKEND_E_BAD_STATE);
}
END_TEST

/* Any byte, whatever it says: refused or loaded; and its end is sound. */
START_TEST(any_byte_changed)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 0x7f, 0x80, 0xff };
	struct blob *b;

	make(_i);
	b = &blobs[OPENER][0];
	for (size_t at = 0; at < b->len; at++) {
		for (int v = 0; v < COUNT(values); v++) {
			uint8_t was = b->bytes[at];
			char got[100];
			size_t n;

			b->bytes[at] = values[v];
			load_from(OPENER, b->bytes, b->len);
			load(OTHER);
			resume();
			for (int side = 0; side < 2; side++) {
				struct stream *s = muxes[side].streams[0];

				if (s)
					s->ops->read(s, &(struct iovec){ got, sizeof got }, 1, &n);
			}
			close_all();
			b->bytes[at] = was;
		}
	}
}
END_TEST

/* Places in a section after its head: the number, then these. */
enum { AT_ROLE = 16 + 8, AT_PHASE, AT_FLAGS, AT_N_OUT = 16 + 27, AT_OTHER = AT_N_OUT + 4 + 20 };

static const struct {
	const char *name;
	size_t at;
	uint8_t value;
	int result;
} lies[] = {
	{ "the truth", AT_ROLE, 1, 0 },
	{ "no number", 16, 0, BACKEND_E_BAD_STATE },
	{ "another role", AT_ROLE, 2, BACKEND_E_BAD_STATE },
	{ "pending, with bytes", AT_PHASE, 0, BACKEND_E_BAD_STATE },
	{ "incoming", AT_PHASE, 1, BACKEND_E_BAD_STATE },
	{ "closed", AT_PHASE, 3, BACKEND_E_BAD_STATE },
	{ "closed by its flags", AT_FLAGS, 8, BACKEND_E_BAD_STATE },
	{ "aborted", AT_FLAGS, 16, BACKEND_E_BAD_STATE },
	{ "unknown flags", AT_FLAGS, 32, BACKEND_E_BAD_STATE },
	{ "live, and the other not asked", AT_OTHER, 1, BACKEND_E_BAD_STATE },
	{ "the other closed, without a word of it", AT_OTHER, 2, BACKEND_E_BAD_STATE },
	{ "another other", AT_OTHER, 3, BACKEND_E_BAD_STATE },
};

START_TEST(a_lie)
{
	struct blob *b;

	make(false);
	b = &blobs[OPENER][0];
	ck_assert_uint_eq(b->bytes[AT_PHASE], 2);
	ck_assert_uint_eq(b->bytes[AT_N_OUT], 20);
	ck_assert_uint_eq(b->len, AT_OTHER + 1);
	b->bytes[lies[_i].at] = lies[_i].value;
	if (lies[_i].result)
		expect_refused(OPENER, b->bytes, b->len, lies[_i].result);
	else
		ck_assert_int_eq(load_from(OPENER, b->bytes, b->len), 0);
}
END_TEST

/* The same end twice: the second stays alone. */
START_TEST(twice)
{
	make(false);
	load(OPENER);
	load_from(OPENER, blobs[OPENER][0].bytes, blobs[OPENER][0].len);
	load(OTHER);
	resume();
	get(OTHER, 0, 0, 20);
	get(OPENER, 0, 0, 30);
	ck_assert_uint_ne(muxes[OPENER].streams[1]->ready & STREAM_HUP, 0);
}
END_TEST

/* More bytes than a pipe holds. */
START_TEST(too_many_bytes)
{
	struct blob *b;
	static uint8_t more[LARGE];
	uint32_t n = LARGE + 1;

	connect_both();
	ck_assert_int_eq(put(OPENER, 0, 0, LARGE), 0);
	save();
	end_process();
	begin_process();
	b = &blobs[OPENER][0];
	memcpy(more, b->bytes + b->len - 1, 1);
	b->len--;
	blob_put_bytes(b, "x", 1);
	blob_put_bytes(b, more, 1);
	memcpy(b->bytes + AT_N_OUT, &n, sizeof n);
	n = (uint32_t)b->len - 16;
	memcpy(b->bytes + 8, &n, sizeof n);
	expect_refused(OPENER, b->bytes, b->len, BACKEND_E_BAD_STATE);
}
END_TEST

/* ---- messages ---- */

/* Each test is a process of its own. */
static void connect_messages(void)
{
	type = VSOCK_TYPE_SEQPACKET;
	connect_both();
}

static int put_message(int side, size_t at, size_t len, uint32_t flags)
{
	static uint8_t bytes[4 * LARGE];
	struct stream *s = muxes[side].streams[0];

	for (size_t k = 0; k < len; k++)
		bytes[k] = byte_at(at + k);
	return s->ops->write_message(s, &(struct iovec){ bytes, len }, 1, flags);
}

static void get_message(int side, size_t at, size_t len, uint32_t flags)
{
	static uint8_t bytes[4 * LARGE], expected[4 * LARGE];
	struct stream *s = muxes[side].streams[0];
	uint32_t got_flags = 4711;
	size_t n = 4711;

	for (size_t k = 0; k < len; k++)
		expected[k] = byte_at(at + k);
	ck_assert_int_eq(s->ops->read_message(s, &(struct iovec){ bytes, sizeof bytes }, 1, &n,
					      &got_flags), 0);
	ck_assert_uint_eq(n, len);
	ck_assert_uint_eq(got_flags, flags);
	ck_assert_mem_eq(bytes, expected, len);
}

/* Whatever type it has been loaded as; result, not what. */
static int read_any(struct stream *s)
{
	struct iovec iov = { (char[100]){ 0 }, 100 };
	uint32_t flags;
	size_t n;

	return s->type == VSOCK_TYPE_SEQPACKET ? s->ops->read_message(s, &iov, 1, &n, &flags) :
		s->ops->read(s, &iov, 1, &n);
}

/* _i: who is loaded first. They are neither merged nor lost, empty ones and long ones. */
START_TEST(messages_on_the_way)
{
	connect_messages();
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(put_message(side, 0, 10, 0), 0);
		ck_assert_int_eq(put_message(side, 10, 0, VSOCK_SEQ_EOR), 0);
		ck_assert_int_eq(put_message(side, 10, 5, VSOCK_SEQ_EOR), 0);
	}
	get_message(OTHER, 0, 10, 0);
	for (int i = 0; i < 3; i++)
		move((_i + i) % 2);
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(muxes[side].streams[0]->type, VSOCK_TYPE_SEQPACKET);
		if (side == OPENER)
			get_message(side, 0, 10, 0);
		get_message(side, 10, 0, VSOCK_SEQ_EOR);
		get_message(side, 10, 5, VSOCK_SEQ_EOR);
		ck_assert_int_eq(read_any(muxes[side].streams[0]), STREAM_E_AGAIN);
	}
	settle();
	ck_assert_int_eq(put_message(OPENER, 0, 2 * LARGE, VSOCK_SEQ_EOR), 0);
	move(_i);
	ck_assert_int_eq(put_message(OPENER, 0, LARGE, 0), 0);	/* in the room that is left, or after */
	get_message(OTHER, 0, 2 * LARGE, VSOCK_SEQ_EOR);
	get_message(OTHER, 0, LARGE, 0);
}
END_TEST

/* A head that goes over the edge. */
START_TEST(messages_in_two_pieces)
{
	for (size_t more = 0; more < 16; more++) {
		if (more == 0)
			connect_messages();
		ck_assert_int_eq(put_message(OPENER, 0, SMALL - 30 - more, 0), 0);
		get_message(OTHER, 0, SMALL - 30 - more, 0);
		ck_assert_int_eq(put_message(OPENER, 1, 10, 0), 0);
		ck_assert_int_eq(put_message(OPENER, 2, 20, 0), 0);
		move((int)more % 2);
		get_message(OTHER, 1, 10, 0);
		get_message(OTHER, 2, 20, 0);
		settle();
	}
}
END_TEST

START_TEST(messages_of_a_closed_one)
{
	connect_messages();
	ck_assert_int_eq(put_message(OPENER, 0, 100, 0), 0);
	ck_assert_int_eq(put_message(OPENER, 0, 0, 0), 0);
	close_stream(OPENER, 0, true);
	for (int i = 0; i < 3; i++)
		move(_i);
	get_message(OTHER, 0, 100, 0);
	get_message(OTHER, 0, 0, 0);
	ck_assert_int_eq(read_any(muxes[OTHER].streams[0]), STREAM_E_CLOSED);
}
END_TEST

START_TEST(connects_of_messages)
{
	type = VSOCK_TYPE_SEQPACKET;
	begin();				/* the mail that asks is lost */
	move(_i);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 1);
	ck_assert_int_eq(muxes[OTHER].streams[0]->type, VSOCK_TYPE_SEQPACKET);
	accept_last();
	settle();
	ck_assert_int_eq(put_message(OPENER, 0, 10, 0), 0);
	get_message(OTHER, 0, 10, 0);
}
END_TEST

static void make_messages(bool is_closed)
{
	connect_messages();
	ck_assert_int_eq(put_message(OPENER, 0, 5, 0), 0);
	ck_assert_int_eq(put_message(OPENER, 5, 0, VSOCK_SEQ_EOR), 0);
	ck_assert_int_eq(put_message(OTHER, 0, 30, VSOCK_SEQ_EOR), 0);
	if (is_closed)
		close_stream(OTHER, 0, false);
	save();
	end_process();
	begin_process();
}

START_TEST(messages_cut_anywhere)
{
	make_messages(_i);
	for (size_t n = 0; n < blobs[OPENER][0].len; n++)
		expect_refused(OPENER, blobs[OPENER][0].bytes, n, BACKEND_E_BAD_STATE);
}
END_TEST

START_TEST(any_byte_of_messages_changed)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 0x7f, 0x80, 0xff };
	struct blob *b;

	make_messages(_i);
	b = &blobs[OPENER][0];
	for (size_t at = 0; at < b->len; at++) {
		for (int v = 0; v < COUNT(values); v++) {
			uint8_t was = b->bytes[at];

			b->bytes[at] = values[v];
			load_from(OPENER, b->bytes, b->len);
			load(OTHER);
			resume();
			for (int side = 0; side < 2; side++)
				if (muxes[side].streams[0])
					read_any(muxes[side].streams[0]);
			close_all();
			b->bytes[at] = was;
		}
	}
}
END_TEST

/* Of two messages, one of 5 bytes and an empty one: {len, flags}, 5 bytes, {len, flags}. */
enum { AT_MESSAGES = AT_N_OUT + 4 };

static const struct {
	const char *name;
	size_t at;
	uint8_t value;
	int result;
} message_lies[] = {
	{ "the truth", AT_MESSAGES, 5, 0 },
	{ "shorter", AT_MESSAGES, 4, BACKEND_E_BAD_STATE },
	{ "longer", AT_MESSAGES, 6, BACKEND_E_BAD_STATE },
	{ "as long as all that follows", AT_MESSAGES, 13, 0 },
	{ "longer than that", AT_MESSAGES, 14, BACKEND_E_BAD_STATE },
	{ "far longer", AT_MESSAGES + 3, 0xff, BACKEND_E_BAD_STATE },
	{ "another flag", AT_MESSAGES + 4, 1, BACKEND_E_BAD_STATE },
	{ "a flag beyond", AT_MESSAGES + 7, 0x80, BACKEND_E_BAD_STATE },
	{ "EOR", AT_MESSAGES + 4, 2, 0 },
	{ "an empty one that is not", AT_MESSAGES + 13, 1, BACKEND_E_BAD_STATE },
	{ "of another version", 4, 3, BACKEND_E_BAD_STATE },
};

START_TEST(a_lie_about_messages)
{
	struct blob *b;

	make_messages(false);
	b = &blobs[OPENER][0];
	ck_assert_uint_eq(b->bytes[4], 2);
	ck_assert_uint_eq(b->bytes[AT_N_OUT], 21);
	ck_assert_uint_eq(b->bytes[AT_MESSAGES], 5);
	b->bytes[message_lies[_i].at] = message_lies[_i].value;
	if (message_lies[_i].result)
		expect_refused(OPENER, b->bytes, b->len, message_lies[_i].result);
	else
		ck_assert_int_eq(load_from(OPENER, b->bytes, b->len), 0);
}
END_TEST

/* An end of one type is no other half of one of the other. */
START_TEST(halves_of_two_types)
{
	connect_messages();
	save();
	end_process();
	begin_process();
	ck_assert_uint_eq(blobs[OPENER][0].bytes[4], 2);
	blobs[OPENER][0].bytes[4] = 1;
	load(_i);
	load(1 - _i);
	resume();
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(muxes[side].streams[0]->type, side == OPENER ? VSOCK_TYPE_STREAM :
				 VSOCK_TYPE_SEQPACKET);
		ck_assert_int_eq(read_any(muxes[side].streams[0]), STREAM_E_RESET);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sibling_state");
	TCase *tc = tcase_create("sibling_state");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, bytes_on_the_way, 0, 2 * COUNT(sizes));
	tcase_add_test(tc, in_two_pieces);
	tcase_add_loop_test(tc, a_full_pipe, 0, 2);
	tcase_add_loop_test(tc, counters, 0, 2);
	tcase_add_loop_test(tc, saved_again, 0, 2);
	tcase_add_loop_test(tc, not_asked_yet, 0, 2);
	tcase_add_loop_test(tc, asked, 0, 2);
	tcase_add_loop_test(tc, accepted, 0, 2);
	tcase_add_loop_test(tc, refused, 0, 2);
	tcase_add_test(tc, nobody_to_ask);
	tcase_add_loop_test(tc, half_closed, 0, 2);
	tcase_add_loop_test(tc, reads_no_more, 0, 2);
	tcase_add_loop_test(tc, closed_by_one, 0, 8);
	tcase_add_loop_test(tc, closed_over_unread, 0, 2);
	tcase_add_loop_test(tc, alone, 0, 2);
	tcase_add_test(tc, alone_and_connecting);
	tcase_add_loop_test(tc, too_late, 0, 4);
	tcase_add_test(tc, two_of_one_name);
	tcase_add_test(tc, too_little_memory);
	tcase_add_loop_test(tc, cut_anywhere, 0, 2);
	tcase_add_loop_test(tc, any_byte_changed, 0, 2);
	tcase_add_loop_test(tc, a_lie, 0, COUNT(lies));
	tcase_add_test(tc, twice);
	tcase_add_test(tc, too_many_bytes);
	tcase_add_loop_test(tc, messages_on_the_way, 0, 2);
	tcase_add_test(tc, messages_in_two_pieces);
	tcase_add_loop_test(tc, messages_of_a_closed_one, 0, 2);
	tcase_add_loop_test(tc, connects_of_messages, 0, 2);
	tcase_add_loop_test(tc, messages_cut_anywhere, 0, 2);
	tcase_add_loop_test(tc, any_byte_of_messages_changed, 0, 2);
	tcase_add_loop_test(tc, a_lie_about_messages, 0, COUNT(message_lies));
	tcase_add_loop_test(tc, halves_of_two_types, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
