/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events by the control API: the lines of the event monitor, to each that asks; and whoever does
 * not read them, or leaves, costs nobody else anything.
 */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/reloads.h"
#include "e2e/streams.h"
#include "e2e/upgrade.h"

enum { CLIENTS_MAX = 16 };

#define EVENT(name)	"\"event\":\"" name "\""

static struct stream events;
static const char *installed;			/* the program */

static void follow(struct stream *s, const char *url)
{
	stream_open(s, url);
	ck_assert_int_eq(s->status, 200);
	ck_assert_ptr_null(stream_check(s, "/v1/events"));
}

/* Each line is an object of the form that is promised, and the last is whole. Returns how many
 * there are, with those that were lost. */
static uint64_t check_lines(const struct stream *s, const char *counted)
{
	char *copy = strdup(s->body), *rest = copy, *line;
	uint64_t n = 0;

	ck_assert(s->n && s->body[s->n - 1] == '\n');
	while ((line = strsep(&rest, "\n")) && *line) {
		json_t *event = json_loads(line, 0, NULL), *number;
		const char *name = json_string_value(json_object_get(event, "event"));

		ck_assert_msg(name && json_object_size(event) == 4, "%s", line);
		ck_assert(json_is_object(json_object_get(event, "properties")));
		number = json_object_get(json_object_get(event, "properties"), "count");
		if (strcmp(name, "events-lost") == 0)
			n += (uint64_t)json_integer_value(number);
		n += strcmp(name, counted) == 0;
		json_decref(event);
	}
	free(copy);
	return n;
}

START_TEST(what_happens_is_told)
{
	struct stream other;
	struct pair p;

	follow(&events, "/v1/events");
	follow(&other, "/v1/events");
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_guest_to_host(p, 1000, 1);
	e2e_close(p);
	stream_wait(&events, EVENT("connection-closed"), 1);
	stream_wait(&other, EVENT("connection-closed"), 1);
	stream_wait(&events, "\"bytes_to_host\":1000", 1);
	ck_assert_uint_eq(stream_count(&events, EVENT("connection-opened")), 1);
	ck_assert_ptr_null(strstr(events.body, EVENT("guest-running")));	/* that was before */
	/* And what its supervisor knows. */
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	stream_wait(&events, EVENT("vm-added") ",\"properties\":{\"cid\":9}", 1);
	stream_wait(&events, EVENT("vm-removed") ",\"properties\":{\"cid\":9}", 1);
	driver_deinit(&vm);
	stream_wait(&events, EVENT("front-end-gone"), 1);
	stream_wait(&other, EVENT("front-end-gone"), 1);
	check_lines(&events, "");
	stream_close(&events);
	stream_close(&other);
}
END_TEST

static const char *const not_times[] = {
	"", "1", "1.", ".000000000", "1.00000000", "1.0000000000", "-1.000000000", "1.00000000x",
	"99999999999.000000000", "1e9.000000000", "%00", "1.000000000%0a", "0x1.000000000",
};

START_TEST(since_when)
{
	char url[64];

	for (size_t i = 0; i < sizeof not_times / sizeof *not_times; i++) {
		snprintf(url, sizeof url, "/v1/events?since=%s", not_times[i]);
		apis_do("GET", "/v1/events", url, NULL, 400);
	}
	/* From the beginning; from now on. */
	follow(&events, "/v1/events?since=0000000001.000000000");
	stream_wait(&events, EVENT("engine-started"), 1);
	stream_wait(&events, EVENT("vm-added"), 2);
	check_lines(&events, "");
	stream_close(&events);
	follow(&events, "/v1/events?since=9999999999.999999999");
	e2e_close(e2e_guest_connects(&vm, vhd.uds));
	stream_wait(&events, EVENT("connection-closed"), 1);
	ck_assert_ptr_null(strstr(events.body, "vm-added"));
	stream_close(&events);
}
END_TEST

/* Only so many at once, and idle as they are it is seen that they have left. */
START_TEST(so_many_and_no_more)
{
	static struct stream all[CLIENTS_MAX];
	int64_t deadline = deadline_in(DEADLINE_MS);

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CLIENTS_MAX; i++)
			do {			/* those of the round before are about to be missed */
				stream_open(&all[i], "/v1/events");
				if (all[i].status != 200)
					stream_close(&all[i]);
			} while (all[i].fd < 0 && deadline_left(deadline));
		apis_do("GET", "/v1/events", "/v1/events", NULL, 429);
		apis_get("/v1/vms");
		for (int i = 0; i < CLIENTS_MAX; i++) {
			ck_assert_int_eq(all[i].status, 200);
			stream_close(&all[i]);
		}
	}
}
END_TEST

/* More than a queue and a socket hold: what is missing is counted, and the other one gets all. */
START_TEST(who_does_not_read_loses_lines)
{
	enum { CONNECTS = 2500 };
	struct stream reader;

	follow(&events, "/v1/events");
	follow(&reader, "/v1/events");
	for (unsigned i = 1; i <= CONNECTS; i++) {
		e2e_close(e2e_guest_connects(&vm, vhd.uds));
		if (i % 100 == 0)
			stream_wait(&reader, EVENT("connection-closed"), i);
	}
	ck_assert_ptr_null(strstr(reader.body, "events-lost"));
	stream_wait(&events, EVENT("events-lost"), 1);
	while (stream_read_some(&events, 200))
		;				/* some, if it was lost before the last */
	ck_assert_uint_lt(stream_count(&events, EVENT("connection-closed")), CONNECTS);
	ck_assert_uint_eq(check_lines(&events, "connection-closed") +
			  stream_count(&events, EVENT("connection-opened")), 2 * CONNECTS);
	ck_assert(apis_metric("vhost_vsock_events_lost_total") > 0);
	/* And from now on all. */
	e2e_close(e2e_guest_connects(&vm, vhd.uds));
	stream_wait(&events, "\"guest_port\"", stream_count(&events, "\"guest_port\"") + 2);
	stream_close(&events);
	stream_close(&reader);
}
END_TEST

/* The time of the last line, for who comes back. */
static const char *url_to_go_on(const struct stream *s)
{
	static char url[80];
	const char *line = s->body, *next;
	long long secs;
	long nanos;

	while ((next = strstr(line + 1, "{\"timestamp\"")))
		line = next;
	must(sscanf(line, "{\"timestamp\":{\"secs\":%lld,\"nanos\":%ld}", &secs, &nanos) == 2);
	snprintf(url, sizeof url, "/v1/events?since=%lld.%09ld", secs, nanos);
	return url;
}

START_TEST(over_a_crash_and_an_upgrade)
{
	struct stream next;

	follow(&events, "/v1/events");
	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	stream_wait(&events, EVENT("vm-added"), 1);
	must(kill(daemon_engine(&vhd), SIGKILL) == 0);
	stream_read_to_end(&events);
	follow(&next, url_to_go_on(&events));
	stream_close(&events);
	stream_wait(&next, EVENT("engine-died"), 1);
	stream_wait(&next, EVENT("engine-started"), 1);
	ck_assert_uint_eq(stream_count(&next, EVENT("vm-added")), 0);
	e2e_check_alive();
	upgrade();
	stream_read_to_end(&next);
	check_lines(&next, "");
	follow(&events, url_to_go_on(&next));
	stream_wait(&events, EVENT("upgraded"), 1);
	ck_assert_uint_eq(stream_count(&events, EVENT("engine-died")), 0);
	stream_close(&events);
	stream_close(&next);
}
END_TEST

/* An upgrade that comes to nothing: all goes on, also this. */
START_TEST(over_an_upgrade_that_fails)
{
	FILE *f;

	follow(&events, "/v1/events");
	must(unlink(installed) == 0);
	f = fopen(installed, "we");
	must(f && fputs("#!/bin/false\n", f) >= 0 && fclose(f) == 0);
	must(chmod(installed, 0755) == 0);
	apis_do("POST", "/v1/upgrade", "/v1/upgrade", NULL, 500);
	e2e_close(e2e_guest_connects(&vm, vhd.uds));
	stream_wait(&events, EVENT("upgrade-failed") ",\"properties\":{\"reason\":\"it does not start", 1);
	stream_wait(&events, EVENT("connection-closed"), 1);
	check_lines(&events, "");
	stream_close(&events);
}
END_TEST

/* The last line is there and whole, and so is the answer as HTTP has it; also where the client has
 * stopped to read long ago. */
START_TEST(until_the_daemon_ends)
{
	int fd = host_connect(apis_socket);
	struct http_answer a;
	struct stream slow;

	http_send(fd, "GET", "/v1/events", NULL);
	follow(&slow, "/v1/events");
	follow(&events, "/v1/events");
	for (int i = 0; i < 1500; i++)
		e2e_close(e2e_guest_connects(&vm, vhd.uds));
	while (stream_read_some(&events, 100))
		;
	must(kill(vhd.pid, SIGTERM) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	stream_read_to_end(&events);
	check_lines(&events, "");
	ck_assert_uint_eq(stream_count(&events, EVENT("daemon-ended")), 1);
	a = http_read(fd);
	ck_assert_int_eq(a.status, 200);
	http_answer_deinit(&a);
	close(fd);
	stream_close(&slow);
	stream_close(&events);
}
END_TEST

START_TEST(it_ends_as_http_has_it)
{
	int fd = host_connect(apis_socket);
	struct http_answer a;

	http_send(fd, "GET", "/v1/events", NULL);
	apis_get("/v1/vms");			/* it has been asked for by now */
	apis_do("POST", "/v1/shutdown", "/v1/shutdown", NULL, 200);
	a = http_read(fd);
	ck_assert_int_eq(a.status, 200);
	ck_assert_ptr_nonnull(strstr(a.body, "daemon-ended"));
	ck_assert_str_eq(a.body + a.len - 9, "}\n\r\n0\r\n\r\n");
	http_answer_deinit(&a);
	close(fd);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
}
END_TEST

START_TEST(a_head_is_no_client)
{
	for (int i = 0; i < 3 * CLIENTS_MAX; i++) {
		struct http_answer a = http_ask(apis_socket, "HEAD", "/v1/events", NULL);

		ck_assert_int_eq(a.status, 200);
		ck_assert_uint_eq(a.len, 0);
		http_answer_deinit(&a);
	}
}
END_TEST

/* One process. */
START_TEST(without_a_supervisor)
{
	follow(&events, "/v1/events");
	e2e_close(e2e_guest_connects(&vm, vhd.uds));
	stream_wait(&events, EVENT("connection-closed"), 1);
	apis_do("POST", "/v1/shutdown", "/v1/shutdown", NULL, 200);
	stream_read_to_end(&events);
	check_lines(&events, "");
	stream_close(&events);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

static void setup_installed(void)
{
	e2e_setup_bare();			/* for its folder, which apis_setup() makes anew */
	installed = upgrade_install();
	apis_setup();
}

int main(void)
{
	Suite *s = suite_create("api_events");
	TCase *tc = e2e_case(s, "events", apis_setup, 60);

	signal(SIGPIPE, SIG_IGN);
	setenv("TEST_SUPERVISE", "on", 1);
	tcase_add_test(tc, what_happens_is_told);
	tcase_add_test(tc, since_when);
	tcase_add_test(tc, so_many_and_no_more);
	tcase_add_test(tc, a_head_is_no_client);
	tc = e2e_case(s, "slow", apis_setup, 60);
	tcase_add_test(tc, who_does_not_read_loses_lines);
	tc = e2e_case(s, "engines", apis_setup, 60);
	tcase_add_test(tc, over_a_crash_and_an_upgrade);
	tc = e2e_case(s, "installed", setup_installed, 60);
	tcase_add_test(tc, over_an_upgrade_that_fails);
	tc = e2e_case_with(s, "ended", apis_setup, e2e_teardown_ended, 60);
	tcase_add_test(tc, until_the_daemon_ends);
	tcase_add_test(tc, it_ends_as_http_has_it);
	tc = e2e_case_with(s, "alone", apis_setup_alone, e2e_teardown_ended, 60);
	tcase_add_test(tc, without_a_supervisor);
	return e2e_run(s);
}
