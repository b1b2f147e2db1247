/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a host client, in pieces: its CONNECT line and what follows.
 *
 * Input: pieces: how many bytes (one byte; 0: it will write no more), then the
 * bytes. After each the line is looked for.
 *
 * Asserted: what comes out depends on the bytes, not on the cuts: the line ends
 * at the first newline, which is one of the first HYBRID_LINE_MAX bytes, and all
 * behind it is what the stream is read for. A port that was parsed is found again in a
 * line made of it. The answer is one whole OK line. No descriptor stays open.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/hybrid.h"
#include "backend/uds_stream.h"
#include "input.h"

enum { PIECES_MAX = 64, BYTES_MAX = PIECES_MAX * 255, UNTOUCHED = 4711 };

static struct loop *loop;

static struct {
	uint8_t bytes[BYTES_MAX];
	size_t len;
	bool is_shut;
} sent;

/* What reading the line must say of the bytes sent so far. */
static int expected(size_t *line_len)
{
	size_t within = sent.len < HYBRID_LINE_MAX ? sent.len : HYBRID_LINE_MAX;
	const uint8_t *newline = memchr(sent.bytes, '\n', within);

	if (newline) {
		*line_len = (size_t)(newline - sent.bytes);
		return 0;
	}
	if (sent.len >= HYBRID_LINE_MAX)
		return -EMSGSIZE;
	return sent.is_shut ? STREAM_E_EOF : STREAM_E_AGAIN;
}

static void send_piece(struct input *in, int sock)
{
	size_t n = input_u8(in);

	if (!n) {
		sent.is_shut = true;
		shutdown(sock, SHUT_WR);
		return;
	}
	input_take(in, sent.bytes + sent.len, n);
	if (!sent.is_shut && send(sock, sent.bytes + sent.len, n, MSG_NOSIGNAL) == (ssize_t)n)
		sent.len += n;
}

static void on_handshake(struct uds_stream *s)
{
	(void)s;
}

/* The line is there, and what is behind it comes out of the stream. */
static void check_line(struct uds_stream *s, size_t line_len)
{
	static uint8_t rest[BYTES_MAX];
	const uint8_t *behind = sent.bytes + line_len + 1;
	size_t len = 0, n = 0;
	int r;

	assert(s->line_len == line_len && memcmp(s->line, sent.bytes, line_len) == 0);
	s->handshake_ready = on_handshake;
	uds_stream_go_live(s);
	do {
		struct iovec iov = { rest + len, sizeof rest - len };

		r = s->sock.base.ops->read(&s->sock.base, &iov, 1, &n);
		len += r == 0 ? n : 0;
	} while (r == 0);
	assert(r == (sent.is_shut ? STREAM_E_EOF : STREAM_E_AGAIN));
	assert(len == sent.len - line_len - 1 && memcmp(rest, behind, len) == 0);
}

static bool parse(const struct uds_stream *s, uint32_t *port)
{
	char *line = input_copy(s->line, s->line_len), again[HYBRID_LINE_MAX];
	uint32_t same = UNTOUCHED;
	bool is_good;
	int len;

	*port = UNTOUCHED;
	is_good = hybrid_parse_connect(line, s->line_len, port);
	free(line);
	assert(is_good || *port == UNTOUCHED);
	len = snprintf(again, sizeof again, "CONNECT %u", *port);
	assert(hybrid_parse_connect(again, (size_t)len, &same) && same == *port);
	return is_good;
}

static void check_answer(struct uds_stream *s, int sock, uint32_t port)
{
	struct vsock_addr guest = { 3, port };
	char ok[HYBRID_REPLY_MAX], got[2 * HYBRID_REPLY_MAX];
	int len = snprintf(ok, sizeof ok, "OK %u\n", port);

	s->sock.base.ops->accepted(&s->sock.base, &guest);
	assert(recv(sock, got, sizeof got, MSG_DONTWAIT) == len);
	assert(memcmp(got, ok, (size_t)len) == 0);
}

static void play(struct input *in, struct uds_stream *s, int sock)
{
	size_t line_len = 0;
	uint32_t port;
	int r = STREAM_E_AGAIN;

	for (int i = 0; i < PIECES_MAX && in->left && r == STREAM_E_AGAIN; i++) {
		send_piece(in, sock);
		r = uds_stream_read_line(s);
		assert(r == expected(&line_len));
	}
	if (r)
		return;
	check_line(s, line_len);
	if (parse(s, &port))
		check_answer(s, sock, port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	int n_fds_before, socks[2];
	struct uds_stream *s;

	if (!loop && loop_new(&loop))
		abort();
	n_fds_before = input_count_fds();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) ||
	    uds_stream_new(&s, loop, NULL, socks[1]))
		abort();
	sent.len = 0;
	sent.is_shut = false;
	play(&in, s, socks[0]);
	s->sock.base.ops->close(&s->sock.base, true);
	close(socks[0]);
	assert(input_count_fds() == n_fds_before);
	return 0;
}
