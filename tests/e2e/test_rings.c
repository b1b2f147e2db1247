/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings that are in order: every layout of chains, every size, indices anywhere
 * and around the wrap, all the ways of notification, memory that changes.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/e2e.h"

#define BIT(n)	(UINT64_C(1) << (n))

/* Bytes both ways through a VM of this kind, many times around its rings. */
static void check_vm(const struct driver_options *opt, size_t len)
{
	struct host_job j = { .to_write = len, .to_read = len, .echo = true };
	uint8_t *bytes = malloc(len);
	struct pair p;
	size_t sent = 0, got = 0, n;
	int64_t deadline = deadline_in(DEADLINE_MS);

	driver_up(&vm, vhd.socket, opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	pattern_fill(bytes, len, 0, 1);
	j.fd = p.host;
	j.read_seed = 1;
	host_job_start(&j);
	while (got < len) {			/* written, echoed, read */
		n = sent < len ? len - sent : 0;
		sent += sock_send_some(p.guest, bytes + sent, n < 3000 ? n : 3000);
		while (p.guest->n_queue) {
			uint8_t chunk[8192];
			ssize_t r = sock_recv(p.guest, chunk, sizeof chunk, 0);

			ck_assert_uint_eq(pattern_check(chunk, (size_t)r, got, 1), r);
			got += (size_t)r;
		}
		if (!driver_turn(&vm) && (sent == len || !sock_room(p.guest) ||
					  !driver_can_send(&vm)))
			ck_assert_msg(driver_wait(&vm, deadline, true),
				      "stuck: sent %zu, got %zu", sent, got);
	}
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
	free(bytes);
	e2e_close(p);
	p = e2e_host_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	e2e_close(p);
}

START_TEST(tx_layout)
{
	check_vm(&(struct driver_options){ .tx_shape = (enum tx_shape)_i }, 1 << 20);
}
END_TEST

START_TEST(rx_layout)
{
	check_vm(&(struct driver_options){ .rx_shape = (enum rx_shape)_i }, 1 << 20);
}
END_TEST

static const uint32_t sizes[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 };

START_TEST(ring_size)
{
	struct driver_options opt = {
		.queue_size = sizes[_i],
		.tx_shape = sizes[_i] < 8 ? TX_ONE : TX_TWO,
	};

	check_vm(&opt, sizes[_i] < 8 ? 256 << 10 : 2 << 20);
}
END_TEST

static const uint16_t bases[] = { 1, 127, 128, 32767, 32768, 65400, 65535 };

START_TEST(ring_base_and_index_wrap)
{
	check_vm(&(struct driver_options){ .base = bases[_i] }, 1 << 20);
}
END_TEST

START_TEST(ring_index_wraps_twice)
{
	struct pair p;
	char c = 'x';

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	while (vm.n_tx_pkts < 140000) {
		for (int i = 0; i < 60; i++)
			sock_tell_credit(p.guest);
		ck_assert(driver_flush(&vm));
	}
	ck_assert(sock_send(p.guest, &c, 1));
	e2e_check_host_to_guest(p, 10, 1);
}
END_TEST

static const struct feature_set {
	const char *name;
	uint64_t without;
} feature_sets[] = {
	{ "all", 0 },
	{ "no event_idx", BIT(VIRTIO_F_EVENT_IDX) },
	{ "no in_order", BIT(VIRTIO_F_IN_ORDER) },
	{ "no notify_on_empty", BIT(VIRTIO_F_NOTIFY_ON_EMPTY) },
	{ "as Linux", BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_NOTIFY_ON_EMPTY) },
	{ "version_1 only", ~BIT(VIRTIO_F_VERSION_1) },
};

START_TEST(features)
{
	check_vm(&(struct driver_options){ .without = feature_sets[_i].without },
		 2 << 20);
}
END_TEST

static const struct start_habits *const front_ends[] = {
	&START_QEMU, &START_CLOUD_HYPERVISOR, &START_LIBKRUN, &START_STRATOVIRT,
	&START_OLD,
};

START_TEST(front_end)
{
	check_vm(&(struct driver_options){ .habits = front_ends[_i] }, 1 << 20);
}
END_TEST

static const uint64_t offsets[] = { 0x1000, 0x230, 0xff0, 0x12340 };

START_TEST(mmap_offset)
{
	check_vm(&(struct driver_options){ .mmap_offset = offsets[_i],
					   .tx_shape = TX_TWO }, 1 << 20);
}
END_TEST

static const uint32_t rx_sizes[] = { 45, 46, 64, 100, 1000, 4095, 8192, 65580 };

START_TEST(rx_buffer_size)
{
	size_t len = rx_sizes[_i] < 100 ? 20000 : 1 << 20;

	check_vm(&(struct driver_options){ .rx_buf_len = rx_sizes[_i] }, len);
}
END_TEST

START_TEST(no_interrupt_flag_means_no_call)
{
	struct driver_options opt = {
		.without = BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_NOTIFY_ON_EMPTY),
	};
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ], *rx = &vm.vq[VSOCK_RXQ];
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	ck_assert(driver_flush(&vm));
	guest_ring_refuse_calls(tx);
	guest_ring_refuse_calls(rx);
	guest_ring_take_call(tx);
	guest_ring_take_call(rx);
	sock_tell_credit(p.guest);
	ck_assert(host_write(p.host, "x", 1));
	while (!guest_ring_has_used(tx) || !guest_ring_has_used(rx))
		ck_assert(deadline_left(deadline));
	ck_assert(!deadline_poll(tx->call_fd, POLLIN, deadline_in(QUIET_MS / 2)));
	ck_assert(!deadline_poll(rx->call_fd, POLLIN, deadline_in(QUIET_MS / 2)));
}
END_TEST

/* A caller that never asks (used_event far away) is not called. */
START_TEST(used_event_not_reached_means_no_call)
{
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	struct driver_options opt = { .without = BIT(VIRTIO_F_NOTIFY_ON_EMPTY) };
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	ck_assert(driver_flush(&vm));
	guest_ring_set_used_event(tx, (uint16_t)(guest_ring_used_idx(tx) + 2));
	guest_ring_take_call(tx);
	for (int i = 0; i < 2; i++) {
		sock_tell_credit(p.guest);
		while (!guest_ring_has_used(tx) || guest_ring_used_idx(tx) != tx->published)
			ck_assert(deadline_left(deadline));
	}
	ck_assert(!deadline_poll(tx->call_fd, POLLIN, deadline_in(QUIET_MS / 2)));
	sock_tell_credit(p.guest);
	ck_assert(deadline_poll(tx->call_fd, POLLIN, deadline_in(DEADLINE_MS)));
}
END_TEST

/* 6.3: with the ring empty the driver is called although it refused. */
START_TEST(notify_on_empty_calls_against_no_interrupt)
{
	struct driver_options opt = { .without = BIT(VIRTIO_F_EVENT_IDX) };
	struct guest_ring *tx = &vm.vq[VSOCK_TXQ];
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	ck_assert(driver_flush(&vm));
	guest_ring_refuse_calls(tx);
	guest_ring_take_call(tx);
	sock_tell_credit(p.guest);
	ck_assert(deadline_poll(tx->call_fd, POLLIN, deadline_in(DEADLINE_MS)));
}
END_TEST

START_TEST(kicks_are_asked_for_sparingly)
{
	static const uint8_t bytes[4 << 20];
	struct pair p;
	uint64_t kicks, pkts;
	uint8_t *sink = malloc(sizeof bytes);
	size_t sent = 0;

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	kicks = vm.vq[VSOCK_TXQ].n_kicks;
	pkts = vm.n_tx_pkts;
	for (sent = 0; sent < sizeof bytes; sent += 32768) {
		for (int i = 0; i < 32; i++)	/* published one by one */
			ck_assert(sock_send(p.guest, bytes, 1024));
		ck_assert_uint_eq(host_read(p.host, sink, 32768), 32768);
	}
	kicks = vm.vq[VSOCK_TXQ].n_kicks - kicks;
	pkts = vm.n_tx_pkts - pkts;
	ck_assert_uint_lt(kicks, pkts);
	free(sink);
}
END_TEST

/* A packet whose header and data are scattered, also over two regions. */
START_TEST(buffers_cross_regions)
{
	struct driver_pkt pkt;
	struct guest_ring_buf b;
	uint8_t bytes[6000], got[6000];
	uint64_t border = UINT64_C(0x300000000);
	unsigned first;
	struct pair p;

	driver_init(&vm, NULL);
	first = guest_add_region(&vm.guest, border - 0x10000, 0x10000, 0);
	guest_add_region(&vm.guest, border, 0x10000, 0x2000);
	ck_assert_uint_eq(first, 2);
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (uint32_t before = 1; before < 5000; before += 21) {
		pkt = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);
		pkt.len = sizeof bytes - 44;
		b = (struct guest_ring_buf){ border - before, 44 + pkt.len, false };
		pattern_fill(bytes, pkt.len, 0, before);
		driver_put_header(&vm, b.gpa, &pkt);
		guest_write(&vm.guest, b.gpa + 44, bytes, pkt.len);
		ck_assert(guest_ring_add(&vm.vq[VSOCK_TXQ], &b, 1, --vm.n_tx_free));
		guest_ring_publish(&vm.vq[VSOCK_TXQ]);
		p.guest->sent += pkt.len;
		ck_assert_uint_eq(host_read(p.host, got, pkt.len), pkt.len);
		ck_assert_mem_eq(got, bytes, pkt.len);
		ck_assert(driver_flush(&vm));
	}
}
END_TEST

START_TEST(rx_buffers_cross_regions)
{
	uint64_t border = UINT64_C(0x300000000);
	struct guest_ring_buf b = { border - 100, 4096, true };
	struct driver_options opt = { .n_rx_bufs = 1 };
	struct guest_ring *rx = &vm.vq[VSOCK_RXQ];
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct driver_pkt pkt;
	uint8_t bytes[4096], want[4052];
	uint64_t token;
	uint32_t len;
	struct pair p;

	driver_init(&vm, &opt);
	guest_add_region(&vm.guest, border - 0x10000, 0x10000, 0x230);
	guest_add_region(&vm.guest, border, 0x10000, 0);
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	p = e2e_guest_connects(&vm, vhd.uds);
	vm.holds_rx = true;
	ck_assert(host_write(p.host, "x", 1));	/* takes the only plain buffer */
	ck_assert_uint_eq(sock_recv_full(p.guest, bytes, 1), 1);
	ck_assert(guest_ring_add(rx, &b, 1, 99));
	guest_ring_publish(rx);
	pattern_fill(want, sizeof want, 0, 3);
	ck_assert(host_write(p.host, want, sizeof want));
	while (!guest_ring_pop(rx, &token, &len))
		ck_assert(deadline_left(deadline));
	ck_assert_uint_eq(token, 99);
	ck_assert_uint_eq(len, 4096);
	guest_read(&vm.guest, b.gpa, bytes, sizeof bytes);
	pkt = driver_parse(bytes);
	ck_assert_uint_eq(pkt.len, sizeof want);
	ck_assert_mem_eq(bytes + 44, want, sizeof want);
}
END_TEST

START_TEST(set_mem_table_while_running)
{
	struct driver_options opt = { .habits = &START_LIBKRUN };
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < 20; i++) {
		e2e_check_talks(p);
		guest_add_region(&vm.guest, UINT64_C(0x300000000), 0x100000, 0);
		ck_assert_int_eq(vmm_set_mem_table(&vm.fe, &vm.guest), 0);
		e2e_check_talks(p);
		guest_drop_region(&vm.guest);
		ck_assert_int_eq(vmm_set_mem_table(&vm.fe, &vm.guest), 0);
	}
	e2e_check_talks(p);
}
END_TEST

START_TEST(add_and_rem_mem_reg_while_running)
{
	uint64_t slots;
	struct pair p;

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	ck_assert_int_eq(vmm_get_max_mem_slots(&vm.fe, &slots), 0);
	ck_assert_uint_eq(slots, VHOST_USER_MEM_SLOTS_MAX);
	while (vm.guest.n_regions < slots) {
		unsigned r = guest_add_region(&vm.guest, UINT64_C(0x300000000) +
					      vm.guest.n_regions * 0x200000, 0x2000, 0);

		ck_assert_int_eq(vmm_add_mem_reg(&vm.fe, &vm.guest.regions[r]), 0);
	}
	e2e_check_talks(p);
	while (vm.guest.n_regions > 2) {
		ck_assert_int_eq(vmm_rem_mem_reg(&vm.fe,
				&vm.guest.regions[vm.guest.n_regions - 1]), 0);
		guest_drop_region(&vm.guest);
	}
	e2e_check_talks(p);
}
END_TEST

/* Nothing from a disabled ring, all of it once it is enabled. */
START_TEST(disabled_rings_are_not_processed)
{
	uint16_t used;
	struct pair p;

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	ck_assert(driver_flush(&vm));
	for (uint32_t q = 0; q < 2; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, q, false), 0);
	used = guest_ring_used_idx(&vm.vq[VSOCK_TXQ]);
	ck_assert_uint_eq(sock_send_some(p.guest, "late", 4), 4);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	ck_assert(host_write(p.host, "late", 4));
	ck_assert(host_is_quiet(p.host, QUIET_MS));
	ck_assert(driver_is_quiet(&vm, 0));
	ck_assert_uint_eq(guest_ring_used_idx(&vm.vq[VSOCK_TXQ]), used);
	for (uint32_t q = 0; q < 2; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, q, true), 0);
	{
		char got[5] = "";

		ck_assert_uint_eq(host_read(p.host, got, 4), 4);
		ck_assert_str_eq(got, "late");
		ck_assert_uint_eq(sock_recv_full(p.guest, got, 4), 4);
	}
	e2e_check_talks(p);
}
END_TEST

START_TEST(nothing_is_published_after_get_vring_base)
{
	static const uint8_t bytes[200000];
	uint16_t used[2];
	struct pair p;

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	vm.holds_rx = true;
	ck_assert(host_write(p.host, bytes, sizeof bytes));
	sock_send_some(p.guest, bytes, 60000);
	ck_assert(vmm_stop(&vm.fe, vm.vq, 3));
	for (int q = 0; q < 2; q++) {
		used[q] = guest_ring_used_idx(&vm.vq[q]);
		ck_assert_uint_eq(vm.vq[q].base, used[q]);
	}
	sock_send_some(p.guest, bytes, 1000);
	guest_ring_kick(&vm.vq[VSOCK_RXQ]);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	ck_assert(!deadline_poll(-1, 0, deadline_in(QUIET_MS)));
	for (int q = 0; q < 2; q++)
		ck_assert_uint_eq(guest_ring_used_idx(&vm.vq[q]), used[q]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rings");
	TCase *tc = e2e_case(s, "rings", e2e_setup_daemon, 120);

#define N(a) (int)(sizeof(a) / sizeof((a)[0]))
	tcase_add_loop_test(tc, tx_layout, 0, TX_SHAPES);
	tcase_add_loop_test(tc, rx_layout, 0, RX_SHAPES);
	tcase_add_loop_test(tc, ring_size, 0, N(sizes));
	tcase_add_loop_test(tc, ring_base_and_index_wrap, 0, N(bases));
	tcase_add_test(tc, ring_index_wraps_twice);
	tcase_add_loop_test(tc, features, 0, N(feature_sets));
	tcase_add_loop_test(tc, front_end, 0, N(front_ends));
	tcase_add_loop_test(tc, mmap_offset, 0, N(offsets));
	tcase_add_loop_test(tc, rx_buffer_size, 0, N(rx_sizes));
	tcase_add_test(tc, no_interrupt_flag_means_no_call);
	tcase_add_test(tc, used_event_not_reached_means_no_call);
	tcase_add_test(tc, notify_on_empty_calls_against_no_interrupt);
	tcase_add_test(tc, kicks_are_asked_for_sparingly);
	tcase_add_test(tc, buffers_cross_regions);
	tcase_add_test(tc, rx_buffers_cross_regions);
	tcase_add_test(tc, set_mem_table_while_running);
	tcase_add_test(tc, add_and_rem_mem_reg_while_running);
	tcase_add_test(tc, disabled_rings_are_not_processed);
	tcase_add_test(tc, nothing_is_published_after_get_vring_base);
	return e2e_run(s);
}
