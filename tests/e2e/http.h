/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the control API, as plain as it can be: a request, an answer, over a unix socket.
 * Whoever wants to be slow or hostile has its socket. */
#pragma once

#include <stddef.h>

struct http_answer {
	int status;				/* 0: there was none */
	char type[64];				/* Content-Type */
	char allow[64];				/* Allow; "" */
	char *body;				/* owned, with a NUL behind it */
	size_t len;
};

/* Sends it, with Connection: close; @body NULL: it has none. */
void http_send(int fd, const char *method, const char *path, const char *body);
/* Reads to the end of the connection, or the deadline. */
struct http_answer http_read(int fd);
void http_answer_deinit(struct http_answer *a);

/* A connection for it: all of the above. */
struct http_answer http_ask(const char *socket, const char *method, const char *path,
			    const char *body);
