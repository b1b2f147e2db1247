/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring in memory that is all the fuzzer's, in two regions.
 *
 * Input: 16 bytes, struct setup: size of the ring (its power of two), features,
 * iovecs per batch, base of the available ring, where the regions meet, offsets
 * of the parts of the ring; a byte with how many steps there are, the steps (two
 * bytes: what, and a number); the rest is the memory.
 *
 * Asserted: iovecs lie in the memory and add up to what the chain says, chains
 * of one batch share none, used entries and index are where they belong and
 * nothing else of the memory is written.
 */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "vhost/virtq.h"

enum { MEMORY = 16384, IOVS_MAX = 1100, BATCH = 64, STEPS_MAX = 255 };

#define GPA	UINT64_C(0x10000)
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
	uint64_t split;
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
		.gpa = GPA + at, .uaddr = UADDR + at, .size = size, .mmap_offset = at,
	};

	if (size && gmem_add_region(run->mem, &region, memfd))
		abort();
}

/* Is it in one of the regions? */
static bool is_inside(struct run *run, const struct iovec *iov)
{
	const uint64_t at[] = { 0, run->split }, size[] = { run->split, MEMORY - run->split };

	for (int i = 0; i < 2; i++) {
		uintptr_t base = (uintptr_t)gmem_ptr_gpa(run->mem, GPA + at[i], size[i] | !size[i]);
		uintptr_t off = (uintptr_t)iov->iov_base - base;

		if (size[i] && off < size[i] && iov->iov_len <= size[i] - off)
			return true;
	}
	return false;
}

static void check_chain(struct run *run, const struct virtq_chain *c, const struct iovec *end)
{
	size_t out = 0, in = 0;

	assert(c->head < run->q.config.num);
	assert(c->iov + c->n_out + c->n_in == end);
	for (size_t i = 0; i < c->n_out + c->n_in; i++) {
		assert(c->iov[i].iov_len > 0 && is_inside(run, &c->iov[i]));
		*(i < c->n_out ? &out : &in) += c->iov[i].iov_len;
	}
	assert(out == c->out_len && in == c->in_len);
}

static void pop(struct run *run)
{
	struct virtq_chain *c = &run->batch[run->n];
	uint16_t last = run->q.last_avail;
	size_t n = run->iovs.n;
	int r;

	if (run->n == BATCH)
		return;
	r = virtq_pop(&run->q, &run->iovs, c);
	assert(run->iovs.n <= run->iovs.max);
	if (r == 0) {
		assert(c->iov == run->iov + n);
		check_chain(run, c, run->iov + run->iovs.n);
		assert(run->q.last_avail == (uint16_t)(last + 1));
		run->n++;
		return;
	}
	assert(r == VIRTQ_E_EMPTY || r == VIRTQ_E_FULL || r == VIRTQ_E_BROKEN);
	assert(run->iovs.n == n && run->q.last_avail == last);
	assert(r != VIRTQ_E_FULL || n > 0);
	assert((r == VIRTQ_E_BROKEN) == (run->q.broken != NULL));
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

static void publish(struct run *run)
{
	le16 idx;
	bool any = run->q.published != run->used_idx, call = virtq_publish(&run->q);

	memcpy(&idx, memory + (run->q.config.used_uaddr - UADDR) + 2, sizeof idx);
	assert(!any || le16_get(idx) == run->used_idx);
	assert(any || !call);
	if (run->pushed == run->n) {		/* the batch is over */
		run->iovs.n = 0;
		run->n = run->pushed = 0;
	}
}

static void unpop(struct run *run, unsigned n)
{
	n %= run->n - run->pushed + 1;
	virtq_unpop(&run->q, (uint16_t)n);
	run->n -= n;
	if (n)
		run->iovs.n = (size_t)(run->batch[run->n].iov - run->iov);
}

static void step(struct run *run, unsigned what, unsigned v)
{
	size_t avail = run->q.config.avail_uaddr - UADDR;

	switch (what % 8) {
	case 0:
	case 1:
		pop(run);
		return;
	case 2:
		push(run, v);
		return;
	case 3:
		publish(run);
		return;
	case 4:
		unpop(run, v);
		return;
	case 5:
		virtq_disable_notify(&run->q);
		virtq_enable_notify(&run->q);
		return;
	case 6:					/* the guest goes on, or jumps */
		memcpy(memory + avail + 2, &(le16){
			le16_of((uint16_t)(run->q.last_avail + (v < 128 ? v % 16 : v * 300))).raw },
			2);
		return;
	default:				/* it writes anywhere */
		memory[(v * 64 + what) % MEMORY] = (uint8_t)(what * v);
	}
}

static void play(struct run *run, const uint8_t *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		step(run, steps[2 * i], steps[2 * i + 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	struct input in = { data, size };
	uint8_t steps[2 * STEPS_MAX];
	struct setup s;
	size_t n_steps;
	uint64_t features;

	map_once();
	input_take(&in, &s, sizeof s);
	n_steps = input_u8(&in);
	input_take(&in, steps, 2 * n_steps);
	input_take(&in, memory, MEMORY);
	run = (struct run){ .split = s.split % MEMORY };
	if (gmem_new(&run.mem))
		abort();
	add_region(&run, 0, run.split);
	add_region(&run, run.split, MEMORY - run.split);
	run.iovs = (struct virtq_iovs){ .iov = run.iov, .max = s.iovs ? s.iovs : IOVS_MAX };
	virtq_init(&run.q);
	run.q.config = (struct virtq_config){
		.num = 1u << s.log_num % 11, .desc_uaddr = UADDR + s.desc,
		.avail_uaddr = UADDR + s.avail, .used_uaddr = UADDR + s.used,
	};
	features = (s.features & 1u) * (UINT64_C(1) << VIRTIO_F_INDIRECT_DESC) |
		(s.features >> 1 & 1u) * (UINT64_C(1) << VIRTIO_F_EVENT_IDX) |
		(s.features >> 2 & 1u) * (UINT64_C(1) << VIRTIO_F_NOTIFY_ON_EMPTY);
	virtq_set_base(&run.q, s.base);
	if (virtq_resolve(&run.q, run.mem, features) == 0) {
		run.used_idx = run.q.used_idx;
		play(&run, steps, n_steps);
	} else {
		assert(run.q.broken);
		assert(virtq_pop(&run.q, &run.iovs, &run.batch[0]) == VIRTQ_E_BROKEN);
	}
	gmem_free(run.mem);
	return 0;
}
