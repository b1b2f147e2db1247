/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parties that stop: a front-end that does not read, descriptors that cannot be
 * written to, a guest that gives no buffers, a host program under SIGSTOP, a log
 * that nobody reads. None of them holds up another VM, even on the same worker,
 * or costs the daemon any time; what goes on again has lost nothing.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/bystander.h"

enum { MIB = 1 << 20 };

static struct sib *const victim = &sibs[0];

/* ---- descriptors of a front-end ---- */

enum fd_kind { FULL_EVENTFD, FULL_PIPE, HUNG_UP_PIPE, FULL_SOCKET, REGULAR_FILE, DIRECTORY, FD_KINDS };

/* Blocking, and a write to it blocks, where there is such a thing. */
static int make_fd(enum fd_kind kind)
{
	static const char bytes[65536];
	uint64_t most = UINT64_MAX - 1;
	int fd = -1, ends[2];

	switch (kind) {
	case FULL_EVENTFD:
		fd = eventfd(0, EFD_CLOEXEC);
		must(write(fd, &most, sizeof most) == sizeof most);
		break;
	case FULL_PIPE:
		must(pipe2(ends, O_CLOEXEC) == 0);
		must(write(ends[1], bytes, sizeof bytes) == sizeof bytes);
		fd = ends[1];			/* the other one stays open, unread */
		break;
	case HUNG_UP_PIPE:
		must(pipe2(ends, O_CLOEXEC) == 0);
		close(ends[1]);
		fd = ends[0];
		break;
	case FULL_SOCKET:
		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
		while (send(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
			;
		fd = ends[0];
		break;
	case REGULAR_FILE:
		fd = open(vhd.log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		break;
	case DIRECTORY:
		fd = open(vhd.dir, O_RDONLY | O_CLOEXEC);
		break;
	case FD_KINDS:
		break;
	}
	must(fd >= 0);
	return fd;
}

/* A request comes to the guest, which is to be called for it. */
static void make_call(void)
{
	int fd = host_dial(victim->uds, PORT);
	int64_t deadline = deadline_in(DEADLINE_MS);

	sock_listen(&victim->d, PORT);
	while (!victim->d.backlog) {		/* polled: there may be no call */
		ck_assert(deadline_left(deadline));
		if (!driver_turn(&victim->d))
			poll(NULL, 0, 1);
	}
	sock_accept(&victim->d, PORT);
	close(fd);
}

START_TEST(call_descriptor_that_blocks)
{
	int fd = make_fd((enum fd_kind)(_i / PLACES)), r;
	struct guest_ring *rx;

	bystander_begin(_i % PLACES, NULL);
	rx = &victim->d.vq[VSOCK_RXQ];
	r = vmm_set_vring_call(&victim->d.fe, VSOCK_RXQ, fd);
	ck_assert_int_eq(r != 0, _i / PLACES != FULL_EVENTFD);
	guest_ring_want_call(rx);
	make_call();
	bystander_check();
	ck_assert_int_eq(vmm_set_vring_call(&victim->d.fe, VSOCK_RXQ, rx->call_fd), 0);
	bystander_end(false);
	close(fd);
}
END_TEST

START_TEST(error_descriptor_that_blocks)
{
	int fd = make_fd((enum fd_kind)(_i / PLACES)), r;

	bystander_begin(_i % PLACES, NULL);
	r = vmm_set_vring_err(&victim->d.fe, VSOCK_TXQ, fd);
	ck_assert_int_eq(r != 0, _i / PLACES != FULL_EVENTFD);
	guest_ring_raw_post(&victim->d.vq[VSOCK_TXQ], 0xffff);
	guest_ring_kick(&victim->d.vq[VSOCK_TXQ]);
	bystander_check();
	bystander_end(true);
	close(fd);
}
END_TEST

START_TEST(kick_descriptor_of_any_kind)
{
	enum fd_kind kind = (enum fd_kind)_i;
	int fd = make_fd(kind), r;

	bystander_begin(ON_ONE_WORKER, NULL);
	r = vmm_set_vring_kick(&victim->d.fe, VSOCK_TXQ, fd);
	ck_assert_int_eq(r != 0, kind != FULL_EVENTFD);
	bystander_check_no_spin(false);
	bystander_end(true);
	close(fd);
}
END_TEST

/* ---- a front-end or a guest that stops ---- */

START_TEST(front_end_that_reads_no_answers)
{
	struct vhost_user_hdr get = { .request = VHOST_USER_GET_FEATURES,
				      .flags = VHOST_USER_VERSION };
	struct pollfd p;

	bystander_begin(_i, NULL);
	p = (struct pollfd){ .fd = victim->d.fe.sock, .events = POLLOUT };
	while (send(p.fd, &get, sizeof get, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof get ||
	       poll(&p, 1, QUIET_MS) == 1) {
		if (p.revents & (POLLHUP | POLLERR))
			break;			/* given up by the daemon */
	}
	bystander_check();
	bystander_check_no_spin(false);
	bystander_end(true);
}
END_TEST

/* Host programs and a sibling write to a guest under SIGSTOP; then it goes on. */
START_TEST(guest_that_takes_nothing)
{
	struct sib_host_flow h;
	struct sib_pair p;
	uint64_t stuck, got = 0;
	uint8_t bytes[4096];

	bystander_begin(_i, NULL);
	bystander_stop();
	p = sibs_connect(&sibs[1], victim);
	sib_host_flow_start(&h, victim, 4 * MIB, 7);
	stuck = sibs_fill(p.from, 3);		/* and nobody turns the victim */
	bystander_start();
	bystander_check();
	bystander_check_no_spin(false);
	bystander_stop();
	flow_run(&victim->d, &h.flow, 1);
	sib_host_flow_finish(&h);
	while (got < stuck) {
		size_t n = stuck - got < sizeof bytes ? (size_t)(stuck - got) : sizeof bytes;

		ck_assert_uint_eq(sock_recv_full(p.to, bytes, n), n);
		ck_assert_uint_eq(pattern_check(bytes, n, got, 3), n);
		got += n;
	}
	bystander_start();
	bystander_end(false);
}
END_TEST

/* ---- a host program that stops ---- */

static void echo(int fd)
{
	char bytes[65536];
	ssize_t n, at;

	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		for (at = 0; at < n; ) {
			ssize_t w = write(fd, bytes + at, (size_t)(n - at));

			if (w <= 0)
				_exit(1);
			at += w;
		}
	_exit(0);
}

START_TEST(host_program_that_is_stopped)
{
	struct flow f = { .to_send = 8 * MIB, .to_recv = 8 * MIB, .send_seed = 5, .recv_seed = 5 };
	struct sib_run r = { .d = &victim->d, .flows = &f, .n = 1 };
	struct pair p;
	pid_t pid;

	bystander_begin(_i, NULL);
	bystander_stop();
	p = e2e_guest_connects(&victim->d, victim->uds);
	pid = fork();
	if (pid == 0)
		echo(p.host);
	close(p.host);
	f.sock = p.guest;
	sib_run_start(&r);
	kill(pid, SIGSTOP);
	bystander_start();
	bystander_check();
	bystander_check_no_spin(false);
	kill(pid, SIGCONT);
	sib_run_finish(&r);			/* every byte came back */
	sock_close(p.guest);
	must(waitpid(pid, NULL, 0) == pid);
	bystander_end(false);
}
END_TEST

/* ---- no descriptors ---- */

/* It gets as far as the first message with a descriptor. */
START_TEST(front_end_without_descriptors_comes_back)
{
	struct driver *d = &victim->d;
	uint64_t features;

	bystander_begin(_i, NULL);
	driver_deinit(d);
	driver_init(d, NULL);
	ck_assert(vmm_connect(&d->fe, victim->socket));
	ck_assert_int_eq(vmm_get_features(&d->fe, &features), 0);
	bystander_stop();
	daemon_limit_fds(&vhd, STDERR_FILENO + 1);
	ck_assert_int_ne(vmm_start(&d->fe, &d->guest, d->vq, d->opt.habits, features), 0);
	bystander_check_no_spin(false);
	daemon_limit_fds(&vhd, 1000);
	bystander_start();
	bystander_end(true);
}
END_TEST

/* ---- the log ---- */

/* Every message makes a line. */
static void make_lines(int n)
{
	uint64_t features;

	while (n--)
		ck_assert_int_eq(vmm_get_features(&victim->d.fe, &features), 0);
}

static int start_with_log(char *path, const char *name)
{
	const char *const extra[] = { "--log-level", "trace", "--log-file", path, NULL };
	int fd;

	snprintf(path, 128, "%s/%s", vhd.dir, name);
	must(mkfifo(path, 0600) == 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	bystander_begin(ON_ONE_WORKER, extra);
	return fd;
}

START_TEST(log_that_nobody_reads)
{
	char path[128];
	int fd = start_with_log(path, "fifo");

	make_lines(5000);
	bystander_check();
	bystander_check_no_spin(false);
	bystander_end(false);
	bystander_teardown();			/* ends in time, with status 0 */
	close(fd);
	e2e_setup_bare();
}
END_TEST

START_TEST(log_whose_reader_is_gone)
{
	char path[128];
	int fd = start_with_log(path, "fifo");

	close(fd);				/* EPIPE from now on */
	make_lines(1000);
	bystander_check();
	bystander_check_no_spin(false);
	bystander_end(false);
}
END_TEST

START_TEST(log_on_a_full_disk)
{
	const char *const extra[] = { "--log-level", "trace", "--log-file", "/dev/full", NULL };

	bystander_begin(ON_ONE_WORKER, extra);
	make_lines(1000);
	bystander_check();
	bystander_check_no_spin(false);
	bystander_end(false);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stalled");
	TCase *tc = bystander_case(s, "stalled", 120);

	tcase_add_loop_test(tc, call_descriptor_that_blocks, 0, FD_KINDS * PLACES);
	tcase_add_loop_test(tc, error_descriptor_that_blocks, 0, FD_KINDS * PLACES);
	tcase_add_loop_test(tc, kick_descriptor_of_any_kind, 0, FD_KINDS);
	tcase_add_loop_test(tc, front_end_that_reads_no_answers, 0, PLACES);
	tcase_add_loop_test(tc, guest_that_takes_nothing, 0, PLACES);
	tcase_add_loop_test(tc, host_program_that_is_stopped, 0, PLACES);
	tcase_add_loop_test(tc, front_end_without_descriptors_comes_back, 0, PLACES);
	tcase_add_test(tc, log_that_nobody_reads);
	tcase_add_test(tc, log_whose_reader_is_gone);
	tcase_add_test(tc, log_on_a_full_disk);
	return e2e_run(s);
}
