/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends come, go, and come again: one listening socket, one session at a
 * time.
 *
 * Whoever connects while another front-end is in session is refused; but first
 * the session is asked whether it is still alive, since a killed VMM and its
 * successor may arrive in one batch of events. A connection becomes the session
 * by its first byte. Until then it is a candidate: it may be a VMM that is still
 * starting, and must not lose its place to a probe that comes and goes.
 *
 * "The guest was reset" and "the VM is paused" are the same message to many
 * front-ends, GET_VRING_BASE. So the guest's connections live on for the pause grace:
 * rings that come back where they stopped were paused; rings that come back elsewhere,
 * or not in time, were reset. A guest that resumes too late gets its RSTs then. A
 * front-end that has said RESET_DEVICE says it at each reset: stopped rings are a
 * pause then, for as long as it takes.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "device/device_internal.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	NO_MEMORY_MS = 2000,
	CLOSED_MS = 30 * 1000,			/* more than 100 times what it takes the watchdog */
};

enum { NO_MEMORY };				/* device::failures */

static uint64_t now_ms(const struct device *dev)
{
	return loop_now_ms(dev->config.loop);
}

static void on_kick(struct loop_source *source, uint32_t events, unsigned ring)
{
	struct device *dev = container_of(source, struct device, kicks[ring]);

	/* Edge-triggered, so the counter is left alone; a closed pipe is no kick. */
	if (events & EPOLLIN)
		device_schedule(dev);
	else
		loop_remove(dev->config.loop, source);
}

static void on_kick_rx(struct loop_source *source, uint32_t events)
{
	on_kick(source, events, VSOCK_RXQ);
}

static void on_kick_tx(struct loop_source *source, uint32_t events)
{
	on_kick(source, events, VSOCK_TXQ);
}

static void on_kick_event(struct loop_source *source, uint32_t events)
{
	on_kick(source, events, VSOCK_EVENTQ);
}

static void on_ring_changed(void *ctx, unsigned ring)
{
	struct device *dev = ctx;
	struct vring *v = session_vring(dev->session, ring);
	int r = 0;

	if (dev->kicks[ring].fd != v->kick_fd) {
		loop_remove(dev->config.loop, &dev->kicks[ring]);
		if (v->kick_fd >= 0)
			r = loop_add(dev->config.loop, &dev->kicks[ring], v->kick_fd,
				     EPOLLIN | EPOLLET);
		if (r < 0) {
			log_limited(LEVEL_WARN, dev->tag, "ring %u: cannot wait for kicks: %s; polled",
				    ring, error_str(r));
			v->polled = true;
		}
	}
	device_look_at_guest(dev);
	device_schedule(dev);
}

static void on_ring_stopped(void *ctx, unsigned ring)
{
	struct device *dev = ctx;

	loop_remove(dev->config.loop, &dev->kicks[ring]);
	if (ring != VSOCK_EVENTQ && !dev->resume.is_set && !session_says_reset(dev->session))
		loop_timer_set(dev->config.loop, &dev->resume, now_ms(dev) + dev->config.pause_grace_ms);
	device_look_at_guest(dev);
}

static void on_guest_reset(void *ctx)
{
	struct device *dev = ctx;

	loop_timer_cancel(dev->config.loop, &dev->resume);
	if (mux_reset(dev->mux, now_ms(dev)))
		log_limited(LEVEL_INFO, dev->tag, "guest was reset: its connections are closed");
	dev->event_due = false;
}

static void on_resume_timeout(struct loop_timer *timer)
{
	struct device *dev = container_of(timer, struct device, resume);

	if (mux_abort(dev->mux, now_ms(dev)))
		log_limited(LEVEL_INFO, dev->tag, "guest stays stopped: its connections are closed");
}

/* A front-end may share memory after it has started the rings, but no one that waits
 * so long has any to share: QEMU leaves out, without a word, what is private to it. */
static void watch_memory(struct device *dev)
{
	if (!dev->session || !session_lacks_memory(dev->session))
		loop_timer_cancel(dev->config.loop, &dev->no_memory);
	else if (!dev->no_memory.is_set)
		loop_timer_set(dev->config.loop, &dev->no_memory, now_ms(dev) + NO_MEMORY_MS);
}

static void on_no_memory(struct loop_timer *timer)
{
	struct device *dev = container_of(timer, struct device, no_memory);

	log_first(&dev->failures, NO_MEMORY, dev->tag, "the front-end has started the rings, but "
		  "shares no memory: the guest's memory has to be shared (QEMU: a memory backend "
		  "with share=on; cloud-hypervisor: --memory shared=on)");
}

static void on_read_config(void *ctx, uint32_t offset, void *out, size_t len)
{
	const struct device *dev = ctx;
	struct wire_vsock_config config = { .guest_cid = le64_of(dev->config.guest_cid) };
	uint8_t *to = out;

	memset(to, 0, len);
	for (size_t i = 0; i < len && offset + (uint64_t)i < sizeof config; i++)
		to[i] = ((const uint8_t *)&config)[offset + i];
}

static const struct session_ops session_ops = {
	.ring_changed = on_ring_changed,
	.ring_stopped = on_ring_stopped,
	.guest_reset = on_guest_reset,
	.read_config = on_read_config,
};

/*
 * Its eventfd has held up the worker, and all VMs on it, until the watchdog came: some
 * 200 ms. Nobody does that by mistake, and he who does can do it again at once, in a new
 * session if need be. So it is done no more often than the others do not notice.
 */
static void close_for_a_while(struct device *dev)
{
	log_limited(LEVEL_WARN, dev->tag, "front-end disconnected, and none let in for %d s: a write "
		    "to its eventfd has blocked", CLOSED_MS / 1000);
	dev->closed_until_ms = now_ms(dev) + CLOSED_MS;
}

void frontend_drop(struct device *dev)
{
	if (!dev->session)
		return;
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		loop_remove(dev->config.loop, &dev->kicks[i]);
	loop_remove(dev->config.loop, &dev->session_source);
	loop_timer_cancel(dev->config.loop, &dev->resume);
	loop_timer_cancel(dev->config.loop, &dev->no_memory);
	if (session_has_held_up(dev->session))
		close_for_a_while(dev);
	else
		log_limited(LEVEL_INFO, dev->tag, "front-end disconnected");
	mux_set_running(dev->mux, false);
	mux_reset(dev->mux, now_ms(dev));
	dev->event_due = false;
	session_free(dev->session);
	dev->session = NULL;
}

/* Handles what the front-end has sent; it may be gone afterwards. */
static void session_turn(struct device *dev)
{
	if (session_input(dev->session) == SESSION_E_END)
		frontend_drop(dev);
	watch_memory(dev);
}

static void on_session(struct loop_source *source, uint32_t events)
{
	(void)events;
	session_turn(container_of(source, struct device, session_source));
}

enum place { PLACE_FREE, PLACE_TAKEN, PLACE_UNKNOWN, PLACE_CLOSED };

/* Is the front-end that is in session there to stay? While it has more to say than is
 * heard in one turn, that is not known. */
static enum place look_at_place(struct device *dev)
{
	if (dev->session) {
		int r = session_input(dev->session);

		if (r != SESSION_E_END)
			return r == SESSION_E_AGAIN ? PLACE_TAKEN : PLACE_UNKNOWN;
		frontend_drop(dev);
	}
	return now_ms(dev) < dev->closed_until_ms ? PLACE_CLOSED : PLACE_FREE;
}

static int session_begin(struct device *dev, int sock)
{
	struct session_config config = {
		.ops = &session_ops, .ctx = dev, .tag = dev->tag,
		.features = FEATURE_BIT(VIRTIO_F_VERSION_1) | FEATURE_BIT(VIRTIO_F_EVENT_IDX) |
			FEATURE_BIT(VIRTIO_F_INDIRECT_DESC) | FEATURE_BIT(VIRTIO_F_IN_ORDER) |
			FEATURE_BIT(VIRTIO_F_NOTIFY_ON_EMPTY),
		.n_rings = VSOCK_NUM_QUEUES, .ring_size_max = dev->config.queue_size,
		.memory = dev->config.memory,
	};
	int r = session_new(&dev->session, &config, sock);

	if (r < 0)
		return r;
	r = loop_add(dev->config.loop, &dev->session_source, sock, EPOLLIN | EPOLLRDHUP);
	if (r < 0) {
		frontend_drop(dev);
		return r;
	}
	log_limited(LEVEL_INFO, dev->tag, "front-end connected");
	session_turn(dev);
	return 0;
}

static void candidate_drop(struct candidate *c)
{
	loop_remove(c->dev->config.loop, &c->source);
	closer_close(&c->fd);
}

static void candidate_promote(struct candidate *c)
{
	struct device *dev = c->dev;
	int r;

	loop_remove(dev->config.loop, &c->source);
	r = session_begin(dev, fd_take(&c->fd));
	if (r < 0)
		log_limited(LEVEL_WARN, dev->tag, "cannot begin a session: %s", error_str(r));
}

/* Its first byte, or its end. */
static void on_candidate(struct loop_source *source, uint32_t events)
{
	struct candidate *c = container_of(source, struct candidate, source);
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	(void)events;
	if (n <= 0) {
		if (n < 0 && errno != ECONNRESET)
			log_limited(LEVEL_WARN, c->dev->tag, "front-end: %s; disconnected",
				    error_str(error_last()));
		candidate_drop(c);
		return;
	}
	switch (look_at_place(c->dev)) {
	case PLACE_FREE:
		candidate_promote(c);
		return;
	case PLACE_TAKEN:
		log_limited(LEVEL_WARN, c->dev->tag, "a second front-end was refused");
		candidate_drop(c);
		return;
	case PLACE_CLOSED:
		candidate_drop(c);
		return;
	case PLACE_UNKNOWN:
		return;				/* it stays readable: again in the next batch */
	}
}

/* Takes @fd over. With all places taken, they go round. */
static void candidate_add(struct device *dev, int fd)
{
	struct candidate *c = &dev->candidates[dev->next_candidate];
	int r;

	dev->next_candidate = (dev->next_candidate + 1) % CANDIDATES_MAX;
	candidate_drop(c);
	c->fd = fd;
	r = loop_add(dev->config.loop, &c->source, fd, EPOLLIN | EPOLLRDHUP);
	if (r < 0) {
		log_limited(LEVEL_WARN, dev->tag, "cannot wait for a front-end: %s", error_str(r));
		candidate_drop(c);
	}
}

static void on_accepted(void *ctx, int fd)
{
	struct device *dev = ctx;

	switch (look_at_place(dev)) {
	case PLACE_TAKEN:
		log_limited(LEVEL_WARN, dev->tag, "a second front-end was refused");
		closer_close(&fd);
		return;
	case PLACE_CLOSED:
		closer_close(&fd);
		return;
	case PLACE_FREE:
	case PLACE_UNKNOWN:
		candidate_add(dev, fd);
	}
}

int frontend_init(struct device *dev)
{
	static void (*const on_kicks[VSOCK_NUM_QUEUES])(struct loop_source *, uint32_t) = {
		[VSOCK_RXQ] = on_kick_rx, [VSOCK_TXQ] = on_kick_tx, [VSOCK_EVENTQ] = on_kick_event,
	};
	struct acceptor_config acceptor = {
		.loop = dev->config.loop, .listener = &dev->listener, .tag = dev->tag,
		.what = "a front-end", .per_event = 1, .accepted = on_accepted, .ctx = dev,
	};
	int r;

	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		dev->kicks[i] = (struct loop_source){ .dispatch = on_kicks[i], .fd = -1 };
	for (unsigned i = 0; i < CANDIDATES_MAX; i++)
		dev->candidates[i] = (struct candidate){
			.dev = dev, .fd = -1, .source = { .dispatch = on_candidate, .fd = -1 },
		};
	dev->session_source = (struct loop_source){ .dispatch = on_session, .fd = -1 };
	acceptor_init(&dev->acceptor);
	dev->resume.expire = on_resume_timeout;
	dev->no_memory.expire = on_no_memory;
	r = listener_open(&dev->listener, dev->config.socket, &dev->config.access);
	if (r < 0)
		return r;
	return acceptor_start(&dev->acceptor, &acceptor);
}

void frontend_deinit(struct device *dev)
{
	if (!dev->resume.expire)		/* no init */
		return;
	frontend_drop(dev);
	for (unsigned i = 0; i < CANDIDATES_MAX; i++)
		candidate_drop(&dev->candidates[i]);
	acceptor_stop(&dev->acceptor);
	listener_deinit(&dev->listener);
}
