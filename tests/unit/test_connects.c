/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects for an engine: an answer to each question, and only so many of them. */
#include "daemon/connects.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/socket_kind.h"
#include "util/unix_socket.h"

enum { CID = 3, PORT = 80, BURST = 1000, PER_SECOND = 200 };

static struct connects connects;
static struct held_vm *vm;
static int ends[2], fds_before;			/* ends[0]: ours */
static uint64_t time_ms;
static char path[96];

static void setup(void)
{
	struct vm_plan row;

	fds_before = unit_count_fds();
	snprintf(path, sizeof path, "%s/%d", scratch_path(), (int)getpid());	/* each has its own */
	vm_plan_init(&row);
	row.guest_cid = CID;
	row.uds_path = strdup(path);
	vm = held_vm_new(&row);
	ck_assert_ptr_nonnull(vm);
	ck_assert_int_eq(channel_pair(ends), 0);
	connects = (struct connects){ .children = { 0 } };
	time_ms = 1000 * 1000;
}

static void teardown(void)
{
	held_vm_free(vm);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static void ask(uint32_t port, uint32_t id)
{
	ck_assert_int_eq(connects_begin(&connects, vm, ends[0], SOCK_STREAM, port, id,
					time_ms), 0);
}

/* What the engine gets; the socket, or -1. */
static int answer(uint32_t id, int result)
{
	struct channel_msg msg;
	int fd;

	ck_assert(deadline_poll(ends[1], POLLIN, deadline_in(DEADLINE_MS)));
	ck_assert_int_eq(channel_receive(ends[1], CHANNEL_SUPERVISOR, &msg), 0);
	ck_assert_uint_eq(msg.m.type, SUPERVISE_CONNECTED);
	ck_assert_uint_eq(msg.m.cid, CID);
	ck_assert_uint_eq(msg.m.u.connected.id, id);
	ck_assert_int_eq(msg.m.u.connected.result, result);
	ck_assert_uint_eq(msg.n_fds, result == 0);
	fd = channel_take_fd(&msg, 0);
	channel_msg_deinit(&msg);
	return fd;
}

/* One of the children, which has ended well. */
static void reap(void)
{
	int status;
	pid_t pid = wait(&status);

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(status, 0);
	ck_assert(connects_ended(&connects, pid));
	ck_assert(!connects_ended(&connects, pid));
}

static void bind_to(int fd, const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
}

START_TEST(connects_and_hands_over)
{
	int listener = host_listen(path, PORT, 4), fd, host;

	ask(PORT, 7);
	fd = answer(7, 0);
	reap();
	host = host_accept(listener);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	fd_close(&fd);
	ck_assert_uint_eq(host_read(host, &(char){ 0 }, 1), 1);
	ck_assert(host_is_closed(host, DEADLINE_MS));	/* nobody else has it */
	close(host);
	host_unlisten(listener, path, PORT);
}
END_TEST

/* What the API has added is led no further than its folders. _i: one is there. */
START_TEST(links_of_the_api)
{
	char name[sizeof path + 8], elsewhere[sizeof path + 8], target[sizeof path + 16], *folders[] = { path };
	int listener, fd;

	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(elsewhere, sizeof elsewhere, "%s.other", path);
	listener = host_listen(_i ? path : elsewhere, PORT, 4);
	snprintf(target, sizeof target, "%s_%d", _i ? path : elsewhere, PORT);
	snprintf(name, sizeof name, "%s/v", path);
	free(vm->plan.uds_path);
	vm->plan.uds_path = strdup(name);
	vm->plan.is_by_api = true;
	snprintf(name, sizeof name, "%s/v_%d", path, PORT);
	if (_i) {				/* now it is in the folder */
		char inside[sizeof path + 16];

		snprintf(inside, sizeof inside, "%s/socket", path);
		ck_assert_int_eq(rename(target, inside), 0);
		ck_assert_int_eq(symlink("socket", name), 0);
	} else {
		ck_assert_int_eq(symlink(target, name), 0);
	}
	connects.within = (struct folders){ folders, 1 };
	ask(PORT, 7);
	fd = answer(7, _i ? 0 : UNIX_E_DENIED);
	reap();
	fd_close(&fd);
	unlink(name);
	ask(PORT, 8);
	answer(8, UNIX_E_NO_NAME);
	reap();
	close(listener);
	unlink(target);
	snprintf(name, sizeof name, "%s/socket", path);
	unlink(name);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* A host program's, of the type that the guest asks for. _i: asked for the other. */
START_TEST(by_type)
{
	char name[sizeof path + 8];
	int fd = -1, listener;

	snprintf(name, sizeof name, "%s_%d", path, PORT);
	ck_assert_int_eq(unix_socket(&listener, _i ? SOCK_STREAM : SOCK_SEQPACKET), 0);
	bind_to(listener, name);
	ck_assert_int_eq(connects_begin(&connects, vm, ends[0], SOCK_SEQPACKET, PORT, 5, time_ms), 0);
	fd = answer(5, _i ? UNIX_E_OTHER_TYPE : 0);
	reap();
	if (!_i) {
		ck_assert_int_eq(socket_option(fd, SO_TYPE), SOCK_SEQPACKET);
		fd_close(&fd);
		ask(PORT, 6);
		ck_assert_int_eq(answer(6, UNIX_E_OTHER_TYPE), -1);
		reap();
	}
	fd_close(&listener);
	unlink(name);
}
END_TEST

static void make_stale(void)
{
	close(host_listen(path, PORT, 1));
}

static void make_loop(void)
{
	char name[112];

	snprintf(name, sizeof name, "%s_%d", path, PORT);
	ck_assert_int_eq(symlink(name, name), 0);
}

static const struct {
	const char *name;
	void (*make)(void);
	int result;
} failures[] = {
	{ "nothing", NULL, UNIX_E_NO_NAME },
	{ "stale", make_stale, UNIX_E_NOBODY },
	{ "loop", make_loop, -ELOOP },
};

START_TEST(says_what_was_in_the_way)
{
	if (failures[_i].make)
		failures[_i].make();
	ask(PORT, 1);
	ck_assert_int_eq(answer(1, failures[_i].result), -1);
	reap();
}
END_TEST

/* Not to another VM's, and not where there is none. */
START_TEST(to_no_other_name)
{
	struct vm_plan row;

	held_vm_free(vm);
	vm_plan_init(&row);
	row.guest_cid = CID;
	vm = held_vm_new(&row);
	ask(PORT, 1);
	ck_assert_int_eq(answer(1, UNIX_E_NO_NAME), -1);
	vm->plan.uds_path = malloc(200);
	memset(vm->plan.uds_path, 'x', 199);
	vm->plan.uds_path[199] = '\0';
	ask(PORT, 2);
	ck_assert_int_eq(answer(2, UNIX_E_NAME_LENGTH), -1);
	for (size_t i = 0; i < CONNECTS_MAX; i++)
		ck_assert_int_eq(connects.children[i], 0);
}
END_TEST

/* The VM's front-end, if it is one that listens. */
START_TEST(calls_the_front_end)
{
	int listener = host_listen(path, PORT, 4), fd;

	ck_assert_int_eq(connects_call(&connects, vm, ends[0], time_ms), 0);
	ck_assert_int_eq(answer(0, UNIX_E_NO_NAME), -1);
	vm->plan.connect = malloc(sizeof path + 16);
	sprintf(vm->plan.connect, "%s_%d", path, PORT);
	ck_assert_int_eq(connects_call(&connects, vm, ends[0], time_ms), 0);
	fd = answer(0, 0);
	ck_assert(!unix_refuses_rights(fd));
	fd_close(&fd);
	close(host_accept(listener));
	reap();
	host_unlisten(listener, path, PORT);
}
END_TEST

START_TEST(only_so_many_at_a_time)
{
	for (uint32_t i = 0; i < CONNECTS_MAX; i++)
		ask(PORT, i);
	for (size_t i = 0; i < CONNECTS_MAX; i++)
		ck_assert_int_gt(connects.children[i], 0);
	for (int i = 0; i < CONNECTS_MAX; i++) {
		struct channel_msg msg;

		ck_assert_int_eq(channel_receive(ends[1], CHANNEL_SUPERVISOR, &msg), 0);
		ck_assert_int_eq(msg.m.u.connected.result, UNIX_E_NO_NAME);
	}
	ask(PORT, 99);				/* they have ended, but nobody has heard of it */
	ck_assert_int_eq(answer(99, -EAGAIN), -1);
	reap();
	ask(PORT, 100);
	ck_assert_int_eq(answer(100, UNIX_E_NO_NAME), -1);
	for (int i = 0; i < CONNECTS_MAX; i++)
		reap();
}
END_TEST

/* Questions until one is refused. */
static unsigned count_granted(void)
{
	unsigned n = 0;

	for (;; n++) {
		struct channel_msg msg;

		ask(PORT, n);
		ck_assert_int_eq(channel_receive(ends[1], CHANNEL_SUPERVISOR, &msg), 0);
		ck_assert_uint_eq(msg.m.u.connected.id, n);
		if (msg.m.u.connected.result == -EAGAIN)
			return n;
		ck_assert_int_eq(msg.m.u.connected.result, UNIX_E_NAME_LENGTH);
	}
}

/* A path for which there is no child, so that this takes no time. */
START_TEST(only_so_many_in_a_time)
{
	free(vm->plan.uds_path);
	vm->plan.uds_path = malloc(200);
	memset(vm->plan.uds_path, 'x', 199);
	vm->plan.uds_path[199] = '\0';
	ck_assert_uint_eq(count_granted(), BURST);
	ck_assert_uint_eq(count_granted(), 0);
	time_ms += 1;
	ck_assert_uint_eq(count_granted(), 0);
	time_ms += 999;
	ck_assert_uint_eq(count_granted(), PER_SECOND);
	time_ms += 1000 * 1000;
	ck_assert_uint_eq(count_granted(), BURST);
	for (int i = 0; i < 100; i++) {		/* in small steps no less */
		time_ms += 10;
		ck_assert_uint_eq(count_granted(), 2);
	}
}
END_TEST

/* It answers nobody, and is no reason to wait. */
START_TEST(the_engine_has_gone)
{
	fd_close(&ends[1]);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(connects_begin(&connects, vm, ends[0], SOCK_STREAM, PORT, 1,
					time_ms), 0);
	ck_assert_int_gt(wait(NULL), 0);
	ck_assert_int_eq(connects_call(&connects, vm, ends[0], time_ms), 0);	/* at once */
}
END_TEST

START_TEST(other_children_are_others)
{
	ck_assert(!connects_ended(&connects, 12345));
	ask(PORT, 1);
	answer(1, UNIX_E_NO_NAME);
	ck_assert(!connects_ended(&connects, connects.children[0] + 1));
	reap();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("connects");
	TCase *tc = tcase_create("connects");
	int status;

	scratch_begin();
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, connects_and_hands_over);
	tcase_add_loop_test(tc, links_of_the_api, 0, 2);
	tcase_add_loop_test(tc, by_type, 0, 2);
	tcase_add_loop_test(tc, says_what_was_in_the_way, 0, COUNT(failures));
	tcase_add_test(tc, to_no_other_name);
	tcase_add_test(tc, calls_the_front_end);
	tcase_add_test(tc, only_so_many_at_a_time);
	tcase_add_test(tc, only_so_many_in_a_time);
	tcase_add_test(tc, the_engine_has_gone);
	tcase_add_test(tc, other_children_are_others);
	status = unit_main(s);
	scratch_end();
	return status;
}
