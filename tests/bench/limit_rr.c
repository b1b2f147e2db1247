/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits of a round trip: a relay that only wakes up and forwards. What a
 * guest does with rings is here an eventfd each way; what the host program does
 * is the same.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/rr.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"

struct relay {
	int kick, call;				/* eventfds */
	int sock;				/* towards the host program */
	int stop;
	size_t size;
	pthread_t thread;
};

static void watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	must(write(fd, &one, sizeof one) == sizeof one);
}

static void take_signal(int fd)
{
	uint64_t n;

	must(read(fd, &n, sizeof n) == sizeof n);
}

static void *relay(void *arg)
{
	struct relay *l = arg;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint8_t *buffer = calloc(1, l->size);
	struct epoll_event e;
	size_t done = 0;
	ssize_t n;

	must(epoll >= 0 && buffer);
	watch(epoll, l->kick);
	watch(epoll, l->sock);
	watch(epoll, l->stop);
	for (;;) {
		if (epoll_wait(epoll, &e, 1, -1) != 1)
			continue;
		if (e.data.fd == l->stop)
			break;
		if (e.data.fd == l->kick) {
			take_signal(l->kick);
			must(host_write(l->sock, buffer, l->size));
			continue;
		}
		n = read(l->sock, buffer + done, l->size - done);
		must(n > 0);
		done += (size_t)n;
		if (done == l->size) {
			done = 0;
			signal_fd(l->call);
		}
	}
	close(epoll);
	free(buffer);
	return NULL;
}

static void relay_once(void *arg, uint64_t number)
{
	struct relay *l = arg;

	(void)number;
	signal_fd(l->kick);
	must(deadline_poll(l->call, POLLIN, deadline_in(DEADLINE_MS)));
	take_signal(l->call);
}

static int eventfd_new(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	must(fd >= 0);
	return fd;
}

void run_relay_rr(struct run *r)
{
	struct relay l = {
		.kick = eventfd_new(), .call = eventfd_new(), .stop = eventfd_new(),
		.size = r->what->size,
	};
	struct echo e = { .size = r->what->size };
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	l.sock = fds[0];
	e.fd = fds[1];
	echo_start(&e);
	must(pthread_create(&l.thread, NULL, relay, &l) == 0);
	rr_measure(r, relay_once, &l);
	signal_fd(l.stop);
	must(pthread_join(l.thread, NULL) == 0);
	must(shutdown(l.sock, SHUT_WR) == 0);
	echo_join(&e);
	close(fds[0]);
	close(fds[1]);
	close(l.kick);
	close(l.call);
	close(l.stop);
}
