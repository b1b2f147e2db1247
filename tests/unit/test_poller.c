/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is polled for, until when, and that the guest's kicks are wanted whenever nobody polls. The
 * loop's part is played by hand, so time is what we say. */
#include "device/poller.h"

#include "queue.h"
#include "unit.h"

enum { NUM = 8, VMS = 2, MAX = 100 };

static const uint64_t feature_sets[] = { 0, FEATURE_BIT(VIRTIO_F_EVENT_IDX) };

static struct guest_vm {
	struct poller_vm vm;
	struct queue g;
	struct virtq q;
	struct vsock_counters counters;
	bool is_stopped;
	unsigned n_came;
} vms[VMS];

static struct poller p;
static struct poller_vm *const a = &vms[0].vm, *const b = &vms[1].vm;

static struct virtq *find_queue(void *ctx)
{
	struct guest_vm *vm = ctx;

	return vm->is_stopped ? NULL : &vm->q;
}

static void on_came(void *ctx)
{
	((struct guest_vm *)ctx)->n_came++;
}

static void set_up(uint64_t features)
{
	poller_init(&p);
	for (int i = 0; i < VMS; i++) {
		struct guest_vm *vm = &vms[i];

		*vm = (struct guest_vm){ .n_came = 0 };
		queue_init(&vm->g, NUM, 0);
		vm->g.ring.event_idx = features != 0;
		virtq_init(&vm->q);
		vm->q.config = queue_config(&vm->g);
		ck_assert_int_eq(virtq_resolve(&vm->q, vm->g.gmem, features), 0);
		vm->vm = (struct poller_vm){
			.queue = find_queue, .came = on_came, .ctx = vm, .counters = &vm->counters,
		};
		poller_vm_init(&vm->vm, &p, MAX);
	}
}

static void setup(void)
{
	set_up(feature_sets[1]);
}

static void teardown(void)
{
	for (int i = 0; i < VMS; i++) {
		poller_vm_deinit(&vms[i].vm);
		queue_deinit(&vms[i].g);
	}
}

/* The guest makes something available; does it kick? */
static bool is_kicked(struct guest_vm *vm)
{
	uint64_t before = vm->g.ring.n_kicks;
	const struct guest_ring_buf buf = { .gpa = QUEUE_GPA + QUEUE_BUFS, .len = 8 };

	ck_assert(guest_ring_add(&vm->g.ring, &buf, 1, 0));
	guest_ring_publish(&vm->g.ring);
	return vm->g.ring.n_kicks != before;
}

/* As a turn does: what is there is taken, and a kick is asked for. */
static void take_all(struct guest_vm *vm)
{
	struct iovec iov[NUM];
	struct virtq_iovs iovs = { .iov = iov, .max = NUM };
	struct virtq_chain chain;

	while (virtq_pop(&vm->q, &iovs, &chain) == 0)
		virtq_push(&vm->q, &chain, 0);
	virtq_publish(&vm->q);
	virtq_enable_notify(&vm->q);
}

static uint64_t begin(uint64_t now_us)
{
	p.base.n_waits++;
	if (!p.base.is_wanted)
		ck_assert_uint_eq(p.base.begin(&p.base, now_us), 0);
	return p.base.begin(&p.base, now_us);
}

static bool look(void)
{
	return p.base.look(&p.base);
}

static void end_with(const struct loop_polled *polled)
{
	p.base.end(&p.base, polled);
}

static void end(uint64_t begin_us, uint64_t end_us)
{
	end_with(&(struct loop_polled){ .begin_us = begin_us, .end_us = end_us });
}

/* A turn at @now_us that takes no time; what there was for it is taken. */
static void turn(struct poller_vm *vm, uint64_t now_us)
{
	poller_turn_begins(vm, now_us);
	take_all(container_of(vm, struct guest_vm, vm));
	poller_turn_ends(vm, now_us);
}

/* Something has come 20 us after the wait began, so that the next one is polled for 40 us from
 * @now_us on. */
static void warm_up(struct poller_vm *vm, uint64_t now_us)
{
	turn(vm, now_us - 20);
	begin(now_us - 20);
	turn(vm, now_us);
}

START_TEST(nobody_before_something_came)
{
	ck_assert_uint_eq(begin(1000), 0);
	turn(a, 1000);
	ck_assert_uint_eq(begin(1000), 0);
	ck_assert(is_kicked(&vms[0]));
}
END_TEST

START_TEST(no_kick_while_it_is_polled_for)
{
	set_up(feature_sets[_i]);
	warm_up(a, 1000);
	ck_assert_uint_eq(begin(1000), 1040);
	ck_assert(!look());
	ck_assert(!is_kicked(&vms[0]));
	ck_assert(!is_kicked(&vms[0]));
	ck_assert(look());
	end(1000, 1010);
	ck_assert_uint_eq(vms[0].n_came, 1);
	ck_assert_uint_eq(vms[1].n_came, 0);
	turn(a, 1010);
	ck_assert(is_kicked(&vms[0]));		/* the turn wants it again, as ever */
	ck_assert_uint_eq(vms[0].counters.polls[POLL_PAID], 1);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 0);
	ck_assert_uint_eq(vms[0].counters.polled[0], 10);
	teardown();
}
END_TEST

/* Whatever ends the poll: time, an event, or that the CPU was taken away. */
static const struct { const char *what; struct loop_polled polled; } ends[] = {
	{ "time is up", { 1000, 1040, false } },
	{ "an event", { 1000, 1005, false } },
	{ "preempted", { 1000, 1020, true } },
};

START_TEST(kicks_are_wanted_after_it)
{
	set_up(feature_sets[_i / COUNT(ends)]);
	warm_up(a, 1000);
	ck_assert_uint_eq(begin(1000), 1040);
	end_with(&ends[_i % COUNT(ends)].polled);
	ck_assert_uint_eq(vms[0].n_came, 0);
	ck_assert(is_kicked(&vms[0]));
	teardown();
}
END_TEST

/* What comes between the last look and the end came without a kick. */
START_TEST(what_came_last_is_seen)
{
	set_up(feature_sets[_i / COUNT(ends)]);
	warm_up(a, 1000);
	begin(1000);
	ck_assert(!look());
	ck_assert(!is_kicked(&vms[0]));
	end_with(&ends[_i % COUNT(ends)].polled);
	ck_assert_uint_eq(vms[0].n_came, 1);
	teardown();
}
END_TEST

/* Before, while kicks were still wanted, is no different. */
START_TEST(what_came_first_is_seen)
{
	warm_up(a, 1000);
	ck_assert(is_kicked(&vms[0]));
	ck_assert_uint_ne(begin(1000), 0);
	ck_assert(look());
	end(1000, 1000);
	ck_assert_uint_eq(vms[0].n_came, 1);
}
END_TEST

START_TEST(an_idle_guest_costs_one_window)
{
	warm_up(a, 1000);
	ck_assert_uint_eq(begin(1000), 1040);
	end(1000, 1040);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 1);
	ck_assert(list_is_empty(&p.vms));
	for (uint64_t now_us = 1040; now_us < 2000; now_us += 10)
		ck_assert_uint_eq(begin(now_us), 0);
	ck_assert_uint_eq(vms[0].counters.polled[0], 40);
	turn(a, 2000);				/* it was longer than it may be */
	ck_assert_uint_eq(begin(2000), 0);
}
END_TEST

/* Others have kept the worker busy until the window was over. */
START_TEST(a_window_goes_by_without_a_poll)
{
	warm_up(a, 1000);
	ck_assert_uint_eq(begin(1040), 0);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 0);
	ck_assert(list_is_empty(&p.vms));
}
END_TEST

/* ... or for a while: polls of one wait are one. */
START_TEST(polls_of_one_window_are_counted_once)
{
	warm_up(a, 1000);
	for (uint64_t now_us = 1000; now_us < 1040; now_us += 10) {
		ck_assert_uint_eq(begin(now_us), 1040);
		end(now_us, now_us + 5);
	}
	ck_assert_uint_eq(begin(1040), 0);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 1);
	ck_assert_uint_eq(vms[0].counters.polled[0], 20);
}
END_TEST

/* A sibling's turn has given the guest something: its answer is what is waited for now. */
START_TEST(what_a_sibling_gives_begins_a_window)
{
	warm_up(a, 1000);
	begin(1000);
	end(1000, 1010);
	poller_turn_ends(a, 1030);
	ck_assert_uint_eq(begin(1030), 1070);
	ck_assert_ptr_eq(p.vms.next, p.vms.prev);
	end(1030, 1070);
	poller_turn_ends(a, 2000);
	ck_assert_uint_eq(begin(2000), 2040);
	end(2000, 2001);
}
END_TEST

/* Somebody else needs the CPU: no more of it, at once. */
START_TEST(one_that_was_preempted)
{
	warm_up(a, 1000);
	begin(1000);
	ck_assert(!is_kicked(&vms[0]));
	end_with(&(struct loop_polled){ 1000, 1020, true });
	ck_assert_uint_eq(vms[0].n_came, 1);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 1);
	turn(a, 1020);
	ck_assert_uint_eq(begin(1020), 0);
	turn(a, 1030);
	ck_assert_uint_eq(begin(1030), 0);
}
END_TEST

/* A turn that goes on in the next batch waits for nothing. */
START_TEST(turns_in_a_row_are_no_waits)
{
	turn(a, 1000);
	turn(a, 1001);
	turn(a, 1002);
	ck_assert_uint_eq(begin(1002), 0);
	warm_up(a, 2000);
	turn(a, 2001);
	turn(a, 2002);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_PAID], 0);
	ck_assert_uint_eq(begin(2002), 2042);
	end(2002, 2042);
}
END_TEST

START_TEST(the_longest_window_counts)
{
	warm_up(a, 1000);
	warm_up(b, 1030);
	ck_assert_uint_eq(begin(1030), 1070);
	ck_assert(!is_kicked(&vms[1]));
	ck_assert(look());
	end(1030, 1045);			/* in which that of a is over */
	ck_assert_uint_eq(vms[0].n_came, 0);
	ck_assert_uint_eq(vms[1].n_came, 1);
	ck_assert_uint_eq(vms[0].counters.polls[POLL_WASTED], 1);
	ck_assert_uint_eq(vms[0].counters.polled[0], 0);
	ck_assert_uint_eq(vms[1].counters.polled[0], 15);
	ck_assert(is_kicked(&vms[0]));
}
END_TEST

START_TEST(one_whose_ring_has_stopped)
{
	warm_up(a, 1000);
	vms[0].is_stopped = true;
	ck_assert_uint_eq(begin(1000), 0);
	ck_assert(list_is_empty(&p.vms));
}
END_TEST

START_TEST(one_that_is_gone)
{
	warm_up(a, 1000);
	warm_up(b, 1000);
	poller_vm_deinit(a);
	poller_turn_begins(a, 1010);		/* its end takes turns, too */
	poller_turn_ends(a, 1010);
	ck_assert_uint_eq(begin(1010), 1040);
	ck_assert_ptr_eq(p.vms.next, &b->node);
	ck_assert_ptr_eq(p.vms.prev, &b->node);
	end(1010, 1011);
	poller_vm_deinit(b);
	ck_assert_uint_eq(begin(1012), 0);
}
END_TEST

START_TEST(one_that_may_no_more)
{
	warm_up(a, 1000);
	poller_vm_set_max(a, 0);
	turn(a, 1010);
	ck_assert_uint_eq(begin(1010), 0);
	turn(a, 1020);
	ck_assert_uint_eq(begin(1020), 0);
	poller_vm_set_max(a, MAX);
	warm_up(a, 2000);
	ck_assert_uint_eq(begin(2000), 2040);
	end(2000, 2001);
}
END_TEST

/* Its owner has no poller. */
START_TEST(one_without)
{
	poller_vm_deinit(a);
	poller_vm_init(a, NULL, MAX);
	warm_up(a, 1000);
	ck_assert_uint_eq(begin(1000), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poller");
	TCase *tc = tcase_create("poller"), *each = tcase_create("with and without EVENT_IDX");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nobody_before_something_came);
	tcase_add_test(tc, what_came_first_is_seen);
	tcase_add_test(tc, an_idle_guest_costs_one_window);
	tcase_add_test(tc, a_window_goes_by_without_a_poll);
	tcase_add_test(tc, polls_of_one_window_are_counted_once);
	tcase_add_test(tc, what_a_sibling_gives_begins_a_window);
	tcase_add_test(tc, one_that_was_preempted);
	tcase_add_test(tc, turns_in_a_row_are_no_waits);
	tcase_add_test(tc, the_longest_window_counts);
	tcase_add_test(tc, one_whose_ring_has_stopped);
	tcase_add_test(tc, one_that_is_gone);
	tcase_add_test(tc, one_that_may_no_more);
	tcase_add_test(tc, one_without);
	tcase_add_loop_test(each, no_kick_while_it_is_polled_for, 0, COUNT(feature_sets));
	tcase_add_loop_test(each, kicks_are_wanted_after_it, 0, COUNT(feature_sets) * COUNT(ends));
	tcase_add_loop_test(each, what_came_last_is_seen, 0, COUNT(feature_sets) * COUNT(ends));
	suite_add_tcase(s, tc);
	suite_add_tcase(s, each);
	return unit_main(s);
}
