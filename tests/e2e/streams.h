/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the control API that asks for what has no end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "e2e/http.h"

enum { STREAMS_MAX = 64 << 20 };		/* bytes of a body */

struct stream {
	int fd;
	int status;
	char type[64];				/* Content-Type */
	char *body;				/* owned: so far, with a NUL behind it */
	size_t n, room;				/* of the body, without the NUL */
	bool has_ended;
};

/* Asks the daemon's API (apis.h), and has the answer's head when it returns. By HTTP/1.0, so the
 * body is what it is. */
void stream_open(struct stream *s, const char *url);
void stream_close(struct stream *s);

/* As the document has it? NULL, or what is wrong. */
const char *stream_check(const struct stream *s, const char *path);

bool stream_read_some(struct stream *s, int ms);	/* false: nothing has come */

/* Until @text has been there @n times; dies at the deadline. */
void stream_wait(struct stream *s, const char *text, unsigned n);
unsigned stream_count(const struct stream *s, const char *text);

void stream_read_to_end(struct stream *s);	/* dies at the deadline */
