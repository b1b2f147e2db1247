/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon goes on to send, until we are interrupted.
 *
 * An engine that dies, or that another takes the place of, cuts that off in the middle; a daemon
 * that ends brings it to an end. So what is cut off goes on with the next engine, which is
 * waited for: the socket stays, and whoever connects is served in time.
 */
#pragma once

#include "vsockctl/args.h"
#include "vsockctl/http.h"

struct follow {
	http_sink *sink;			/* false ends it */
	/* It was cut off: what came last may not be whole. Returns the path that it goes on with.
	 * NULL: it does not go on. */
	const char *(*again)(void *ctx);
	bool (*stop)(void *ctx, uint64_t capture);	/* as http_request has it */
	void *ctx;
};

/* GETs @path without an end. SIGINT, SIGTERM and SIGHUP end it well, by stop(). An enum exit_code; what
 * went wrong has been said, but for what the sink knows. */
int follow(const struct args *a, const char *path, const struct follow *f);

/*
 * For a sink: writes all to @fd, a pipe whose reader may take its time, until we are interrupted;
 * then two seconds more, or until the next signal. 0; FOLLOW_E_UNREAD, not all is written;
 * -errno.
 */
enum { FOLLOW_E_UNREAD = 1 };
int follow_write(int fd, const void *bytes, size_t len);
const char *follow_str_error(int error);
