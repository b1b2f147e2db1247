/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time of check, time of use: a thread changes descriptors, rings, indirect
 * tables and packet headers all the time while the daemon reads them, so that
 * whatever was tested may be another value when it is used. The other VM, on
 * the same worker, transfers all the while; in the end both are well.
 *
 * CHANGING_SECONDS: how long; 3 otherwise, 30 under a sanitizer.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/bystander.h"
#include "support/sanitized.h"

enum { SLOTS = 16, SLOT_BYTES = 8192, TABLE_AT = 4096, TABLE = 8, PORTS = 8 };

static struct sib *const victim = &sibs[0];
static atomic_bool ends;
static uint64_t slots_gpa;
static uint8_t *slots;

/* xorshift: one for each thread. */
static uint32_t pick(uint64_t *state, uint32_t n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 32) % n;
}

/* What breaks a ring comes seldom, so that most of it gets far. */
static bool is_rare(uint64_t *state)
{
	return pick(state, 2000) == 0;
}

static uint32_t pick_len(uint64_t *state)
{
	static const uint32_t lens[] = { 0, 1, 43, 44, 45, 100, 4096, 65536, 0x7fffffff, UINT32_MAX };

	return lens[pick(state, is_rare(state) ? sizeof lens / sizeof lens[0] : 7)];
}

/* Mostly one of the slots, whose headers are not that wrong. */
static uint64_t pick_gpa(uint64_t *state)
{
	if (is_rare(state))
		return UINT64_MAX - pick(state, 100);
	return slots_gpa + pick(state, SLOTS) * SLOT_BYTES + (pick(state, 4) ? 0 : pick(state, 200));
}

/* For the @i-th of @n descriptors; chains mostly lead on, not back. */
static struct wire_virtq_desc pick_desc(uint64_t *state, bool writable, uint32_t i, uint32_t n)
{
	bool indirect = n > TABLE && pick(state, 4) == 0;
	uint32_t flags = indirect ? VIRTQ_DESC_F_INDIRECT :
		(writable ? VIRTQ_DESC_F_WRITE : 0) |
		(i + 1 < n && pick(state, 3) == 0 ? VIRTQ_DESC_F_NEXT : 0);

	return (struct wire_virtq_desc){
		.addr = le64_of(indirect ? slots_gpa + TABLE_AT +
				(2 * pick(state, SLOTS / 2) + writable) * SLOT_BYTES :
				pick_gpa(state)),
		.len = le32_of(indirect ? 16 * (uint32_t)(TABLE - is_rare(state)) : pick_len(state)),
		.flags = le16_of((uint16_t)(is_rare(state) ? pick(state, 8) : flags)),
		.next = le16_of((uint16_t)(is_rare(state) ? pick(state, n + 1) : i + 1)),
	};
}

static void change_descriptors(uint64_t *state)
{
	uint32_t q = pick(state, VSOCK_NUM_QUEUES);
	struct guest_ring *r = &victim->d.vq[q];
	uint32_t i = pick(state, r->num);

	r->desc[i] = pick_desc(state, q != VSOCK_TXQ, i, r->num);
}

static void change_table(uint64_t *state)
{
	uint32_t slot = pick(state, SLOTS), i = pick(state, TABLE);
	uint8_t *table = slots + slot * SLOT_BYTES + TABLE_AT;

	((struct wire_virtq_desc *)(void *)table)[i] = pick_desc(state, slot % 2, i, TABLE);
}

/* In guest memory only: struct guest_ring is the main thread's. */
static void put_avail_idx(struct guest_ring *r, uint16_t idx)
{
	__atomic_store_n(&r->avail->idx.raw, le16_of(idx).raw, __ATOMIC_RELEASE);
}

static void change_available(uint64_t *state)
{
	struct guest_ring *r = &victim->d.vq[pick(state, VSOCK_NUM_QUEUES)];

	r->avail->ring[pick(state, r->num)] =
		le16_of((uint16_t)pick(state, r->num + is_rare(state)));
	if (is_rare(state))
		put_avail_idx(r, (uint16_t)(guest_ring_used_idx(r) + pick(state, 2 * r->num)));
	r->avail->flags = le16_of((uint16_t)pick(state, 2));
	guest_ring_set_used_event(r, (uint16_t)pick(state, 65536));
}

/* One field of a header, or all. */
static void change_header(uint64_t *state)
{
	struct wire_vsock_hdr *h = (void *)(slots + pick(state, SLOTS) * SLOT_BYTES);
	uint32_t what = pick(state, 12);

	if (what == 0 || pick(state, 20) == 0)
		h->src_cid = le64_of(pick(state, 20) ? victim->cid : pick(state, 6));
	if (what == 1)
		h->dst_cid = le64_of(pick(state, 4) ? VSOCK_CID_HOST : pick(state, 6));
	if (what == 2)
		h->src_port = le32_of(PORT + pick(state, PORTS));
	if (what == 3)
		h->dst_port = le32_of(pick(state, 3) ? PORT : (1u << 30) + pick(state, 64));
	if (what == 4 || what == 5)
		h->len = le32_of(pick_len(state));
	if (what == 6)
		h->type = le16_of((uint16_t)(1 + (pick(state, 20) == 0)));
	if (what == 7 || what == 8)
		h->op = le16_of((uint16_t)pick(state, 9));
	if (what == 9)
		h->flags = le32_of(pick(state, 5));
	if (what == 10)
		h->buf_alloc = le32_of(pick_len(state));
	if (what == 11)
		h->fwd_cnt = le32_of(pick_len(state));
}

static void *change(void *arg)
{
	static void (*const changes[])(uint64_t *) = {
		change_descriptors, change_table, change_available, change_header, change_header,
	};
	uint64_t state = 88172645463325252;

	while (!atomic_load(&ends))
		changes[pick(&state, sizeof changes / sizeof changes[0])](&state);
	return arg;
}

static int run_ms(void)
{
	const char *seconds = getenv("CHANGING_SECONDS");

	if (seconds)
		return atoi(seconds) * 1000;
	return IS_SANITIZED ? 30000 : 3000;
}

/* Sets the rings up anew, wherever they were. */
static void renew_rings(void)
{
	for (uint32_t q = 0; q < VSOCK_NUM_QUEUES; q++) {
		struct guest_ring *r = &victim->d.vq[q];
		uint64_t counter;
		uint32_t base;

		ck_assert_int_eq(vmm_get_vring_base(&victim->d.fe, q, &base), 0);
		if (deadline_poll(r->err_fd, POLLIN, 0))
			must(read(r->err_fd, &counter, sizeof counter) == sizeof counter);
		r->base = guest_ring_used_idx(r);
		put_avail_idx(r, r->base);
		ck_assert_int_eq(vmm_start_ring(&victim->d.fe, q, r), 0);
	}
}

static bool any_ring_is_broken(void)
{
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		if (deadline_poll(victim->d.vq[q].err_fd, POLLIN, 0))
			return true;
	return false;
}

/* All rings are full of whatever there is, and host programs come and go. */
static unsigned stir(int listener, int *host)
{
	static const uint8_t bytes[4096];
	unsigned n_packets = 0;

	for (int q = 0; q < VSOCK_NUM_QUEUES; q++) {
		struct guest_ring *r = &victim->d.vq[q];
		uint16_t used = guest_ring_used_idx(r);

		n_packets += q == VSOCK_TXQ ? (uint16_t)(used - r->last_used) : 0;
		r->last_used = used;
		guest_ring_raw_avail_idx(r, (uint16_t)(used + r->num / 2));
		guest_ring_kick(r);
	}
	if (*host < 0 || send(*host, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (*host >= 0)
			close(*host);
		*host = host_dial(victim->uds, PORT);
	}
	if (deadline_poll(listener, POLLIN, 0))
		close(host_accept(listener));
	return n_packets;
}

START_TEST(everything_changes_while_it_is_read)
{
	int listener, host = -1;
	unsigned n_packets = 0, n_broken = 0;
	int64_t end = deadline_in(run_ms());
	pthread_t thread;

	bystander_begin(ON_ONE_WORKER, NULL);
	listener = host_listen(victim->uds, PORT, 100);
	slots_gpa = victim->d.tx_gpa;
	slots = victim->d.tx_mem;
	must(pthread_create(&thread, NULL, change, NULL) == 0);
	while (deadline_left(end)) {
		for (int i = 0; i < 20; i++)
			n_packets += stir(listener, &host);
		if (any_ring_is_broken()) {
			renew_rings();
			n_broken++;
		}
		ck_assert(daemon_is_running(&vhd));
	}
	atomic_store(&ends, true);
	must(pthread_join(thread, NULL) == 0);
	printf("# %u packets taken, rings broken %u times\n", n_packets, n_broken);
	ck_assert_uint_gt(n_packets, 0);
	ck_assert_uint_gt(n_broken, 0);
	close(host);
	host_unlisten(listener, victim->uds, PORT);
	bystander_check();
	driver_reboot(&victim->d);		/* the same front-end, a new guest */
	bystander_end(false);
	bystander_start();
	bystander_end(true);			/* and a new front-end */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("changing");
	TCase *tc = bystander_case(s, "changing", run_ms() / 1000 + 120);

	tcase_add_test(tc, everything_changes_while_it_is_read);
	return e2e_run(s);
}
