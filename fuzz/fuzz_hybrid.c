/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a host client, in pieces: its CONNECT line and what follows.
 *
 * Input: pieces: how many bytes (one byte; 0: it will write no more), then the
 * bytes. The client is looked at after each. All of it twice: of clients that can pass
 * descriptors, whose bytes are read, and of others, whose line stays in the socket.
 *
 * Asserted: what comes out depends on the bytes, not on the cuts: the line ends
 * at the first newline, which is one of the first HYBRID_LINE_MAX bytes, and the
 * stream gives all that follows. A client without such a line is closed. A port that
 * was parsed is found again in a line made of it. The answer is one whole OK line. No
 * descriptor stays open.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/handshake.h"
#include "backend/hybrid.h"
#include "backend/uds_stream.h"
#include "input.h"
#include "util/log.h"

enum { PIECES_MAX = 64, BYTES_MAX = PIECES_MAX * 255, UNTOUCHED = 4711 };

static struct loop *loop;
static int client;				/* the fuzzer's end of the socket */
static bool may_have_rights;
static bool is_done;
static bool was_counted_done;
static unsigned n_counted;

static struct {
	uint8_t bytes[BYTES_MAX];
	size_t len;
	bool is_shut;
} sent;

/* How many bytes before the newline of the first line; -1: it is not there. */
static ssize_t line_len(void)
{
	size_t within = sent.len < HYBRID_LINE_MAX ? sent.len : HYBRID_LINE_MAX;
	const uint8_t *newline = memchr(sent.bytes, '\n', within);

	return newline ? newline - sent.bytes : -1;
}

static void send_piece(struct input *in)
{
	size_t n = input_u8(in);

	if (!n) {
		sent.is_shut = true;
		shutdown(client, SHUT_WR);
		return;
	}
	input_take(in, sent.bytes + sent.len, n);
	if (!sent.is_shut && send(client, sent.bytes + sent.len, n, MSG_NOSIGNAL) == (ssize_t)n)
		sent.len += n;
}

/* What follows the line comes out of the stream. */
static void check_rest(struct stream *s)
{
	static uint8_t rest[BYTES_MAX];
	const uint8_t *behind = sent.bytes + line_len() + 1;
	size_t len = 0, n = 0;
	int r;

	do {
		struct iovec iov = { rest + len, sizeof rest - len };

		r = s->ops->read(s, &iov, 1, &n);
		len += r == 0 ? n : 0;
	} while (r == 0);
	assert(r == (sent.is_shut ? STREAM_E_EOF : STREAM_E_AGAIN));
	assert(len == sent.len - (size_t)line_len() - 1 && memcmp(rest, behind, len) == 0);
}

static bool parse(uint32_t *port)
{
	char again[HYBRID_LINE_MAX], *line;
	uint32_t same = UNTOUCHED;
	bool is_good;
	size_t len;

	assert(line_len() >= 0);
	len = (size_t)line_len() % HYBRID_LINE_MAX;
	line = input_copy(sent.bytes, len);
	*port = UNTOUCHED;
	is_good = hybrid_parse_connect(line, len, port);
	free(line);
	assert(is_good || *port == UNTOUCHED);
	len = (size_t)snprintf(again, sizeof again, "CONNECT %u", *port);
	assert(hybrid_parse_connect(again, len, &same) && same == *port);
	return is_good;
}

static void check_answer(struct stream *s, uint32_t port)
{
	struct vsock_addr guest = { 3, port };
	char ok[HYBRID_REPLY_MAX], got[2 * HYBRID_REPLY_MAX];
	int len = snprintf(ok, sizeof ok, "OK %u\n", port);

	s->ops->accepted(s, &guest);
	assert(recv(client, got, sizeof got, MSG_DONTWAIT) == len);
	assert(memcmp(got, ok, (size_t)len) == 0);
}

/* Once for each client, before or after what comes of it. */
static void on_counted(void *ctx, enum backend_handshake how)
{
	(void)ctx;
	assert(!n_counted++);
	was_counted_done = how == HANDSHAKE_DONE;
}

static void on_handshake(void *ctx, const struct handshake_result *result)
{
	const struct uds_stream_config config = {
		.loop = loop, .fd = result->fd, .may_have_rights = may_have_rights,
		.from_host = true, .early = result->early, .n_early = result->n_early,
		.n_unread = result->n_unread, .has_more = result->has_more,
	};
	struct stream *s;
	uint32_t port;

	(void)ctx;
	assert(!is_done && line_len() >= 0 && parse(&port) && result->port == port);
	is_done = true;
	if (uds_stream_new(&s, &config))
		abort();
	check_answer(s, port);
	check_rest(s);
	s->ops->close(s, true);
}

/* It waits for more, has been handed on, or is closed. */
static void check(const struct handshakes *hs)
{
	bool waits = line_len() < 0 && sent.len < HYBRID_LINE_MAX && !sent.is_shut;
	uint32_t port;

	assert(hs->n == waits);
	assert(is_done == (line_len() >= 0 && parse(&port)));
}

static void play(struct input *in, struct handshakes *hs)
{
	for (int i = 0; i < PIECES_MAX && in->left && hs->n; i++) {
		send_piece(in);
		if (loop_step(loop, 0))
			abort();
		check(hs);
	}
}

static void try(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct handshakes_config config = {
		.tag = "fuzz", .path = "", .max = 1, .timeout_ms = UINT32_MAX,
		.may_have_rights = may_have_rights, .done = on_handshake, .counted = on_counted,
	};
	struct handshakes hs;
	int n_fds_before, socks[2];

	log_level = LEVEL_ERR;
	if (!loop && loop_new(&loop))
		abort();
	n_fds_before = input_count_fds();
	config.loop = loop;
	handshakes_init(&hs, &config);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
		abort();
	client = socks[0];
	is_done = was_counted_done = false;
	n_counted = 0;
	sent.len = 0;
	sent.is_shut = false;
	handshakes_add(&hs, socks[1]);
	play(&in, &hs);
	assert(n_counted == !hs.n && was_counted_done == is_done);
	handshakes_deinit(&hs);
	close(client);
	assert(input_count_fds() == n_fds_before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	may_have_rights = true;
	try(data, size);
	may_have_rights = false;
	try(data, size);
	return 0;
}
