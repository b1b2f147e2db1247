/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a device share: device.c (the turn, and life), device_rings.c (packets out
 * of the TX ring, and into the RX ring), device_state.c (taken over by another process),
 * device_snapshot.c (as others see it). */
#pragma once

#include "device/device.h"
#include "device/frontend.h"
#include "device/guest_events.h"
#include "device/poller.h"
#include "device/recovery.h"
#include "device/rx_window.h"
#include "device/turn.h"
#include "vsock/counters.h"

struct device {
	struct device_config config;
	char tag[32];				/* "vm 3" */
	struct mux *mux;
	struct backend *backends[MUX_BACKENDS_MAX];	/* owned */
	size_t n_backends;
	struct frontend frontend;
	struct guest_events events;
	struct recovery recovery;
	struct loop_work work;			/* the turn */
	struct poller_vm polled;
	struct loop_timer timer;		/* the next deadline of the mux */
	struct loop_work resume;
	bool is_held;				/* loaded, and not resumed yet */
	bool in_turn;
	bool is_moved;				/* to a thread that does not know it yet */
	struct rx_window window;		/* while the core sends */
	uint64_t lends_to;			/* CID of the device whose turn it is, while it fills
						   our guest's buffers */
	struct list taps;			/* device_tap::node */
	struct vsock_counters *counters;	/* the mux's */
	uint64_t ring_stops_told[VSOCK_NUM_QUEUES];	/* of them */
	uint64_t readable_us;			/* since when there is something for the guest; 0: there
						   is not */
	unsigned turns_late;			/* in which deadlines had to wait for the rings */
	void (*ended)(void *ctx);		/* NULL: it goes on */
	void *ended_ctx;
};

static inline struct vring *device_vring(struct device *dev, unsigned ring)
{
	return frontend_vring(&dev->frontend, ring);
}

/* For whoever asks what a process was busy with that has died. */
static inline void device_note_handling(_Atomic uint64_t *handling, uint64_t cid)
{
	if (handling)
		atomic_store_explicit(handling, cid, memory_order_relaxed);
}

/* For whoever balances the workers, in another thread. */
static inline void device_add_busy(_Atomic uint32_t *to, uint32_t us)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + us,
			      memory_order_relaxed);
}

static inline void device_count_busy(const struct device_config *config, uint32_t us)
{
	device_add_busy(&config->scratch->busy_us, us);
	if (config->busy_us)
		device_add_busy(config->busy_us, us);
}

bool device_open_rx(void *dev, struct rx_sink *sink);	/* as mux_config::open_rx */
void device_close_rx(void *dev);

/* A batch of @tx, and what the core has for @rx; either may be NULL, if it does not run. */
enum turn device_rings_turn(struct device *dev, struct virtq *tx, struct virtq *rx);

unsigned device_guest_types(const struct device *dev);	/* of sockets that it knows: MUX_* */
