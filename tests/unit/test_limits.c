/* SPDX-License-Identifier: BSD-3-Clause */
/* How the VMs share descriptors: who is cut, to what, and that all fit then. */
#include <string.h>

#include "config/limits.h"
#include "config/plan.h"
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
	{ "one VM, one too few", 4096 + 1024 + 64 + 4 + 16 - 1, 1, 4096, 0, 4092, 4092, 0 },
	{ "the usual soft limit", 1024, 1, 4096, 0, 748, 748, 0 },
	{ "a modest one keeps what it has", 10000, 2, 1 << 20, 100, 3956, 3956, 100 },
	{ "a thousand", 1 << 20, VMS_MAX, 4096, 4096, 822, 822, 822 },
	{ "a thousand and few", 20000, VMS_MAX, 4096, 4096, 1, 1, 1 },
	{ "not even the fixed ones", 1000, VMS_MAX, 4096, 4096, 1, 1, 1 },
};

START_TEST(fit)
{
	const struct fit_case *c = &fit_cases[_i];
	static struct vm_plan vms[VMS_MAX];
	struct plan plan = { .vms = vms, .n_vms = c->n_vms };
	uint64_t used = 64 + 4;

	for (size_t i = 0; i < c->n_vms; i++)
		vms[i].max_connections = i ? c->others : c->first;
	ck_assert_msg(limits_fit(&plan, c->n_fds, 1) == c->share, "%s", c->name);
	for (size_t i = 0; i < c->n_vms; i++) {
		uint32_t n = vms[i].max_connections;

		ck_assert_uint_eq(n, i ? c->others_then : c->first_then);
		used += 16 + n + limits_handshakes(n);
	}
	if (c->share > 1)
		ck_assert_uint_le(used, c->n_fds);
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

int main(void)
{
	Suite *suite = suite_create("limits");
	TCase *tc = tcase_create("limits");

	tcase_add_loop_test(tc, fit, 0, COUNT(fit_cases));
	tcase_add_test(tc, handshakes);
	tcase_add_loop_test(tc, room_for_ports, 0, COUNT(room_cases));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
