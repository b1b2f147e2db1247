/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the control API that asks for what has no end: see streams.h. */
#include "e2e/streams.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/openapi.h"

enum { PIECE = 256 * 1024 };

bool stream_read_some(struct stream *s, int ms)
{
	char *bytes;
	ssize_t n;

	if (s->has_ended || !deadline_poll(s->fd, POLLIN, deadline_in(ms)))
		return false;
	must(s->n < STREAMS_MAX);
	bytes = s->body;
	if (s->room < s->n + PIECE) {		/* a sanitizer copies each time */
		s->room = 2 * s->n + PIECE;
		bytes = realloc(s->body, s->room + 1);
		must(bytes);
		s->body = bytes;
	}
	n = read(s->fd, bytes + s->n, PIECE);
	s->has_ended = n <= 0;
	s->n += n > 0 ? (size_t)n : 0;
	bytes[s->n] = '\0';
	return n > 0;
}

static void take_head(struct stream *s, char *end)
{
	const char *type;

	*end = '\0';
	must(sscanf(s->body, "HTTP/1.%*d %d", &s->status) == 1);
	type = strcasestr(s->body, "\r\nContent-Type: ");
	if (type)
		snprintf(s->type, sizeof s->type, "%.*s", (int)strcspn(type + 16, "\r"), type + 16);
	s->n -= (size_t)(end + 4 - s->body);
	memmove(s->body, end + 4, s->n + 1);
}

void stream_open(struct stream *s, const char *url)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char head[512], *end = NULL;

	*s = (struct stream){ .fd = host_connect(apis_socket), .body = calloc(1, 1) };
	must(s->fd >= 0 && s->body);
	snprintf(head, sizeof head, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", url);
	must(host_write(s->fd, head, strlen(head)));
	while (!end && deadline_left(deadline) && !s->has_ended) {
		stream_read_some(s, 100);
		end = strstr(s->body, "\r\n\r\n");
	}
	ck_assert_msg(end, "%s: no answer: %.1000s", url, s->body);
	take_head(s, end);
}

void stream_close(struct stream *s)
{
	close(s->fd);
	free(s->body);
	s->body = NULL;
	s->fd = -1;
}

const char *stream_check(const struct stream *s, const char *path)
{
	struct http_answer a = { .status = s->status, .body = s->body, .len = s->n };

	snprintf(a.type, sizeof a.type, "%s", s->type);
	return openapi_check("GET", path, &a);
}

/* From *@from on, which is then behind the last of them. */
static unsigned count_on(const struct stream *s, const char *text, size_t *from)
{
	unsigned n = 0;

	for (const char *at; (at = strstr(s->body + *from, text)); n++)
		*from = (size_t)(at - s->body) + strlen(text);
	return n;
}

unsigned stream_count(const struct stream *s, const char *text)
{
	return count_on(s, text, &(size_t){ 0 });
}

void stream_wait(struct stream *s, const char *text, unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	unsigned there = 0;
	size_t from = 0;

	while ((there += count_on(s, text, &from)) < n && deadline_left(deadline) && !s->has_ended)
		stream_read_some(s, 100);
	ck_assert_msg(there >= n, "%s: %u times, not %u: %.1000s", text, there, n, s->body);
}

void stream_read_to_end(struct stream *s)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!s->has_ended && deadline_left(deadline))
		stream_read_some(s, 100);
	ck_assert(s->has_ended);
}
