/* SPDX-License-Identifier: BSD-3-Clause */
/* An acceptor takes what comes, no more at once than it may, and rests without descriptors. */
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "util/acceptor.h"
#include "util/fd.h"

enum { CLIENTS = 5, PER_EVENT = 2, WAIT_MS = 10 * 1000 };

static struct loop *loop;
static struct listener listener;
static struct acceptor acceptor;
static int n_accepted;
static bool stops;

static void on_accepted(void *ctx, int fd)
{
	ck_assert_ptr_eq(ctx, &listener);
	n_accepted++;
	fd_close(&fd);
	if (stops)
		acceptor_stop(&acceptor);
}

static void setup(void)
{
	struct acceptor_config config = {
		.listener = &listener, .tag = "test", .what = "a client",
		.per_event = PER_EVENT, .accepted = on_accepted, .ctx = &listener,
	};
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	n_accepted = 0;
	stops = false;
	acceptor_init(&acceptor);
	acceptor_stop(&acceptor);		/* safe on the null state */
	ck_assert_int_eq(loop_new(&loop), 0);
	listener_init(&listener);
	listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* A name of the kernel's choice, which is no file. */
	ck_assert_int_eq(bind(listener.fd, (struct sockaddr *)&name, sizeof name.sun_family), 0);
	ck_assert_int_eq(listen(listener.fd, CLIENTS), 0);
	config.loop = loop;
	ck_assert_int_eq(acceptor_start(&acceptor, &config), 0);
}

static void teardown(void)
{
	acceptor_stop(&acceptor);
	acceptor_stop(&acceptor);
	listener_deinit(&listener);
	loop_free(loop);
}

static int dial(void)
{
	struct sockaddr_un name;
	socklen_t len = sizeof name;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(getsockname(listener.fd, (struct sockaddr *)&name, &len), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&name, len), 0);
	return fd;
}

START_TEST(takes_more_while_they_come)
{
	int clients[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		clients[i] = dial();
	for (int taken = 0, burst = 1; taken < CLIENTS; burst *= 2) {
		burst = burst < PER_EVENT ? burst : PER_EVENT;
		taken = taken + burst < CLIENTS ? taken + burst : CLIENTS;
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
		ck_assert_int_eq(n_accepted, taken);
	}
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
}
END_TEST

/* Where the batch before had none, they come one by one. */
START_TEST(takes_one_after_a_pause)
{
	int clients[CLIENTS];

	for (int i = 0; i < 3; i++)
		clients[i] = dial();
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, 3);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	for (int i = 3; i < CLIENTS; i++)
		clients[i] = dial();
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, 4);
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
}
END_TEST

START_TEST(may_be_stopped_by_the_one_it_calls)
{
	int first = dial(), second = dial();

	stops = true;
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(n_accepted, 1);
	close(first);
	close(second);
}
END_TEST

START_TEST(rests_without_descriptors)
{
	struct rlimit limit, none;
	int client = dial();

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 0, limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_lt(acceptor.source.fd, 0);	/* it does not spin */
	ck_assert(acceptor.rest.is_set);
	ck_assert_int_eq(n_accepted, 0);

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int steps = 0; !n_accepted && steps < 10; steps++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, 1);
	close(client);
}
END_TEST

static int n_asked;

static int ask(void *ctx)
{
	ck_assert_ptr_null(ctx);
	n_asked++;
	return 0;
}

/* Somebody else accepts, from a socket that may be another than ours: while there is none, who
 * waits here is no reason to ask at once again. */
START_TEST(rests_where_another_finds_none)
{
	int client = dial();

	acceptor.config.ask = ask;
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_asked, 1);
	acceptor_answer(&acceptor, LISTENER_E_NONE, -1);
	ck_assert(acceptor.rest.is_set);
	ck_assert_uint_gt(acceptor.rest.deadline_ms, loop_now_ms(loop));
	for (int steps = 0; n_asked == 1 && steps < 10; steps++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_asked, 2);
	acceptor_answer(&acceptor, 0, client);	/* there may be more of them */
	ck_assert_uint_le(acceptor.rest.deadline_ms, loop_now_ms(loop));
	ck_assert_int_eq(n_accepted, 1);
}
END_TEST

/* Another socket takes the place of the one; who waits there has not come for nothing. */
START_TEST(another_socket)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int early[CLIENTS], fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), late;

	for (int i = 0; i < CLIENTS; i++)
		early[i] = dial();
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof name.sun_family), 0);
	ck_assert_int_eq(listen(fd, CLIENTS), 0);
	ck_assert_int_eq(acceptor_exchange(&acceptor, fd), 0);
	ck_assert_int_eq(n_accepted, CLIENTS);
	ck_assert_int_eq(listener.fd, fd);
	late = dial();
	for (int steps = 0; n_accepted == CLIENTS && steps < 10; steps++)
		ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, CLIENTS + 1);
	for (int i = 0; i < CLIENTS; i++)
		close(early[i]);
	close(late);
}
END_TEST

START_TEST(no_other_socket)
{
	struct acceptor idle;
	int client = dial(), fds = unit_count_fds();

	ck_assert_int_lt(acceptor_exchange(&acceptor, -1), 0);
	ck_assert_int_eq(loop_step(loop, WAIT_MS), 0);
	ck_assert_int_eq(n_accepted, 1);	/* as if nothing had been */
	acceptor_init(&idle);
	ck_assert_int_eq(acceptor_exchange(&idle, dup(client)), 0);
	ck_assert_int_eq(unit_count_fds(), fds);
	close(client);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("acceptor");
	TCase *tc = tcase_create("acceptor");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, takes_more_while_they_come);
	tcase_add_test(tc, takes_one_after_a_pause);
	tcase_add_test(tc, may_be_stopped_by_the_one_it_calls);
	tcase_add_test(tc, rests_without_descriptors);
	tcase_add_test(tc, rests_where_another_finds_none);
	tcase_add_test(tc, another_socket);
	tcase_add_test(tc, no_other_socket);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
