/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: its turn. */
#include <stdio.h>
#include <stdlib.h>

#include "device/device_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/random.h"

enum {
	CONNECT_MS = 2000,			/* of a stream, as long as a Linux guest waits */
	REQUEST_MS = 2000,			/* a guest's answer to a host's connect */
	CLOSING_MS = 10 * 1000,			/* a guest's answer to SHUTDOWN */
	RST_WAIT_MS = 5,			/* an RST, for another packet to go with */
	TURN_ROUNDS = 4,			/* for packets that come during the turn */
	TURNS_LATE_MAX = 64,			/* in a row, for which deadlines wait */
	POLL_MS = 1,				/* rings without a kick descriptor */
};

static void schedule(struct device *dev)
{
	if (!dev->in_turn)
		loop_work_schedule(dev->config.loop, &dev->work);
}

static void on_wake(void *ctx)
{
	schedule(ctx);
}

static bool is_memory_lost(void *ctx)
{
	const struct device *dev = ctx;

	return frontend_lost_memory(&dev->frontend);
}

static void set_timer(struct device *dev)
{
	uint64_t next_ms = mux_next_deadline(dev->mux);

	if (frontend_is_polled(&dev->frontend) && loop_now_ms(dev->config.loop) + POLL_MS < next_ms)
		next_ms = loop_now_ms(dev->config.loop) + POLL_MS;
	if (next_ms == UINT64_MAX)
		loop_timer_cancel(dev->config.loop, &dev->timer);
	else if (!dev->timer.is_set || dev->timer.deadline_ms != next_ms)
		loop_timer_set(dev->config.loop, &dev->timer, next_ms);
}

static void on_timer(struct loop_timer *timer)
{
	struct device *dev = container_of(timer, struct device, timer);

	schedule(dev);
}

/* A guest is there as long as its rings run. */
static void note_guest(struct device *dev, bool is_running)
{
	if (is_running == mux_is_running(dev->mux))
		return;
	mux_set_running(dev->mux, is_running);
	if (is_running)
		mux_set_types(dev->mux, device_guest_types(dev));
	log_limited(LEVEL_INFO, dev->tag, "guest is %s", is_running ? "running" : "not running");
	if (!dev->is_held)			/* else it was before */
		device_tell(dev, is_running ? DEVICE_GUEST_RUNNING : DEVICE_GUEST_STOPPED);
	if (is_running && vring_take_adopted(device_vring(dev, VSOCK_TXQ)))
		dev->events.reset_pending = true;
}

/* Deadlines are judged after what lies ready in the rings has been looked at. While there
 * is more of that they wait, but not for ever. */
static enum turn expire(struct device *dev, enum turn rings)
{
	if (mux_next_deadline(dev->mux) > loop_now_ms(dev->config.loop)) {
		dev->turns_late = 0;
		return TURN_DONE;
	}
	if (!loop_may_expire(dev->config.loop) ||
	    (rings != TURN_DONE && ++dev->turns_late < TURNS_LATE_MAX))
		return TURN_DONE;		/* the timer, which stays set, comes back to it */
	mux_expire(dev->mux, loop_now_ms(dev->config.loop));
	dev->turns_late = 0;
	return mux_has_output(dev->mux) ? TURN_MORE : TURN_DONE;
}

/* There is no front-end any more. May free the device. */
static void end_turn(struct device *dev)
{
	if (mux_give_up_some(dev->mux, loop_now_ms(dev->config.loop)))
		schedule(dev);
	else
		dev->ended(dev->ended_ctx);
}

/*
 * The one look at the clock that a turn costs: it began when the one before it ended, or with
 * the loop's batch. @before: bytes that the guest had got.
 */
static void count_turn(struct device *dev, uint64_t before)
{
	struct vsock_counters *counters = dev->counters;
	uint64_t batch_us = loop_now_us(dev->config.loop), now_us = clock_us();
	uint64_t begin_us = dev->config.scratch->turned_us;

	if (begin_us < batch_us)
		begin_us = batch_us;
	dev->config.scratch->turned_us = now_us;
	device_count_busy(&dev->config, (uint32_t)(now_us - begin_us));
	poller_turn_ends(&dev->polled, now_us);
	histogram_add(&counters->turn, HISTOGRAM_SHIFT_US, now_us - begin_us);
	if (dev->readable_us && counters->payload[COUNTERS_TO_GUEST] != before) {
		histogram_add(&counters->delivery, HISTOGRAM_SHIFT_US, now_us - dev->readable_us);
		dev->readable_us = batch_us;
	}
	if (!mux_has_output(dev->mux))
		dev->readable_us = 0;
}

static void take_turn(struct device *dev)
{
	enum turn result = TURN_LATE, ends, events;
	struct virtq *tx, *rx, *evq;		/* NULL: it does not run; in a turn none begins to */

	dev->in_turn = true;
	ends = mux_end_some(dev->mux, loop_now_ms(dev->config.loop)) ? TURN_MORE : TURN_DONE;
	tx = frontend_running(&dev->frontend, VSOCK_TXQ);
	rx = frontend_running(&dev->frontend, VSOCK_RXQ);
	evq = frontend_running(&dev->frontend, VSOCK_EVENTQ);
	note_guest(dev, tx && rx);
	recovery_begin_turn(&dev->recovery);
	events = guest_events_send(&dev->events, evq, device_vring(dev, VSOCK_EVENTQ),
				   dev->config.scratch, dev->counters);
	for (int round = 0; result == TURN_LATE && round < TURN_ROUNDS; round++)
		result = device_rings_turn(dev, tx, rx);
	result = turn_worse(result, expire(dev, result));
	dev->in_turn = false;
	recovery_end_turn(&dev->recovery);
	if (dev->config.hooks->event)
		device_tell_broken(dev);
	if (frontend_has_held_up(&dev->frontend))
		frontend_drop(&dev->frontend);
	if (frontend_lost_memory(&dev->frontend)) {
		log_limited(LEVEL_ERR, dev->tag, "guest memory vanished; front-end disconnected");
		mux_drop(dev->mux, loop_now_ms(dev->config.loop));
		frontend_drop(&dev->frontend);
		result = TURN_DONE;
	}
	set_timer(dev);
	if (turn_worse(result, turn_worse(ends, events)) != TURN_DONE)
		schedule(dev);
}

static void take_counted_turn(struct device *dev)
{
	uint64_t before = dev->counters->payload[COUNTERS_TO_GUEST];

	if (!dev->readable_us && mux_has_output(dev->mux))
		dev->readable_us = loop_now_us(dev->config.loop);
	poller_turn_begins(&dev->polled, loop_now_us(dev->config.loop));
	take_turn(dev);
	count_turn(dev, before);
}

/* What a guest that takes no answers has in its ring stays there: nothing is looked for. */
static struct virtq *find_tx(void *ctx)
{
	struct device *dev = ctx;

	return mux_is_clogged(dev->mux) ? NULL : frontend_running(&dev->frontend, VSOCK_TXQ);
}

/* The end may have freed the device. */
static void on_turn(struct loop_work *work)
{
	struct device *dev = container_of(work, struct device, work);
	_Atomic uint64_t *handling = dev->config.handling;

	device_note_handling(handling, dev->config.guest_cid);
	if (dev->ended)
		end_turn(dev);
	else
		take_counted_turn(dev);
	device_note_handling(handling, 0);
}

static void on_handles(void *ctx, bool is_begun)
{
	const struct device *dev = ctx;

	device_note_handling(dev->config.handling, is_begun ? dev->config.guest_cid : 0);
}

static void on_kicked(void *ctx, unsigned ring)
{
	struct device *dev = ctx;

	dev->counters->ring_kicks[ring]++;
	schedule(dev);
}

static void on_rings_changed(void *ctx)
{
	struct device *dev = ctx;

	note_guest(dev, frontend_has_guest(&dev->frontend));
	schedule(dev);
}

static void on_guest_reset(void *ctx)
{
	struct device *dev = ctx;

	if (mux_reset(dev->mux, loop_now_ms(dev->config.loop)))
		log_limited(LEVEL_INFO, dev->tag, "guest was reset: its connections are closed");
	dev->counters->guest_resets[0]++;
	device_tell(dev, DEVICE_GUEST_RESET);
	dev->events.reset_pending = false;
}

static void on_came(void *ctx)
{
	struct device *dev = ctx;

	recovery_on_came(&dev->recovery);
	if (dev->is_held)			/* it had come before, as all know */
		return;
	dev->counters->front_ends[0]++;
	dev->config.hooks->came(dev->config.guest_cid);
	device_tell(dev, DEVICE_FRONT_END_CONNECTED);
}

static void on_gone(void *ctx)
{
	struct device *dev = ctx;

	dev->config.hooks->gone(dev->config.guest_cid);
	if (mux_is_running(dev->mux))
		device_tell(dev, DEVICE_GUEST_STOPPED);
	device_tell(dev, DEVICE_FRONT_END_GONE);
	mux_set_running(dev->mux, false);
	mux_reset(dev->mux, loop_now_ms(dev->config.loop));
	dev->events.reset_pending = false;
}

static void on_guest_overdue(void *ctx)
{
	struct device *dev = ctx;

	if (mux_abort(dev->mux, loop_now_ms(dev->config.loop)))
		log_limited(LEVEL_INFO, dev->tag,
			    "guest stays stopped: its connections are closed");
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

static void on_over(void *ctx)
{
	const struct device *dev = ctx;

	dev->config.hooks->over(dev->config.guest_cid);
}

static void on_commit(void *ctx)
{
	struct device *dev = ctx;

	recovery_commit(&dev->recovery);
}

static void on_settle(void *ctx)
{
	struct device *dev = ctx;

	recovery_settle(&dev->recovery);
}

static struct msghdr *on_receipt(void *ctx)
{
	struct device *dev = ctx;

	return recovery_receipt(&dev->recovery);
}

static const struct frontend_ops frontend_ops = {
	.handles = on_handles,
	.kicked = on_kicked,
	.rings_changed = on_rings_changed,
	.guest_reset = on_guest_reset,
	.came = on_came,
	.gone = on_gone,
	.over = on_over,
	.guest_overdue = on_guest_overdue,
	.read_config = on_read_config,
	.commit = on_commit,
	.settle = on_settle,
	.receipt = on_receipt,
};

/* ---- in another process's place ---- */

static void resume(struct device *dev)
{
	if (dev->is_held)
		mux_resume(dev->mux, loop_now_ms(dev->config.loop));
	dev->is_held = false;
	schedule(dev);
}

/* A front-end that left when there was nobody to see it: who waits for that hears of it. */
static void on_begun(void *ctx)
{
	struct device *dev = ctx;

	if (!dev->recovery.has_come) {
		dev->config.hooks->gone(dev->config.guest_cid);
		device_tell(dev, DEVICE_FRONT_END_GONE);
	}
	resume(dev);
}

/* Of one that had no front-end: there is nothing else to begin with. */
static void on_resume(struct loop_work *work)
{
	resume(container_of(work, struct device, resume));
}

/* ---- life ---- */

static int make_mux(struct device *dev)
{
	const struct device_config *config = &dev->config;
	const struct mux_config mux = {
		.guest_cid = config->guest_cid, .limits = config->limits,
		.connect_ms = CONNECT_MS, .request_ms = REQUEST_MS, .closing_ms = CLOSING_MS,
		.rst_wait_ms = RST_WAIT_MS,
		.hash_seed = random_u64(), .first_port = random_u64(),
		.scratch = &config->scratch->mux, .wake = on_wake, .is_lost = is_memory_lost,
		.open_rx = device_open_rx, .close_rx = device_close_rx,
		.changed = config->hooks->event ? device_tell_conn : NULL,
		.is_watched = device_is_watched,
		.ctx = dev, .tag = dev->tag,
	};

	int r = mux_new(&dev->mux, &mux);

	if (!r)
		dev->counters = mux_counters(dev->mux);
	dev->polled.counters = dev->counters;
	return r;
}

static int make_frontend(struct device *dev)
{
	const struct device_config *config = &dev->config;
	const struct frontend_config frontend = {
		.ops = &frontend_ops, .ctx = dev, .tag = dev->tag, .loop = config->loop,
		.address = config->address,
		.queue_size = config->queue_size, .pause_grace_ms = config->pause_grace_ms,
		.memory = config->memory,
		.ring_stops = dev->counters->ring_stops,
		.is_journalled = config->keeper != NULL,
		.waits = config->keeper && config->kept,
	};

	return frontend_init(&dev->frontend, &frontend);
}

static int make_recovery(struct device *dev)
{
	const struct device_config *config = &dev->config;
	const struct recovery_config recovery = {
		.keeper = config->keeper, .kept = config->kept, .n_kept = config->n_kept,
		.max_connections = config->limits.max_connections, .tag = dev->tag,
		.loop = config->loop, .frontend = &dev->frontend, .events = &dev->events,
		.mux = dev->mux, .begun = on_begun, .ctx = dev,
	};

	return recovery_init(&dev->recovery, &recovery);
}

int device_new(struct device **out, const struct device_config *config)
{
	struct device *dev = calloc(1, sizeof *dev);
	int r, fd = config->address.fd;

	if (!dev) {
		recovery_close_kept(config->kept, config->n_kept);
		fd_close(&fd);
		return -ENOMEM;
	}
	dev->config = *config;
	snprintf(dev->tag, sizeof dev->tag, "vm %llu", (unsigned long long)config->guest_cid);
	loop_work_init(&dev->work, on_turn);
	loop_work_init(&dev->resume, on_resume);
	dev->timer.expire = on_timer;
	dev->polled = (struct poller_vm){ .queue = find_tx, .came = on_wake, .ctx = dev };
	list_init(&dev->taps);
	poller_vm_init(&dev->polled, config->poller, config->poll_us);
	r = make_mux(dev);
	if (r < 0)
		recovery_close_kept(config->kept, config->n_kept);
	else
		r = make_recovery(dev);
	if (r < 0)
		fd_close(&fd);
	else
		r = make_frontend(dev);
	if (r) {
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
	poller_vm_deinit(&dev->polled);
	frontend_deinit(&dev->frontend);
	device_end_taps(dev);
	device_tell_ends(dev);
	mux_free(dev->mux);
	recovery_deinit(&dev->recovery);	/* in which the mux had names */
	for (size_t i = 0; i < dev->n_backends; i++)
		dev->backends[i]->ops->free(dev->backends[i]);
	loop_timer_cancel(dev->config.loop, &dev->timer);	/* all of these wake it */
	loop_work_cancel(&dev->work);
	loop_work_cancel(&dev->resume);
	free(dev);
}

void device_end(struct device *dev, void (*ended)(void *ctx), void *ctx)
{
	assert(!dev->ended);
	dev->ended = ended;
	dev->ended_ctx = ctx;
	poller_vm_deinit(&dev->polled);
	frontend_deinit(&dev->frontend);
	mux_set_running(dev->mux, false);
	mux_reset(dev->mux, loop_now_ms(dev->config.loop));
	schedule(dev);
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

void device_answer(struct device *dev, int outcome, int fd)
{
	frontend_answer(&dev->frontend, outcome, fd);
}

int device_exchange_socket(struct device *dev, int fd)
{
	return frontend_exchange_socket(&dev->frontend, fd);
}

void device_reconfigure(struct device *dev, const struct device_change *change)
{
	mux_set_limits(dev->mux, &change->limits);
	poller_vm_set_max(&dev->polled, change->poll_us);
	frontend_set_limits(&dev->frontend, change->queue_size, change->pause_grace_ms,
			    &change->memory);
}
