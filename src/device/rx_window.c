/* SPDX-License-Identifier: BSD-3-Clause */
/* The RX ring as the packet core wants it. */
#include "device/rx_window.h"

#include "device/scratch.h"

void rx_window_open(struct rx_window *w, struct virtq *q, struct device_scratch *scratch)
{
	*w = (struct rx_window){
		.q = q, .scratch = scratch,
		.iovs = { .iov = scratch->rx, .max = DEVICE_RX_IOVS },
	};
}

void rx_window_close(struct rx_window *w)
{
	virtq_unpop(w->q, (uint16_t)(w->end - w->first));
	w->first = w->end;
}

/* Makes room for @want buffers, those included that are there. */
static void compact(struct rx_window *w, size_t want)
{
	size_t n = w->end - w->first;

	if (!n) {
		w->iovs.n = 0;
	} else if (w->first + want > RX_BORROW_MAX) {
		memmove(w->scratch->chains, w->scratch->chains + w->first,
			n * sizeof *w->scratch->chains);
		memmove(w->scratch->bufs, w->scratch->bufs + w->first,
			n * sizeof *w->scratch->bufs);
	} else {
		return;
	}
	w->first = 0;
	w->end = n;
}

/* One more buffer, for which there is room. False: there is none now. */
static inline bool pop_one(struct rx_window *w)
{
	struct virtq_chain *chain = &w->scratch->chains[w->end];
	int r = 0;

	/* Bounded: the guest may add such buffers as fast as we return them. */
	for (int n = 0; n < RX_BORROW_MAX; n++) {
		if ((r = virtq_pop(w->q, &w->iovs, chain)))
			break;
		if (chain->in_len >= PKT_HDR_SIZE) {
			w->scratch->bufs[w->end++] = (struct rx_buf){
				chain->iov + chain->n_out, chain->n_in, chain->in_len,
			};
			return true;
		}
		/* Too small for any packet: returned unused, but in its turn. */
		if (w->first != w->end) {
			virtq_unpop(w->q, 1);
			return false;
		}
		virtq_push(w->q, chain, 0);
		w->iovs.n = 0;
	}
	w->is_broken = r == VIRTQ_E_BROKEN;
	return false;
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	struct rx_window *w = ctx;

	if (w->end - w->first < want)
		compact(w, want);
	while (w->end - w->first < want && pop_one(w))
		;
	*bufs = w->scratch->bufs + w->first;
	return w->end - w->first < want ? w->end - w->first : want;
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	struct rx_window *w = ctx;

	w->n_used += n;
	for (size_t i = 0; i < n; i++)
		virtq_push(w->q, &w->scratch->chains[w->first++], lens[i]);
}

struct rx_sink rx_window_sink(struct rx_window *w)
{
	return (struct rx_sink){ .borrow = borrow, .used = used, .ctx = w };
}
