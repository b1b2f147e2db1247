/* SPDX-License-Identifier: BSD-3-Clause */
/* One split virtqueue, device side. */
#include "vhost/virtq.h"

#include <stdatomic.h>

#include "util/blob.h"
#include "util/error.h"
#include "vhost/virtq_internal.h"

/* Loads and stores of the words that both sides look at. */
static uint16_t ring_load(const GUEST le16 *word)
{
	uint16_t raw = word->raw;

	atomic_thread_fence(memory_order_acquire);
	return le16_get((le16){ raw });
}

static void ring_store(GUEST le16 *word, uint16_t v)
{
	atomic_thread_fence(memory_order_release);
	word->raw = le16_of(v).raw;
}

/* Our stores are seen before our next load is made: 2.7.13.3.1, 2.7.14. */
static void ring_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

static const GUEST le16 *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->config.num];
}

static GUEST le16 *avail_event(const struct virtq *q)
{
	return (GUEST le16 *)&q->used->ring[q->config.num];
}

static int broken(struct virtq *q, const char *why)
{
	if (!q->broken)
		q->broken = why;
	return VIRTQ_E_BROKEN;
}

void virtq_init(struct virtq *q)
{
	*q = (struct virtq){ .mem = NULL };
}

void virtq_unresolve(struct virtq *q)
{
	q->mem = NULL;
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
}

void virtq_set_base(struct virtq *q, uint16_t base)
{
	q->last_avail = base;
	virtq_forget_used(q);
	virtq_unresolve(q);
}

void virtq_forget_used(struct virtq *q)
{
	q->has_used_idx = false;
	q->has_distance = false;
}

static bool is_size(uint32_t num)
{
	return num && num <= VIRTQ_SIZE_MAX && !(num & (num - 1));
}

struct places {
	const GUEST struct wire_virtq_desc *desc;
	const GUEST struct wire_virtq_avail *avail;
	GUEST struct wire_virtq_used *used;
};

/* Each part over its full size. NULL, or why not. */
static const char *find_places(const struct virtq_config *c, struct gmem *mem, struct places *out)
{
	if (!is_size(c->num))
		return "no valid size";
	out->desc = gmem_ptr_uaddr(mem, c->desc_uaddr, virtq_desc_size(c->num));
	out->avail = gmem_ptr_uaddr(mem, c->avail_uaddr, virtq_avail_size(c->num));
	out->used = gmem_ptr_uaddr(mem, c->used_uaddr, virtq_used_size(c->num));
	if (!out->desc || !out->avail || !out->used)
		return "not within guest memory";
	if (!virtq_is_aligned(out->desc, _Alignof(struct wire_virtq_desc)) ||
	    !virtq_is_aligned(out->avail, _Alignof(struct wire_virtq_avail)) ||
	    !virtq_is_aligned(out->used, _Alignof(struct wire_virtq_used)))
		return "not aligned";
	return NULL;
}

const char *virtq_check(const struct virtq_config *config, struct gmem *mem)
{
	struct places places;

	return find_places(config, mem, &places);
}

int virtq_resolve(struct virtq *q, struct gmem *mem, uint64_t features)
{
	struct places places;
	const char *why;

	q->broken = NULL;
	virtq_unresolve(q);
	why = mem ? find_places(&q->config, mem, &places) : "no guest memory";
	if (why)
		return broken(q, why);
	q->desc = places.desc;
	q->avail = places.avail;
	q->used = places.used;
	q->mem = mem;
	q->mask = (uint16_t)(q->config.num - 1);
	q->event_idx = has_feature(features, VIRTIO_F_EVENT_IDX);
	q->indirect = has_feature(features, VIRTIO_F_INDIRECT_DESC);
	q->notify_on_empty = has_feature(features, VIRTIO_F_NOTIFY_ON_EMPTY);
	if (!q->has_used_idx) {
		q->used_idx = q->published = ring_load(&q->used->idx);
		q->has_used_idx = true;
		q->called = false;
		if (q->has_distance)
			q->last_avail = (uint16_t)(q->used_idx + q->distance);
	}
	q->avail_idx = q->last_avail;		/* load it at the first pop */
	return 0;
}

void virtq_save(const struct virtq *q, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('V', 'I', 'R', 'Q'), 1);

	blob_put_u32(out, q->config.num);
	blob_put_u64(out, q->config.desc_uaddr);
	blob_put_u64(out, q->config.avail_uaddr);
	blob_put_u64(out, q->config.used_uaddr);
	blob_put_u16(out, q->last_avail);
	blob_put_u8(out, q->has_used_idx || q->has_distance);
	blob_put_u16(out, q->has_used_idx ? (uint16_t)(q->last_avail - q->used_idx) : q->distance);
	blob_close(out, section);
}

int virtq_load(struct virtq *q, struct blob_reader *in)
{
	struct blob_reader section;
	struct virtq loaded = { .mem = NULL };
	uint32_t version;

	blob_enter(in, &section, BLOB_TAG('V', 'I', 'R', 'Q'), 1, &version);
	loaded.config.num = blob_get_u32(&section);
	loaded.config.desc_uaddr = blob_get_u64(&section);
	loaded.config.avail_uaddr = blob_get_u64(&section);
	loaded.config.used_uaddr = blob_get_u64(&section);
	loaded.last_avail = blob_get_u16(&section);
	loaded.has_distance = blob_get_bool(&section);
	loaded.distance = blob_get_u16(&section);
	if (!blob_is_whole(&section) || (loaded.config.num && !is_size(loaded.config.num)))
		return VIRTQ_E_STATE;
	*q = loaded;
	return 0;
}

/* A chain of one buffer, as most in an RX ring are. False, and nothing done: it is another, or
 * needs a closer look. */
static inline bool pop_plain(struct virtq *q, uint16_t head, const struct wire_virtq_desc *d,
			     struct virtq_iovs *iovs, struct virtq_chain *out)
{
	uint16_t flags = le16_get(d->flags);
	uint32_t len = le32_get(d->len);
	bool is_in = flags & VIRTQ_DESC_F_WRITE;
	char *ptr = gmem_ptr_again(q->mem, le64_get(d->addr), len);
	struct iovec *iov = iovs->iov + iovs->n;

	if (flags & (VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_INDIRECT) || !ptr || !len ||
	    iovs->n == iovs->max)
		return false;
	*iov = (struct iovec){ ptr, len };
	iovs->n++;
	*out = (struct virtq_chain){
		.head = head, .iov = iov, .n_out = !is_in, .n_in = is_in,
		.out_len = is_in ? 0 : len, .in_len = is_in ? len : 0,
	};
	return true;
}

/* From the second chain of a batch on. */
static inline bool is_ahead_due(const struct virtq *q)
{
	return (uint16_t)(q->last_avail - q->batch_avail) % VIRTQ_AHEAD_EVERY == 1;
}

/* Loads the driver's index. 0; VIRTQ_E_EMPTY; VIRTQ_E_BROKEN. */
static int find_more(struct virtq *q)
{
	uint16_t idx = ring_load(&q->avail->idx);

	if ((uint16_t)(idx - q->last_avail) > q->config.num)
		return broken(q, "available index jumped");
	q->avail_idx = idx;
	return idx == q->last_avail ? VIRTQ_E_EMPTY : 0;
}

/* Any chain: its first descriptor is @d, and was loaded. Out of line: what most pops need fits into
 * registers. */
static __attribute__((noinline)) int pop_chain(struct virtq *q, uint16_t head,
					       const struct wire_virtq_desc *d,
					       struct virtq_iovs *iovs, struct virtq_chain *out)
{
	struct virtq_chain c = { .head = head, .iov = iovs->iov + iovs->n };
	size_t n_before = iovs->n;
	const char *why = virtq_walk(q, *d, iovs, &c);

	if (why) {
		bool was_full = iovs->n == iovs->max;

		iovs->n = n_before;
		if (n_before && (was_full || iovs->max - n_before < VIRTQ_CHAIN_MAX))
			return VIRTQ_E_FULL;	/* a try with an empty array will tell */
		return broken(q, why);
	}
	*out = c;
	return 0;
}

int virtq_pop(struct virtq *q, struct virtq_iovs *iovs, struct virtq_chain *out)
{
	struct wire_virtq_desc d;
	uint16_t head;
	int r;

	if (q->broken)
		return VIRTQ_E_BROKEN;
	if (q->last_avail == q->avail_idx && (r = find_more(q)))
		return r;
	if (is_ahead_due(q))
		virtq_look_ahead(q);
	head = ring_load(&q->avail->ring[q->last_avail & q->mask]);
	if (head >= q->config.num)
		return broken(q, "head past the ring");
	d = virtq_desc_load(&q->desc[head]);
	if (!pop_plain(q, head, &d, iovs, out) && (r = pop_chain(q, head, &d, iovs, out)))
		return r;
	q->last_avail++;
	return 0;
}

void virtq_unpop(struct virtq *q, uint16_t n)
{
	q->last_avail = (uint16_t)(q->last_avail - n);
}

void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	GUEST struct wire_virtq_used_elem *e = &q->used->ring[q->used_idx & q->mask];

	e->id.raw = le32_of(chain->head).raw;
	e->len.raw = le32_of(written).raw;
	q->used_idx++;
}

bool virtq_publish(struct virtq *q)
{
	uint16_t old = q->published, now = q->used_idx;
	bool first = !q->called;

	q->batch_avail = q->last_avail;
	if (old == now)
		return false;
	ring_store(&q->used->idx, now);
	q->published = now;
	q->called = true;
	ring_fence();
	if (q->notify_on_empty && ring_load(&q->avail->idx) == q->last_avail)
		return true;
	if (q->event_idx) {
		uint16_t event = ring_load(used_event(q));

		/* Crossed [old, now): 2.7.7.2. */
		return first || (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	}
	return !(ring_load(&q->avail->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT);
}

bool virtq_is_untouched(const struct virtq *q)
{
	return !q->last_avail && !q->called && !ring_load(&q->avail->idx);
}

bool virtq_has_more(const struct virtq *q)
{
	return ring_load(&q->avail->idx) != q->last_avail;
}

bool virtq_enable_notify(struct virtq *q)
{
	if (q->event_idx)
		ring_store(avail_event(q), q->last_avail);
	else
		ring_store(&q->used->flags, 0);
	ring_fence();
	return virtq_has_more(q);
}

/* An event that is passed already is not passed again before the index has gone round. */
void virtq_suppress_notify(struct virtq *q)
{
	if (q->event_idx)
		ring_store(avail_event(q), (uint16_t)(q->last_avail - 1));
	else
		ring_store(&q->used->flags, VIRTQ_USED_F_NO_NOTIFY);
}

void virtq_disable_notify(struct virtq *q)
{
	if (!q->event_idx)
		ring_store(&q->used->flags, VIRTQ_USED_F_NO_NOTIFY);
}
