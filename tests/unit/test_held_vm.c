/* SPDX-License-Identifier: BSD-3-Clause */
/* What the supervisor keeps of a VM: each slot once, no more than there may be, nothing left. */
#include "daemon/held_vm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/supervise.h"
#include "unit.h"
#include "util/error.h"
#include "util/fd.h"

static struct held_vm *vm;
static int fds_before;

static void setup(void)
{
	struct vm_plan row;

	fds_before = unit_count_fds();
	vm_plan_init(&row);
	row.guest_cid = 3;
	vm = held_vm_new(&row);
	ck_assert_ptr_nonnull(vm);
	ck_assert_uint_eq(vm->plan.guest_cid, 3);
	ck_assert_uint_eq(row.guest_cid, 0);
}

/* The closer has not been begun, so all is closed at once. */
static void teardown(void)
{
	held_vm_free(vm);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void check_order(void)
{
	for (size_t i = 1; i < vm->n_kept; i++)
		ck_assert_uint_lt(vm->kept[i - 1].slot, vm->kept[i].slot);
	ck_assert_int_eq(unit_count_fds() - fds_before, (int)vm->n_kept);
}

/* In the order of a step that meets all, there and back. */
START_TEST(every_slot)
{
	enum { STEP = 389 };			/* no divisor of the number of slots */

	for (uint32_t i = 0; i < SUPERVISE_SLOTS_MAX; i++)
		ck_assert_int_eq(held_vm_keep(vm, i * STEP % SUPERVISE_SLOTS_MAX, new_fd()), 0);
	ck_assert_uint_eq(vm->n_kept, SUPERVISE_SLOTS_MAX);
	check_order();
	for (uint32_t i = 0; i < SUPERVISE_SLOTS_MAX / 2; i++)
		held_vm_drop(vm, i * STEP % SUPERVISE_SLOTS_MAX);
	ck_assert_uint_eq(vm->n_kept, SUPERVISE_SLOTS_MAX / 2);
	check_order();
	held_vm_drop_all(vm);
	ck_assert_uint_eq(vm->n_kept, 0);
	check_order();
	ck_assert_int_eq(held_vm_keep(vm, 0, new_fd()), 0);
}
END_TEST

START_TEST(what_was_in_a_slot_goes)
{
	int first = new_fd(), second = new_fd();

	ck_assert_int_eq(held_vm_keep(vm, 5, first), 0);
	ck_assert_int_eq(held_vm_keep(vm, 5, second), 0);
	ck_assert_uint_eq(vm->n_kept, 1);
	ck_assert_int_eq(vm->kept[0].fd, second);
	ck_assert_int_eq(fcntl(first, F_GETFD), -1);
	check_order();
}
END_TEST

START_TEST(there_is_no_such_slot)
{
	ck_assert_int_eq(held_vm_keep(vm, SUPERVISE_SLOTS_MAX, new_fd()), HELD_VM_E_SLOT);
	ck_assert_int_eq(held_vm_keep(vm, UINT32_MAX, new_fd()), HELD_VM_E_SLOT);
	check_order();
	ck_assert_int_eq(held_vm_keep(vm, SUPERVISE_SLOTS_MAX - 1, new_fd()), 0);
	check_order();
}
END_TEST

START_TEST(dropped_by_none_but_its_slot)
{
	held_vm_drop(vm, 0);
	ck_assert_int_eq(held_vm_keep(vm, 7, new_fd()), 0);
	ck_assert_int_eq(held_vm_keep(vm, 9, new_fd()), 0);
	held_vm_drop(vm, 8);
	held_vm_drop(vm, 10);
	held_vm_drop(vm, UINT32_MAX);
	ck_assert_uint_eq(vm->n_kept, 2);
	held_vm_drop(vm, 7);
	held_vm_drop(vm, 7);
	ck_assert_uint_eq(vm->n_kept, 1);
	ck_assert_uint_eq(vm->kept[0].slot, 9);
	check_order();
}
END_TEST

START_TEST(closed_it_serves_no_more)
{
	vm->is_served = true;
	ck_assert_int_eq(held_vm_keep(vm, 7, new_fd()), 0);
	held_vm_close(vm);
	ck_assert(!vm->is_served);
	ck_assert_uint_eq(vm->n_kept, 0);
	check_order();
	held_vm_close(vm);
	held_vm_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("held_vm");
	TCase *tc = tcase_create("held_vm");

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_slot);
	tcase_add_test(tc, what_was_in_a_slot_goes);
	tcase_add_test(tc, there_is_no_such_slot);
	tcase_add_test(tc, dropped_by_none_but_its_slot);
	tcase_add_test(tc, closed_it_serves_no_more);
	return unit_main(s);
}
