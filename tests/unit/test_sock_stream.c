/* SPDX-License-Identifier: BSD-3-Clause */
/* A socket as a stream: how its reads, writes and events are told to the core. */
#include "backend/sock_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "util/unix_socket.h"
#include "util/error.h"
#include "util/fd.h"

struct mux {					/* the core: it is told, and counts */
	unsigned n_ready;
};

static struct mux mux;
static struct loop *loop;
static struct sock_stream s;
static int peer, fds_before;
static unsigned n_early, n_accepted, n_closed, early_events;
static bool peer_is_closed;			/* what the kind says, if it is asked */

void mux_stream_ready(struct mux *m, struct stream *stream, uint64_t now_ms)
{
	ck_assert_ptr_eq(m, &mux);
	ck_assert_ptr_eq(stream, &s.base);
	ck_assert_uint_eq(now_ms, loop_now_ms(loop));
	m->n_ready++;
}

static void on_early(struct sock_stream *stream, uint32_t events)
{
	ck_assert_ptr_eq(stream, &s);
	early_events |= events;
	n_early++;
}

static void on_accepted(struct sock_stream *stream, const struct vsock_addr *guest)
{
	ck_assert_ptr_eq(stream, &s);
	ck_assert_uint_eq(guest->port, 1024);
	n_accepted++;
}

static bool is_closed(struct sock_stream *stream, uint32_t events)
{
	ck_assert_ptr_eq(stream, &s);
	return peer_is_closed || events & EPOLLHUP;
}

static void on_close(struct sock_stream *stream)
{
	n_closed++;
	sock_stream_deinit(stream);
}

static const struct sock_kind kind = {
	.short_read_empties = true, .early_event = on_early, .accepted = on_accepted,
	.is_closed = is_closed, .close = on_close,
};

static const struct sock_kind cautious = {
	.early_event = on_early, .accepted = on_accepted, .is_closed = is_closed,
	.close = on_close,
};

static void begin_type(const struct sock_kind *of, bool connecting, enum vsock_type type)
{
	int socks[2];

	ck_assert_int_eq(socketpair(AF_UNIX, sock_stream_socket_type(type) | SOCK_NONBLOCK |
				    SOCK_CLOEXEC, 0, socks), 0);
	peer = socks[1];
	sock_stream_init(&s, of, type, loop, &mux, socks[0]);
	ck_assert_int_eq(s.base.type, type);
	ck_assert_int_eq(sock_stream_register(&s, connecting), 0);
}

static void begin(const struct sock_kind *of, bool connecting)
{
	begin_type(of, connecting, VSOCK_TYPE_STREAM);
}

static void setup(void)
{
	fds_before = unit_count_fds();
	mux = (struct mux){ 0 };
	n_early = n_accepted = n_closed = early_events = 0;
	peer_is_closed = false;
	ck_assert_int_eq(loop_new(&loop), 0);
}

/* It is closed by its table, once, and nothing stays. */
static void teardown(void)
{
	s.base.ops->close(&s.base, true);
	ck_assert_uint_eq(n_closed, 1);
	fd_close(&peer);
	loop_free(loop);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static void live(const struct sock_kind *of)
{
	begin(of, false);
	sock_stream_go_live(&s, true);
	ck_assert_uint_eq(s.base.ready, STREAM_IN | STREAM_OUT);
}

/* All that has happened is told. */
static void look(void)
{
	ck_assert_int_eq(loop_step(loop, 0), 0);
}

static void peer_writes(const char *text)
{
	ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static int read_up_to(char *to, size_t len, size_t *n)
{
	*n = 4711;
	return s.base.ops->read(&s.base, &(struct iovec){ to, len }, 1, n);
}

/* A read with room for more than there is. */
static void expect_text(const char *text)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_up_to(got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

static void expect_read(int result)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_up_to(got, sizeof got, &n), result);
}

static int write_some(size_t len, size_t *n)
{
	static char bytes[65536];
	struct iovec v[2] = { { bytes, len / 2 }, { bytes, len - len / 2 } };

	*n = 0;
	return s.base.ops->write(&s.base, v, 2, n);
}

/* What the kernel has of the socket is full. */
static size_t fill(void)
{
	size_t total = 0, n;
	int r;

	while ((r = write_some(65536, &n)) == 0)
		total += n;
	ck_assert_int_eq(r, STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, 0);
	return total;
}

static void drain(size_t len)
{
	char bytes[65536];

	while (len) {
		ssize_t n = read(peer, bytes, sizeof bytes < len ? sizeof bytes : len);

		ck_assert_int_gt(n, 0);
		len -= (size_t)n;
	}
}

START_TEST(reads)
{
	live(&cautious);
	expect_read(STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready, STREAM_OUT);
	look();
	ck_assert_uint_eq(mux.n_ready, 0);
	peer_writes("hello");
	look();
	ck_assert_uint_eq(mux.n_ready, 1);
	ck_assert_uint_eq(s.base.ready, STREAM_IN | STREAM_OUT);
	expect_text("hello");
	ck_assert_uint_eq(s.base.ready, STREAM_IN | STREAM_OUT);
	expect_read(STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready, STREAM_OUT);
}
END_TEST

/* Of some kinds a short read says that the socket is empty; of none does a full one. */
START_TEST(short_read)
{
	char got[5];
	size_t n;

	live(&kind);
	peer_writes("hello again");
	ck_assert_int_eq(read_up_to(got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_text(" again");
	ck_assert_uint_eq(s.base.ready & STREAM_IN, 0);
	look();					/* of what was there already */
	peer_writes("x");
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_text("x");
}
END_TEST

/* _i: the kind; the end comes after the last byte, and no read is wasted on it. */
START_TEST(end)
{
	live(_i ? &cautious : &kind);
	peer_writes("last");
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	look();
	ck_assert_uint_eq(s.base.ready & (STREAM_IN | STREAM_HUP), STREAM_IN);
	expect_text("last");
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_read(STREAM_E_EOF);
	ck_assert_uint_eq(s.base.ready & STREAM_IN, 0);
}
END_TEST

START_TEST(end_that_no_event_told)
{
	live(&kind);
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	peer_is_closed = true;			/* it is asked about that */
	expect_read(STREAM_E_CLOSED);
	ck_assert_uint_eq(s.base.ready & STREAM_HUP, STREAM_HUP);
}
END_TEST

START_TEST(closed)
{
	live(&kind);
	peer_writes("last");
	fd_close(&peer);
	look();
	ck_assert_uint_eq(mux.n_ready, 1);
	ck_assert_uint_eq(s.base.ready, STREAM_IN | STREAM_OUT | STREAM_HUP);
	expect_text("last");
	expect_read(STREAM_E_CLOSED);
}
END_TEST

/* The peer has closed with bytes of ours unread: what it wrote first is still read. */
START_TEST(reset)
{
	size_t n;

	live(&kind);
	ck_assert_int_eq(write_some(10, &n), 0);
	ck_assert_uint_eq(n, 10);
	peer_writes("last");
	fd_close(&peer);
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_HUP, STREAM_HUP);
	expect_text("last");
	expect_read(STREAM_E_RESET);
}
END_TEST

START_TEST(no_reader)
{
	size_t n;

	live(&kind);
	ck_assert_int_eq(shutdown(peer, SHUT_RD), 0);
	ck_assert_int_eq(write_some(10, &n), STREAM_E_NO_READER);
	peer_writes("but it writes");
	expect_text("but it writes");
}
END_TEST

/* @how of shutdown(2) reaches the peer. */
START_TEST(shuts)
{
	char byte;

	live(&kind);
	ck_assert_int_eq(s.base.ops->shutdown(&s.base, SHUT_WR), 0);
	ck_assert_int_eq(read(peer, &byte, 1), 0);
	peer_writes("x");
	expect_text("x");
	ck_assert_int_eq(s.base.ops->shutdown(&s.base, SHUT_RD), 0);
	ck_assert_int_eq(send(peer, "x", 1, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

/* Bytes that came with a handshake are read first, in pieces if need be. */
START_TEST(early_bytes)
{
	static const char early[] = "early bird";
	char a[3], b[4];
	struct iovec v[2] = { { a, sizeof a }, { b, sizeof b } };
	size_t n;

	live(&kind);
	sock_stream_read_early(&s, early, strlen(early));
	peer_writes(", late");
	ck_assert_int_eq(s.base.ops->read(&s.base, v, 2, &n), 0);
	ck_assert_uint_eq(n, 7);
	ck_assert_mem_eq(a, "ear", 3);
	ck_assert_mem_eq(b, "ly b", 4);
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_text("ird");
	expect_text(", late");
}
END_TEST

/* An event of output comes once there is room, and only to who waits for it. */
START_TEST(output)
{
	size_t total;

	live(&kind);
	s.base.ops->wait_for(&s.base, STREAM_IN);
	ck_assert(!s.has_out);
	total = fill();
	s.base.ops->wait_for(&s.base, STREAM_IN | STREAM_OUT);
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, 0);
	drain(total);
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, STREAM_OUT);
	ck_assert_uint_ge(mux.n_ready, 1);
}
END_TEST

/* Output that nobody has waited for during a while wakes us no more; who needs it again
 * gets it. */
START_TEST(output_not_needed)
{
	size_t total;

	live(&kind);
	total = fill();
	s.base.ops->wait_for(&s.base, STREAM_OUT);
	ck_assert(s.has_out);
	s.base.ops->wait_for(&s.base, 0);
	for (int i = 0; i < 100 && s.has_out; i++) {
		drain(total);
		look();
		total = fill();
	}
	ck_assert(!s.has_out);
	mux.n_ready = 0;
	drain(total);
	look();
	ck_assert_uint_eq(mux.n_ready, 0);
	total = fill();
	s.base.ops->wait_for(&s.base, STREAM_OUT);
	drain(total);
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, STREAM_OUT);
}
END_TEST

/* Before it is live events are its kind's business. */
START_TEST(early_events_go_to_the_kind)
{
	begin(&kind, true);
	look();
	ck_assert_uint_eq(n_early, 1);
	ck_assert_uint_eq(early_events, EPOLLOUT);
	peer_writes("x");
	look();
	ck_assert_uint_eq(n_early, 2);
	ck_assert_uint_eq(early_events & EPOLLIN, EPOLLIN);
	ck_assert_uint_eq(mux.n_ready, 0);
	sock_stream_go_live(&s, false);
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, STREAM_OUT);
	peer_writes("y");
	look();
	ck_assert_uint_eq(n_early, 2);
	ck_assert_uint_eq(mux.n_ready, 1);
	expect_text("xy");
}
END_TEST

START_TEST(error_of_its_own)
{
	live(&kind);
	peer_writes("x");
	s.error = -ETIMEDOUT;
	expect_read(-ETIMEDOUT);
}
END_TEST

START_TEST(accepted)
{
	live(&kind);
	s.base.ops->accepted(&s.base, &(struct vsock_addr){ 3, 1024 });
	ck_assert_uint_eq(n_accepted, 1);
	ck_assert_ptr_eq(sock_stream_of(&s.base), &s);
}
END_TEST

/* ---- messages ---- */

static void live_messages(void)
{
	begin_type(&kind, false, VSOCK_TYPE_SEQPACKET);
	ck_assert_int_eq(unix_tell_empty(s.fd), 0);
	sock_stream_go_live(&s, true);
}

static int read_message(char *to, size_t room, size_t *n)
{
	uint32_t flags = 4711;
	int r = s.base.ops->read_message(&s.base, &(struct iovec){ to, room }, 1, n, &flags);

	ck_assert_uint_eq(flags, 0);
	return r;
}

static void expect_message(const char *text)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_message(got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

static void expect_no_message(int result)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_message(got, sizeof got, &n), result);
}

static int write_message(size_t len, uint32_t flags)
{
	static char bytes[8 << 20];
	struct iovec v[2] = { { bytes, len / 2 }, { bytes, len - len / 2 } };

	return s.base.ops->write_message(&s.base, v, 2, flags);
}

/* A short one does not say that there is no more. */
START_TEST(reads_messages)
{
	live_messages();
	expect_no_message(STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready, STREAM_OUT);
	ck_assert_int_eq(send(peer, "ab", 2, 0), 2);
	ck_assert_int_eq(send(peer, "", 0, 0), 0);
	ck_assert_int_eq(send(peer, "c", 1, MSG_EOR), 1);
	look();
	expect_message("ab");
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_message("");
	ck_assert_uint_eq(s.base.ready & STREAM_IN, STREAM_IN);
	expect_message("c");
	expect_no_message(STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready & STREAM_IN, 0);
}
END_TEST

START_TEST(message_too_long_to_read)
{
	char got[3];
	size_t n;

	live_messages();
	ck_assert_int_eq(send(peer, "abcd", 4, 0), 4);
	ck_assert_int_eq(send(peer, "e", 1, 0), 1);
	ck_assert_int_eq(read_message(got, sizeof got, &n), STREAM_E_TOO_LONG);
	expect_message("e");
}
END_TEST

/* _i: shut down, or closed; an empty message before it is none. */
START_TEST(end_of_messages)
{
	live_messages();
	ck_assert_int_eq(send(peer, "last", 4, 0), 4);
	ck_assert_int_eq(send(peer, "", 0, 0), 0);
	if (_i)
		fd_close(&peer);
	else
		ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	look();
	expect_message("last");
	expect_message("");
	expect_no_message(_i ? STREAM_E_CLOSED : STREAM_E_EOF);
	ck_assert_uint_eq(s.base.ready & STREAM_IN, 0);
	ck_assert_int_eq(s.base.ready & STREAM_HUP, _i ? STREAM_HUP : 0);
}
END_TEST

START_TEST(reset_of_messages)
{
	live_messages();
	ck_assert_int_eq(write_message(10, 0), 0);
	fd_close(&peer);
	expect_no_message(STREAM_E_RESET);
	ck_assert_int_eq(write_message(10, 0), STREAM_E_NO_READER);
}
END_TEST

START_TEST(writes_messages)
{
	static const struct {
		size_t len;
		uint32_t flags;
	} sent[] = { { 10, 0 }, { 0, VSOCK_SEQ_EOR }, { 1, VSOCK_SEQ_EOR } };
	char got[100];

	live_messages();
	for (size_t i = 0; i < COUNT(sent); i++)
		ck_assert_int_eq(write_message(sent[i].len, sent[i].flags), 0);
	ck_assert_int_eq(s.base.ops->write_message(&s.base, NULL, 0, 0), 0);
	for (size_t i = 0; i < COUNT(sent); i++)
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), (ssize_t)sent[i].len);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), 0);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(shutdown(peer, SHUT_RD), 0);
	ck_assert_int_eq(write_message(10, 0), STREAM_E_NO_READER);
}
END_TEST

static size_t write_messages(const struct stream_message *m, size_t n)
{
	static char bytes[3000];
	struct iovec v[2 * STREAM_MESSAGES_MAX];
	size_t n_iov = 0;

	for (size_t i = 0; i < n; n_iov += m[i++].n)
		for (size_t k = 0; k < m[i].n; k++)
			v[n_iov + k] = (struct iovec){ bytes, m[i].len / m[i].n };
	return s.base.ops->write_messages(&s.base, v, m, n);
}

/* By one call as far as they are alike; one that cannot be written at all is left. */
START_TEST(writes_several_messages)
{
	static const struct stream_message m[] = {
		{ 1, 10, 0 }, { 0, 0, 0 }, { 2, 20, 0 }, { 1, 5, VSOCK_SEQ_EOR },
		{ 1, 6, VSOCK_SEQ_EOR },
	};
	char got[100];

	live_messages();
	ck_assert_uint_eq(write_messages(m, COUNT(m)), 3);
	ck_assert_uint_eq(write_messages(m + 3, 2), 2);
	for (size_t i = 0; i < COUNT(m); i++)
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), (ssize_t)m[i].len);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), -1);
	ck_assert_int_eq(shutdown(peer, SHUT_RD), 0);
	ck_assert_uint_eq(write_messages(m, COUNT(m)), 0);
	ck_assert_int_eq(write_message(10, 0), STREAM_E_NO_READER);
}
END_TEST

START_TEST(full_of_several_messages)
{
	struct stream_message m[STREAM_MESSAGES_MAX];
	size_t n = 0, taken;
	char got[3000];

	for (size_t i = 0; i < COUNT(m); i++)
		m[i] = (struct stream_message){ 1, sizeof got, 0 };
	live_messages();
	while ((taken = write_messages(m, COUNT(m))))
		n += taken;
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, 0);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), sizeof got);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), -1);
}
END_TEST

START_TEST(full_of_messages)
{
	char got[100];
	int n = 0, r;

	live_messages();
	while ((r = write_message(100, 0)) == 0)
		n++;
	ck_assert_int_eq(r, STREAM_E_AGAIN);
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, 0);
	s.base.ops->wait_for(&s.base, STREAM_OUT);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), 100);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), -1);	/* of the last, nothing */
	look();
	ck_assert_uint_eq(s.base.ready & STREAM_OUT, STREAM_OUT);
	ck_assert_int_eq(write_message(100, 0), 0);
}
END_TEST

/* The longest that the socket takes at first, and more, and more than it can ever take. */
START_TEST(message_too_long_to_write)
{
	static char got[8 << 20];
	int size = 4608;
	size_t len = 0;

	live_messages();
	ck_assert_int_eq(setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
	while (len < sizeof got && write_message(len + 50000, 0) == 0) {
		len += 50000;
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), (ssize_t)len);
	}
	ck_assert_uint_ge(len, 50000);		/* ten times what fitted before */
	if (len < sizeof got) {
		ck_assert_int_eq(write_message(len + 50000, 0), STREAM_E_TOO_LONG);
		ck_assert_int_eq(recv(peer, got, sizeof got, 0), -1);
	}
	ck_assert_int_eq(write_message(10, 0), 0);
	ck_assert_int_eq(recv(peer, got, sizeof got, 0), 10);
}
END_TEST

START_TEST(error_of_its_own_messages)
{
	live_messages();
	ck_assert_int_eq(send(peer, "x", 1, 0), 1);
	s.error = -ETIMEDOUT;
	expect_no_message(-ETIMEDOUT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sock_stream");
	TCase *tc = tcase_create("sock_stream");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, reads);
	tcase_add_test(tc, short_read);
	tcase_add_loop_test(tc, end, 0, 2);
	tcase_add_test(tc, end_that_no_event_told);
	tcase_add_test(tc, closed);
	tcase_add_test(tc, reset);
	tcase_add_test(tc, no_reader);
	tcase_add_test(tc, shuts);
	tcase_add_test(tc, early_bytes);
	tcase_add_test(tc, output);
	tcase_add_test(tc, output_not_needed);
	tcase_add_test(tc, early_events_go_to_the_kind);
	tcase_add_test(tc, error_of_its_own);
	tcase_add_test(tc, accepted);
	tcase_add_test(tc, reads_messages);
	tcase_add_test(tc, message_too_long_to_read);
	tcase_add_loop_test(tc, end_of_messages, 0, 2);
	tcase_add_test(tc, reset_of_messages);
	tcase_add_test(tc, writes_messages);
	tcase_add_test(tc, writes_several_messages);
	tcase_add_test(tc, full_of_several_messages);
	tcase_add_test(tc, full_of_messages);
	tcase_add_test(tc, message_too_long_to_write);
	tcase_add_test(tc, error_of_its_own_messages);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
