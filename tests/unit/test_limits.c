/* SPDX-License-Identifier: BSD-3-Clause */
/* How the VMs share descriptors: who is cut, to what, and that all fit then. */
#include <string.h>

#include "config/plan.h"
#include "daemon/limits.h"
#include "protocol/vhost_user.h"
#include "unit.h"

enum { VMS_MAX = 1000 };

struct fit_case {
	const char *name;
	uint64_t n_fds;
	size_t n_vms;
	uint32_t first, others;			/* max_connections before ... */
	uint32_t share, first_then, others_then;	/* ... and after */
};

static const struct fit_case fit_cases[] = {
	{ "one VM has room", 1 << 20, 1, 4096, 0, 0, 4096, 0 },
	{ "no limit at all", UINT64_MAX, VMS_MAX, 1 << 20, 1 << 20, 0, 1 << 20, 1 << 20 },
	{ "one VM exactly", 4096 + 1024 + 64 + 4 + 16, 1, 4096, 0, 0, 4096, 0 },
	{ "one VM, one too few", 4096 + 1024 + 64 + 4 + 16 - 1, 1, 4096, 0, 3840, 3840, 0 },
	{ "the usual soft limit", 1024, 1, 4096, 0, 704, 704, 0 },
	{ "a modest one keeps what it has", 10000, 2, 1 << 20, 100, 3840, 3840, 100 },
	{ "a thousand", 1 << 20, VMS_MAX, 4096, 4096, 768, 768, 768 },
	{ "a thousand and few", 20000, VMS_MAX, 4096, 4096, 1, 1, 1 },
	{ "not even the fixed ones", 1000, VMS_MAX, 4096, 4096, 1, 1, 1 },
};

START_TEST(fit)
{
	const struct fit_case *c = &fit_cases[_i];
	static struct vm_plan vms[VMS_MAX];
	struct plan plan = { .vms = vms, .n_vms = c->n_vms, .api_socket.fd = -1 };
	uint64_t used = 64 + 4;

	for (size_t i = 0; i < c->n_vms; i++)
		vms[i].said.max_connections = i ? c->others : c->first;
	limits_fit(&plan, c->n_fds, 1);
	ck_assert_msg(plan.connections_share == c->share, "%s: %u", c->name, plan.connections_share);
	for (size_t i = 0; i < c->n_vms; i++) {
		uint32_t n = vms[i].limits.max_connections;

		ck_assert_uint_eq(n, i ? c->others_then : c->first_then);
		used += 16 + n + limits_handshakes(n);
	}
	ck_assert_uint_eq(limits_files(&plan, 1), used);
	if (c->share > 1)
		ck_assert_uint_le(used, c->n_fds);
}
END_TEST

/* One VM more is, mostly, no reason to tell all the others of their shares; and what they get is
 * what they would have had from the start, in whatever order VMs came and went. */
START_TEST(shares_are_steady)
{
	static struct vm_plan vms[VMS_MAX];
	struct plan plan = { .vms = vms, .api_socket.fd = -1 }, before = plan;
	unsigned n_changes = 0;

	for (size_t i = 0; i < VMS_MAX; i++)
		vms[i] = (struct vm_plan){ .said.max_connections = 4096 };
	for (plan.n_vms = 1; plan.n_vms <= VMS_MAX; plan.n_vms++) {
		limits_share_memory(&plan, UINT64_C(96) << 40, 65530, 2);
		limits_fit(&plan, 100000, 2);
		n_changes += plan.memory_share != before.memory_share ||
			plan.connections_share != before.connections_share ||
			plan.mem_slots != before.mem_slots;
		before = plan;
	}
	ck_assert_uint_lt(n_changes, 160);
	ck_assert_uint_lt(vms[0].limits.max_connections, 100);
	plan.n_vms = 1;
	limits_fit(&plan, 100000, 2);
	ck_assert_uint_eq(vms[0].limits.max_connections, 4096);
}
END_TEST

START_TEST(handshakes)
{
	ck_assert_uint_eq(limits_handshakes(1), 4);
	ck_assert_uint_eq(limits_handshakes(100), 25);
	ck_assert_uint_eq(limits_handshakes(4096), 1024);
	ck_assert_uint_eq(limits_handshakes(1 << 20), 1024);
}
END_TEST

/* Bytes of a path, and the digits of a port that fit behind it. */
static const struct {
	size_t len;
	unsigned digits;
} room_cases[] = {
	{ 1, 10 }, { 96, 10 }, { 97, 9 }, { 105, 1 }, { 106, 0 }, { 107, 0 },
};

START_TEST(room_for_ports)
{
	char path[128] = "";

	memset(path, 'x', room_cases[_i].len);
	ck_assert_uint_eq(limits_port_digits(path), room_cases[_i].digits);
}
END_TEST

/* ---- memory ---- */

#define GIB	(UINT64_C(1) << 30)
#define TIB	(UINT64_C(1) << 40)
#define SPACE	(96 * TIB)			/* three quarters of 47 bits */

static const struct memory_case {
	const char *name;
	uint64_t space;
	size_t n_vms, n_workers;
	uint64_t first, others;			/* max_memory before; 0: not said ... */
	uint64_t first_then, others_then;	/* ... and after */
	bool fits;
} memory_cases[] = {
	{ "one VM", SPACE, 1, 1, 0, 0, 16 * TIB, 0, true },
	{ "two", SPACE, 2, 2, 0, 0, 16 * TIB, 16 * TIB, true },
	{ "as many as have the most", SPACE, 4, 2, 0, 0, 16 * TIB, 16 * TIB, true },
	{ "one more", SPACE, 5, 2, 0, 0, 13 * TIB, 13 * TIB, true },
	{ "a thousand", SPACE, VMS_MAX, 2, 0, 0, 96 * GIB, 96 * GIB, true },
	{ "39 bits", 384 * GIB, 2, 2, 0, 0, 96 * GIB, 96 * GIB, true },
	{ "one says more than a share", SPACE, 10, 1, 30 * TIB, 0, 30 * TIB, 7 * TIB / 2, true },
	{ "one says little", SPACE, 3, 1, GIB, 0, GIB, 16 * TIB, true },
	{ "all say what fits exactly", SPACE, 2, 1, 32 * TIB, 32 * TIB, 32 * TIB, 32 * TIB, true },
	{ "all say a byte too much", SPACE, 2, 1, 32 * TIB + 1, 32 * TIB, 32 * TIB + 1, 32 * TIB,
	  false },
	{ "one says all", SPACE, 3, 1, SPACE, 0, SPACE, 16 * TIB, false },
	{ "one leaves nothing", SPACE, 3, 1, SPACE / 2, 0, SPACE / 2, 16 * TIB, false },
	{ "beyond all arithmetic", SPACE, VMS_MAX, 1024, UINT64_C(1) << 56, UINT64_C(1) << 56,
	  UINT64_C(1) << 56, UINT64_C(1) << 56, false },
	{ "hardly any space", 1, 3, 1, 0, 0, 1, 1, true },
};

START_TEST(share_memory)
{
	const struct memory_case *c = &memory_cases[_i];
	static struct vm_plan vms[VMS_MAX];
	struct plan plan = { .vms = vms, .n_vms = c->n_vms };
	uint64_t used = 0, largest = 0;

	for (size_t i = 0; i < c->n_vms; i++)
		vms[i].said.max_memory = i ? c->others : c->first;
	limits_share_memory(&plan, c->space, 65530, c->n_workers);
	ck_assert_msg(plan.has_too_little_memory == !c->fits, "%s", c->name);
	for (size_t i = 0; i < c->n_vms; i++) {
		uint64_t bytes = vms[i].max_memory;

		ck_assert_uint_eq(bytes, i ? c->others_then : c->first_then);
		used += bytes;
		largest = bytes > largest ? bytes : largest;
	}
	if (c->fits && c->space > 1)		/* each worker replaces the largest table */
		ck_assert_uint_le(used + c->n_workers * largest, c->space);
}
END_TEST

static const struct {
	uint64_t max_maps;
	size_t n_vms, n_workers;
	uint32_t slots;
} slot_cases[] = {
	{ 65530, 1, 1, 509 }, { 65530, 100, 2, 509 }, { 65530, 124, 2, 510 - 1 },
	{ 65530, 125, 2, 480 }, { 65530, 1000, 2, 60 }, { 65530, 20000, 64, 8 },
	{ UINT64_MAX, 1000, 1024, 509 }, { 1 << 20, 1000, 64, 509 }, { 100, 1, 1, 8 },
};

START_TEST(share_slots)
{
	static struct vm_plan vms[20000];
	struct plan plan = { .vms = vms, .n_vms = slot_cases[_i].n_vms };

	limits_share_memory(&plan, SPACE, slot_cases[_i].max_maps, slot_cases[_i].n_workers);
	ck_assert_uint_eq(plan.mem_slots, slot_cases[_i].slots);
	if (plan.mem_slots > 8)		/* what it has in any case */
		ck_assert_uint_le(plan.mem_slots * plan.n_vms, slot_cases[_i].max_maps);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("limits");
	TCase *tc = tcase_create("limits");

	tcase_add_loop_test(tc, fit, 0, COUNT(fit_cases));
	tcase_add_loop_test(tc, share_memory, 0, COUNT(memory_cases));
	tcase_add_loop_test(tc, share_slots, 0, COUNT(slot_cases));
	tcase_add_test(tc, shares_are_steady);
	tcase_add_test(tc, handshakes);
	tcase_add_loop_test(tc, room_for_ports, 0, COUNT(room_cases));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
