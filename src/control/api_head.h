/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The head of a request, judged before anything is made of it. libmicrohttpd takes what it does
 * not understand for what comes next to it: what is behind a NUL is not there, a line that goes on in
 * the next one does so in its name, the first of two lengths counts, a coding that it does not know
 * has no end. Whoever else has read the request, as
 * a proxy that lets some paths pass, may have seen another one; so it is refused. RFC 9112.
 *
 * The attacker is whoever may connect to the API. Input of a fuzz target.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { API_HEAD_BYTES = 32 * 1024 };		/* for the head of a request, and of its answer */

struct api_head {				/* zeroes before the first line */
	bool has_length, has_coding;
	bool is_old;				/* HTTP/1.0, which has no codings */
	const char *end;			/* of the last line so far: its NUL */
};

/* The request line, as the library has cut it where it lies in its buffer: each part ends with a
 * NUL, and the next begins behind that if there was one blank (3), and no other NUL. @uri with what
 * is behind its path, @uri_len before any of it was decoded. NULL; what is wrong. */
const char *api_head_check_line(struct api_head *h, const char *method, const char *uri,
				size_t uri_len, const char *version);

/* One of the header fields, in their order, behind that line and where they lie: it is one line
 * (5.2), its name is a token, there are no control characters and no NUL in it (5), and it is said
 * once, and one way, how long the body is (6). NULL; what is wrong. */
const char *api_head_check_field(struct api_head *h, const char *name, const char *value);

/* Behind the last field, or the first line if there is none: at @next, where the head ends, the
 * body or another request begins. NULL; what is wrong. */
const char *api_head_check_end(const struct api_head *h, const char *next);
