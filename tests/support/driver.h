/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of Linux's virtio-vsock driver: the machine it runs in (guest memory
 * and front-end), its three rings, packets out and in. Sockets above it are in
 * sock.h.
 *
 * As Linux does: RX buffers of one 4 KiB descriptor, header included, given back
 * as soon as a packet was taken; header and payload of TX in the shapes that
 * different kernels use; eight event buffers. Everything is polled by the
 * caller's thread: driver_turn() takes what the device has used, driver_wait()
 * sleeps on the call eventfds when there was nothing.
 *
 * Each received packet is checked (used length, addresses, type) and handed to
 * driver::input; a device that breaks the rules ends the test.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/virtio_vsock.h"
#include "support/start.h"

enum tx_shape {					/* of a packet with payload */
	TX_ONE,					/* header and data in one descriptor */
	TX_TWO,					/* one each: Linux before 6.17 */
	TX_SPLIT_HEADER,			/* 1 + 42 + (1 and the data) bytes */
	TX_MANY,				/* data over several descriptors */
	TX_INDIRECT,				/* TX_MANY in an indirect table */
	TX_INDIRECT_TWO,			/* TX_TWO in one: Linux, when offered */
	TX_SHAPES,
};

enum rx_shape { RX_ONE, RX_TWO, RX_SPLIT_HEADER, RX_INDIRECT, RX_SHAPES };

#define DRIVER_ALL_FEATURES	UINT64_MAX

struct driver_options {				/* zero: the default in brackets */
	const struct start_habits *habits;	/* [cloud-hypervisor's] */
	uint64_t cid;				/* [3] */
	uint64_t without;			/* feature bits that are not taken */
	uint32_t queue_size;			/* [128] */
	uint32_t rx_buf_len;			/* [4096] */
	uint32_t n_rx_bufs;			/* [as many as the ring takes] */
	uint32_t buf_alloc;			/* of each socket [256 KiB] */
	bool sends_ahead;			/* more than buf_alloc, where the peer takes more:
						   Linux until 2026 */
	uint16_t type;				/* of each, if nobody says otherwise [stream] */
	enum tx_shape tx_shape;
	enum rx_shape rx_shape;
	uint16_t base;				/* where ring indices start */
	uint64_t mmap_offset;			/* of both memory regions */
};

struct driver_pkt {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
};

enum { DRIVER_INBOX_SIZE = 512, DRIVER_KEPT_BYTES = 4096 };

struct driver_kept {				/* a packet in the inbox */
	struct driver_pkt pkt;
	uint8_t data[DRIVER_KEPT_BYTES];	/* the first of pkt.len */
};

struct sock;

struct driver {
	struct driver_options opt;
	struct guest guest;
	struct vmm fe;
	struct guest_ring vq[VSOCK_NUM_QUEUES];

	uint64_t rx_gpa, rx_stride, tx_gpa, event_gpa;
	uint8_t *rx_mem, *tx_mem;
	uint32_t n_rx_bufs, n_tx_slots, n_tx_free;
	uint16_t *tx_free;			/* a stack: the warm ones first */
	bool holds_rx;				/* used RX buffers stay with us */
	uint32_t n_held;
	uint16_t *held;

	/* Every packet that comes; the data is valid during the call. */
	void (*input)(struct driver *d, const struct driver_pkt *p,
		      const uint8_t *data);
	/* When set, writes the data of packets sent without any into their slot. */
	void (*fill)(struct driver *d, uint16_t slot, uint8_t *to, size_t len);
	uint64_t n_rx_pkts, n_tx_pkts, n_events;
	uint32_t last_event;

	struct driver_kept *inbox;		/* circular */
	uint32_t inbox_first, n_inbox;

	struct sock **socks;			/* sock.c's hash table */
	struct sock *backlog;			/* accepted, not yet taken */
	struct { uint32_t port; uint16_t type; } listening[128];
	unsigned n_listening;
	/* The sink of sockets that come in; NULL: their queue. */
	void (*accept_sink)(struct sock *s, const uint8_t *data, size_t len);
	uint32_t next_port;
	uint64_t n_strangers;			/* packets for no socket */
};

/* Builds the machine; attach connects it. driver_up() is both and must work. */
void driver_init(struct driver *d, const struct driver_options *opt);
int driver_attach(struct driver *d, const char *path);
/* The same over a socket that is connected already; taken over. */
int driver_attach_to(struct driver *d, int sock);
void driver_up(struct driver *d, const char *path, const struct driver_options *opt);
void driver_deinit(struct driver *d);

/* The VMM is gone: its socket is closed without a word, memory stays. */
void driver_detach(struct driver *d);
/* Puts the rings at @base with nothing in flight and forgets all sockets: what
 * a booting guest finds. driver_program() then tells the device. */
void driver_rewind(struct driver *d, uint16_t base);
/* Fills RX and the event ring, and kicks: what a driver does once its device has started. */
void driver_fill_rings(struct driver *d);
/* Programs and enables the rings again, and fills them. */
int driver_program(struct driver *d);
/* The guest reboots: GET_VRING_BASE on all rings, then both of the above. */
void driver_reboot(struct driver *d);

/* Takes all that was used; false when there was nothing. */
bool driver_turn(struct driver *d);
/* ... and waits for something; false at the deadline. With @for_tx also for a
 * TX packet given back. */
bool driver_wait(struct driver *d, int64_t deadline, bool for_tx);
/* Nothing arrives for @ms. */
bool driver_is_quiet(struct driver *d, int ms);
/* All TX packets given back. */
bool driver_flush(struct driver *d);
/* Gives held RX buffers back and stops holding. */
void driver_release_rx(struct driver *d);
/* At most @n of the held ones. */
void driver_release_some(struct driver *d, uint32_t n);

/* Puts one packet on the ring, waiting for a free slot; @data NULL sends what
 * the slot holds. False at the deadline. */
bool driver_send(struct driver *d, const struct driver_pkt *p, const void *data);
bool driver_can_send(struct driver *d);

/* Keeps packets in the inbox instead of giving them to sockets. */
void driver_keep_packets(struct driver *d);
void driver_keep(struct driver *d, const struct driver_pkt *p, const uint8_t *data);
/* The oldest packet of the inbox, waiting for one; NULL at the deadline. It is
 * valid until the next call. */
const struct driver_kept *driver_next(struct driver *d, int ms);
/* A stream packet of @op from @src_port of this guest to the host's @dst_port. */
struct driver_pkt driver_pkt(const struct driver *d, uint16_t op,
			     uint32_t src_port, uint32_t dst_port);

/* For those who write rings themselves. */
void driver_put_header(struct driver *d, uint64_t gpa, const struct driver_pkt *p);
struct driver_pkt driver_parse(const uint8_t *header);
