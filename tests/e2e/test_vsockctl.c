/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl at the hybrid socket of a real daemon: connect, listen, wait.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/ctl.h"
#include "e2e/e2e.h"
#include "e2e/flow.h"
#include "support/host_messages.h"

enum { BULK = IS_SANITIZED ? 8 << 20 : 64 << 20 };

static struct ctl ctl;

static const char *port_text(void)
{
	return "1234";
}

#define ARGS(...)	((const char *const []){ __VA_ARGS__, NULL })
#define CONNECT(...)	ARGS("connect", vhd.uds, port_text(), ##__VA_ARGS__)
#define LISTEN(...)	ARGS("listen", vhd.uds, port_text(), ##__VA_ARGS__)
#define WAIT(...)	ARGS("wait", vhd.uds, port_text(), ##__VA_ARGS__)

static void write_in(const void *bytes, size_t len)
{
	must(write(ctl.in, bytes, len) == (ssize_t)len);
}

/* ---- connect ---- */

static struct sock *connected(const char *const *args)
{
	sock_listen(&vm, PORT);
	ctl_start(&ctl, args, -1, -1);
	return sock_accept(&vm, PORT);
}

START_TEST(connect_talks_and_half_closes)
{
	struct sock *s = connected(CONNECT());
	char got[16] = "";

	write_in("hello\n", 6);
	ck_assert_uint_eq(sock_recv_full(s, got, 6), 6);
	ck_assert_str_eq(got, "hello\n");
	ctl_end_input(&ctl);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	ck_assert_uint_eq(s->peer_shutdown, VSOCK_SHUTDOWN_SEND);
	ck_assert(sock_send(s, "answer\n", 7));
	ctl_wait_said(&ctl, &vm, "answer\n");
	sock_close(s);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert_str_eq(ctl.said, "answer\n");
	ck_assert_str_eq(ctl.complained, "");
}
END_TEST

/* The guest's end comes first: output ends, input goes on. */
START_TEST(connect_guest_half_closes)
{
	struct sock *s = connected(CONNECT());
	char got[16] = "";

	ck_assert(sock_send(s, "answer", 6));
	sock_shutdown(s, VSOCK_SHUTDOWN_SEND);
	for (int64_t deadline = deadline_in(DEADLINE_MS); ctl.out >= 0; ) {
		char c;

		driver_wait(&vm, deadline_in(5), false);
		if (!deadline_poll(ctl.out, POLLIN, now_ms())) {
			ck_assert(deadline_left(deadline));
			continue;
		}
		if (read(ctl.out, &c, 1) == 1) {
			ctl.said[ctl.n_said++] = c;
			continue;
		}
		close(ctl.out);
		ctl.out = -1;
	}
	ck_assert_str_eq(ctl.said, "answer");
	write_in("more", 4);
	ck_assert_uint_eq(sock_recv_full(s, got, 4), 4);
	ck_assert_str_eq(got, "more");
	ctl_end_input(&ctl);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
}
END_TEST

/* Whoever sits at a terminal, saying nothing, is not kept there. */
START_TEST(connect_ends_when_the_guest_closes)
{
	struct sock *s = connected(CONNECT());

	ck_assert(sock_send(s, "bye", 3));
	sock_close(s);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert_str_eq(ctl.said, "bye");
}
END_TEST

START_TEST(connect_says_that_input_was_lost)
{
	struct sock *s = connected(CONNECT());

	kill(ctl.pid, SIGSTOP);
	sock_close(s);
	write_in("too late", 8);
	kill(ctl.pid, SIGCONT);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 1);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "before it took all of the input"));
}
END_TEST

START_TEST(connect_moves_bulk_both_ways)
{
	struct host_job job = {
		.to_write = BULK, .to_read = BULK, .write_seed = 1, .read_seed = 2, .shuts = true,
	};
	struct flow f = { .to_send = BULK, .to_recv = BULK, .send_seed = 2, .recv_seed = 1 };
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	sock_listen(&vm, PORT);
	ctl_start(&ctl, CONNECT(), ends[1], ends[1]);
	close(ends[1]);
	f.sock = sock_accept(&vm, PORT);
	job.fd = ends[0];
	flow_attach(&f);
	host_job_start(&job);
	flow_run(&vm, &f, 1);
	ck_assert_msg(host_job_finish(&job), "%s", job.error);
	ck_assert(sock_wait_shutdown(f.sock, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	sock_close(f.sock);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert(host_is_closed(ends[0], DEADLINE_MS));
}
END_TEST

static uint64_t cpu_ms_of(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	must(f);
	must(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		    &user, &system) == 2);
	fclose(f);
	return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

/* Neither side reads: one direction does not hold the other up, and nothing spins. */
START_TEST(connect_stands_still_without_spinning)
{
	static uint8_t bytes[1 << 20];
	struct sock *s = connected(CONNECT());
	uint64_t costs = UINT64_MAX;
	size_t n = 0;

	must(fcntl(ctl.in, F_SETFL, O_NONBLOCK) == 0);
	for (int64_t end = deadline_in(500); deadline_left(end); ) {
		n += sock_send_some(s, bytes, sizeof bytes);	/* nobody reads ctl.out */
		driver_wait(&vm, deadline_in(5), false);
	}
	ck_assert_uint_gt(n, 1 << 16);
	for (int64_t end = deadline_in(500); deadline_left(end); driver_turn(&vm))
		if (write(ctl.in, bytes, 4096) < 0)
			poll(NULL, 0, 5);
	ck_assert_uint_gt(s->n_queue, 1 << 16);			/* what we wrote has come */
	for (int i = 0; i < 5 && costs >= 100; i++) {
		costs = cpu_ms_of(ctl.pid);
		poll(NULL, 0, 1000);
		costs = cpu_ms_of(ctl.pid) - costs;
	}
	ck_assert_uint_lt(costs, 100);
	kill(ctl.pid, SIGKILL);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), -SIGKILL);
}
END_TEST

START_TEST(connect_ends_with_its_reader)
{
	struct sock *s = connected(CONNECT());

	close(ctl.out);
	ctl.out = -1;
	ck_assert(sock_send(s, "to nobody", 9));
	ck_assert_int_eq(ctl_finish(&ctl, &vm), -SIGPIPE);
}
END_TEST

START_TEST(connect_refused)
{
	ck_assert_int_eq(ctl_run(&ctl, &vm, CONNECT()), 3);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "nobody listens there"));
	ck_assert_str_eq(ctl.said, "");
}
END_TEST

/* The guest neither accepts nor refuses. */
START_TEST(connect_times_out)
{
	int64_t began = now_ms();

	driver_keep_packets(&vm);
	ck_assert_int_eq(ctl_run(&ctl, &vm, CONNECT("--timeout", "0.4")), 4);
	ck_assert_int_ge(now_ms() - began, 400);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "no answer in time"));
	vm.input = sock_input;
}
END_TEST

START_TEST(connect_without_a_daemon)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/none", vhd.dir);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("connect", path, "1")), 5);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "there is no such socket"));
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	ck_assert_int_eq(ctl_run(&ctl, NULL, ARGS("connect", path, "1")), 5);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "nobody listens"));
}
END_TEST

static const char *const odd_answers[] = {
	"HTTP/1.1 400 Bad Request\r\n", "OK \n", "OK x\n", "OK 1\x1b[2J\n", "ok 1234\n", "\n",
	"OK 123456789012345678901234567890\n", "OK 12",
};

/* Somebody else's socket: nothing of what it says is shown. */
START_TEST(connect_to_another_program)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s/odd", vhd.dir);
	must(bind(listener, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(listener, 1) == 0);
	ctl_start(&ctl, ARGS("connect", addr.sun_path, "1234"), -1, -1);
	fd = host_accept(listener);
	ck_assert(host_write(fd, odd_answers[_i], strlen(odd_answers[_i])));
	shutdown(fd, SHUT_WR);
	ck_assert_int_eq(ctl_finish(&ctl, NULL), 3);
	ck_assert_str_eq(ctl.said, "");
	ck_assert_ptr_null(strchr(ctl.complained, '\x1b'));
	close(fd);
	close(listener);
}
END_TEST

/* ---- messages ---- */

START_TEST(connect_keeps_messages)
{
	static uint8_t bytes[300000], got[300000];
	struct sock *s;
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, PORT);
	ctl_start(&ctl, CONNECT("--seqpacket"), ends[1], ends[1]);
	close(ends[1]);
	s = sock_accept(&vm, PORT);
	ck_assert(host_send_message(ends[0], "one", 3));
	ck_assert(host_send_message(ends[0], "three", 5));
	ck_assert_int_eq(sock_recv_msg(s, got, sizeof got, NULL, DEADLINE_MS), 3);
	ck_assert_int_eq(sock_recv_msg(s, got, sizeof got, NULL, DEADLINE_MS), 5);
	ck_assert_mem_eq(got, "three", 5);
	pattern_fill(bytes, sizeof bytes, 0, 5);
	ck_assert(sock_send_msg(s, "", 0, 0));
	ck_assert(sock_send_msg(s, bytes, 100000, 0));
	ck_assert(sock_send_msg(s, "last", 4, 0));
	driver_flush(&vm);
	{
		const int yes = 1;

		must(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
	}
	ck_assert_int_eq(recv(ends[0], got, sizeof got, 0), 0);
	ck_assert_int_eq(recv(ends[0], got, sizeof got, 0), 100000);
	ck_assert_uint_eq(pattern_check(got, 100000, 0, 5), 100000);
	ck_assert_int_eq(recv(ends[0], got, sizeof got, 0), 4);
	shutdown(ends[0], SHUT_WR);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	sock_close(s);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	close(ends[0]);
}
END_TEST

/* ---- ssh's ---- */

static int take_fd(int sock)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *c;
	int fd = -1;

	ck_assert_int_eq(recvmsg(sock, &mh, MSG_CMSG_CLOEXEC), 1);
	c = CMSG_FIRSTHDR(&mh);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(c->cmsg_type, SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

START_TEST(connect_passes_its_descriptor)
{
	struct pair p;
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	sock_listen(&vm, PORT);
	ctl_start(&ctl, CONNECT("--fdpass"), -1, ends[1]);
	p.guest = sock_accept(&vm, PORT);
	ck_assert(sock_send(p.guest, "SSH-2.0-guest\r\n", 15));	/* not a byte is lost */
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	p.host = take_fd(ends[0]);
	{
		char got[16] = "";
		struct timeval tv;
		socklen_t len = sizeof tv;

		ck_assert_uint_eq(host_read(p.host, got, 15), 15);
		ck_assert_str_eq(got, "SSH-2.0-guest\r\n");
		ck_assert_int_eq(fcntl(p.host, F_GETFL) & O_NONBLOCK, 0);
		must(getsockopt(p.host, SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0);
		ck_assert(!tv.tv_sec && !tv.tv_usec);
	}
	e2e_check_talks(p);
	e2e_close(p);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

START_TEST(fdpass_needs_a_socket)
{
	sock_listen(&vm, PORT);
	ck_assert_int_eq(ctl_run(&ctl, &vm, CONNECT("--fdpass")), 1);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "ProxyUseFdpass"));
}
END_TEST

/* ---- listen ---- */

static void host_socket(char path[128])
{
	snprintf(path, 128, "%s_%s", vhd.uds, port_text());
}

static void wait_listening(const char *path)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!e2e_count_listed(path)) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 5);
	}
}

START_TEST(listen_takes_one_connection)
{
	char path[128], got[8] = "";
	struct sock *s;
	struct stat st;

	host_socket(path);
	ctl_start(&ctl, LISTEN(), -1, -1);
	wait_listening(path);
	must(stat(path, &st) == 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	s = sock_connect(&vm, PORT);
	ck_assert(sock_send(s, "hello", 5));
	ctl_wait_said(&ctl, &vm, "hello");
	ck_assert(access(path, F_OK) < 0);
	write_in("answer", 6);
	ck_assert_uint_eq(sock_recv_full(s, got, 6), 6);
	ctl_end_input(&ctl);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	sock_close(s);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert_str_eq(ctl.said, "hello");
}
END_TEST

START_TEST(listen_keeps_listening)
{
	char path[128], text[32];
	struct sock *s;
	struct stat st;

	host_socket(path);
	ctl_start(&ctl, LISTEN("--keep", "--mode=0666"), -1, -1);
	wait_listening(path);
	must(stat(path, &st) == 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	for (int i = 0; i < 3; i++) {
		s = sock_connect(&vm, PORT);
		snprintf(text, sizeof text, "line %d\n", i);
		ck_assert(sock_send(s, text, strlen(text)));
		sock_shutdown(s, VSOCK_SHUTDOWN_SEND);
		ctl_wait_said(&ctl, &vm, text);
		ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		sock_close(s);
	}
	kill(ctl.pid, SIGTERM);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), -SIGTERM);
	ck_assert_str_eq(ctl.said, "line 0\nline 1\nline 2\n");
	ck_assert(access(path, F_OK) < 0);
}
END_TEST

START_TEST(listen_at_a_socket_in_use)
{
	char path[128];
	int listener = host_listen(vhd.uds, PORT, 1);

	host_socket(path);
	ck_assert_int_eq(ctl_run(&ctl, NULL, LISTEN()), 3);
	ck_assert_ptr_nonnull(strstr(ctl.complained, path));
	close(listener);				/* its file stays: stale */
	ctl_start(&ctl, LISTEN(), -1, -1);
	wait_listening(path);
	kill(ctl.pid, SIGINT);
	ck_assert_int_eq(ctl_finish(&ctl, NULL), -SIGINT);
	ck_assert(access(path, F_OK) < 0);
}
END_TEST

/* ---- wait ---- */

START_TEST(wait_for_a_listener_that_is_there)
{
	struct sock *s;

	sock_listen(&vm, PORT);
	ck_assert_int_eq(ctl_run(&ctl, &vm, WAIT()), 0);
	s = sock_accept(&vm, PORT);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	sock_close(s);
}
END_TEST

START_TEST(wait_for_a_listener_to_come)
{
	int64_t began;

	ctl_start(&ctl, WAIT("--timeout", "20"), -1, -1);
	for (int64_t end = deadline_in(700); deadline_left(end); )
		driver_wait(&vm, end, false);
	ck_assert_int_eq(waitpid(ctl.pid, NULL, WNOHANG), 0);
	sock_listen(&vm, PORT);
	began = now_ms();
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
	ck_assert_int_lt(now_ms() - began, IS_SANITIZED ? DEADLINE_MS : 3000);
	ck_assert_str_eq(ctl.complained, "");
}
END_TEST

/* First the daemon, then the VM, then the listener. */
START_TEST(wait_from_the_very_beginning)
{
	ctl_start(&ctl, WAIT(), -1, -1);
	poll(NULL, 0, 200);
	e2e_start(NULL, NULL);
	for (int64_t end = deadline_in(200); deadline_left(end); )
		driver_wait(&vm, end, false);
	sock_listen(&vm, PORT);
	ck_assert_int_eq(ctl_finish(&ctl, &vm), 0);
}
END_TEST

START_TEST(wait_until_the_time_is_over)
{
	int64_t began = now_ms();

	ck_assert_int_eq(ctl_run(&ctl, &vm, WAIT("-t", "0.5")), 4);
	ck_assert_int_ge(now_ms() - began, 500);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "nobody listens there"));
	driver_keep_packets(&vm);			/* a guest that says nothing */
	ck_assert_int_eq(ctl_run(&ctl, &vm, WAIT("-t", "0.5")), 4);
	ck_assert_ptr_nonnull(strstr(ctl.complained, "no answer in time"));
	vm.input = sock_input;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsockctl");
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 90);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);

	tcase_add_test(tc, connect_talks_and_half_closes);
	tcase_add_test(tc, connect_guest_half_closes);
	tcase_add_test(tc, connect_ends_when_the_guest_closes);
	tcase_add_test(tc, connect_says_that_input_was_lost);
	tcase_add_test(tc, connect_moves_bulk_both_ways);
	tcase_add_test(tc, connect_stands_still_without_spinning);
	tcase_add_test(tc, connect_ends_with_its_reader);
	tcase_add_test(tc, connect_refused);
	tcase_add_test(tc, connect_times_out);
	tcase_add_test(tc, connect_keeps_messages);
	tcase_add_test(tc, connect_passes_its_descriptor);
	tcase_add_test(tc, fdpass_needs_a_socket);
	tcase_add_test(tc, listen_takes_one_connection);
	tcase_add_test(tc, listen_keeps_listening);
	tcase_add_test(tc, listen_at_a_socket_in_use);
	tcase_add_test(tc, wait_for_a_listener_that_is_there);
	tcase_add_test(tc, wait_for_a_listener_to_come);
	tcase_add_test(tc, wait_until_the_time_is_over);
	tcase_add_test(bare, connect_without_a_daemon);
	tcase_add_loop_test(bare, connect_to_another_program, 0,
			    (int)(sizeof odd_answers / sizeof *odd_answers));
	tcase_add_test(bare, wait_from_the_very_beginning);
	return e2e_run(s);
}
