/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: what a turn does on its rings; what the guest knows. */
#include "device/device_internal.h"
#include "device/publish.h"
#include "util/log_limit.h"

/* False: guest memory vanished, so this packet and those after it are not what
 * the guest sent. */
static bool input_chain(struct device *dev, const struct virtq_chain *chain)
{
	struct iov_cur cur = { .iov = chain->iov, .n = chain->n_out, .left = chain->out_len };
	struct pkt pkt;
	int bad = pkt_parse(&pkt, &cur);

	if (frontend_lost_memory(&dev->frontend))
		return false;
	if (!list_is_empty(&dev->taps) && bad != PKT_E_SHORT)
		device_show(dev, &pkt, &cur);
	if (bad)
		dev->counters->packets_dropped[bad == PKT_E_BODY ? DROP_BODY : DROP_SHORT]++;
	if (bad)
		log_guest(dev->tag, "packet of %zu bytes dropped: %s", chain->out_len,
			  pkt_str_error(bad));
	if (bad == PKT_E_BODY)
		mux_input_cut(dev->mux, &pkt, loop_now_ms(dev->config.loop));
	else if (!bad)
		mux_input(dev->mux, &pkt, &cur, loop_now_ms(dev->config.loop));
	return true;
}

static void count_batch(size_t n, uint64_t *packets, struct histogram *batches)
{
	if (!n)
		return;
	*packets += n;
	histogram_add(batches, HISTOGRAM_SHIFT_PACKETS, n);
}

/* A batch of the TX ring. */
static enum turn drain_tx(struct device *dev, struct virtq *q)
{
	struct virtq_iovs iovs = { .iov = dev->config.scratch->tx, .max = DEVICE_TX_IOVS };
	struct virtq_chain chain;
	size_t bytes = 0, n;
	int r = 0;

	for (n = 0; n < DEVICE_TX_BATCH && bytes < DEVICE_TX_BYTES; n++) {
		if (mux_is_clogged(dev->mux)) {
			r = VIRTQ_E_EMPTY;	/* goes on when the replies are out */
			break;
		}
		if ((r = virtq_pop(q, &iovs, &chain)))
			break;
		if (!input_chain(dev, &chain))
			return TURN_DONE;	/* the turn ends with the session */
		virtq_push(q, &chain, 0);	/* seen after the flush, by the publish */
		bytes += chain.out_len;
	}
	if (frontend_lost_memory(&dev->frontend))
		return TURN_DONE;		/* small payloads were copied */
	if (n) {
		mux_flush(dev->mux, loop_now_ms(dev->config.loop));
		count_batch(n, &dev->counters->packets[COUNTERS_TO_HOST],
			    &dev->counters->tx_batch);
		device_publish(q, device_vring(dev, VSOCK_TXQ), n, dev->counters);
	}
	if (r == VIRTQ_E_BROKEN)
		vring_fail(device_vring(dev, VSOCK_TXQ));
	return r == VIRTQ_E_FULL || (r == 0 && virtq_has_more(q)) ? TURN_MORE : TURN_DONE;
}

static void tap_output(void *ctx, const struct pkt *pkt, const struct rx_buf *buf)
{
	struct device *dev = ctx;
	struct iov_cur payload;
	char hdr[PKT_HDR_SIZE];

	iov_cur_init(&payload, buf->iov, buf->n);
	iov_cur_get(&payload, hdr, sizeof hdr);
	device_show(dev, pkt, &payload);
}

static void open_rx(struct device *dev, struct virtq *q, struct rx_sink *sink)
{
	struct rx_window *window = &dev->window;

	rx_window_open(window, q, dev->config.scratch);
	*sink = rx_window_sink(window);
	if (!list_is_empty(&dev->taps)) {
		sink->trace = tap_output;
		sink->trace_ctx = dev;
	}
}

/* True: the ring was found broken. */
static bool close_rx(struct device *dev)
{
	struct rx_window *window = &dev->window;

	rx_window_close(window);
	count_batch(window->n_used, &dev->counters->packets[COUNTERS_TO_GUEST],
		    &dev->counters->rx_batch);
	device_publish(window->q, device_vring(dev, VSOCK_RXQ), window->n_used, dev->counters);
	if (window->is_broken)
		vring_fail(device_vring(dev, VSOCK_RXQ));
	return window->is_broken;
}

/* Lets the core send. */
static enum turn fill_rx(struct device *dev, struct virtq *q)
{
	struct rx_sink sink;
	bool is_broken;
	int r;

	open_rx(dev, q, &sink);
	r = mux_output(dev->mux, &sink, loop_now_ms(dev->config.loop));
	is_broken = close_rx(dev);
	dev->counters->rx_starved[0] += r == MUX_E_STARVED;
	if (is_broken)
		return TURN_DONE;
	if (r == MUX_E_STARVED && !virtq_enable_notify(q))
		return TURN_DONE;		/* the next buffer comes with a kick */
	return r ? TURN_MORE : TURN_DONE;
}

/* In the turn of another device, whose guest has something for ours. If we die of what is in our
 * ring, it was our guest's doing. */
bool device_open_rx(void *ctx, struct rx_sink *sink)
{
	struct device *dev = ctx;
	_Atomic uint64_t *handling = dev->config.handling;
	struct virtq *q;

	assert(!dev->in_turn);
	if (!mux_is_running(dev->mux) || dev->is_held || dev->ended ||
	    frontend_lost_memory(&dev->frontend))
		return false;
	q = frontend_running(&dev->frontend, VSOCK_RXQ);
	if (!q)
		return false;
	dev->lends_to = handling ? atomic_load_explicit(handling, memory_order_relaxed) : 0;
	device_note_handling(handling, dev->config.guest_cid);
	recovery_begin_turn(&dev->recovery);
	open_rx(dev, q, sink);
	return true;
}

void device_close_rx(void *ctx)
{
	struct device *dev = ctx;
	bool is_broken = close_rx(dev);

	device_note_handling(dev->config.handling, dev->lends_to);
	poller_turn_ends(&dev->polled, loop_now_us(dev->config.loop));
	if (is_broken || frontend_lost_memory(&dev->frontend) || frontend_has_held_up(&dev->frontend))
		loop_work_schedule(dev->config.loop, &dev->work);
}

/* Every turn works on the rings, so they need kicks only when they are idle. */
enum turn device_rings_turn(struct device *dev, struct virtq *tx, struct virtq *rx)
{
	enum turn result = TURN_DONE;
	bool was_clogged;

	if (tx) {
		/* Our call may let the guest run before the turn is over: it need not kick. */
		virtq_suppress_notify(tx);
		result = drain_tx(dev, tx);
	}
	was_clogged = mux_is_clogged(dev->mux);
	if (rx && mux_has_output(dev->mux)) {
		virtq_disable_notify(rx);
		result = turn_worse(result, fill_rx(dev, rx));
	}
	if (was_clogged)
		return mux_is_clogged(dev->mux) ? result : TURN_MORE;
	if (tx && result == TURN_DONE && !tx->broken && virtq_enable_notify(tx))
		return TURN_LATE;
	return result;
}

/* Virtio 1.3, 5.10.3: streams go without saying, unless that has been ruled out. */
unsigned device_guest_types(const struct device *dev)
{
	uint64_t features = frontend_features(&dev->frontend);
	unsigned types = 0;

	if (features & FEATURE_BIT(VIRTIO_VSOCK_F_STREAM) ||
	    !(features & FEATURE_BIT(VIRTIO_VSOCK_F_NO_IMPLIED_STREAM)))
		types |= MUX_STREAMS;
	if (features & FEATURE_BIT(VIRTIO_VSOCK_F_SEQPACKET))
		types |= MUX_SEQPACKETS;
	return types;
}
