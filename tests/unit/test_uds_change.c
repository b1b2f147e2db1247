/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix-socket backend changes under a running guest: path, listening socket, CIDs,
 * handshakes. */
#include "backend/uds.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_core.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum { PORT = 80, CLIENTS = 20, HANDSHAKES = 64 };

static const struct listener_access ours = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
static char paths[3][96];
static struct listener sockets[3];		/* for their names: the backend has the descriptors */
static int fds_before;

/* Somebody else's work: binds, and keeps the name. */
static int make_socket(int i)
{
	ck_assert_int_eq(listener_open(&sockets[i], paths[i], SOCK_STREAM, &ours), 0);
	return fd_take(&sockets[i].fd);
}

static void remove_name(int i)
{
	listener_deinit(&sockets[i]);
}

static void setup(void)
{
	struct uds_config config = {
		.seqpacket_fd = -1,
		.path = paths[0], .max_handshakes = HANDSHAKES, .handshake_ms = 10000,
		.tag = "vm 3",
	};

	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	for (int i = 0; i < COUNT(paths); i++) {
		snprintf(paths[i], sizeof paths[i], "%s/uds%d", scratch_path(), i);
		listener_init(&sockets[i]);
	}
	fds_before = unit_count_fds();
	core_begin();
	config.fd = make_socket(0);
	config.loop = core.loop;
	config.mux = &core;
	ck_assert_int_eq(uds_new(&core.backend, &config), 0);
}

static void teardown(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	core_end();
	for (int i = 0; i < COUNT(sockets); i++)
		remove_name(i);
	while (unit_count_fds() != fds_before)	/* the closer's threads close some */
		ck_assert(deadline_left(deadline) && poll(NULL, 0, 1) == 0);
}

static struct uds_change change_to(int i, int fd)
{
	return (struct uds_change){
		.path = paths[i], .fd = fd, .seqpacket_fd = -1, .max_handshakes = HANDSHAKES, .handshake_ms = 10000,
	};
}

static void exchange(int from, int to)
{
	struct uds_change change = change_to(to, make_socket(to));

	remove_name(from);
	ck_assert_int_eq(uds_change(core.backend, &change), 0);
}

static void run_until_streams(size_t n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (core.n_streams < n) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
}

static void run_until_fds(int n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (unit_count_fds() != n) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
}

/* The guest accepts stream @i, of the host program at @fd. */
static void accept_call(size_t i, int fd)
{
	const struct vsock_addr guest = { 3, PORT };
	char got[8] = "";

	core.streams[i]->ops->accepted(core.streams[i], &guest);
	ck_assert_uint_eq(host_read(fd, got, 6), 6);
	ck_assert_str_eq(got, "OK 80\n");
}

/* Bytes go both ways between stream @i and the host program at @fd. */
static void expect_joined(size_t i, int fd)
{
	char got[8] = "";

	ck_assert(host_write(fd, "ping", 4));
	core_expect(i, "ping");
	core_write(i, "pong");
	ck_assert_uint_eq(host_read(fd, got, 4), 4);
	ck_assert_str_eq(got, "pong");
}

/* A host program calls at @paths[i]. */
static int call(int i)
{
	size_t n = core.n_streams;
	int fd = host_dial(paths[i], PORT);

	ck_assert_int_ge(fd, 0);
	run_until_streams(n + 1);
	accept_call(n, fd);
	expect_joined(n, fd);
	return fd;
}

/* The guest calls: the program listens at "<paths[i]>_80". */
static int be_called(int i)
{
	int listener = host_listen(paths[i], PORT, 1), fd;
	size_t n = core.n_streams;

	ck_assert_int_eq(core_connect(n, PORT), 0);
	fd = host_accept(listener);
	host_unlisten(listener, paths[i], PORT);
	expect_joined(n, fd);
	return fd;
}

/* Again and again: what is connected stays, what comes is at the new one. */
START_TEST(another_socket)
{
	int from_host = call(0), to_host = be_called(0);

	for (int i = 0; i < 5; i++) {
		int from = i % 3, to = (i + 1) % 3, fd;

		exchange(from, to);
		expect_joined(0, from_host);
		expect_joined(1, to_host);
		ck_assert_int_lt(host_connect(paths[from]), 0);
		fd = call(to);
		fd_close(&fd);
		fd = be_called(to);
		fd_close(&fd);
	}
	fd_close(&from_host);
	fd_close(&to_host);
}
END_TEST

/* Who has connected to the old one before it was exchanged is served, whether its line is
 * there or not. */
START_TEST(backlog_is_taken)
{
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = i % 2 ? host_dial(paths[0], PORT) : host_connect(paths[0]);
	exchange(0, 1);
	ck_assert_uint_eq(core.n_streams, CLIENTS / 2);
	for (int i = 0; i < CLIENTS; i += 2)
		ck_assert(host_write(fds[i], "CONNECT 80\n", 11));
	run_until_streams(CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {	/* those with a line came first */
		size_t at = (size_t)(i % 2 ? i / 2 : CLIENTS / 2 + i / 2);

		accept_call(at, fds[i]);
		expect_joined(at, fds[i]);
		fd_close(&fds[i]);
	}
}
END_TEST

/* The path alone: the socket that listens was not ours to exchange. */
START_TEST(another_path)
{
	char *path = strdup(paths[1]);
	struct uds_change change = change_to(1, -1);
	int fd;

	change.path = path;
	ck_assert_int_eq(uds_change(core.backend, &change), 0);
	memset(path, 'x', strlen(path));	/* it is a copy */
	free(path);
	fd = call(0);
	fd_close(&fd);
	fd = be_called(1);
	fd_close(&fd);
	ck_assert_int_eq(core_connect(core.n_streams, PORT), BACKEND_E_NOBODY);
	ck_assert_ptr_nonnull(strstr(core.why, paths[1]));
}
END_TEST

/* What cannot be waited for is refused: all is as it was. */
START_TEST(no_socket)
{
	struct uds_change change = change_to(1, open(scratch_path(), O_RDONLY | O_DIRECTORY));
	int closed = change.fd, fd;

	ck_assert_int_ge(closed, 0);
	ck_assert_int_lt(uds_change(core.backend, &change), 0);
	ck_assert_int_lt(fcntl(closed, F_GETFD), 0);
	fd = call(0);
	fd_close(&fd);
	fd = be_called(0);
	fd_close(&fd);
	exchange(0, 1);
	fd = call(1);
	fd_close(&fd);
}
END_TEST

START_TEST(other_cids)
{
	uint64_t *cids = calloc(2, sizeof *cids);
	struct uds_change change = change_to(0, -1);
	struct backend *b = core.backend;

	cids[0] = 7;
	cids[1] = 9;
	change.host_cids = cids;
	change.n_host_cids = 2;
	ck_assert(!b->ops->serves(b, 7));
	ck_assert_int_eq(uds_change(b, &change), 0);
	cids[0] = 8;				/* they are copies */
	free(cids);
	ck_assert(b->ops->serves(b, 7) && b->ops->serves(b, 9) && b->ops->serves(b, 2));
	ck_assert(!b->ops->serves(b, 8));
	change.n_host_cids = 0;
	change.host_cids = NULL;
	ck_assert_int_eq(uds_change(b, &change), 0);
	ck_assert(!b->ops->serves(b, 7) && b->ops->serves(b, 2));
}
END_TEST

/* Fewer may wait for their line, and not so long: the oldest go when the next one comes. */
START_TEST(other_handshakes)
{
	struct uds_change change = change_to(0, -1);
	int fds[CLIENTS], n_closed = 0, before;

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = host_connect(paths[0]);
	before = unit_count_fds();
	run_until_fds(before + CLIENTS);
	change.max_handshakes = 4;
	change.handshake_ms = 1;
	ck_assert_int_eq(uds_change(core.backend, &change), 0);
	ck_assert(host_is_quiet(fds[0], 20));
	fds[0] = (close(fds[0]), host_connect(paths[0]));
	run_until_fds(before + 3);		/* the new one's time is over, too */
	ck_assert(host_is_closed(fds[0], DEADLINE_MS));
	for (int i = 1; i < CLIENTS; i++)
		n_closed += host_is_closed(fds[i], 1);
	ck_assert_int_eq(n_closed, CLIENTS - 1 - 3);
	/* The one that has left may be noticed before others need its place, or after. */
	ck_assert_uint_eq(core.handshakes[HANDSHAKE_LATE], 1);
	ck_assert_uint_eq(core.handshakes[HANDSHAKE_TOO_MANY] + core.handshakes[HANDSHAKE_LEFT],
			  CLIENTS - 3);
	for (int i = 0; i < CLIENTS; i++)
		fd_close(&fds[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uds_change");
	TCase *tc = tcase_create("uds_change");

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, another_socket);
	tcase_add_test(tc, backlog_is_taken);
	tcase_add_test(tc, another_path);
	tcase_add_test(tc, no_socket);
	tcase_add_test(tc, other_cids);
	tcase_add_test(tc, other_handshakes);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
