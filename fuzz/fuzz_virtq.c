/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring, in memory that is all the fuzzer's, in two adjacent regions.
 *
 * Input: 16 bytes, struct setup: size of the ring (its power of two), features,
 * iovecs per batch, base of the available ring, where the regions meet, offsets
 * of the parts of the ring; a byte with how many steps there are, the steps (two
 * bytes: what, and a number; step() says which); the rest is the memory.
 *
 * Asserted: a chain is what a plain reading of the same descriptors says, byte
 * for byte, and is refused if that says so (virtq_model.c); chains of one batch
 * share no iovec; used entries, indices and event words are where they belong
 * and nothing else of the memory is written; calls and kicks are asked for when
 * the driver's words say so.
 */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "vhost/virtq.h"
#include "virtq_model.h"

enum { IOVS_MAX = 1100, BATCH = 64, STEPS_MAX = 255 };

#define UADDR	UINT64_C(0x20000)

struct setup {
	uint8_t log_num, features, iovs, unused;
	uint16_t base, unused_too, split;
	uint16_t desc, avail, used;
};

static int memfd;
static uint8_t *memory, *before;

struct run {
	struct gmem *mem;
	uint64_t split, features;
	struct virtq q;
	struct iovec iov[IOVS_MAX];
	struct virtq_iovs iovs;
	struct virtq_chain batch[BATCH];
	unsigned n, pushed;			/* chains of the batch */
	uint16_t used_idx;			/* as it should be */
};

static void map_once(void)
{
	if (memory)
		return;
	memfd = memfd_create("fuzz", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, MEMORY) < 0)
		abort();
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	before = malloc(MEMORY);
	if (memory == MAP_FAILED || !before)
		abort();
}

static void add_region(struct run *run, uint64_t at, uint64_t size)
{
	struct vhost_user_mem_region region = {
		.gpa = MODEL_GPA + at, .uaddr = UADDR + at, .size = size, .mmap_offset = at,
	};

	if (size && gmem_add_region(run->mem, &region, memfd))
		abort();
}

/* Where in the memory it lies as a whole; MEMORY: not there. */
static size_t offset_of(struct run *run, const struct iovec *iov)
{
	const uint64_t at[] = { 0, run->split }, size[] = { run->split, MEMORY - run->split };

	for (int i = 0; i < 2; i++) {
		uintptr_t base = (uintptr_t)gmem_ptr_gpa(run->mem, MODEL_GPA + at[i],
							 size[i] | !size[i]);
		uintptr_t off = (uintptr_t)iov->iov_base - base;

		if (size[i] && off < size[i] && iov->iov_len <= size[i] - off)
			return at[i] + off;
	}
	return MEMORY;
}

/* The iovecs are the model's buffers, piece by piece. */
static void check_chain(struct run *run, const struct virtq_chain *c, const struct model_chain *m)
{
	size_t k = 0, done = 0, out = 0, in = 0;

	assert(c->iov + c->n_out + c->n_in == run->iov + run->iovs.n);
	for (size_t i = 0; i < c->n_out + c->n_in; i++) {
		bool is_in = i >= c->n_out;

		while (k < m->n && done == m->bufs[k].len) {
			k++;
			done = 0;
		}
		assert(k < m->n && m->bufs[k].is_in == is_in && c->iov[i].iov_len > 0);
		assert(offset_of(run, &c->iov[i]) == m->bufs[k].at + done);
		assert(c->iov[i].iov_len <= m->bufs[k].len - done);
		done += c->iov[i].iov_len;
		*(is_in ? &in : &out) += c->iov[i].iov_len;
	}
	assert(m->out_len == out && c->out_len == out && m->in_len == in && c->in_len == in);
}

static void pop(struct run *run)
{
	static struct model_chain m;
	struct virtq_chain *c = &run->batch[run->n];
	const uint8_t *avail = memory + (run->q.config.avail_uaddr - UADDR);
	uint16_t last = run->q.last_avail;
	size_t n = run->iovs.n;
	bool is_good;
	int r;

	if (run->n == BATCH)
		return;
	r = virtq_pop(&run->q, &run->iovs, c);
	assert(run->iovs.n <= run->iovs.max);
	assert((r == VIRTQ_E_BROKEN) == (run->q.broken != NULL));
	is_good = model_walk(&m, memory, &run->q.config, run->q.config.desc_uaddr - UADDR, avail,
			     last, run->q.indirect);
	if (r == 0) {
		assert(is_good && c->head == m.head && c->iov == run->iov + n);
		check_chain(run, c, &m);
		assert(run->q.last_avail == (uint16_t)(last + 1));
		run->n++;
		return;
	}
	assert(r == VIRTQ_E_EMPTY || r == VIRTQ_E_FULL || r == VIRTQ_E_BROKEN);
	assert(run->iovs.n == n && run->q.last_avail == last);
	assert(r != VIRTQ_E_FULL || n > 0);
	assert(r != VIRTQ_E_EMPTY || model_u16(avail + 2) == last);
}

/* A batch of its own: a chain that the model can read, and that has room, is not refused. */
static void pop_alone(struct run *run)
{
	static struct model_chain m;
	const uint8_t *avail = memory + (run->q.config.avail_uaddr - UADDR);
	uint16_t last = run->q.last_avail;
	bool was_broken = run->q.broken;

	if (run->n || run->q.avail_idx == last)	/* one that the queue knows to be there */
		return;
	pop(run);
	if (was_broken || !run->q.broken)
		return;
	assert(!model_walk(&m, memory, &run->q.config, run->q.config.desc_uaddr - UADDR, avail,
			   last, run->q.indirect) || 2 * m.n > run->iovs.max);
}

/* One used entry is written, and nothing else. */
static void push(struct run *run, uint32_t written)
{
	size_t at = run->q.config.used_uaddr - UADDR + sizeof(struct wire_virtq_used) +
		(run->used_idx & (run->q.config.num - 1)) * sizeof(struct wire_virtq_used_elem);
	struct wire_virtq_used_elem e;

	if (run->pushed == run->n)
		return;
	memcpy(before, memory, MEMORY);
	virtq_push(&run->q, &run->batch[run->pushed], written);
	memcpy(&e, memory + at, sizeof e);
	assert(le32_get(e.id) == run->batch[run->pushed].head && le32_get(e.len) == written);
	memcpy(before + at, &e, sizeof e);
	assert(memcmp(before, memory, MEMORY) == 0);
	run->pushed++;
	run->used_idx++;
}

/* Only these two bytes are written. */
static void check_word(size_t at, uint16_t v)
{
	assert(model_u16(memory + at) == v);
	memcpy(before + at, memory + at, 2);
	assert(memcmp(before, memory, MEMORY) == 0);
}

/* Must the driver be called, now that it has been shown all from @old on? */
static bool must_call(const struct run *run, uint16_t old, bool is_first)
{
	const struct virtq *q = &run->q;
	const uint8_t *avail = memory + (q->config.avail_uaddr - UADDR);
	uint16_t event = model_u16(avail + 4 + 2 * q->config.num);

	if (q->notify_on_empty && model_u16(avail + 2) == q->last_avail)
		return true;
	if (!q->event_idx)
		return !(model_u16(avail) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	/* The entry that the driver waits for is one of those. */
	return is_first || (uint16_t)(event - old) < (uint16_t)(run->used_idx - old);
}

static void publish(struct run *run)
{
	uint16_t old = run->q.published;
	bool any = old != run->used_idx, is_first = !run->q.called, call;

	memcpy(before, memory, MEMORY);
	call = virtq_publish(&run->q);
	if (any)
		check_word(run->q.config.used_uaddr - UADDR + 2, run->used_idx);
	assert(call == (any && must_call(run, old, is_first)));
	if (run->pushed == run->n) {		/* the batch is over */
		run->iovs.n = 0;
		run->n = run->pushed = 0;
	}
}

static void notify(struct run *run, bool is_wanted)
{
	const struct virtq *q = &run->q;
	size_t avail = q->config.avail_uaddr - UADDR, used = q->config.used_uaddr - UADDR;
	size_t event = used + sizeof(struct wire_virtq_used) +
		q->config.num * sizeof(struct wire_virtq_used_elem);
	uint16_t flags = is_wanted ? 0 : VIRTQ_USED_F_NO_NOTIFY;
	bool any;

	memcpy(before, memory, MEMORY);
	if (is_wanted) {
		any = virtq_enable_notify(&run->q);
		assert(any == (model_u16(memory + avail + 2) != q->last_avail));
	} else {
		virtq_disable_notify(&run->q);
	}
	if (!q->event_idx)
		check_word(used, flags);
	else if (is_wanted)
		check_word(event, q->last_avail);
	else
		assert(memcmp(before, memory, MEMORY) == 0);
}

static void unpop(struct run *run, unsigned n)
{
	n %= run->n - run->pushed + 1;
	virtq_unpop(&run->q, (uint16_t)n);
	run->n -= n;
	if (n)
		run->iovs.n = (size_t)(run->batch[run->n].iov - run->iov);
}

static void set_memory(struct run *run, uint64_t split)
{
	const struct gmem_limits limits = { .max_memory = UINT64_MAX, .mem_slots = 2 };

	gmem_free(run->mem);
	run->split = split;
	if (gmem_new(&run->mem, &limits))
		abort();
	add_region(run, 0, split);
	add_region(run, split, MEMORY - split);
}

/* The front-end has changed something, which ends the batch. False: no ring now. */
static bool start(struct run *run)
{
	run->iovs.n = 0;
	run->n = run->pushed = 0;
	if (virtq_resolve(&run->q, run->mem, run->features)) {
		assert(run->q.broken);
		assert(virtq_pop(&run->q, &run->iovs, &run->batch[0]) == VIRTQ_E_BROKEN);
		return false;
	}
	assert(!run->q.broken);
	run->used_idx = run->q.used_idx;
	return true;
}

static bool change(struct run *run, unsigned what, unsigned v)
{
	virtq_unpop(&run->q, (uint16_t)(run->n - run->pushed));
	virtq_unresolve(&run->q);
	switch (what % 4) {
	case 0:
		run->q.config.num = 1u << v % 11;
		break;
	case 1:
		virtq_set_base(&run->q, (uint16_t)(v * 257));
		break;
	case 2:
		set_memory(run, v * 61 % MEMORY);
		break;
	default:
		run->features = model_features(v);
	}
	return start(run);
}

/* False: no ring any more. */
static bool step(struct run *run, unsigned what, unsigned v)
{
	size_t avail = run->q.config.avail_uaddr - UADDR;

	if (what >= 248)
		return change(run, what, v);
	switch (what % 8) {
	case 0:
		pop(run);
		return true;
	case 1:
		pop_alone(run);
		pop(run);
		return true;
	case 2:
		push(run, v);
		return true;
	case 3:
		publish(run);
		return true;
	case 4:
		unpop(run, v);
		return true;
	case 5:
		notify(run, v & 1);
		return true;
	case 6:					/* the guest goes on, or jumps */
		memcpy(memory + avail + 2, &(le16){
			le16_of((uint16_t)(run->q.last_avail + (v < 128 ? v % 16 : v * 300))).raw },
			2);
		return true;
	default:				/* it writes anywhere */
		memory[(v * 64 + what) % MEMORY] = (uint8_t)(what * v);
		return true;
	}
}

static void play(struct run *run, const uint8_t *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!step(run, steps[2 * i], steps[2 * i + 1]))
			return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	struct input in = { data, size };
	uint8_t steps[2 * STEPS_MAX];
	struct setup s;
	size_t n_steps;

	map_once();
	input_take(&in, &s, sizeof s);
	n_steps = input_u8(&in);
	input_take(&in, steps, 2 * n_steps);
	input_take(&in, memory, MEMORY);
	run = (struct run){ .features = model_features(s.features) };
	set_memory(&run, s.split % MEMORY);
	run.iovs = (struct virtq_iovs){ .iov = run.iov, .max = s.iovs ? s.iovs : IOVS_MAX };
	virtq_init(&run.q);
	run.q.config = (struct virtq_config){
		.num = 1u << s.log_num % 11, .desc_uaddr = UADDR + s.desc,
		.avail_uaddr = UADDR + s.avail, .used_uaddr = UADDR + s.used,
	};
	virtq_set_base(&run.q, s.base);
	if (start(&run))
		play(&run, steps, n_steps);
	gmem_free(run.mem);
	return 0;
}
