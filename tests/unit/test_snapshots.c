/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who asks the workers: gets all VMs and their connections, while they come and go, and an
 * answer when a worker hangs, is parked or ends. (To be run with the thread sanitizer, too.)
 */
#include "control/snapshots.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sibling.h"
#include "config/plan.h"
#include "daemon/vm.h"
#include "daemon/vm_job.h"
#include "protocol/vhost_user.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/scratch.h"
#include "support/sock.h"
#include "unit.h"
#include "util/clock.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "vhost/gmem.h"
#include "workers.h"

enum {
	WORKERS = 2, PORT = 80, FIRST = 3, SECOND = 4, MOVING = 5, ROUNDS = 200,
	WAIT_MS = 10000, MANY = 100, SHORT_MS = 50,
};

struct served {
	struct vm vm;
	struct vm_plan row;
	struct sibling_entry *entry;
};

static struct plan plan;
static struct worker *workers[WORKERS];
static struct sibling_dir *dir;
static struct snapshots *snapshots;
static struct served first, second;
static _Atomic uint64_t n_upgrades = 7, n_crashes = 9;

static void on_hook(uint64_t cid)
{
	(void)cid;
}

static const struct device_hooks hooks = { .came = on_hook, .gone = on_hook, .over = on_hook };

static void on_failed(void)
{
	ck_abort_msg("a worker has failed");
}

/* ---- VMs that come and go ---- */

struct wait {
	struct vm_job job;
	sem_t is_done;
	_Atomic int result;
};

static void on_done(struct vm_job *job, int result)
{
	struct wait *w = container_of(job, struct wait, job);

	w->result = result;
	sem_post(&w->is_done);
}

static void wait_init(struct wait *w)
{
	*w = (struct wait){ .job.done = on_done, .result = 1 };
	ck_assert_int_eq(sem_init(&w->is_done, 0, 0), 0);
}

static void wait_for(struct wait *w)
{
	int64_t at = deadline_in(DEADLINE_MS);
	const struct timespec until = { at / 1000, at % 1000 * 1000000 };

	ck_assert_int_eq(sem_clockwait(&w->is_done, CLOCK_MONOTONIC, &until), 0);
	sem_destroy(&w->is_done);
	ck_assert_int_eq(w->result, 0);
}

static char *make_path(uint64_t cid, const char *what)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s%d", scratch_path(), what, (int)cid), 0);
	return path;
}

static void vm_add(struct served *s, uint64_t cid, struct worker *w)
{
	struct wait wait;

	vm_plan_init(&s->row);
	s->row.guest_cid = cid;
	s->row.socket = make_path(cid, "s");
	s->row.uds_path = make_path(cid, "u");
	s->row.limits = (struct vsock_limits){
		.tx_buffer_size = 65536, .max_connections = 64, .max_buffered = 1 << 20,
		.linger_ms = 30000,
	};
	s->row.queue_size = 256;
	s->row.max_memory = UINT64_C(1) << 40;
	s->row.vhost_socket.mode = s->row.uds_socket.mode = 0600;
	vm_init(&s->vm, &s->row);
	ck_assert_int_eq(vm_sockets_open(&s->vm.sockets, &plan, &s->row), 0);
	ck_assert_int_eq(sibling_dir_add(dir, cid, NULL, 0, worker_mailbox(w), &s->entry), 0);
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	s->vm.sibling = s->entry;
	wait_init(&wait);
	vm_post_open(&wait.job, &s->vm, &plan, w, dir, &hooks);
	wait_for(&wait);
}

static void vm_forget(struct served *s)
{
	vm_deinit(&s->vm);
	vm_plan_deinit(&s->row);
}

static void vm_remove(struct served *s)
{
	struct wait wait;

	sibling_dir_remove(dir, s->entry);
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
	wait_init(&wait);
	vm_post_close(&wait.job, &s->vm);
	wait_for(&wait);
	vm_forget(s);
}

static void setup(void)
{
	const struct snapshots_shared shared = { &n_upgrades, &n_crashes };

	ck_assert_int_eq(closer_init(), 0);
	closer_start();
	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	plan_init(&plan);
	plan.mem_slots = 8;
	plan.pause_grace_ms = 3000;
	plan.handshake_ms = 10000;
	ck_assert_int_eq(sibling_dir_new(&dir), 0);
	ck_assert_int_eq(snapshots_new(&snapshots, &shared), 0);
	for (int i = 0; i < WORKERS; i++) {
		ck_assert_int_eq(worker_new(&workers[i]), 0);
		ck_assert_int_eq(worker_start(workers[i], false, on_failed), 0);
		ck_assert_int_eq(snapshots_add_worker(snapshots, workers[i]), 0);
	}
	vm_add(&second, SECOND, workers[0]);
	vm_add(&first, FIRST, workers[1]);
}

static void teardown(void)
{
	snapshots_close(snapshots);
	workers_stop(workers, WORKERS);
	snapshots_free(snapshots);
	vm_forget(&first);
	vm_forget(&second);
	for (int i = 0; i < WORKERS; i++)
		worker_free(workers[i]);
	sibling_dir_free(dir);
	plan_deinit(&plan);
	closer_deinit();
}

/* ---- asking ---- */

static struct snapshots_answer answer;

static int take(uint64_t cid, size_t max_conns, uint32_t wait_ms)
{
	const struct snapshots_want want = {
		.cid = cid, .max_conns = max_conns, .wait_ms = wait_ms,
	};

	return snapshots_take(snapshots, &want, &answer);
}

/* One who asks while the test does something else. */
struct asker {
	pthread_t thread;
	struct snapshots_want want;
	struct snapshots_answer answer;
	int result;
	_Atomic bool ends;
	unsigned n_asked;
};

static void *ask_once(void *arg)
{
	struct asker *a = arg;

	a->result = snapshots_take(snapshots, &a->want, &a->answer);
	return NULL;
}

static void asker_start(struct asker *a, void *(*run)(void *), uint64_t cid, uint32_t wait_ms)
{
	*a = (struct asker){ .want = { .cid = cid, .max_conns = 100, .wait_ms = wait_ms } };
	ck_assert_int_eq(pthread_create(&a->thread, NULL, run, a), 0);
}

static void asker_join(struct asker *a)
{
	ck_assert_int_eq(pthread_join(a->thread, NULL), 0);
}

/* A worker that does nothing until it is let go on. */
struct hang {
	struct mail mail;
	sem_t has_come, may_go;
};

static void on_hang(struct mail *mail)
{
	struct hang *h = container_of(mail, struct hang, mail);

	sem_post(&h->has_come);
	sem_wait(&h->may_go);
}

static void hang_begin(struct hang *h, struct worker *w)
{
	*h = (struct hang){ .mail.deliver = on_hang };
	sem_init(&h->has_come, 0, 0);
	sem_init(&h->may_go, 0, 0);
	mailbox_post(worker_mailbox(w), &h->mail);
	sem_wait(&h->has_come);
}

static void hang_end(struct hang *h)
{
	sem_post(&h->may_go);
}

/* ---- tests ---- */

START_TEST(tells_of_all)
{
	ck_assert_int_eq(take(0, 0, WAIT_MS), 0);
	ck_assert_uint_eq(answer.n_vms, 2);
	ck_assert_uint_eq(answer.vms[0].device.cid, FIRST);
	ck_assert_uint_eq(answer.vms[0].worker, 1);
	ck_assert_str_eq(answer.vms[0].device.tag, "vm 3");
	ck_assert_uint_eq(answer.vms[1].device.cid, SECOND);
	ck_assert_int_eq(answer.vms[0].device.front_end, FRONT_END_NONE);
	ck_assert(!answer.vms[0].device.is_guest_running);
	ck_assert_uint_eq(answer.vms[0].device.counters.connections_limit[0], 64);
	ck_assert_uint_eq(answer.process.workers, WORKERS);
	ck_assert_uint_eq(answer.process.silent_workers, 0);
	ck_assert_uint_eq(answer.process.upgrades, 7);
	ck_assert_uint_eq(answer.process.crashes, 9);
	snapshots_answer_deinit(&answer);
}
END_TEST

START_TEST(tells_of_one)
{
	ck_assert_int_eq(take(SECOND, 0, WAIT_MS), 0);
	ck_assert_uint_eq(answer.n_vms, 1);
	ck_assert_uint_eq(answer.vms[0].device.cid, SECOND);
	snapshots_answer_deinit(&answer);
	ck_assert_int_eq(take(77, 0, WAIT_MS), SNAPSHOTS_E_NO_VM);
	ck_assert_str_eq(snapshots_str_error(SNAPSHOTS_E_NO_VM), "there is no such VM");
}
END_TEST

static void expect_guest(const struct vm_snapshot *vm)
{
	const struct device_snapshot *dev = &vm->device;

	ck_assert_int_eq(dev->front_end, FRONT_END_IN_SESSION);
	ck_assert(dev->is_guest_running);
	ck_assert(dev->virtio_features & UINT64_C(1) << 32);
	ck_assert(dev->protocol_features & 1 << VHOST_USER_PROTOCOL_F_CONFIG);
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++) {
		ck_assert(dev->rings[i].is_started && dev->rings[i].is_enabled);
		ck_assert(dev->rings[i].runs);
		ck_assert_ptr_null(dev->rings[i].broken);
		ck_assert_uint_eq(dev->rings[i].size, 32);
	}
	ck_assert_uint_eq(dev->counters.front_ends[0], 1);
	ck_assert_uint_eq(dev->counters.front_end_connected[0], 1);
	ck_assert_uint_eq(dev->counters.guest_running[0], 1);
}

/* A host program connects, and both sides say something. */
static void talk(struct driver *guest, int *host)
{
	struct sock *sock;
	char got[8] = "";

	sock_listen(guest, PORT);
	*host = host_dial(first.row.uds_path, PORT);
	ck_assert_int_ge(*host, 0);
	sock = sock_accept(guest, PORT);
	ck_assert_uint_ne(host_read_ok(*host), 0);
	ck_assert(sock_send(sock, "ping", 5));
	ck_assert_uint_eq(host_read(*host, got, 5), 5);
	ck_assert(host_write(*host, "answer!", 8));
	ck_assert_uint_eq(sock_recv_full(sock, got, 8), 8);
}

static uint64_t sum(const uint64_t *numbers, size_t n)
{
	uint64_t total = 0;

	while (n--)
		total += *numbers++;
	return total;
}

START_TEST(tells_of_connections_and_resets_one)
{
	struct snapshots_conn name = { .cid = FIRST, .type = VSOCK_TYPE_STREAM };
	const struct vsock_counters *c;
	struct driver guest;
	int host;

	driver_up(&guest, first.row.socket,
		  &(struct driver_options){ .cid = FIRST, .queue_size = 32 });
	talk(&guest, &host);
	ck_assert_int_eq(take(FIRST, 100, WAIT_MS), 0);
	expect_guest(&answer.vms[0]);
	c = &answer.vms[0].device.counters;
	ck_assert_uint_eq(c->payload[COUNTERS_TO_HOST], 5);
	ck_assert_uint_eq(c->payload[COUNTERS_TO_GUEST], 8);
	ck_assert_uint_eq(c->handshakes[HANDSHAKE_DONE], 1);
	ck_assert_uint_eq(c->connections_opened[CONN_FROM_HOST * COUNTERS_TYPES], 1);
	ck_assert_uint_ge(c->packets[COUNTERS_TO_HOST], 2);	/* RESPONSE, RW */
	ck_assert_uint_ge(c->packets[COUNTERS_TO_GUEST], 2);	/* REQUEST, RW */
	ck_assert_uint_ge(c->ring_kicks[VSOCK_TXQ], 1);
	ck_assert_uint_ge(c->ring_calls[VSOCK_RXQ] + c->ring_calls_suppressed[VSOCK_RXQ], 2);
	ck_assert_uint_ge(sum(c->turn.buckets, HISTOGRAM_BUCKETS), 2);
	ck_assert_uint_ge(sum(c->delivery.buckets, HISTOGRAM_BUCKETS), 1);
	ck_assert_uint_eq(c->tx_batch.sum, c->packets[COUNTERS_TO_HOST]);
	ck_assert_uint_eq(c->rx_batch.sum, c->packets[COUNTERS_TO_GUEST]);
	ck_assert_uint_eq(answer.vms[0].n_conns, 1);
	ck_assert(!answer.vms[0].is_cut);
	ck_assert_int_eq(answer.vms[0].conns[0].origin, CONN_FROM_HOST);
	ck_assert_uint_eq(answer.vms[0].conns[0].to_guest, 8);
	name.guest_port = answer.vms[0].conns[0].guest.port;
	name.peer = answer.vms[0].conns[0].peer;
	snapshots_answer_deinit(&answer);

	ck_assert_int_eq(snapshots_reset_conn(snapshots, &name, WAIT_MS), 0);
	ck_assert(host_is_closed(host, DEADLINE_MS));
	ck_assert_int_eq(snapshots_reset_conn(snapshots, &name, WAIT_MS), SNAPSHOTS_E_NO_CONN);
	name.cid = 77;
	ck_assert_int_eq(snapshots_reset_conn(snapshots, &name, WAIT_MS), SNAPSHOTS_E_NO_VM);
	fd_close(&host);
	driver_deinit(&guest);
}
END_TEST

/* Two kicks break it once. */
START_TEST(tells_of_a_broken_ring)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	const struct device_snapshot *dev;
	struct driver guest;
	bool is_broken;

	driver_up(&guest, first.row.socket,
		  &(struct driver_options){ .cid = FIRST, .queue_size = 32 });
	do {
		guest_ring_raw_post(&guest.vq[VSOCK_TXQ], 0xffff);
		guest_ring_kick(&guest.vq[VSOCK_TXQ]);
		ck_assert_int_eq(take(FIRST, 0, WAIT_MS), 0);
		dev = &answer.vms[0].device;
		is_broken = dev->rings[VSOCK_TXQ].broken;
		if (is_broken) {
			ck_assert(!dev->rings[VSOCK_TXQ].runs && dev->rings[VSOCK_TXQ].is_started);
			ck_assert(!dev->is_guest_running);
			ck_assert_uint_eq(dev->counters.ring_stops[VSOCK_TXQ], 1);
			ck_assert_uint_eq(dev->counters.ring_stops[VSOCK_RXQ], 0);
		}
		snapshots_answer_deinit(&answer);
	} while (!is_broken && deadline_left(deadline));
	ck_assert(is_broken);
	driver_deinit(&guest);
}
END_TEST

/* The others' VMs are there; and later the answer to the question that nobody waits for any
 * more does no harm. */
START_TEST(a_worker_hangs)
{
	static struct hang hang;		/* a thread of it may be the last to look */

	hang_begin(&hang, workers[0]);
	for (uint32_t ms = SHORT_MS; ms < WAIT_MS; ms *= 2) {	/* the other may be slow */
		if (take(0, 0, ms) == 0)
			break;
	}
	ck_assert_uint_eq(answer.process.silent_workers, 1);
	ck_assert_uint_eq(answer.n_vms, 1);
	ck_assert_uint_eq(answer.vms[0].device.cid, FIRST);
	snapshots_answer_deinit(&answer);
	ck_assert_int_eq(take(SECOND, 0, SHORT_MS), SNAPSHOTS_E_SILENT);
	hang_end(&hang);
	ck_assert_int_eq(take(0, 0, WAIT_MS), 0);
	ck_assert_uint_eq(answer.n_vms, 2);
	snapshots_answer_deinit(&answer);
}
END_TEST

START_TEST(an_asker_leaves_at_the_close)
{
	uint64_t begin_ms = clock_ms();
	struct asker asker;
	static struct hang hang;		/* a thread of it may be the last to look */

	hang_begin(&hang, workers[0]);
	asker_start(&asker, ask_once, 0, 20000);
	poll(NULL, 0, 20);
	snapshots_close(snapshots);
	asker_join(&asker);
	ck_assert_int_eq(asker.result, SNAPSHOTS_E_CLOSED);
	ck_assert_uint_lt(clock_ms() - begin_ms, 10000);
	ck_assert_int_eq(take(0, 0, WAIT_MS), SNAPSHOTS_E_CLOSED);
	hang_end(&hang);
}
END_TEST

/* Mail is delivered meanwhile, by another thread; the answer comes when it goes on. */
START_TEST(workers_are_parked)
{
	struct asker asker;

	for (int i = 0; i < WORKERS; i++)
		worker_park(workers[i]);
	ck_assert_int_eq(take(0, 0, SHORT_MS), SNAPSHOTS_E_SILENT);
	asker_start(&asker, ask_once, 0, WAIT_MS);
	poll(NULL, 0, 20);
	for (int i = 0; i < WORKERS; i++)
		worker_deliver_mail(workers[i]);
	for (int i = 0; i < WORKERS; i++)
		worker_go_on(workers[i]);
	asker_join(&asker);
	ck_assert_int_eq(asker.result, 0);
	ck_assert_uint_eq(asker.answer.n_vms, 2);
	snapshots_answer_deinit(&asker.answer);
}
END_TEST

/* As an engine that another has taken over from. */
START_TEST(workers_are_parked_and_end)
{
	struct asker asker;

	for (int i = 0; i < WORKERS; i++)
		worker_park(workers[i]);
	asker_start(&asker, ask_once, 0, 60000);
	poll(NULL, 0, 20);
	for (int i = 0; i < WORKERS; i++)
		worker_deliver_mail(workers[i]);
	workers_stop(workers, WORKERS);
	asker_join(&asker);
	ck_assert_int_eq(asker.result, 0);
	ck_assert_uint_eq(asker.answer.n_vms, 0);
	snapshots_answer_deinit(&asker.answer);
}
END_TEST

static void *ask_again_and_again(void *arg)
{
	struct asker *a = arg;

	while (!a->ends && !a->result) {
		unsigned n_found = 0;

		a->result = snapshots_take(snapshots, &a->want, &a->answer);
		if (a->result)
			break;
		for (size_t i = 0; i < a->answer.n_vms; i++)
			n_found += a->answer.vms[i].device.cid == SECOND ||
				a->answer.vms[i].device.cid == FIRST;
		if (n_found != 2 || a->answer.process.silent_workers)
			a->result = -EPROTO;
		snapshots_answer_deinit(&a->answer);
		a->n_asked++;
	}
	return NULL;
}

/* One that is there all the time is in each answer, once. */
START_TEST(vms_come_and_go)
{
	static struct served moving[4];
	struct asker askers[2];

	for (int i = 0; i < COUNT(askers); i++)
		asker_start(&askers[i], ask_again_and_again, 0, WAIT_MS);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < COUNT(moving); i++)
			vm_add(&moving[i], MOVING + i, workers[i % WORKERS]);
		for (int i = 0; i < COUNT(moving); i++)
			vm_remove(&moving[(i + round) % COUNT(moving)]);
	}
	for (int i = 0; i < COUNT(askers); i++) {
		askers[i].ends = true;
		asker_join(&askers[i]);
		ck_assert_int_eq(askers[i].result, 0);
		ck_assert_uint_gt(askers[i].n_asked, 0);
	}
}
END_TEST

/* More than a worker looks at in one batch. */
START_TEST(tells_of_many)
{
	static struct served many[MANY];

	for (int i = 0; i < MANY; i++)
		vm_add(&many[i], 100 + i, workers[0]);
	ck_assert_int_eq(take(0, 0, WAIT_MS), 0);
	ck_assert_uint_eq(answer.n_vms, MANY + 2);
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(answer.vms[2 + i].device.cid, 100 + i);
	snapshots_answer_deinit(&answer);
	for (int i = 0; i < MANY; i++)
		vm_remove(&many[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshots");
	TCase *tc = tcase_create("snapshots");

	scratch_begin();
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, tells_of_all);
	tcase_add_test(tc, tells_of_one);
	tcase_add_test(tc, tells_of_connections_and_resets_one);
	tcase_add_test(tc, tells_of_a_broken_ring);
	tcase_add_test(tc, a_worker_hangs);
	tcase_add_test(tc, an_asker_leaves_at_the_close);
	tcase_add_test(tc, workers_are_parked);
	tcase_add_test(tc, workers_are_parked_and_end);
	tcase_add_test(tc, vms_come_and_go);
	tcase_add_test(tc, tells_of_many);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
