/* SPDX-License-Identifier: BSD-3-Clause */
/* Events: each as its line, and what becomes of those that nobody reads. */
#include "control/events.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/event_feed.h"
#include "control/events_internal.h"
#include "unit.h"
#include "util/fd.h"

#define HEAD	"{\"timestamp\":{\"secs\":1700000000,\"nanos\":5},\"source\":\""

static const struct conn_snapshot conn = {
	.guest = { 3, 1024 }, .peer = { 2, 80 }, .type = VSOCK_TYPE_SEQPACKET,
	.origin = CONN_FROM_SIBLING, .end = CONN_END_CREDIT, .to_guest = UINT64_C(1) << 40,
	.to_host = 7, .age_ms = 99,
};

static const struct conn_snapshot orderly = {
	.guest = { 3, 1 }, .peer = { 4, 2 }, .type = VSOCK_TYPE_STREAM,
	.origin = CONN_FROM_GUEST, .end = CONN_END_GUEST,
};

static const struct conn_snapshot reset = {
	.guest = { 3, 1 }, .peer = { 4, 2 }, .type = VSOCK_TYPE_STREAM,
	.origin = CONN_FROM_HOST, .end = CONN_END_GUEST_RST,
};

static const struct event_case {
	struct event event;
	struct device_event device;		/* with ::event.kind EVENT_OF_DEVICE */
	const char *line;			/* behind HEAD */
} cases[] = {
	{ { .kind = EVENT_LOST, .number = 12 }, { .cid = 0 },
	  "daemon\",\"event\":\"events-lost\",\"properties\":{\"count\":12}}\n" },
	{ { .kind = EVENT_DAEMON_STARTED, .pid = 7 }, { .cid = 0 },
	  "daemon\",\"event\":\"daemon-started\",\"properties\":{\"pid\":7}}\n" },
	{ { .kind = EVENT_DAEMON_ENDED, .number = 1 }, { .cid = 0 },
	  "daemon\",\"event\":\"daemon-ended\",\"properties\":{\"status\":1}}\n" },
	{ { .kind = EVENT_ENGINE_STARTED, .pid = 8 }, { .cid = 0 },
	  "daemon\",\"event\":\"engine-started\",\"properties\":{\"pid\":8}}\n" },
	{ { .kind = EVENT_ENGINE_DIED, .pid = 8, .number = 11, .is_signal = true, .cid = 3 },
	  { .cid = 0 },
	  "daemon\",\"event\":\"engine-died\",\"properties\":{\"cid\":3,\"pid\":8,\"signal\":11}}\n" },
	{ { .kind = EVENT_ENGINE_DIED, .pid = 8, .number = 0 }, { .cid = 0 },
	  "daemon\",\"event\":\"engine-died\",\"properties\":{\"pid\":8,\"status\":0}}\n" },
	{ { .kind = EVENT_UPGRADED, .pid = 9 }, { .cid = 0 },
	  "daemon\",\"event\":\"upgraded\",\"properties\":{\"pid\":9}}\n" },
	{ { .kind = EVENT_UPGRADE_FAILED, .reason = "not \"now\"" }, { .cid = 0 },
	  "daemon\",\"event\":\"upgrade-failed\",\"properties\":{\"reason\":\"not \\\"now\\\"\"}}\n" },
	{ { .kind = EVENT_VM_ADDED, .cid = 4294967294 }, { .cid = 0 },
	  "vm\",\"event\":\"vm-added\",\"properties\":{\"cid\":4294967294}}\n" },
	{ { .kind = EVENT_VM_CHANGED, .cid = 3 }, { .cid = 0 },
	  "vm\",\"event\":\"vm-changed\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_VM_REMOVED, .cid = 3 }, { .cid = 0 },
	  "vm\",\"event\":\"vm-removed\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_VM_LEFT_OUT, .cid = 3 }, { .cid = 0 },
	  "vm\",\"event\":\"vm-left-out\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_CAPTURE_STARTED, .cid = 3 }, { .cid = 0 },
	  "vm\",\"event\":\"capture-started\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_CAPTURE_ENDED, .cid = 3, .number = 5, .lost = 6, .error = -ENOSPC },
	  { .cid = 0 }, "vm\",\"event\":\"capture-ended\",\"properties\":{\"cid\":3,\"packets\":5,"
	  "\"lost\":6,\"error\":\"No space left on device\"}}\n" },
	{ { .kind = EVENT_CAPTURE_ENDED, .cid = 3 }, { .cid = 0 },
	  "vm\",\"event\":\"capture-ended\",\"properties\":{\"cid\":3,\"packets\":0,\"lost\":0}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_FRONT_END_CONNECTED, .cid = 3 },
	  "vm\",\"event\":\"front-end-connected\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_FRONT_END_GONE, .cid = 3 },
	  "vm\",\"event\":\"front-end-gone\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_GUEST_RUNNING, .cid = 3 },
	  "vm\",\"event\":\"guest-running\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_GUEST_STOPPED, .cid = 3 },
	  "vm\",\"event\":\"guest-stopped\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_GUEST_RESET, .cid = 3 },
	  "vm\",\"event\":\"guest-reset\",\"properties\":{\"cid\":3}}\n" },
	{ { .kind = EVENT_OF_DEVICE },
	  { .kind = DEVICE_RING_BROKEN, .cid = 3, .ring = VSOCK_TXQ, .reason = "a \"b\\\"\n" },
	  "vm\",\"event\":\"ring-broken\",\"properties\":{\"cid\":3,\"ring\":\"tx\","
	  "\"reason\":\"a \\\"b\\\\\\\"\"}}\n" },
	{ { .kind = EVENT_OF_DEVICE },
	  { .kind = DEVICE_CONNECTION_OPENED, .cid = 3, .conn = &conn },
	  "vm\",\"event\":\"connection-opened\",\"properties\":{\"cid\":3,\"guest_port\":1024,"
	  "\"peer_cid\":2,\"peer_port\":80,\"type\":\"seqpacket\",\"origin\":\"sibling\"}}\n" },
	{ { .kind = EVENT_OF_DEVICE }, { .kind = DEVICE_CONNECTION_ENDED, .cid = 3, .conn = &conn },
	  "vm\",\"event\":\"connection-reset\",\"properties\":{\"cid\":3,\"guest_port\":1024,"
	  "\"peer_cid\":2,\"peer_port\":80,\"type\":\"seqpacket\",\"origin\":\"sibling\","
	  "\"reason\":\"credit\",\"bytes_to_guest\":1099511627776,\"bytes_to_host\":7,"
	  "\"age_ms\":99}}\n" },
	{ { .kind = EVENT_OF_DEVICE },
	  { .kind = DEVICE_CONNECTION_ENDED, .cid = 3, .conn = &reset },
	  "vm\",\"event\":\"connection-reset\",\"properties\":{\"cid\":3,\"guest_port\":1,"
	  "\"peer_cid\":4,\"peer_port\":2,\"type\":\"stream\",\"origin\":\"host\","
	  "\"reason\":\"guest_reset\",\"bytes_to_guest\":0,\"bytes_to_host\":0,\"age_ms\":0}}\n" },
	{ { .kind = EVENT_OF_DEVICE },
	  { .kind = DEVICE_CONNECTION_ENDED, .cid = 3, .conn = &orderly },
	  "vm\",\"event\":\"connection-closed\",\"properties\":{\"cid\":3,\"guest_port\":1,"
	  "\"peer_cid\":4,\"peer_port\":2,\"type\":\"stream\",\"origin\":\"guest\","
	  "\"reason\":\"guest\",\"bytes_to_guest\":0,\"bytes_to_host\":0,\"age_ms\":0}}\n" },
};

START_TEST(lines)
{
	const struct event_case *c = &cases[_i];
	char line[EVENTS_LINE_MAX];
	struct event_record r;

	if (c->event.kind == EVENT_OF_DEVICE)
		events_record_device(&r, &c->device);
	else
		events_record(&r, &c->event);
	ck_assert_int_gt(r.at.tv_sec, 1700000000);
	r.at = (struct timespec){ 1700000000, 5 };
	ck_assert_uint_eq(events_format(line, &r), strlen(line));
	ck_assert_int_eq(strncmp(line, HEAD, strlen(HEAD)), 0);
	ck_assert_str_eq(line + strlen(HEAD), c->line);
}
END_TEST

/* Every kind there is stands above: what has no name would have none in its line either. */
START_TEST(none_is_forgotten)
{
	for (int kind = 0; kind < EVENT_OF_DEVICE + DEVICE_CONNECTION_ENDED + 1; kind++) {
		bool found = false;

		for (int i = 0; i < COUNT(cases); i++)
			found |= kind == (int)cases[i].event.kind +
				(cases[i].event.kind == EVENT_OF_DEVICE ? (int)cases[i].device.kind : 0);
		ck_assert_msg(found, "%d", kind);
	}
}
END_TEST

/* The largest numbers, and every reason. */
START_TEST(the_longest)
{
	struct conn_snapshot c = {
		.guest = { UINT64_MAX, UINT32_MAX }, .peer = { UINT64_MAX, UINT32_MAX },
		.type = VSOCK_TYPE_SEQPACKET, .to_guest = UINT64_MAX, .to_host = UINT64_MAX,
		.age_ms = UINT64_MAX,
	};
	char line[EVENTS_LINE_MAX], why[4 * EVENTS_LINE_MAX];
	struct event_record r;

	for (unsigned end = 0; end < CONN_NUM_ENDS; end++) {
		c.end = (uint8_t)end;
		events_record_device(&r, &(struct device_event){
			.kind = DEVICE_CONNECTION_ENDED, .cid = UINT64_MAX, .conn = &c });
		ck_assert_uint_lt(events_format(line, &r), EVENTS_LINE_MAX);
	}
	memset(why, '"', sizeof why - 1);
	why[sizeof why - 1] = '\0';
	events_record_device(&r, &(struct device_event){
		.kind = DEVICE_RING_BROKEN, .cid = UINT64_MAX, .reason = why });
	ck_assert_uint_lt(events_format(line, &r), EVENTS_LINE_MAX);
	ck_assert_str_eq(line + strlen(line) - 4, "\"}}\n");
}
END_TEST

static char dir[64], path[96];

static void setup(void)
{
	snprintf(dir, sizeof dir, "/tmp/events-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a", dir);
}

static void teardown(void)
{
	events_stop_thread();
	events_adopt(-1);
	unlink(path);
	rmdir(dir);
}

static void read_all(int fd, char *text, size_t size)
{
	ssize_t n = read(fd, text, size - 1);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
}

START_TEST(off)
{
	int threads = unit_count_threads();	/* a sanitizer may have one */

	ck_assert(!events_are_on());
	ck_assert_int_eq(events_start_thread(), 0);
	events_put_vm(EVENT_VM_ADDED, 3);
	ck_assert_int_eq(unit_count_threads(), threads);
}
END_TEST

START_TEST(appended)
{
	char text[4096];
	struct stat st;
	int fd;

	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "before\n", 7), 7);
	close(fd);
	ck_assert_int_eq(events_open(path), 0);
	ck_assert_int_eq(events_start_thread(), 0);
	events_put_vm(EVENT_VM_ADDED, 3);
	events_put_vm(EVENT_VM_REMOVED, 3);
	events_stop_thread();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	read_all(fd, text, sizeof text);
	close(fd);
	ck_assert_int_eq(strncmp(text, "before\n{\"timestamp\"", 19), 0);
	ck_assert_ptr_nonnull(strstr(text, "vm-added"));
	ck_assert_ptr_nonnull(strstr(strstr(text, "vm-added"), "vm-removed"));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* What all notes together say. */
static unsigned count_lost(const char *text)
{
	static const char key[] = "\"count\":";
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, key)); at += strlen(key))
		n += (unsigned)strtoul(at + strlen(key), NULL, 10);
	return n;
}

/* A pipe without a reader is written to, as much as it holds; the rest is lost, and told of:
 * what arrives and what is told of is all there was. */
START_TEST(a_pipe)
{
	enum { EVENTS = 5000 };
	static char text[2 << 20];
	unsigned n_put = EVENTS;
	size_t n = 0;
	int fd;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(events_open(path), 0);
	ck_assert_int_eq(events_start_thread(), 0);
	for (int i = 0; i < EVENTS; i++)
		events_put_vm(EVENT_VM_ADDED, 3);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (!strstr(text, "vm-removed")) {
		ssize_t got = read(fd, text + n, sizeof text - 1 - n);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
		if (n_put < EVENTS + 100) {
			events_put_vm(EVENT_VM_REMOVED, 3);
			n_put++;
		}
	}
	events_stop_thread();
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (ssize_t got; (got = read(fd, text + n, sizeof text - 1 - n)) > 0; n += (size_t)got)
		;
	ck_assert_uint_gt(count_lost(text), 0);
	ck_assert_uint_eq(count(text, "vm-added") + count(text, "vm-removed") + count_lost(text), n_put);
	close(fd);
}
END_TEST

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Of those that are written together the first are there, one is torn and closed by a newline
 * later, and just the others are lost. */
START_TEST(a_full_disk)
{
	enum { EVENTS = 50, ROOM = 1000 };
	static char text[1 << 16];
	unsigned n_whole, n_torn;
	int fd;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(events_open(path), 0);
	ck_assert_int_eq(events_start_thread(), 0);
	limit_files(ROOM);
	for (int i = 0; i < EVENTS; i++)
		events_put_vm(EVENT_VM_ADDED, 3);
	events_stop_thread();
	limit_files(RLIM_INFINITY);
	events_put_vm(EVENT_VM_REMOVED, 3);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	read_all(fd, text, sizeof text);
	close(fd);
	n_whole = count(text, "vm-added\",\"properties\":{\"cid\":3}}\n");
	n_torn = count(text, "{\"timestamp\"") - n_whole - 2;
	ck_assert_uint_gt(n_whole, 0);
	ck_assert_uint_le(n_torn, 1);
	ck_assert_uint_eq(n_whole + count_lost(text), EVENTS);
	ck_assert_uint_eq(count(text, "\n{\"timestamp\"") + 1, n_whole + n_torn + 2);
	ck_assert_ptr_nonnull(strstr(strstr(text, "events-lost"), "vm-removed"));
}
END_TEST

/* ---- for who asks while the daemon runs ---- */

static void on_wake(void *ctx)
{
	++*(unsigned *)ctx;
}

static void on_event(void *ctx, uint64_t at_ns, const char *line, size_t len)
{
	ck_assert_uint_gt(at_ns, UINT64_C(1600000000) * 1000000000);
	memcpy(ctx, line, len);
	((char *)ctx)[len] = '\0';
}

START_TEST(a_feed)
{
	enum { N = EVENT_FEED_RECORDS };
	static struct event_record r[N];
	uint64_t lost_before = events_count_lost();
	unsigned n_woken = 0, n_lost;

	events_put_vm(EVENT_VM_ADDED, 3);
	ck_assert(!events_are_wanted());
	ck_assert_int_eq(event_feed_open(sizeof *r, on_wake, &n_woken), 0);
	ck_assert(events_are_wanted());
	ck_assert_uint_eq(event_feed_take(r, N, &n_lost), 0);	/* that was before */
	events_put_vm(EVENT_VM_ADDED, 4);
	events_put_device(&(struct device_event){ .kind = DEVICE_GUEST_RUNNING, .cid = 5 });
	ck_assert_uint_eq(n_woken, 1);
	ck_assert_uint_eq(event_feed_take(r, 1, &n_lost), 1);
	ck_assert_uint_eq(r[0].event.cid, 4);
	ck_assert_uint_eq(event_feed_take(r, N, &n_lost), 1);
	ck_assert_uint_eq(r[0].event.cid, 5);
	ck_assert_int_eq(r[0].device, DEVICE_GUEST_RUNNING);
	ck_assert_uint_eq(n_lost, 0);
	/* It is bounded, wherever it begins in its array. */
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N + 3; i++)
			events_put_vm(EVENT_VM_ADDED, 100 + i);
		ck_assert_uint_eq(n_woken, 2 + (unsigned)round);
		ck_assert_uint_eq(event_feed_take(r, N, &n_lost), N);
		ck_assert_uint_eq(n_lost, 3);
		for (unsigned i = 0; i < N; i++)
			ck_assert_uint_eq(r[i].event.cid, 100 + i);
		ck_assert_uint_eq(event_feed_take(r, N, &n_lost), 0);
		ck_assert_uint_eq(n_lost, 0);
	}
	event_feed_note_lost(2);
	ck_assert_uint_eq(events_count_lost() - lost_before, 8);
	events_put_vm(EVENT_VM_ADDED, 6);
	event_feed_close();
	ck_assert(!events_are_wanted());
	events_put_vm(EVENT_VM_ADDED, 7);
	ck_assert_uint_eq(event_feed_take(r, N, &n_lost), 0);
	event_feed_close();
}
END_TEST

START_TEST(a_watcher)
{
	char line[EVENTS_LINE_MAX + 1] = "";

	events_watch(on_event, line);
	events_put_vm(EVENT_VM_REMOVED, 3);
	ck_assert_ptr_nonnull(strstr(line, "\"vm-removed\",\"properties\":{\"cid\":3}}\n"));
	*line = '\0';
	events_put_device(&(struct device_event){ .kind = DEVICE_GUEST_RUNNING, .cid = 5 });
	ck_assert_str_eq(line, "");
	events_watch(NULL, NULL);
	events_put_vm(EVENT_VM_REMOVED, 4);
	ck_assert_str_eq(line, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("events");
	TCase *tc = tcase_create("lines");

	tcase_add_loop_test(tc, lines, 0, COUNT(cases));
	tcase_add_test(tc, none_is_forgotten);
	tcase_add_test(tc, the_longest);
	suite_add_tcase(s, tc);
	tc = tcase_create("file");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, off);
	tcase_add_test(tc, appended);
	tcase_add_test(tc, a_pipe);
	tcase_add_test(tc, a_full_disk);
	suite_add_tcase(s, tc);
	tc = tcase_create("feed");
	tcase_add_test(tc, a_feed);
	tcase_add_test(tc, a_watcher);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
