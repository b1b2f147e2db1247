/* SPDX-License-Identifier: BSD-3-Clause */
/* When VMs get their shares: of what is less at once, of what is more in a pass, which is due then. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "control/events.h"
#include "daemon/supervisor_internal.h"
#include "unit.h"
#include "util/log.h"

enum { FILES = 1500, SAID = 4096, SEVERAL = 8 };

static struct supervisor s;
static struct plan plan;
static unsigned n_events;			/* of the first VM */
static uint32_t alone;				/* what one VM has */

static uint32_t share(size_t i)
{
	return s.vms[i]->plan.limits.max_connections;
}

static struct held_vm *add_vm(void)
{
	struct vm_plan row;
	struct held_vm *h;

	vm_plan_init(&row);
	row.guest_cid = 3 + s.n_vms;
	row.limits.max_connections = row.said.max_connections = SAID;
	h = held_vm_new(&row);
	ck_assert_ptr_nonnull(h);
	h->is_served = true;
	s.vms[s.n_vms++] = h;
	return h;
}

static void on_event(void *ctx, uint64_t at_ns, const char *line, size_t len)
{
	(void)ctx;
	(void)at_ns;
	n_events += memmem(line, len, "\"cid\":3,", 8) || memmem(line, len, "\"cid\":3}", 8);
}

static void pass(void)
{
	ck_assert(s.shares_due.is_set);
	loop_timer_cancel(s.loop, &s.shares_due);
	s.shares_due.expire(&s.shares_due);
}

static void setup(void)
{
	const struct rlimit limit = { FILES, FILES };

	log_level = LEVEL_ERR;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	plan_init(&plan);
	s = (struct supervisor){ .plan = &plan, .channel = -1 };
	s.vms = calloc(SEVERAL, sizeof *s.vms);
	ck_assert_ptr_nonnull(s.vms);
	ck_assert_int_eq(loop_new(&s.loop), 0);
	supervisor_shares_init(&s);
	supervisor_share_out(&s, add_vm());
	pass();					/* its mappings are more than none */
	alone = share(0);
	ck_assert_uint_lt(alone, SAID);
	ck_assert(!s.shares_due.is_set);
	n_events = 0;
	events_watch(on_event, NULL);
}

static void leave_alone(void)
{
	while (s.n_vms > 1)
		held_vm_free(s.vms[--s.n_vms]);
}

static void teardown(void)
{
	leave_alone();
	held_vm_free(s.vms[0]);
	free(s.vms);
	loop_timer_cancel(s.loop, &s.shares_due);
	loop_free(s.loop);
	plan_deinit(&plan);
}

static void come_and_go(void)
{
	while (s.n_vms < SEVERAL) {
		supervisor_share_out(&s, add_vm());
		for (size_t i = 0; i < s.n_vms; i++)
			ck_assert_uint_le(share(i), share(s.n_vms - 1));
	}
	ck_assert_uint_lt(share(0), alone / 4);
	leave_alone();
	supervisor_share_out(&s, NULL);
	ck_assert_uint_lt(share(0), alone / 4);
}

START_TEST(less_at_once_and_more_in_a_pass)
{
	for (int i = 0; i < 3; i++)
		come_and_go();
	pass();
	ck_assert_uint_eq(share(0), alone);
	ck_assert(!s.shares_due.is_set);
}
END_TEST

/* Who goes on from another program, which may have been about to. */
START_TEST(more_without_a_cause)
{
	s.vms[0]->plan.limits.max_connections = 1;
	supervisor_share_later(&s);
	pass();
	ck_assert_uint_eq(share(0), alone);
}
END_TEST

START_TEST(not_while_engines_change)
{
	come_and_go();
	s.is_upgrading = true;
	pass();
	ck_assert_uint_lt(share(0), alone);
	s.is_upgrading = false;
	pass();
	ck_assert_uint_eq(share(0), alone);
}
END_TEST

/* The file is read again. */
START_TEST(all_at_once)
{
	struct plan next;

	come_and_go();
	ck_assert_int_eq(supervisor_list_rows(&s, &next), 0);
	supervisor_take_shares(&s, &next);
	ck_assert_uint_eq(share(0), alone);
	free(next.vms);
}
END_TEST

/* ... in which one of the API is not, and has its share all the same. */
START_TEST(all_of_the_file)
{
	struct vm_plan row = s.vms[0]->plan;
	struct plan next = plan;

	supervisor_share_out(&s, add_vm());
	s.vms[1]->plan.is_by_api = true;
	next.vms = &row;
	next.n_vms = 1;
	supervisor_prepare(&s, &next);
	ck_assert_uint_lt(share(1), alone);
	ck_assert_uint_eq(row.limits.max_connections, share(1));
}
END_TEST

static uint32_t together(void)
{
	while (s.n_vms < SEVERAL)
		supervisor_share_out(&s, add_vm());
	return share(0);
}

/* Of one that has another share than the last time: one event, in the pass. */
START_TEST(events)
{
	uint32_t n = together();

	ck_assert_uint_eq(n_events, 0);
	pass();
	ck_assert_uint_eq(share(0), n);
	ck_assert_uint_eq(n_events, 1);
	n_events = 0;
	leave_alone();
	supervisor_share_out(&s, NULL);
	together();				/* and all is as it was */
	pass();
	ck_assert_uint_eq(n_events, 0);
	leave_alone();
	supervisor_share_out(&s, NULL);
	pass();
	ck_assert_uint_eq(n_events, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("supervisor_shares");
	TCase *tc = tcase_create("supervisor_shares");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, less_at_once_and_more_in_a_pass);
	tcase_add_test(tc, more_without_a_cause);
	tcase_add_test(tc, not_while_engines_change);
	tcase_add_test(tc, all_at_once);
	tcase_add_test(tc, all_of_the_file);
	tcase_add_test(tc, events);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
