/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked of the control API, and what a body says; before there is any socket. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "control/api_body.h"
#include "control/api_query.h"
#include "control/api_routes.h"
#include "control/api_table.h"
#include "fuzz/head_model.h"
#include "openapi.h"
#include "unit.h"
#include "util/log.h"

/* ---- routes ---- */

static const struct {
	const char *method, *path, *found;	/* NULL: none */
	int outcome;
	const char *allowed;
} cases[] = {
	{ "GET", "/v1/version", "/v1/version", 0, NULL },
	{ "HEAD", "/v1/version", "/v1/version", 0, NULL },
	{ "GET", "/metrics", "/metrics", 0, NULL },
	{ "PUT", "/v1/vms/3", "/v1/vms/{cid}", 0, NULL },
	{ "GET", "/v1/vms/4294967295", "/v1/vms/{cid}", 0, NULL },
	{ "DELETE", "/v1/vms/3/connections/stream-1-2-3", "/v1/vms/{cid}/connections/{id}", 0, NULL },
	{ "GET", "/v1/vms/3/capture", "/v1/vms/{cid}/capture", 0, NULL },
	{ "DELETE", "/v1/captures/18446744073709551615", "/v1/captures/{capture}", 0, NULL },
	{ "DELETE", "/v1/captures/0", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/captures/18446744073709551616", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "GET", "", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "/", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "v1/version", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "/v1/version/", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "//v1/version", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "/v1", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "/v1/vms/", NULL, API_ROUTES_E_PATH, "" },
	{ "GET", "/v1/vms/{cid}", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/0", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/4294967296", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/99999999999999999999999", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/-3", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/+3", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/ 3", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/03", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/3x", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "GET", "/v1/vms/0x3", NULL, API_ROUTES_E_ARGS, "GET" },
	{ "DELETE", "/v1/vms/3/connections/1-2-3", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/dgram-1-2-3", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/stream-1-2", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/stream-1-2-3-4", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/stream-4294967296-2-3", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/stream-1-2-03", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/x/connections/stream-1-2-3", NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "DELETE", "/v1/vms/3/connections/"
	  "stream-1-2-3333333333333333333333333333333333333333333333333333333333333333333333333",
	  NULL, API_ROUTES_E_ARGS, "DELETE" },
	{ "POST", "/v1/vms", NULL, API_ROUTES_E_METHOD, "GET, HEAD" },
	{ "get", "/v1/vms", NULL, API_ROUTES_E_METHOD, "GET, HEAD" },
	{ "", "/v1/vms/3", NULL, API_ROUTES_E_METHOD, "GET, HEAD, PUT, DELETE" },
	{ "POST", "/v1/vms/x", NULL, API_ROUTES_E_METHOD, "GET, HEAD, PUT, DELETE" },
	{ "GET", "/v1/reload", NULL, API_ROUTES_E_METHOD, "POST" },
};

START_TEST(each_path)
{
	const struct api_route *route = NULL;
	char allowed[API_ALLOWED_MAX];
	struct api_args args;
	unsigned set;

	ck_assert_int_eq(api_routes_find(api_table, cases[_i].method, cases[_i].path, &route, &args, &set),
			 cases[_i].outcome);
	if (cases[_i].found) {
		ck_assert_str_eq(route->path, cases[_i].found);
		return;
	}
	ck_assert_ptr_null(route);
	if (cases[_i].outcome == API_ROUTES_E_ARGS)
		ck_assert_ptr_nonnull(strstr(args.wanted, strstr(cases[_i].path, "/captures/") ? "a capture" :
					     strstr(cases[_i].path, "/3/conn") ? "a connection" : "CID is"));
	api_routes_str_allowed(set, allowed);
	if (cases[_i].outcome == API_ROUTES_E_METHOD)
		ck_assert_str_eq(allowed, cases[_i].allowed);
}
END_TEST

START_TEST(parts_of_a_path)
{
	const struct api_route *route;
	struct api_args args;
	unsigned set;

	ck_assert_int_eq(api_routes_find(api_table, "DELETE", "/v1/vms/4294967294/connections/"
					 "seqpacket-4294967295-18446744073709551615-0", &route,
					 &args, &set), 0);
	ck_assert_uint_eq(args.cid, 4294967294);
	ck_assert_int_eq(args.type, VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(args.guest_port, UINT32_MAX);
	ck_assert(args.peer.cid == UINT64_MAX && args.peer.port == 0);
}
END_TEST

/* ---- heads ---- */

#define PARTS(text) text, sizeof (text) - 1

/* As the library cuts them: the method ends at the first blank, the version begins behind the last. */
static const struct { const char *text; size_t len; bool is_good; } lines[] = {
	{ PARTS("GET /v1/vms HTTP/1.1"), true }, { PARTS("GET /v1/vms?a=b HTTP/1.0"), true },
	{ PARTS("GET /a b HTTP/1.1"), true },	/* no path of ours */
	{ PARTS("GET  /v1/vms HTTP/1.1"), false }, { PARTS("GET /v1/vms\0 HTTP/1.1"), false },
	{ PARTS("GET /v1/vms\0x HTTP/1.1"), false }, { PARTS("GET /v1/vms?\0 HTTP/1.1"), false },
	{ PARTS("GET\0 /v1/vms HTTP/1.1"), false }, { PARTS("\0 /v1/vms HTTP/1.1"), false },
	{ PARTS("GET \0/v1/vms HTTP/1.1"), false },
};

START_TEST(each_first_line)
{
	char line[64];
	char *uri, *version;
	struct api_head h = { false };

	memcpy(line, lines[_i].text, lines[_i].len + 1);
	uri = memchr(line, ' ', lines[_i].len);
	version = memrchr(line, ' ', lines[_i].len);
	while (*uri == ' ')
		*uri++ = '\0';
	*version++ = '\0';
	ck_assert_int_eq(!api_head_check_line(&h, line, uri, strlen(uri), version), lines[_i].is_good);
	ck_assert_int_eq(h.is_old, strcmp(version, "HTTP/1.0") == 0);
}
END_TEST

/* Another library may have its parts anywhere, and there is no path if there is no second word. */
START_TEST(parts_of_a_first_line_elsewhere)
{
	static const char far[2 * 1024 * 1024];
	struct api_head h = { false };

	ck_assert_ptr_null(api_head_check_line(&h, far, far + sizeof far / 2, 0, "HTTP/1.1"));
	ck_assert_ptr_nonnull(api_head_check_line(&h, "GET", NULL, 0, ""));
}
END_TEST

static const struct { const char *text; size_t len; bool is_old, is_good; } fields[] = {
	{ PARTS("Content-Length: 3\r\nX: Y\r\n"), false, true },
	{ PARTS("content-length: 3\r\n"), true, true },
	{ PARTS("transfer-encoding:CHUNKED\r\n"), false, true },
	{ PARTS(""), false, true }, { PARTS("A:\r\nB: \t\r\nC: c \t\r\nD:d\r\n"), false, true },
	{ PARTS("A:\nB: \t\nC: c \t\nD:d\n"), true, true },
	{ PARTS("transfer-encoding: chunked\r\n"), true, false },
	{ PARTS("Transfer-Encoding: identity\r\n"), false, false },
	{ PARTS("Transfer-Encoding:\r\n"), false, false },
	{ PARTS("Transfer-Encoding: chunked, chunked\r\n"), false, false },
	{ PARTS("Content-Length: 3\r\nCONTENT-LENGTH: 3\r\n"), false, false },
	{ PARTS("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), false, false },
	{ PARTS("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), false, false },
	{ PARTS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), false, false },
	{ PARTS("Content-Length : 3\r\n"), false, false }, { PARTS(": 3\r\n"), false, false },
	{ PARTS("X: a\tb \xff\r\n"), false, true }, { PARTS("X: a\rContent-Length: 3\r\n"), false, false },
	{ PARTS("X: \x7f\r\n"), false, false }, { PARTS("X\xff:\r\n"), false, false },
	{ PARTS("a!#$%&'*+-.^_`|~9:\r\n"), false, true },
	/* a NUL, in the middle and in the last line */
	{ PARTS("X: a\0b\r\nY: 1\r\n"), false, false }, { PARTS("X: a\0b\r\n"), false, false },
	{ PARTS("X: a\0\r\nY: 1\r\n"), false, false }, { PARTS("X: a\0\r\n"), false, false },
	{ PARTS("X: a\0\0\0\0b\r\n"), false, false }, { PARTS("X: a\0b\n"), true, false },
	{ PARTS("X:\0b\r\nY: 1\r\n"), false, false }, { PARTS("X: a\0 \r\nY: 1\r\n"), false, false },
	{ PARTS("X\0: a\r\n"), false, false }, { PARTS("\0X: a\r\n"), false, false },
	/* one that goes on in the next line */
	{ PARTS("Content-Length:\r\n 76\r\n"), false, false },
	{ PARTS("Content-Length:\r\n\t76\r\nX: a\r\n"), false, false },
	{ PARTS("Content-Length:\n 76\n"), true, false }, { PARTS("X: a\r\n \r\n"), false, false },
	{ PARTS("X: a\r\n b\r\n c\r\nY: d\r\n"), false, false },
};

START_TEST(each_set_of_fields)
{
	struct api_head h = { false };
	const char *wrong;
	char text[128];
	int n = snprintf(text, sizeof text, "GET / HTTP/1.%d\r\n", !fields[_i].is_old);

	memcpy(text + n, fields[_i].text, fields[_i].len);
	memcpy(text + n + fields[_i].len, fields[_i].is_old ? "\n" : "\r\n", 2);
	wrong = head_model_judge(&h, text, (size_t)n + fields[_i].len + 2 - fields[_i].is_old);
	ck_assert_msg(!wrong == fields[_i].is_good, "%s: %s", fields[_i].text, wrong);
}
END_TEST

/* As another version may do it: the ends of lines stay, and what is blank before them goes. */
START_TEST(fields_that_end_otherwise)
{
	static const char line[] = "GET\0/\0HTTP/1.1\0\nA\0 1\0 \t\r\nB\0\0\r\n\r\n{}";
	struct api_head h = { false };

	ck_assert_ptr_null(api_head_check_line(&h, line, line + 4, 1, line + 6));
	ck_assert_ptr_null(api_head_check_field(&h, line + 16, line + 19));
	ck_assert_ptr_null(api_head_check_field(&h, line + 25, line + 27));
	ck_assert_ptr_null(api_head_check_end(&h, line + sizeof line - 3));
	ck_assert_ptr_nonnull(api_head_check_end(&h, line + sizeof line - 2));
}
END_TEST

/* ---- the document ---- */

static const char *name_of(enum api_method method)
{
	return method == API_GET ? "get" : method == API_PUT ? "put" :
		method == API_POST ? "post" : "delete";
}

START_TEST(the_document_has_each_route_and_no_other)
{
	json_t *document = json_loads(openapi_document, 0, NULL), *paths, *item;
	size_t n_routes = 0, n_documented = 0;
	const char *path;

	ck_assert_ptr_nonnull(document);
	paths = json_object_get(document, "paths");
	for (const struct api_route *r = api_table; r->path; r++, n_routes++)
		ck_assert_msg(json_object_get(json_object_get(paths, r->path), name_of(r->method)),
			      "%s %s", name_of(r->method), r->path);
	json_object_foreach(paths, path, item)
		for (unsigned m = API_GET; m <= API_DELETE; m *= 2)
			n_documented += json_object_get(item, name_of(m)) != NULL;
	ck_assert_uint_eq(n_documented, n_routes);
	json_decref(document);
}
END_TEST

/* ---- bodies ---- */

static const struct { const char *json, *row; } rows[] = {	/* NULs as ';'; NULL: refused */
	{ "{}", "" },
	{ "{\"socket\": \"/x\", \"queue_size\": 256}", "socket;/x;queue_size;256;" },
	{ "{\"groups\": [\"a\", \"b\"], \"host-cid\": [7, 8]}", "groups;a+b;host-cid;7+8;" },
	{ "{\"groups\": \"a+b\"}", "groups;a+b;" },
	{ "{\"a\": true, \"b\": false, \"c\": null}", "a;true;b;false;" },
	{ "{\"a\": -5}", "a;-5;" },
	{ "{\"a\": 1.5}", NULL }, { "{\"a\": {}}", NULL }, { "{\"a\": []}", NULL },
	{ "{\"a\": [[1]]}", NULL }, { "{\"a\": [null]}", NULL }, { "{\"a\": \"\"}", NULL },
	{ "{\"a\": [\"b+c\"]}", NULL }, { "{\"a\": 1, \"a\": 2}", NULL },
	{ "{\"a\": \"\\u0000\"}", NULL }, { "{\"a\\u0000\": 1}", NULL },
	{ "{\"a\": \"\xff\"}", NULL }, { "{\"a\": 1} x", NULL }, { "{\"a\": 1", NULL },
	{ "[]", NULL }, { "1", NULL }, { "", NULL },
};

START_TEST(each_row)
{
	char why[API_BODY_ERROR_MAX] = "";
	struct api_body_row row;
	const char *wrong = api_body_row(&row, rows[_i].json, strlen(rows[_i].json), why);

	if (!rows[_i].row) {
		ck_assert_ptr_nonnull(wrong);
		ck_assert_str_ne(wrong, "");
		return;
	}
	ck_assert_msg(!wrong, "%s: %s", rows[_i].json, wrong);
	for (size_t i = 0; i < row.len; i++)
		if (!row.bytes[i])
			row.bytes[i] = ';';
	ck_assert_uint_eq(row.len, strlen(rows[_i].row));
	ck_assert(memcmp(row.bytes, rows[_i].row, row.len) == 0);
}
END_TEST

/* Just what there is room for, and a byte more. */
START_TEST(a_row_that_is_too_long)
{
	static char json[API_BODY_ROW_MAX + 64];
	char why[API_BODY_ERROR_MAX];
	struct api_body_row row;

	for (int more = 0; more < 2; more++) {
		int len = API_BODY_ROW_MAX - 3 + more;	/* without "a", and the two ends */

		sprintf(json, "{\"a\": \"%0*d\"}", len, 0);
		ck_assert_int_eq(api_body_row(&row, json, strlen(json), why) != NULL, more);
	}
}
END_TEST

START_TEST(each_level)
{
	static const struct { const char *json; int level; } levels[] = {
		{ "{\"level\": \"error\"}", LEVEL_ERR }, { "{\"level\": \"trace\"}", LEVEL_TRACE },
		{ "{\"level\": \"info\", \"x\": 1}", -1 }, { "{\"level\": \"Info\"}", -1 },
		{ "{\"level\": 2}", -1 }, { "{}", -1 }, { "\"info\"", -1 }, { "", -1 },
	};

	for (int i = 0; i < COUNT(levels); i++)
		ck_assert_int_eq(api_body_level(levels[i].json, strlen(levels[i].json)),
				 levels[i].level);
}
END_TEST

/* ---- behind the path ---- */

static const struct { const char *text; bool is_good; uint64_t ns; } times[] = {
	{ "1700000000.000000005", true, UINT64_C(1700000000000000005) },
	{ "0.000000000", true, 0 }, { "9999999999.999999999", true, UINT64_C(9999999999999999999) },
	{ "0000000001.000000000", true, 1000000000 },
	{ "", false, 0 }, { ".", false, 0 }, { "1", false, 0 }, { "1.", false, 0 },
	{ ".000000001", false, 0 }, { "1.00000000", false, 0 }, { "1.0000000000", false, 0 },
	{ "10000000000.000000000", false, 0 }, { "-1.000000000", false, 0 },
	{ "+1.000000000", false, 0 }, { " 1.000000000", false, 0 }, { "1.000000000 ", false, 0 },
	{ "1.-00000000", false, 0 }, { "1.0000.0000", false, 0 }, { "1,000000000", false, 0 },
	{ "a.000000000", false, 0 }, { "1.00000000a", false, 0 },
};

START_TEST(each_time)
{
	uint64_t ns = 7;

	ck_assert_msg(api_query_time(times[_i].text, &ns) == times[_i].is_good, "%s", times[_i].text);
	ck_assert_uint_eq(ns, times[_i].is_good ? times[_i].ns : 7);
}
END_TEST

static const struct { const char *text; bool is_good; uint64_t n; } numbers[] = {
	{ "5", true, 5 }, { "10", true, 10 }, { "007", true, 7 },
	{ "4", false, 0 }, { "11", false, 0 }, { "", false, 0 }, { "-5", false, 0 },
	{ "+5", false, 0 }, { " 5", false, 0 }, { "5 ", false, 0 }, { "0x5", false, 0 },
	{ "18446744073709551621", false, 0 }, { "5.0", false, 0 },
};

static const struct { const char *text, *decoded; } encoded[] = {
	{ "/v1/vms", "/v1/vms" }, { "", "" }, { "%34%2f%2F", "4//" }, { "a%7Eb", "a~b" },
	{ "4%00junk", "4%00junk" }, { "%00", "%00" }, { "%0%00", "%0%00" }, { "%2500", "%00" },
	{ "%", "%" }, { "%4", "%4" }, { "%4g", "%4g" }, { "%%34", "%4" }, { "100%", "100%" },
	{ "%ff", "\xff" }, { "a+b", "a+b" },
};

START_TEST(each_encoding)
{
	char text[32];

	snprintf(text, sizeof text, "%s", encoded[_i].text);
	ck_assert_uint_eq(api_query_decode(text), strlen(encoded[_i].decoded));
	ck_assert_str_eq(text, encoded[_i].decoded);
}
END_TEST

START_TEST(each_key)
{
	static const struct api_query_key keys[] = {
		{ .name = "snaplen" }, { .name = "port", .may_repeat = true }, { .name = NULL },
	};
	unsigned given = 0;

	ck_assert_int_eq(api_query_claim(NULL, "port", &given), API_QUERY_E_UNKNOWN);
	ck_assert_int_eq(api_query_claim(keys, "", &given), API_QUERY_E_UNKNOWN);
	ck_assert_int_eq(api_query_claim(keys, "ports", &given), API_QUERY_E_UNKNOWN);
	ck_assert_int_eq(api_query_claim(keys, "por", &given), API_QUERY_E_UNKNOWN);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(api_query_claim(keys, "port", &given), 0);
		ck_assert_int_eq(api_query_claim(keys, "snaplen", &given), i ? API_QUERY_E_REPEATED : 0);
	}
}
END_TEST

START_TEST(each_number)
{
	uint64_t n = 99;

	ck_assert_msg(api_query_number(numbers[_i].text, 5, 10, &n) == numbers[_i].is_good, "%s",
		      numbers[_i].text);
	ck_assert_uint_eq(n, numbers[_i].is_good ? numbers[_i].n : 99);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api_routes");
	TCase *tc = tcase_create("routes");

	tcase_add_loop_test(tc, each_path, 0, COUNT(cases));
	tcase_add_test(tc, parts_of_a_path);
	tcase_add_loop_test(tc, each_first_line, 0, COUNT(lines));
	tcase_add_test(tc, parts_of_a_first_line_elsewhere);
	tcase_add_loop_test(tc, each_set_of_fields, 0, COUNT(fields));
	tcase_add_test(tc, fields_that_end_otherwise);
	tcase_add_test(tc, the_document_has_each_route_and_no_other);
	suite_add_tcase(s, tc);
	tc = tcase_create("bodies");
	tcase_add_loop_test(tc, each_row, 0, COUNT(rows));
	tcase_add_test(tc, a_row_that_is_too_long);
	tcase_add_test(tc, each_level);
	tcase_add_loop_test(tc, each_time, 0, COUNT(times));
	tcase_add_loop_test(tc, each_encoding, 0, COUNT(encoded));
	tcase_add_test(tc, each_key);
	tcase_add_loop_test(tc, each_number, 0, COUNT(numbers));
	suite_add_tcase(s, tc);
	return unit_main(s);
}
