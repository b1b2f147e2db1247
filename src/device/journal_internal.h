/* SPDX-License-Identifier: BSD-3-Clause */
/* What journal.c, which writes, and journal_load.c share. */
#pragma once

#include <fcntl.h>

#include "device/journal.h"
#include "protocol/journal.h"

enum {
	JOURNAL_SLOTS_BYTES = 8 + 4 * JOURNAL_SLOTS_MAX,	/* at most, before the facts */
	JOURNAL_FACTS_MAX = JOURNAL_COPY_BYTES - JOURNAL_SLOTS_BYTES,
	JOURNAL_SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
};

struct journal_slot {
	int fd;					/* whose duplicate is kept */
	enum { SLOT_FREE, SLOT_KEPT, SLOT_NAMED } state;	/* NAMED: by the facts to be */
};

struct journal {
	struct journal_config config;
	struct journal_head *head;		/* mapped; NULL: not made yet */
	size_t size;				/* of the mapping */
	struct journal_slot *slots;		/* made with it */
	uint32_t n_slots;			/* the first so many may be in use */
	uint32_t room;				/* of slots */
	bool has_new_names;			/* nobody has ever had them */
};

size_t journal_size(size_t names_bytes);	/* of the whole */
struct journal_copy *journal_copy_of(struct journal *j, unsigned which);

int journal_map(struct journal *j, int fd, size_t size);	/* 0 or -errno */
void journal_unmap(struct journal *j);

/* Room for @n slots, at most JOURNAL_SLOTS_MAX. 0 or -ENOMEM. */
int journal_make_room(struct journal *j, uint32_t n);

void journal_drop(struct journal *j, uint32_t slot);
void journal_drop_all(struct journal *j);
