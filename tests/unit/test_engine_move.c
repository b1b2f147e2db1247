/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMs that go from worker to worker all the time, in the middle of everything: connections of host
 * programs and siblings that move bytes both ways, that begin and end, that wait; and the
 * front-ends' own sockets. Every byte is checked. (To be run with the thread sanitizer, too.)
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/plan.h"
#include "control/snapshots.h"
#include "daemon/engine_internal.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "device/worker.h"
#include "e2e/flow.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"
#include "support/sanitized.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

enum {
	VMS = 3, WORKERS = 2, FIRST_CID = 3, PORT = 80, LINKS = 2, PARK_MS = 60000, HOLD_MS = 5000,
	MOVES = IS_SANITIZED ? 100 : 400,
	BYTES = IS_SANITIZED ? 1 << 19 : 1 << 22,
};

static char group[] = "group";
static char *groups[] = { group };
static struct plan plan;
static struct vm_plan rows[VMS];
static struct vm vms[VMS], *served[VMS];
static struct driver guests[VMS];
static int listeners[VMS];			/* of host programs */
static struct engine engine;

static void on_hook(uint64_t cid)
{
	(void)cid;
}

static const struct device_hooks hooks = { .came = on_hook, .gone = on_hook, .over = on_hook };

static void on_failed(void)
{
	ck_abort_msg("a worker has failed");
}

static char *make_path(const char *what, int i)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s%d", scratch_path(), what, i), 0);
	return path;
}

static void make_row(struct vm_plan *row, int i)
{
	vm_plan_init(row);
	row->guest_cid = (uint64_t)(FIRST_CID + i);
	row->socket = make_path("s", i);
	row->uds_path = make_path("u", i);
	row->limits = (struct vsock_limits){
		.tx_buffer_size = 65536, .max_connections = 64, .max_buffered = 4 << 20,
		.linger_ms = 30000,
	};
	row->queue_size = 256;
	row->max_memory = UINT64_C(1) << 40;
	row->vhost_socket.mode = row->uds_socket.mode = 0600;
	row->vhost_socket.gid = row->uds_socket.gid = (gid_t)-1;
	row->groups = groups;
	row->n_groups = 1;
}

static void guest_up(int i)
{
	const struct driver_options opt = { .cid = rows[i].guest_cid };

	driver_up(&guests[i], rows[i].socket, &opt);
	guests[i].next_port = 10000;
}

static void setup(void)
{
	const struct engine_config config = {
		.plan = &plan, .vms = served, .n_vms = VMS, .hooks = &hooks, .failed = on_failed,
		.api_fd = -1,
	};

	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	ck_assert_int_eq(closer_init(), 0);
	plan_init(&plan);
	plan.threads = WORKERS;
	plan.sandbox = SANDBOX_OFF;
	plan.handshake_ms = 10000;
	plan.pause_grace_ms = 10000;
	plan.mem_slots = 8;
	for (int i = 0; i < VMS; i++) {
		make_row(&rows[i], i);
		vm_init(&vms[i], &rows[i]);
		ck_assert_int_eq(vm_sockets_open(&vms[i].sockets, &plan, &rows[i]), 0);
		served[i] = &vms[i];
	}
	ck_assert_int_eq(engine_prepare(&engine, &config), 0);
	ck_assert_int_eq(engine_open_vms(&engine, served, VMS), 0);
	ck_assert_int_eq(engine_begin(&engine, true), 0);
	engine_go_on(&engine);
	for (int i = 0; i < VMS; i++) {
		listeners[i] = host_listen(rows[i].uds_path, PORT, 16);
		guest_up(i);
	}
}

static void teardown(void)
{
	for (int i = 0; i < VMS; i++)
		driver_deinit(&guests[i]);
	engine_deinit(&engine);
	for (int i = 0; i < VMS; i++) {
		host_unlisten(listeners[i], rows[i].uds_path, PORT);
		vm_deinit(&vms[i]);
		free(rows[i].socket);
		free(rows[i].uds_path);
	}
	log_stop_thread();
	closer_deinit();
}

/* ---- moves ---- */

static unsigned n_moved;

/* To another one. */
static void move_now(int i)
{
	ck_assert(engine_park_to_move(&engine, PARK_MS));
	ck_assert(device_can_move(vms[i].device, UINT64_MAX));
	ck_assert_int_eq(engine_move(&engine, &vms[i],
				     (engine_find_worker(&engine, &vms[i]) + 1) % WORKERS), 0);
	engine_deliver_mail(&engine);
	engine_let_go(&engine);
	n_moved++;
}

static atomic_bool is_over;

/* At least MOVES of them, and until the traffic is over. */
static void *move_all_the_time(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < MOVES || !atomic_load(&is_over); i++) {
		move_now((int)(i % VMS));
		poll(NULL, 0, 1);
	}
	return NULL;
}

static pthread_t mover;

static void moves_start(void)
{
	n_moved = 0;
	atomic_store(&is_over, false);
	must(pthread_create(&mover, NULL, move_all_the_time, NULL) == 0);
}

static void moves_finish(void)
{
	atomic_store(&is_over, true);
	must(pthread_join(mover, NULL) == 0);
	printf("# %u moves\n", n_moved);
}

/* ---- traffic ---- */

static struct sock *connect_siblings(int from, int to, struct sock **other)
{
	struct sock *s;

	sock_listen(&guests[to], PORT);
	s = sock_dial_to(&guests[from], rows[to].guest_cid, PORT);
	*other = sock_accept(&guests[to], PORT);
	ck_assert(sock_wait_open(s));
	return s;
}

static int host_connects(int i, struct sock **s)
{
	int fd;

	sock_listen(&guests[i], PORT);
	fd = host_dial(rows[i].uds_path, PORT);
	must(fd >= 0);
	*s = sock_accept(&guests[i], PORT);
	must(host_read_ok(fd));
	return fd;
}

static int guest_connects(int i, struct sock **s)
{
	*s = sock_connect(&guests[i], PORT);
	return host_accept(listeners[i]);
}

static void close_pair(int fd, struct sock *s)
{
	close(fd);
	ck_assert(sock_wait_shutdown(s, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(s));
}

static struct flow make_flow(struct sock *s, uint32_t send_seed, uint32_t recv_seed)
{
	return (struct flow){ .sock = s, .to_send = BYTES, .to_recv = BYTES,
			      .send_seed = send_seed, .recv_seed = recv_seed };
}

/* Of one guest: to each of the others, to the host, and one that the host has begun. */
struct traffic {
	int i;
	struct flow flows[2 * LINKS + VMS - 1];
	struct host_job jobs[2 * LINKS];
	unsigned n_flows, n_jobs;
	pthread_t thread;
};

static struct traffic traffic[VMS];

static void add_sibling(int from, int to)
{
	struct sock *other, *s = connect_siblings(from, to, &other);
	uint32_t seed = (uint32_t)(100 * from + to);

	traffic[from].flows[traffic[from].n_flows++] = make_flow(s, seed, ~seed);
	traffic[to].flows[traffic[to].n_flows++] = make_flow(other, ~seed, seed);
}

static void add_host(int i, bool by_guest)
{
	struct traffic *t = &traffic[i];
	uint32_t seed = 1000 + t->n_jobs * 10 + (uint32_t)i;
	struct sock *s;
	int fd = by_guest ? guest_connects(i, &s) : host_connects(i, &s);

	t->flows[t->n_flows++] = make_flow(s, seed, ~seed);
	t->jobs[t->n_jobs++] = (struct host_job){
		.fd = fd, .to_write = BYTES, .to_read = BYTES,
		.write_seed = ~seed, .read_seed = seed,
	};
}

static void *run(void *arg)
{
	struct traffic *t = arg;

	flow_run(&guests[t->i], t->flows, t->n_flows);
	return NULL;
}

START_TEST(bytes_both_ways)
{
	memset(traffic, 0, sizeof traffic);
	for (int i = 0; i < VMS; i++) {
		traffic[i].i = i;
		add_sibling(i, (i + 1) % VMS);
		for (int n = 0; n < LINKS; n++) {
			add_host(i, true);
			add_host(i, false);
		}
	}
	moves_start();
	for (int i = 0; i < VMS; i++) {
		for (unsigned n = 0; n < traffic[i].n_jobs; n++)
			host_job_start(&traffic[i].jobs[n]);
		must(pthread_create(&traffic[i].thread, NULL, run, &traffic[i]) == 0);
	}
	for (int i = 0; i < VMS; i++) {
		must(pthread_join(traffic[i].thread, NULL) == 0);
		for (unsigned n = 0; n < traffic[i].n_jobs; n++) {
			ck_assert_msg(host_job_finish(&traffic[i].jobs[n]), "%s",
				      traffic[i].jobs[n].error);
			close(traffic[i].jobs[n].fd);
		}
	}
	moves_finish();
}
END_TEST

/* They come and go, in all directions. */
START_TEST(connections_begin_and_end)
{
	unsigned n = 0;

	moves_start();
	do {
		struct sock *s, *other = NULL;
		int fd = n & 1 ? guest_connects((int)n % VMS, &s) : host_connects((int)n % VMS, &s);

		close_pair(fd, s);
		s = connect_siblings((int)n % VMS, ((int)n + 1) % VMS, &other);
		ck_assert(sock_close(s));
		ck_assert(sock_wait_shutdown(other, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		ck_assert(sock_close(other));
	} while (++n < 30);
	moves_finish();
}
END_TEST

/* Guests and front-ends come and go. */
START_TEST(front_ends_come_and_go)
{
	moves_start();
	for (int n = 0; n < 10; n++) {
		struct sock *s;
		int fd;

		driver_deinit(&guests[n % VMS]);
		guest_up(n % VMS);
		fd = host_connects(n % VMS, &s);
		close_pair(fd, s);
	}
	moves_finish();
}
END_TEST

/* ---- what waits ---- */

/* A client that has said half of its line: the rest is heard where the VM is now, and the time-out
 * goes on. */
START_TEST(half_a_line)
{
	static const char first[] = "CONN", rest[] = "ECT 80\n";
	struct sock *s;
	int fd = host_connect(rows[0].uds_path), next;

	ck_assert_int_eq(write(fd, first, sizeof first - 1), sizeof first - 1);
	next = host_connects(0, &s);		/* so the one before it is known */
	close_pair(next, s);
	move_now(0);
	ck_assert_int_eq(write(fd, rest, sizeof rest - 1), sizeof rest - 1);
	s = sock_accept(&guests[0], PORT);
	ck_assert(host_read_ok(fd));
	close_pair(fd, s);
}
END_TEST

/* What is there when a VM moves was told by an edge that its new loop has not seen. */
START_TEST(bytes_that_wait)
{
	uint8_t bytes[64];
	struct sock *s;
	int fd = guest_connects(0, &s);

	guests[0].holds_rx = true;
	memset(bytes, 7, sizeof bytes);
	ck_assert_int_eq(write(fd, bytes, sizeof bytes), sizeof bytes);
	move_now(0);
	move_now(0);
	driver_release_rx(&guests[0]);
	ck_assert_uint_eq(sock_recv_full(s, bytes, sizeof bytes), sizeof bytes);
	close_pair(fd, s);
}
END_TEST

/* One that has closed still waits for the other to read; then its memory is given back, by its own
 * worker. */
START_TEST(a_pipe_that_is_left)
{
	static uint8_t bytes[16384];
	struct sock *other, *s = connect_siblings(0, 1, &other);

	guests[1].holds_rx = true;
	ck_assert(sock_send(s, bytes, sizeof bytes));
	sock_shutdown(s, VSOCK_SHUTDOWN_BOTH);
	ck_assert(driver_flush(&guests[0]));
	move_now(0);
	move_now(1);
	move_now(0);
	driver_release_rx(&guests[1]);
	ck_assert_uint_eq(sock_recv_full(other, bytes, sizeof bytes), sizeof bytes);
	ck_assert(sock_wait_shutdown(other, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(sock_close(other));
	ck_assert(sock_wait_reset(s, DEADLINE_MS));
	sock_free(s);
}
END_TEST

/* Memory that vanishes is the guest's own loss, in whatever thread that is noticed. */
START_TEST(memory_that_vanishes)
{
	struct sock *s;
	int fd;

	move_now(0);
	for (unsigned i = 0; i < guests[0].guest.n_regions; i++)
		must(ftruncate(guests[0].guest.regions[i].fd, 4096) == 0);
	guest_ring_kick(&guests[0].vq[VSOCK_TXQ]);
	ck_assert(vmm_is_closed(&guests[0].fe, DEADLINE_MS));
	fd = host_connects(1, &s);
	close_pair(fd, s);
}
END_TEST

/* A worker that does not park in time is let go, and all go on. */
struct hold {
	struct mail mail;
	atomic_bool has_begun, may_end;
};

static void on_hold(struct mail *mail)
{
	struct hold *h = container_of(mail, struct hold, mail);
	int64_t deadline = deadline_in(HOLD_MS);

	atomic_store(&h->has_begun, true);
	while (!atomic_load(&h->may_end) && deadline_left(deadline))
		poll(NULL, 0, 1);
}

START_TEST(a_worker_that_is_late)
{
	struct hold h = { .mail.deliver = on_hold };
	struct sock *s;

	mailbox_post(worker_mailbox(engine.workers[1]), &h.mail);
	while (!atomic_load(&h.has_begun))
		poll(NULL, 0, 1);
	ck_assert(!engine_park_to_move(&engine, 5));
	engine_let_go(&engine);
	atomic_store(&h.may_end, true);
	for (int i = 0; i < VMS; i++) {
		int fd;

		move_now(i);
		fd = guest_connects(i, &s);
		close_pair(fd, s);
	}
}
END_TEST

static void on_removed(struct worker_watch *watch, size_t i)
{
	(void)watch;
	(void)i;
}

static void on_stopped(struct worker_watch *watch)
{
	(void)watch;
}

/* Who goes through a worker's VMs would see one twice, or not at all. */
START_TEST(a_worker_that_is_watched)
{
	struct worker_watch watch = { .removed = on_removed, .stopped = on_stopped };

	ck_assert(engine_park_to_move(&engine, PARK_MS));
	worker_add_watch(engine.workers[1], &watch);
	engine_let_go(&engine);
	ck_assert(!engine_park_to_move(&engine, PARK_MS));
	list_remove(&watch.node);
	engine_let_go(&engine);
	move_now(0);
}
END_TEST

/* ---- who is moved ---- */

static struct vm *vm_at(size_t i)
{
	return &vms[i];
}

/* As if all the time since the last look had gone into turns of that VM. */
static void make_busy(int i)
{
	atomic_fetch_add(&vms[i].balance.busy_us, 1000000);
	atomic_fetch_add(&worker_scratch(vms[i].worker)->busy_us, 1000000);
}

static void balance(int busy, int busy_too)
{
	make_busy(busy);
	make_busy(busy_too);
	engine_balance(&engine, vm_at, VMS);
}

static uint64_t count_moves(void)
{
	const struct snapshots_want want = { .wait_ms = DEADLINE_MS };
	struct snapshots_answer answer;
	uint64_t n;

	ck_assert_int_eq(snapshots_take(engine.snapshots, &want, &answer), 0);
	n = answer.process.vm_moves;
	snapshots_answer_deinit(&answer);
	return n;
}

/* Of three VMs on two workers the first and the last have the same. */
START_TEST(one_of_two_that_are_busy)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct sock *s;
	int fd = guest_connects(0, &s);

	ck_assert_ptr_eq(vms[0].worker, vms[2].worker);
	while (vms[0].worker == vms[2].worker && deadline_left(deadline)) {
		balance(0, 2);
		poll(NULL, 0, 5);
	}
	ck_assert_ptr_ne(vms[0].worker, vms[2].worker);
	ck_assert_ptr_ne(vms[1].worker, NULL);
	ck_assert_uint_eq(count_moves(), 1);
	ck_assert_uint_eq(engine.placed[0].n_vms + engine.placed[1].n_vms, VMS);
	close_pair(fd, s);
}
END_TEST

/* While somebody wants to know where a VM is, it stays. */
START_TEST(none_that_is_looked_for)
{
	snapshots_pin(engine.snapshots);
	for (int i = 0; i < 20; i++) {
		balance(0, 2);
		poll(NULL, 0, 1);
	}
	snapshots_unpin(engine.snapshots);
	ck_assert_ptr_eq(vms[0].worker, vms[2].worker);
	ck_assert_uint_eq(count_moves(), 0);
}
END_TEST

/* A worker that is late again and again is waited for ever less often: all others stand still then. */
START_TEST(a_worker_that_is_always_late)
{
	enum { LOOKS = 200, PARK_LEAST_MS = 10 };
	struct hold h = { .mail.deliver = on_hold };
	unsigned n_tries = 0;

	mailbox_post(worker_mailbox(engine.workers[1]), &h.mail);
	while (!atomic_load(&h.has_begun))
		poll(NULL, 0, 1);
	for (int i = 0; i < LOOKS; i++) {
		int64_t began = now_ms();

		balance(0, 2);
		n_tries += now_ms() - began >= PARK_LEAST_MS;
		poll(NULL, 0, 1);
	}
	atomic_store(&h.may_end, true);
	ck_assert_uint_ge(n_tries, 1);
	ck_assert_msg(n_tries <= LOOKS / 4, "%u tries", n_tries);
	ck_assert_uint_eq(count_moves(), 0);
}
END_TEST

/* Who asks sees each VM once, wherever it is. */
static void *ask_all_the_time(void *arg)
{
	unsigned n = 0;

	(void)arg;
	for (; !atomic_load(&is_over); n++) {
		const struct snapshots_want want = { .wait_ms = DEADLINE_MS };
		struct snapshots_answer answer;

		must(snapshots_take(engine.snapshots, &want, &answer) == 0);
		must(answer.n_vms == VMS);
		for (size_t i = 0; i < VMS; i++)
			must(answer.vms[i].device.cid == rows[i].guest_cid);
		snapshots_answer_deinit(&answer);
	}
	printf("# %u questions\n", n);
	return NULL;
}

/* As engine_balance() does it, if nobody is going through the VMs. */
static void move_if_unseen(int i)
{
	bool is_moved = false;

	if (!snapshots_hold(engine.snapshots))
		return;
	if (engine_park_to_move(&engine, PARK_MS)) {
		is_moved = engine_move(&engine, &vms[i], (engine_find_worker(&engine, &vms[i]) + 1) %
				       WORKERS) == 0;
		engine_deliver_mail(&engine);
	}
	engine_let_go(&engine);
	snapshots_release(engine.snapshots, is_moved);
}

START_TEST(each_is_seen_once)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	pthread_t asker;

	atomic_store(&is_over, false);
	must(pthread_create(&asker, NULL, ask_all_the_time, NULL) == 0);
	for (int i = 0; (i < 400 || !count_moves()) && deadline_left(deadline); i++) {
		move_if_unseen(i % VMS);
		poll(NULL, 0, 1);
	}
	atomic_store(&is_over, true);
	must(pthread_join(asker, NULL) == 0);
	ck_assert_uint_gt(count_moves(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine_move");
	TCase *tc = tcase_create("moves");
	int r;

	scratch_begin();
	log_level = LEVEL_WARN;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, bytes_both_ways);
	tcase_add_test(tc, connections_begin_and_end);
	tcase_add_test(tc, front_ends_come_and_go);
	tcase_add_test(tc, half_a_line);
	tcase_add_test(tc, bytes_that_wait);
	tcase_add_test(tc, a_pipe_that_is_left);
	tcase_add_test(tc, memory_that_vanishes);
	tcase_add_test(tc, a_worker_that_is_late);
	tcase_add_test(tc, a_worker_that_is_watched);
	tcase_add_test(tc, one_of_two_that_are_busy);
	tcase_add_test(tc, none_that_is_looked_for);
	tcase_add_test(tc, a_worker_that_is_always_late);
	tcase_add_test(tc, each_is_seen_once);
	suite_add_tcase(s, tc);
	r = unit_main(s);
	scratch_end();
	return r;
}
