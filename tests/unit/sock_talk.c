/* SPDX-License-Identifier: BSD-3-Clause */
#include "sock_talk.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "unit.h"
#include "util/fd.h"

struct mux mux;
struct loop *loop;
struct sock_stream s;
int peer, n_cpus;

/* In the place of libc's: this process may use @n_cpus, whatever this machine has. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	ck_assert_int_eq(pid, 0);
	ck_assert_int_gt(n_cpus, 0);
	memset(set, 0, size);
	for (int cpu = 0; cpu < n_cpus; cpu++)
		CPU_SET_S(cpu, size, set);
	return 0;
}

void mux_stream_ready(struct mux *m, struct stream *stream, uint64_t now_ms)
{
	ck_assert_ptr_eq(stream, &s.base);
	ck_assert_uint_eq(now_ms, loop_now_ms(loop));
	m->n_ready++;
}

static bool is_closed(struct sock_stream *stream, uint32_t events)
{
	(void)stream;
	(void)events;
	return false;
}

static void on_close(struct sock_stream *stream)
{
	sock_stream_drop_unread(stream);
	sock_stream_deinit(stream);
}

const struct sock_kind kind = {
	.short_read_empties = true, .is_closed = is_closed, .close = on_close,
};

void begin_talk(void)
{
	int socks[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
	peer = socks[1];
	sock_stream_init(&s, &kind, VSOCK_TYPE_STREAM, loop, &mux, socks[0]);
	ck_assert_int_eq(sock_stream_register(&s, false), 0);
	sock_stream_go_live(&s, true);
	s.may_leave = true;
}

void close_stream(void)
{
	s.base.ops->close(&s.base, true);
}

void end_talk(void)
{
	fd_close(&peer);
	loop_free(loop);
}

int n_left(void)
{
	int n;

	ck_assert_int_eq(ioctl(s.fd, SIOCINQ, &n), 0);
	return n;
}

bool is_left(void)
{
	return n_left() > 0;
}

void peer_writes(const char *text)
{
	ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

void expect(const char *text)
{
	char got[100];
	struct iovec v[2] = { { got, 4 }, { got + 4, sizeof got - 4 } };
	size_t n;

	ck_assert_int_eq(s.base.ops->read(&s.base, v, 2, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, n);
}

void ask(void)
{
	char question[] = "question", got[sizeof question];
	size_t n;

	ck_assert_int_eq(s.base.ops->write(&s.base, &(struct iovec){ question, 8 }, 1, &n), 0);
	ck_assert_uint_eq(n, 8);
	ck_assert_int_eq(read(peer, got, sizeof got), 8);
}

void talk(int turns)
{
	char answer[32];

	for (int i = 0; i < turns; i++) {
		ask();
		snprintf(answer, sizeof answer, "answer%02d", i);
		peer_writes(answer);
		expect(answer);
	}
}
