/* SPDX-License-Identifier: BSD-3-Clause */
/* From a request's method and path to the row of a table that says who serves it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vsock/pkt.h"

struct api_query_key;
struct api_request;

enum api_method { API_GET = 1, API_PUT = 2, API_POST = 4, API_DELETE = 8 };

/* What a path has in it where its route has "{cid}", "{id}" and "{capture}". */
struct api_args {
	const char *wanted;			/* API_ROUTES_E_ARGS: instead of what is there */
	uint64_t cid;
	uint64_t capture;
	enum vsock_type type;			/* id: TYPE-GUEST_PORT-PEER_CID-PEER_PORT */
	uint32_t guest_port;
	struct vsock_addr peer;
};

struct api_route {
	enum api_method method;
	const char *path;
	/* The whole request is there. An answer has been given to it, or will be, when this
	 * returns; see api_request.h. */
	void (*serve)(struct api_request *r);
	const struct api_query_key *query;	/* what may be behind the path; NULL: nothing */
};

enum {
	API_ROUTES_E_PATH = 1,			/* there is no such path */
	API_ROUTES_E_ARGS,			/* a part of it is no number, or no id */
	API_ROUTES_E_METHOD,			/* but not with this method */
};

/* @routes has a NULL path at its end. @method as HTTP spells it; HEAD is a GET whose body is not sent. @path is decoded, without the
 * query. 0; API_ROUTES_E_*, _ARGS with
 * @args->wanted; @allowed, a set of enum api_method, for the last. */
int api_routes_find(const struct api_route *routes, const char *method, const char *path,
		    const struct api_route **out, struct api_args *args, unsigned *allowed);

/* "GET, PUT": what a path can be asked with, for people and for the header Allow. */
enum { API_ALLOWED_MAX = 32 };
void api_routes_str_allowed(unsigned allowed, char text[API_ALLOWED_MAX]);
