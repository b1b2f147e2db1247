/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scripted guest's machine and its rings: see driver.h.
 *
 * Memory: rings in a region at 0; RX buffers and TX slots in one above 4 GiB,
 * with the gap between that a PC has. A TX slot holds a header, a packet's data
 * right behind it and an indirect table.
 */
#include "support/driver.h"

#include <stdlib.h>
#include <string.h>

#include "support/deadline.h"
#include "support/driver_io.h"
#include "support/must.h"
#include "support/sock.h"

enum { N_EVENTS = 8, REGION_RINGS = 0, REGION_BUFFERS = 1 };

static uint32_t pick(uint32_t asked, uint32_t otherwise)
{
	return asked ? asked : otherwise;
}

static void set_defaults(struct driver_options *o)
{
	if (!o->habits)
		o->habits = &START_CLOUD_HYPERVISOR;
	o->cid = o->cid ? o->cid : 3;
	o->queue_size = pick(o->queue_size, 128);
	o->rx_buf_len = pick(o->rx_buf_len, 4096);
	o->buf_alloc = pick(o->buf_alloc, 256 * 1024);
	o->type = o->type ? o->type : VSOCK_TYPE_STREAM;
}

static void build_memory(struct driver *d)
{
	uint64_t n = d->opt.queue_size, stride;
	uint32_t room = n > 1024 ? (uint32_t)n : 1024;
	uint64_t ring_bytes = 4096 * 4 + 3 * (virtq_desc_size(room) +
			      virtq_avail_size(room) + virtq_used_size(room));

	stride = d->opt.rx_buf_len + 15 + 8 * sizeof(struct wire_virtq_desc);
	d->rx_stride = stride / 16 * 16;
	d->n_rx_bufs = pick(d->opt.n_rx_bufs, (uint32_t)n);
	d->n_tx_slots = n < 128 ? (uint32_t)n : 128;
	guest_add_region(&d->guest, 0, (ring_bytes | 0xffff) + 1,
			 d->opt.mmap_offset);
	guest_add_region(&d->guest, UINT64_C(1) << 32,
			 ((d->rx_stride * d->n_rx_bufs +
			   (uint64_t)TX_SLOT * d->n_tx_slots) | 0xffff) + 0x10001,
			 d->opt.mmap_offset);
}

static void place_buffers(struct driver *d)
{
	uint64_t rx = d->rx_stride * d->n_rx_bufs;
	uint64_t tx = (uint64_t)TX_SLOT * d->n_tx_slots;

	d->rx_gpa = guest_alloc(&d->guest, REGION_BUFFERS, rx, 64);
	d->tx_gpa = guest_alloc(&d->guest, REGION_BUFFERS, tx, 64);
	d->event_gpa = guest_alloc(&d->guest, REGION_RINGS,
				   N_EVENTS * sizeof(struct wire_vsock_event), 4);
	d->rx_mem = guest_ptr(&d->guest, d->rx_gpa, rx);
	d->tx_mem = guest_ptr(&d->guest, d->tx_gpa, tx);
}

void driver_init(struct driver *d, const struct driver_options *opt)
{
	*d = (struct driver){ .fe.sock = -1 };
	if (opt)
		d->opt = *opt;
	set_defaults(&d->opt);
	guest_init(&d->guest);
	build_memory(d);
	place_buffers(d);
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		guest_ring_init(&d->vq[q], &d->guest, REGION_RINGS, d->opt.queue_size,
				d->opt.base);
	d->tx_free = calloc(d->n_tx_slots, sizeof *d->tx_free);
	d->held = calloc(d->n_rx_bufs, sizeof *d->held);
	d->inbox = calloc(DRIVER_INBOX_SIZE, sizeof *d->inbox);
	must(d->tx_free && d->held && d->inbox);
	sock_init(d);
	driver_rewind(d, d->opt.base);
}

void driver_deinit(struct driver *d)
{
	if (!d->inbox)
		return;
	driver_detach(d);
	sock_deinit(d);
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		guest_ring_deinit(&d->vq[q]);
	guest_deinit(&d->guest);
	free(d->tx_free);
	free(d->held);
	free(d->inbox);
	d->inbox = NULL;
}

void driver_rewind(struct driver *d, uint16_t base)
{
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		guest_ring_rewind(&d->vq[q], base);
	d->n_tx_free = d->n_tx_slots;
	for (uint32_t i = 0; i < d->n_tx_slots; i++)
		d->tx_free[i] = (uint16_t)i;
	d->n_held = 0;
	d->inbox_first = d->n_inbox = 0;
	sock_forget_all(d);
}

void driver_fill_rings(struct driver *d)
{
	struct guest_ring *events = &d->vq[VSOCK_EVENTQ];
	struct guest_ring_buf b = { .len = sizeof(struct wire_vsock_event), .writable = true };

	for (uint32_t i = 0; i < d->n_rx_bufs; i++)
		if (!driver_io_post_rx(d, (uint16_t)i))
			break;
	for (uint32_t i = 0; i < N_EVENTS; i++) {
		b.gpa = d->event_gpa + i * sizeof(struct wire_vsock_event);
		if (!guest_ring_add(events, &b, 1, i))
			break;
	}
	for (uint32_t q = 0; q < d->opt.habits->n_queues; q++) {
		guest_ring_publish(&d->vq[q]);
		guest_ring_kick(&d->vq[q]);
	}
}

static int start(struct driver *d)
{
	int r = vmm_start(&d->fe, &d->guest, d->vq, d->opt.habits,
			  DRIVER_ALL_FEATURES & ~d->opt.without);

	if (r == 0 && !guest_ring_in_flight(&d->vq[VSOCK_RXQ]))
		driver_fill_rings(d);
	return r;
}

int driver_attach(struct driver *d, const char *path)
{
	return vmm_connect(&d->fe, path) ? start(d) : VMM_GONE;
}

int driver_attach_to(struct driver *d, int sock)
{
	d->fe = (struct vmm){ .sock = sock, .reply_ms = DEADLINE_MS };
	return start(d);
}

void driver_up(struct driver *d, const char *path, const struct driver_options *opt)
{
	int r;

	driver_init(d, opt);
	r = driver_attach(d, path);
	if (r)
		die("set-up like %s failed: %d", d->opt.habits->name, r);
}

void driver_detach(struct driver *d)
{
	vmm_close(&d->fe);
}

int driver_program(struct driver *d)
{
	int r;

	for (uint32_t q = 0; q < d->opt.habits->n_queues; q++)
		if ((r = vmm_start_ring(&d->fe, q, &d->vq[q])))
			return r;
	driver_fill_rings(d);
	return 0;
}

void driver_reboot(struct driver *d)
{
	if (!vmm_stop(&d->fe, d->vq, d->opt.habits->n_queues))
		die("the device did not stop");
	driver_rewind(d, 0);
	if (driver_program(d))
		die("the device did not start again");
}

void driver_keep_packets(struct driver *d)
{
	d->input = driver_keep;
}

void driver_keep(struct driver *d, const struct driver_pkt *p, const uint8_t *data)
{
	struct driver_kept *k;

	if (d->n_inbox == DRIVER_INBOX_SIZE)
		die("more packets than the inbox holds");
	k = &d->inbox[(d->inbox_first + d->n_inbox++) % DRIVER_INBOX_SIZE];
	k->pkt = *p;
	memcpy(k->data, data, p->len < sizeof k->data ? p->len : sizeof k->data);
}

const struct driver_kept *driver_next(struct driver *d, int ms)
{
	int64_t deadline = deadline_in(ms);
	const struct driver_kept *k;

	while (!d->n_inbox)
		if (!driver_wait(d, deadline, false))
			return NULL;
	k = &d->inbox[d->inbox_first];
	d->inbox_first = (d->inbox_first + 1) % DRIVER_INBOX_SIZE;
	d->n_inbox--;
	return k;
}

struct driver_pkt driver_pkt(const struct driver *d, uint16_t op,
			     uint32_t src_port, uint32_t dst_port)
{
	return (struct driver_pkt){
		.src_cid = d->opt.cid, .dst_cid = VSOCK_CID_HOST,
		.src_port = src_port, .dst_port = dst_port,
		.type = VSOCK_TYPE_STREAM, .op = op, .buf_alloc = d->opt.buf_alloc,
	};
}
