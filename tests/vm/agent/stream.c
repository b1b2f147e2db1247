/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs that move bytes. What is sent depends on a seed and on the position in the
 * stream, word by word and without repetition, so a lost, doubled or moved byte shows at
 * once and with its position. The sums are over what send() took and recv() gave.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent.h"

static uint64_t pattern_word(uint64_t seed, uint64_t index)
{
	return (index + (seed << 40)) * 0x9e3779b97f4a7c15u;
}

static void pattern_fill(char *buf, size_t n, const struct flow *f)
{
	uint64_t pos = f->pos, w;
	size_t i = 0, k;

	while (i < n) {
		w = pattern_word(f->seed, pos / 8);
		k = 8 - pos % 8;
		if (k > n - i)
			k = n - i;
		memcpy(buf + i, (char *)&w + pos % 8, k);
		i += k;
		pos += k;
	}
}

static void flow_advance(struct flow *f, const char *buf, size_t n)
{
	uint32_t a = f->a, b = f->b;

	for (size_t i = 0; i < n; i++) {
		a += (unsigned char)buf[i];
		b += a;
	}
	f->a = a;
	f->b = b;
	f->pos += n;
}

/* Bytes came: are they those that were to come? */
static int check_in(struct conn *c, size_t n)
{
	size_t i;

	pattern_fill(c->want, n, &c->in);
	if (memcmp(c->buf, c->want, n) != 0) {
		for (i = 0; c->buf[i] == c->want[i]; i++)
			;
		return fail(c, "MISMATCH", "position=%llu",
			    (unsigned long long)(c->in.pos + i));
	}
	flow_advance(&c->in, c->buf, n);
	c->received += n;
	return 0;
}

int do_seed(struct conn *c, struct step *s)
{
	c->out.seed = strtoull(s->word[1], NULL, 0) + (unsigned)c->index;
	c->in.seed = strtoull(s->word[s->n_words > 2 ? 2 : 1], NULL, 0) +
		     (unsigned)c->index;
	return 0;
}

int do_chunk(struct conn *c, struct step *s)
{
	c->chunk = strtoul(s->word[1], NULL, 0);
	if (c->chunk == 0 || c->chunk > CHUNK_MAX)
		c->chunk = CHUNK_MAX;
	return 0;
}

int do_pace(struct conn *c, struct step *s)
{
	c->pace_ms = (unsigned)strtoul(s->word[1], NULL, 0);
	return 0;
}

/* One send() or recv() of at most n bytes. */
static int send_some(struct conn *c, uint64_t n, int flags)
{
	size_t k = n < c->chunk ? (size_t)n : c->chunk;
	ssize_t r;

	pattern_fill(c->buf, k, &c->out);
	r = send(c->fd, c->buf, k, flags | MSG_NOSIGNAL);
	if (r < 0)
		return -1;
	flow_advance(&c->out, c->buf, (size_t)r);
	c->sent += (size_t)r;
	return 0;
}

/* So older Linux guests say end of stream if the peer closed before they looked. */
static bool is_end(int error)
{
	return error == ENOTCONN;
}

static int receive_some(struct conn *c, uint64_t n, int flags, bool *eof)
{
	size_t k = n < c->chunk ? (size_t)n : c->chunk;
	ssize_t r;

	*eof = false;
	if (c->pace_ms > 0)
		poll(NULL, 0, (int)c->pace_ms);
	r = recv(c->fd, c->buf, k, flags);
	if (r < 0 && is_end(errno))
		r = 0;
	if (r < 0)
		return -1;
	*eof = r == 0;
	return check_in(c, (size_t)r);
}

int do_send(struct conn *c, struct step *s)
{
	uint64_t end = c->sent + strtoull(s->word[1], NULL, 0);
	int r = 0;

	while (r == 0 && c->sent < end)
		r = send_some(c, end - c->sent, 0);
	return r;
}

int do_recv(struct conn *c, struct step *s)
{
	uint64_t end = c->received + strtoull(s->word[1], NULL, 0);
	bool eof;
	int r = 0;

	while (r == 0 && c->received < end) {
		r = receive_some(c, end - c->received, 0, &eof);
		if (r == 0 && eof)
			return fail(c, "SHORT", "received=%llu",
				    (unsigned long long)c->received);
	}
	return r;
}

int do_peek(struct conn *c, struct step *s)
{
	size_t n = strtoul(s->word[1], NULL, 0);
	ssize_t r;

	if (n > CHUNK_MAX)
		n = CHUNK_MAX;
	do {
		r = recv(c->fd, c->buf, n, MSG_PEEK);
	} while (r > 0 && (size_t)r < n);
	if (r < 0)
		return -1;
	pattern_fill(c->want, n, &c->in);
	if ((size_t)r != n || memcmp(c->buf, c->want, n) != 0)
		return fail(c, "MISMATCH", "peeked=%zd", r);
	return 0;
}

int do_drain(struct conn *c, struct step *s)
{
	bool eof = false;
	int r = 0;

	(void)s;
	while (r == 0 && !eof)
		r = receive_some(c, CHUNK_MAX, 0, &eof);
	return r;
}

/* Like drain, but a reset is an end, too; whatever came has to be right. */
int do_until_end(struct conn *c, struct step *s)
{
	int r = do_drain(c, s);

	return r < 0 && (errno == ECONNRESET || errno == EPIPE) ? 0 : r;
}

/* Both directions at once, in one thread. */
int do_duplex(struct conn *c, struct step *s)
{
	uint64_t out_end = c->sent + strtoull(s->word[1], NULL, 0);
	uint64_t in_end = c->received + strtoull(s->word[2], NULL, 0);
	struct pollfd p = { .fd = c->fd };
	bool eof;
	int r = 0;

	while (r == 0 && (c->sent < out_end || c->received < in_end)) {
		p.events = (short)((c->sent < out_end ? POLLOUT : 0) |
				   (c->received < in_end ? POLLIN : 0));
		if (poll(&p, 1, -1) < 0)
			return -1;
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			r = receive_some(c, in_end - c->received, MSG_DONTWAIT, &eof);
			if (r < 0 && errno == EAGAIN)
				r = 0;
			else if (r == 0 && eof && c->received < in_end)
				r = fail(c, "SHORT", "received=%llu",
					 (unsigned long long)c->received);
		}
		if (r == 0 && (p.revents & POLLOUT)) {
			r = send_some(c, out_end - c->sent, MSG_DONTWAIT);
			if (r < 0 && errno == EAGAIN)
				r = 0;
		}
	}
	return r;
}

int do_echo(struct conn *c, struct step *s)
{
	ssize_t r, w;

	(void)s;
	while ((r = recv(c->fd, c->buf, c->chunk, 0)) > 0) {
		c->received += (size_t)r;
		flow_advance(&c->in, c->buf, (size_t)r);
		for (ssize_t done = 0; done < r; done += w) {
			w = send(c->fd, c->buf + done, (size_t)(r - done), MSG_NOSIGNAL);
			if (w < 0)
				return -1;
			flow_advance(&c->out, c->buf + done, (size_t)w);
			c->sent += (size_t)w;
		}
	}
	return r < 0 ? -1 : 0;
}

int do_eof(struct conn *c, struct step *s)
{
	ssize_t r = recv(c->fd, c->buf, 1, 0);

	(void)s;
	if (r > 0)
		return fail(c, "NO_EOF", "byte=%d", (unsigned char)c->buf[0]);
	return r < 0 && !is_end(errno) ? -1 : 0;
}
