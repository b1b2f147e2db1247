/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection between two VMs: two streams, and mail between their workers, which is
 * delivered when a test says so.
 */
#include "backend/sibling.h"
#include "backend/sibling_internal.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "unit.h"
#include "util/byte_ring.h"
#include "util/error.h"

enum { OPENER, OTHER, WINDOW = 4096, SMALL = 4096, LARGE = 128 * 1024, BUDGET = 1 << 20, PORT = 1234 };

static char group[] = "group";
static char *const groups[] = { group };
static const struct vsock_addr src = { 3, 1024 }, dst = { 4, PORT };

/* The core of one VM: what it is told. */
struct mux {
	struct byte_budget *budget;
	struct stream *stream;			/* NULL: none, or closed by it */
	unsigned n_ready, n_connected, n_asked;
	int error;				/* of the connect, as it was told */
	bool refuses;
	size_t n_siblings;
	/* mux_push(): */
	size_t room;				/* bytes, in its guest's buffers */
	size_t pushed;				/* bytes that have come so */
	unsigned n_pushes, n_messages;		/* ... in messages */
	uint32_t message_flags;			/* of the last of them */
	bool ends_if_too_long;			/* else such a message may come later */
	unsigned closes_after;			/* so many messages, in good order; 0: never */
	int end;				/* what reading said at last; it closes if it cannot go on */
	bool is_lost;				/* its guest's memory */
};

static struct mux muxes[2];
static struct mailbox *boxes[2];
static struct backend *backends[2];
static struct sibling_dir *dir;
static struct sibling_entry *entries[2];
static struct loop *loop;

static void close_stream(int side, bool is_orderly)
{
	struct stream *s = muxes[side].stream;

	muxes[side].stream = NULL;
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
	mux->n_siblings = n;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	(void)now_ms;
	ck_assert_ptr_eq(s, mux->stream);
	mux->n_ready++;
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* Reads what it has room for, in pieces and two iovecs. */
void mux_push(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	bool is_messages = s->type == VSOCK_TYPE_SEQPACKET;
	uint8_t a[100], b[1000];
	size_t n;

	(void)now_ms;
	ck_assert_ptr_eq(s, mux->stream);
	mux->n_pushes++;
	mux->end = 0;
	while (mux->room && s->ready & STREAM_IN && mux->end == 0) {
		struct iovec v[] = { { a, sizeof a }, { b, sizeof b } };

		if (mux->room < sizeof a)
			v[0].iov_len = mux->room;
		if (mux->room - v[0].iov_len < sizeof b)
			v[1].iov_len = mux->room - v[0].iov_len;
		mux->end = is_messages ?
			s->ops->read_message(s, v, 2, &n, &mux->message_flags) :
			s->ops->read(s, v, 2, &n);
		if (mux->end)
			break;
		for (size_t i = 0; i < n; i++, mux->pushed++)
			ck_assert_uint_eq(i < v[0].iov_len ? a[i] : b[i - v[0].iov_len],
					  byte_at(mux->pushed));
		mux->room -= n;
		mux->n_messages += is_messages;
		if (mux->closes_after && mux->n_messages == mux->closes_after) {
			close_stream((int)(mux - muxes), true);
			return;
		}
	}
	if (mux->end == STREAM_E_TOO_LONG && !mux->ends_if_too_long)
		mux->end = 0;
	if (mux->end && mux->end != STREAM_E_AGAIN)
		close_stream((int)(mux - muxes), false);
}

bool mux_is_lost(const struct mux *mux)
{
	return mux->is_lost;
}

void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms)
{
	(void)now_ms;
	ck_assert_ptr_eq(s, mux->stream);
	ck_assert_ptr_eq(s, live);
	mux->n_connected++;
	mux->error = error;
	if (error)
		close_stream((int)(mux - muxes), false);
}

int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms)
{
	(void)now_ms;
	ck_assert(from->cid == src.cid && from->port == src.port && port == PORT);
	mux->n_asked++;
	if (mux->refuses)
		return BACKEND_E_NO_GUEST;
	mux->stream = stream;
	return 0;
}

static void set_up(bool are_neighbours)
{
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(sibling_dir_new(&dir), 0);
	for (unsigned i = 0; i < 2; i++) {
		muxes[i] = (struct mux){ .budget = byte_budget_new(BUDGET) };
		if (i && are_neighbours)
			boxes[i] = boxes[0];
		else
			ck_assert_int_eq(mailbox_new(&boxes[i], loop), 0);
		ck_assert_int_eq(sibling_dir_add(dir, 3 + i, groups, 1, boxes[i], &entries[i]), 0);
	}
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct sibling_config config = {
			.dir = dir, .self = entries[i], .loop = loop, .mux = &muxes[i],
		};

		ck_assert_int_eq(sibling_new(&backends[i], &config), 0);
		ck_assert_uint_eq(muxes[i].n_siblings, 1);
	}
}

static void setup(void)
{
	set_up(false);
}

/* Both VMs have the same worker. */
static void setup_neighbours(void)
{
	set_up(true);
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

/* Whatever a test leaves is closed; all memory is given back, and no mail is left. */
static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		if (muxes[i].stream)
			close_stream(i, true);
	settle();
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(muxes[i].budget->used, 0);
		ck_assert_uint_eq(muxes[i].budget->refs, 1);
		if (backends[i])
			backends[i]->ops->free(backends[i]);
		ck_assert_uint_eq(atomic_load(&entries[i]->refs), 2);	/* the directory's */
		if (boxes[i] != boxes[1 - i] || i)
			mailbox_free(boxes[i]);
		byte_budget_unref(muxes[i].budget);
	}
	sibling_dir_free(dir);
	loop_free(loop);
}

static enum vsock_type type = VSOCK_TYPE_STREAM;

static void begin(void)
{
	struct backend *b = backends[OPENER];

	ck_assert_int_eq(b->ops->connect(b, type, &src, &dst, &muxes[OPENER].stream), BACKEND_E_PENDING);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 0);	/* it is the other worker's to ask */
}

static void connect_both(void)
{
	begin();
	mailbox_deliver(boxes[OTHER]);
	ck_assert_uint_eq(muxes[OTHER].n_asked, 1);
	muxes[OTHER].stream->ops->accepted(muxes[OTHER].stream, &dst);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 0);
	mailbox_deliver(boxes[OPENER]);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, 0);
	settle();
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(muxes[i].stream->ready, STREAM_IN | STREAM_OUT);
		ck_assert_uint_eq(muxes[i].stream->peer_window, mux_window(&muxes[1 - i]));
		ck_assert_uint_eq(muxes[i].budget->used, 0);
		ck_assert_int_eq(muxes[i].stream->type, type);
	}
}

/* @len bytes of a stream, from its byte @at on; what write said, and *@n. */
static int put(int side, size_t at, size_t len, size_t *n)
{
	static uint8_t bytes[2 * LARGE];
	struct stream *s = muxes[side].stream;

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(at + i);
	*n = 0;
	return s->ops->write(s, &(struct iovec){ bytes, len }, 1, n);
}

/* Up to @len of them. */
static int get(int side, size_t at, size_t len, size_t *n)
{
	static uint8_t bytes[2 * LARGE];
	struct stream *s = muxes[side].stream;
	int r;

	*n = 0;
	r = s->ops->read(s, &(struct iovec){ bytes, len }, 1, n);
	for (size_t i = 0; r == 0 && i < *n; i++)
		ck_assert_uint_eq(bytes[i], byte_at(at + i));
	return r;
}

static void put_all(int side, size_t len)
{
	size_t n;

	ck_assert_int_eq(put(side, 0, len, &n), 0);
	ck_assert_uint_eq(n, len);
}

static void get_all(int side, size_t len)
{
	size_t done = 0, n;

	while (done < len) {
		ck_assert_int_eq(get(side, done, len - done, &n), 0);
		done += n;
	}
}

static void expect_read(int side, int result)
{
	size_t n;

	ck_assert_int_eq(get(side, 0, 100, &n), result);
	ck_assert_uint_eq(muxes[side].stream->ready & STREAM_IN, 0);
}

static void expect_write(int side, int result)
{
	size_t n;

	ck_assert_int_eq(put(side, 0, 100, &n), result);
}

/* _i: who speaks. */
START_TEST(bytes_both_ways)
{
	unsigned before;

	connect_both();
	before = muxes[1 - _i].n_ready;
	expect_read(1 - _i, STREAM_E_AGAIN);
	put_all(_i, 1000);
	settle();
	ck_assert_uint_gt(muxes[1 - _i].n_ready, before);
	ck_assert_uint_eq(muxes[1 - _i].stream->ready & STREAM_IN, STREAM_IN);
	get_all(1 - _i, 1000);
	expect_read(1 - _i, STREAM_E_AGAIN);
}
END_TEST

/* The other's core has no room, or there is no guest. */
START_TEST(refused)
{
	muxes[OTHER].refuses = true;
	begin();
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_asked, 1);
	ck_assert_uint_eq(muxes[OPENER].n_connected, 1);
	ck_assert_int_eq(muxes[OPENER].error, BACKEND_E_NOBODY);
}
END_TEST

/* Its guest says RST. */
START_TEST(refused_by_the_guest)
{
	begin();
	mailbox_deliver(boxes[OTHER]);
	close_stream(OTHER, false);
	settle();
	ck_assert_int_eq(muxes[OPENER].error, BACKEND_E_NOBODY);
}
END_TEST

START_TEST(other_vm_is_gone)
{
	backends[OTHER]->ops->free(backends[OTHER]);
	backends[OTHER] = NULL;
	begin();
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_asked, 0);
	ck_assert_int_eq(muxes[OPENER].error, BACKEND_E_NOBODY);
}
END_TEST

/* _i: before the other has heard of it, or before it has answered. */
START_TEST(opener_gives_up)
{
	begin();
	if (_i)
		mailbox_deliver(boxes[OTHER]);
	close_stream(OPENER, false);
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_asked, (unsigned)_i);
	if (_i)
		expect_read(OTHER, STREAM_E_RESET);
}
END_TEST

/* Full, it says so, and tells when there is room again. */
START_TEST(full)
{
	size_t total = 0, n;

	connect_both();
	while (put(OPENER, total, 100, &n) == 0)
		total += n;
	ck_assert_uint_eq(total, SMALL);
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_OUT, 0);
	settle();
	muxes[OPENER].stream->ready &= ~(unsigned)STREAM_OUT;
	ck_assert_int_eq(get(OTHER, 0, total, &n), 0);
	settle();
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_OUT, STREAM_OUT);
	ck_assert_int_eq(put(OPENER, total, 100, &n), 0);
}
END_TEST

/* A short write has not said that it is full: who waits for output hears of the room. */
START_TEST(short_write)
{
	struct stream *s;
	unsigned before;
	size_t n;

	connect_both();
	s = muxes[OPENER].stream;
	put_all(OPENER, SMALL - 10);
	ck_assert_int_eq(put(OPENER, SMALL - 10, 100, &n), 0);
	ck_assert_uint_eq(n, 10);
	s->ops->wait_for(s, STREAM_OUT);
	settle();
	before = muxes[OPENER].n_ready;
	get_all(OTHER, SMALL);
	settle();
	ck_assert_uint_gt(muxes[OPENER].n_ready, before);
}
END_TEST

START_TEST(end_comes_after_the_bytes)
{
	struct stream *s;

	connect_both();
	s = muxes[OPENER].stream;
	put_all(OPENER, 100);
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_WR), 0);
	settle();
	get_all(OTHER, 100);
	expect_read(OTHER, STREAM_E_EOF);
	put_all(OTHER, 200);
	get_all(OPENER, 200);
}
END_TEST

START_TEST(reads_no_more)
{
	struct stream *s;

	connect_both();
	s = muxes[OTHER].stream;
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_RD), 0);
	settle();
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_READ_CLOSED, STREAM_READ_CLOSED);
	expect_write(OPENER, STREAM_E_NO_READER);
	put_all(OTHER, 100);
	get_all(OPENER, 100);
}
END_TEST

/* _i: who closes. */
START_TEST(closed)
{
	connect_both();
	put_all(_i, 100);
	close_stream(_i, true);
	settle();
	ck_assert_uint_eq(muxes[1 - _i].stream->ready & STREAM_HUP, STREAM_HUP);
	get_all(1 - _i, 100);
	expect_read(1 - _i, STREAM_E_CLOSED);
	expect_write(1 - _i, STREAM_E_RESET);
}
END_TEST

/* _i: closed by one that has failed, or with bytes unread, or that were on the way. */
START_TEST(something_is_lost)
{
	connect_both();
	if (_i == 1)
		put_all(OPENER, 100);
	close_stream(OTHER, _i != 0);
	if (_i == 2)
		expect_write(OPENER, STREAM_E_RESET);
	settle();
	if (_i < 2)
		expect_read(OPENER, STREAM_E_RESET);
	else
		expect_read(OPENER, STREAM_E_CLOSED);	/* nothing of it was taken */
}
END_TEST

/* What the other's guest has consumed is known at once, and told by the quarter. */
START_TEST(consumed)
{
	struct stream *opener, *other;
	unsigned before;

	connect_both();
	opener = muxes[OPENER].stream;
	other = muxes[OTHER].stream;
	ck_assert_uint_eq(other->peer_window, WINDOW);
	before = muxes[OPENER].n_ready;
	other->ops->consumed(other, WINDOW / 4 - 1);
	ck_assert_uint_eq(*opener->consumed, WINDOW / 4 - 1);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before);
	other->ops->consumed(other, WINDOW / 4);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
	ck_assert_uint_eq(*other->consumed, 0);
}
END_TEST

/* The other end is told by a quarter of what is its guest's window now, also where that has
 * become smaller than what is new. */
START_TEST(window)
{
	struct stream *opener, *other;
	unsigned before;

	connect_both();
	opener = muxes[OPENER].stream;
	other = muxes[OTHER].stream;
	other->ops->consumed(other, 100);
	before = muxes[OPENER].n_ready;
	opener->ops->window(opener, 404);
	settle();
	ck_assert_uint_eq(other->peer_window, 404);
	ck_assert_uint_eq(muxes[OPENER].n_ready, before);
	opener->ops->window(opener, 400);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
	other->ops->consumed(other, 199);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
	other->ops->consumed(other, 200);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 2);
	ck_assert_uint_eq(opener->peer_window, 2 * WINDOW);
}
END_TEST

/* Large from the first long write until it is empty, out of the writer's budget. */
START_TEST(memory)
{
	struct stream *s;

	connect_both();
	s = muxes[OPENER].stream;
	put_all(OPENER, 10);
	ck_assert_uint_eq(muxes[OPENER].budget->used, SMALL);
	get_all(OTHER, 10);
	put_all(OPENER, LARGE);
	ck_assert_uint_eq(muxes[OPENER].budget->used, LARGE);
	ck_assert_uint_eq(muxes[OTHER].budget->used, 0);
	get_all(OTHER, LARGE);
	s->ops->wait_for(s, 0);
	ck_assert_uint_eq(muxes[OPENER].budget->used, 0);
}
END_TEST

/* Where half of the budget is gone a small one has to do. */
START_TEST(memory_is_short)
{
	struct byte_budget *b = muxes[OPENER].budget;
	size_t n;

	connect_both();
	ck_assert(byte_budget_take(b, BUDGET / 2));
	ck_assert_int_eq(put(OPENER, 0, LARGE, &n), 0);
	ck_assert_uint_eq(n, SMALL);
	get_all(OTHER, SMALL);
	byte_budget_give(b, BUDGET / 2);
}
END_TEST

/* Where all of it is gone that is an error, and takes nothing. */
START_TEST(no_memory)
{
	struct byte_budget *b = muxes[OPENER].budget;

	connect_both();
	ck_assert(byte_budget_take(b, BUDGET));
	expect_write(OPENER, -ENOBUFS);
	ck_assert_uint_eq(b->used, BUDGET);
	byte_budget_give(b, BUDGET);
	put_all(OPENER, 100);
	get_all(OTHER, 100);
}
END_TEST

/* Memory of one that has closed stays until the other has read it, and no longer. */
START_TEST(memory_of_a_closed_one)
{
	connect_both();
	put_all(OPENER, 100);
	close_stream(OPENER, true);
	settle();
	ck_assert_uint_eq(muxes[OPENER].budget->used, SMALL);
	get_all(OTHER, 100);
	settle();
	ck_assert_uint_eq(muxes[OPENER].budget->used, 0);
}
END_TEST

/* ---- messages ---- */

/* Each test is a process of its own. */
static void connect_messages(void)
{
	type = VSOCK_TYPE_SEQPACKET;
	connect_both();
}

/* One of @len bytes of the stream @at. */
static int put_message(int side, size_t at, size_t len, uint32_t flags)
{
	static uint8_t bytes[BUDGET];
	struct stream *s = muxes[side].stream;

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(at + i);
	return s->ops->write_message(s, (struct iovec[]){ { bytes, len / 2 },
				     { bytes + len / 2, len - len / 2 } }, 2, flags);
}

static void get_message(int side, size_t at, size_t len, uint32_t flags)
{
	static uint8_t bytes[BUDGET];
	struct stream *s = muxes[side].stream;
	uint32_t got_flags = 4711;
	size_t n = 4711;

	ck_assert_int_eq(s->ops->read_message(s, &(struct iovec){ bytes, sizeof bytes }, 1, &n,
					      &got_flags), 0);
	ck_assert_uint_eq(n, len);
	ck_assert_uint_eq(got_flags, flags);
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != byte_at(at + i))
			ck_abort_msg("wrong byte at %zu", i);
}

static void expect_no_message(int side, int result)
{
	struct stream *s = muxes[side].stream;
	uint32_t flags;
	char byte;
	size_t n;

	ck_assert_int_eq(s->ops->read_message(s, &(struct iovec){ &byte, 1 }, 1, &n, &flags),
			 result);
}

/* _i: who speaks. Not merged, not split, empty ones too. */
START_TEST(messages)
{
	unsigned before;

	connect_messages();
	expect_no_message(1 - _i, STREAM_E_AGAIN);
	ck_assert_uint_eq(muxes[1 - _i].stream->ready & STREAM_IN, 0);
	before = muxes[1 - _i].n_ready;
	ck_assert_int_eq(put_message(_i, 0, 100, 0), 0);
	settle();
	ck_assert_uint_gt(muxes[1 - _i].n_ready, before);
	ck_assert_int_eq(put_message(_i, 100, 0, VSOCK_SEQ_EOR), 0);
	ck_assert_int_eq(put_message(_i, 100, 300, VSOCK_SEQ_EOR), 0);
	get_message(1 - _i, 0, 100, 0);
	get_message(1 - _i, 100, 0, VSOCK_SEQ_EOR);
	get_message(1 - _i, 100, 300, VSOCK_SEQ_EOR);
	expect_no_message(1 - _i, STREAM_E_AGAIN);
}
END_TEST

/* Whole, or not at all; told once there is room. */
START_TEST(full_of_messages)
{
	size_t n = 0;

	connect_messages();
	while (put_message(OPENER, n * 100, 100, 0) == 0)
		n++;
	ck_assert_uint_eq(n, SMALL / 108);
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_OUT, 0);
	ck_assert_int_eq(put_message(OPENER, 0, LARGE, 0), STREAM_E_AGAIN);
	settle();
	muxes[OPENER].stream->ready &= ~(unsigned)STREAM_OUT;
	for (size_t i = 0; i < n; i++)
		get_message(OTHER, i * 100, 100, 0);
	expect_no_message(OTHER, STREAM_E_AGAIN);
	settle();
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_OUT, STREAM_OUT);
	ck_assert_int_eq(put_message(OPENER, 0, LARGE, 0), 0);
	settle();
	get_message(OTHER, 0, LARGE, 0);
}
END_TEST

/* A longer pipe for a longer message, once it is empty; given back as others are. */
static const size_t lengths[] = { 0, 1, SMALL - 8, SMALL - 7, SMALL, LARGE - 8, LARGE - 7, LARGE,
				  3 * LARGE, 4 * LARGE - 8 };

START_TEST(lengths_of_messages)
{
	struct stream *s;

	connect_messages();
	s = muxes[OPENER].stream;
	ck_assert_int_eq(put_message(OPENER, 0, 10, 0), 0);
	ck_assert_uint_eq(muxes[OPENER].budget->used, SMALL);
	if (put_message(OPENER, 10, lengths[_i], 0)) {
		get_message(OTHER, 0, 10, 0);
		settle();
		ck_assert_int_eq(put_message(OPENER, 10, lengths[_i], 0), 0);
	} else {
		get_message(OTHER, 0, 10, 0);
	}
	ck_assert_uint_ge(muxes[OPENER].budget->used, lengths[_i] + 8);
	ck_assert_uint_eq(muxes[OTHER].budget->used, 0);
	get_message(OTHER, 10, lengths[_i], 0);
	s->ops->wait_for(s, 0);
	ck_assert_uint_le(muxes[OPENER].budget->used, SMALL);
	ck_assert_int_eq(put_message(OPENER, 10, lengths[_i], 0), 0);
	get_message(OTHER, 10, lengths[_i], 0);
}
END_TEST

/* More than all of the memory that there is. */
START_TEST(message_without_memory)
{
	struct byte_budget *b = muxes[OPENER].budget;

	connect_messages();
	ck_assert(byte_budget_take(b, 1));	/* of another connection */
	ck_assert_int_eq(put_message(OPENER, 0, BUDGET / 2, 0), -ENOBUFS);
	ck_assert_uint_eq(b->used, 1);
	ck_assert_int_eq(put_message(OPENER, 0, 100, 0), 0);
	get_message(OTHER, 0, 100, 0);
	byte_budget_give(b, 1);
}
END_TEST

/* The other guest has not so much room. */
START_TEST(message_too_long)
{
	connect_messages();
	ck_assert_int_eq(put_message(OPENER, 0, 2, 0), 0);
	ck_assert_int_eq(put_message(OPENER, 2, 3, 0), 0);
	expect_no_message(OTHER, STREAM_E_TOO_LONG);
	get_message(OTHER, 0, 2, 0);		/* it is still there */
	get_message(OTHER, 2, 3, 0);
}
END_TEST

START_TEST(ends_of_messages)
{
	struct stream *s;

	connect_messages();
	s = muxes[OPENER].stream;
	ck_assert_int_eq(put_message(OPENER, 0, 0, 0), 0);
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_WR), 0);
	settle();
	get_message(OTHER, 0, 0, 0);		/* not the end */
	expect_no_message(OTHER, STREAM_E_EOF);
	ck_assert_int_eq(put_message(OTHER, 0, 5, 0), 0);
	get_message(OPENER, 0, 5, 0);
	ck_assert_int_eq(put_message(OTHER, 0, 5, 0), 0);
	close_stream(OTHER, true);
	settle();
	get_message(OPENER, 0, 5, 0);
	expect_no_message(OPENER, STREAM_E_CLOSED);
	ck_assert_int_eq(put_message(OPENER, 0, 5, 0), STREAM_E_RESET);
}
END_TEST

/* _i: closed by one that has failed, or with an empty message unread. */
START_TEST(message_is_lost)
{
	connect_messages();
	if (_i)
		ck_assert_int_eq(put_message(OPENER, 0, 0, 0), 0);
	close_stream(OTHER, _i != 0);
	settle();
	expect_no_message(OPENER, STREAM_E_RESET);
}
END_TEST

/* By the quarter; but where no more is on the way, any: a message may need all of the window. */
START_TEST(consumed_messages)
{
	struct stream *other;
	unsigned before;

	connect_messages();
	other = muxes[OTHER].stream;
	ck_assert_int_eq(put_message(OPENER, 0, 10, 0), 0);
	ck_assert_int_eq(put_message(OPENER, 10, 10, 0), 0);
	get_message(OTHER, 0, 10, 0);
	settle();
	before = muxes[OPENER].n_ready;
	other->ops->consumed(other, 10);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before);
	get_message(OTHER, 10, 10, 0);
	settle();
	before = muxes[OPENER].n_ready;
	other->ops->consumed(other, 20);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
	ck_assert_uint_eq(*muxes[OPENER].stream->consumed, 20);
}
END_TEST

/* The same, where no read will tell it: the other had said before that it writes no more. _i: in
 * order; failed; bytes unread; bytes on the way. */
START_TEST(something_is_lost_after_the_end)
{
	struct stream *s;

	connect_both();
	s = muxes[OTHER].stream;
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_WR), 0);
	settle();
	expect_read(OPENER, STREAM_E_EOF);
	put_all(OPENER, 100);
	if (_i != 2)
		get_all(OTHER, 100);
	if (_i == 3)
		put_all(OPENER, 100);
	close_stream(OTHER, _i != 1);
	settle();
	ck_assert_uint_eq(muxes[OPENER].stream->ready & (STREAM_HUP | STREAM_LOST),
			  _i ? STREAM_HUP | STREAM_LOST : STREAM_HUP);
}
END_TEST

/* As long as a window can be, and as no pipe can hold. */
START_TEST(message_is_too_long)
{
	static uint8_t piece[1 << 20];
	static struct iovec iov[1 << 11];
	struct stream *s;

	connect_messages();
	for (size_t i = 0; i < sizeof iov / sizeof *iov; i++)
		iov[i] = (struct iovec){ piece, sizeof piece };
	s = muxes[OPENER].stream;
	ck_assert_int_eq(s->ops->write_message(s, iov, 1 << 11, 0), STREAM_E_TOO_LONG);
	ck_assert_int_eq(put_message(OPENER, 0, 10, 0), 0);
	get_message(OTHER, 0, 10, 0);
}
END_TEST

/* Of messages all that has been consumed is told, however little, once there are no more: the
 * next may need all of the window. Empty ones, which nobody consumes, come in between; _i:
 * how many. */
START_TEST(consumed_before_empty_messages)
{
	struct stream *other;
	unsigned before;

	connect_messages();
	other = muxes[OTHER].stream;
	before = muxes[OPENER].n_ready;
	ck_assert_int_eq(put_message(OPENER, 0, 91, 0), 0);
	for (int i = 0; i < _i; i++)
		ck_assert_int_eq(put_message(OPENER, 0, 0, 0), 0);
	get_message(OTHER, 0, 91, 0);
	other->ops->consumed(other, 91);
	for (int i = 0; i < _i; i++) {
		settle();
		ck_assert_uint_eq(muxes[OPENER].n_ready, before);
		get_message(OTHER, 0, 0, 0);
	}
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
	ck_assert_int_eq(put_message(OPENER, 0, 0, 0), 0);			/* which makes no news */
	get_message(OTHER, 0, 0, 0);
	settle();
	ck_assert_uint_eq(muxes[OPENER].n_ready, before + 1);
}
END_TEST

/* ---- between VMs of one worker ---- */

/* What the other guest has buffers for goes to it at once; nothing is held by anybody. */
START_TEST(pushed)
{
	connect_both();
	muxes[1 - _i].room = 2500;
	put_all(_i, 2500);
	ck_assert_uint_eq(muxes[1 - _i].pushed, 2500);
	ck_assert_uint_eq(muxes[1 - _i].stream->ready & STREAM_IN, 0);
	ck_assert_uint_eq(muxes[_i].budget->used, 0);
	ck_assert(!mailbox_deliver(boxes[0]));
}
END_TEST

/* The rest waits as it would have, and the other is told so. */
START_TEST(rest_goes_by_the_pipe)
{
	unsigned before;
	size_t n;

	connect_both();
	muxes[OTHER].room = 300;
	ck_assert_int_eq(put(OPENER, 0, 1000, &n), 0);
	ck_assert_uint_eq(n, 300);
	before = muxes[OTHER].n_ready;
	ck_assert_int_eq(put(OPENER, 300, 700, &n), 0);
	ck_assert_uint_eq(n, 700);
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_ready, before + 1);
	ck_assert_int_eq(get(OTHER, 300, 1000, &n), 0);
	ck_assert_uint_eq(n, 700);
}
END_TEST

/* Nothing overtakes what is in the pipe. */
START_TEST(pipe_comes_first)
{
	unsigned before;
	size_t n;

	connect_both();
	put_all(OPENER, 100);
	before = muxes[OTHER].n_pushes;
	muxes[OTHER].room = 5000;
	ck_assert_int_eq(put(OPENER, 100, 100, &n), 0);
	ck_assert_uint_eq(muxes[OTHER].n_pushes, before);
	get_all(OTHER, 200);
	muxes[OTHER].pushed = 200;
	ck_assert_int_eq(put(OPENER, 200, 100, &n), 0);
	ck_assert_uint_eq(muxes[OTHER].pushed, 300);
}
END_TEST

/* A push that has taken everything is an empty pipe: what comes next has to wake the reader. */
START_TEST(awake_after_a_push)
{
	unsigned before;
	size_t n;

	connect_both();
	put_all(OPENER, 100);
	settle();
	get_all(OTHER, 100);			/* and has not found the pipe empty */
	muxes[OTHER].room = 50;
	muxes[OTHER].pushed = 100;
	ck_assert_int_eq(put(OPENER, 100, 50, &n), 0);
	before = muxes[OTHER].n_ready;
	ck_assert_int_eq(put(OPENER, 150, 50, &n), 0);
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_ready, before + 1);
}
END_TEST

/* Of a guest whose memory has gone while it was copied nothing is believed. */
START_TEST(pushed_memory_is_lost)
{
	size_t n;

	connect_both();
	muxes[OTHER].room = 1000;
	muxes[OPENER].is_lost = true;
	put(OPENER, 0, 500, &n);
	ck_assert_uint_eq(muxes[OTHER].pushed, 0);
	ck_assert_int_eq(muxes[OTHER].end, STREAM_E_RESET);
	expect_write(OPENER, STREAM_E_RESET);
}
END_TEST

/* Whole, with what it was marked with, and once. */
static const size_t pushed_lengths[] = { 0, 1, 100, 101, 1100 };

START_TEST(message_pushed)
{
	size_t len = pushed_lengths[_i];

	connect_messages();
	muxes[OTHER].room = 1200;
	for (unsigned i = 1; i <= 2; i++) {
		uint32_t flags = i == 1 ? VSOCK_SEQ_EOR : 0;

		muxes[OTHER].room = 1200;
		muxes[OTHER].pushed = 0;
		ck_assert_int_eq(put_message(OPENER, 0, len, flags), 0);
		ck_assert_uint_eq(muxes[OTHER].n_messages, i);
		ck_assert_uint_eq(muxes[OTHER].message_flags, flags);
		ck_assert_uint_eq(muxes[OTHER].pushed, len);
		ck_assert_uint_eq(muxes[OTHER].stream->ready & STREAM_IN, 0);
	}
	ck_assert_uint_eq(muxes[OPENER].budget->used, 0);
	ck_assert(!mailbox_deliver(boxes[0]));
	expect_no_message(OTHER, STREAM_E_AGAIN);
}
END_TEST

/* Several by one push, as many as there is room for; the first that does not fit is the next. */
START_TEST(messages_pushed)
{
	static const struct stream_message m[] = {
		{ 1, 10, 0 }, { 0, 0, VSOCK_SEQ_EOR }, { 2, 500, 0 }, { 1, 600, VSOCK_SEQ_EOR },
	};
	static const size_t rooms[] = { 0, 10, 11, 510, 511, 1109, 1110, 2000 };
	static const size_t taken[] = { 0, 1, 2, 3, 3, 3, 4, 4 };
	struct stream *s;
	uint8_t bytes[1110];
	struct iovec v[] = { { bytes, 10 }, { bytes + 10, 200 }, { bytes + 210, 300 }, { bytes + 510, 600 } };

	connect_messages();
	s = muxes[OPENER].stream;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = byte_at(i);
	muxes[OTHER].room = rooms[_i];
	ck_assert_uint_eq(s->ops->write_messages(s, v, m, COUNT(m)), taken[_i]);
	ck_assert_uint_eq(muxes[OTHER].n_messages, taken[_i]);
	ck_assert_uint_eq(muxes[OTHER].n_pushes, 1);
	if (taken[_i])
		ck_assert_uint_eq(muxes[OTHER].message_flags, m[taken[_i] - 1].flags);
	ck_assert_uint_eq(muxes[OTHER].stream->ready & STREAM_IN,
			  taken[_i] == COUNT(m) ? 0 : STREAM_IN);
	ck_assert_uint_eq(muxes[OPENER].budget->used, 0);
	s = muxes[OTHER].stream;
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_RD), 0);
	s = muxes[OPENER].stream;
	muxes[OTHER].room = 1000;
	ck_assert_uint_eq(s->ops->write_messages(s, v, m, 2), 0);
}
END_TEST

/* What the other does not take waits as it would have, all of it. _i: there is no room at all, or
 * not enough. */
START_TEST(message_goes_by_the_pipe)
{
	unsigned before;

	connect_messages();
	muxes[OTHER].room = _i ? 99 : 0;
	expect_no_message(OTHER, STREAM_E_AGAIN);	/* and waits for what comes */
	before = muxes[OTHER].n_ready;
	ck_assert_int_eq(put_message(OPENER, 0, 100, VSOCK_SEQ_EOR), 0);
	ck_assert_uint_eq(muxes[OTHER].n_messages, 0);
	muxes[OTHER].room = 1000;
	ck_assert_int_eq(put_message(OPENER, 100, 7, 0), 0);	/* nor does that overtake it */
	ck_assert_uint_eq(muxes[OTHER].n_messages, 0);
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_ready, before + 1);
	get_message(OTHER, 0, 100, VSOCK_SEQ_EOR);
	get_message(OTHER, 100, 7, 0);
	muxes[OTHER].pushed = 107;
	ck_assert_int_eq(put_message(OPENER, 107, 10, 0), 0);
	ck_assert_uint_eq(muxes[OTHER].n_messages, 1);
	before = muxes[OTHER].n_ready;		/* what comes then wakes it again */
	muxes[OTHER].room = 0;
	ck_assert_int_eq(put_message(OPENER, 117, 10, 0), 0);
	settle();
	ck_assert_uint_eq(muxes[OTHER].n_ready, before + 1);
	get_message(OTHER, 117, 10, 0);
}
END_TEST

/* The other ends of it. */
START_TEST(pushed_message_is_too_long)
{
	connect_messages();
	muxes[OTHER].room = 99;
	muxes[OTHER].ends_if_too_long = true;
	ck_assert_int_eq(put_message(OPENER, 0, 100, 0), 0);
	ck_assert_uint_eq(muxes[OPENER].budget->used, 0);
	ck_assert_ptr_null(muxes[OTHER].stream);
	settle();
	ck_assert_uint_eq(muxes[OPENER].stream->ready & STREAM_LOST, STREAM_LOST);
	ck_assert_int_eq(put_message(OPENER, 0, 1, 0), STREAM_E_RESET);
}
END_TEST

START_TEST(pushed_message_is_lost)
{
	connect_messages();
	muxes[OTHER].room = 1000;
	muxes[OPENER].is_lost = true;
	ck_assert_int_eq(put_message(OPENER, 0, 500, 0), 0);
	ck_assert_uint_eq(muxes[OTHER].n_messages, 0);
	ck_assert_int_eq(muxes[OTHER].end, STREAM_E_RESET);
	ck_assert_int_eq(put_message(OPENER, 0, 1, 0), STREAM_E_RESET);
}
END_TEST

/* The other closes in the middle of a push, in good order: what it has not taken is lost (_i: after
 * how many of three). */
START_TEST(closed_in_a_push)
{
	static const struct stream_message m[] = { { 1, 10, 0 }, { 1, 20, 0 }, { 1, 30, 0 } };
	uint8_t bytes[60];
	struct iovec v[] = { { bytes, 10 }, { bytes + 10, 20 }, { bytes + 30, 30 } };
	struct stream *s;

	connect_messages();
	s = muxes[OPENER].stream;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = byte_at(i);
	muxes[OTHER].room = 1000;
	muxes[OTHER].closes_after = (unsigned)_i;
	ck_assert_uint_eq(s->ops->write_messages(s, v, m, COUNT(m)), COUNT(m));
	ck_assert_uint_eq(muxes[OTHER].n_messages, _i);
	settle();
	expect_no_message(OPENER, _i < (int)COUNT(m) ? STREAM_E_RESET : STREAM_E_CLOSED);
}
END_TEST

/* VMs of other workers have threads of their own. */
START_TEST(never_pushed_to_another_worker)
{
	connect_both();
	muxes[OTHER].room = 1000;
	put_all(OPENER, 100);
	ck_assert_uint_eq(muxes[OTHER].n_pushes, 0);
	settle();
	get_all(OTHER, 100);
}
END_TEST

/* A VM goes to the other's worker, and with it all mail for its ends: also for one that is closed
 * and waits to give its memory back. */
START_TEST(mail_follows_its_vm)
{
	connect_both();
	put_all(OTHER, 100);
	settle();
	ck_assert_int_eq(sibling_dir_move(dir, entries[OTHER], boxes[OPENER]), 0);
	put_all(OPENER, 100);
	ck_assert(!mailbox_deliver(boxes[OTHER]));
	ck_assert(mailbox_deliver(boxes[OPENER]));
	get_all(OTHER, 100);
	close_stream(OTHER, true);
	settle();
	ck_assert_uint_eq(muxes[OTHER].budget->used, SMALL);
	get_all(OPENER, 100);
	ck_assert(!mailbox_deliver(boxes[OTHER]));
	settle();
	ck_assert_uint_eq(muxes[OTHER].budget->used, 0);
}
END_TEST

/* The directory's next generations are told of by the new worker's mail, too. */
START_TEST(the_new_worker_is_told)
{
	struct sibling_entry *third;
	struct mailbox *box;

	ck_assert_int_eq(mailbox_new(&box, loop), 0);
	ck_assert_int_eq(sibling_dir_move(dir, entries[OTHER], box), 0);
	ck_assert_int_eq(sibling_dir_add(dir, 5, groups, 1, boxes[OPENER], &third), 0);
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	mailbox_deliver(boxes[OTHER]);
	ck_assert_uint_eq(muxes[OTHER].n_siblings, 1);
	ck_assert(mailbox_deliver(box));
	ck_assert_uint_eq(muxes[OTHER].n_siblings, 2);
	ck_assert_int_eq(sibling_dir_move(dir, entries[OTHER], boxes[OTHER]), 0);
	sibling_dir_remove(dir, third);
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	settle();
	mailbox_deliver(box);
	mailbox_free(box);
}
END_TEST

static void add_stream_cases(TCase *tc)
{
	tcase_add_loop_test(tc, bytes_both_ways, 0, 2);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, refused_by_the_guest);
	tcase_add_test(tc, other_vm_is_gone);
	tcase_add_loop_test(tc, opener_gives_up, 0, 2);
	tcase_add_test(tc, full);
	tcase_add_test(tc, short_write);
	tcase_add_test(tc, end_comes_after_the_bytes);
	tcase_add_test(tc, reads_no_more);
	tcase_add_loop_test(tc, closed, 0, 2);
	tcase_add_loop_test(tc, something_is_lost, 0, 3);
	tcase_add_test(tc, consumed);
	tcase_add_test(tc, window);
	tcase_add_test(tc, memory);
	tcase_add_test(tc, memory_is_short);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, memory_of_a_closed_one);
}

static void add_message_cases(TCase *tc)
{
	tcase_add_loop_test(tc, messages, 0, 2);
	tcase_add_test(tc, full_of_messages);
	tcase_add_loop_test(tc, lengths_of_messages, 0, COUNT(lengths));
	tcase_add_test(tc, message_without_memory);
	tcase_add_test(tc, message_too_long);
	tcase_add_test(tc, ends_of_messages);
	tcase_add_loop_test(tc, message_is_lost, 0, 2);
	tcase_add_test(tc, consumed_messages);
	tcase_add_loop_test(tc, something_is_lost_after_the_end, 0, 4);
	tcase_add_loop_test(tc, consumed_before_empty_messages, 0, 3);
	tcase_add_test(tc, message_is_too_long);
}

int main(void)
{
	Suite *suite = suite_create("sibling_conn");
	TCase *tc = tcase_create("sibling_conn"), *neighbours = tcase_create("neighbours");

	tcase_add_checked_fixture(tc, setup, teardown);
	add_stream_cases(tc);
	add_message_cases(tc);
	tcase_add_test(tc, never_pushed_to_another_worker);
	tcase_add_test(tc, mail_follows_its_vm);
	tcase_add_test(tc, the_new_worker_is_told);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(neighbours, setup_neighbours, teardown);
	add_stream_cases(neighbours);
	add_message_cases(neighbours);
	tcase_add_loop_test(neighbours, pushed, 0, 2);
	tcase_add_test(neighbours, rest_goes_by_the_pipe);
	tcase_add_test(neighbours, pipe_comes_first);
	tcase_add_test(neighbours, awake_after_a_push);
	tcase_add_test(neighbours, pushed_memory_is_lost);
	tcase_add_loop_test(neighbours, message_pushed, 0, COUNT(pushed_lengths));
	tcase_add_loop_test(neighbours, messages_pushed, 0, 8);
	tcase_add_loop_test(neighbours, message_goes_by_the_pipe, 0, 2);
	tcase_add_test(neighbours, pushed_message_is_too_long);
	tcase_add_test(neighbours, pushed_message_is_lost);
	tcase_add_loop_test(neighbours, closed_in_a_push, 1, 4);
	suite_add_tcase(suite, neighbours);
	return unit_main(suite);
}
