/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that is taken away under a running device: the file behind it
 * is truncated, or holes are punched in it, while packets are on all rings. It
 * is SIGBUS where the daemon looks itself, and EFAULT where the kernel reads or
 * writes for it. That device ends, at most; its host programs see an end behind
 * a prefix of the bytes; the other VM does not notice; and the next front-end
 * of the same VM finds all well.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "e2e/bystander.h"

enum { REGION_RINGS, REGION_BUFFERS, BOTH, REGIONS };
enum { STREAMS = 4, PACKET = 3000 };

static struct sib *const victim = &sibs[0];

static void to_nothing(int fd, off_t size)
{
	(void)size;
	must(ftruncate(fd, 0) == 0);
}

static void to_half(int fd, off_t size)
{
	must(ftruncate(fd, size / 2) == 0);
}

static void to_a_page(int fd, off_t size)
{
	(void)size;
	must(ftruncate(fd, 4096) == 0);
}

static void to_zeroes(int fd, off_t size)
{
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size) == 0);
}

static const struct loss {
	void (*lose)(int fd, off_t size);
	bool ends;				/* of the rings: what is looked at is gone */
	bool zeroes;				/* nothing faults, the contents are gone */
} losses[] = {
	{ to_nothing, true, false }, { to_a_page, true, false },
	{ to_half, false, false }, { to_zeroes, false, true },
};
enum { LOSSES = sizeof losses / sizeof losses[0] };

static void lose(const struct loss *loss, int which)
{
	for (int i = REGION_RINGS; i <= REGION_BUFFERS; i++) {
		struct guest_region *r = &victim->d.guest.regions[i];

		if (which == i || which == BOTH)
			loss->lose(r->fd, (off_t)(r->mmap_offset + r->size));
	}
}

/* As many packets on the TX ring as credit and slots allow, none waited for. */
static void send_much(struct sock *s)
{
	uint8_t bytes[PACKET];
	uint32_t at = s->sent;

	do
		pattern_fill(bytes, sizeof bytes, at, 1);
	while (sock_send_some(s, bytes, sizeof bytes) == sizeof bytes && (at = s->sent));
}

/* What arrives, up to the end, has the pattern. With zeroes for memory it need
 * not: the bytes that a guest sends are what its memory holds. */
static void check_prefix(int fd, bool zeroes)
{
	uint8_t bytes[PACKET];
	uint64_t got = 0;
	size_t n;

	while ((n = host_read(fd, bytes, sizeof bytes)) > 0) {
		if (!zeroes)
			ck_assert_uint_eq(pattern_check(bytes, n, got, 1), n);
		got += n;
	}
	ck_assert(host_is_closed(fd, DEADLINE_MS));
}

/* _i: loss, region, place, indirect tables or not. */
START_TEST(lost_in_mid_transfer)
{
	static const uint8_t much[400000];
	const struct loss *loss = &losses[_i % LOSSES];
	int which = _i / LOSSES % REGIONS, place = _i / LOSSES / REGIONS % PLACES;
	struct driver_options opt = {
		.tx_shape = _i / LOSSES / REGIONS / PLACES ? TX_INDIRECT : TX_TWO,
	};
	struct pair p[STREAMS];

	bystander_begin(place, NULL);
	driver_deinit(&victim->d);
	sib_up(victim, &opt);
	for (int i = 0; i < STREAMS; i++)
		p[i] = i % 2 ? e2e_host_connects(&victim->d, victim->uds) :
			e2e_guest_connects(&victim->d, victim->uds);
	for (int i = 0; i < STREAMS; i++)
		send(p[i].host, much, sizeof much, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < STREAMS; i++)
		send_much(p[i].guest);
	lose(loss, which);			/* our own view of it is gone, too */
	guest_ring_kick(&victim->d.vq[VSOCK_TXQ]);
	guest_ring_kick(&victim->d.vq[VSOCK_RXQ]);
	for (int i = 0; i < STREAMS; i++)
		send(p[i].host, much, sizeof much, MSG_DONTWAIT | MSG_NOSIGNAL);
	bystander_check();
	/* The daemon may be done with all buffers, and not look at them again. */
	if (!loss->ends || which == REGION_BUFFERS)
		driver_detach(&victim->d);
	for (int i = 0; i < STREAMS; i++) {
		check_prefix(p[i].host, loss->zeroes);
		close(p[i].host);
	}
	bystander_end(true);
}
END_TEST

/* ---- exactly what was there is delivered ---- */

enum { KEPT_SLOT = 0, LOST_SLOT = 100, SLOT_BYTES = 68 * 1024, DATA_AT = 64 };

static uint64_t slot_gpa(int slot)
{
	return victim->d.tx_gpa + (uint64_t)slot * SLOT_BYTES;
}

/* Header in one slot, data in another; nothing is published. */
static void add_packet(struct sock *s, int header, int data, uint16_t op, uint32_t len)
{
	struct driver_pkt pkt = driver_pkt(&victim->d, op, s->port, s->peer_port);
	uint64_t at = slot_gpa(header) + DATA_AT - sizeof(struct wire_vsock_hdr);
	struct guest_ring_buf b[2] = {
		{ at, sizeof(struct wire_vsock_hdr), false },
		{ slot_gpa(data) + DATA_AT, len, false },
	};
	uint8_t bytes[PACKET];

	pkt.len = len;
	pkt.fwd_cnt = s->fwd_cnt;
	driver_put_header(&victim->d, at, &pkt);
	pattern_fill(bytes, len, s->sent, 1);
	guest_write(&victim->d.guest, slot_gpa(data) + DATA_AT, bytes, len);
	s->sent += len;
	must(guest_ring_add(&victim->d.vq[VSOCK_TXQ], b, len ? 2 : 1, 0));
}

/* The file ends between the two slots. */
static void lose_the_lost_slot(void)
{
	struct guest_region *r = &victim->d.guest.regions[REGION_BUFFERS];

	must(ftruncate(r->fd, (off_t)(r->mmap_offset + slot_gpa(LOST_SLOT) - r->gpa) - 4096) == 0);
	guest_ring_publish(&victim->d.vq[VSOCK_TXQ]);
	guest_ring_kick(&victim->d.vq[VSOCK_TXQ]);
}

/* One batch: the bytes of a packet wait to be written when the next packet's
 * header turns out to be gone. */
START_TEST(sent_before_the_loss)
{
	struct pair p;

	bystander_begin(_i, NULL);
	p = e2e_guest_connects(&victim->d, victim->uds);
	must(driver_flush(&victim->d));
	add_packet(p.guest, KEPT_SLOT, KEPT_SLOT, VSOCK_OP_RW, PACKET);
	add_packet(p.guest, LOST_SLOT, LOST_SLOT, VSOCK_OP_CREDIT_UPDATE, 0);
	lose_the_lost_slot();
	check_prefix(p.host, false);
	bystander_end(true);
}
END_TEST

/* The host is slow, so the daemon copies; what it finds is gone. */
START_TEST(buffered_at_the_loss)
{
	uint8_t bytes[PACKET];
	struct pair p;

	bystander_begin(_i, NULL);
	p = e2e_guest_connects(&victim->d, victim->uds);
	do {					/* until something is left with the daemon */
		pattern_fill(bytes, sizeof bytes, p.guest->sent, 1);
		ck_assert(sock_send(p.guest, bytes, sizeof bytes));
	} while (!driver_is_quiet(&victim->d, 5) || sock_room(p.guest) > 40000);
	add_packet(p.guest, KEPT_SLOT, LOST_SLOT, VSOCK_OP_RW, PACKET);
	lose_the_lost_slot();
	bystander_check();
	check_prefix(p.host, false);
	bystander_end(true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lost memory");
	TCase *tc = bystander_case(s, "lost memory", 120);

	tcase_add_loop_test(tc, lost_in_mid_transfer, 0, LOSSES * REGIONS * PLACES * 2);
	tcase_add_loop_test(tc, sent_before_the_loss, 0, PLACES);
	tcase_add_loop_test(tc, buffered_at_the_loss, 0, PLACES);
	return e2e_run(s);
}
