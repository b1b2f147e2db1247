/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand connections of one VM, each with the same amount to move and all at
 * once: the sum beside one connection's rate; fairness, which is the time when
 * the first had all its bytes divided by the time of the last; and the daemon's
 * memory for connections that are idle, and when all is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/flow.h"
#include "bench/observer.h"
#include "bench/stream.h"
#include "support/host.h"
#include "support/must.h"

enum { QUICK_CONNS = 50, MESSAGE = 65536, EVENTS = 64, TURN_EVERY = 4 };

static const double PINNED_RATE = 4.0 * 1024 * 1024 * 1024;	/* bytes, of all, for a second */

struct conn {
	struct sock *s;
	int fd;
	struct check check;			/* of the receiver */
	uint64_t sent;
	int64_t end_ns;				/* 0: not all is there */
};

struct many {
	struct vm *v;
	unsigned n;
	uint64_t amount;			/* of each connection */
	struct conn *conns;
	int epoll;
	double host_cpu_s;			/* of the thread that plays the host programs */
};

static void take(struct many *m, struct conn *c, const uint8_t *data, size_t len)
{
	check_take(&c->check, data, len);
	if (c->check.offset >= m->amount && !c->end_ns)
		c->end_ns = now_ns();
}

static void watch(struct many *m, uint32_t events)
{
	struct epoll_event e = { .events = events };

	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	must(m->epoll >= 0);
	for (unsigned i = 0; i < m->n; i++) {
		e.data.ptr = &m->conns[i];
		must(epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->conns[i].fd, &e) == 0);
	}
}

static unsigned next_events(struct many *m, struct epoll_event *e)
{
	int n;

	do
		n = epoll_wait(m->epoll, e, EVENTS, 20000);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		die("nothing moved for 20 s");
	return (unsigned)n;
}

/* A message at a time, of each connection that takes one. */
static void *host_writes(void *arg)
{
	uint8_t *message = malloc(MESSAGE);
	int64_t cpu = thread_cpu_ns();
	struct many *m = arg;
	struct epoll_event e[EVENTS];
	unsigned left = m->n, n;
	struct conn *c;
	ssize_t sent;

	must(message);
	memcpy(message, check_pattern(), MESSAGE);
	while (left) {
		n = next_events(m, e);
		for (unsigned i = 0; i < n; i++) {
			c = e[i].data.ptr;
			check_stamp(message, MESSAGE, c->sent / MESSAGE);
			sent = send(c->fd, message + c->sent % MESSAGE,
				    MESSAGE - c->sent % MESSAGE, MSG_DONTWAIT);
			must(sent > 0 || errno == EAGAIN);
			c->sent += sent > 0 ? (uint64_t)sent : 0;
			if (c->sent == m->amount) {
				must(epoll_ctl(m->epoll, EPOLL_CTL_DEL, c->fd, NULL) == 0);
				left--;
			}
		}
	}
	free(message);
	m->host_cpu_s = (double)(thread_cpu_ns() - cpu) / 1e9;
	return NULL;
}

static void *host_reads(void *arg)
{
	uint8_t *buffer = malloc(STREAM_READ_MAX);
	int64_t cpu = thread_cpu_ns();
	struct many *m = arg;
	struct epoll_event e[EVENTS];
	unsigned left = m->n, n;
	struct conn *c;
	ssize_t got;

	must(buffer);
	while (left) {
		n = next_events(m, e);
		for (unsigned i = 0; i < n; i++) {
			c = e[i].data.ptr;
			got = read(c->fd, buffer, STREAM_READ_MAX);
			must(got > 0);
			take(m, c, buffer, (size_t)got);
			if (c->end_ns) {
				must(epoll_ctl(m->epoll, EPOLL_CTL_DEL, c->fd, NULL) == 0);
				left--;
			}
		}
	}
	free(buffer);
	m->host_cpu_s = (double)(thread_cpu_ns() - cpu) / 1e9;
	return NULL;
}

static struct many *current;

static void on_data(struct sock *s, const uint8_t *data, size_t len)
{
	take(current, s->arg, data, len);
}

static void guest_reads(struct many *m)
{
	for (unsigned i = 0; i < m->n; i++)
		while (!m->conns[i].end_ns)
			vm_wait(m->v);
}

/* In turn, as a guest's programs do together: a full ring makes all of them
 * wait, and then the next one goes on, not the first. */
static void guest_writes(struct many *m)
{
	unsigned left = m->n, n = 0, quiet = 0;
	struct conn *c;

	for (unsigned i = 0; left; i = (i + 1) % m->n) {
		while (!driver_can_send(&m->v->d))
			vm_wait(m->v);
		c = &m->conns[i];
		if (c->sent == m->amount ||
		    !vm_send_one(m->v, c->s, MESSAGE, c->sent / MESSAGE)) {
			if (++quiet == m->n) {	/* nobody has credit */
				vm_wait(m->v);
				quiet = 0;
			}
			continue;
		}
		quiet = 0;
		c->sent += MESSAGE;
		left -= c->sent == m->amount;
		if (++n % TURN_EVERY == 0)	/* used slots again while warm */
			driver_turn(&m->v->d);
	}
}

static void connect_all(struct many *m, bool checks_all, bool to_guest)
{
	struct sock **socks = calloc(m->n, sizeof *socks);
	int *fds = calloc(m->n, sizeof *fds);

	must(socks && fds);
	vm_connect_many(m->v, m->n, socks, fds);
	for (unsigned i = 0; i < m->n; i++) {
		m->conns[i] = (struct conn){
			.s = socks[i], .fd = fds[i],
			.check = { .size = MESSAGE, .all = checks_all },
		};
		if (to_guest) {
			socks[i]->arg = &m->conns[i];
			socks[i]->sink = on_data;
		}
	}
	free(socks);
	free(fds);
}

static double fairness(const struct many *m, int64_t start, int64_t *end)
{
	int64_t min = INT64_MAX, max = 0, at;

	for (unsigned i = 0; i < m->n; i++) {
		at = m->conns[i].end_ns;
		flow_expect_equal(m->amount, m->conns[i].check.offset);
		min = at < min ? at : min;
		max = at > max ? at : max;
	}
	*end = max;
	return (double)(min - start) / (double)(max - start);
}

static void move_all(struct run *r, struct many *m, bool to_guest)
{
	int64_t start, end;
	pthread_t host;
	double fair;

	watch(m, to_guest ? EPOLLOUT : EPOLLIN);
	start = now_ns();
	must(pthread_create(&host, NULL, to_guest ? host_writes : host_reads, m) == 0);
	if (to_guest)
		guest_reads(m);
	else
		guest_writes(m);
	must(pthread_join(host, NULL) == 0);
	fair = fairness(m, start, &end);
	r->out->value = flow_rate(m->amount * m->n, start, end);
	figure_add(r->out, "first/last", fair);
	cost_of_thread(r, "host", m->host_cpu_s, m->amount * m->n);
	close(m->epoll);
}

static unsigned count_of(const struct run *r, unsigned wanted)
{
	return r->is_quick && wanted > QUICK_CONNS ? QUICK_CONNS : wanted;
}

/* On one CPU it is the sum of all costs that is compared: that of the same amount, however many
 * share it. */
static struct many new_many(const struct run *r)
{
	struct many m = { .n = count_of(r, r->what->count) };
	double messages = r->what->is_pinned && !r->is_quick ?
		r->seconds * PINNED_RATE / MESSAGE / m.n : r->seconds * 32;

	m.amount = ((uint64_t)messages + 1) * MESSAGE;
	m.conns = calloc(m.n, sizeof *m.conns);
	must(m.conns);
	return m;
}

/* Others beside @m, which have nothing to say. */
static struct many connect_idle(const struct many *m, unsigned n)
{
	struct many idle = { .v = m->v, .n = n };

	if (!n)
		return idle;
	idle.conns = calloc(n, sizeof *idle.conns);
	must(idle.conns);
	connect_all(&idle, false, false);
	return idle;
}

static void close_all(struct many *m)
{
	for (unsigned i = 0; i < m->n; i++)
		close(m->conns[i].fd);
	free(m->conns);
}

static void measure(struct run *r, struct many *m, struct host *h, bool to_guest)
{
	struct cost cost;
	uint64_t idle = 0;

	if (!h->has_kernel)
		idle = cost_anon_bytes(&h->daemon);
	cost_start(&cost, r, h);
	move_all(r, m, to_guest);
	cost_stop_bytes(&cost, r, m->amount * m->n);
	if (!h->has_kernel)
		figure_add(r->out, "drained +KiB", ((double)cost_anon_bytes(&h->daemon) -
						    (double)idle) / 1024);
}

static void many_up(struct many *m, struct many *idle, struct host *h, const struct run *r,
		    bool to_guest)
{
	*m = new_many(r);
	current = m;
	host_up(h, r, 1);
	m->v = &h->vms[0];
	*idle = connect_idle(m, count_of(r, r->what->n_idle));
	connect_all(m, r->is_quick, to_guest);
}

static void many_down(struct many *m, struct many *idle, struct host *h)
{
	close_all(m);
	close_all(idle);
	host_down(h);
}

static void run_direction(struct run *r, bool to_guest)
{
	struct many m, idle;
	struct host h;

	many_up(&m, &idle, &h, r, to_guest);
	measure(r, &m, &h, to_guest);
	many_down(&m, &idle, &h);
}

/* Raw unix streams that say nothing: the other ends are with a process of their own, as
 * descriptors may be few. */
static pid_t connect_idle_raw(unsigned n, int epoll)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	const char *dir = getenv("TMPDIR");
	char path[96], full[108];
	int listener, fd;
	pid_t pid;

	snprintf(path, sizeof path, "%.80s/raw", dir ? dir : "/tmp");
	snprintf(full, sizeof full, "%s_1", path);
	listener = host_listen(path, 1, 16);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (n--)
			must(host_connect(full) >= 0);
		pause();
		_exit(0);
	}
	while (n--) {
		fd = host_accept(listener);
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0);
	}
	host_unlisten(listener, path, 1);
	return pid;
}

struct raw {					/* connections without a daemon */
	struct many from, to;			/* their ends */
	pid_t idle;				/* has other ends; 0: nobody */
};

static void raw_up(struct raw *raw, const struct run *r)
{
	raw->from = new_many(r);
	raw->to = new_many(r);
	raw->idle = 0;
	for (unsigned i = 0; i < raw->from.n; i++) {
		int pair[2];

		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
		raw->from.conns[i].fd = pair[0];
		raw->to.conns[i].fd = pair[1];
		raw->to.conns[i].check = (struct check){ .size = MESSAGE, .all = r->is_quick };
	}
	watch(&raw->from, EPOLLOUT);
	watch(&raw->to, EPOLLIN);
	if (r->what->n_idle)
		raw->idle = connect_idle_raw(count_of(r, r->what->n_idle), raw->from.epoll);
}

/* All that is there is written by one thread and read by another. MiB/s. */
static double raw_move(struct raw *raw, double *fair)
{
	int64_t start = now_ns(), end;
	pthread_t writer;

	must(pthread_create(&writer, NULL, host_writes, &raw->from) == 0);
	host_reads(&raw->to);
	must(pthread_join(writer, NULL) == 0);
	*fair = fairness(&raw->to, start, &end);
	return flow_rate(raw->to.amount * raw->to.n, start, end);
}

static void raw_down(struct raw *raw)
{
	close_all(&raw->from);
	close_all(&raw->to);
	close(raw->from.epoll);
	close(raw->to.epoll);
	if (raw->idle) {
		must(kill(raw->idle, SIGKILL) == 0);
		must(waitpid(raw->idle, NULL, 0) == raw->idle);
	}
}

void run_uds_many(struct run *r)
{
	struct raw raw;
	uint64_t bytes;
	double fair;

	raw_up(&raw, r);
	bytes = raw.to.amount * raw.to.n;
	r->out->value = raw_move(&raw, &fair);
	figure_add(r->out, "first/last", fair);
	cost_of_thread(r, "writer", raw.from.host_cpu_s, bytes);
	cost_of_thread(r, "reader", raw.to.host_cpu_s, bytes);
	raw_down(&raw);
}

/* A figure beside ours: what raw streams lose by others that are idle. */
static void measure_raw(struct run *r)
{
	struct raw raw;
	double fair;

	raw_up(&raw, r);
	figure_add(r->out, "raw MiB/s", raw_move(&raw, &fair));
	cost_of_thread(r, "raw", raw.from.host_cpu_s + raw.to.host_cpu_s,
		       raw.to.amount * raw.to.n);
	raw_down(&raw);
}

void run_many(struct run *r)
{
	run_direction(r, false);
	if (r->what->is_pinned && !r->counts_syscalls)
		measure_raw(r);
}

void run_many_to_guest(struct run *r)
{
	run_direction(r, true);
}

/* How long the turns of the device are meanwhile, each way. */
void run_many_turns(struct run *r)
{
	static const char *const names[] = { "to host p99.9 us", "to guest p99.9 us" };
	struct measure other = { .n_figures = 0 };	/* the rate is none of this row's business */
	struct run traffic = *r;

	traffic.out = &other;
	for (int to_guest = 0; to_guest < 2; to_guest++) {
		struct observer_turns before, after;
		struct many m, idle;
		struct host h;
		double us;

		many_up(&m, &idle, &h, r, to_guest);
		observer_get_turns(h.api, &before);
		move_all(&traffic, &m, to_guest);
		observer_get_turns(h.api, &after);
		us = observer_turns_us(&before, &after, 0.999);
		figure_add(r->out, names[to_guest], us);
		r->out->value = us > r->out->value ? us : r->out->value;
		many_down(&m, &idle, &h);
	}
	figure_add(r->out, "p99.9 us", r->out->value);
}

void run_many_idle(struct run *r)
{
	struct many m = { .n = r->is_quick ? QUICK_CONNS : r->what->count };
	uint64_t before;
	struct host h;

	m.conns = calloc(m.n, sizeof *m.conns);
	must(m.conns);
	host_up(&h, r, 1);
	m.v = &h.vms[0];
	before = cost_anon_bytes(&h.daemon);
	connect_all(&m, false, false);
	r->out->value = ((double)cost_anon_bytes(&h.daemon) - (double)before) / m.n;
	figure_add(r->out, "idle B/conn", r->out->value);
	close_all(&m);
	host_down(&h);
}
