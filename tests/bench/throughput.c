/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput of the real daemon with writes of 64 KiB, guest to host and host to
 * guest, beside two threads on a plain unix stream socket in the same run: the
 * physical limit of the host side. Rounds alternate; the median counts.
 *
 * The guest is the scripted driver with Linux's habits: queues of 128, RX
 * buffers of one 4 KiB descriptor, EVENT_IDX, 256 KiB of credit. What it sends
 * lies in its TX slots already, and what it receives it only counts, as a raw
 * writer and reader do. Every byte is counted.
 *
 *   throughput [--quick]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/daemon.h"
#include "support/deadline.h"
#include "support/driver.h"
#include "support/host.h"
#include "support/must.h"
#include "support/sock.h"

enum { WRITE = 64 * 1024, PORT = 5000, ROUNDS_MAX = 5 };

static uint8_t out[WRITE];

struct end {					/* one program's part */
	int fd;
	uint64_t bytes;
};

static void *write_all(void *arg)
{
	struct end *e = arg;

	for (uint64_t done = 0; done < e->bytes; done += WRITE)
		must(send(e->fd, out, WRITE, MSG_NOSIGNAL) == WRITE);
	return NULL;
}

static void *read_all(void *arg)
{
	static uint8_t in[WRITE];
	struct end *e = arg;
	ssize_t n;

	for (uint64_t done = 0; done < e->bytes; done += (uint64_t)n) {
		n = recv(e->fd, in, sizeof in, 0);
		must(n > 0);
	}
	return NULL;
}

static double rate(uint64_t bytes, int64_t start_us)
{
	return (double)bytes / (1 << 20) / ((double)(now_us() - start_us) / 1e6);
}

static double run_raw(uint64_t bytes)
{
	struct end w = { .bytes = bytes }, r = { .bytes = bytes };
	pthread_t thread;
	int64_t start;
	double result;
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	w.fd = pair[0];
	r.fd = pair[1];
	start = now_us();
	must(pthread_create(&thread, NULL, read_all, &r) == 0);
	write_all(&w);
	must(pthread_join(thread, NULL) == 0);
	result = rate(bytes, start);
	close(pair[0]);
	close(pair[1]);
	return result;
}

static void sink(struct sock *s, const uint8_t *data, size_t len)
{
	(void)s, (void)data, (void)len;		/* sock.c counts */
}

static struct sock *open_pair(struct driver *vm, const char *uds, int *host)
{
	int listener = host_listen(uds, PORT, 4);
	struct sock *s = sock_connect(vm, PORT);

	*host = host_accept(listener);
	host_unlisten(listener, uds, PORT);
	return s;
}

static double run_to_host(struct driver *vm, const char *uds, uint64_t bytes)
{
	struct end r = { .bytes = bytes };
	struct sock *s = open_pair(vm, uds, &r.fd);
	pthread_t thread;
	int64_t start = now_us();
	double result;

	must(pthread_create(&thread, NULL, read_all, &r) == 0);
	for (uint64_t done = 0; done < bytes; done += WRITE)
		must(sock_send(s, NULL, WRITE));
	must(pthread_join(thread, NULL) == 0);
	result = rate(bytes, start);
	close(r.fd);
	must(sock_close(s));
	return result;
}

static double run_to_guest(struct driver *vm, const char *uds, uint64_t bytes)
{
	struct end w = { .bytes = bytes };
	struct sock *s = open_pair(vm, uds, &w.fd);
	pthread_t thread;
	int64_t start = now_us();
	double result;

	s->sink = sink;
	must(pthread_create(&thread, NULL, write_all, &w) == 0);
	while (s->total < bytes)
		must(driver_wait(vm, deadline_in(DEADLINE_MS), false));
	must(pthread_join(thread, NULL) == 0);
	result = rate(bytes, start);
	must(s->total == bytes);
	close(w.fd);
	must(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	must(sock_close(s));
	return result;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const char *name, double *rates, unsigned n, double raw)
{
	qsort(rates, n, sizeof *rates, compare);
	printf("%-16s %8.0f MiB/s  (min %.0f, max %.0f)", name, rates[n / 2], rates[0],
	       rates[n - 1]);
	if (raw > 0)
		printf("  %.2f x raw", rates[n / 2] / raw);
	printf("\n");
}

int main(int argc, char **argv)
{
	static const char *const extra[] = { "--tx-buffer-size", "262144", NULL };
	bool is_quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	uint64_t bytes = (uint64_t)(is_quick ? 16 : 1024) << 20;
	unsigned n = is_quick ? 1 : ROUNDS_MAX;
	double raw[ROUNDS_MAX], to_host[ROUNDS_MAX], to_guest[ROUNDS_MAX];
	struct daemon daemon;
	struct driver vm;

	daemon_init(&daemon);
	daemon_start(&daemon, extra);
	driver_up(&vm, daemon.socket, NULL);
	for (unsigned i = 0; i < n; i++) {
		raw[i] = run_raw(bytes);
		to_host[i] = run_to_host(&vm, daemon.uds, bytes);
		to_guest[i] = run_to_guest(&vm, daemon.uds, bytes);
	}
	report("raw unix socket", raw, n, 0);
	report("guest to host", to_host, n, raw[n / 2]);
	report("host to guest", to_guest, n, raw[n / 2]);
	must(daemon_stop(&daemon, DEADLINE_MS) == 0);
	driver_deinit(&vm);
	daemon_deinit(&daemon);
	return 0;
}
