/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another process takes over the unix-socket backend: its streams, the clients that have not
 * said their line, the connects that wait. Nothing is lost, nothing comes twice, and until the
 * other goes on, nobody notices.
 */
#include "backend/uds.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/sockios.h>

#include "fake_core.h"
#include "support/deadline.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { PORT = 80, HANDSHAKES = 8, HANDSHAKE_MS = 300 };

static char path[100], port_path[108];
static int listener, port_listener, fds_before;
static unsigned n_asked, last_id;
static uint32_t max_handshakes, handshake_ms;

/* In the place of libc's: there are two CPUs, whatever this machine has. On one nothing stays in a
 * socket (sock_unread_pays()). */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	ck_assert_int_eq(pid, 0);
	memset(set, 0, size);
	CPU_SET_S(0, size, set);
	CPU_SET_S(1, size, set);
	return 0;
}

static int on_ask(void *ctx, enum vsock_type type, uint32_t port, uint32_t id)
{
	(void)ctx;
	ck_assert_int_eq(type, VSOCK_TYPE_STREAM);
	ck_assert_uint_eq(port, PORT);
	n_asked++;
	last_id = id;
	return 0;
}

static void add_backend(bool is_held)
{
	struct uds_config config = {
		.seqpacket_fd = -1,
		.path = path, .fd = dup(listener), .ask = on_ask, .is_held = is_held,
		.max_handshakes = max_handshakes, .handshake_ms = handshake_ms, .tag = "vm 3",
		.loop = core.loop, .mux = &core,
	};

	ck_assert_int_eq(uds_new(&core.backend, &config), 0);
}

static int listen_at(const char *at, int backlog)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

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
	snprintf(port_path, sizeof port_path, "%s_%d", path, PORT);
	listener = listen_at(path, 16);
	port_listener = listen_at(port_path, 16);
	n_asked = last_id = 0;
	max_handshakes = HANDSHAKES;
	handshake_ms = 60000;
	core_begin();
	add_backend(false);
}

/* All that was opened is closed again, some of it by another thread. */
static void teardown(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	core_end();
	fd_close(&listener);
	fd_close(&port_listener);
	while (unit_count_fds() != fds_before && deadline_left(deadline))
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static int accept_there(void)
{
	int fd;

	ck_assert(deadline_poll(port_listener, POLLIN, deadline_in(DEADLINE_MS)));
	fd = accept4(port_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* The host's end of the guest's connection @i. */
static int connect_out(size_t i)
{
	ck_assert_int_eq(core_connect(i, PORT), 0);
	return accept_there();
}

static int connect_to(const char *at)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", at);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* A host client that says @text. */
static int client(const char *text)
{
	int fd = connect_to(path);

	say(fd, text);
	core_run_for(20);
	return fd;
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

static void take_over(void)
{
	core_hand_over();
	add_backend(true);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(20);			/* as long as it is held, it does nothing */
}

static void run_until_streams(size_t n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (core.n_streams < n) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
}

/* What came before, while nobody looked, and after. */
START_TEST(a_connected_stream)
{
	int theirs = connect_out(0);

	say(theirs, "one ");
	core_expect(0, "one ");
	say(theirs, "two ");
	core_run_for(20);
	core_hand_over();
	add_backend(true);
	say(theirs, "three ");
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	say(theirs, "four ");
	core_run_for(20);
	ck_assert_uint_eq(core.n_ready, 0);
	core_resume();
	core_expect(0, "two three four ");
	say(theirs, "five");
	core_expect(0, "five");
	core_write(0, "answer");
	hears(theirs, "answer");
	core_close(0);
	hears(theirs, "");
	fd_close(&theirs);
}
END_TEST

static void leave_half(int fd)
{
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
}

static void leave_whole(int fd)
{
	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
}

static const struct {
	const char *name;
	void (*leave)(int fd);
	int end;				/* what the guest's side reads at last */
} endings[] = {
	{ "half", leave_half, STREAM_E_EOF },
	{ "whole", leave_whole, STREAM_E_CLOSED },
};

/* The host's program has finished, before or while another takes over. */
START_TEST(a_finished_peer)
{
	bool is_before = _i / COUNT(endings);
	int theirs = connect_out(0);

	_i %= COUNT(endings);
	say(theirs, "the last words");
	if (is_before) {
		endings[_i].leave(theirs);
		core_run_for(20);
	}
	take_over();
	if (!is_before)
		endings[_i].leave(theirs);
	core_run_for(20);
	ck_assert_uint_eq(core.n_ready, 0);
	core_resume();
	core_expect(0, "the last words");
	core_expect_end(0, endings[_i].end);
	fd_close(&theirs);
}
END_TEST

/* So has the guest, in one direction. */
START_TEST(shut_down_by_us)
{
	int theirs = connect_out(0);
	struct stream *s = core.streams[0];

	core_write(0, "question");
	ck_assert_int_eq(s->ops->shutdown(s, SHUT_WR), 0);
	take_over();
	core_resume();
	hears(theirs, "question");
	hears(theirs, "");
	say(theirs, "answer");
	core_expect(0, "answer");
	fd_close(&theirs);
}
END_TEST

/* A socket that is full, and wanted for output, is told when it has room again. */
START_TEST(a_full_socket)
{
	static char bytes[65536];
	struct iovec v = { bytes, sizeof bytes };
	int theirs = connect_out(0);
	size_t n;

	while (core.streams[0]->ops->write(core.streams[0], &v, 1, &n) == 0)
		;
	take_over();
	core_resume();
	ck_assert_int_eq(core.streams[0]->ops->write(core.streams[0], &v, 1, &n), STREAM_E_AGAIN);
	core.streams[0]->ops->wait_for(core.streams[0], STREAM_IN | STREAM_OUT);
	core_run_for(20);
	ck_assert_uint_eq(core.streams[0]->ready & STREAM_OUT, 0);
	while (read(theirs, bytes, sizeof bytes) > 0)
		;
	core_run_for(20);
	ck_assert_uint_eq(core.streams[0]->ready & STREAM_OUT, STREAM_OUT);
	fd_close(&theirs);
}
END_TEST

/* A host client's first bytes came with its line, and have been read in part. */
START_TEST(early_bytes)
{
	struct vsock_addr guest = { 3, 1024 };
	int theirs = client("CONNECT 1024\nearly "), n_read = _i;
	char got[8];
	size_t n;

	ck_assert_uint_eq(core.n_streams, 1);
	ck_assert_uint_eq(core.guests[0].port, 1024);
	say(theirs, "late");
	if (n_read) {
		core.streams[0]->ops->accepted(core.streams[0], &guest);
		hears(theirs, "OK 1024\n");
		core.streams[0]->ready |= STREAM_IN;
		ck_assert_int_eq(core_read(0, got, (size_t)n_read, &n), 0);
		ck_assert_uint_eq(n, n_read);
	}
	take_over();
	hears_nothing(theirs);
	core_resume();
	if (!n_read) {
		core.streams[0]->ops->accepted(core.streams[0], &guest);
		hears(theirs, "OK 1024\n");
	}
	core_expect(0, &"early late"[n_read]);
	fd_close(&theirs);
}
END_TEST

/* A line that the guest has not answered is still in its socket. Whoever answers it, or closes
 * its connection, takes it out: a program that left bytes unread would be told of a reset. */
START_TEST(a_line_without_an_answer)
{
	struct vsock_addr guest = { 3, 1024 };
	bool is_answered = _i & 1, is_taken_over = _i & 2, goes_back = _i & 4;
	int theirs = client("CONNECT 1024\n");

	ck_assert_uint_eq(core.n_streams, 1);
	if (is_taken_over)
		take_over();
	if (goes_back)
		core_go_back();
	else if (is_taken_over)
		core_resume();
	hears_nothing(theirs);
	if (is_answered) {
		core.streams[0]->ops->accepted(core.streams[0], &guest);
		hears(theirs, "OK 1024\n");
		ck_assert(!(core.streams[0]->ready & STREAM_IN) || is_taken_over);
		say(theirs, "hello");
		core_expect(0, "hello");
	}
	core_close(0);
	hears(theirs, "");
	fd_close(&theirs);
}
END_TEST

static bool is_left(int fd)
{
	int n;

	ck_assert_int_eq(ioctl(fd, SIOCOUTQ, &n), 0);
	return n > 0;
}

/* A program that answers at once: its last answer has been read, and is still in the socket. (No
 * time passes for the loop.) */
START_TEST(a_known_answer)
{
	bool goes_back = _i & 1;
	int theirs = connect_out(0);
	char got[8];
	size_t n;

	for (int turn = 0; turn < 20; turn++) {
		core_write(0, "question");
		hears(theirs, "question");
		say(theirs, "answer");
		core.streams[0]->ready |= STREAM_IN;
		ck_assert_int_eq(core_read(0, got, sizeof got, &n), 0);
		ck_assert_uint_eq(n, 6);
	}
	ck_assert(is_left(theirs));
	take_over();
	ck_assert(is_left(theirs));
	if (goes_back)
		core_go_back();
	else
		core_resume();
	if (_i & 2) {
		say(theirs, "more");
		core_expect(0, "more");
	}
	core_close(0);
	hears(theirs, "");
	fd_close(&theirs);
}
END_TEST

/* The OK that could not be sent, which the guest's next read is told. */
START_TEST(an_error_that_waits)
{
	int theirs = connect_out(0);

	core_hand_over();
	/* {count, guest}, {kind, from_host}, {fd, flags}: the error follows. */
	memcpy(core_blob.bytes + 4 + 12 + 16 + 2 + 16 + 5, &(uint32_t){ ECONNABORTED }, 4);
	add_backend(true);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_resume();
	core_expect_end(0, -ECONNABORTED);
	fd_close(&theirs);
}
END_TEST

/* Clients that have said nothing, a part, and all but the end of line go on where they were. */
START_TEST(handshakes)
{
	static const char *const lines[] = { "", "CONN", "connect 1024", "CONNECT 1024\r" };
	static const char *const rest[] = {
		"CONNECT 1024\nhello", "ECT 1024\nhello", "\nhello", "\nhello",
	};
	int theirs[COUNT(lines)];

	for (int i = 0; i < COUNT(lines); i++)
		theirs[i] = client(lines[i]);
	say(theirs[1], "ECT 10");
	core_hand_over();
	add_backend(true);
	say(theirs[0], "CON");
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(20);
	core_resume();
	for (int i = 0; i < COUNT(lines); i++) {
		say(theirs[i], i == 0 ? rest[0] + 3 : i == 1 ? rest[1] + 6 : rest[i]);
		run_until_streams((size_t)i + 1);
		ck_assert_uint_eq(core.guests[i].port, 1024);
		core.streams[i]->ready |= STREAM_IN;
		core_expect((size_t)i, "hello");
		fd_close(&theirs[i]);
	}
}
END_TEST

/* What is saved is loaded, whatever there is: saved again, it is the same. */
START_TEST(saved_again)
{
	struct blob again;
	int fds[5] = {
		connect_out(0), client("CONNECT 1024\nearly "), client("CONN"), client(""),
		client("CONNECT 12"),
	};

	unlink(port_path);
	ck_assert_int_eq(core_connect(2, PORT), BACKEND_E_PENDING);
	core_run_for(20);			/* its time is running */
	take_over();
	blob_init(&again, 1 << 20, 256);
	core_save(&again);
	ck_assert_uint_eq(again.len, core_blob.len);
	ck_assert_mem_eq(again.bytes, core_blob.bytes, again.len);
	blob_deinit(&again);
	for (int i = 0; i < COUNT(fds); i++)
		fd_close(&fds[i]);
}
END_TEST

/* The time that a client has for its line goes on; it is no longer than a new one's. */
START_TEST(handshake_deadline)
{
	int theirs;
	int64_t begin = now_ms();

	handshake_ms = _i ? 60000 : HANDSHAKE_MS;
	core.backend->ops->free(core.backend);
	add_backend(false);
	theirs = client("CONN");
	handshake_ms = _i ? HANDSHAKE_MS : 60000;
	take_over();
	core_resume();
	while (!deadline_poll(theirs, POLLIN, deadline_in(0)))
		core_run_for(5);
	ck_assert_int_lt(now_ms() - begin, DEADLINE_MS);
	ck_assert_int_ge(now_ms() - begin, HANDSHAKE_MS);
	hears(theirs, "");
	fd_close(&theirs);
}
END_TEST

START_TEST(fewer_handshakes)
{
	int theirs[3];

	for (int i = 0; i < 3; i++)
		theirs[i] = client("CONNECT");
	max_handshakes = 2;
	take_over();
	core_resume();
	hears(theirs[0], "");
	for (int i = 1; i < 3; i++) {
		say(theirs[i], " 1024\nhello");
		run_until_streams((size_t)i);
	}
	for (int i = 0; i < 3; i++)
		fd_close(&theirs[i]);
}
END_TEST

/* Who comes meanwhile waits in the backlog. */
START_TEST(clients_that_come_meanwhile)
{
	int theirs;

	core_hand_over();
	add_backend(true);
	theirs = connect_to(path);
	say(theirs, "CONNECT 1024\n");
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_run_for(50);
	ck_assert_uint_eq(core.n_streams, 0);
	core_resume();
	run_until_streams(1);
	fd_close(&theirs);
}
END_TEST

/* The other process comes to nothing: the first goes on, and its peers have noticed nothing. */
START_TEST(taken_back)
{
	int theirs[4] = {
		connect_out(0), client("CONNECT 1024\nearly "), client("CONN"), client(""),
	};

	say(theirs[0], "to the guest");
	take_over();
	say(theirs[1], "late");
	say(theirs[2], "ECT 1024\nhello");
	ck_assert_int_eq(shutdown(theirs[2], SHUT_RDWR), 0);
	core_run_for(50);
	core_go_back();
	for (int i = 0; i < COUNT(theirs); i++)
		if (i != 2)
			hears_nothing(theirs[i]);
	core_expect(0, "to the guest");
	core_write(0, "to the host");
	hears(theirs[0], "to the host");
	core.streams[1]->ready |= STREAM_IN;
	core_expect(1, "early late");
	run_until_streams(3);
	core.streams[2]->ready |= STREAM_IN;
	core_expect(2, "hello");
	say(theirs[3], "CONNECT 7\n");
	run_until_streams(4);
	for (int i = 0; i < COUNT(theirs); i++)
		fd_close(&theirs[i]);
}
END_TEST

static void fill_backlog(int *fds, int n)
{
	ck_assert_int_eq(listen(port_listener, 0), 0);
	for (int i = 0; i < n; i++)
		fds[i] = connect_to(port_path);
}

/* Connects that wait for room in a backlog go on waiting, in their order. */
START_TEST(dials)
{
	int blocker, theirs;

	fill_backlog(&blocker, 1);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(core_connect(i, PORT), BACKEND_E_PENDING);
		core_run_for(2);
	}
	take_over();
	theirs = accept_there();
	fd_close(&theirs);
	core_run_for(50);
	ck_assert_uint_eq(core.n_connected, 0);
	ck_assert(!deadline_poll(port_listener, POLLIN, deadline_in(0)));
	core_resume();
	for (unsigned i = 0; i < 3; i++) {
		core_run_until_connected(i + 1);
		ck_assert_int_eq(core.errors[i], 0);
		theirs = accept_there();
		say(theirs, "hello");
		core_expect(i, "hello");
		fd_close(&theirs);
	}
	fd_close(&blocker);
}
END_TEST

/* They give up, and the core is told. (When they would have: saved_again.) */
START_TEST(dials_give_up)
{
	int blocker;

	fill_backlog(&blocker, 1);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	take_over();
	core_resume();
	core_run_until_connected(1);
	ck_assert_int_eq(core.errors[0], BACKEND_E_BUSY);
	fd_close(&blocker);
}
END_TEST

/* The answer that was on its way comes to the wrong process: it is asked for again. */
START_TEST(questions)
{
	int fds[2];

	unlink(port_path);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	ck_assert_uint_eq(n_asked, 1);
	take_over();
	ck_assert_uint_eq(n_asked, 1);
	core_resume();
	for (int64_t deadline = deadline_in(DEADLINE_MS); n_asked < 2 && deadline_left(deadline); )
		core_run_for(1);
	ck_assert_uint_eq(n_asked, 2);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	uds_answer(core.backend, last_id, 0, fds[0]);
	say(fds[1], "hello");
	core_expect(0, "hello");
	fd_close(&fds[1]);
}
END_TEST

/* ---- what was not saved by us ---- */

static int connected, said;

static void make_all(void)
{
	connected = connect_out(0);
	said = client("CONNECT 1024\nearly ");
	unlink(port_path);
	ck_assert_int_eq(core_connect(2, PORT), BACKEND_E_PENDING);
}

static void expect_refused(const uint8_t *bytes, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);	/* of just the size */
	int fds = unit_count_fds();

	memcpy(copy, bytes, n);
	ck_assert_int_eq(core_load(copy, n), BACKEND_E_BAD_STATE);
	for (int64_t deadline = deadline_in(DEADLINE_MS);
	     unit_count_fds() != fds && deadline_left(deadline); )
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), fds);
	free(copy);
}

START_TEST(cut_anywhere)
{
	int quiet = client("CONN");

	make_all();
	core_hand_over();
	add_backend(true);
	for (size_t n = 0; n < core_blob.len; n++)
		expect_refused(core_blob.bytes, n);
	ck_assert_int_eq(core_load(core_blob.bytes, core_blob.len), 0);
	core_resume();
	say(connected, "hello");
	core_expect(0, "hello");
	say(quiet, "ECT 1024\n");
	run_until_streams(4);
	fd_close(&quiet);
	fd_close(&connected);
	fd_close(&said);
}
END_TEST

/* Any byte, whatever it says: refused or loaded, and nothing is left of it. */
START_TEST(any_byte_changed)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	int fds, quiet = client("CONN");

	make_all();
	core_hand_over();
	add_backend(true);
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
	for (int64_t deadline = deadline_in(DEADLINE_MS);
	     unit_count_fds() != fds && deadline_left(deadline); )
		poll(NULL, 0, 1);
	ck_assert_int_eq(unit_count_fds(), fds);
	core_go_back();				/* which is as it was */
	say(connected, "hello");
	core_expect(0, "hello");
	say(quiet, "ECT 1024\nhello");
	run_until_streams(4);
	fd_close(&quiet);
	fd_close(&connected);
	fd_close(&said);
}
END_TEST

static int other_file(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int datagrams(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int internet(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int (*const strangers[])(void) = { other_file, datagrams, internet };

/* A descriptor of another kind, in place of a stream's or of a client's. */
START_TEST(another_descriptor)
{
	int theirs = _i / COUNT(strangers) ? client("CONN") : connect_out(0);
	int stranger = strangers[_i % COUNT(strangers)](), was;

	core_hand_over();
	add_backend(true);
	ck_assert_uint_eq(core_blob.n_fds, 1);
	was = core_blob.fds[0];
	core_blob.fds[0] = stranger;
	expect_refused(core_blob.bytes, core_blob.len);
	core_blob.fds[0] = was;
	fd_close(&stranger);
	fd_close(&theirs);
}
END_TEST

/* A line that has an end, or none in all its room, is none that anybody waits for. */
START_TEST(impossible_lines)
{
	int theirs = client(_i ? "0123456789012345678901234567890" : "CONN");
	uint8_t *end, *uds;

	core_hand_over();
	add_backend(true);
	core_blob.len -= BLOB_SECTION_BYTES;	/* as before there were clients of SOCK_SEQPACKET */
	end = core_blob.bytes + core_blob.len;
	uds = end - (_i ? 31 : 4) - 13 - 2 * BLOB_SECTION_BYTES;
	uds[4] = 1;
	uds[8] -= BLOB_SECTION_BYTES;
	if (_i) {
		blob_put_u8(&core_blob, 'x');
		end = core_blob.bytes + core_blob.len;
		end[-33]++;			/* its length */
		end[-33 - 13 - 8]++;		/* the section's */
		end[-33 - 13 - 16 - 8]++;	/* and of the one around it */
	} else {
		end[-1] = '\n';
	}
	ck_assert_uint_eq(_i ? end[-33] : end[-5], _i ? 32 : 4);
	expect_refused(core_blob.bytes, core_blob.len);
	fd_close(&theirs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uds_state");
	TCase *tc = tcase_create("uds_state");

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_connected_stream);
	tcase_add_loop_test(tc, a_finished_peer, 0, 2 * COUNT(endings));
	tcase_add_test(tc, shut_down_by_us);
	tcase_add_test(tc, a_full_socket);
	tcase_add_loop_test(tc, early_bytes, 0, 7);
	tcase_add_loop_test(tc, a_line_without_an_answer, 0, 4);
	tcase_add_loop_test(tc, a_line_without_an_answer, 6, 8);
	tcase_add_loop_test(tc, a_known_answer, 0, 4);
	tcase_add_test(tc, an_error_that_waits);
	tcase_add_test(tc, handshakes);
	tcase_add_test(tc, saved_again);
	tcase_add_loop_test(tc, handshake_deadline, 0, 2);
	tcase_add_test(tc, fewer_handshakes);
	tcase_add_test(tc, clients_that_come_meanwhile);
	tcase_add_test(tc, taken_back);
	tcase_add_test(tc, dials);
	tcase_add_test(tc, dials_give_up);
	tcase_add_test(tc, questions);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, any_byte_changed);
	tcase_add_loop_test(tc, another_descriptor, 0, 2 * COUNT(strangers));
	tcase_add_loop_test(tc, impossible_lines, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
