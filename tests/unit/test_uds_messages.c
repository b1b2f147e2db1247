/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix-socket backend with SOCK_SEQPACKET: the entrance of host programs, whose first message
 * is the line; the guest's connects; and what another process takes over of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "backend/uds.h"
#include "fake_core.h"
#include "support/deadline.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { PORT = 80 };

#define SEQPACKET	VSOCK_TYPE_SEQPACKET

static char path[90], seqpacket_path[100], port_path[100];
static int listener, seqpacket_listener, fds_before;
static unsigned n_asked, last_id;
static enum vsock_type asked_type;

static int on_ask(void *ctx, enum vsock_type type, uint32_t port, uint32_t id)
{
	(void)ctx;
	ck_assert_uint_eq(port, PORT);
	asked_type = type;
	last_id = id;
	n_asked++;
	return 0;
}

static void add_backend(bool is_held)
{
	struct uds_config config = {
		.path = path, .fd = dup(listener), .seqpacket_fd = dup(seqpacket_listener),
		.ask = on_ask, .is_held = is_held, .max_handshakes = 8, .handshake_ms = 60000,
		.tag = "vm 3", .loop = core.loop, .mux = &core,
	};

	ck_assert_int_eq(uds_new(&core.backend, &config), 0);
}

static int bind_at(const char *at, int type, int backlog)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", at);
	unlink(at);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	fds_before = unit_count_fds();
	snprintf(path, sizeof path, "%s/uds", scratch_path());
	snprintf(seqpacket_path, sizeof seqpacket_path, "%s_seqpacket", path);
	snprintf(port_path, sizeof port_path, "%s_%d", path, PORT);
	unlink(port_path);
	listener = bind_at(path, SOCK_STREAM, 16);
	seqpacket_listener = bind_at(seqpacket_path, SOCK_SEQPACKET, 16);
	n_asked = 0;
	core_begin();
	add_backend(false);
}

static void expect_fds(int n)
{
	for (int64_t deadline = deadline_in(DEADLINE_MS);
	     unit_count_fds() != n && deadline_left(deadline); )
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), n);
}

/* All that was opened is closed again, some of it by another thread. */
static void teardown(void)
{
	core_end();
	fd_close(&listener);
	fd_close(&seqpacket_listener);
	expect_fds(fds_before);
}

static int connect_at(const char *at, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", at);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void hears(int fd, const char *text)
{
	char got[64];
	ssize_t n;

	ck_assert(deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
	n = recv(fd, got, sizeof got, MSG_DONTWAIT);
	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
}

static void hears_nothing(int fd)
{
	char byte;

	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* A host client that says @text as a message. */
static int client(const char *text)
{
	int fd = connect_at(seqpacket_path, SOCK_SEQPACKET);

	say(fd, text);
	core_run_for(20);
	return fd;
}

static void run_until_streams(size_t n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (core.n_streams < n) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
}

/* The next of the guest's stream @i, read as the core does. */
static int read_message(size_t i, char *to, size_t size, size_t *n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stream *s = core.streams[i];
	struct iovec v = { to, size };
	int r = STREAM_E_AGAIN;
	uint32_t flags;

	ck_assert_int_eq(s->type, SEQPACKET);
	while (r == STREAM_E_AGAIN) {
		while (!(s->ready & STREAM_IN)) {
			ck_assert_int_gt(deadline_left(deadline), 0);
			ck_assert_int_eq(loop_step(core.loop, 20), 0);
		}
		r = s->ops->read_message(s, &v, 1, n, &flags);
	}
	return r;
}

static void expect_message(size_t i, const char *text)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_message(i, got, sizeof got, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

static void expect_end(size_t i, int end)
{
	char got[100];
	size_t n;

	ck_assert_int_eq(read_message(i, got, sizeof got, &n), end);
}

static void write_message(size_t i, const char *text)
{
	char copy[100];
	struct iovec v = { copy, strlen(text) };

	memcpy(copy, text, strlen(text));
	ck_assert_int_eq(core.streams[i]->ops->write_message(core.streams[i], &v, 1, 0), 0);
}

static void accepted(size_t i)
{
	const struct vsock_addr guest = { 3, 1024 };

	core.streams[i]->ops->accepted(core.streams[i], &guest);
}

/* ---- host to guest ---- */

START_TEST(host_client)
{
	int fd = client("CONNECT 1024\n");

	ck_assert_uint_eq(core.n_streams, 1);
	ck_assert_uint_eq(core.guests[0].port, 1024);
	ck_assert_int_eq(core.streams[0]->type, SEQPACKET);
	hears_nothing(fd);
	accepted(0);
	hears(fd, "OK 1024\n");
	write_message(0, "ab");
	write_message(0, "");
	write_message(0, "c");
	hears(fd, "ab");
	hears(fd, "");
	hears(fd, "c");
	say(fd, "de");
	say(fd, "");
	say(fd, "f");
	expect_message(0, "de");
	expect_message(0, "");
	expect_message(0, "f");
	core_close(0);
	hears(fd, "");
	fd_close(&fd);
}
END_TEST

/* The core does not look for bytes that cannot have come: not before an event tells of them, but
 * what came with the line needs none. */
START_TEST(first_bytes_are_told)
{
	int patient = client("CONNECT 1024\n"), hasty = connect_at(path, SOCK_STREAM);

	say(hasty, "CONNECT 1025\nearly");
	run_until_streams(2);
	accepted(0);
	accepted(1);
	hears(patient, "OK 1024\n");
	ck_assert(!(core.streams[0]->ready & STREAM_IN));
	ck_assert(core.streams[1]->ready & STREAM_IN);
	core_expect(1, "early");
	say(patient, "late");
	expect_message(0, "late");
	fd_close(&patient);
	fd_close(&hasty);
}
END_TEST

/* What it says at once after its line, and then leaves. */
START_TEST(messages_behind_the_line)
{
	int fd = connect_at(seqpacket_path, SOCK_SEQPACKET);

	say(fd, "CONNECT 1024\n");
	say(fd, "");
	say(fd, "abc");
	say(fd, "");
	fd_close(&fd);
	run_until_streams(1);
	accepted(0);
	expect_message(0, "");
	expect_message(0, "abc");
	expect_message(0, "");
	expect_end(0, STREAM_E_CLOSED);
}
END_TEST

/* One message is the line: nothing is put together, and nothing may be behind it. */
static const struct {
	const char *text;
	uint32_t port;				/* 0: none, and it is closed */
} lines[] = {
	{ "CONNECT 1024\n", 1024 },
	{ "CONNECT 1024", 1024 },
	{ "connect  7 as it likes\r\n", 7 },
	{ "CONNECT 4294967295             \n", 4294967295 },	/* 32 bytes */
	{ "CONNECT 4294967295              \n", 0 },
	{ "CONNECT 4294967296\n", 0 },
	{ "CONNECT 1024\nhello", 0 },
	{ "CONN", 0 },
	{ "", 0 },
	{ "\n", 0 },
	{ "a message of more than 32 bytes, which is none", 0 },
};

START_TEST(line)
{
	int fd = client(lines[_i].text);

	ck_assert_uint_eq(core.n_streams, lines[_i].port != 0);
	if (lines[_i].port)
		ck_assert_uint_eq(core.guests[0].port, lines[_i].port);
	else
		hears(fd, "");
	fd_close(&fd);
}
END_TEST

START_TEST(leaves_without_a_word)
{
	int fds = unit_count_fds(), fd = connect_at(seqpacket_path, SOCK_SEQPACKET);

	core_run_for(20);
	fd_close(&fd);
	core_run_for(20);
	expect_fds(fds);
	ck_assert_uint_eq(core.n_streams, 0);
}
END_TEST

/* Each entrance has its own clients, and its type. */
START_TEST(two_entrances)
{
	int messages = connect_at(seqpacket_path, SOCK_SEQPACKET);
	int stream = connect_at(path, SOCK_STREAM);

	say(stream, "CONNECT ");
	core_run_for(20);
	say(messages, "CONNECT 1024\n");
	run_until_streams(1);
	ck_assert_int_eq(core.streams[0]->type, SEQPACKET);
	say(stream, "1025\n");
	run_until_streams(2);
	ck_assert_int_eq(core.streams[1]->type, VSOCK_TYPE_STREAM);
	ck_assert_uint_eq(core.guests[1].port, 1025);
	fd_close(&messages);
	fd_close(&stream);
}
END_TEST

/* Another socket takes the entrance's place: who had come to the one before, is let in. */
START_TEST(another_entrance)
{
	int waiting = connect_at(seqpacket_path, SOCK_SEQPACKET), quiet = client("CONNECT 7\n"), fd;
	struct uds_change change = {
		.path = path, .fd = -1, .max_handshakes = 8, .handshake_ms = 10000,
	};
	char other_path[110];

	snprintf(other_path, sizeof other_path, "%s2", seqpacket_path);
	change.seqpacket_fd = bind_at(other_path, SOCK_SEQPACKET, 16);
	ck_assert_int_eq(uds_change(core.backend, &change), 0);
	say(waiting, "CONNECT 8\n");
	run_until_streams(2);
	fd = connect_at(other_path, SOCK_SEQPACKET);
	say(fd, "CONNECT 9\n");
	run_until_streams(3);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(core.guests[i].port, 7 + i);
		ck_assert_int_eq(core.streams[i]->type, SEQPACKET);
	}
	fd_close(&waiting);
	fd_close(&quiet);
	fd_close(&fd);
}
END_TEST

/* ---- guest to host ---- */

static int accept_at(int port_listener)
{
	int fd;

	ck_assert(deadline_poll(port_listener, POLLIN, deadline_in(DEADLINE_MS)));
	fd = accept4(port_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(guest_connects)
{
	int at = bind_at(port_path, SOCK_SEQPACKET, 4), fd;

	ck_assert_int_eq(core_connect_by_type(0, SEQPACKET, PORT), 0);
	fd = accept_at(at);
	accepted(0);
	hears_nothing(fd);			/* no OK for who has not asked */
	write_message(0, "ab");
	write_message(0, "");
	hears(fd, "ab");
	hears(fd, "");
	say(fd, "");
	say(fd, "c");
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	expect_message(0, "");
	expect_message(0, "c");
	expect_end(0, STREAM_E_EOF);
	fd_close(&fd);
	fd_close(&at);
}
END_TEST

/* _i: a stream to who wants messages, or messages to who wants a stream. */
START_TEST(guest_connects_to_another_type)
{
	int at = bind_at(port_path, _i ? SOCK_STREAM : SOCK_SEQPACKET, 4);

	ck_assert_int_eq(core_connect_by_type(0, _i ? SEQPACKET : VSOCK_TYPE_STREAM, PORT),
			 BACKEND_E_OTHER_TYPE);
	ck_assert_ptr_nonnull(strstr(core.why, "wrong type"));
	ck_assert_uint_eq(n_asked, 0);
	fd_close(&at);
}
END_TEST

/* Nobody is seen there: it is asked for by its type. */
START_TEST(asks_by_type)
{
	int fds[2];

	ck_assert_int_eq(core_connect_by_type(0, SEQPACKET, PORT), BACKEND_E_PENDING);
	ck_assert_uint_eq(n_asked, 1);
	ck_assert_int_eq(asked_type, SEQPACKET);
	ck_assert_int_eq(core.streams[0]->type, SEQPACKET);
	ck_assert_int_eq(core_connect(1, PORT), BACKEND_E_PENDING);
	ck_assert_int_eq(asked_type, VSOCK_TYPE_STREAM);
	uds_answer(core.backend, last_id, UNIX_E_NO_NAME, -1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	uds_answer(core.backend, last_id - 1, 0, fds[0]);
	say(fds[1], "");
	say(fds[1], "a");
	expect_message(0, "");
	expect_message(0, "a");
	fd_close(&fds[1]);
}
END_TEST

/* The backlog is full: another attempt is of the same type. */
START_TEST(waits_for_a_backlog)
{
	int at = bind_at(port_path, SOCK_SEQPACKET, 0), first = connect_at(port_path, SOCK_SEQPACKET);
	int fd;

	ck_assert_int_eq(core_connect_by_type(0, SEQPACKET, PORT), BACKEND_E_PENDING);
	fd = accept_at(at);
	fd_close(&fd);
	core_run_until_connected(1);
	ck_assert_int_eq(core.errors[0], 0);
	ck_assert_int_eq(core.streams[0]->type, SEQPACKET);
	fd = accept_at(at);
	write_message(0, "");
	hears(fd, "");
	say(fd, "");
	expect_message(0, "");
	fd_close(&fd);
	fd_close(&first);
	fd_close(&at);
}
END_TEST

/* ---- another process takes over ---- */

static void take_over(void)
{
	core_hand_over();
	add_backend(true);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(20);
}

START_TEST(stream_of_messages)
{
	int fd = client("CONNECT 1024\n");

	accepted(0);
	hears(fd, "OK 1024\n");
	say(fd, "a");
	expect_message(0, "a");
	say(fd, "");
	say(fd, "bc");
	core_hand_over();
	add_backend(true);
	say(fd, "");
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(20);
	core_resume();
	say(fd, "d");
	expect_message(0, "");
	expect_message(0, "bc");
	expect_message(0, "");
	expect_message(0, "d");
	write_message(0, "");
	hears(fd, "");
	fd_close(&fd);
	expect_end(0, STREAM_E_CLOSED);
}
END_TEST

/* Clients that have said nothing, or say it meanwhile. */
START_TEST(clients_of_messages)
{
	int quiet = connect_at(seqpacket_path, SOCK_SEQPACKET), soon, stream;

	soon = connect_at(seqpacket_path, SOCK_SEQPACKET);
	stream = connect_at(path, SOCK_STREAM);
	say(stream, "CONNECT");
	core_run_for(20);
	core_hand_over();
	add_backend(true);
	say(soon, "CONNECT 8\n");
	say(soon, "");
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(20);
	ck_assert_uint_eq(core.n_streams, 0);
	core_resume();
	run_until_streams(1);
	say(quiet, "CONNECT 9\n");
	run_until_streams(2);
	say(stream, " 10\n");
	run_until_streams(3);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(core.guests[i].port, 8 + i);
		ck_assert_int_eq(core.streams[i]->type, i < 2 ? SEQPACKET : VSOCK_TYPE_STREAM);
	}
	expect_message(0, "");
	fd_close(&quiet);
	fd_close(&soon);
	fd_close(&stream);
}
END_TEST

/* The connect that waits begins anew, by its type. */
START_TEST(connect_that_waits)
{
	int at, fd;

	ck_assert_int_eq(core_connect_by_type(0, SEQPACKET, PORT), BACKEND_E_PENDING);
	take_over();
	ck_assert_int_eq(core.streams[0]->type, SEQPACKET);
	at = bind_at(port_path, SOCK_SEQPACKET, 4);
	core_resume();
	core_run_until_connected(1);
	ck_assert_int_eq(core.errors[0], 0);
	fd = accept_at(at);
	write_message(0, "a");
	hears(fd, "a");
	fd_close(&fd);
	fd_close(&at);
}
END_TEST

/* As the state was before there were messages: one section of clients. */
START_TEST(state_without_messages)
{
	int fd = connect_at(path, SOCK_STREAM);
	uint8_t *uds = NULL;

	say(fd, "CONN");
	core_run_for(20);
	core_hand_over();
	core_blob.len -= BLOB_SECTION_BYTES;
	uds = core_blob.bytes + core_blob.len - 2 * BLOB_SECTION_BYTES - 13 - 4;
	ck_assert_int_eq(memcmp(uds, "UDS ", 4), 0);
	ck_assert_uint_eq(uds[4], 2);
	add_backend(true);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), BACKEND_E_BAD_STATE);
	uds[8] -= BLOB_SECTION_BYTES;
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), BACKEND_E_BAD_STATE);
	uds[4] = 1;
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_resume();
	say(fd, "ECT 1024\n");
	run_until_streams(1);
	fd_close(&fd);
}
END_TEST

/* ---- what was not saved by us ---- */

static int connected, quiet;

static void make_all(void)
{
	connected = client("CONNECT 1024\n");
	quiet = connect_at(seqpacket_path, SOCK_SEQPACKET);
	core_run_for(20);
	ck_assert_int_eq(core_connect_by_type(1, SEQPACKET, PORT), BACKEND_E_PENDING);
	core_hand_over();
	add_backend(true);
}

/* The old process is as it was. */
static void check_old(void)
{
	core_go_back();
	say(connected, "hello");
	expect_message(0, "hello");
	say(quiet, "CONNECT 7\n");
	run_until_streams(3);
	fd_close(&connected);
	fd_close(&quiet);
}

START_TEST(cut_anywhere)
{
	int fds;

	make_all();
	fds = unit_count_fds();
	for (size_t n = 0; n < core_blob.len; n++) {
		uint8_t *copy = malloc(n ? n : 1);	/* of just the size */

		memcpy(copy, core_blob.bytes, n);
		ck_assert_int_eq(core_load(copy, n), BACKEND_E_BAD_STATE);
		free(copy);
	}
	expect_fds(fds);
	check_old();
}
END_TEST

START_TEST(any_byte_changed)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 4, 0x7f, 0x80, 0xff };
	int fds;

	make_all();
	fds = unit_count_fds();
	for (size_t at = 0; at < core_blob.len; at++) {
		for (int v = 0; v < COUNT(values); v++) {
			uint8_t was = core_blob.bytes[at];

			core_blob.bytes[at] = values[v];
			if (core_load(core_blob.bytes, core_blob.len) == 0) {
				core_run_for(0);
				core_close_all();
				core.backend->ops->free(core.backend);
				add_backend(true);
			}
			core_blob.bytes[at] = was;
		}
	}
	expect_fds(fds);
	check_old();
}
END_TEST

/* A socket of the other type in place of a stream's, or of a client's. _i: which, and its type. */
START_TEST(descriptor_of_another_type)
{
	bool is_client = _i / 2, is_seqpacket = _i % 2;
	int fd = is_seqpacket ? connect_at(seqpacket_path, SOCK_SEQPACKET) :
		connect_at(path, SOCK_STREAM);
	int stranger = socket(AF_UNIX, (is_seqpacket ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0);
	int was;

	if (!is_client)
		say(fd, "CONNECT 7\n");
	core_run_for(20);
	core_hand_over();
	add_backend(true);
	ck_assert_uint_eq(core_blob.n_fds, 1);
	was = core_blob.fds[0];
	core_blob.fds[0] = stranger;
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), BACKEND_E_BAD_STATE);
	core_blob.fds[0] = was;
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	fd_close(&stranger);
	fd_close(&fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uds_messages");
	TCase *tc = tcase_create("uds_messages");
	int status;

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, host_client);
	tcase_add_test(tc, first_bytes_are_told);
	tcase_add_test(tc, messages_behind_the_line);
	tcase_add_loop_test(tc, line, 0, COUNT(lines));
	tcase_add_test(tc, leaves_without_a_word);
	tcase_add_test(tc, two_entrances);
	tcase_add_test(tc, another_entrance);
	tcase_add_test(tc, guest_connects);
	tcase_add_loop_test(tc, guest_connects_to_another_type, 0, 2);
	tcase_add_test(tc, asks_by_type);
	tcase_add_test(tc, waits_for_a_backlog);
	tcase_add_test(tc, stream_of_messages);
	tcase_add_test(tc, clients_of_messages);
	tcase_add_test(tc, connect_that_waits);
	tcase_add_test(tc, state_without_messages);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, any_byte_changed);
	tcase_add_loop_test(tc, descriptor_of_another_type, 0, 4);
	suite_add_tcase(suite, tc);
	status = unit_main(suite);
	scratch_end();
	return status;
}
