/* SPDX-License-Identifier: BSD-3-Clause */
/* A connector asks where it cannot see, and knows which answers are for it. */
#include "util/connector.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/scratch.h"
#include "unit.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { WAIT_MS = 10 * 1000 };

static struct loop *loop;
static struct connector connector;
static int n_asked, ask_result, connected, fds_before;
static char path[96];

static void on_connected(void *ctx, int fd)
{
	ck_assert_ptr_eq(ctx, &connected);
	ck_assert_int_eq(connected, -1);
	connected = fd;
}

static int on_ask(void *ctx)
{
	ck_assert_ptr_eq(ctx, &n_asked);
	n_asked++;
	return ask_result;
}

static bool only_asks;

static void begin(bool has_asker)
{
	const struct connector_config config = {
		.loop = loop, .path = path, .tag = "test", .what = "a front-end",
		.connected = on_connected, .ctx = &connected,
		.ask = has_asker ? on_ask : NULL, .ask_ctx = &n_asked,
		.only_asks = only_asks,
	};

	ck_assert_int_eq(connector_start(&connector, &config), 0);
}

static void setup(void)
{
	fds_before = unit_count_fds();
	snprintf(path, sizeof path, "%s/%d", scratch_path(), (int)getpid());
	n_asked = ask_result = 0;
	connected = -1;
	connector_init(&connector);
	ck_assert_int_eq(loop_new(&loop), 0);
}

static void teardown(void)
{
	connector_stop(&connector);
	fd_close(&connected);
	loop_free(loop);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

/* Until it has asked so often. */
static void run_until_asked(int n)
{
	for (int steps = 0; n_asked < n && steps < 100; steps++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_asked, n);
}

static int new_socket(void)
{
	int fd;

	ck_assert_int_eq(unix_socket(&fd, SOCK_STREAM), 0);
	return fd;
}

START_TEST(the_answer_is_a_socket)
{
	int fd = new_socket();

	begin(true);
	run_until_asked(1);
	ck_assert_int_eq(connected, -1);
	connector_answer(&connector, 0, fd);
	ck_assert_int_eq(connected, fd);
	ck_assert(!connector.timer.is_set);	/* it has what it wants */
}
END_TEST

/* The next attempt asks again. */
START_TEST(the_answer_is_no)
{
	begin(true);
	run_until_asked(1);
	connector_answer(&connector, UNIX_E_NO_NAME, -1);
	ck_assert_int_eq(connected, -1);
	ck_assert(connector.timer.is_set);
	run_until_asked(2);
}
END_TEST

/* Twice, after it has been held, after its end: nobody waits for it. */
START_TEST(nobody_has_asked)
{
	begin(true);
	run_until_asked(1);
	connector_answer(&connector, 0, new_socket());
	connector_answer(&connector, 0, new_socket());
	connector_answer(&connector, UNIX_E_NO_NAME, -1);
	ck_assert(!connector.timer.is_set);
	fd_close(&connected);
	connector_again(&connector);
	run_until_asked(2);
	connector_hold(&connector);
	connector_answer(&connector, 0, new_socket());
	ck_assert_int_eq(connected, -1);
	connector_stop(&connector);
	connector_answer(&connector, 0, new_socket());
	ck_assert_int_eq(connected, -1);
}
END_TEST

/* Who cannot be asked is no reason not to try again. */
START_TEST(cannot_be_asked)
{
	ask_result = -EAGAIN;
	begin(true);
	run_until_asked(2);
	ck_assert(!connector.is_asked);
}
END_TEST

/* What it sees itself is nobody else's business. */
START_TEST(is_seen)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int stale = new_socket();

	snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
	ck_assert_int_eq(bind(stale, (struct sockaddr *)&at, sizeof at), 0);
	begin(true);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_asked, 0);
	ck_assert_int_eq(connector.last, UNIX_E_NOBODY);
	ck_assert_int_eq(listen(stale, 1), 0);
	for (int steps = 0; connected < 0 && steps < 100; steps++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_asked, 0);
	close(stale);
}
END_TEST

/* Nor does it look where it may not, whether somebody can be asked or not. */
START_TEST(never_looks_itself)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listener = new_socket();

	snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	only_asks = true;
	ask_result = -EAGAIN;
	begin(true);
	run_until_asked(2);
	ck_assert_int_eq(connected, -1);
	ck_assert_int_eq(connector.last, -EAGAIN);
	connector_stop(&connector);
	ask_result = 0;
	begin(true);
	run_until_asked(3);
	connector_answer(&connector, UNIX_E_DENIED, -1);
	ck_assert_int_eq(connected, -1);
	ck_assert_int_eq(connector.last, UNIX_E_DENIED);
	close(listener);
	unlink(path);
}
END_TEST

START_TEST(there_is_nobody_to_ask)
{
	begin(false);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(connector.last, UNIX_E_NO_NAME);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("connector");
	TCase *tc = tcase_create("connector");
	int status;

	scratch_begin();
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_answer_is_a_socket);
	tcase_add_test(tc, the_answer_is_no);
	tcase_add_test(tc, nobody_has_asked);
	tcase_add_test(tc, cannot_be_asked);
	tcase_add_test(tc, is_seen);
	tcase_add_test(tc, never_looks_itself);
	tcase_add_test(tc, there_is_nobody_to_ask);
	status = unit_main(s);
	scratch_end();
	return status;
}
