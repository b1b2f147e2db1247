/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: what is mapped, what is not, and memory that vanishes. */
#include "vhost/gmem.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unit.h"
#include "util/fd.h"

enum { PAGE = 4096, FILE_SIZE = 16 * PAGE };

static const struct gmem_limits all = {
	.max_memory = UINT64_MAX, .mem_slots = VHOST_USER_MEM_SLOTS_MAX,
};
static struct gmem *mem;
static int memfd;
static uint8_t *ours;				/* the file, mapped here */

static void setup(void)
{
	memfd = memfd_create("gmem", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(memfd, FILE_SIZE), 0);
	ours = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	ck_assert_ptr_ne(ours, MAP_FAILED);
	for (int i = 0; i < FILE_SIZE; i++)
		ours[i] = (uint8_t)(i ^ i >> 8);
	ck_assert_int_eq(gmem_new(&mem, &all), 0);
}

static void teardown(void)
{
	gmem_free(mem);
	munmap(ours, FILE_SIZE);
	fd_close(&memfd);
}

static int add(uint64_t gpa, uint64_t size, uint64_t uaddr, uint64_t offset)
{
	struct vhost_user_mem_region region = {
		.gpa = gpa, .size = size, .uaddr = uaddr, .mmap_offset = offset,
	};

	return gmem_add_region(mem, &region, memfd);
}

static int remove_region(uint64_t gpa, uint64_t size, uint64_t uaddr)
{
	struct vhost_user_mem_region region = { .gpa = gpa, .size = size, .uaddr = uaddr };

	return gmem_remove_region(mem, &region);
}

struct add_case {
	const char *name;
	uint64_t gpa, size, uaddr, offset;
	int result;
};

/* A second region, beside one of gpa 0x10000, size 0x1000. */
static const struct add_case add_cases[] = {
	{ "right below", 0xf000, 0x1000, 0, 0, 0 },
	{ "right above", 0x11000, 0x1000, 0, 0, 0 },
	{ "far above", 0xffff000000000000, 0x1000, 0, 0, 0 },
	{ "the same", 0x10000, 0x1000, 0, 0, GMEM_E_OVERLAP },
	{ "within", 0x10800, 0x100, 0, 0, GMEM_E_OVERLAP },
	{ "around", 0xf000, 0x3000, 0, 0, GMEM_E_OVERLAP },
	{ "first byte", 0xf001, 0x1000, 0, 0, GMEM_E_OVERLAP },
	{ "last byte", 0x10fff, 0x1000, 0, 0, GMEM_E_OVERLAP },
	{ "same uaddr", 0x20000, 0x1000, 0x700000, 0, 0 },
	{ "empty", 0x20000, 0, 0, 0, GMEM_E_INVALID },
	{ "gpa wraps", UINT64_MAX - 0xffe, 0x1000, 0, 0, GMEM_E_INVALID },
	{ "gpa ends at 2^64", UINT64_MAX - 0xfff, 0x1000, 0, 0, GMEM_E_INVALID },
	{ "uaddr wraps", 0x20000, 0x1000, UINT64_MAX - 0xffe, 0, GMEM_E_INVALID },
	{ "all of the address space", 0, UINT64_MAX, 0, 0, GMEM_E_OVERLAP },
	{ "whole file", 0x20000, FILE_SIZE, 0, 0, 0 },
	{ "one byte beyond the file", 0x20000, FILE_SIZE + 1, 0, 0, GMEM_E_INVALID },
	{ "end of the file", 0x20000, 0x1000, 0, FILE_SIZE - 0x1000, 0 },
	{ "beyond its end", 0x20000, 0x1001, 0, FILE_SIZE - 0x1000, GMEM_E_INVALID },
	{ "offset behind it", 0x20000, 1, 0, FILE_SIZE, GMEM_E_INVALID },
	{ "offset far behind it", 0x20000, 1, 0, UINT64_MAX, GMEM_E_INVALID },
	{ "offset negative", 0x20000, 1, 0, UINT64_C(1) << 63, GMEM_E_INVALID },
	{ "odd offset", 0x20000, 0x1000, 0, 0x801, 0 },
	{ "odd everything", 0x20001, 3, 0x55, 0xffe, 0 },
};

START_TEST(add_second)
{
	const struct add_case *c = &add_cases[_i];
	GUEST uint8_t *ptr;

	ck_assert_int_eq(add(0x10000, 0x1000, 0x700000, 0x1000), 0);
	ck_assert_msg(add(c->gpa, c->size, c->uaddr, c->offset) == c->result, "%s", c->name);
	ptr = gmem_ptr_gpa(mem, 0x10000, 0x1000);
	ck_assert_ptr_nonnull((void *)(uintptr_t)ptr);
	ck_assert_uint_eq(ptr[5], ours[0x1005]);
	if (c->result)
		return;
	ptr = gmem_ptr_gpa(mem, c->gpa, c->size);
	ck_assert_ptr_nonnull((void *)(uintptr_t)ptr);
	for (uint64_t i = 0; i < c->size; i++)
		ck_assert_uint_eq(ptr[i], ours[c->offset + i]);
}
END_TEST

START_TEST(add_bad_fd)
{
	struct vhost_user_mem_region region = { .gpa = 0, .size = 1 };
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_lt(gmem_add_region(mem, &region, -1), 0);
	ck_assert_int_lt(gmem_add_region(mem, &region, pipes[0]), 0);
	ck_assert_ptr_null((void *)(uintptr_t)gmem_ptr_gpa(mem, 0, 1));
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

struct look_case {
	const char *name;
	uint64_t at, len;
	size_t n;				/* iovecs of a slice */
	bool in_one;
};

/* Regions [0x1000, 0x2000), [0x2000, 0x2800), [0x4000, 0x5000) */
static const struct look_case look_cases[] = {
	{ "first byte", 0x1000, 1, 1, true },
	{ "before it", 0xfff, 1, 0, false },
	{ "whole region", 0x1000, 0x1000, 1, true },
	{ "last byte", 0x1fff, 1, 1, true },
	{ "across", 0x1fff, 2, 2, false },
	{ "both", 0x1000, 0x1800, 2, false },
	{ "one too many", 0x1000, 0x1801, 0, false },
	{ "into the gap", 0x2700, 0x101, 0, false },
	{ "across the gap", 0x2700, 0x2000, 0, false },
	{ "in the gap", 0x3000, 1, 0, false },
	{ "last region", 0x4000, 0x1000, 1, true },
	{ "behind", 0x5000, 1, 0, false },
	{ "wraps", 0x4fff, UINT64_MAX, 0, false },
	{ "all", 0x1000, UINT64_MAX, 0, false },
	{ "far off", UINT64_MAX, 1, 0, false },
};

START_TEST(look_up)
{
	const struct look_case *c = &look_cases[_i];
	const uint64_t uaddr = c->at + 0x10000000;
	struct iovec iov[3];
	size_t total = 0;

	ck_assert_int_eq(add(0x2000, 0x800, 0x10002000, 0x1000), 0);
	ck_assert_int_eq(add(0x4000, 0x1000, 0x10004000, 0x3000), 0);
	ck_assert_int_eq(add(0x1000, 0x1000, 0x10001000, 0), 0);
	for (int round = 0; round < 2; round++) {	/* the last look-up is remembered */
		ck_assert_msg(gmem_slice(mem, c->at, c->len, iov, 3) == c->n, "%s", c->name);
		ck_assert_int_eq(gmem_ptr_gpa(mem, c->at, c->len) != NULL, c->in_one);
		ck_assert_int_eq(gmem_ptr_uaddr(mem, uaddr, c->len) != NULL, c->in_one);
	}
	for (size_t i = 0; i < c->n; i++) {
		ck_assert_mem_eq(iov[i].iov_base, ours + (c->at - 0x1000) + total, iov[i].iov_len);
		total += iov[i].iov_len;
	}
	ck_assert_uint_eq(total, c->n ? c->len : 0);
	if (c->n > 1)
		ck_assert_uint_eq(gmem_slice(mem, c->at, c->len, iov, c->n - 1), 0);
}
END_TEST

START_TEST(removed)
{
	ck_assert_int_eq(add(0x1000, 0x1000, 0x5000, 0), 0);
	ck_assert_int_eq(add(0x2000, 0x1000, 0x6000, 0), 0);
	ck_assert(gmem_ptr_gpa(mem, 0x2000, 1) != NULL);
	ck_assert_int_eq(remove_region(0x1000, 0x1000, 0x6000), GMEM_E_NO_REGION);
	ck_assert_int_eq(remove_region(0x1000, 0xfff, 0x5000), GMEM_E_NO_REGION);
	ck_assert_int_eq(remove_region(0x1001, 0x1000, 0x5000), GMEM_E_NO_REGION);
	ck_assert_int_eq(remove_region(0x1000, 0x1000, 0x5000), 0);
	ck_assert_int_eq(remove_region(0x1000, 0x1000, 0x5000), GMEM_E_NO_REGION);
	ck_assert(gmem_ptr_gpa(mem, 0x1000, 1) == NULL);
	ck_assert(gmem_ptr_gpa(mem, 0x2000, 1) != NULL);
	ck_assert_int_eq(remove_region(0x2000, 0x1000, 0x6000), 0);
	ck_assert(gmem_ptr_gpa(mem, 0x2000, 1) == NULL);
	ck_assert_int_eq(add(0x1000, 0x1000, 0x5000, 0), 0);
}
END_TEST

START_TEST(all_slots)
{
	struct iovec iov[VHOST_USER_MEM_SLOTS_MAX];
	const uint64_t n = VHOST_USER_MEM_SLOTS_MAX;

	for (uint64_t i = 0; i < n; i++)	/* in no order: 509 is prime */
		ck_assert_int_eq(add(i * 17 % n * 16, 16, 0, i * 17 % n * 16), 0);
	ck_assert_int_eq(add(n * 16, 16, 0, 0), GMEM_E_NO_SLOT);
	ck_assert_uint_eq(gmem_slice(mem, 0, n * 16, iov, n), n);
	for (size_t i = 0; i < n; i++)
		ck_assert_mem_eq(iov[i].iov_base, ours + i * 16, 16);
	ck_assert_uint_eq(gmem_slice(mem, 0, n * 16, iov, n - 1), 0);
	ck_assert_int_eq(remove_region(16, 16, 0), 0);
	ck_assert_uint_eq(gmem_slice(mem, 0, n * 16, iov, n), 0);
	ck_assert_int_eq(add(16, 16, 0, 16), 0);
	ck_assert_uint_eq(gmem_slice(mem, 0, n * 16, iov, n), n);
}
END_TEST

/* What is mapped counts, whole pages, until it is not. */
START_TEST(limited_bytes)
{
	const struct gmem_limits limits = { .max_memory = 4 * PAGE, .mem_slots = 5 };

	gmem_free(mem);
	ck_assert_int_eq(gmem_new(&mem, &limits), 0);
	ck_assert_int_eq(add(0, 5 * PAGE, 0, 0), GMEM_E_TOO_MUCH);
	ck_assert_int_eq(add(0, 4 * PAGE + 1, 0, 0), GMEM_E_TOO_MUCH);
	ck_assert_int_eq(add(0, 4 * PAGE, 0, 1), GMEM_E_TOO_MUCH);	/* five pages hold it */
	ck_assert_int_eq(add(0, 4 * PAGE, 0, 0), 0);
	ck_assert_int_eq(add(FILE_SIZE, 1, 0, 0), GMEM_E_TOO_MUCH);
	ck_assert_int_eq(remove_region(0, 4 * PAGE, 0), 0);
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(add(i * PAGE, 1, i, i * PAGE), 0);
	ck_assert_int_eq(add(4 * PAGE, 1, 0, 0), GMEM_E_TOO_MUCH);
	ck_assert_int_eq(remove_region(2 * PAGE, 1, 2), 0);
	ck_assert_int_eq(add(4 * PAGE, 1, 0, 0), 0);
	ck_assert(gmem_ptr_gpa(mem, 4 * PAGE, 1) != NULL);
}
END_TEST

START_TEST(limited_regions)
{
	const struct gmem_limits limits = { .max_memory = UINT64_MAX, .mem_slots = 2 };

	gmem_free(mem);
	ck_assert_int_eq(gmem_new(&mem, &limits), 0);
	ck_assert_int_eq(add(PAGE, 1, 0, 0), 0);
	ck_assert_int_eq(add(0, 1, 0, 0), 0);
	ck_assert_int_eq(add(2 * PAGE, 1, 0, 0), GMEM_E_NO_SLOT);
	ck_assert_int_eq(remove_region(PAGE, 1, 0), 0);
	ck_assert_int_eq(add(2 * PAGE, 1, 0, 0), 0);
}
END_TEST

/* The file is truncated: zeroes, not the end; others keep their memory. */
START_TEST(vanishes)
{
	struct gmem *other;
	struct vhost_user_mem_region region = { .gpa = 0, .size = PAGE };
	int other_fd = memfd_create("other", MFD_CLOEXEC);
	GUEST uint8_t *ptr, *other_ptr;

	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	ck_assert_int_eq(ftruncate(other_fd, PAGE), 0);
	ck_assert_int_eq(gmem_new(&other, &all), 0);
	ck_assert_int_eq(gmem_add_region(other, &region, other_fd), 0);
	other_ptr = gmem_ptr_gpa(other, 0, PAGE);
	other_ptr[7] = 77;
	ck_assert_int_eq(add(0, FILE_SIZE, 0, 0), 0);
	ptr = gmem_ptr_gpa(mem, 0, FILE_SIZE);
	ck_assert_uint_eq(ptr[PAGE + 1], ours[PAGE + 1]);
	ck_assert(!gmem_is_lost(mem));

	ck_assert_int_eq(ftruncate(memfd, 2 * PAGE), 0);
	ck_assert_uint_eq(ptr[3 * PAGE + 1], 0);
	ck_assert(gmem_is_lost(mem));
	ck_assert_uint_eq(ptr[PAGE + 1], ours[PAGE + 1]);	/* that one is still there */
	ck_assert_int_eq(ftruncate(memfd, 0), 0);
	ck_assert_uint_eq(ptr[PAGE + 1], 0);
	ptr[5 * PAGE] = 1;
	ck_assert_uint_eq(ptr[5 * PAGE], 1);
	ck_assert(!gmem_is_lost(other));
	ck_assert_uint_eq(other_ptr[7], 77);
	gmem_free(other);
	close(other_fd);
}
END_TEST

/* Not our business: the process ends as it would have. */
START_TEST(other_sigbus_ends_the_process)
{
	volatile uint8_t *ptr = ours;

	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	ck_assert_int_eq(add(0, FILE_SIZE, 0, 0), 0);
	ck_assert_int_eq(ftruncate(memfd, 0), 0);
	ck_assert_uint_eq(ptr[0], 0);
}
END_TEST

/* Sent by somebody: it ends us like any process, at once. */
START_TEST(foreign_sigbus_ends_the_process)
{
	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	ck_assert_int_eq(add(0, FILE_SIZE, 0, 0), 0);
	ck_assert_int_eq(kill(getpid(), SIGBUS), 0);
}
END_TEST

/* The hardware has lost a page that nobody has touched: nothing yet, and the handler
 * stays. _i: of ours, or not. */
START_TEST(early_word_of_a_lost_page)
{
	siginfo_t word = { .si_code = BUS_MCEERR_AO };
	GUEST uint8_t *ptr;

	ck_assert_int_eq(gmem_catch_sigbus(), 0);
	ck_assert_int_eq(add(0, FILE_SIZE, 0, 0), 0);
	ptr = gmem_ptr_gpa(mem, 0, FILE_SIZE);
	word.si_addr = _i ? (void *)(uintptr_t)ptr : ours;
	ck_assert_int_eq((int)syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &word), 0);
	ck_assert(!gmem_is_lost(mem));
	ck_assert_uint_eq(ptr[1], ours[1]);
	ck_assert_int_eq(ftruncate(memfd, 0), 0);
	ck_assert_uint_eq(ptr[1], 0);
	ck_assert(gmem_is_lost(mem));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gmem");
	TCase *tc = tcase_create("gmem");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, add_second, 0, COUNT(add_cases));
	tcase_add_test(tc, add_bad_fd);
	tcase_add_loop_test(tc, look_up, 0, COUNT(look_cases));
	tcase_add_test(tc, removed);
	tcase_add_test(tc, all_slots);
	tcase_add_test(tc, limited_bytes);
	tcase_add_test(tc, limited_regions);
	tcase_add_test(tc, vanishes);
	tcase_add_test_raise_signal(tc, other_sigbus_ends_the_process, SIGBUS);
	tcase_add_test_raise_signal(tc, foreign_sigbus_ends_the_process, SIGBUS);
	tcase_add_loop_test(tc, early_word_of_a_lost_page, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
