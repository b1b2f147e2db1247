/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: its turn. Front-ends come and go in frontend.c. */
#include "device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "device/device_internal.h"
#include "device/rx_window.h"
#include "util/error.h"
#include "util/log.h"

enum {
	CONNECT_MS = 2000,			/* of a stream, as long as a Linux guest waits */
	REQUEST_MS = 2000,			/* a guest's answer to a host's connect */
	CLOSING_MS = 10 * 1000,			/* a guest's answer to SHUTDOWN */
	TURN_ROUNDS = 4,			/* for packets that come during the turn */
	TURNS_LATE_MAX = 64,			/* for which deadlines wait */
	POLL_MS = 1,				/* rings without a kick descriptor */
};

void device_schedule(struct device *dev)
{
	if (!dev->in_turn)
		loop_work_schedule(dev->config.loop, &dev->work);
}

static void on_wake(void *ctx)
{
	device_schedule(ctx);
}

static bool is_memory_lost(void *ctx)
{
	const struct device *dev = ctx;

	return dev->session && session_memory_is_lost(dev->session);
}

static uint64_t now_ms(const struct device *dev)
{
	return loop_now_ms(dev->config.loop);
}

static struct virtq *running(struct device *dev, unsigned ring)
{
	return dev->session ? session_running(dev->session, ring) : NULL;
}

/* False: guest memory vanished, so this packet and those behind it are not what
 * the guest sent. */
static bool input_chain(struct device *dev, const struct virtq_chain *chain)
{
	struct iov_cur cur = { .iov = chain->iov, .n = chain->n_out, .left = chain->out_len };
	struct pkt pkt;
	int bad = pkt_parse(&pkt, &cur);

	if (session_memory_is_lost(dev->session))
		return false;
	if (bad)
		log_guest(dev->tag, "packet of %zu bytes dropped: %s", chain->out_len,
			  pkt_str_error(bad));
	if (bad == PKT_E_BODY)
		mux_input_cut(dev->mux, &pkt, now_ms(dev));
	else if (!bad)
		mux_input(dev->mux, &pkt, &cur, now_ms(dev));
	return true;
}

/* A batch of the TX ring. True: there may be more right now. */
static bool drain_tx(struct device *dev, struct virtq *q)
{
	struct virtq_iovs iovs = { .iov = dev->config.scratch->tx, .max = DEVICE_TX_IOVS };
	struct virtq_chain chain;
	size_t bytes = 0;
	int r = 0;

	for (int n = 0; n < DEVICE_TX_BATCH && bytes < DEVICE_TX_BYTES; n++) {
		if (mux_is_clogged(dev->mux)) {
			r = VIRTQ_E_EMPTY;	/* goes on when the replies are out */
			break;
		}
		if ((r = virtq_pop(q, &iovs, &chain)))
			break;
		if (!input_chain(dev, &chain))
			return false;		/* the turn ends with the session */
		virtq_push(q, &chain, 0);	/* seen after the flush, by the publish */
		bytes += chain.out_len;
	}
	if (session_memory_is_lost(dev->session))
		return false;			/* small payloads were copied */
	mux_flush(dev->mux, now_ms(dev));
	if (virtq_publish(q))
		session_call(dev->session, VSOCK_TXQ);
	if (r == VIRTQ_E_BROKEN)
		session_ring_broken(dev->session, VSOCK_TXQ);
	return r == 0 || r == VIRTQ_E_FULL;
}

/* Lets the core speak. True: it was cut short and can go on right now. */
static bool fill_rx(struct device *dev, struct virtq *q)
{
	struct rx_window window;
	struct rx_sink port;
	int r;

	rx_window_open(&window, q, dev->config.scratch);
	port = rx_window_port(&window);
	r = mux_output(dev->mux, &port, now_ms(dev));
	rx_window_close(&window);
	if (virtq_publish(q))
		session_call(dev->session, VSOCK_RXQ);
	if (window.is_broken) {
		session_ring_broken(dev->session, VSOCK_RXQ);
		return false;
	}
	if (r == MUX_E_STARVED)			/* the next buffer comes with a kick */
		return virtq_enable_notify(q);
	return r == MUX_E_MORE;
}

/* Tells the guest that its connections are void: 5.10.6.7. True: the buffer was too
 * small for that, and the next one may be there already. */
static bool send_event(struct device *dev)
{
	struct wire_vsock_event event = { .id = le32_of(VSOCK_EVENT_TRANSPORT_RESET) };
	struct virtq *q = running(dev, VSOCK_EVENTQ);
	struct virtq_iovs iovs = { .iov = dev->config.scratch->rx, .max = DEVICE_RX_IOVS };
	struct virtq_chain chain;
	uint32_t written = 0;
	int r = VIRTQ_E_EMPTY;

	if (!q || !dev->event_due)
		return false;
	do
		r = virtq_pop(q, &iovs, &chain);
	while (r == VIRTQ_E_EMPTY && virtq_enable_notify(q));
	if (r == VIRTQ_E_BROKEN)
		session_ring_broken(dev->session, VSOCK_EVENTQ);
	if (r)
		return false;
	if (chain.in_len >= sizeof event) {
		iov_copy_to(chain.iov + chain.n_out, chain.n_in, &event, sizeof event);
		written = sizeof event;
		dev->event_due = false;
	}
	virtq_push(q, &chain, written);
	if (virtq_publish(q))
		session_call(dev->session, VSOCK_EVENTQ);
	return dev->event_due;
}

static bool is_polled(struct device *dev)
{
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES && dev->session; i++)
		if (session_vring(dev->session, i)->polled && running(dev, i))
			return true;
	return false;
}

static void set_timer(struct device *dev)
{
	uint64_t next_ms = mux_next_deadline(dev->mux);

	if (is_polled(dev) && now_ms(dev) + POLL_MS < next_ms)
		next_ms = now_ms(dev) + POLL_MS;
	if (next_ms == UINT64_MAX)
		loop_timer_cancel(dev->config.loop, &dev->timer);
	else if (!dev->timer.is_set || dev->timer.deadline_ms != next_ms)
		loop_timer_set(dev->config.loop, &dev->timer, next_ms);
}

static void on_timer(struct loop_timer *timer)
{
	struct device *dev = container_of(timer, struct device, timer);

	device_schedule(dev);
}

void device_look_at_guest(struct device *dev)
{
	bool is_running = running(dev, VSOCK_TXQ) && running(dev, VSOCK_RXQ);

	if (is_running == mux_is_running(dev->mux))
		return;
	mux_set_running(dev->mux, is_running);
	log_limited(LEVEL_INFO, dev->tag, "guest is %s", is_running ? "running" : "not running");
	if (!is_running)
		return;
	loop_timer_cancel(dev->config.loop, &dev->resume);
	if (session_vring(dev->session, VSOCK_TXQ)->adopted) {
		session_vring(dev->session, VSOCK_TXQ)->adopted = false;
		dev->event_due = true;
	}
}

/* Rings that are worked on in every turn want kicks only when they are idle.
 * True: there is more; *late: no more than what came in meanwhile. */
static bool rings_turn(struct device *dev, bool *late)
{
	struct virtq *tx = running(dev, VSOCK_TXQ), *rx = running(dev, VSOCK_RXQ);
	bool more, was_clogged;

	device_look_at_guest(dev);
	more = send_event(dev);
	if (tx) {
		virtq_disable_notify(tx);
		more |= drain_tx(dev, tx);
	}
	was_clogged = mux_is_clogged(dev->mux);
	if (rx && mux_has_output(dev->mux)) {
		virtq_disable_notify(rx);
		more |= fill_rx(dev, rx);
	}
	if (was_clogged)
		return more || !mux_is_clogged(dev->mux);
	if (tx && !more && !tx->broken)
		more = *late = virtq_enable_notify(tx);
	return more;
}

/* Deadlines, after what lies ready in the rings has been looked at: @more of that would
 * be first, but not for ever. True: there is something to say then. */
static bool expire(struct device *dev, bool more)
{
	if (mux_next_deadline(dev->mux) > now_ms(dev)) {
		dev->turns_late = 0;
		return false;
	}
	if (!loop_may_expire(dev->config.loop) || (more && ++dev->turns_late < TURNS_LATE_MAX))
		return false;			/* the timer, which stays set, comes back to it */
	mux_expire(dev->mux, now_ms(dev));
	dev->turns_late = 0;
	return mux_has_output(dev->mux);
}

static void on_turn(struct loop_work *work)
{
	struct device *dev = container_of(work, struct device, work);
	bool more = false, late = true, ends;

	dev->in_turn = true;
	ends = mux_end_some(dev->mux, now_ms(dev));
	for (int round = 0; late && round < TURN_ROUNDS; round++) {
		late = false;
		more = rings_turn(dev, &late);
	}
	more |= expire(dev, more);
	dev->in_turn = false;
	if (dev->session && session_has_held_up(dev->session))
		frontend_drop(dev);
	if (dev->session && session_memory_is_lost(dev->session)) {
		log_limited(LEVEL_ERR, dev->tag, "guest memory vanished; front-end disconnected");
		mux_drop(dev->mux, now_ms(dev));
		frontend_drop(dev);
		more = false;
	}
	set_timer(dev);
	if (more || ends)
		device_schedule(dev);
}

/* Before the kernel's pool is filled the layout of our memory has to do, and the
 * clock, mixed: a guest that sees a part of it learns neither. */
static uint64_t random_u64(void)
{
	struct timespec now;
	uint64_t v = 0;

	if (getrandom(&v, sizeof v, GRND_NONBLOCK) == (ssize_t)sizeof v)
		return v;
	clock_gettime(CLOCK_MONOTONIC, &now);
	v = (uintptr_t)&v ^ (uint64_t)now.tv_nsec << 40 ^ (uint64_t)now.tv_sec;
	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

int device_new(struct device **out, const struct device_config *config)
{
	struct device *dev = calloc(1, sizeof *dev);
	struct mux_config mux = {
		.guest_cid = config->guest_cid, .buf_alloc = config->buf_alloc,
		.max_conns = config->max_conns, .max_buffered = config->max_buffered, .connect_ms = CONNECT_MS,
		.request_ms = REQUEST_MS,
		.linger_ms = config->linger_ms, .closing_ms = CLOSING_MS,
		.hash_seed = random_u64(), .first_port = random_u64(), .scratch = &config->scratch->mux,
		.wake = on_wake, .is_lost = is_memory_lost, .ctx = dev, .tag = dev ? dev->tag : NULL,
	};
	int r;

	if (!dev)
		return -ENOMEM;
	dev->config = *config;
	snprintf(dev->tag, sizeof dev->tag, "vm %llu", (unsigned long long)config->guest_cid);
	loop_work_init(&dev->work, on_turn);
	dev->timer.expire = on_timer;
	r = mux_new(&dev->mux, &mux);
	if (!r)
		r = frontend_init(dev);
	if (r < 0) {
		device_free(dev);
		return r;
	}
	*out = dev;
	return 0;
}

void device_free(struct device *dev)
{
	if (!dev)
		return;
	frontend_deinit(dev);
	loop_timer_cancel(dev->config.loop, &dev->timer);
	loop_work_cancel(&dev->work);
	mux_free(dev->mux);
	for (size_t i = 0; i < dev->n_backends; i++)
		dev->backends[i]->ops->free(dev->backends[i]);
	free(dev);
}

struct mux *device_mux(struct device *dev)
{
	return dev->mux;
}

const char *device_tag(const struct device *dev)
{
	return dev->tag;
}

void device_add_backend(struct device *dev, struct backend *backend)
{
	assert(dev->n_backends < MUX_BACKENDS_MAX);
	dev->backends[dev->n_backends++] = backend;
	mux_add_backend(dev->mux, backend);
}
