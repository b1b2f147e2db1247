/* SPDX-License-Identifier: BSD-3-Clause */
/* How connections end: see endings.h. */
#include "e2e/endings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	AT_ONCE_MS = 1000,			/* generous for a microsecond's work */
	PIECE = 50000,				/* bytes that somebody sends at a time */
	STEPS_MAX = 12,
	GUEST_SEED = 1, HOST_SEED,
};

/* What is done, and what must be seen of it, in this order. */
enum step {
	END,

	GUEST_SENDS,				/* a piece */
	GUEST_READS,				/* a piece, which the host has sent */
	GUEST_ENDS_SENDING,			/* SHUTDOWN, SEND */
	GUEST_ENDS_READING,			/* SHUTDOWN, RCV */
	GUEST_ENDS_BOTH,			/* SHUTDOWN with both flags */
	GUEST_ENDS_NOTHING,			/* SHUTDOWN without flags */
	GUEST_BREAKS_ITS_WORD,			/* sends after it has said that it will not */
	GUEST_CLOSES,				/* as Linux: SHUTDOWN, and RST at once */
	GUEST_RESETS,

	HOST_SENDS,
	HOST_READS,
	HOST_HAS_INPUT,				/* waits for it, and leaves it there */
	HOST_ENDS_SENDING,			/* shutdown(2) */
	HOST_ENDS_READING,
	HOST_CLOSES,

	HOST_SEES_THE_END,			/* of what the guest sent: all was read */
	HOST_CANNOT_SEND,			/* EPIPE, after what fits into the socket */
	GUEST_SEES_THE_END,			/* SHUTDOWN: SEND, and no more than that */
	GUEST_SEES_NO_READER,			/* SHUTDOWN: RCV, once it sends */
	GUEST_SEES_CLOSE,			/* SHUTDOWN: both */
	GUEST_SEES_RESET,			/* RST, and no SHUTDOWN with both before */
	GUEST_SEES_LOSS,			/* RST where the kind of host tells, or a close */
	GUEST_SEES_IT_GONE,			/* by RST or SHUTDOWN: either may be first */
	GUEST_SEES_NOTHING,
};

struct ending {
	const char *name;
	enum step steps[STEPS_MAX];
};

static const struct ending endings[] = {
	{ "guest: no more data, and reads on",
	  { GUEST_SENDS, GUEST_ENDS_SENDING, HOST_READS, HOST_SEES_THE_END, HOST_SENDS,
	    GUEST_READS, HOST_SENDS, HOST_CLOSES, GUEST_READS, GUEST_SEES_CLOSE } },
	{ "guest: no more data, then closes",
	  { GUEST_ENDS_SENDING, HOST_SEES_THE_END, HOST_SENDS, GUEST_READS, GUEST_CLOSES } },
	{ "guest: reads no more, and sends on",
	  { GUEST_ENDS_READING, HOST_CANNOT_SEND, GUEST_SEES_NOTHING, GUEST_SENDS, HOST_READS,
	    HOST_CLOSES, GUEST_SEES_CLOSE } },
	{ "guest: one after the other",
	  { GUEST_ENDS_READING, GUEST_SENDS, HOST_READS, GUEST_ENDS_SENDING, GUEST_SEES_RESET,
	    HOST_SEES_THE_END } },
	{ "guest: nothing of either",
	  { GUEST_ENDS_NOTHING, GUEST_SENDS, HOST_READS, HOST_SENDS, GUEST_READS,
	    GUEST_SEES_NOTHING } },
	{ "guest: breaks its word",
	  { GUEST_ENDS_SENDING, GUEST_BREAKS_ITS_WORD, GUEST_SEES_RESET, HOST_SEES_THE_END } },
	{ "guest: closes",
	  { GUEST_SENDS, HOST_READS, HOST_SENDS, GUEST_READS, GUEST_CLOSES, HOST_SEES_THE_END } },
	{ "guest: closes, with data on the way",
	  { GUEST_SENDS, GUEST_CLOSES, HOST_READS, HOST_SEES_THE_END } },
	{ "guest: resets",
	  { GUEST_SENDS, HOST_READS, GUEST_RESETS, HOST_SEES_THE_END } },
	{ "host: no more data, and reads on",
	  { HOST_SENDS, HOST_ENDS_SENDING, GUEST_READS, GUEST_SEES_THE_END, GUEST_SENDS,
	    HOST_READS, GUEST_CLOSES, HOST_SEES_THE_END } },
	{ "host: no more data, then closes",
	  { HOST_ENDS_SENDING, GUEST_SEES_THE_END, GUEST_SENDS, HOST_READS, HOST_CLOSES,
	    GUEST_SEES_CLOSE } },
	{ "host: reads no more, and sends on",
	  { HOST_ENDS_READING, GUEST_SEES_NO_READER, HOST_SENDS, GUEST_READS, HOST_CLOSES,
	    GUEST_SEES_RESET } },		/* what it had sent is lost */
	{ "host: closes",
	  { GUEST_SENDS, HOST_READS, HOST_CLOSES, GUEST_SEES_CLOSE } },
	{ "host: closes, with data on the way",
	  { HOST_SENDS, HOST_SENDS, HOST_CLOSES, GUEST_READS, GUEST_READS, GUEST_SEES_CLOSE } },
	{ "host: closes, and has not read all",
	  { GUEST_SENDS, HOST_HAS_INPUT, HOST_CLOSES, GUEST_SEES_LOSS } },
	{ "host: no more data, then closes, and has not read all",
	  { HOST_ENDS_SENDING, GUEST_SEES_THE_END, GUEST_SENDS, HOST_HAS_INPUT, HOST_CLOSES,
	    GUEST_SEES_LOSS } },
	{ "both: no more data, the guest first",
	  { GUEST_ENDS_SENDING, HOST_SEES_THE_END, HOST_ENDS_SENDING, GUEST_SEES_CLOSE,
	    HOST_CLOSES } },
	{ "both: no more data, the host first",
	  { HOST_ENDS_SENDING, GUEST_SEES_THE_END, GUEST_ENDS_SENDING, HOST_SEES_THE_END,
	    HOST_CLOSES, GUEST_SEES_CLOSE } },
	{ "both: close at once", { GUEST_ENDS_BOTH, HOST_CLOSES, GUEST_SEES_IT_GONE } },
};

static const struct host_kind *kind;		/* of the running program */

struct run {
	struct pair p;
	size_t guest_sent, guest_read, host_sent, host_read;	/* bytes */
	uint8_t bytes[PIECE];
};

static void guest_sends(struct run *r)
{
	pattern_fill(r->bytes, PIECE, r->guest_sent, GUEST_SEED);
	ck_assert(sock_send(r->p.guest, r->bytes, PIECE));
	r->guest_sent += PIECE;
}

static void guest_reads(struct run *r)
{
	ck_assert_uint_eq(sock_recv_full(r->p.guest, r->bytes, PIECE), PIECE);
	ck_assert_uint_eq(pattern_check(r->bytes, PIECE, r->guest_read, HOST_SEED), PIECE);
	r->guest_read += PIECE;
}

static void host_sends(struct run *r)
{
	pattern_fill(r->bytes, PIECE, r->host_sent, HOST_SEED);
	ck_assert(host_write(r->p.host, r->bytes, PIECE));
	r->host_sent += PIECE;
}

static void host_reads(struct run *r)
{
	ck_assert_uint_eq(host_read(r->p.host, r->bytes, PIECE), PIECE);
	ck_assert_uint_eq(pattern_check(r->bytes, PIECE, r->host_read, GUEST_SEED), PIECE);
	r->host_read += PIECE;
}

static void guest_breaks_its_word(struct sock *s)
{
	struct driver_pkt rw = driver_pkt(s->d, VSOCK_OP_RW, s->port, s->peer_port);

	rw.len = 4;
	ck_assert(driver_send(s->d, &rw, "late"));
}

static void guest_closes(struct run *r)
{
	int64_t start = daemon_clock_ms(&vhd);

	ck_assert(sock_close(r->p.guest));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
	r->p.guest = NULL;
}

static void host_cannot_send(struct run *r)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	ck_assert(driver_flush(r->p.guest->d));
	while (send(r->p.host, r->bytes, 1000, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
	       errno == EAGAIN)
		ck_assert(deadline_left(deadline));
	ck_assert_int_eq(errno, EPIPE);
	ck_assert(!r->p.guest->n_queue);
}

static void guest_sees_no_reader(struct sock *s, const void *bytes)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!(s->peer_shutdown & VSOCK_SHUTDOWN_RCV)) {
		ck_assert(deadline_left(deadline));
		sock_send_some(s, bytes, 1000);
		driver_wait(s->d, deadline_in(10), true);
	}
	ck_assert_int_eq(s->state, SOCK_OPEN);
	ck_assert_uint_eq(s->peer_shutdown, VSOCK_SHUTDOWN_RCV);
}

/* The guest's socket has seen the end of all, by a SHUTDOWN of both or else by RST. */
static bool was_closed(struct sock *s)
{
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	return s->peer_shutdown == VSOCK_SHUTDOWN_BOTH;
}

static void take(struct run *r, enum step step)
{
	struct sock *s = r->p.guest;

	switch (step) {
	case END:
		break;
	case GUEST_SENDS:
		guest_sends(r);
		break;
	case GUEST_READS:
		guest_reads(r);
		break;
	case GUEST_ENDS_SENDING:
		sock_shutdown(s, VSOCK_SHUTDOWN_SEND);
		break;
	case GUEST_ENDS_READING:
		sock_shutdown(s, VSOCK_SHUTDOWN_RCV);
		break;
	case GUEST_ENDS_BOTH:
		sock_shutdown(s, VSOCK_SHUTDOWN_BOTH);
		break;
	case GUEST_ENDS_NOTHING:
		sock_shutdown(s, 0);
		break;
	case GUEST_BREAKS_ITS_WORD:
		guest_breaks_its_word(s);
		break;
	case GUEST_CLOSES:
		guest_closes(r);
		break;
	case GUEST_RESETS:
		sock_send_rst(s);
		s->state = SOCK_RESET;
		break;
	case HOST_SENDS:
		host_sends(r);
		break;
	case HOST_READS:
		host_reads(r);
		break;
	case HOST_HAS_INPUT:
		ck_assert(deadline_poll(r->p.host, POLLIN, deadline_in(DEADLINE_MS)));
		break;
	case HOST_ENDS_SENDING:
		ck_assert_int_eq(shutdown(r->p.host, SHUT_WR), 0);
		break;
	case HOST_ENDS_READING:
		ck_assert_int_eq(shutdown(r->p.host, SHUT_RD), 0);
		break;
	case HOST_CLOSES:
		close(r->p.host);
		r->p.host = -1;
		break;
	case HOST_SEES_THE_END:
		ck_assert(host_is_closed(r->p.host, DEADLINE_MS));
		break;
	case HOST_CANNOT_SEND:
		host_cannot_send(r);
		break;
	case GUEST_SEES_THE_END:
		ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
		ck_assert_int_eq(s->state, SOCK_OPEN);
		ck_assert_uint_eq(s->peer_shutdown, VSOCK_SHUTDOWN_SEND);
		break;
	case GUEST_SEES_NO_READER:
		guest_sees_no_reader(s, r->bytes);
		break;
	case GUEST_SEES_CLOSE:
		ck_assert(was_closed(s));
		break;
	case GUEST_SEES_RESET:
		ck_assert(!was_closed(s));
		break;
	case GUEST_SEES_LOSS:
		ck_assert_int_eq(was_closed(s), !kind->tells_loss);
		break;
	case GUEST_SEES_IT_GONE:
		was_closed(s);
		break;
	case GUEST_SEES_NOTHING:
		ck_assert(driver_flush(s->d));
		ck_assert(driver_is_quiet(s->d, QUIET_MS / 4) || !s->n_queue);
		ck_assert_int_eq(s->state, SOCK_OPEN);
		ck_assert_uint_eq(s->peer_shutdown, 0);
		break;
	}
}

/* Nothing of it is left with anybody, and the next connection is not told of it. */
static void check_aftermath(struct run *r, unsigned fds)
{
	if (r->p.host >= 0)
		close(r->p.host);
	if (r->p.guest && r->p.guest->state == SOCK_OPEN)
		ck_assert(sock_close(r->p.guest));
	else if (r->p.guest)
		sock_free(r->p.guest);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
	r->p = kind->guest_connects();
	e2e_check_talks(r->p);
	e2e_close(r->p);
}

/* _i: the row, and who connects. */
START_TEST(ending)
{
	const struct ending *e = &endings[_i / 2];
	unsigned fds = daemon_usage(&vhd).fds;
	struct run *r = calloc(1, sizeof *r);

	must(r);
	r->p = _i % 2 ? kind->host_connects() : kind->guest_connects();
	for (int i = 0; i < STEPS_MAX && e->steps[i] != END; i++)
		take(r, e->steps[i]);
	check_aftermath(r, fds);
	free(r);
}
END_TEST

void endings_add(Suite *suite, void (*setup)(void), const struct host_kind *k)
{
	kind = k;
	for (int i = 0; i < (int)(sizeof endings / sizeof *endings); i++)
		tcase_add_loop_test(e2e_case(suite, endings[i].name, setup, 120), ending,
				    2 * i, 2 * i + 2);
}
