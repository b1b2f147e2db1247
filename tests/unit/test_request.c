/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost/request: what a message of each request looks like. */
#include "vhost/request.h"

#include <stddef.h>
#include <string.h>

#include "unit.h"

enum { RINGS = 3 };

#define REGIONS(n) \
	(offsetof(struct vhost_user_mem_table, regions) + (n) * sizeof(struct vhost_user_mem_region))

struct shape_case {
	uint32_t request, size;
	unsigned n_fds;
	uint32_t words[3];			/* first of the payload */
	int result;
};

static const struct shape_case shape_cases[] = {
	{ VHOST_USER_GET_FEATURES, 0, 0, { 0 }, 0 },
	{ VHOST_USER_GET_FEATURES, 8, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_GET_FEATURES, 0, 1, { 0 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_FEATURES, 8, 0, { 0 }, 0 },
	{ VHOST_USER_SET_FEATURES, 0, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_FEATURES, 7, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_FEATURES, 9, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_OWNER, 0, 0, { 0 }, 0 },
	{ VHOST_USER_RESET_OWNER, 0, 0, { 0 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(0), 0, { 0 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(1), 1, { 1 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(8), 8, { 8 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(32), 32, { 32 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(8), 1, { 1 }, 0 },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(1), 2, { 2 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(2) - 1, 2, { 2 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(33), 33, { 33 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(32), 33, { 33 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(1), 1, { UINT32_MAX }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, 7, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(2), 1, { 2 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_MEM_TABLE, REGIONS(2), 3, { 2 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_VRING_NUM, 8, 0, { 2 }, 0 },
	{ VHOST_USER_SET_VRING_NUM, 8, 0, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_NUM, 8, 0, { UINT32_MAX }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_ADDR, 40, 0, { 2 }, 0 },
	{ VHOST_USER_SET_VRING_ADDR, 40, 0, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_ADDR, 39, 0, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_VRING_BASE, 8, 0, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_GET_VRING_BASE, 8, 0, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_GET_VRING_BASE, 8, 0, { 0 }, 0 },
	{ VHOST_USER_SET_VRING_ENABLE, 8, 0, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_KICK, 8, 1, { 2 }, 0 },
	{ VHOST_USER_SET_VRING_KICK, 8, 1, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_KICK, 8, 0, { 2 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_VRING_KICK, 8, 2, { 2 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_VRING_KICK, 8, 0, { 0x102 }, 0 },
	{ VHOST_USER_SET_VRING_KICK, 8, 1, { 0x102 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_VRING_CALL, 8, 1, { 3 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_CALL, 8, 0, { 0x103 }, REQUEST_E_RING },
	{ VHOST_USER_SET_VRING_ERR, 8, 1, { 0 }, 0 },
	{ VHOST_USER_SET_VRING_ERR, 8, 33, { 0 }, REQUEST_E_FDS },
	{ VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, { 0 }, 0 },
	{ VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0, { 0 }, 0 },
	{ VHOST_USER_GET_QUEUE_NUM, 0, 0, { 0 }, 0 },
	{ VHOST_USER_GET_CONFIG, 12, 0, { 0, 0 }, 0 },
	{ VHOST_USER_GET_CONFIG, 20, 0, { 0, 8 }, 0 },
	{ VHOST_USER_GET_CONFIG, 12, 0, { 0, 256 }, 0 },
	{ VHOST_USER_GET_CONFIG, 12, 0, { 0, VU_MSG_CONFIG_MAX }, 0 },
	{ VHOST_USER_GET_CONFIG, 12, 0, { 0, VU_MSG_CONFIG_MAX + 1 }, REQUEST_E_SIZE },
	{ VHOST_USER_GET_CONFIG, 12, 0, { 0, UINT32_MAX }, REQUEST_E_SIZE },
	{ VHOST_USER_GET_CONFIG, 11, 0, { 0, 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_SET_CONFIG, 20, 0, { 0, 8 }, 0 },
	{ VHOST_USER_SET_CONFIG, 20, 0, { 0, 9 }, REQUEST_E_SIZE },
	{ VHOST_USER_RESET_DEVICE, 0, 0, { 0 }, 0 },
	{ VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0, { 0 }, 0 },
	{ VHOST_USER_ADD_MEM_REG, 40, 1, { 0 }, 0 },
	{ VHOST_USER_ADD_MEM_REG, 40, 0, { 0 }, REQUEST_E_FDS },
	{ VHOST_USER_ADD_MEM_REG, 40, 2, { 0 }, REQUEST_E_FDS },
	{ VHOST_USER_ADD_MEM_REG, 32, 1, { 0 }, REQUEST_E_SIZE },
	{ VHOST_USER_REM_MEM_REG, 40, 0, { 0 }, 0 },
	{ VHOST_USER_REM_MEM_REG, 40, 1, { 0 }, 0 },
	{ VHOST_USER_REM_MEM_REG, 40, 2, { 0 }, REQUEST_E_FDS },
	{ VHOST_USER_SET_VRING_ENDIAN, 8, 0, { 0 }, REQUEST_E_UNKNOWN },
	{ 0, 0, 0, { 0 }, REQUEST_E_UNKNOWN },
	{ VHOST_USER_REQUEST_END, 0, 0, { 0 }, REQUEST_E_UNKNOWN },
	{ UINT32_MAX, 0, 0, { 0 }, REQUEST_E_UNKNOWN },
};

START_TEST(shapes)
{
	const struct shape_case *c = &shape_cases[_i];
	static struct msg msg;

	memset(&msg, 0, sizeof msg);
	msg.hdr = (struct vhost_user_hdr){ c->request, VHOST_USER_VERSION, c->size };
	msg.n_fds = c->n_fds;
	memcpy(msg.payload.bytes, c->words, sizeof c->words);
	ck_assert_msg(request_check(&msg, RINGS) == c->result, "%s, %u bytes, %u fds",
		      request_name(c->request), c->size, c->n_fds);
}
END_TEST

/* Every request has a name; a request that is not served says so. */
START_TEST(every_request)
{
	static struct msg msg;

	msg.hdr.request = (uint32_t)_i;
	ck_assert_str_ne(request_name((uint32_t)_i), "unknown request");
	ck_assert_ptr_nonnull(request_str_error(request_check(&msg, RINGS) | REQUEST_E_SIZE));
}
END_TEST

/* The whole table: nothing that is not handled is let through, and nothing lacks a name. */
START_TEST(handled_or_refused)
{
	const struct request *request = request_find((uint32_t)_i);
	struct msg msg = { .hdr = { (uint32_t)_i, VHOST_USER_VERSION, request->size } };

	if (!request->handle)
		ck_assert_int_eq(request_check(&msg, RINGS), REQUEST_E_UNKNOWN);
	else
		ck_assert_int_ne(request_check(&msg, RINGS), REQUEST_E_UNKNOWN);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("request");
	TCase *tc = tcase_create("request");

	tcase_add_loop_test(tc, shapes, 0, COUNT(shape_cases));
	tcase_add_loop_test(tc, every_request, 1, VHOST_USER_REQUEST_END);
	tcase_add_loop_test(tc, handled_or_refused, 1, VHOST_USER_REQUEST_END);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
