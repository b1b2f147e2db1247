/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens is told, in the form that was promised, as others read it; and whoever does not
 * read it delays nobody.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/reloads.h"
#include "e2e/upgrade.h"

static char option[160];
static const char *const to_file[] = { "--log-level=info", option, NULL };

static void start_with(const char *name)
{
	snprintf(option, sizeof option, "--event-monitor=path=%s", reloads_path(name));
	reloads_spawn("vms:\n" VM3, to_file);
	ck_assert(daemon_wait_listening(&vhd, reloads_path("vhost.sock")));
	driver_up(&vm, reloads_path("vhost.sock"), &(struct driver_options){ .cid = 3 });
	reloads_wait_guest(3);
}

static void start(void)
{
	start_with("events");
}

/* The file so far; the caller frees it. */
static char *events(void)
{
	int fd = open(reloads_path("events"), O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, 1 << 20);
	ssize_t n;

	must(fd >= 0 && text);
	n = read(fd, text, (1 << 20) - 1);
	must(n >= 0);
	close(fd);
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* Waits until @n events of that name are there. The file, to be freed. */
static char *wait_for(const char *name, unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char what[96], *text;

	snprintf(what, sizeof what, "\"event\":\"%s\"", name);
	while (count(text = events(), what) < n) {
		ck_assert_msg(deadline_left(deadline), "%s: %s", name, text);
		free(text);
		poll(NULL, 0, 5);
	}
	return text;
}

/* The first line that has all of that in it. */
static void check_has(const char *text, const char *a, const char *b, const char *c)
{
	char *copy = strdup(text), *rest = copy, *line;

	while ((line = strsep(&rest, "\n")))
		if (strstr(line, a) && strstr(line, b) && strstr(line, c))
			break;
	ck_assert_msg(line, "%s %s %s: %s", a, b, c, text);
	free(copy);
}

/* By jq, where it is there: each line is an object of that form. */
static void check_form(void)
{
	char command[512];

	if (system("command -v jq >/dev/null 2>&1") != 0) {
		fprintf(stderr, "# no jq: the form is not checked\n");
		return;
	}
	snprintf(command, sizeof command, "jq -es 'all(.[]; (keys == [\"event\",\"properties\","
		 "\"source\",\"timestamp\"]) and (.timestamp.secs > 1600000000) and "
		 "(.timestamp.nanos < 1000000000) and (.properties | type == \"object\"))' %s "
		 ">/dev/null", reloads_path("events"));
	ck_assert_int_eq(system(command), 0);
}

START_TEST(of_a_life)
{
	char *text;

	start();
	free(wait_for("guest-running", 1));
	e2e_close(e2e_guest_connects(&vm, vhd.uds));
	driver_deinit(&vm);
	free(wait_for("front-end-gone", 1));
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	text = wait_for("daemon-ended", 1);
	check_has(text, "\"source\":\"daemon\"", "daemon-started", "\"pid\":");
	check_has(text, "\"source\":\"vm\"", "vm-added", "\"properties\":{\"cid\":3}");
	check_has(text, "\"source\":\"daemon\"", "engine-started", "\"pid\":");
	check_has(text, "front-end-connected", "\"cid\":3", "");
	check_has(text, "guest-stopped", "\"cid\":3", "");
	check_has(text, "daemon-ended", "\"status\":0", "");
	check_form();
	free(text);
}
END_TEST

START_TEST(of_a_connection)
{
	static const uint8_t bytes[300];
	struct pair p;
	char *text;

	start();
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_guest_to_host(p, 1000, 1);
	e2e_check_host_to_guest(p, sizeof bytes, 2);
	e2e_close(p);
	text = wait_for("connection-closed", 1);
	check_has(text, "connection-opened", "\"peer_cid\":2,\"peer_port\":1234,\"type\":\"stream\"",
		  "\"origin\":\"guest\"");
	check_has(text, "connection-closed", "\"reason\":\"host\"",
		  "\"bytes_to_guest\":300,\"bytes_to_host\":1000,\"age_ms\":");
	free(text);
	p = e2e_host_connects(&vm, vhd.uds);
	sock_send_rst(p.guest);
	text = wait_for("connection-reset", 1);
	check_has(text, "connection-reset", "\"origin\":\"host\"", "\"reason\":\"guest_reset\"");
	free(text);
	close(p.host);
	/* One that is refused has never been one. */
	ck_assert(!sock_wait_open(sock_dial(&vm, 99)));
	e2e_check_alive();
	text = wait_for("connection-closed", 3);
	ck_assert_uint_eq(count(text, "connection-opened"), 4);
	ck_assert_ptr_null(strstr(text, ":99,"));
	check_form();
	free(text);
}
END_TEST

START_TEST(of_a_broken_ring)
{
	char *text;

	start();
	guest_ring_raw_post(&vm.vq[VSOCK_TXQ], 0xffff);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	text = wait_for("ring-broken", 1);
	check_has(text, "ring-broken", "\"ring\":\"tx\"", "\"reason\":\"");
	check_form();
	free(text);
}
END_TEST

START_TEST(of_a_crash_and_an_upgrade)
{
	struct pair p;
	pid_t engine;
	char *text;

	start();
	p = e2e_guest_connects(&vm, vhd.uds);
	upgrade();
	free(wait_for("upgraded", 1));
	e2e_check_guest_to_host(p, 10, 1);
	e2e_close(p);
	text = wait_for("connection-closed", 1);	/* of the next engine, behind all before */
	ck_assert_uint_eq(count(text, "guest-running"), 1);	/* it noticed nothing */
	ck_assert_uint_eq(count(text, "front-end-"), 1);
	ck_assert_uint_eq(count(text, "\"connection-"), 2);
	check_has(text, "connection-closed", "\"bytes_to_host\":10", "");
	free(text);
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGKILL) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	e2e_check_alive();
	text = wait_for("engine-started", 2);
	check_has(text, "engine-died", "\"signal\":9", "\"pid\":");
	check_form();
	free(text);
}
END_TEST

START_TEST(of_vms_that_come_and_go)
{
	char *text;

	start();
	reloads_do(BOTH, "vm 4: added");
	reloads_do("vms:\n" VM3, "vm 4: removed");
	reloads_do("vms:\n  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock, "
		   "max-connections: 9, capture: /dev/full }\n", "vm 3: changed");
	e2e_check_alive();
	text = wait_for("capture-ended", 1);
	check_has(text, "vm-added", "\"cid\":4", "");
	check_has(text, "vm-removed", "\"cid\":4", "");
	check_has(text, "vm-changed", "\"cid\":3", "");
	check_has(text, "capture-started", "\"cid\":3", "");
	check_has(text, "capture-ended", "\"packets\":0,\"lost\":",
		  "\"error\":\"No space left on device\"");
	check_form();
	free(text);
}
END_TEST

/* Thousands of events with nobody to read them: all goes on, and what was lost is told of. */
START_TEST(a_pipe_that_nobody_reads_delays_nobody)
{
	enum { CONNECTS = 1500, BYTES = 1 << 20 };
	char *text = calloc(1, BYTES);
	size_t n = 0;
	int64_t deadline;
	int fd;

	must(mkfifo(reloads_path("pipe"), 0600) == 0);
	start_with("pipe");
	for (int i = 0; i < CONNECTS; i++)
		e2e_close(e2e_guest_connects(&vm, vhd.uds));
	fd = open(reloads_path("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	must(fd >= 0);
	deadline = deadline_in(DEADLINE_MS);
	while (!strstr(text, "events-lost") && deadline_left(deadline)) {
		ssize_t got = read(fd, text + n, BYTES - 1 - n);

		n += got > 0 ? (size_t)got : 0;
		if (got <= 0 && n)
			e2e_check_alive();	/* another event, before which it is told */
	}
	ck_assert_ptr_nonnull(strstr(text, "\"event\":\"events-lost\",\"properties\":{\"count\":"));
	ck_assert_ptr_nonnull(strstr(text, "connection-opened"));
	close(fd);
	free(text);
}
END_TEST

START_TEST(to_a_descriptor)
{
	int fd = open(reloads_path("events"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	char *text;

	must(fd >= 0 && dup2(fd, 77) == 77);
	close(fd);
	snprintf(option, sizeof option, "--event-monitor=fd=77");
	reloads_spawn("vms:\n" VM3, to_file);
	ck_assert(daemon_wait_listening(&vhd, reloads_path("vhost.sock")));
	driver_up(&vm, reloads_path("vhost.sock"), &(struct driver_options){ .cid = 3 });
	reloads_wait_guest(3);
	close(77);
	text = wait_for("guest-running", 1);
	free(text);
	reloads_do(BOTH, "vm 4: added");	/* the descriptor is ours by now */
}
END_TEST

static void fill(int fd)
{
	static const char zeros[4096];

	must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	while (write(fd, zeros, sizeof zeros) > 0)
		;
	must(fcntl(fd, F_SETFL, 0) == 0);
}

/* A pipe that is full when the daemon starts: it starts, and what it had to say is said once
 * somebody reads. _i: it was passed as a descriptor. */
START_TEST(a_full_pipe_delays_no_start)
{
	char text[65536] = "";
	int64_t deadline = deadline_in(DEADLINE_MS);
	int ends[2];
	size_t n = 0;

	must(mkfifo(reloads_path("pipe"), 0600) == 0);
	ends[0] = open(reloads_path("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ends[1] = open(reloads_path("pipe"), O_WRONLY);
	must(ends[0] >= 0 && ends[1] >= 0);
	fill(ends[1]);
	if (_i)
		snprintf(option, sizeof option, "--event-monitor=fd=%d", ends[1]);
	else
		snprintf(option, sizeof option, "--event-monitor=path=%s", reloads_path("pipe"));
	reloads_spawn("vms:\n" VM3, to_file);
	ck_assert(daemon_wait_listening(&vhd, reloads_path("vhost.sock")));
	driver_up(&vm, reloads_path("vhost.sock"), &(struct driver_options){ .cid = 3 });
	e2e_check_alive();
	close(ends[1]);
	while (!(strstr(text, "daemon-started") && strstr(text, "vm-added") &&
		 strstr(text, "guest-running"))) {
		char c;

		ck_assert_msg(deadline_left(deadline) && n < sizeof text - 1, "%s", text);
		if (read(ends[0], &c, 1) == 1 && c)	/* the zeros are ours */
			text[n++] = c;
	}
	close(ends[0]);
}
END_TEST

static void check_refused(const char *value)
{
	const char *args[] = { "--socket", "s", "--uds-path", "u", "--event-monitor", value, NULL };

	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 2);
}

START_TEST(what_is_not_to_be_had_is_refused)
{
	check_refused("events.json");
	check_refused("path=");
	check_refused("fd=2");
	check_refused("fd=99");
	check_refused("fd=x");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("events");
	TCase *tc = e2e_case(s, "events", e2e_setup_bare, 60);

	tcase_add_test(tc, of_a_connection);
	tcase_add_test(tc, of_a_broken_ring);
	tcase_add_test(tc, of_a_crash_and_an_upgrade);
	tcase_add_test(tc, of_vms_that_come_and_go);
	tcase_add_test(tc, a_pipe_that_nobody_reads_delays_nobody);
	tcase_add_test(tc, to_a_descriptor);
	tcase_add_loop_test(tc, a_full_pipe_delays_no_start, 0, 2);
	tc = e2e_case_with(s, "ended", e2e_setup_bare, e2e_teardown_ended, 30);
	tcase_add_test(tc, of_a_life);
	tcase_add_test(tc, what_is_not_to_be_had_is_refused);
	return e2e_run(s);
}
