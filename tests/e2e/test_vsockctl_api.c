/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl at the API of a daemon that says what it is told to: also what no daemon says that
 * has not been taken over.
 */
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "e2e/ctl.h"
#include "e2e/e2e.h"
#include "e2e/http_script.h"

static struct ctl ctl;
static struct http_script api;
static char api_path[108];

#define ARGS(...)	((const char *const []){ __VA_ARGS__, NULL })
#define ROWS(...)	((const struct http_row []){ __VA_ARGS__, { .request = NULL } })
#define ROW(what, by)	{ .request = what, .answer = by }

#define VM_ROW(cid, more)	"{\"cid\": " #cid ", \"front_end\": \"connected\", \"guest_running\": true, " \
	"\"connections\": 2, \"payload_bytes\": {\"to_guest\": 2048, \"to_host\": 5}, " \
	"\"buffered_bytes\": 7" more "}"
#define CONN(port, more)	"{\"id\": \"stream-" #port "-2-1\", \"guest\": {\"cid\": 3, \"port\": " #port \
	"}, \"peer\": {\"cid\": 2, \"port\": 1}, \"type\": \"stream\", \"state\": \"open\", \"origin\": " \
	"\"host\", \"age_ms\": 61000, \"to_guest_bytes\": 1024, \"to_host_bytes\": 9" more "}"

static void start(const struct http_row *rows)
{
	snprintf(api_path, sizeof api_path, "%s/api", vhd.dir);
	setenv("VSOCKCTL_API", api_path, 1);
	setenv("http_proxy", "http://127.0.0.1:9/", 1);		/* is for others */
	setenv("ALL_PROXY", "http://127.0.0.1:9/", 1);
	http_script_start(&api, api_path, rows);
}

static int run(const struct http_row *rows, const char *const *args)
{
	int status;

	start(rows);
	status = ctl_run(&ctl, NULL, args);
	http_script_stop(&api);
	unlink(api_path);
	return status;
}

START_TEST(list_shows_vms)
{
	const struct http_row *rows = ROWS(ROW("GET /v1/vms", "{\"vms\": [" VM_ROW(3, "") ", " VM_ROW(4, "") "]}"));

	ck_assert_int_eq(run(rows, ARGS("list")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\n         3  connected  running         2        2K "
					       "        5         7\n         4  "));
	ck_assert_str_eq(api.seen, "GET /v1/vms HTTP/1.1 \n");
	ck_assert_int_eq(run(rows, ARGS("list", "--json")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"cid\": 4"));
}
END_TEST

static const struct http_row show_rows[] = {
	{ .request = "GET /v1/vms/3", .answer = VM_ROW(3, ", \"virtio_features\": [\"VIRTIO_F_VERSION_1\"], \"rings\": "
	  "[{\"name\": \"rx\", \"size\": 128, \"broken\": \"head \\u001b[2J300 of 256\"}]") },
	{ .request = "GET /v1/vms/3/connections", .answer = "{\"connections\": ["
	  CONN(22, ", \"waits\": {\"for\": \"guest_credit\", \"text\": \"the guest to read\", \"since_ms\": 65000}")
	  "], \"cut\": true}" },
	{ .request = NULL },
};

START_TEST(show_shows_one)
{
	ck_assert_int_eq(run(show_rows, ARGS("show", "3")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "VIRTIO_F_VERSION_1"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "broken"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "head \\x1b[2J300 of 256"));
	ck_assert_ptr_null(strchr(ctl.said, '\x1b'));
	ck_assert_ptr_nonnull(strstr(ctl.said, "the guest to read, 65s\n"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "... and more"));
	ck_assert_int_eq(run(show_rows, ARGS("show", "3", "--json")), 0);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\\u001B[2J"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"connection_list\""));
	ck_assert_int_eq(run(show_rows, ARGS("show", "4")), 3);
	ck_assert_int_eq(run(show_rows, ARGS("show", "2")), 2);
	ck_assert_int_eq(run(show_rows, ARGS("show", "3x")), 2);
}
END_TEST

#define DONE	"{\"outcome\": \"done\"}"

static const struct {
	const char *args[3], *request, *answer, *said, *seen;
} orders[] = {
	{ { "log-level" }, "GET /v1/log-level", "{\"level\": \"warn\"}", "warn\n",
	  "GET /v1/log-level HTTP/1.1 \n" },
	{ { "log-level", "debug" }, "PUT /v1/log-level", DONE, "",
	  "PUT /v1/log-level HTTP/1.1 {\"level\": \"debug\"}\n" },
	{ { "reload" }, "POST /v1/reload", DONE, "", "POST /v1/reload HTTP/1.1 \n" },
	{ { "upgrade" }, "POST /v1/upgrade", DONE, "", "POST /v1/upgrade HTTP/1.1 \n" },
	{ { "metrics" }, "GET /metrics", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n# HELP\n", "# HELP\n",
	  "GET /metrics HTTP/1.1 \n" },
};

START_TEST(orders_are_sent)
{
	const struct http_row *rows = ROWS(ROW(orders[_i].request, orders[_i].answer));

	ck_assert_int_eq(run(rows, orders[_i].args), 0);
	ck_assert_str_eq(ctl.said, orders[_i].said);
	ck_assert_str_eq(ctl.complained, "");
	ck_assert_str_eq(api.seen, orders[_i].seen);
}
END_TEST

/* A daemon that says yes and stays: we, or a child of ours, to which we gave the socket. */
START_TEST(shutdown_that_does_not_come)
{
	char version[64];
	const struct http_row *rows = ROWS(ROW("GET /v1/version", version), ROW("POST /v1/shutdown", DONE));
	pid_t child = _i ? fork() : 0;

	if (_i && child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	snprintf(version, sizeof version, "{\"pid\": %d}", (int)(_i ? child : getpid()));
	ck_assert_int_eq(run(rows, ARGS("shutdown", "--timeout", "0.1")), 4);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "has not so far"));
	ck_assert_ptr_nonnull(strstr(api.seen, "POST /v1/shutdown HTTP/1.1 \n"));
	if (_i) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}
END_TEST

/* That child has ended by then: the socket is still ours, and whether it is does not matter. */
START_TEST(shutdown_of_one_that_was_given_the_socket)
{
	char version[64];
	const struct http_row *rows = ROWS(ROW("GET /v1/version", version), ROW("POST /v1/shutdown", DONE));
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	snprintf(version, sizeof version, "{\"pid\": %d}", (int)child);
	ck_assert_int_eq(run(rows, ARGS("shutdown")), 0);
	waitpid(child, NULL, 0);
}
END_TEST

#define TIMES_8(text)	text text text text text text text text
#define KIB	TIMES_8(TIMES_8("\"members\": [7], "))

#define REFUSAL(status)	"HTTP/1.1 " #status " No\r\nContent-Length: 29\r\n\r\n{\"error\": \"the \\u001b[1m no\"}\n"

static const struct {
	const char *answer;
	size_t repeat;
	int status;
	const char *complaint;
} bad_answers[] = {
	{ REFUSAL(400), 0, 3, "the \\x1b[1m no" },
	{ REFUSAL(409), 0, 3, "the \\x1b[1m no" },
	{ REFUSAL(500), 0, 1, "the \\x1b[1m no" },
	{ REFUSAL(504), 0, 4, "the \\x1b[1m no" },
	{ "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0, 3, "404" },
	{ "HTTP/1.1 302 Found\r\nLocation: http://localhost/v1/vms\r\nContent-Length: 0\r\n\r\n", 0, 1, "302" },
	{ "SSH-2.0-OpenSSH\r\n", 0, 1, "" },
	{ "", 0, 1, "" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"vms\": [", 0, 1, "" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", 0, 1, "no JSON object" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"\"", 0, 1, "no JSON object" },
	{ "{" KIB, 65 << 10, 1, "too long" },
	{ "{\"a\": ", 100000, 1, "no JSON object" },
};

START_TEST(bad_answers_are_refused)
{
	const struct http_row *rows = ROWS({ "GET /v1/vms", bad_answers[_i].answer, bad_answers[_i].repeat });

	ck_assert_int_eq(run(rows, ARGS("list")), bad_answers[_i].status);
	ck_assert_str_eq(ctl.said, "");
	ck_assert_msg(strstr(ctl.complained, bad_answers[_i].complaint), "%s", ctl.complained);
	ck_assert_ptr_null(strchr(ctl.complained, '\x1b'));
}
END_TEST

/* Of members that are missing, or are something else, nothing breaks. */
static const char *const odd_answers[] = {
	"{}", "{\"vms\": null}", "{\"vms\": {\"cid\": 3}}", "{\"vms\": [1, null, \"x\", []]}",
	"{\"vms\": [{\"cid\": -1, \"front_end\": 5, \"payload_bytes\": []}]}",
	"{\"vms\": [{\"cid\": 9223372036854775807, \"front_end\": \"\\u009b\\u0000x\", \"connections\": 1e99}]}",
};

START_TEST(odd_answers_are_borne)
{
	const struct http_row *rows = ROWS(ROW("GET /v1/vms/3", odd_answers[_i]), ROW("GET /v1/vms", odd_answers[_i]),
					   ROW("GET /v1/vms/3/connections", odd_answers[_i]));

	ck_assert_int_ge(run(rows, ARGS("list")), 0);
	ck_assert_int_ge(run(rows, ARGS("show", "3")), 0);
	ck_assert_int_ge(run(rows, ARGS("doctor")), 0);
	ck_assert_int_ge(run(rows, ARGS("doctor", "3")), 0);
	ck_assert_int_ge(run(rows, ARGS("list", "--json")), 0);
	for (const char *at = ctl.said; *at; at++)
		ck_assert(*at == '\n' || (*at >= ' ' && *at <= '~'));
}
END_TEST

START_TEST(metrics_that_are_no_text)
{
	const struct http_row *rows = ROWS(ROW("GET /metrics", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x1b[5m"));

	ck_assert_int_eq(run(rows, ARGS("metrics")), 1);
	ck_assert_str_eq(ctl.said, "");
}
END_TEST

START_TEST(no_daemon)
{
	snprintf(api_path, sizeof api_path, "%s/none", vhd.dir);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("list", "--api", api_path)), 5);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "there is no such socket"));
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("doctor", "--api", api_path)), 6);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("log-level", "loud", "--api", api_path)), 2);
}
END_TEST

/* ---- doctor ---- */

#define DOCTOR_VM(more)	"{\"vms\": [{\"cid\": 3, " more "}]}"
#define CONNECTED	"\"front_end\": \"connected\", "

static const struct {
	const char *vms, *vm, *conns;
	const char *cause;			/* NULL: all is well */
} diagnoses[] = {
	{ DOCTOR_VM("\"front_end\": \"none\""), "{}", "{}", "no-front-end" },
	{ DOCTOR_VM("\"front_end\": \"silent\""), "{}", "{}", "front-end-silent" },
	{ DOCTOR_VM(CONNECTED "\"memory_missing\": true"), "{}", "{}", "memory-not-shared" },
	{ DOCTOR_VM(CONNECTED "\"guest_running\": false"), "{\"virtio_features\": []}", "{}", "no-driver" },
	{ DOCTOR_VM(CONNECTED "\"guest_running\": false"), "{\"virtio_features\": [\"x\"]}", "{}", "guest-stopped" },
	{ DOCTOR_VM(CONNECTED "\"guest_running\": true"), "{\"rings\": [{\"broken\": null}, {\"broken\": \"bad\"}]}",
	  "{}", "ring-broken" },
	{ DOCTOR_VM(CONNECTED "\"guest_running\": true"), "{}", "{\"connections\": [" CONN(22, ", \"waits\": {\"for\": "
	  "\"guest_credit\", \"text\": \"the guest to read\", \"since_ms\": 65000}") "]}", "stalled" },
	{ DOCTOR_VM(CONNECTED "\"guest_running\": true"), "{}", "{\"connections\": [" CONN(22, ", \"waits\": {\"for\": "
	  "\"guest_credit\", \"since_ms\": 900}") "," CONN(23, ", \"waits\": null") "]}", NULL },
	{ "{\"vms\": []}", "{}", "{}", "no-vm" },
	{ "{\"vms\": [{\"cid\": 4}]}", "{}", "{}", "no-vm" },
};

START_TEST(doctor_asks_the_api)
{
	const struct http_row *rows = ROWS(ROW("GET /v1/vms", diagnoses[_i].vms), ROW("GET /v1/vms/3", diagnoses[_i].vm),
					   ROW("GET /v1/vms/3/connections", diagnoses[_i].conns));
	const char *cause = diagnoses[_i].cause;
	char wanted[128];

	ck_assert_int_eq(run(rows, ARGS("doctor", "--json", "3")), cause ? 6 : 0);
	if (cause) {
		snprintf(wanted, sizeof wanted, "\"severity\": \"problem\", \"cause\": \"%s\"", cause);
		ck_assert_msg(strstr(ctl.said, wanted), "%s, in %s", wanted, ctl.said);
	} else {
		ck_assert_int_eq(run(rows, ARGS("doctor")), 0);
		ck_assert_str_eq(ctl.said, "Nothing is wrong.\n");
	}
}
END_TEST

/* Of which VM it is said. */
START_TEST(doctor_looks_at_all_vms)
{
	const struct http_row *rows = ROWS(ROW("GET /v1/vms", "{\"vms\": [{\"cid\": 3, \"front_end\": \"none\"}, "
					     "{\"cid\": 9, \"front_end\": \"none\"}]}"));

	ck_assert_int_eq(run(rows, ARGS("doctor")), 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "VM 3:\nProblem: No VM is connected"));
	ck_assert_ptr_nonnull(strstr(ctl.said, "VM 9:\nProblem: No VM is connected"));
	ck_assert_int_eq(run(rows, ARGS("doctor", "--json")), 6);
	ck_assert_ptr_nonnull(strstr(ctl.said, "\"cid\": 9"));
}
END_TEST

/* ---- what goes on ---- */

static const struct http_row event_rows[] = {
	{ .request = "GET /v1/events", .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "9\r\n{\"a\": 1}\n\r\n" "5\r\n{\"b\":\r\n" "9\r\n \"\x1b[2J\"}\n\r\n" "3\r\nhal\r\n0\r\n\r\n" },
	{ .request = NULL },
};

START_TEST(events_come_as_whole_lines)
{
	ck_assert_int_eq(run(event_rows, ARGS("events")), 0);
	ck_assert_str_eq(ctl.said, "{\"a\": 1}\n{\"b\": \"\\u001b[2J\"}\n");
	ck_assert_int_eq(run(ROWS(ROW("GET /v1/events", REFUSAL(404))), ARGS("events")), 3);
}
END_TEST

/* An engine that dies in the middle of a line, and the next one: with what came meanwhile. */
static const struct http_row cut_event_rows[] = {
	{ .request = "GET /v1/events", .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "2f\r\n{\"timestamp\": {\"secs\": 5, \"nanos\": 7}, \"a\": 1}\n\r\n" "3\r\n{\"h\r\n" },
	{ .request = "GET /v1/events?since=5.000000007", .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	  "chunked\r\n\r\n" "9\r\n{\"b\": 2}\n\r\n" "0\r\n\r\n" },
	{ .request = NULL },
};

START_TEST(events_go_on_with_the_next_engine)
{
	ck_assert_int_eq(run(cut_event_rows, ARGS("events")), 0);
	ck_assert_str_eq(ctl.said, "{\"timestamp\": {\"secs\": 5, \"nanos\": 7}, \"a\": 1}\n{\"b\": 2}\n");
	ck_assert_str_eq(ctl.complained, "");
	/* One that dies at once is no engine that serves. */
	ck_assert_int_eq(run(ROWS(ROW("GET /v1/events", "")), ARGS("events")), 1);
}
END_TEST

#define PCAP_HEAD	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/* As long as the header of a file, and none: a script has no NUL bytes. */
static const struct http_row capture_rows[] = {
	{ .request = "GET /v1/vms/3", .answer = VM_ROW(3, "") },
	{ .request = "GET /v1/vms/3/capture", .answer = PCAP_HEAD "5\r\nno pc\r\n" "13\r\nap, of 24 bytes all\r\n0\r\n\r\n" },
	{ .request = NULL },
};

/* A number that is too long to be one. */
static const struct http_row capture_id_rows[] = {
	{ .request = "GET /v1/vms/3", .answer = VM_ROW(3, "") },
	{ .request = "GET /v1/vms/3/capture",
	  .answer = "HTTP/1.1 200 OK\r\nCapture-Id:123456789012345678901234567890\r\n"
		"Transfer-Encoding: chunked\r\n\r\n5\r\nno pc\r\n0\r\n\r\n" },
	{ .request = NULL },
};

START_TEST(capture_takes_only_packets)
{
	char file[128];

	snprintf(file, sizeof file, "%s/pcap", vhd.dir);
	ck_assert_int_eq(run(capture_rows, ARGS("capture", "3", file)), 1);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "no pcap"));
	ck_assert_int_eq(run(capture_rows, ARGS("capture", "4", "/nonexistent/x")), 3);
	ck_assert_int_eq(run(capture_rows, ARGS("capture", "3", "/nonexistent/x")), 1);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "/nonexistent/x: No such file"));
	ck_assert_int_eq(run(capture_rows, ARGS("capture", "3", "-")), 1);
	ck_assert_str_eq(ctl.said, "");
	ck_assert_int_eq(run(capture_id_rows, ARGS("capture", "3", file)), 0);
}
END_TEST

/* ---- top, in a terminal of our own ---- */

struct terminal {
	int fd;
	pid_t pid;
	char seen[1 << 16];
	size_t n;
};

static void terminal_start(struct terminal *t, const char *const *args)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	const char *argv[8] = { getenv("VSOCKCTL") };

	*t = (struct terminal){ .fd = -1 };
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	t->pid = forkpty(&t->fd, NULL, NULL, &size);
	must(t->pid >= 0);
	if (t->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
}

static void terminal_wait_seen(struct terminal *t, const char *text)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	ssize_t n;

	while (!strstr(t->seen, text)) {
		must(deadline_poll(t->fd, POLLIN, deadline));
		must(t->n + 1 < sizeof t->seen);
		n = read(t->fd, t->seen + t->n, sizeof t->seen - 1 - t->n);
		must(n > 0);
		t->n += (size_t)n;
	}
}

/* Its modes, which the terminal's side can see as well. */
static bool terminal_is_cooked(const struct terminal *t)
{
	struct termios now;

	must(tcgetattr(t->fd, &now) == 0);
	return now.c_lflag & ICANON && now.c_lflag & ECHO;
}

static int terminal_end(struct terminal *t)
{
	int status;

	terminal_wait_seen(t, "\x1b[?25h\x1b[?1049l");
	must(waitpid(t->pid, &status, 0) == t->pid);
	ck_assert(terminal_is_cooked(t));
	close(t->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const struct http_row top_rows[] = {
	{ .request = "GET /v1/vms", .answer = "{\"vms\": [" VM_ROW(3, "") ", " VM_ROW(4, "") "]}" },
	{ .request = "GET /v1/vms/3/connections", .answer = "{\"connections\": [" CONN(22, "") "]}" },
	{ .request = NULL },
};

START_TEST(top_fills_the_terminal)
{
	struct terminal t;

	start(top_rows);
	terminal_start(&t, ARGS("top"));
	terminal_wait_seen(&t, "\x1b[?1049h");
	terminal_wait_seen(&t, "2 VMs, 4 connections");
	terminal_wait_seen(&t, "22 - 2:1");
	ck_assert(!terminal_is_cooked(&t));
	t.n = 0;
	memset(t.seen, 0, sizeof t.seen);
	terminal_wait_seen(&t, "2 VMs, 4 connections");		/* another frame */
	must(write(t.fd, "xq", 2) == 2);
	ck_assert_int_eq(terminal_end(&t), 0);
	http_script_stop(&api);
}
END_TEST

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP };

START_TEST(top_leaves_the_terminal_when_it_is_ended)
{
	struct terminal t;

	start(top_rows);
	terminal_start(&t, ARGS("top"));
	terminal_wait_seen(&t, "2 VMs");
	kill(t.pid, end_signals[_i]);
	ck_assert_int_eq(terminal_end(&t), -end_signals[_i]);
	http_script_stop(&api);
}
END_TEST

START_TEST(top_stops_and_goes_on)
{
	struct terminal t;
	int status;

	start(top_rows);
	terminal_start(&t, ARGS("top"));
	terminal_wait_seen(&t, "2 VMs");
	kill(t.pid, SIGTSTP);
	must(waitpid(t.pid, &status, WUNTRACED) == t.pid);
	ck_assert(WIFSTOPPED(status));
	ck_assert(terminal_is_cooked(&t));
	t.n = 0;
	memset(t.seen, 0, sizeof t.seen);
	kill(t.pid, SIGCONT);
	terminal_wait_seen(&t, "\x1b[?1049h");
	terminal_wait_seen(&t, "2 VMs");
	ck_assert(!terminal_is_cooked(&t));
	must(write(t.fd, "q", 1) == 1);
	ck_assert_int_eq(terminal_end(&t), 0);
	http_script_stop(&api);
}
END_TEST

/* The daemon goes, and top says so; it stays. */
START_TEST(top_without_its_daemon)
{
	struct terminal t;

	start(top_rows);
	terminal_start(&t, ARGS("top"));
	terminal_wait_seen(&t, "2 VMs");
	kill(t.pid, SIGSTOP);
	shutdown(api.listener, SHUT_RDWR);
	unlink(api_path);
	kill(t.pid, SIGCONT);
	t.n = 0;
	memset(t.seen, 0, sizeof t.seen);
	must(write(t.fd, "x", 1) == 1);
	must(write(t.fd, "q", 1) == 1);
	ck_assert_int_eq(terminal_end(&t), 0);
	http_script_stop(&api);
}
END_TEST

START_TEST(top_needs_a_terminal)
{
	ck_assert_int_eq(run(top_rows, ARGS("top")), 2);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "needs a terminal"));
	ck_assert_str_eq(ctl.said, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsockctl_api");
	TCase *tc = e2e_case(s, "api", e2e_setup_bare, 60);
	TCase *top = e2e_case(s, "top", e2e_setup_bare, 60);

	tcase_add_test(tc, list_shows_vms);
	tcase_add_test(tc, show_shows_one);
	tcase_add_loop_test(tc, orders_are_sent, 0, (int)(sizeof orders / sizeof *orders));
	tcase_add_loop_test(tc, bad_answers_are_refused, 0, (int)(sizeof bad_answers / sizeof *bad_answers));
	tcase_add_loop_test(tc, odd_answers_are_borne, 0, (int)(sizeof odd_answers / sizeof *odd_answers));
	tcase_add_loop_test(tc, shutdown_that_does_not_come, 0, 2);
	tcase_add_test(tc, shutdown_of_one_that_was_given_the_socket);
	tcase_add_test(tc, metrics_that_are_no_text);
	tcase_add_test(tc, no_daemon);
	tcase_add_loop_test(tc, doctor_asks_the_api, 0, (int)(sizeof diagnoses / sizeof *diagnoses));
	tcase_add_test(tc, doctor_looks_at_all_vms);
	tcase_add_test(tc, events_come_as_whole_lines);
	tcase_add_test(tc, events_go_on_with_the_next_engine);
	tcase_add_test(tc, capture_takes_only_packets);
	tcase_add_test(top, top_fills_the_terminal);
	tcase_add_loop_test(top, top_leaves_the_terminal_when_it_is_ended, 0, 3);
	tcase_add_test(top, top_stops_and_goes_on);
	tcase_add_test(top, top_without_its_daemon);
	tcase_add_test(top, top_needs_a_terminal);
	return e2e_run(s);
}
