/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients of the control API that are slow, silent or hostile, while a guest's bytes flow: those
 * arrive, the engine stays what it is, and whoever behaves is answered.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/flow.h"
#include "e2e/streams.h"

enum {
	MIB = 1 << 20,
	CLIENTS = 64,				/* that are served at a time */
	REQUEST_MS = 15 * 1000,
	ORDERS = 400, ORDERS_AT_ONCE = 100, ORDERS_PER_S = 20,
};

/* ---- while bytes flow ---- */

static void *run_flow(void *arg)
{
	flow_run(&vm, arg, 1);
	return NULL;
}

static void check_undisturbed(void (*harm)(void))
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .to_write = 24 * MIB, .to_read = 24 * MIB,
			      .write_seed = 1, .read_seed = 2 };
	struct flow f = { .sock = p.guest, .to_send = 24 * MIB, .to_recv = 24 * MIB,
			  .send_seed = 2, .recv_seed = 1 };
	pid_t engine = daemon_engine(&vhd);
	pthread_t thread;

	host_job_start(&j);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_flow, &f), 0);
	harm();
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_alive();
	apis_get("/v1/vms");
}

static int client(void)
{
	int fd = host_connect(apis_socket);

	must(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	host_write(fd, text, strlen(text));
}

/* ---- what they do ---- */

static void come_in_crowds(void)
{
	static int fds[1000];
	int n = 0;

	while (n < 1000 && (fds[n] = host_connect(apis_socket)) >= 0)
		n++;
	ck_assert_int_ge(n, CLIENTS);
	for (int i = 0; i < n; i++)
		if (i % 3)
			say(fds[i], i % 3 == 1 ? "GET /v1/vms HTTP/1.1\r\n" : "\r\n");
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void say_garbage(void)
{
	static const char *const texts[] = {
		"\r\n\r\n\r\n", "GET\r\n\r\n", "CONNECT 1234\n", "GET / HTTP/9.9\r\n\r\n",
		"GET /v1/vms HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x01\xfc\x03\x03",
		"PUT /v1/vms/9 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
		"PUT /v1/vms/9 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
		"PUT /v1/vms/9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
		"GET /v1/vms/%00/%ff/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/vms?%=&&&=% HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		int fd = client();
		struct http_answer a;

		say(fd, texts[i]);
		shutdown(fd, SHUT_WR);
		a = http_read(fd);		/* an answer, or none: but an end */
		ck_assert_msg(a.status == 0 || a.status == 200 || a.status >= 400, "%s: %d",
			      texts[i], a.status);
		http_answer_deinit(&a);
		close(fd);
	}
}

/* ---- what one reader takes for one request, and another for another ---- */

#define LEVEL "PUT /v1/log-level HTTP/1.1\r\nHost: x\r\n"
#define BODY "{\"level\":\"info\"}"
#define CHUNKS "10\r\n" BODY "\r\n0\r\n\r\n"
#define TEXT(text) text, sizeof (text) - 1

static const struct { const char *text; size_t len; int status; } twofold[] = {
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"), 200 },
	{ TEXT("GET /v1/version HTTP/1.0\r\nX-Tab:\ta\tb\r\n\r\n"), 200 },
	{ TEXT(LEVEL "Content-Length: 16\r\n\r\n" BODY), 200 },
	{ TEXT(LEVEL "Transfer-Encoding: Chunked\r\n\r\n" CHUNKS), 200 },
	{ TEXT("GET /v1/version\0/abc HTTP/1.1\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("DELETE /v1/vms/3\0/connections/stream-1-2-3 HTTP/1.1\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version?\0x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET\0X /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET  /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\rContent-Length: 3\r\n\r\n"), 400 },
	{ TEXT(LEVEL "Content-Length : 16\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: -1\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: +16\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 0x10\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 16, 16\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 16\r\nContent-Length: 3\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 0\r\nContent-Length: 16\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS), 400 },
	{ TEXT(LEVEL "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" CHUNKS), 400 },
	{ TEXT(LEVEL "Transfer-Encoding: gzip, chunked\r\n\r\n" CHUNKS), 400 },
	{ TEXT("PUT /v1/log-level HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS), 400 },
	/* what ordinary clients say */
	{ TEXT(LEVEL "X:\r\nY: a \t\r\nZ:\t\r\nContent-Length: 16\r\n\r\n" BODY), 200 },
	{ TEXT(LEVEL "Content-Length:16\r\nCookie: a=b; c=d\r\n\r\n" BODY), 200 },
	{ TEXT("GET /v1/version HTTP/1.1\nHost: x\nX:\n\n"), 200 },
	{ TEXT("GET /v1/version HTTP/1.0\r\n\r\n"), 200 },
	/* a value on the next line */
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 76\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nContent-Length:\r\n\t76\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\nHost: x\nContent-Length:\n 76\n\n"), 400 },
	{ TEXT(LEVEL "Transfer-Encoding:\r\n chunked\r\n\r\n" CHUNKS), 400 },
	{ TEXT(LEVEL "X: a\r\n b\r\nContent-Length: 16\r\n\r\n" BODY), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nX: a\r\n \r\nHost: x\r\n\r\n"), 400 },
	/* a NUL in a value, and behind it what is not there then */
	{ TEXT(LEVEL "Content-Length: 0\00016\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 16\0, 3\r\nX: a\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 16\0, 3\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Content-Length: 0\0\0\0\00016\r\n\r\n" BODY), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\r\nContent-Length: 0\0\r\n\r\n"), 400 },
	{ TEXT(LEVEL "Content-Length:\00016\r\n\r\n" BODY), 400 },
	{ TEXT(LEVEL "Transfer-Encoding: chunked\0, gzip\r\n\r\n" CHUNKS), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nX: a\0b\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\nX: a\0b\nHost: x\n\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\r\nHost: x\r\nX\0: a\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.1\0x\r\nHost: x\r\n\r\n"), 400 },
	{ TEXT("GET /v1/version HTTP/1.0\0x\r\n\r\n"), 400 },
};

/* It is refused, and so is all that follows it: the connection ends. */
START_TEST(what_has_two_meanings_has_none)
{
	bool is_good = twofold[_i].status == 200;
	int fd = client();
	struct http_answer a;

	host_write(fd, twofold[_i].text, twofold[_i].len);
	if (is_good)
		shutdown(fd, SHUT_WR);
	else
		say(fd, "GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	a = http_read(fd);
	ck_assert_int_eq(a.status, twofold[_i].status);
	ck_assert(is_good || !strstr(a.body, "\"supervised\""));
	http_answer_deinit(&a);
	close(fd);
}
END_TEST

static void send_zeros(int fd, size_t n)
{
	static char zeros[65536];

	memset(zeros, '0', sizeof zeros);
	for (; n; n -= sizeof zeros)
		if (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0)
			return;
}

static void send_too_much(void)
{
	struct http_answer a;
	int fd = client();

	say(fd, "GET /v1/vms HTTP/1.1\r\nHost: x\r\nX: ");
	send_zeros(fd, 4 * MIB);
	a = http_read(fd);
	ck_assert_msg(a.status == 0 || a.status >= 400, "%d", a.status);
	http_answer_deinit(&a);
	close(fd);

	fd = client();
	say(fd, "PUT /v1/vms/9 HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n");
	a = http_read(fd);
	ck_assert_int_eq(a.status, 413);
	http_answer_deinit(&a);
	close(fd);

	fd = client();
	say(fd, "PUT /v1/vms/9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000\r\n");
	send_zeros(fd, 4 * MIB);		/* and is cut off */
	a = http_read(fd);
	ck_assert_int_eq(a.status, 0);
	http_answer_deinit(&a);
	close(fd);
}

static void ask_and_leave(void)
{
	for (int i = 0; i < 300; i++) {
		int fd = client();

		http_send(fd, i % 2 ? "GET" : "PUT", i % 2 ? "/metrics" : "/v1/vms/9",
			  i % 2 ? NULL : apis_row("9"));
		close(fd);
	}
}

/* What has no end, more often than may be, read by nobody, and left in the middle. */
static void follow_in_crowds(void)
{
	static const char *const urls[] = {
		"/v1/events", "/v1/events?since=0000000000.000000000", "/v1/events?since=",
		"/v1/events?since=99999999999999999999.999999999", "/v1/events?since=%00&since=%ff",
	};
	static int fds[200];

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 200; i++) {
			fds[i] = client();
			http_send(fds[i], i % 10 == 9 ? "HEAD" : "GET",
				  urls[i % (sizeof urls / sizeof *urls)], NULL);
			if (i % 3 == 0)
				close(fds[i]);
		}
		for (int i = 0; i < 200; i++)
			if (i % 3)
				close(fds[i]);
	}
}

static void (*const harms[])(void) = {
	come_in_crowds, say_garbage, send_too_much, ask_and_leave, follow_in_crowds,
};

START_TEST(bytes_flow_whatever_they_do)
{
	check_undisturbed(harms[_i]);
}
END_TEST

enum { MANY = 1800 };				/* connections: more than half a MiB of answer */

static const char listed[] = "/v1/vms/3/connections";

static void open_many(void)
{
	for (int i = 0; i < MANY; i++)
		e2e_guest_connects(&vm, vhd.uds);
}

/* Whoever has asked for much, and reads none of it: has what was on its way, and an end. */
static void check_cut(int fd, size_t whole)
{
	struct http_answer a = http_read(fd);

	ck_assert_msg(a.len < whole, "%zu of %zu bytes", a.len, whole);
	http_answer_deinit(&a);
}

/* All clients ask for much, and read nothing: no more than so much is kept for all of them, whoever
 * asks for little is answered, and so are all once there is room again. */
START_TEST(answers_are_bounded)
{
	int fds[CLIENTS - 1], n_refused = 0;
	struct http_answer a;
	int64_t deadline;
	bool is_late;

	open_many();
	deadline = deadline_in(REQUEST_MS);
	for (int i = 0; i < CLIENTS - 1; i++) {
		fds[i] = client();
		http_send(fds[i], "GET", listed, NULL);
	}
	for (int i = 0; i < CLIENTS - 1; i++)
		ck_assert(deadline_poll(fds[i], POLLIN, deadline_in(DEADLINE_MS)));
	is_late = !deadline_left(deadline);	/* the first ones' time was over before the last came */
	apis_get("/v1/version");
	for (int i = 0; i < CLIENTS - 1; i++) {
		a = http_read(fds[i]);
		ck_assert_msg(a.status == 200 || a.status == 503 || (is_late && !a.status), "%d",
			      a.status);
		n_refused += a.status == 503;
		http_answer_deinit(&a);
		close(fds[i]);
	}
	ck_assert(n_refused > 0 || is_late);
	ck_assert_int_lt(n_refused, CLIENTS / 2);
	apis_do("GET", "/v1/vms/{cid}/connections", listed, NULL, 200);
}
END_TEST

/* All places are taken by clients that say nothing and some that ask for much and read none of it,
 * or (_i) say a byte now and then: they have their time, and it ends. One that has nothing to hear,
 * since nothing happens, is not one of them. */
START_TEST(who_is_slow_is_closed)
{
	size_t whole = 0;
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static const char line[] = "GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX-Long: ";
	int fds[CLIENTS - 1], late, n = CLIENTS - 1;
	int64_t deadline, began;
	struct stream idle;
	size_t at = 0;

	if (!_i) {
		open_many();
		whole = strlen(apis_do("GET", "/v1/vms/{cid}/connections", listed, NULL, 200));
	}
	stream_open(&idle, "/v1/events");
	ck_assert_int_eq(idle.status, 200);
	began = now_ms();
	deadline = deadline_in(REQUEST_MS + DEADLINE_MS);
	for (int i = 0; i < n; i++) {
		fds[i] = client();
		if (!_i && i % 8 == 0)
			http_send(fds[i], "GET", listed, NULL);
	}
	late = client();
	http_send(late, "GET", "/v1/version", NULL);
	while (!deadline_poll(late, POLLIN, deadline_in(500)) && deadline_left(deadline)) {
		for (int i = 0; i < (_i ? n : 0); i++)
			send(fds[i], at < sizeof line - 1 ? &line[at] : "x", 1, MSG_NOSIGNAL);
		at++;
		e2e_check_talks(p);
	}
	ck_assert_int_ge(now_ms() - began, REQUEST_MS / 2);
	for (int i = 0; i < n; i++) {
		ck_assert(deadline_poll(fds[i], POLLRDHUP | (_i || i % 8 ? POLLIN : 0), deadline));
		if (!_i && i % 8 == 0)
			check_cut(fds[i], whole);
		close(fds[i]);
	}
	close(late);
	apis_get("/v1/version");
	e2e_close(p);
	stream_wait(&idle, "connection-closed", 1);
	stream_close(&idle);
}
END_TEST

/* All places are taken by clients that say nothing, and one more waits; it has its place when one of
 * them leaves, and not when the time of the others is over. */
START_TEST(a_place_is_given_again)
{
	int fds[CLIENTS], late;
	int64_t deadline = deadline_in(REQUEST_MS / 2);

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = client();
	late = client();
	http_send(late, "GET", "/v1/version", NULL);
	ck_assert(!deadline_poll(late, POLLIN, deadline_in(QUIET_MS)));
	close(fds[0]);
	ck_assert(deadline_poll(late, POLLIN, deadline));
	for (int i = 1; i < CLIENTS; i++)
		close(fds[i]);
	close(late);
	apis_get("/v1/version");
}
END_TEST

/* More orders than the supervisor carries out. */
START_TEST(orders_are_bounded)
{
	unsigned n_refused = 0;
	int64_t began = now_ms();

	for (int i = 0; i < ORDERS; i++) {
		struct http_answer a = http_ask(apis_socket, "DELETE", "/v1/vms/99", NULL);

		ck_assert_msg(a.status == 404 || a.status == 429, "%d", a.status);
		n_refused += a.status == 429;
		http_answer_deinit(&a);
	}
	/* One may have been all but earned when this began. */
	ck_assert_int_le(ORDERS - n_refused,
			 ORDERS_AT_ONCE + 1 + (now_ms() - began + 1) * ORDERS_PER_S / 1000);
	apis_get("/v1/vms");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api_hostile");
	TCase *tc = e2e_case(s, "flow", apis_setup, 60);

	signal(SIGPIPE, SIG_IGN);
	setenv("TEST_SUPERVISE", "on", 1);
	tcase_add_loop_test(tc, bytes_flow_whatever_they_do, 0, sizeof harms / sizeof *harms);
	tcase_add_test(tc, orders_are_bounded);
	tcase_add_test(tc, answers_are_bounded);
	tc = e2e_case(s, "heads", apis_setup, 60);
	tcase_add_loop_test(tc, what_has_two_meanings_has_none, 0,
			    sizeof twofold / sizeof *twofold);
	tc = e2e_case(s, "slow", apis_setup, 90);
	tcase_add_loop_test(tc, who_is_slow_is_closed, 0, 2);
	tc = e2e_case(s, "places", apis_setup, 60);
	tcase_add_test(tc, a_place_is_given_again);
	return e2e_run(s);
}
