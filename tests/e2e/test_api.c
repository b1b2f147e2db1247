/* SPDX-License-Identifier: BSD-3-Clause */
/* The control API: what it answers is what its document says, and what it is told to do is done. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/reloads.h"
#include "e2e/streams.h"
#include "e2e/upgrade.h"

#define HAS(text, part)	ck_assert_msg(strstr(text, part), "%s is not in %s", part, text)

/* ---- everything once ---- */

static void check_connection(void)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	char url[160], id[64];
	const char *body;

	body = apis_do("GET", "/v1/vms/{cid}/connections", "/v1/vms/3/connections", NULL, 200);
	snprintf(id, sizeof id, "stream-%" PRIu32 "-2-%d", p.guest->port, PORT);
	HAS(body, id);
	snprintf(url, sizeof url, "/v1/vms/3/connections/%s", id);
	apis_do("DELETE", "/v1/vms/{cid}/connections/{id}", url, NULL, 200);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	apis_do("DELETE", "/v1/vms/{cid}/connections/{id}", url, NULL, 404);
	sock_free(p.guest);
	close(p.host);
}

/* What has no end has a head. */
static void check_stream(const char *path, const char *url)
{
	struct stream s;
	const char *wrong;

	stream_open(&s, url);
	ck_assert_int_eq(s.status, 200);
	wrong = stream_check(&s, path);
	ck_assert_msg(!wrong, "%s: %s", url, wrong);
	stream_close(&s);
}

static void check_capture(void)
{
	struct stream s;
	char url[64];
	const char *id;

	stream_open(&s, "/v1/vms/3/capture?snaplen=100&port=5");
	ck_assert_ptr_null(stream_check(&s, "/v1/vms/{cid}/capture"));
	id = strstr(apis_get("/v1/captures"), "\"id\":");
	ck_assert_ptr_nonnull(id);
	snprintf(url, sizeof url, "/v1/captures/%d", atoi(id + 5));
	HAS(apis_do("DELETE", "/v1/captures/{capture}", url, NULL, 200), "\"ports\":[5]");
	stream_read_to_end(&s);
	stream_close(&s);
}

START_TEST(each_route_answers_as_documented)
{
	const char *untried;

	HAS(apis_get("/v1/version"), "\"supervised\":true");
	HAS(apis_get("/v1/vms"), "\"cid\":4");
	HAS(apis_do("GET", "/v1/vms/{cid}", "/v1/vms/3", NULL, 200), "\"cid\":3");
	apis_get("/v1/openapi.json");
	HAS(apis_get("/metrics"), "# HELP");
	check_connection();
	check_stream("/v1/events", "/v1/events");
	check_capture();
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	apis_do("PUT", "/v1/log-level", "/v1/log-level", "{\"level\": \"debug\"}", 200);
	HAS(apis_get("/v1/log-level"), "debug");
	apis_do("POST", "/v1/reload", "/v1/reload", NULL, 200);
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
	e2e_check_alive();
	ck_assert_msg(!daemon_has_logged(&vhd, "sandbox: system call"), "%s", daemon_log(&vhd));
	apis_do("POST", "/v1/shutdown", "/v1/shutdown", NULL, 200);
	untried = openapi_find_untried();
	ck_assert_msg(!untried, "%s was not tried", untried);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

/* ---- mistakes ---- */

static const struct {
	const char *method, *path, *url, *body;
	int status;
} mistakes[] = {
	{ "GET", "/v1/vms/{cid}", "/v1/vms/9", NULL, 404 },
	{ "GET", "/v1/vms/{cid}", "/v1/vms/three", NULL, 400 },
	{ "GET", "/v1/vms/{cid}", "/v1/vms/03", NULL, 400 },
	{ "GET", "/v1/vms/{cid}", "/v1/vms/4294967299", NULL, 400 },
	{ "GET", "/v1/vms/{cid}/connections", "/v1/vms/9/connections", NULL, 404 },
	{ "DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 404 },
	{ "DELETE", "/v1/vms/{cid}/connections/{id}", "/v1/vms/3/connections/1-2-3", NULL, 400 },
	{ "DELETE", "/v1/vms/{cid}/connections/{id}", "/v1/vms/3/connections/stream-1-2-3", NULL, 404 },
	{ "PUT", "/v1/log-level", "/v1/log-level", NULL, 400 },
	{ "PUT", "/v1/log-level", "/v1/log-level", "{\"level\": \"loud\"}", 400 },
	{ "PUT", "/v1/log-level", "/v1/log-level", "{\"level\": \"info\"", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", NULL, 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "[]", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{}", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"soket\": \"/x\"}", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/2", "{\"socket\": \"@/x\", \"uds-path\": \"@/y\"}", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/3", "{\"socket\": \"@/x\", \"uds-path\": \"@/y\"}", 409 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/x\", \"uds-path\": \"@/x\"}", 400 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"/tmp/x\", \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/../x\", \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"x\", \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@out/x\", \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/link/x\", \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/x\", \"forward-cid\": 1}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"fd\": 5, \"uds-path\": \"@/y\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9",
	  "{\"socket\": \"@/x\", \"uds-path\": \"@/y\", \"uds-group\": \"0\"}", 403 },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/taken\", \"uds-path\": \"@/y\"}", 409 },
};

/* What is said of them. */
static const struct {
	const char *method, *path, *url, *body;
	int status;
	const char *says;
} refusals[] = {
	{ "GET", "/v1/vms/{cid}", "/v1/vms/0", NULL, 400, "a guest's CID is a number from 3 to " },
	{ "DELETE", "/v1/captures/{capture}", "/v1/captures/abc", NULL, 400, "the id of a capture" },
	{ "DELETE", "/v1/vms/{cid}", "/v1/vms/4%00junk", NULL, 400, "4%00junk: a guest's CID" },
	{ "DELETE", "/v1/vms/{cid}", "/v1/vms/%34%00", NULL, 400, "/v1/vms/4%00: a guest's CID" },
	{ "GET", "/v1/vms", "/v1/vms?x=1", NULL, 400, "?x: there is no such parameter" },
	{ "GET", "/v1/events", "/v1/events?foo=1", NULL, 400, "?foo: there is no such parameter" },
	{ "GET", "/v1/events", "/v1/events?since", NULL, 400, "?since: a value is wanted" },
	{ "GET", "/v1/events", "/v1/events?since=1.000000000&since=1.000000000", NULL, 400, "given twice" },
	{ "GET", "/v1/events", "/v1/events?since=1.000000000%00", NULL, 400, "SECS.NANOS" },
	{ "GET", "/v1/vms/{cid}/capture", "/v1/vms/3/capture?snaplen=100&snaplen=100", NULL, 400,
	  "given twice" },
	{ "GET", "/v1/vms/{cid}/capture", "/v1/vms/3/capture?port=5%00", NULL, 400, "port: a number" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "", 400, "an object with the keys of a VM is wanted" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "x", 400, "invalid token" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{}", 400, "vm 9: socket is missing" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/no/x\", \"uds-path\": \"@/y\"}", 403,
	  "/no': No such file or directory" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/no/../x\", \"uds-path\": \"@/y\"}", 403,
	  "/no': No such file or directory" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"/no/x\", \"uds-path\": \"@/y\"}", 403,
	  "not in a folder that --api-folder names" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/link/no/x\", \"uds-path\": \"@/y\"}", 403,
	  "not in a folder that --api-folder names" },
	{ "PUT", "/v1/vms/{cid}", "/v1/vms/9", "{\"socket\": \"@/dangling/x\", \"uds-path\": \"@/y\"}", 403,
	  "not in a folder that --api-folder names" },
};

/* "@" is the folder. */
static void put_folder(char *to, const char *text)
{
	for (; *text; text++)
		if (*text == '@')
			to += sprintf(to, "%s", apis_folder);
		else
			*to++ = *text;
	*to = '\0';
}

START_TEST(mistakes_are_told)
{
	char body[1024], path[256], out[256];
	const char *answer;

	snprintf(path, sizeof path, "%s/link", apis_folder);
	must(symlink("/tmp", path) == 0);
	snprintf(out, sizeof out, "%sout", apis_folder);
	must(mkdir(out, 0700) == 0);		/* its name only begins as that of the folder */
	snprintf(path, sizeof path, "%s/taken", apis_folder);
	must(creat(path, 0600) >= 0);
	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		put_folder(body, mistakes[i].body ? mistakes[i].body : "");
		answer = apis_do(mistakes[i].method, mistakes[i].path, mistakes[i].url,
				 mistakes[i].body ? body : NULL, mistakes[i].status);
		HAS(answer, "{\"error\":\"");
	}
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
}
END_TEST

START_TEST(mistakes_are_called_what_they_are)
{
	char body[1024], path[256];

	snprintf(path, sizeof path, "%s/link", apis_folder);
	must(symlink("/tmp", path) == 0);
	snprintf(path, sizeof path, "%s/dangling", apis_folder);
	must(symlink("/no", path) == 0);
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		put_folder(body, refusals[i].body ? refusals[i].body : "");
		HAS(apis_do(refusals[i].method, refusals[i].path, refusals[i].url,
			    refusals[i].body ? body : NULL, refusals[i].status), refusals[i].says);
	}
	HAS(apis_get("/v1/vms"), "\"cid\":4");
}
END_TEST

START_TEST(other_paths_and_methods)
{
	static const struct { const char *method, *path; int status; const char *allow; } asked[] = {
		{ "GET", "/", 404, "" }, { "GET", "/v1/vm", 404, "" }, { "GET", "/v1/vms/", 404, "" },
		{ "GET", "/v1/vms/3/", 404, "" }, { "POST", "/v1/vms", 405, "GET, HEAD" },
		{ "PATCH", "/v1/vms/3", 405, "GET, HEAD, PUT, DELETE" },
		{ "GET", "/v1/upgrade", 405, "POST" }, { "TRACE", "/metrics", 405, "GET, HEAD" },
		{ "BREW", "/v1/log-level", 405, "GET, HEAD, PUT" },
	};

	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		struct http_answer a = http_ask(apis_socket, asked[i].method, asked[i].path, NULL);

		ck_assert_msg(a.status == asked[i].status, "%s %s: %d", asked[i].method,
			      asked[i].path, a.status);
		ck_assert_str_eq(a.allow, asked[i].allow);
		HAS(a.body, "{\"error\":\"");
		http_answer_deinit(&a);
	}
}
END_TEST

START_TEST(a_head_has_no_body)
{
	struct http_answer a = http_ask(apis_socket, "HEAD", "/v1/version", NULL);

	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.len, 0);
	http_answer_deinit(&a);
}
END_TEST

/* ---- VMs ---- */

START_TEST(a_vm_that_is_added_serves)
{
	const struct driver_options nine = { .cid = 9 };
	char socket[160], uds[160];
	static struct driver other;
	struct pair p, before = e2e_guest_connects(&vm, vhd.uds);

	snprintf(socket, sizeof socket, "%s/9.vhost", apis_folder);
	snprintf(uds, sizeof uds, "%s/9.sock", apis_folder);
	for (int i = 0; i < 3; i++) {
		apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
		driver_up(&other, socket, &nine);
		p = e2e_guest_connects(&other, uds);
		e2e_check_talks(p);
		e2e_close(p);
		apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
		ck_assert_int_ne(access(socket, F_OK), 0);
		ck_assert_int_ne(access(uds, F_OK), 0);
		driver_deinit(&other);
		e2e_check_talks(before);
	}
	e2e_close(before);
}
END_TEST

/* The file does not have it, and says nothing about it; until it does. */
/* Who asks for a reload hears that it is done; a log line comes when it begins. */
static void wait_until_gone(const char *url)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct http_answer a;

	do {
		a = http_ask(apis_socket, "GET", url, NULL);
		http_answer_deinit(&a);
	} while (a.status == 200 && deadline_left(deadline));
	apis_do("GET", "/v1/vms/{cid}", url, NULL, 404);
}

START_TEST(a_reload_leaves_added_vms_alone)
{
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	apis_do("POST", "/v1/reload", "/v1/reload", NULL, 200);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/4", NULL, 200);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/3", NULL, 200);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 409);
	apis_do("POST", "/v1/reload", "/v1/reload", NULL, 200);
	HAS(apis_get("/v1/vms"), "\"cid\":4");
	HAS(apis_get("/v1/vms"), "\"cid\":9");
	reloads_do("vms:\n" VM3 "  - { guest-cid: 9, socket: $/folder/9.vhost, uds-path: "
		   "$/folder/9.sock, groups: default+other, queue-size: 256 }\n", "was read again");
	reloads_do("vms:\n" VM3, "vm 9: removed");
	wait_until_gone("/v1/vms/9");
}
END_TEST

START_TEST(a_file_with_a_mistake_changes_nothing)
{
	reloads_write("vms: [");
	HAS(apis_do("POST", "/v1/reload", "/v1/reload", NULL, 400), "vms.yaml:2");
	HAS(apis_get("/v1/vms"), "\"cid\":4");
}
END_TEST

/* ---- other engines ---- */

START_TEST(an_engine_that_dies_is_followed_by_one_that_answers)
{
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	for (int i = 0; i < 3; i++) {
		must(kill(daemon_engine(&vhd), SIGKILL) == 0);
		HAS(apis_get("/v1/vms"), "\"cid\":9");
		daemon_engine(&vhd);
		e2e_check_alive();
	}
}
END_TEST

START_TEST(upgrades_are_followed_by_one_that_answers)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	pid_t engine = daemon_engine(&vhd);

	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	for (int i = 0; i < 3; i++) {
		if (i % 2)
			upgrade();
		else
			apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
		ck_assert_int_ne(daemon_engine(&vhd), engine);
		engine = daemon_engine(&vhd);
		HAS(apis_get("/v1/vms"), "\"cid\":9");
		e2e_check_talks(p);
	}
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	e2e_close(p);
}
END_TEST

static const char *installed;

static void setup_installed(void)
{
	e2e_setup_bare();			/* for its folder, which apis_setup() makes anew */
	installed = upgrade_install();
	apis_setup();
}

static void replace_program(const char *text)
{
	FILE *f;

	must(unlink(installed) == 0);
	f = fopen(installed, "we");
	must(f && fputs(text, f) >= 0 && fclose(f) == 0);
	must(chmod(installed, 0755) == 0);
}

/* The client is that of an engine that is no more, of a program that is no more. */
START_TEST(another_program_answers_who_asked_for_it)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	for (int i = 0; i < 2; i++) {
		upgrade_install_another();
		apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
		e2e_check_talks(p);
		HAS(apis_get("/v1/vms"), "\"cid\":9");
	}
	e2e_close(p);
	apis_do("POST", "/v1/reload", "/v1/reload", NULL, 200);
	HAS(apis_get("/v1/vms"), "\"cid\":9");
}
END_TEST

START_TEST(a_program_that_is_none_is_told)
{
	pid_t engine = daemon_engine(&vhd);

	replace_program("#!/bin/false\n");
	HAS(apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 500), "it does not start");
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	HAS(apis_get("/v1/vms"), "\"cid\":4");
	e2e_check_alive();
}
END_TEST

/* ---- without a supervisor ---- */

START_TEST(alone_it_says_what_it_cannot_do)
{
	HAS(apis_get("/v1/version"), "\"supervised\":false");
	HAS(apis_get("/v1/vms"), "\"cid\":4");
	HAS(apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 409), "supervise");
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/4", NULL, 409);
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 409);
	apis_do("POST", "/v1/reload", "/v1/reload", NULL, 409);
	apis_do("PUT", "/v1/log-level", "/v1/log-level", "{\"level\": \"trace\"}", 200);
	HAS(apis_get("/v1/log-level"), "trace");
	check_connection();
	e2e_check_alive();
	apis_do("POST", "/v1/shutdown", "/v1/shutdown", NULL, 200);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(apis_socket, F_OK), 0);
}
END_TEST

/* ---- a socket that was passed, with its name and its mode ---- */

START_TEST(a_passed_socket_is_served)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char option[32];
	const char *const extra[] = { option, NULL };

	snprintf(apis_socket, sizeof apis_socket, "%s/passed", vhd.dir);
	strcpy(at.sun_path, apis_socket);
	must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0);
	snprintf(option, sizeof option, "--api-socket=fd=%d", fd);
	daemon_start(&vhd, extra);
	openapi_load(apis_socket);
	HAS(apis_get("/v1/vms"), "\"cid\":3");
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 403);
	must(kill(daemon_engine(&vhd), SIGKILL) == 0);
	HAS(apis_get("/v1/vms"), "\"cid\":3");
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 200);
	HAS(apis_get("/v1/vms"), "\"cid\":3");
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(access(apis_socket, F_OK), 0);		/* its name is not the daemon's */
	close(fd);
}
END_TEST

START_TEST(a_mode_is_that_of_the_socket)
{
	char option[200];
	const char *const extra[] = { option, NULL };
	struct stat st;

	snprintf(apis_socket, sizeof apis_socket, "%s/api", vhd.dir);
	snprintf(option, sizeof option, "--api-socket=path=%s,mode=0660", apis_socket);
	daemon_start(&vhd, extra);
	ck_assert(stat(apis_socket, &st) == 0 && (st.st_mode & 0777) == 0660);
}
END_TEST

START_TEST(a_socket_that_is_taken_ends_the_start)
{
	int fd = host_listen(vhd.uds, PORT, 1);
	const char *args[] = { "--socket", vhd.socket, "--uds-path", vhd.uds, "--api-socket",
			       apis_socket, NULL };

	snprintf(apis_socket, sizeof apis_socket, "%s_%d", vhd.uds, PORT);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	ck_assert(daemon_has_logged(&vhd, "api-socket "));
	close(fd);
}
END_TEST

/* ---- others ---- */

START_TEST(curl_is_answered)
{
	char command[512];
	struct stat st;

	if (system("curl --version >/dev/null 2>&1") != 0) {
		printf("# curl is not installed: not tried\n");
		return;
	}
	snprintf(command, sizeof command, "curl -sf --unix-socket %s http://localhost/v1/vms "
		 "http://localhost/v1/version | grep -q '}{.*\"afvsock\"'", apis_socket);
	ck_assert_int_eq(system(command), 0);
	snprintf(command, sizeof command, "dd if=/dev/zero bs=1000 count=50 2>/dev/null | curl -s -T - "
		 "-o /dev/null -w '%%{http_code}' --unix-socket %s http://localhost/v1/vms/9 | "
		 "grep -qx 413", apis_socket);
	ck_assert_int_eq(system(command), 0);
	ck_assert(stat(apis_socket, &st) == 0 && (st.st_mode & 0777) == 0600);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api");
	TCase *tc = e2e_case_with(s, "ended", apis_setup, e2e_teardown_ended, 60);

	setenv("TEST_SUPERVISE", "on", 1);
	tcase_add_test(tc, each_route_answers_as_documented);
	tc = e2e_case(s, "served", apis_setup, 60);
	tcase_add_test(tc, mistakes_are_told);
	tcase_add_test(tc, mistakes_are_called_what_they_are);
	tcase_add_test(tc, other_paths_and_methods);
	tcase_add_test(tc, a_head_has_no_body);
	tcase_add_test(tc, curl_is_answered);
	tc = e2e_case(s, "vms", apis_setup, 60);
	tcase_add_test(tc, a_vm_that_is_added_serves);
	tcase_add_test(tc, a_reload_leaves_added_vms_alone);
	tcase_add_test(tc, a_file_with_a_mistake_changes_nothing);
	tc = e2e_case(s, "engines", apis_setup, 60);
	tcase_add_test(tc, an_engine_that_dies_is_followed_by_one_that_answers);
	tcase_add_test(tc, upgrades_are_followed_by_one_that_answers);
	tc = e2e_case(s, "installed", setup_installed, 60);
	tcase_add_test(tc, another_program_answers_who_asked_for_it);
	tcase_add_test(tc, a_program_that_is_none_is_told);
	tc = e2e_case_with(s, "start", e2e_setup_bare, e2e_teardown_ended, 60);
	tcase_add_test(tc, a_passed_socket_is_served);
	tcase_add_test(tc, a_mode_is_that_of_the_socket);
	tcase_add_test(tc, a_socket_that_is_taken_ends_the_start);
	tc = e2e_case_with(s, "alone", apis_setup_alone, e2e_teardown_ended, 60);
	tcase_add_test(tc, alone_it_says_what_it_cannot_do);
	return e2e_run(s);
}
