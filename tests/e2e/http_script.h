/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon's API that says what a script wants: a thread that takes one HTTP request after the
 * other at a unix socket, and answers by the first row that fits.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>

struct http_row {
	const char *request;			/* "GET /v1/vms"; NULL: the last row */
	const char *answer;			/* all of it, or a body for status 200 if it begins with "{" */
	size_t repeat;				/* the answer's body, so often; 0: once */
};

enum { HTTP_SEEN_MAX = 8192 };

struct http_script {
	int listener;
	const struct http_row *rows;
	char seen[HTTP_SEEN_MAX];		/* the first lines of all requests, and their bodies */
	pthread_t thread;
};

void http_script_start(struct http_script *s, const char *path, const struct http_row *rows);
void http_script_stop(struct http_script *s);
