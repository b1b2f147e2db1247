/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings and packets that are not in order. A bad chain or index breaks its ring:
 * the error eventfd is signalled, that ring alone rests, and SET_VRING_* brings
 * it back. A bad packet in a good chain costs that packet only. The neighbour on the
 * same worker notices nothing.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/neighbour.h"

#define BIT(n)	(UINT64_C(1) << (n))
#define NOWHERE	UINT64_C(0x200000000)

/* Free guest memory that no driver buffer uses. */
static uint64_t scratch(void)
{
	return guest_alloc(&vm.guest, 1, 8192, 64);
}

static void head_too_large(struct guest_ring *r)
{
	guest_ring_raw_post(r, (uint16_t)r->num);
}

static void head_max(struct guest_ring *r)
{
	guest_ring_raw_post(r, 0xffff);
}

static void idx_beyond_size(struct guest_ring *r)
{
	guest_ring_raw_avail_idx(r, (uint16_t)(r->last_used + r->num + 1));
}

static void idx_goes_back(struct guest_ring *r)
{
	guest_ring_raw_avail_idx(r, (uint16_t)(guest_ring_used_idx(r) - 1));
}

static void address_outside(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, NOWHERE, 44, 0, 0);
	guest_ring_raw_post(r, 0);
}

static void address_wraps(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, UINT64_MAX - 10, 44, 0, 0);
	guest_ring_raw_post(r, 0);
}

static void length_runs_out_of_memory(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, scratch(), 0xffffffff, 0, 0);
	guest_ring_raw_post(r, 0);
}

static void chain_loops(struct guest_ring *r)
{
	uint64_t at = scratch();

	guest_ring_raw_desc(r, 0, at, 22, VIRTQ_DESC_F_NEXT, 1);
	guest_ring_raw_desc(r, 1, at, 22, VIRTQ_DESC_F_NEXT, 0);
	guest_ring_raw_post(r, 0);
}

static void chain_loops_on_itself(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, scratch(), 22, VIRTQ_DESC_F_NEXT, 0);
	guest_ring_raw_post(r, 0);
}

static void next_too_large(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, scratch(), 22, VIRTQ_DESC_F_NEXT, (uint16_t)r->num);
	guest_ring_raw_post(r, 0);
}

static void indirect_odd_size(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, scratch(), 17, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static void indirect_empty(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, scratch(), 0, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static void indirect_outside(struct guest_ring *r)
{
	guest_ring_raw_desc(r, 0, NOWHERE, 16, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static void put_table(uint64_t table, unsigned flags, unsigned next)
{
	struct wire_virtq_desc d = {
		le64_of(scratch()), le32_of(44), le16_of((uint16_t)flags),
		le16_of((uint16_t)next),
	};

	guest_write(&vm.guest, table, &d, sizeof d);
}

static void indirect_nested(struct guest_ring *r)
{
	uint64_t table = scratch();

	put_table(table, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_desc(r, 0, table, 16, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static void indirect_next_too_large(struct guest_ring *r)
{
	uint64_t table = scratch();

	put_table(table, VIRTQ_DESC_F_NEXT, 1);
	guest_ring_raw_desc(r, 0, table, 16, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static void indirect_loops(struct guest_ring *r)
{
	uint64_t table = scratch();

	put_table(table, VIRTQ_DESC_F_NEXT, 0);
	guest_ring_raw_desc(r, 0, table, 16, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(r, 0);
}

static const struct breakage {
	const char *name;
	void (*apply)(struct guest_ring *r);
} breakages[] = {
	{ "head_too_large", head_too_large },
	{ "head_max", head_max },
	{ "idx_beyond_size", idx_beyond_size },
	{ "idx_goes_back", idx_goes_back },
	{ "address_outside", address_outside },
	{ "address_wraps", address_wraps },
	{ "length_runs_out_of_memory", length_runs_out_of_memory },
	{ "chain_loops", chain_loops },
	{ "chain_loops_on_itself", chain_loops_on_itself },
	{ "next_too_large", next_too_large },
	{ "indirect_odd_size", indirect_odd_size },
	{ "indirect_empty", indirect_empty },
	{ "indirect_outside", indirect_outside },
	{ "indirect_nested", indirect_nested },
	{ "indirect_next_too_large", indirect_next_too_large },
	{ "indirect_loops", indirect_loops },
};
enum { N_BREAKAGES = sizeof breakages / sizeof breakages[0] };

static void check_err(struct guest_ring *r, const char *name)
{
	ck_assert_msg(deadline_poll(r->err_fd, POLLIN, deadline_in(DEADLINE_MS)),
		      "%s: the error eventfd was not signalled", name);
}

/* The other direction goes on. */
static void check_rx_works(struct pair p)
{
	uint32_t before = p.guest->n_queue;
	int64_t deadline = deadline_in(DEADLINE_MS);

	ck_assert(host_write(p.host, "x", 1));
	while (p.guest->n_queue == before)
		ck_assert(driver_wait(&vm, deadline, false));
}

START_TEST(broken_tx_ring_stops_alone_and_comes_back)
{
	const struct breakage *b = &breakages[_i];
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	uint16_t used;

	e2e_check_talks(p);
	ck_assert(driver_flush(&vm));
	used = guest_ring_used_idx(tx);
	b->apply(tx);
	guest_ring_kick(tx);
	check_err(tx, b->name);
	ck_assert_uint_eq(guest_ring_used_idx(tx), used);
	ck_assert(!deadline_poll(vm.vq[VSOCK_RXQ].err_fd, POLLIN, 0));
	check_rx_works(p);
	guest_ring_kick(tx);				/* ignored */
	ck_assert(driver_is_quiet(&vm, QUIET_MS / 4));
	driver_reboot(&vm);
	e2e_check_alive();
}
END_TEST

START_TEST(broken_rx_ring_stops_alone_and_comes_back)
{
	struct driver_options opt = { .n_rx_bufs = 1, .queue_size = 64 };
	const struct breakage *b = &breakages[_i];
	struct guest_ring *rx = &vm.vq[VSOCK_RXQ];
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	vm.holds_rx = true;
	ck_assert(host_write(p.host, "x", 1));	/* takes the only good buffer */
	ck_assert(driver_wait(&vm, deadline_in(DEADLINE_MS), false));
	b->apply(rx);
	guest_ring_kick(rx);
	ck_assert(host_write(p.host, "y", 1));
	check_err(rx, b->name);
	ck_assert(!deadline_poll(vm.vq[VSOCK_TXQ].err_fd, POLLIN, 0));
	ck_assert_uint_eq(sock_send_some(p.guest, "still", 5), 5);
	{
		char got[6] = "";

		ck_assert_uint_eq(host_read(p.host, got, 5), 5);
		ck_assert_str_eq(got, "still");
	}
	vm.holds_rx = false;
	driver_reboot(&vm);
	e2e_check_alive();
}
END_TEST

START_TEST(broken_ring_comes_back_by_set_vring_alone)
{
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	head_too_large(tx);
	guest_ring_kick(tx);
	check_err(tx, "head_too_large");
	driver_rewind(&vm, 0);
	ck_assert_int_eq(driver_program(&vm), 0);
	e2e_check_alive();
}
END_TEST

static void pass_second(void)
{
	ck_assert(driver_is_quiet(&vm, 1000));
}

START_TEST(broken_ring_costs_no_time)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	head_too_large(tx);
	guest_ring_kick(tx);
	check_err(tx, "head_too_large");
	for (int i = 0; i < 100; i++)
		guest_ring_kick(tx);
	check_rx_works(p);
	neighbour_rest();
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_second, 100, UINT64_MAX));
}
END_TEST

START_TEST(indirect_without_the_feature_breaks_the_ring)
{
	struct driver_options opt = { .without = BIT(VIRTIO_F_INDIRECT_DESC) };
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	uint64_t table;

	driver_up(&vm, vhd.socket, &opt);
	e2e_check_alive();
	ck_assert(driver_flush(&vm));
	table = scratch();
	put_table(table, 0, 0);
	guest_ring_raw_desc(tx, 0, table, 16, VIRTQ_DESC_F_INDIRECT, 0);
	guest_ring_raw_post(tx, 0);
	guest_ring_kick(tx);
	check_err(tx, "indirect");
}
END_TEST

static const uint32_t cut_lens[] = { 100, 101, 0xffffffff };

/* Data that is not all there would leave a hole in the stream: it ends in a reset, and
 * what came before arrives. */
START_TEST(data_cut_short_resets_its_connection)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds), other = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt pkt = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	uint64_t at = scratch();
	struct guest_ring_buf b = { at, 44 + 99, false };
	char got[6] = "";

	pkt.len = cut_lens[_i];
	ck_assert(sock_send(p.guest, "before", 6));
	driver_put_header(&vm, at, &pkt);
	ck_assert(guest_ring_add(tx, &b, 1, --vm.n_tx_free));
	guest_ring_publish(tx);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert_uint_eq(host_read(p.host, got, sizeof got), sizeof got);
	ck_assert_mem_eq(got, "before", sizeof got);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_talks(other);
}
END_TEST

/* One raw TX chain, given back with length 0, and nothing comes of it. */
static void check_dropped(const struct guest_ring_buf *b, unsigned n)
{
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];

	ck_assert(driver_flush(&vm));
	ck_assert(guest_ring_add(tx, b, n, --vm.n_tx_free));
	guest_ring_publish(tx);
	ck_assert(driver_flush(&vm));
	ck_assert(driver_is_quiet(&vm, QUIET_MS / 4));
	ck_assert(!deadline_poll(tx->err_fd, POLLIN, 0));
}

START_TEST(bad_packet_in_a_good_chain_is_returned_and_dropped)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt pkt = driver_pkt(&vm, VSOCK_OP_CREDIT_UPDATE, p.guest->port, PORT);
	uint64_t at = scratch();
	struct guest_ring_buf b = { at, 44, false };

	pkt.len = 100;
	driver_put_header(&vm, at, &pkt);
	check_dropped(&b, 1);			/* shorter than it says */
	pkt.op = VSOCK_OP_RW;
	pkt.src_port++;				/* data, of no connection */
	driver_put_header(&vm, at, &pkt);
	check_dropped(&b, 1);
	b.len = 43;				/* a header cut short */
	check_dropped(&b, 1);
	b.len = 1;
	check_dropped(&b, 1);
	b.len = 4096;
	b.writable = true;			/* nothing to read at all */
	check_dropped(&b, 1);
	e2e_check_talks(p);
}
END_TEST

START_TEST(guest_that_exceeds_its_credit_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct pair other = e2e_host_connects(&vm, vhd.uds);
	struct driver_pkt rw = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);
	static uint8_t bytes[65536];

	/* The host does not read, so credit ends; then more than that. */
	while (sock_send_some(p.guest, bytes, sizeof bytes) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		;
	ck_assert_int_eq(p.guest->state, SOCK_OPEN);
	rw.len = 1;
	p.guest->sent += rw.len;
	ck_assert(driver_send(&vm, &rw, bytes));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_talks(other);
	e2e_check_alive();
}
END_TEST

START_TEST(guest_that_shrinks_buf_alloc_gets_nothing_more)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	static uint8_t bytes[600000];
	uint32_t had;

	p.guest->buf_alloc = 100000;		/* told before any data */
	sock_tell_credit(p.guest);
	ck_assert(driver_flush(&vm));
	pattern_fill(bytes, sizeof bytes, 0, 1);
	ck_assert(host_write(p.host, bytes, 150000));
	while (p.guest->n_queue < 100000)
		ck_assert(driver_wait(&vm, deadline_in(DEADLINE_MS), false));
	{
		struct driver_pkt u = driver_pkt(&vm, VSOCK_OP_CREDIT_UPDATE,
						 PORT, p.guest->peer_port);

		u.buf_alloc = 10;		/* below what is in flight */
		ck_assert(driver_send(&vm, &u, NULL));
	}
	ck_assert(driver_flush(&vm));
	had = p.guest->arrived;
	ck_assert(!driver_wait(&vm, deadline_in(QUIET_MS), false) ||
		  p.guest->arrived == had);
	ck_assert_uint_eq(p.guest->arrived, 100000);
	sock_tell_credit(p.guest);		/* as before */
	ck_assert_uint_eq(sock_recv_full(p.guest, bytes, 150000), 150000);
	ck_assert_uint_eq(pattern_check(bytes, 150000, 0, 1), 150000);
}
END_TEST

START_TEST(bad_fwd_cnt_harms_only_its_connection)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	struct pair other = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt u = driver_pkt(&vm, VSOCK_OP_CREDIT_UPDATE, PORT,
					 p.guest->peer_port);

	e2e_check_host_to_guest(p, 1000, 1);
	u.fwd_cnt = 0x80000000;			/* never sent that much */
	ck_assert(driver_send(&vm, &u, NULL));
	e2e_check_talks(other);
	e2e_check_alive();
}
END_TEST

START_TEST(flood_of_bad_packets_does_not_flood_the_log)
{
	struct driver_pkt bad = driver_pkt(&vm, VSOCK_OP_RW, 1, 2);
	char *log;

	bad.src_cid = 77;
	for (int i = 0; i < 20000; i++)
		ck_assert(driver_send(&vm, &bad, NULL));
	ck_assert(driver_flush(&vm));
	log = daemon_log(&vhd);
	ck_assert_uint_lt(strlen(log), 20000);
	free(log);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broken");
	TCase *tc = neighbour_case(s, "broken", neighbour_setup_vm, neighbour_teardown, 60);

	tcase_add_loop_test(tc, broken_tx_ring_stops_alone_and_comes_back, 0,
			    N_BREAKAGES);
	tcase_add_test(tc, broken_ring_comes_back_by_set_vring_alone);
	tcase_add_test(tc, broken_ring_costs_no_time);
	tcase_add_loop_test(tc, data_cut_short_resets_its_connection, 0,
			    (int)(sizeof cut_lens / sizeof *cut_lens));
	tcase_add_test(tc, bad_packet_in_a_good_chain_is_returned_and_dropped);
	tcase_add_test(tc, guest_that_exceeds_its_credit_rst);
	tcase_add_test(tc, guest_that_shrinks_buf_alloc_gets_nothing_more);
	tcase_add_test(tc, bad_fwd_cnt_harms_only_its_connection);
	tcase_add_test(tc, flood_of_bad_packets_does_not_flood_the_log);
	tc = neighbour_case(s, "other vm", neighbour_setup_daemon, neighbour_teardown, 60);
	tcase_add_loop_test(tc, broken_rx_ring_stops_alone_and_comes_back, 0,
			    N_BREAKAGES);
	tcase_add_test(tc, indirect_without_the_feature_breaks_the_ring);
	return e2e_run(s);
}
