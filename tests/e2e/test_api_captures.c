/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures by the control API: what passes, as others read it; and whoever does not read it,
 * leaves, or asks for what cannot be, costs no guest anything.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/apis.h"
#include "e2e/flow.h"
#include "e2e/reloads.h"
#include "e2e/streams.h"
#include "e2e/upgrade.h"
#include "support/captured.h"

#define ROUTE	"/v1/vms/{cid}/capture"
#define URL	"/v1/vms/3/capture"
#define HAS(text, what)	ck_assert_msg(strstr(text, what), "no %s in %s", what, text)

enum { CAPTURES_MAX = 8, HEAD = 24 };

static struct stream stream;

/* When the header is there, it looks on. */
static void begin(struct stream *s, const char *url)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	stream_open(s, url);
	ck_assert_msg(s->status == 200, "%s: %d %s", url, s->status, s->body);
	ck_assert_ptr_null(stream_check(s, ROUTE));
	while (s->n < HEAD && deadline_left(deadline))
		stream_read_some(s, 100);
	ck_assert_uint_ge(s->n, HEAD);
}

/* The worker has been asked, and something has passed. */
static void begin_and_see(struct stream *s, const char *url, struct pair p)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	begin(s, url);
	while (s->n <= HEAD && deadline_left(deadline)) {
		e2e_check_talks(p);
		stream_read_some(s, 10);
	}
	ck_assert_uint_gt(s->n, HEAD);
}

/* What has come is whole, and tshark thinks so, too. */
static void parse(struct captured_file *f, const struct stream *s)
{
	uint8_t *bytes = malloc(s->n);
	int fd = open(reloads_path("stream.pcap"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(bytes && fd >= 0 && write(fd, s->body, s->n) == (ssize_t)s->n);
	close(fd);
	memcpy(bytes, s->body, s->n);
	captured_parse(f, bytes, s->n);
	ck_assert(captured_is_sound(reloads_path("stream.pcap"), f->n));
}

static unsigned count(const struct captured_file *f, uint16_t op, uint64_t src_cid)
{
	unsigned n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += f->packets[i].op == op && f->packets[i].src_cid == src_cid;
	return n;
}

/* The id of the only one, or the first; 0: none. */
static unsigned id_of_first(void)
{
	const char *body = apis_get("/v1/captures"), *id = strstr(body, "\"id\":");

	return id ? (unsigned)atoi(id + 5) : 0;
}

static void end(unsigned id)
{
	char url[64];

	snprintf(url, sizeof url, "/v1/captures/%u", id);
	apis_do("DELETE", "/v1/captures/{capture}", url, NULL, 200);
}

static void wait_none(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (id_of_first() && deadline_left(deadline))
		;
	ck_assert_uint_eq(id_of_first(), 0);
}

START_TEST(what_passes_is_seen)
{
	static const char hello[] = "hello, host";
	struct pair p = e2e_guest_connects(&vm, vhd.uds), q;
	struct captured_file f;
	struct stream events;
	bool is_there = false;
	char text[32];

	stream_open(&events, "/v1/events");
	begin_and_see(&stream, URL, p);
	q = e2e_guest_connects(&vm, vhd.uds);
	ck_assert(sock_send(q.guest, hello, sizeof hello));
	ck_assert_uint_eq(host_read(q.host, text, sizeof hello), sizeof hello);
	e2e_close(q);
	end(id_of_first());
	stream_read_to_end(&stream);
	parse(&f, &stream);
	ck_assert_uint_eq(f.snaplen, 262144);
	ck_assert_uint_eq(count(&f, VSOCK_OP_REQUEST, 3), 1);
	ck_assert_uint_eq(count(&f, VSOCK_OP_RESPONSE, 2), 1);
	ck_assert_uint_eq(count(&f, VSOCK_OP_RST, 3) + count(&f, VSOCK_OP_RST, 2), 1);
	for (size_t i = 0; i < f.n; i++)
		is_there |= f.packets[i].op == VSOCK_OP_RW && f.packets[i].n_payload == sizeof hello &&
			memcmp(f.packets[i].payload, hello, sizeof hello) == 0;
	ck_assert(is_there);
	stream_wait(&events, "\"capture-started\",\"properties\":{\"cid\":3}", 1);
	stream_wait(&events, "\"capture-ended\",\"properties\":{\"cid\":3,\"packets\":", 1);
	stream_wait(&events, "\"lost\":0}", 1);
	captured_free(&f);
	stream_close(&stream);
	stream_close(&events);
	wait_none();
	e2e_close(p);
}
END_TEST

START_TEST(by_port_and_cut)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct captured_file f;
	struct pair q;

	begin(&stream, URL "?snaplen=80&port=77&port=1234");
	HAS(apis_get("/v1/captures"), "\"snaplen\":80,\"ports\":[77,1234]");
	ck_assert(!sock_wait_open(sock_dial(&vm, 99)));
	ck_assert(!sock_wait_open(sock_dial(&vm, 77)));
	q = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_talks(q);
	e2e_close(q);
	e2e_close(p);
	end(id_of_first());
	stream_read_to_end(&stream);
	parse(&f, &stream);
	ck_assert_uint_eq(f.snaplen, 80);
	for (size_t i = 0; i < f.n; i++) {
		ck_assert(f.packets[i].dst_port != 99 && f.packets[i].src_port != 99);
		ck_assert_uint_le(f.packets[i].n_payload, 4);
	}
	ck_assert_uint_ge(f.n, 4);
	captured_free(&f);
	stream_close(&stream);
}
END_TEST

static const struct { const char *path, *method, *url; int status; } mistakes[] = {
	{ ROUTE, "GET", "/v1/vms/99/capture", 404 }, { ROUTE, "GET", "/v1/vms/x/capture", 400 },
	{ ROUTE, "GET", URL "?snaplen=75", 400 }, { ROUTE, "GET", URL "?snaplen=262145", 400 },
	{ ROUTE, "GET", URL "?snaplen=", 400 }, { ROUTE, "GET", URL "?snaplen", 400 },
	{ ROUTE, "GET", URL "?snaplen=99999999999999999999999999", 400 },
	{ ROUTE, "GET", URL "?snaplen=-76", 400 }, { ROUTE, "GET", URL "?snaplen=0x100", 400 },
	{ ROUTE, "GET", URL "?port=4294967296", 400 }, { ROUTE, "GET", URL "?port=1+2", 400 },
	{ ROUTE, "GET", URL "?port=1,2", 400 }, { ROUTE, "GET", URL "?port", 400 },
	{ ROUTE, "GET", URL "?file=/etc/passwd", 400 }, { ROUTE, "GET", URL "?%00=1", 400 },
	{ "/v1/captures/{capture}", "DELETE", "/v1/captures/1", 404 },
	{ "/v1/captures/{capture}", "DELETE", "/v1/captures/0", 400 },
	{ "/v1/captures/{capture}", "DELETE", "/v1/captures/18446744073709551616", 400 },
	{ "/v1/captures/{capture}", "DELETE", "/v1/captures/one", 400 },
};

START_TEST(mistakes_are_told)
{
	static char url[1024] = URL "?port=0";

	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
		HAS(apis_do(mistakes[i].method, mistakes[i].path, mistakes[i].url, NULL,
			    mistakes[i].status), "{\"error\":\"");
	for (int i = 0; i < 64; i++)
		sprintf(url + strlen(url), "&port=%d", i);
	HAS(apis_do("GET", ROUTE, url, NULL, 400), "at most 64 ports");
	ck_assert_uint_eq(id_of_first(), 0);
	begin(&stream, URL "?port=0&port=4294967295&snaplen=76");
	stream_close(&stream);
}
END_TEST

START_TEST(a_head_begins_none)
{
	struct http_answer a = http_ask(apis_socket, "HEAD", URL, NULL);

	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.len, 0);
	http_answer_deinit(&a);
	ck_assert_uint_eq(id_of_first(), 0);
}
END_TEST

/* Idle as they are it is seen that their clients have left. */
START_TEST(so_many_and_no_more)
{
	static struct stream all[CAPTURES_MAX];
	struct daemon_usage before;

	begin(&all[0], URL);			/* what it needs once */
	stream_close(&all[0]);
	wait_none();
	before = daemon_usage(&vhd);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CAPTURES_MAX; i++)
			begin(&all[i], i % 2 ? URL : "/v1/vms/4/capture");
		HAS(apis_do("GET", ROUTE, URL, NULL, 429), "/v1/captures");
		e2e_check_alive();
		for (int i = 0; i < CAPTURES_MAX; i++)
			stream_close(&all[i]);
		wait_none();
	}
	e2e_check_growth(daemon_usage, &before, &(struct e2e_growth){ .rss_bytes = 4 << 20 });
}
END_TEST

static void *run_flow(void *arg)
{
	flow_run(&vm, arg, 1);
	return NULL;
}

/* Bytes through the guest, each way, while somebody looks on or does not. */
static void move_bytes(uint64_t n, void (*meanwhile)(void))
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .to_write = n, .to_read = n,
			      .write_seed = 1, .read_seed = 2 };
	struct flow f = { .sock = p.guest, .to_send = n, .to_recv = n,
			  .send_seed = 2, .recv_seed = 1 };
	pthread_t thread;

	host_job_start(&j);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_flow, &f), 0);
	if (meanwhile)
		meanwhile();
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
}

/* More than ring, pipe and socket hold together. */
START_TEST(who_does_not_read_loses_packets)
{
	struct captured_file f;
	struct stream events;
	const char *body;
	unsigned id;

	stream_open(&events, "/v1/events");
	begin(&stream, URL);
	id = id_of_first();
	move_bytes(16 << 20, NULL);
	body = apis_get("/v1/captures");
	ck_assert_msg(!strstr(body, "\"lost\":0"), "%s", body);
	ck_assert_ptr_null(strstr(apis_get("/metrics"), "vhost_vsock_captured_packets_lost_total 0\n"));
	e2e_check_alive();
	/* What is there comes whole, and then the end. */
	end(id);
	stream_read_to_end(&stream);
	captured_parse(&f, memcpy(malloc(stream.n), stream.body, stream.n), stream.n);
	ck_assert_uint_gt(f.n, 10);
	captured_free(&f);
	stream_wait(&events, "capture-ended", 1);
	ck_assert_ptr_null(strstr(events.body, "\"lost\":0"));
	stream_close(&stream);
	stream_close(&events);
}
END_TEST

/* Clients that begin and leave in the middle, as fast as they can. */
static void come_and_go(void)
{
	for (int i = 0; i < 200; i++) {
		int fd = host_connect(apis_socket);
		char byte;

		must(fd >= 0);
		http_send(fd, "GET", i % 5 ? URL : "/v1/vms/4/capture?snaplen=76", NULL);
		if (i % 3)
			host_read(fd, &byte, 1);
		close(fd);
	}
}

START_TEST(bytes_flow_whoever_looks_on)
{
	pid_t engine = daemon_engine(&vhd);

	move_bytes(16 << 20, come_and_go);
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_alive();
	wait_none();
}
END_TEST

/* One that is configured goes on beside it, and has what it had. It begins a little later than it
 * is logged. */
START_TEST(beside_one_that_is_configured)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct captured_file f, g;
	struct pair p;
	struct stat st;

	reloads_do("vms:\n  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock, "
		   "capture: $/a.pcap }\n" VM4(VM4_PATHS), "a.pcap begins");
	p = e2e_guest_connects(&vm, vhd.uds);
	do
		e2e_check_talks(p);
	while ((stat(reloads_path("a.pcap"), &st) != 0 || st.st_size <= HEAD) && deadline_left(deadline));
	begin_and_see(&stream, URL, p);
	e2e_close(p);
	end(id_of_first());
	stream_read_to_end(&stream);
	parse(&f, &stream);
	ck_assert_uint_gt(f.n, 0);
	reloads_do(BOTH, "a.pcap ends: ");
	captured_read(&g, reloads_path("a.pcap"));
	ck_assert_uint_ge(g.n, f.n);
	captured_free(&f);
	captured_free(&g);
	stream_close(&stream);
}
END_TEST

START_TEST(a_vm_that_goes_ends_it)
{
	struct captured_file f;

	apis_do("PUT", "/v1/vms/{cid}", "/v1/vms/9", apis_row("9"), 201);
	begin(&stream, "/v1/vms/9/capture");
	apis_do("DELETE", "/v1/vms/{cid}", "/v1/vms/9", NULL, 200);
	stream_read_to_end(&stream);
	parse(&f, &stream);
	ck_assert_uint_eq(f.n, 0);
	captured_free(&f);
	stream_close(&stream);
	wait_none();
	apis_do("GET", ROUTE, "/v1/vms/9/capture", NULL, 404);
}
END_TEST

/* It ends with its engine, and the next one has others. */
START_TEST(over_a_crash_and_an_upgrade)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	begin_and_see(&stream, URL, p);
	upgrade();
	stream_read_to_end(&stream);
	stream_close(&stream);
	begin_and_see(&stream, URL, p);
	must(kill(daemon_engine(&vhd), SIGKILL) == 0);
	stream_read_to_end(&stream);
	stream_close(&stream);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	sock_free(p.guest);
	close(p.host);
	p = e2e_guest_connects(&vm, vhd.uds);
	begin_and_see(&stream, URL, p);
	stream_close(&stream);
	e2e_close(p);
}
END_TEST

/* Also where its client has stopped to read. */
START_TEST(until_the_daemon_ends)
{
	struct captured_file f;
	struct stream slow, idle;
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	begin(&slow, URL);
	begin(&idle, "/v1/vms/4/capture");
	move_bytes(8 << 20, NULL);
	begin_and_see(&stream, URL, p);
	e2e_close(p);
	must(kill(vhd.pid, SIGTERM) == 0);
	stream_read_to_end(&stream);
	stream_read_to_end(&idle);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	parse(&f, &stream);
	ck_assert_uint_ge(f.n, 2);
	ck_assert_uint_ge(count(&f, VSOCK_OP_SHUTDOWN, 2), 1);	/* the last that has passed */
	captured_free(&f);
	stream_close(&stream);
	stream_close(&idle);
	stream_close(&slow);
}
END_TEST

START_TEST(without_a_supervisor)
{
	struct captured_file f;
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	begin_and_see(&stream, URL, p);
	e2e_close(p);
	end(id_of_first());
	stream_read_to_end(&stream);
	parse(&f, &stream);
	captured_free(&f);
	stream_close(&stream);
	begin(&stream, URL);
	apis_do("POST", "/v1/shutdown", "/v1/shutdown", NULL, 200);
	stream_read_to_end(&stream);
	stream_close(&stream);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("api_captures");
	TCase *tc = e2e_case(s, "captures", apis_setup, 60);

	signal(SIGPIPE, SIG_IGN);
	setenv("TEST_SUPERVISE", "on", 1);
	tcase_add_test(tc, what_passes_is_seen);
	tcase_add_test(tc, by_port_and_cut);
	tcase_add_test(tc, mistakes_are_told);
	tcase_add_test(tc, a_head_begins_none);
	tcase_add_test(tc, so_many_and_no_more);
	tcase_add_test(tc, beside_one_that_is_configured);
	tcase_add_test(tc, a_vm_that_goes_ends_it);
	tc = e2e_case(s, "flow", apis_setup, 60);
	tcase_add_test(tc, who_does_not_read_loses_packets);
	tcase_add_test(tc, bytes_flow_whoever_looks_on);
	tc = e2e_case(s, "engines", apis_setup, 60);
	tcase_add_test(tc, over_a_crash_and_an_upgrade);
	tc = e2e_case_with(s, "ended", apis_setup, e2e_teardown_ended, 60);
	tcase_add_test(tc, until_the_daemon_ends);
	tc = e2e_case_with(s, "alone", apis_setup_alone, e2e_teardown_ended, 60);
	tcase_add_test(tc, without_a_supervisor);
	return e2e_run(s);
}
