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
	struct echo e = { .size = r->what->size, .waits_in_epoll = r->what->waits_in_epoll };
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

struct relay_pair {				/* of two guests */
	int kick[2], call[2];			/* eventfds by guest */
	int stop;
};

static void *relay_between(void *arg)
{
	struct relay_pair *l = arg;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e;

	must(epoll >= 0);
	watch(epoll, l->kick[0]);
	watch(epoll, l->kick[1]);
	watch(epoll, l->stop);
	for (;;) {
		if (epoll_wait(epoll, &e, 1, -1) != 1)
			continue;
		if (e.data.fd == l->stop)
			break;
		take_signal(e.data.fd);
		signal_fd(l->call[e.data.fd == l->kick[0]]);
	}
	close(epoll);
	return NULL;
}

static void *answer(void *arg)
{
	struct relay_pair *l = arg;
	struct pollfd p[2] = {
		{ .fd = l->call[1], .events = POLLIN },
		{ .fd = l->stop, .events = POLLIN },
	};

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		take_signal(l->call[1]);
		signal_fd(l->kick[1]);
	}
	return NULL;
}

static void pair_once(void *arg, uint64_t number)
{
	struct relay_pair *l = arg;

	(void)number;
	signal_fd(l->kick[0]);
	must(deadline_poll(l->call[0], POLLIN, deadline_in(DEADLINE_MS)));
	take_signal(l->call[0]);
}

void run_relay_sibling_rr(struct run *r)
{
	struct relay_pair l = { .stop = eventfd_new() };
	pthread_t threads[2];

	for (unsigned i = 0; i < 2; i++) {
		l.kick[i] = eventfd_new();
		l.call[i] = eventfd_new();
	}
	must(pthread_create(&threads[0], NULL, relay_between, &l) == 0);
	must(pthread_create(&threads[1], NULL, answer, &l) == 0);
	rr_measure(r, pair_once, &l);
	signal_fd(l.stop);
	for (unsigned i = 0; i < 2; i++) {
		must(pthread_join(threads[i], NULL) == 0);
		close(l.kick[i]);
		close(l.call[i]);
	}
	close(l.stop);
}
