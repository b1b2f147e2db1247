/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's connects to names that this process cannot see or use: who is asked, when, and
 * what becomes of the answer. The one who is asked is scripted.
 */
#include "backend/uds.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fake_core.h"
#include "support/deadline.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { PORT = 80, QUESTIONS = 4096 };

static struct {
	uint32_t port, id;
} asked[QUESTIONS];
static size_t n_asked;
static int ask_result, fds_before;
static char path[108], port_path[200];

static int on_ask(void *ctx, enum vsock_type type, uint32_t port, uint32_t id)
{
	ck_assert_int_eq(type, VSOCK_TYPE_STREAM);
	ck_assert_ptr_eq(ctx, &asked);
	ck_assert_uint_lt(n_asked, QUESTIONS);
	if (ask_result)
		return ask_result;
	asked[n_asked].port = port;
	asked[n_asked++].id = id;
	return 0;
}

static bool only_asks;

static void begin(bool has_asker)
{
	struct uds_config config = {
		.only_asks = only_asks,
		.seqpacket_fd = -1,
		.path = path, .access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 },
		.fd = -1, .ask = has_asker ? on_ask : NULL, .ask_ctx = &asked,
		.max_handshakes = 4, .handshake_ms = 10000, .tag = "vm 3", .loop = core.loop,
		.mux = &core,
	};

	ck_assert_int_eq(uds_new(&core.backend, &config), 0);
}

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	fds_before = unit_count_fds();
	snprintf(path, sizeof path, "%s/uds", scratch_path());
	snprintf(port_path, sizeof port_path, "%s_%d", path, PORT);
	unlink(port_path);
	rmdir(port_path);
	n_asked = 0;
	ask_result = 0;
	core_begin();
}

static void teardown(void)
{
	core_end();
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

/* Another process's connect: the end that is handed over, and the host program's. */
static int hand_over(int *theirs)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	*theirs = fds[1];
	return fds[0];
}

static void expect_peer_reads(int fd, const char *text)
{
	char got[64];
	ssize_t n;

	ck_assert(deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
	n = read(fd, got, sizeof got);
	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
}

/* Bytes go both ways between the guest's connection @i and the host program at @fd. */
static void expect_joined(size_t i, int fd)
{
	ck_assert_ptr_nonnull(core.streams[i]);
	core_write(i, "to the host");
	expect_peer_reads(fd, "to the host");
	ck_assert_int_eq(write(fd, "to the guest", 12), 12);
	core_expect(i, "to the guest");
}

static void make_nothing(void)
{
}

static void make_loop(void)
{
	ck_assert_int_eq(symlink(port_path, port_path), 0);
}

static void make_link_elsewhere(void)
{
	ck_assert_int_eq(symlink("/nowhere/at/all", port_path), 0);
}

static void make_link_through_file(void)
{
	ck_assert_int_eq(symlink("/proc/self/stat/name", port_path), 0);
}

static void make_file(void)
{
	FILE *f = fopen(port_path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
}

static int bind_there(int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, port_path, sizeof addr.sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void make_stale(void)
{
	close(bind_there(SOCK_STREAM));
}

static void make_datagram(void)
{
	close(bind_there(SOCK_DGRAM));
}

/* What is at the path, as this process sees it, and what that comes to if it is the last word. */
static const struct {
	const char *name;
	void (*make)(void);
	bool is_asked;
	int outcome;
	const char *why;
} views[] = {
	{ "nothing", make_nothing, true, BACKEND_E_NOBODY, "No such file or directory; nobody" },
	{ "a link out of sight", make_link_elsewhere, true, BACKEND_E_NOBODY,
	  "No such file or directory; a symbolic link that leads nowhere, or out of" },
	{ "a link to itself", make_loop, true, -ELOOP, "Too many levels of symbolic links" },
	{ "a path through a file", make_link_through_file, true, -ENOTDIR, "Not a directory" },
	{ "a plain file", make_file, false, BACKEND_E_NOBODY, "Connection refused; a file" },
	{ "a socket that has ended", make_stale, false, BACKEND_E_NOBODY, "Connection refused; nobody" },
	{ "a closed datagram socket", make_datagram, false, BACKEND_E_NOBODY, "Connection refused;" },
};

START_TEST(asks_where_it_cannot_see)
{
	views[_i].make();
	begin(true);
	if (!views[_i].is_asked) {
		ck_assert_int_eq(core_connect(0, PORT), views[_i].outcome);
		ck_assert_uint_eq(n_asked, 0);
		ck_assert_ptr_null(strstr(core.why, "as this process sees it"));
	} else {
		ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
		ck_assert_uint_eq(n_asked, 1);
		ck_assert_uint_eq(asked[0].port, PORT);
		ask_result = -EAGAIN;		/* the next is one too many */
		ck_assert_int_eq(core_connect(1, PORT), views[_i].outcome);
		ck_assert_ptr_nonnull(strstr(core.why, "as this process sees it"));
	}
	ck_assert_msg(strstr(core.why, views[_i].why), "%s", core.why);
}
END_TEST

START_TEST(nobody_to_ask)
{
	views[_i].make();
	begin(false);
	ck_assert_int_eq(core_connect(0, PORT), views[_i].outcome);
	ck_assert_msg(strstr(core.why, views[_i].why), "%s", core.why);
	ck_assert_ptr_null(strstr(core.why, "as this process sees it"));
}
END_TEST

START_TEST(connected_by_another)
{
	int theirs;

	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	ck_assert_uint_eq(core.n_connected, 0);
	uds_answer(core.backend, asked[0].id, 0, hand_over(&theirs));
	ck_assert_uint_eq(core.n_connected, 1);
	expect_joined(0, theirs);
	core_close(0);
	expect_peer_reads(theirs, "");
	fd_close(&theirs);
}
END_TEST

/* Answers are told apart by their ids, in whatever order they come. */
START_TEST(several_at_once)
{
	static const size_t order[] = { 2, 0, 1 };
	int theirs[3];

	begin(true);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(core_connect(i, 80 + (uint32_t)i), BACKEND_E_PENDING);
		ck_assert_uint_eq(asked[i].port, 80 + i);
	}
	for (size_t i = 0; i < 3; i++)
		uds_answer(core.backend, asked[order[i]].id, 0, hand_over(&theirs[order[i]]));
	for (size_t i = 0; i < 3; i++) {
		expect_joined(i, theirs[i]);
		fd_close(&theirs[i]);
	}
}
END_TEST

static const struct {
	int told, outcome;
	const char *why;
} refusals[] = {
	{ UNIX_E_NO_NAME, BACKEND_E_NOBODY, "No such file or directory; nobody listens there, the" },
	{ UNIX_E_NOBODY, BACKEND_E_NOBODY, "Connection refused; nobody listens there: the program" },
	{ UNIX_E_OTHER_TYPE, BACKEND_E_OTHER_TYPE, "Protocol wrong type for socket" },
	{ UNIX_E_DENIED, BACKEND_E_DENIED, "searchable, for this daemon" },
	{ UNIX_E_NAME_LENGTH, BACKEND_E_BAD_NAME, "File name too long" },
	{ -ELOOP, -ELOOP, "Too many levels of symbolic links" },
	{ -EMFILE, -EMFILE, "Too many open files" },
};

/* It ends in what the answer says, and the log tells that, not what this process sees. */
START_TEST(refused_by_answer)
{
	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	uds_answer(core.backend, asked[0].id, refusals[_i].told, -1);
	ck_assert_uint_eq(core.n_connected, 1);
	ck_assert_int_eq(core.errors[0], refusals[_i].outcome);
	ck_assert_ptr_null(core.streams[0]);
	ck_assert_msg(strstr(core.why, refusals[_i].why), "%s", core.why);
}
END_TEST

START_TEST(a_link_that_leads_nowhere)
{
	make_link_elsewhere();
	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	uds_answer(core.backend, asked[0].id, UNIX_E_NO_NAME, -1);
	ck_assert_ptr_nonnull(strstr(core.why, "a symbolic link that leads nowhere"));
	ck_assert_ptr_null(strstr(core.why, "sandbox"));
}
END_TEST

/* What could not be asked is said of that connect alone. */
START_TEST(half_known_once)
{
	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	ask_result = -EAGAIN;
	ck_assert_int_eq(core_connect(1, PORT), BACKEND_E_NOBODY);
	ck_assert_ptr_nonnull(strstr(core.why, "as this process sees it"));
	uds_answer(core.backend, asked[0].id, UNIX_E_NO_NAME, -1);
	ck_assert_ptr_null(strstr(core.why, "as this process sees it"));
}
END_TEST

/* The one who was asked finds a full backlog: the first of those who wait asks again, the
 * others wait for their turn, and each gets a socket of its own. */
START_TEST(full_backlog)
{
	int theirs[3];

	begin(true);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(core_connect(i, PORT), BACKEND_E_PENDING);
	for (size_t i = 0; i < 3; i++)
		uds_answer(core.backend, asked[i].id, UNIX_E_AGAIN, -1);
	ck_assert_uint_eq(core.n_connected, 0);
	core_run_for(100);
	ck_assert_uint_eq(n_asked, 4);		/* the next waits for this answer */
	uds_answer(core.backend, asked[3].id, UNIX_E_AGAIN, -1);
	for (size_t i = 0, q = 4; i < 3; i++, q++) {
		int64_t deadline = deadline_in(DEADLINE_MS);

		while (n_asked <= q && deadline_left(deadline))
			core_run_for(1);
		ck_assert_uint_eq(n_asked, q + 1);
		uds_answer(core.backend, asked[q].id, 0, hand_over(&theirs[i]));
		ck_assert_uint_eq(core.n_connected, i + 1);
	}
	for (size_t i = 0; i < 3; i++) {
		expect_joined(i, theirs[i]);
		fd_close(&theirs[i]);
	}
}
END_TEST

/* Nor does one too many end those that wait for a backlog: they ask later. */
START_TEST(full_backlog_and_too_many)
{
	int theirs;

	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	uds_answer(core.backend, asked[0].id, UNIX_E_AGAIN, -1);
	ask_result = -EAGAIN;
	core_run_for(100);
	ck_assert_uint_eq(core.n_connected, 0);
	ask_result = 0;
	core_run_for(100);
	ck_assert_uint_eq(n_asked, 2);
	uds_answer(core.backend, asked[1].id, 0, hand_over(&theirs));
	expect_joined(0, theirs);
	fd_close(&theirs);
}
END_TEST

/* One too many for the one who is asked: asked again, until the time is over. */
START_TEST(too_many_for_the_other)
{
	int theirs;

	begin(true);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(core_connect(i, PORT + (uint32_t)i), BACKEND_E_PENDING);
		uds_answer(core.backend, asked[i].id, -EAGAIN, -1);
	}
	for (int64_t deadline = deadline_in(DEADLINE_MS); n_asked < 4 && deadline_left(deadline); )
		core_run_for(1);
	ck_assert_uint_eq(n_asked, 4);
	ck_assert_uint_eq(asked[2].port, PORT);	/* in their order */
	uds_answer(core.backend, asked[2].id, -EAGAIN, -1);
	uds_answer(core.backend, asked[3].id, 0, hand_over(&theirs));
	expect_joined(1, theirs);
	fd_close(&theirs);
	ask_result = -EAGAIN;
	core_run_until_connected(2);
	ck_assert_int_eq(core.errors[0], BACKEND_E_BUSY);
	ck_assert_msg(strstr(core.why, "too many connects wait"), "%s", core.why);
}
END_TEST

/* The guest has given up meanwhile: the host program reads an end, as of any that left. */
START_TEST(gone_meanwhile)
{
	int theirs[2];

	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	ck_assert_int_eq(core_connect(1, PORT), BACKEND_E_PENDING);
	uds_answer(core.backend, asked[1].id, UNIX_E_AGAIN, -1);
	core_run_for(30);
	ck_assert_uint_eq(n_asked, 3);
	core_close(0);
	core_close(1);				/* which was waiting for a backlog */
	for (int i = 0; i < 2; i++) {
		uds_answer(core.backend, asked[i ? 2 : 0].id, 0, hand_over(&theirs[i]));
		expect_peer_reads(theirs[i], "");
		fd_close(&theirs[i]);
	}
	uds_answer(core.backend, asked[0].id, UNIX_E_NO_NAME, -1);
	uds_answer(core.backend, 4711, UNIX_E_AGAIN, -1);
	ck_assert_uint_eq(core.n_connected, 0);
}
END_TEST

/* Whoever waits for the backlog after one that has given up is not forgotten. */
START_TEST(next_in_line)
{
	int theirs;

	begin(true);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_int_eq(core_connect(i, PORT), BACKEND_E_PENDING);
		uds_answer(core.backend, asked[i].id, UNIX_E_AGAIN, -1);
	}
	core_run_for(30);
	ck_assert_uint_eq(n_asked, 3);
	core_close(0);
	core_run_for(30);
	ck_assert_uint_eq(n_asked, 4);
	uds_answer(core.backend, asked[3].id, 0, hand_over(&theirs));
	expect_joined(1, theirs);
	fd_close(&theirs);
}
END_TEST

/* The name is there by the time of the next attempt: nobody is asked. */
START_TEST(seen_later)
{
	int listener;

	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	listener = bind_there(SOCK_STREAM);
	ck_assert_int_eq(listen(listener, 1), 0);
	uds_answer(core.backend, asked[0].id, UNIX_E_AGAIN, -1);
	core_run_until_connected(1);
	ck_assert_int_eq(core.errors[0], 0);
	ck_assert_uint_eq(n_asked, 1);
	fd_close(&listener);
}
END_TEST

/* No answer comes: the core's timer closes it, and says why. */
START_TEST(no_answer)
{
	struct vsock_addr dst = { 2, PORT };

	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	core.backend->ops->explain(core.backend, &dst, BACKEND_E_TIMEOUT, core.why, sizeof core.why);
	ck_assert_ptr_nonnull(strstr(core.why, "Connection timed out"));
	core_close(0);
}
END_TEST

/* Where it may not look itself, nothing that is there makes a difference: not at once, not once it
 * has to wait, not where nobody can be asked now. */
START_TEST(never_looks_itself)
{
	int listener = bind_there(SOCK_STREAM), theirs;

	ck_assert_int_eq(listen(listener, 8), 0);
	only_asks = true;
	begin(true);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_PENDING);
	uds_answer(core.backend, asked[0].id, UNIX_E_AGAIN, -1);
	core_run_for(100);
	ck_assert_uint_eq(n_asked, 2);
	uds_answer(core.backend, asked[1].id, 0, hand_over(&theirs));
	expect_joined(0, theirs);
	fd_close(&theirs);
	ask_result = -EAGAIN;
	ck_assert_int_eq(core_connect(1, PORT), BACKEND_E_PENDING);
	core_run_for(50);
	ck_assert_uint_eq(core.n_connected, 1);
	ask_result = 0;
	core_run_for(100);
	ck_assert_uint_eq(n_asked, 3);
	uds_answer(core.backend, asked[2].id, UNIX_E_DENIED, -1);
	ck_assert_int_eq(core.errors[1], BACKEND_E_DENIED);
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(0)));
	fd_close(&listener);
}
END_TEST

START_TEST(never_looks_and_cannot_ask)
{
	int listener = bind_there(SOCK_STREAM);

	ck_assert_int_eq(listen(listener, 8), 0);
	only_asks = true;
	begin(false);
	ck_assert_int_eq(core_connect(0, PORT), BACKEND_E_NOBODY);
	fd_close(&listener);
}
END_TEST

/* What a reload says of it holds for the next connect. */
START_TEST(may_look_from_now_on)
{
	const struct uds_change change = {
		.path = path, .fd = -1, .seqpacket_fd = -1, .max_handshakes = 4,
		.handshake_ms = 10000, .only_asks = !_i,
	};
	int listener = bind_there(SOCK_STREAM);

	ck_assert_int_eq(listen(listener, 8), 0);
	only_asks = _i;
	begin(true);
	ck_assert_int_eq(uds_change(core.backend, &change), 0);
	ck_assert_int_eq(core_connect(0, PORT), _i ? 0 : BACKEND_E_PENDING);
	ck_assert_uint_eq(n_asked, !_i);
	fd_close(&listener);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uds_ask");
	TCase *tc = tcase_create("uds_ask");

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, asks_where_it_cannot_see, 0, COUNT(views));
	tcase_add_loop_test(tc, nobody_to_ask, 0, COUNT(views));
	tcase_add_test(tc, connected_by_another);
	tcase_add_test(tc, several_at_once);
	tcase_add_loop_test(tc, refused_by_answer, 0, COUNT(refusals));
	tcase_add_test(tc, a_link_that_leads_nowhere);
	tcase_add_test(tc, half_known_once);
	tcase_add_test(tc, full_backlog);
	tcase_add_test(tc, full_backlog_and_too_many);
	tcase_add_test(tc, too_many_for_the_other);
	tcase_add_test(tc, gone_meanwhile);
	tcase_add_test(tc, next_in_line);
	tcase_add_test(tc, seen_later);
	tcase_add_test(tc, no_answer);
	tcase_add_test(tc, never_looks_itself);
	tcase_add_test(tc, never_looks_and_cannot_ask);
	tcase_add_loop_test(tc, may_look_from_now_on, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
