/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several VMs on one daemon: see sibs.h.
 */
#include "e2e/sibs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 16 * 1024 };

struct sib sibs[SIBS_MAX];

enum { EXTRA_MAX = 16 };

void sibs_spawn(unsigned n, const char *const *groups)
{
	sibs_spawn_with(n, groups, NULL);
}

void sibs_name(unsigned i, const char *groups, char *words, size_t size)
{
	struct sib *s = &sibs[i];

	s->cid = 3 + i;
	snprintf(s->socket, sizeof s->socket, "%s/vhost%u.sock", vhd.dir, i);
	snprintf(s->uds, sizeof s->uds, "%s/vm%u.sock", vhd.dir, i);
	snprintf(words, size, "guest-cid=%u,socket=%s,uds-path=%s%s%s", 3 + i, s->socket,
		 s->uds, groups ? ",groups=" : "", groups ? groups : "");
}

void sibs_spawn_with(unsigned n, const char *const *groups, const char *const *extra)
{
	static char words[SIBS_MAX][4096];
	const char *args[2 * SIBS_MAX + EXTRA_MAX + 1] = { NULL };

	for (unsigned i = 0; i < n; i++) {
		sibs_name(i, groups ? groups[i] : NULL, words[i], sizeof words[i]);
		args[2 * i] = "--vm";
		args[2 * i + 1] = words[i];
	}
	for (unsigned i = 0; extra && extra[i]; i++) {
		must(i < EXTRA_MAX);
		args[2 * n + i] = extra[i];
	}
	daemon_spawn(&vhd, args);
	for (unsigned i = 0; i < n; i++)
		if (!daemon_wait_listening(&vhd, sibs[i].socket) ||
		    !daemon_wait_listening(&vhd, sibs[i].uds))
			die("the daemon did not start: %s", daemon_log(&vhd));
}

void sib_up(struct sib *s, const struct driver_options *opt)
{
	struct driver_options own = { 0 };

	if (opt)
		own = *opt;
	own.cid = s->cid;
	driver_up(&s->d, s->socket, &own);
	s->d.next_port = 10000;			/* beyond those that siblings listen on */
}

void sibs_teardown(void)
{
	for (unsigned i = 0; i < SIBS_MAX; i++)
		driver_deinit(&sibs[i].d);
	e2e_teardown();
}

struct sib_pair sibs_connect(struct sib *from, struct sib *to)
{
	struct sib_pair p;

	sock_listen(&to->d, PORT);
	p.from = sock_dial_to(&from->d, to->cid, PORT);
	p.to = sock_accept(&to->d, PORT);
	if (!sock_wait_open(p.from))
		die("the sibling's port is refused");
	ck_assert_uint_eq(p.to->peer_cid, from->cid);
	ck_assert_uint_eq(p.to->peer_port, p.from->port);
	return p;
}

void sibs_check_moves(struct sock *from, struct sock *to, size_t len, uint32_t seed)
{
	uint8_t *bytes = calloc(1, len);

	pattern_fill(bytes, len, 0, seed);
	ck_assert(sock_send(from, bytes, len));
	memset(bytes, 0, len);
	ck_assert_uint_eq(sock_recv_full(to, bytes, len), len);
	ck_assert_uint_eq(pattern_check(bytes, len, 0, seed), len);
	free(bytes);
}

void sibs_check_talks(struct sib_pair p)
{
	sibs_check_moves(p.from, p.to, 5, 1);
	sibs_check_moves(p.to, p.from, 5, 2);
	sibs_check_moves(p.from, p.to, 60000, 3);
	sibs_check_moves(p.to, p.from, 60000, 4);
}

void sibs_close(struct sib_pair p)
{
	ck_assert(sock_close(p.from));
	ck_assert(sock_wait_shutdown(p.to, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(p.to));
}

void sib_check_host(struct sib *s)
{
	struct pair p = e2e_guest_connects(&s->d, s->uds);

	e2e_check_talks(p);
	e2e_close(p);
	p = e2e_host_connects(&s->d, s->uds);
	e2e_check_talks(p);
	e2e_close(p);
}

void sibs_check_alive(struct sib *a, struct sib *b)
{
	for (int i = 0; i < 2; i++) {
		struct sib_pair p = i ? sibs_connect(b, a) : sibs_connect(a, b);

		sibs_check_talks(p);
		sibs_close(p);
	}
	sib_check_host(a);
	sib_check_host(b);
}

uint64_t sibs_fill(struct sock *s, uint32_t seed)
{
	uint8_t bytes[CHUNK];
	uint64_t sent = 0;
	size_t n;

	do {
		pattern_fill(bytes, sizeof bytes, sent, seed);
		n = sock_send_some(s, bytes, sizeof bytes);
		sent += n;
	} while (n || driver_wait(s->d, deadline_in(QUIET_MS), true));
	return sent;
}

uint64_t sibs_drain(struct sock *s, uint32_t seed)
{
	uint8_t bytes[CHUNK];
	uint64_t got = 0;
	ssize_t n;

	while ((n = sock_recv(s, bytes, sizeof bytes, DEADLINE_MS)) > 0) {
		ck_assert_uint_eq(pattern_check(bytes, (size_t)n, got, seed), n);
		got += (uint64_t)n;
	}
	ck_assert_int_eq(n, 0);
	return got;
}

static void *run(void *arg)
{
	struct sib_run *r = arg;

	flow_run(r->d, r->flows, r->n);
	return NULL;
}

void sib_run_start(struct sib_run *r)
{
	must(pthread_create(&r->thread, NULL, run, r) == 0);
}

void sib_run_finish(struct sib_run *r)
{
	must(pthread_join(r->thread, NULL) == 0);
}

struct flow sibs_flow(struct sock *s, uint64_t len, uint32_t send_seed, uint32_t recv_seed)
{
	return (struct flow){ .sock = s, .to_send = len, .to_recv = len,
			      .send_seed = send_seed, .recv_seed = recv_seed };
}

void sib_host_flow_start(struct sib_host_flow *h, struct sib *s, uint64_t len, uint32_t seed)
{
	struct pair p = e2e_guest_connects(&s->d, s->uds);

	h->flow = sibs_flow(p.guest, len, seed, seed + 1);
	h->job = (struct host_job){ .fd = p.host, .to_write = len, .to_read = len,
				    .write_seed = seed + 1, .read_seed = seed };
	host_job_start(&h->job);
}

void sib_host_flow_finish(struct sib_host_flow *h)
{
	ck_assert_msg(host_job_finish(&h->job), "%s", h->job.error);
	close(h->job.fd);
}
