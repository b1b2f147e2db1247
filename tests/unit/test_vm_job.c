/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMs that come, change and go while workers serve others: nothing of them is left, and the
 * others lose nothing. (To be run with the thread sanitizer, too.)
 */
#include "daemon/vm_job.h"

#include <fcntl.h>
#include <malloc.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/sibling.h"
#include "config/plan.h"
#include "daemon/vm.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/scratch.h"
#include "support/sock.h"
#include "unit.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "vhost/gmem.h"
#include "workers.h"

enum {
	WORKERS = 2, PORT = 80, STAYS = 3, GOES = 4, ROUNDS = 1000, WARM_ROUNDS = 100,
	LEAK_MAX = 16 * 1024,			/* of all rounds together: noise of malloc's caches */
};

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

struct served {					/* one VM, and who plays its guest */
	struct vm vm;
	struct vm_plan row;
	struct sibling_entry *entry;
	struct driver guest;
	bool has_guest;
};

static char group[] = "group", other_group[] = "other";
static char *groups[] = { group }, *other_groups[] = { other_group };
static struct plan plan;
static struct worker *workers[WORKERS];
static struct sibling_dir *dir;
static struct served stays, goes;
static _Atomic int n_came, n_gone;

/* ---- jobs ---- */

struct wait {
	struct vm_job job;
	sem_t is_done;
	_Atomic int result;			/* tells the thread sanitizer, too, who was first */
};

static void on_done(struct vm_job *job, int result)
{
	struct wait *w = container_of(job, struct wait, job);

	w->result = result;
	sem_post(&w->is_done);
}

static void wait_init(struct wait *w)
{
	w->job.done = on_done;
	w->job.mail = (struct mail){ .deliver = NULL };
	w->result = 1;
	ck_assert_int_eq(sem_init(&w->is_done, 0, 0), 0);
}

static int wait_for(struct wait *w)
{
	int64_t at = deadline_in(DEADLINE_MS);
	const struct timespec until = { at / 1000, at % 1000 * 1000000 };

	ck_assert_int_eq(sem_clockwait(&w->is_done, CLOCK_MONOTONIC, &until), 0);
	sem_destroy(&w->is_done);
	return w->result;
}

static void on_came(uint64_t cid)
{
	ck_assert(cid == STAYS || cid == GOES);
	n_came++;
}

static int watched_host = -1;			/* the other end of a connection of GOES */
static bool was_closed;				/* when its front-end had gone */

static void on_gone(uint64_t cid)
{
	ck_assert(cid == STAYS || cid == GOES);
	if (cid == GOES && watched_host >= 0)
		was_closed = host_is_closed(watched_host, 0);
	n_gone++;
}

static void on_over(uint64_t cid)
{
	ck_abort_msg("%d", (int)cid);
}

static const struct device_hooks hooks = { .came = on_came, .gone = on_gone, .over = on_over };

static void on_failed(void)
{
	ck_abort_msg("a worker has failed");
}

/* ---- VMs ---- */

static char *make_path(uint64_t cid, const char *what)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s%d", scratch_path(), what, (int)cid), 0);
	return path;
}

static void make_row(struct vm_plan *row, uint64_t cid, const char *uds)
{
	vm_plan_init(row);
	row->guest_cid = cid;
	row->socket = make_path(cid, "s");
	row->uds_path = make_path(cid, uds);
	row->limits = (struct vsock_limits){
		.tx_buffer_size = 65536, .max_connections = 64, .max_buffered = 1 << 20,
		.linger_ms = 30000,
	};
	row->queue_size = 256;
	row->max_memory = UINT64_C(1) << 40;
	row->vhost_socket.mode = row->uds_socket.mode = 0600;
}

static void publish(void)
{
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
}

static int vm_add(struct served *s, uint64_t cid, struct worker *w)
{
	struct wait wait;

	make_row(&s->row, cid, "u");
	vm_init(&s->vm, &s->row);
	s->has_guest = false;
	ck_assert_int_eq(vm_sockets_open(&s->vm.sockets, &plan, &s->row), 0);
	ck_assert_int_eq(sibling_dir_add(dir, cid, groups, 1, worker_mailbox(w), &s->entry), 0);
	publish();
	s->vm.sibling = s->entry;
	wait_init(&wait);
	vm_post_open(&wait.job, &s->vm, &plan, w, dir, &hooks);
	return wait_for(&wait);
}

/* What is left to its owner. */
static void vm_forget(struct served *s)
{
	vm_deinit(&s->vm);
	vm_plan_deinit(&s->row);
	if (s->has_guest)
		driver_deinit(&s->guest);
	s->has_guest = false;
}

static void vm_remove(struct served *s)
{
	struct wait wait;

	sibling_dir_remove(dir, s->entry);
	publish();
	wait_init(&wait);
	vm_post_close(&wait.job, &s->vm);
	ck_assert_int_eq(wait_for(&wait), 0);
	ck_assert_ptr_null(s->vm.device);
}

static void guest_up(struct served *s)
{
	driver_up(&s->guest, s->row.socket,
		  &(struct driver_options){ .cid = s->row.guest_cid, .queue_size = 32 });
	s->has_guest = true;
}

static int vm_change(struct served *s, const struct vm_plan *row, int uds_fd)
{
	const struct vm_fds fds = { -1, uds_fd, -1 };
	struct wait wait;

	wait_init(&wait);
	vm_post_change(&wait.job, &s->vm, &plan, row, &fds);
	return wait_for(&wait);
}

/* ---- the process ---- */

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	plan_init(&plan);
	plan.mem_slots = 8;
	plan.pause_grace_ms = 3000;
	plan.handshake_ms = 10000;
	ck_assert_int_eq(sibling_dir_new(&dir), 0);
	for (int i = 0; i < WORKERS; i++) {
		ck_assert_int_eq(worker_new(&workers[i]), 0);
		ck_assert_int_eq(worker_start(workers[i], false, on_failed), 0);
	}
	ck_assert_int_eq(vm_add(&stays, STAYS, workers[0]), 0);
	guest_up(&stays);
	sock_listen(&stays.guest, PORT);
}

static void free_workers(void)
{
	for (int i = 0; i < WORKERS; i++)
		worker_free(workers[i]);
	sibling_dir_free(dir);
	plan_deinit(&plan);
}

static void teardown(void)
{
	workers_stop(workers, WORKERS);
	vm_forget(&stays);
	free_workers();
	ck_assert_int_eq(n_came, n_gone);
	closer_deinit();
}

static void expect_fds(int n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (unit_count_fds() != n)		/* a thread closes what others have made */
		ck_assert_msg(deadline_left(deadline) && poll(NULL, 0, 1) == 0, "%d, not %d",
			      unit_count_fds(), n);
}

/* ---- what guests and host programs do ---- */

struct link {					/* a connection between two who play */
	struct sock *guest, *sibling;		/* the other is a guest ... */
	int host;				/* ... or a host program */
};

static void expect_talks(const struct link *l)
{
	char got[8] = "";

	ck_assert(sock_send(l->guest, "ping", 5));
	if (l->sibling) {
		ck_assert_uint_eq(sock_recv_full(l->sibling, got, 5), 5);
		ck_assert(sock_send(l->sibling, "pong", 5));
	} else {
		ck_assert_uint_eq(host_read(l->host, got, 5), 5);
		ck_assert(host_write(l->host, "pong", 5));
	}
	ck_assert_str_eq(got, "ping");
	ck_assert_uint_eq(sock_recv_full(l->guest, got, 5), 5);
	ck_assert_str_eq(got, "pong");
}

/* The guest connects to a host program. */
static struct link link_to_host(struct served *s)
{
	int listener = host_listen(s->vm.plan->uds_path, PORT, 1);
	struct link l = { .host = -1 };

	l.guest = sock_connect(&s->guest, PORT);
	l.host = host_accept(listener);
	host_unlisten(listener, s->vm.plan->uds_path, PORT);
	expect_talks(&l);
	return l;
}

/* A host program connects to the guest, which listens at PORT. */
static struct link link_from_host(struct served *s)
{
	struct link l = { .host = host_dial(s->vm.plan->uds_path, PORT) };

	ck_assert_int_ge(l.host, 0);
	l.guest = sock_accept(&s->guest, PORT);
	ck_assert_uint_ne(host_read_ok(l.host), 0);
	expect_talks(&l);
	return l;
}

/* @s's guest connects to the one that stays. */
static struct link link_to_sibling(struct served *s)
{
	struct link l = { .host = -1, .guest = sock_dial_to(&s->guest, STAYS, PORT) };

	l.sibling = sock_accept(&stays.guest, PORT);
	ck_assert(sock_wait_open(l.guest));
	expect_talks(&l);
	return l;
}

static void link_close(struct link *l)
{
	fd_close(&l->host);
	ck_assert(sock_close(l->guest));
	if (l->sibling)
		ck_assert(sock_close(l->sibling));
}

/* ---- tests ---- */

/* A VM that goes takes all that was its own: front-end, connections to the host, and what
 * siblings have with it. They and its neighbours go on. _i: the neighbour's worker, or
 * another. */
START_TEST(one_goes)
{
	int fds = unit_count_fds();
	struct link host, from_host, sibling, own = link_to_host(&stays);
	char byte;

	ck_assert_int_eq(vm_add(&goes, GOES, workers[_i]), 0);
	guest_up(&goes);
	sock_listen(&goes.guest, PORT);
	host = link_to_host(&goes);
	from_host = link_from_host(&goes);
	sibling = link_to_sibling(&goes);
	vm_remove(&goes);
	ck_assert(vmm_is_closed(&goes.guest.fe, DEADLINE_MS));
	ck_assert(host_is_closed(host.host, DEADLINE_MS));
	ck_assert(host_is_closed(from_host.host, DEADLINE_MS));
	ck_assert_int_eq(sock_recv(sibling.sibling, &byte, 1, DEADLINE_MS), 0);
	ck_assert_int_eq(sibling.sibling->state, SOCK_RESET);
	sock_free(sibling.sibling);
	fd_close(&host.host);
	fd_close(&from_host.host);
	ck_assert_int_lt(host_connect(goes.row.uds_path), 0);
	ck_assert_int_lt(host_connect(goes.row.socket), 0);
	vm_forget(&goes);
	ck_assert_int_eq(n_gone, 1);
	expect_talks(&own);
	link_close(&own);
	expect_fds(fds);
}
END_TEST

/* One that has gone cannot be reached; one of the same CID can. */
START_TEST(and_comes_again)
{
	struct link l;
	struct sock *s;

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(vm_add(&goes, GOES, workers[i % WORKERS]), 0);
		guest_up(&goes);
		sock_listen(&goes.guest, PORT);
		l = (struct link){ .host = -1, .guest = sock_dial_to(&stays.guest, GOES, PORT) };
		l.sibling = sock_accept(&goes.guest, PORT);
		ck_assert(sock_wait_open(l.guest));
		expect_talks(&l);
		vm_remove(&goes);
		ck_assert(sock_wait_reset(l.guest, DEADLINE_MS));
		sock_free(l.guest);
		s = sock_dial_to(&stays.guest, GOES, PORT);
		ck_assert(!sock_wait_open(s));
		ck_assert(s->was_refused);
		sock_free(s);
		vm_forget(&goes);
	}
}
END_TEST

static size_t allocated(void)
{
	if (__sanitizer_get_current_allocated_bytes)
		return __sanitizer_get_current_allocated_bytes();
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* Also what the closer's threads do later. */
static void expect_allocated(size_t max)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (allocated() > max)
		ck_assert_msg(deadline_left(deadline) && poll(NULL, 0, 1) == 0,
			      "%zu bytes, %zu at most", allocated(), max);
}

/* A thousand of them, with a guest and connections, beside one that talks all the time. */
START_TEST(thousand_rounds)
{
	struct link own = link_to_host(&stays);
	size_t bytes = 0;
	int fds = unit_count_fds();

	for (int i = 0; i < ROUNDS; i++) {
		struct link host, sibling;

		if (i == WARM_ROUNDS) {
			expect_fds(fds);
			bytes = allocated();
		}
		ck_assert_int_eq(vm_add(&goes, GOES, workers[i % WORKERS]), 0);
		guest_up(&goes);
		host = link_to_host(&goes);
		sibling = link_to_sibling(&goes);
		vm_remove(&goes);
		ck_assert(sock_wait_reset(sibling.sibling, DEADLINE_MS));
		sock_free(sibling.sibling);
		fd_close(&host.host);
		vm_forget(&goes);
		expect_talks(&own);
	}
	expect_fds(fds);
	expect_allocated(bytes + LEAK_MAX);
	ck_assert_int_eq(n_came, ROUNDS + 1);
	ck_assert_int_eq(n_gone, ROUNDS);
	link_close(&own);
}
END_TEST

/* The uds-path is another, its socket is exchanged: connections stay, both ways; what comes
 * is at the new one. The old row is not used any more. */
START_TEST(another_uds_path)
{
	struct link before = link_to_host(&stays), from_host = link_from_host(&stays), after;
	struct listener_access access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	struct listener new, *old = &stays.vm.sockets.uds;
	struct vm_plan row;
	int fds, late;

	make_row(&row, STAYS, "moved");
	ck_assert_int_eq(listener_open(&new, row.uds_path, SOCK_STREAM, &access), 0);
	fds = unit_count_fds();
	late = host_connect(stays.row.uds_path);	/* and has not said its line yet */
	ck_assert_int_ge(late, 0);
	listener_deinit(old);			/* its name goes */
	ck_assert_int_eq(vm_change(&stays, &row, fd_take(&new.fd)), 0);
	vm_plan_deinit(&stays.row);
	stays.row = row;
	stays.vm.plan = &stays.row;
	expect_talks(&before);
	expect_talks(&from_host);
	ck_assert(host_write(late, "CONNECT 80\n", 11));
	after = (struct link){ .host = late, .guest = sock_accept(&stays.guest, PORT) };
	ck_assert_uint_ne(host_read_ok(late), 0);
	expect_talks(&after);
	link_close(&after);
	after = link_to_host(&stays);
	link_close(&after);
	after = link_from_host(&stays);
	link_close(&after);
	expect_fds(fds - 1);			/* the old socket is closed */
	link_close(&before);
	link_close(&from_host);
	listener_deinit(&new);
}
END_TEST

/* Fewer connections, then more: those that are there stay. */
START_TEST(other_limits)
{
	struct link first = link_to_host(&stays), second = link_to_host(&stays), third;
	struct vm_plan row;
	struct sock *s;
	int listener;

	make_row(&row, STAYS, "u");
	row.limits.max_connections = 1;
	ck_assert_int_eq(vm_change(&stays, &row, -1), 0);
	expect_talks(&first);
	expect_talks(&second);
	listener = host_listen(row.uds_path, PORT, 1);
	s = sock_dial(&stays.guest, PORT);
	ck_assert(!sock_wait_open(s));
	sock_free(s);
	host_unlisten(listener, row.uds_path, PORT);
	row.limits.max_connections = 3;
	ck_assert_int_eq(vm_change(&stays, &row, -1), 0);
	third = link_to_host(&stays);
	link_close(&first);
	link_close(&second);
	link_close(&third);
	vm_plan_deinit(&stays.row);
	stays.row = row;
	stays.vm.plan = &stays.row;
}
END_TEST

/* In another group nobody is reached; who is connected stays. */
START_TEST(other_groups_of_a_vm)
{
	struct link l;
	struct sock *s;

	ck_assert_int_eq(vm_add(&goes, GOES, workers[1]), 0);
	guest_up(&goes);
	l = link_to_sibling(&goes);
	ck_assert_int_eq(sibling_dir_set_groups(dir, goes.entry, other_groups, 1), 0);
	publish();
	expect_talks(&l);
	s = sock_dial_to(&goes.guest, STAYS, PORT);
	ck_assert(!sock_wait_open(s));
	sock_free(s);
	ck_assert_int_eq(sibling_dir_set_groups(dir, goes.entry, groups, 1), 0);
	publish();
	link_close(&l);
	l = link_to_sibling(&goes);
	link_close(&l);
	vm_remove(&goes);
	vm_forget(&goes);
}
END_TEST

/* One that connects to its front-end goes on with it when its row is another: the old one
 * is not used any more. */
START_TEST(connects_on)
{
	struct listener listener;
	struct listener_access access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	struct wait wait;
	struct vm_plan row;
	int fd;

	make_row(&goes.row, GOES, "u");
	make_row(&row, GOES, "u");
	goes.row.connect = goes.row.socket;
	goes.row.socket = NULL;
	row.connect = row.socket;
	row.socket = NULL;
	vm_init(&goes.vm, &goes.row);
	goes.has_guest = false;
	ck_assert_int_eq(vm_sockets_open(&goes.vm.sockets, &plan, &goes.row), 0);
	ck_assert_int_eq(sibling_dir_add(dir, GOES, groups, 1, worker_mailbox(workers[1]),
					 &goes.entry), 0);
	goes.vm.sibling = goes.entry;
	wait_init(&wait);
	vm_post_open(&wait.job, &goes.vm, &plan, workers[1], dir, &hooks);
	ck_assert_int_eq(wait_for(&wait), 0);
	ck_assert_int_eq(vm_change(&goes, &row, -1), 0);
	vm_plan_deinit(&goes.row);
	goes.row = row;
	goes.vm.plan = &goes.row;
	ck_assert_int_eq(listener_open(&listener, row.connect, SOCK_STREAM, &access), 0);
	ck_assert(deadline_poll(listener.fd, POLLIN, deadline_in(DEADLINE_MS)));
	ck_assert_int_eq(listener_accept(&listener, &fd), 0);
	vm_remove(&goes);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	fd_close(&fd);
	listener_deinit(&listener);
	vm_forget(&goes);
}
END_TEST

/* It cannot be had: what there was of it is gone, and may be tried again. */
START_TEST(cannot_open)
{
	int fds = unit_count_fds();
	struct wait wait;

	make_row(&goes.row, GOES, "u");
	vm_init(&goes.vm, &goes.row);
	goes.vm.sockets.vhost.fd = open("/dev/null", O_RDWR | O_CLOEXEC);	/* no socket at all */
	goes.has_guest = false;
	ck_assert_int_eq(sibling_dir_add(dir, GOES, groups, 1, worker_mailbox(workers[1]),
					 &goes.entry), 0);
	publish();
	goes.vm.sibling = goes.entry;
	wait_init(&wait);
	vm_post_open(&wait.job, &goes.vm, &plan, workers[1], dir, &hooks);
	ck_assert_int_lt(wait_for(&wait), 0);
	vm_remove(&goes);			/* nothing: but that is fine */
	vm_forget(&goes);
	ck_assert_int_eq(vm_add(&goes, GOES, workers[1]), 0);
	vm_remove(&goes);
	vm_forget(&goes);
	expect_fds(fds);
}
END_TEST

/* Jobs in a row, none of which is waited for: they are done in order. */
START_TEST(in_order)
{
	const struct vm_fds none = { -1, -1, -1 };
	struct wait waits[3];
	struct vm_plan row;

	make_row(&goes.row, GOES, "u");
	make_row(&row, GOES, "u");
	vm_init(&goes.vm, &goes.row);
	goes.has_guest = false;
	ck_assert_int_eq(vm_sockets_open(&goes.vm.sockets, &plan, &goes.row), 0);
	ck_assert_int_eq(sibling_dir_add(dir, GOES, groups, 1, worker_mailbox(workers[1]),
					 &goes.entry), 0);
	publish();
	goes.vm.sibling = goes.entry;
	for (int i = 0; i < COUNT(waits); i++)
		wait_init(&waits[i]);
	vm_post_open(&waits[0].job, &goes.vm, &plan, workers[1], dir, &hooks);
	vm_post_change(&waits[1].job, &goes.vm, &plan, &row, &none);
	sibling_dir_remove(dir, goes.entry);
	publish();
	vm_post_close(&waits[2].job, &goes.vm);
	for (int i = 0; i < COUNT(waits); i++)
		ck_assert_int_eq(wait_for(&waits[i]), 0);
	vm_forget(&goes);
	vm_plan_deinit(&row);
}
END_TEST

/* Workers that have been stopped do no more: each job ends nevertheless, and nothing leaks. */
START_TEST(stopped)
{
	struct vm_fds fds = { -1, -1, -1 };
	struct wait waits[3];
	int pipe_fds[2];

	ck_assert_int_eq(vm_add(&goes, GOES, workers[1]), 0);
	guest_up(&goes);
	for (int i = 0; i < WORKERS; i++)
		worker_stop(workers[i]);
	for (int i = 0; i < COUNT(waits); i++)
		wait_init(&waits[i]);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	fds.uds = pipe_fds[0];
	vm_post_change(&waits[0].job, &goes.vm, &plan, &goes.row, &fds);
	vm_post_close(&waits[1].job, &goes.vm);
	workers_stop(workers, WORKERS);
	ck_assert_int_eq(wait_for(&waits[0]), -ECANCELED);
	ck_assert_int_eq(wait_for(&waits[1]), 0);
	ck_assert_int_lt(fcntl(pipe_fds[0], F_GETFD), 0);
	close(pipe_fds[1]);
	vm_forget(&goes);
	make_row(&goes.row, GOES, "u");
	vm_init(&goes.vm, &goes.row);
	ck_assert_int_eq(vm_sockets_open(&goes.vm.sockets, &plan, &goes.row), 0);
	vm_post_open(&waits[2].job, &goes.vm, &plan, workers[1], dir, &hooks);
	workers_stop(workers, WORKERS);
	ck_assert_int_eq(wait_for(&waits[2]), -ECANCELED);
	ck_assert_int_lt(access(goes.row.socket, F_OK), 0);
	vm_forget(&goes);
}
END_TEST

enum { MANY = 40 };				/* connections: more than end in one turn */

/* First the front-end goes, which may come to another; then what takes its time. */
START_TEST(many_connections)
{
	struct link links[MANY];

	ck_assert_int_eq(vm_add(&goes, GOES, workers[0]), 0);
	guest_up(&goes);
	for (int i = 0; i < MANY; i++)
		links[i] = link_to_host(&goes);
	watched_host = links[MANY - 1].host;
	was_closed = true;
	vm_remove(&goes);
	ck_assert(!was_closed);
	for (int i = 0; i < MANY; i++) {
		ck_assert(host_is_closed(links[i].host, DEADLINE_MS));
		fd_close(&links[i].host);
	}
	vm_forget(&goes);
}
END_TEST

struct last_batch {
	struct mail mail;
	struct vm_job *close;
	sem_t is_over;
};

/* In the worker: it begins to take the VM away, and goes no further. */
static void on_last_batch(struct mail *mail)
{
	struct last_batch *last = container_of(mail, struct last_batch, mail);

	loop_stop(worker_loop(workers[1]));
	vm_post_close(last->close, &goes.vm);
	sem_post(&last->is_over);
}

/* One that is on its way out when its worker is stopped. */
START_TEST(stopped_while_it_goes)
{
	struct link links[MANY];
	struct wait wait;
	struct last_batch last = { .mail.deliver = on_last_batch, .close = &wait.job };

	ck_assert_int_eq(vm_add(&goes, GOES, workers[1]), 0);
	guest_up(&goes);
	for (int i = 0; i < COUNT(links); i++)
		links[i] = link_to_host(&goes);
	wait_init(&wait);
	sem_init(&last.is_over, 0, 0);
	mailbox_post(worker_mailbox(workers[1]), &last.mail);
	sem_wait(&last.is_over);
	workers_stop(workers, WORKERS);
	ck_assert_int_eq(wait_for(&wait), 0);
	for (int i = 0; i < COUNT(links); i++) {
		ck_assert(host_is_closed(links[i].host, DEADLINE_MS));
		fd_close(&links[i].host);
	}
	vm_forget(&goes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vm_job");
	TCase *tc = tcase_create("vm_job");
	int r;

	scratch_begin();
	log_level = LEVEL_ERR;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, one_goes, 0, WORKERS);
	tcase_add_test(tc, and_comes_again);
	tcase_add_test(tc, thousand_rounds);
	tcase_add_test(tc, another_uds_path);
	tcase_add_test(tc, other_limits);
	tcase_add_test(tc, other_groups_of_a_vm);
	tcase_add_test(tc, connects_on);
	tcase_add_test(tc, cannot_open);
	tcase_add_test(tc, in_order);
	tcase_add_test(tc, stopped);
	tcase_add_test(tc, many_connections);
	tcase_add_test(tc, stopped_while_it_goes);
	suite_add_tcase(suite, tc);
	r = unit_main(suite);
	scratch_end();
	return r;
}
