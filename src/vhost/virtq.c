/* SPDX-License-Identifier: BSD-3-Clause */
/* One split virtqueue, device side. */
#include "vhost/virtq.h"

#include <stdatomic.h>

#include "util/blob.h"
#include "util/error.h"
#include "util/iov.h"

enum {
	AHEAD_BYTES = 64,			/* of a buffer: a line, wherever it begins */
	AHEAD_BUFFERS = 2,			/* of a chain: header and payload */
};

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

static struct wire_virtq_desc desc_load(const GUEST struct wire_virtq_desc *d)
{
	return (struct wire_virtq_desc){
		.addr = { d->addr.raw }, .len = { d->len.raw },
		.flags = { d->flags.raw }, .next = { d->next.raw },
	};
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

static bool is_aligned(const GUEST void *ptr, size_t align)
{
	return (uintptr_t)ptr % align == 0;
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
	if (!is_aligned(out->desc, _Alignof(struct wire_virtq_desc)) ||
	    !is_aligned(out->avail, _Alignof(struct wire_virtq_avail)) ||
	    !is_aligned(out->used, _Alignof(struct wire_virtq_used)))
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

/* A table of descriptors: the ring's own, or an indirect one. One that crosses
 * regions is read through its address. */
struct desc_table {
	const GUEST struct wire_virtq_desc *desc;	/* or NULL */
	uint64_t gpa;
	uint32_t n;
};

static bool table_load(struct virtq *q, const struct desc_table *t, uint32_t i,
		       struct wire_virtq_desc *out)
{
	struct iov_cur cur;
	struct iovec iov[2];
	size_t n;

	if (t->desc) {
		*out = desc_load(&t->desc[i]);
		return true;
	}
	n = gmem_slice(q->mem, t->gpa + (uint64_t)i * sizeof *out, sizeof *out, iov, 2);
	iov_cur_init(&cur, iov, n);
	return iov_cur_get(&cur, out, sizeof *out);
}

static bool table_open_indirect(struct virtq *q, const struct wire_virtq_desc *d,
				struct desc_table *out)
{
	uint64_t gpa = le64_get(d->addr);
	uint32_t len = le32_get(d->len);
	GUEST void *ptr;

	if (!q->indirect || !len || len % sizeof *d || len / sizeof *d > VIRTQ_CHAIN_MAX)
		return false;
	if (gpa > UINT64_MAX - len)
		return false;
	ptr = gmem_ptr_gpa(q->mem, gpa, len);
	if (!is_aligned(ptr, _Alignof(struct wire_virtq_desc)))
		ptr = NULL;
	*out = (struct desc_table){ .desc = ptr, .gpa = gpa, .n = (uint32_t)(len / sizeof *d) };
	return true;
}

/* Adds one buffer to the chain. NULL, or why the chain cannot be used. */
static const char *chain_add(struct virtq *q, struct virtq_iovs *iovs, struct virtq_chain *c,
			     const struct wire_virtq_desc *d)
{
	bool is_in = le16_get(d->flags) & VIRTQ_DESC_F_WRITE;
	uint32_t len = le32_get(d->len);
	size_t n;

	if (!is_in && c->n_in)
		return "readable descriptor behind a writable one";
	if (!len)
		return NULL;
	if (c->out_len + c->in_len + len > UINT32_MAX)
		return "chain of 4 GiB or more";
	if (iovs->n == iovs->max)
		return "too many buffers";
	n = gmem_slice(q->mem, le64_get(d->addr), len, iovs->iov + iovs->n, iovs->max - iovs->n);
	if (!n)
		return "buffer outside guest memory";
	iovs->n += n;
	if (is_in) {
		c->n_in += n;
		c->in_len += len;
	} else {
		c->n_out += n;
		c->out_len += len;
	}
	return NULL;
}

/* Follows the chain from @head. NULL, or why it cannot be used. */
static const char *chain_walk(struct virtq *q, uint16_t head, struct virtq_iovs *iovs,
			      struct virtq_chain *c)
{
	struct desc_table table = { .desc = q->desc, .n = q->config.num };
	struct wire_virtq_desc d;
	bool in_indirect = false;
	uint32_t bound = q->config.num < VIRTQ_CHAIN_MAX ? q->config.num : VIRTQ_CHAIN_MAX;
	uint32_t i = head;
	const char *why;

	for (uint32_t walked = 0; ; ) {
		uint16_t flags;

		if (i >= table.n)
			return "descriptor index past its table";
		if (walked++ == bound)
			return "chain longer than the ring, or than any driver makes it";
		if (!table_load(q, &table, i, &d))
			return "indirect table outside guest memory";
		flags = le16_get(d.flags);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (in_indirect || flags & VIRTQ_DESC_F_NEXT ||
			    !table_open_indirect(q, &d, &table))
				return "bad indirect descriptor";
			in_indirect = true;
			i = 0;
			walked = 0;
			bound = table.n;
			continue;
		}
		if ((why = chain_add(q, iovs, c, &d)))
			return why;
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return NULL;
		i = le16_get(d.next);
	}
}

/* ---- looking ahead ---- */

/* How many chains ahead of the popped one each step is made. */
static const uint16_t ahead_of[VIRTQ_AHEAD_STEPS] = { 16, 10, 5 };

static void prefetch(const GUEST void *ptr)
{
	__builtin_prefetch((const char *)(uintptr_t)ptr);
}

static void prefetch_gpa(struct virtq *q, uint64_t gpa)
{
	const GUEST char *ptr = gmem_ptr_gpa(q->mem, gpa, AHEAD_BYTES);

	if (ptr) {
		prefetch(ptr);
		prefetch(ptr + AHEAD_BYTES - 1);
	}
}

static void prefetch_buffer(struct virtq *q, const GUEST struct wire_virtq_desc *d)
{
	prefetch_gpa(q, le64_get((le64){ d->addr.raw }));
}

static void prefetch_table(struct virtq *q, const struct wire_virtq_desc *d)
{
	struct desc_table t;

	if (!table_open_indirect(q, d, &t) || !t.desc)
		return;
	for (uint32_t i = 0; i < t.n && i < AHEAD_BUFFERS; i++)
		prefetch_buffer(q, &t.desc[i]);
}

/* One step for the chain at @entry of the available ring. */
static void ahead_step(struct virtq *q, unsigned step, uint16_t entry)
{
	uint16_t head = le16_get((le16){ q->avail->ring[entry & q->mask].raw });
	struct wire_virtq_desc d;
	uint16_t flags;

	if (head >= q->config.num)
		return;
	if (step == 0) {
		prefetch(&q->desc[head]);
		return;
	}
	if (step == 1) {
		prefetch_buffer(q, &q->desc[head]);
		return;
	}
	d = desc_load(&q->desc[head]);
	flags = le16_get(d.flags);
	if (flags & VIRTQ_DESC_F_INDIRECT)
		prefetch_table(q, &d);
	else if (flags & VIRTQ_DESC_F_NEXT && le16_get(d.next) < q->config.num)
		prefetch_buffer(q, &q->desc[le16_get(d.next)]);
}

/*
 * A cache line that another CPU has just written takes longer to come than all the
 * work on a small packet, but many can be on their way at once. So the lines of coming
 * chains are prefetched while earlier ones are dealt with: first the descriptor, then
 * the header or the indirect table, then the buffers. What is read for that is a hint:
 * each address is translated, and none is kept. A chain that comes alone, or that is used
 * alone, has no earlier one.
 */
static void look_ahead(struct virtq *q)
{
	uint16_t n = (uint16_t)(q->avail_idx - q->last_avail);

	if (n == 1 || q->last_avail == q->batch_avail)
		return;
	for (unsigned step = 0; step < VIRTQ_AHEAD_STEPS; step++) {
		uint16_t want = n < ahead_of[step] ? n : ahead_of[step], *has = &q->ahead[step];

		if ((uint16_t)(*has - q->last_avail) > q->config.num)
			*has = q->last_avail;	/* popped, given back, or started anew */
		while ((uint16_t)(*has - q->last_avail) < want)
			ahead_step(q, step, (*has)++);
	}
}

int virtq_pop(struct virtq *q, struct virtq_iovs *iovs, struct virtq_chain *out)
{
	struct virtq_chain c = { .iov = iovs->iov + iovs->n };
	size_t n_before = iovs->n;
	const char *why;

	if (q->broken)
		return VIRTQ_E_BROKEN;
	if (q->last_avail == q->avail_idx) {
		uint16_t idx = ring_load(&q->avail->idx);

		if ((uint16_t)(idx - q->last_avail) > q->config.num)
			return broken(q, "available index jumped");
		q->avail_idx = idx;
		if (idx == q->last_avail)
			return VIRTQ_E_EMPTY;
	}
	look_ahead(q);
	c.head = ring_load(&q->avail->ring[q->last_avail & q->mask]);
	if (c.head >= q->config.num)
		return broken(q, "head past the ring");
	why = chain_walk(q, c.head, iovs, &c);
	if (why) {
		bool was_full = iovs->n == iovs->max;

		iovs->n = n_before;
		if (n_before && (was_full || iovs->max - n_before < VIRTQ_CHAIN_MAX))
			return VIRTQ_E_FULL;	/* a try with an empty array will tell */
		return broken(q, why);
	}
	q->last_avail++;
	*out = c;
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
