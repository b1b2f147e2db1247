/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client of the control API may say, as far as it is ours to read.
 *
 * Input: what it is (1 byte), and that: bit 0 unset, the body of a VM to add; bit 1 unset, a
 * method, a blank and a path; bit 3 unset, the body that says a level; bit 4 unset, a value behind a
 * path; else the head of a request with its end, which is cut as libmicrohttpd does it.
 *
 * Asserted: a row that is accepted is keys and values by turns, none of them cut; it becomes a VM
 * that is whole, in the folder that is open to it, without what is not for the API, or is
 * refused with a reason. What comes instead of JSON, too: the supervisor believes no engine. A
 * route that is found has the method and as many parts as the path, and its numbers are those
 * of the path. What is read of a value is what it says, and no text is cut where it is decoded.
 * A head that is accepted has no NUL in a line, none that goes on in the next one, and says at most
 * once how long a body is.
 */
#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>

#include "config/api.h"
#include "config/error.h"
#include "config/keys.h"
#include "config/plan.h"
#include "control/api_body.h"
#include "control/api_query.h"
#include "control/api_routes.h"
#include "control/api_table.h"
#include "head_model.h"
#include "input.h"
#include "util/log.h"

enum { CID = 5 };

/* ---- a VM ---- */

/* "/" is a folder everywhere, and so is /dev, which is not open. */
static void make_plan(struct plan *plan)
{
	plan_init(plan);
	plan->handshake_ms = 1;
	plan->api_folders = calloc(1, sizeof *plan->api_folders);
	if (!plan->api_folders || !(plan->api_folders[0] = strdup("/proc")))
		abort();
	plan->n_api_folders = 1;
}

static void check_path(const char *path)
{
	assert(!path || *path == '/');
	assert(!path || strstr(path, "..") || strstr(path, "proc"));
}

static void check_vm(const struct vm_plan *vm, bool has_vsock)
{
	assert(vm->guest_cid == CID && vm->vhost_socket.fd < 0 && vm->uds_socket.fd < 0);
	assert(!vm->vhost_socket.group && !vm->uds_socket.group);
	assert(has_vsock || !vm->has_forward_cid);
	assert(!vm->socket != !vm->connect && !vm->uds_path != !vm->has_forward_cid);
	assert(vm->n_groups && !vm->socket_at.rest == !vm->socket);
	check_path(vm->socket);
	check_path(vm->connect);
	check_path(vm->uds_path);
}

static void add_row(const char *row, size_t len, bool has_vsock)
{
	struct config_error err = { "" };
	struct plan plan;
	int r;

	make_plan(&plan);
	r = api_add_row(&plan, CID, row, len, has_vsock, &err);
	assert(r == 0 || r == CONFIG_E_USAGE || r == API_E_DENIED);
	assert(!*err.text == !r);
	if (!r) {
		assert(plan.n_vms == 1);
		check_vm(&plan.vms[0], has_vsock);
	}
	plan_deinit(&plan);
}

static void attack_row(const char *text, size_t size, uint8_t how)
{
	char why[API_BODY_ERROR_MAX] = "";
	struct api_body_row row;
	const char *wrong = api_body_row(&row, text, size, why);
	size_t n = 0;

	add_row(text, size, how & 4);
	assert(row.len <= sizeof row.bytes && (!wrong || (*wrong && strlen(wrong) < sizeof why)));
	if (wrong)
		return;
	assert(!row.len || !row.bytes[row.len - 1]);
	for (size_t i = 0; i < row.len; i++)
		n += !row.bytes[i];
	assert(n % 2 == 0);
	add_row(row.bytes, row.len, how & 4);
}

/* ---- routes ---- */

static unsigned count_parts(const char *path)
{
	unsigned n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

static void check_args(const struct api_route *route, const char *path, const struct api_args *args)
{
	char again[256];

	if (strstr(route->path, "{capture}")) {
		snprintf(again, sizeof again, "/v1/captures/%" PRIu64, args->capture);
		assert(args->capture && strcmp(path, again) == 0);
	}
	if (!strstr(route->path, "{cid}"))
		return;
	assert(args->cid && args->cid <= UINT32_MAX);
	snprintf(again, sizeof again, "/v1/vms/%" PRIu64, args->cid);
	assert(strncmp(path, again, strlen(again)) == 0);
	if (!strstr(route->path, "{id}"))
		return;
	snprintf(again, sizeof again, "/v1/vms/%" PRIu64 "/connections/%s-%" PRIu32 "-%" PRIu64
		 "-%" PRIu32, args->cid,
		 args->type == VSOCK_TYPE_STREAM ? "stream" : "seqpacket", args->guest_port,
		 args->peer.cid, args->peer.port);
	assert(strcmp(path, again) == 0);
}

static void attack_routes(char *text)
{
	const struct api_route *route = NULL;
	struct api_args args;
	unsigned allowed = 0;
	char *path = strchr(text, ' '), all[API_ALLOWED_MAX];
	int r;

	if (!path)
		return;
	*path++ = '\0';
	r = api_routes_find(api_table, text, path, &route, &args, &allowed);
	assert((r == 0) == (route != NULL) && (r != API_ROUTES_E_ARGS || args.wanted));
	assert(r != API_ROUTES_E_METHOD || allowed);
	api_routes_str_allowed(allowed, all);
	assert(!*all == !allowed && strlen(all) < sizeof all);
	if (r)
		return;
	assert(strcmp(text, "HEAD") == 0 || strstr(all, text));
	assert(count_parts(path) == count_parts(route->path));
	check_args(route, path, &args);
}

/* ---- values ---- */

static const struct api_query_key keys[] = {
	{ "since", false }, { "port", true }, { NULL, false },
};

/* Nothing is cut off, and no more than what is said becomes shorter. */
static void check_decoded(const char *text)
{
	unsigned given = 0;
	char *copy = strdup(text);
	size_t len = strlen(text), decoded;

	if (!copy)
		abort();
	decoded = api_query_decode(copy);
	assert(decoded == strlen(copy) && decoded <= len && decoded >= (len + 2) / 3);
	assert(strchr(text, '%') || strcmp(copy, text) == 0);
	if (!api_query_claim(keys, copy, &given))
		assert(given && api_query_claim(keys, copy, &given) == (*copy == 's' ?
			API_QUERY_E_REPEATED : 0));
	free(copy);
}

static void attack_value(const char *text)
{
	char again[64];
	uint64_t ns, n;

	check_decoded(text);

	if (api_query_number(text, 5, UINT32_MAX, &n)) {
		assert(n >= 5 && n <= UINT32_MAX && n == strtoull(text, NULL, 10));
		assert(strspn(text, "0123456789") == strlen(text));
	}
	if (!api_query_time(text, &ns))
		return;
	while (*text == '0' && text[1] != '.')
		text++;
	snprintf(again, sizeof again, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
	assert(strcmp(text, again) == 0);
}

/* ---- heads ---- */

/* A line of a head that was accepted, without its end. @n_lengths: said so often how long the body is. */
static void check_line(const char *line, size_t len, unsigned *n_lengths)
{
	static const char length[] = "Content-Length:", coding[] = "Transfer-Encoding:";
	size_t at = sizeof coding - 1;

	while (len && !line[len - 1])		/* alone it is as good as the end of a line */
		len--;
	assert(!memchr(line, '\0', len) && !memchr(line, '\r', len) && *line != ' ' && *line != '\t');
	*n_lengths += len >= sizeof length - 1 && !strncasecmp(line, length, sizeof length - 1);
	if (len < at || strncasecmp(line, coding, at) != 0)
		return;
	++*n_lengths;
	while (line[at] == ' ' || line[at] == '\t')
		at++;
	assert(len - at == strlen("chunked") && !strncasecmp(line + at, "chunked", len - at));
}

static void attack_head(const char *text, size_t size)
{
	struct api_head h = { false };
	const char *last = text + size, *end;
	unsigned n_lengths = 0;
	size_t len = 1;

	if (size > API_HEAD_BYTES / 4 || head_model_judge(&h, text, size))
		return;
	for (; len; text = end + 1) {
		end = memchr(text, '\n', (size_t)(last - text));
		assert(end);
		len = (size_t)(end - text);
		len -= len && text[len - 1] == '\r';
		check_line(text, len, &n_lengths);
		len = strnlen(text, len);
	}
	assert(n_lengths <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t how = input_u8(&in);
	char *text = input_copy(in.data, in.left);
	char *whole = calloc(1, in.left + 1);
	int level;

	if (!whole)
		abort();
	json_object_seed(1);			/* the same each time */
	if (!(how & 1)) {
		attack_row(text, in.left, how);
	} else if (!(how & 2)) {
		memcpy(whole, text, in.left);
		attack_routes(whole);
	} else if ((how & 24) == 24) {
		attack_head(text, in.left);
	} else if (how & 8) {
		memcpy(whole, text, in.left);
		attack_value(whole);
	} else {
		level = api_body_level(text, in.left);
		assert(level >= -1 && level <= LEVEL_TRACE);
	}
	free(whole);
	free(text);
	return 0;
}
