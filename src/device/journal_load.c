/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal of one device, which another process has left. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "device/journal_internal.h"
#include "util/closer.h"
#include "util/error.h"

/* A memfd, which has no server that might not answer, of the size that its names need. */
static int map_left(struct journal *j, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	int r;

	if (seals < 0 || (seals & JOURNAL_SEALS) != JOURNAL_SEALS || fstat(fd, &st) < 0 ||
	    st.st_size < JOURNAL_NAMES_AT || st.st_size > JOURNAL_NAMES_AT + JOURNAL_NAMES_MAX)
		return JOURNAL_E_STATE;
	if ((r = journal_map(j, fd, (size_t)st.st_size)) < 0)
		return r;
	if (memcmp(j->head->magic, JOURNAL_MAGIC, sizeof j->head->magic) != 0 ||
	    j->head->version != JOURNAL_VERSION || j->head->copy_bytes != JOURNAL_COPY_BYTES ||
	    j->head->names_bytes > JOURNAL_NAMES_MAX ||
	    journal_size(j->head->names_bytes) != j->size)
		return JOURNAL_E_STATE;
	return 0;
}

static int find_kept(const struct journal_kept *kept, size_t n, uint32_t slot)
{
	for (size_t i = 0; i < n; i++)
		if (kept[i].slot == slot && kept[i].fd >= 0)
			return (int)i;
	return -1;
}

/* Gives each slot that the facts name its descriptor, out of @kept. 0; JOURNAL_E_STATE: one is
 * missing, or named twice; -ENOMEM. */
static int take_named(struct journal *j, struct journal_kept *kept, size_t n,
		       struct journal_facts *out)
{
	for (size_t i = 0; i < out->fds.n; i++) {
		uint32_t slot = out->slots[i];
		int at;

		if (slot == JOURNAL_SLOT || slot >= JOURNAL_SLOTS_MAX ||
		    (at = find_kept(kept, n, slot)) < 0)
			return JOURNAL_E_STATE;
		if (journal_make_room(j, slot + 1) < 0)
			return -ENOMEM;
		out->fds.fds[i] = kept[at].fd;
		kept[at].fd = -1;
		j->slots[slot] = (struct journal_slot){ out->fds.fds[i], SLOT_KEPT };
		if (slot >= j->n_slots)
			j->n_slots = slot + 1;
	}
	return 0;
}

/* A copy of our own of what holds. */
static int read_facts(struct journal *j, struct journal_facts *out)
{
	uint64_t state = atomic_load_explicit(&j->head->state, memory_order_acquire);
	const struct journal_copy *copy = journal_copy_of(j, state & JOURNAL_COPY);
	struct journal_copy head = { .n_slots = copy->n_slots, .len = copy->len };
	size_t slots_bytes;

	if (!state)
		return JOURNAL_E_VOID;
	if (head.n_slots >= JOURNAL_SLOTS_MAX || head.len > JOURNAL_FACTS_MAX)
		return JOURNAL_E_STATE;
	slots_bytes = head.n_slots * sizeof *copy->slots;
	out->bytes = malloc(slots_bytes + head.len + 1);
	out->fds.fds = malloc((head.n_slots + 1) * sizeof *out->fds.fds);
	if (!out->bytes || !out->fds.fds)
		return -ENOMEM;
	memcpy(out->bytes, copy->slots, slots_bytes + head.len);
	out->slots = out->bytes;
	out->fds.n = head.n_slots;
	for (size_t i = 0; i < out->fds.n; i++)
		out->fds.fds[i] = -1;
	blob_read(&out->in, (uint8_t *)out->bytes + slots_bytes, head.len, &out->fds);
	out->is_settled = state & JOURNAL_SETTLED;
	out->state = state;
	return 0;
}

static int load(struct journal *j, struct journal_kept *kept, size_t n, struct journal_facts *out)
{
	int at = find_kept(kept, n, JOURNAL_SLOT), r;

	if (at < 0)
		return JOURNAL_E_NONE;
	r = map_left(j, kept[at].fd);
	if (!r)
		r = read_facts(j, out);
	if (!r)
		r = take_named(j, kept, n, out);
	return r;
}

int journal_load(struct journal *j, struct journal_kept *kept, size_t n, struct journal_facts *out)
{
	const struct journal_keeper *keeper = j->config.keeper;
	int r;

	assert(!j->head);
	*out = (struct journal_facts){ .bytes = NULL };
	r = load(j, kept, n, out);
	for (size_t i = 0; i < n; i++) {
		bool is_ours = kept[i].fd < 0 || kept[i].slot == JOURNAL_SLOT;

		closer_close(&kept[i].fd);
		if (!is_ours)
			keeper->drop(keeper->ctx, kept[i].slot);
	}
	if (r) {
		journal_loaded(j, out);
		journal_forget(j);
	}
	return r;
}

bool journal_is_current(const struct journal *j, const struct journal_facts *facts)
{
	return atomic_load_explicit(&j->head->state, memory_order_acquire) == facts->state;
}

void journal_loaded(struct journal *j, struct journal_facts *facts)
{
	for (size_t i = 0; i < facts->fds.n; i++) {
		uint32_t slot = facts->slots[i];

		if (facts->fds.fds[i] < 0)
			continue;
		if (j->slots[slot].state != SLOT_FREE && j->slots[slot].fd == facts->fds.fds[i])
			journal_drop(j, slot);
		closer_close(&facts->fds.fds[i]);
	}
	free(facts->fds.fds);
	free(facts->bytes);
	*facts = (struct journal_facts){ .bytes = NULL };
}

void journal_forget(struct journal *j)
{
	const struct journal_keeper *keeper = j->config.keeper;

	if (j->head)
		journal_drop_all(j);
	journal_unmap(j);
	keeper->drop(keeper->ctx, JOURNAL_SLOT);
}
