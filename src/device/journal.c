/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal of one device. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/journal_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"

enum { FIRST_SLOTS = 32 };			/* more than a device has as a rule */

const char *journal_str_error(int error)
{
	static const char *const text[] = {
		[JOURNAL_E_NONE] = "there is no journal",
		[JOURNAL_E_VOID] = "it could not be journalled",
		[JOURNAL_E_STATE] = "its journal is not as it has to be",
	};

	return error < 0 ? error_str(error) : text[error];
}

int journal_new(struct journal **out, const struct journal_config *config)
{
	struct journal *j = calloc(1, sizeof *j);

	if (!j)
		return -ENOMEM;
	j->config = *config;
	*out = j;
	return 0;
}

void journal_unmap(struct journal *j)
{
	if (j->head)
		munmap(j->head, j->size);
	free(j->slots);
	*j = (struct journal){ .config = j->config };
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	journal_unmap(j);
	free(j);
}

size_t journal_size(size_t names_bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return JOURNAL_NAMES_AT + (names_bytes + page - 1) / page * page;
}

struct journal_copy *journal_copy_of(struct journal *j, unsigned which)
{
	return (struct journal_copy *)((char *)j->head + JOURNAL_COPY_AT +
				       which * JOURNAL_COPY_BYTES);
}

int journal_make_room(struct journal *j, uint32_t n)
{
	struct journal_slot *slots;
	uint32_t room = j->room ? j->room : FIRST_SLOTS;

	assert(n <= JOURNAL_SLOTS_MAX);
	if (n <= j->room)
		return 0;
	while (room < n)
		room *= 2;
	slots = realloc(j->slots, room * sizeof *slots);
	if (!slots)
		return -ENOMEM;
	memset(slots + j->room, 0, (room - j->room) * sizeof *slots);
	j->slots = slots;
	j->room = room;
	return 0;
}

int journal_map(struct journal *j, int fd, size_t size)
{
	void *at;

	if (journal_make_room(j, JOURNAL_SLOT + 1) < 0)
		return -ENOMEM;
	j->n_slots = JOURNAL_SLOT + 1;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		int r = error_last();

		journal_unmap(j);
		return r;
	}
	j->head = at;
	j->size = size;
	return 0;
}

/* A new one, which is kept once there is something in it. 0 or -errno. */
static int make(struct journal *j, int *out)
{
	size_t size = journal_size(j->config.names_bytes);
	int fd = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

	if (fd < 0)
		return error_last();
	if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, JOURNAL_SEALS) < 0)
		r = error_last();
	if (!r)
		r = journal_map(j, fd, size);
	if (r) {
		fd_close(&fd);
		return r;
	}
	memcpy(j->head->magic, JOURNAL_MAGIC, sizeof j->head->magic);
	j->head->version = JOURNAL_VERSION;
	j->head->copy_bytes = JOURNAL_COPY_BYTES;
	j->head->names_bytes = j->config.names_bytes;
	j->has_new_names = true;
	*out = fd;
	return 0;
}

void journal_drop(struct journal *j, uint32_t slot)
{
	j->slots[slot].state = SLOT_FREE;
	j->config.keeper->drop(j->config.keeper->ctx, slot);
}

/* Where @fd is kept. Facts name their descriptors in about the same order as the last time,
 * so the search begins where the last one ended. 0: nowhere. */
static uint32_t find(const struct journal *j, int fd, uint32_t from)
{
	for (uint32_t i = 0, slot = from; i < j->n_slots; i++, slot++) {
		if (slot >= j->n_slots)
			slot = 0;
		if (j->slots[slot].state != SLOT_FREE && j->slots[slot].fd == fd)
			return slot;
	}
	return JOURNAL_SLOT;
}

/* Has @fd kept. 0, -errno. */
static int keep(struct journal *j, int fd, uint32_t *out)
{
	uint32_t slot = JOURNAL_SLOT + 1;
	int r;

	while (slot < j->n_slots && j->slots[slot].state != SLOT_FREE)
		slot++;
	if (slot == JOURNAL_SLOTS_MAX)
		return -ENOSPC;
	if ((r = journal_make_room(j, slot + 1)) < 0)
		return r;
	if ((r = j->config.keeper->keep(j->config.keeper->ctx, slot, fd)) < 0)
		return r;
	j->slots[slot] = (struct journal_slot){ .fd = fd, .state = SLOT_KEPT };
	if (slot == j->n_slots)
		j->n_slots++;
	*out = slot;
	return 0;
}

/* Writes the slots of what the facts name to @out, after those that have none got one. */
static int keep_all(struct journal *j, const struct blob *facts, uint32_t *out)
{
	uint32_t slot = JOURNAL_SLOT;
	int r;

	for (size_t i = 0; i < facts->n_fds; i++) {
		slot = find(j, facts->fds[i], slot);
		if (slot == JOURNAL_SLOT && (r = keep(j, facts->fds[i], &slot)) < 0)
			return r;
		j->slots[slot].state = SLOT_NAMED;
		out[i] = slot;
	}
	return 0;
}

/* Drops what the facts that hold now do not name. */
static void drop_others(struct journal *j)
{
	for (uint32_t slot = 0; slot < j->n_slots; slot++) {
		if (j->slots[slot].state == SLOT_KEPT)
			journal_drop(j, slot);
		else if (j->slots[slot].state == SLOT_NAMED)
			j->slots[slot].state = SLOT_KEPT;
	}
}

void journal_drop_all(struct journal *j)
{
	for (uint32_t slot = 0; slot < j->n_slots; slot++)
		if (j->slots[slot].state != SLOT_FREE)
			journal_drop(j, slot);
}

static int write_facts(struct journal *j, const struct blob *facts)
{
	uint64_t state = atomic_load_explicit(&j->head->state, memory_order_relaxed);
	unsigned which = !(state & JOURNAL_COPY);
	struct journal_copy *copy = journal_copy_of(j, which);
	int r;

	assert(facts->len <= JOURNAL_FACTS_MAX);
	copy->n_slots = (uint32_t)facts->n_fds;
	copy->len = (uint32_t)facts->len;
	if ((r = keep_all(j, facts, copy->slots)) < 0)
		return r;
	memcpy(&copy->slots[facts->n_fds], facts->bytes, facts->len);
	state = (state / JOURNAL_COMMIT + 1) * JOURNAL_COMMIT + which;
	atomic_store_explicit(&j->head->state, state, memory_order_release);
	return 0;
}

/* @fd: the journal itself if it is new. */
static int commit(struct journal *j, const struct blob *facts, int fd)
{
	int r = blob_error(facts);

	if (!r)
		r = write_facts(j, facts);
	if (!r && fd >= 0)
		r = j->config.keeper->keep(j->config.keeper->ctx, JOURNAL_SLOT, fd);
	return r == BLOB_E_TOO_LARGE ? -E2BIG : r;
}

void journal_begin(struct blob *facts)
{
	blob_init(facts, JOURNAL_FACTS_MAX, JOURNAL_SLOTS_MAX - 1);
}

void journal_commit(struct journal *j, struct blob *facts)
{
	int fd = -1, r = j->head ? 0 : make(j, &fd);
	bool is_new = fd >= 0;

	if (!r)
		r = commit(j, facts, fd);
	fd_close(&fd);
	blob_deinit(facts);
	if (!r) {
		drop_others(j);
		return;
	}
	log_limited(LEVEL_WARN, j->config.tag,
		    "front-end cannot be journalled: %s; a crash would end its session", error_str(r));
	if (j->head) {
		atomic_store_explicit(&j->head->state, 0, memory_order_release);
		journal_drop_all(j);
	}
	if (is_new)
		journal_unmap(j);
}

void journal_settle(struct journal *j)
{
	uint64_t state;

	if (!j->head)
		return;
	state = atomic_load_explicit(&j->head->state, memory_order_relaxed);
	if (state)
		atomic_store_explicit(&j->head->state, state | JOURNAL_SETTLED,
				      memory_order_release);
}

struct msghdr *journal_receipt(struct journal *j)
{
	return j->head ? &j->head->receipt : NULL;
}

void *journal_names(struct journal *j, size_t *size)
{
	if (!j->head)
		return NULL;
	*size = j->head->names_bytes;
	return (char *)j->head + JOURNAL_NAMES_AT;
}

bool journal_take_new_names(struct journal *j)
{
	bool were_new = j->has_new_names;

	j->has_new_names = false;
	return were_new;
}

void journal_clear_names(struct journal *j)
{
	size_t size;
	void *names = journal_names(j, &size);

	if (!names)
		return;
	if (madvise(names, j->size - JOURNAL_NAMES_AT, MADV_REMOVE) < 0)
		memset(names, 0, size);
	j->has_new_names = true;
}
