/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked. */
#include "control/api_routes.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util/decimal.h"

static const struct { enum api_method method; const char *name; } methods[] = {
	{ API_GET, "GET" }, { API_GET, "HEAD" }, { API_PUT, "PUT" }, { API_POST, "POST" },
	{ API_DELETE, "DELETE" },
};

enum { METHODS = sizeof methods / sizeof *methods };

/* 0: none of ours. */
static unsigned find_method(const char *name)
{
	for (size_t i = 0; i < METHODS; i++)
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].method;
	return 0;
}

/* A number as we would write it, behind which @end stands. */
static bool take_number(const char **at, char end, uint64_t max, uint64_t *out)
{
	const char *c = *at;
	bool is_padded = c[0] == '0' && c[1] >= '0' && c[1] <= '9';
	uint64_t n;

	if (is_padded || !decimal_take(&c, max, &n) || *c != end)
		return false;
	*out = n;
	*at = end ? c + 1 : c;
	return true;
}

static bool parse_cid(const char *text, struct api_args *args)
{
	return take_number(&text, '\0', UINT32_MAX, &args->cid) && args->cid;
}

static bool parse_capture(const char *text, struct api_args *args)
{
	return take_number(&text, '\0', UINT64_MAX, &args->capture) && args->capture;
}

static bool parse_id(const char *text, struct api_args *args)
{
	static const struct { const char *name; enum vsock_type type; } types[] = {
		{ "stream-", VSOCK_TYPE_STREAM }, { "seqpacket-", VSOCK_TYPE_SEQPACKET },
	};
	uint64_t guest_port, peer_cid, peer_port;
	size_t i = 0;

	while (i < 2 && strncmp(text, types[i].name, strlen(types[i].name)) != 0)
		i++;
	if (i == 2)
		return false;
	text += strlen(types[i].name);
	args->type = types[i].type;
	if (!take_number(&text, '-', UINT32_MAX, &guest_port) ||
	    !take_number(&text, '-', UINT64_MAX, &peer_cid) ||
	    !take_number(&text, '\0', UINT32_MAX, &peer_port))
		return false;
	args->guest_port = (uint32_t)guest_port;
	args->peer = (struct vsock_addr){ peer_cid, (uint32_t)peer_port };
	return true;
}

/* One part of a path, up to the next slash: is it what the route's has? 0; API_ROUTES_E_*. */
static int match_part(const char *part, size_t len, const char *wanted, size_t wanted_len,
		      struct api_args *args)
{
	static const struct {
		const char *name;
		bool (*parse)(const char *text, struct api_args *args);
		const char *wanted;
	} places[] = {
		{ "{cid}", parse_cid, "a guest's CID is a number from 3 to 4294967294" },
		{ "{id}", parse_id, "the id of a connection is (stream or seqpacket)-GUEST_PORT-"
		  "PEER_CID-PEER_PORT, as the list of connections has it" },
		{ "{capture}", parse_capture, "the id of a capture is a number, as /v1/captures has it" },
	};
	enum { PLACES = sizeof places / sizeof *places };
	char text[64];
	size_t i = 0;

	while (i < PLACES && (strlen(places[i].name) != wanted_len ||
			      memcmp(places[i].name, wanted, wanted_len) != 0))
		i++;
	if (i == PLACES || !len)
		return len == wanted_len && memcmp(part, wanted, len) == 0 ? 0 : API_ROUTES_E_PATH;
	if (len < sizeof text) {
		memcpy(text, part, len);
		text[len] = '\0';
		if (places[i].parse(text, args))
			return 0;
	}
	if (!args->wanted)
		args->wanted = places[i].wanted;
	return API_ROUTES_E_ARGS;
}

/* 0; API_ROUTES_E_PATH; API_ROUTES_E_ARGS: all parts are there. */
static int match(const char *path, const char *wanted, struct api_args *args)
{
	int r = 0;

	*args = (struct api_args){ 0 };
	while (*path == '/' && *wanted == '/') {
		size_t len = strcspn(++path, "/"), wanted_len = strcspn(++wanted, "/");
		int part = match_part(path, len, wanted, wanted_len, args);

		if (part == API_ROUTES_E_PATH)
			return part;
		r = r ? r : part;
		path += len;
		wanted += wanted_len;
	}
	return *path || *wanted ? API_ROUTES_E_PATH : r;
}

int api_routes_find(const struct api_route *routes, const char *method, const char *path,
		    const struct api_route **out, struct api_args *args, unsigned *allowed)
{
	unsigned wanted = find_method(method);
	struct api_args found;
	int r = API_ROUTES_E_PATH;

	*allowed = 0;
	for (const struct api_route *route = routes; route->path; route++) {
		int this = match(path, route->path, &found);

		if (this == API_ROUTES_E_PATH)
			continue;
		*allowed |= route->method;
		if (route->method == wanted) {
			*args = found;
			if (this)
				return this;
			*out = route;
			return 0;
		}
		r = API_ROUTES_E_METHOD;
	}
	return r;
}

void api_routes_str_allowed(unsigned allowed, char text[API_ALLOWED_MAX])
{
	size_t len = 0;

	*text = '\0';
	for (size_t i = 0; i < METHODS; i++)
		if (allowed & methods[i].method && len < API_ALLOWED_MAX)
			len += (size_t)snprintf(text + len, API_ALLOWED_MAX - len, "%s%s",
						len ? ", " : "", methods[i].name);
}
