/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who there is, and who may reach whom.
 *
 * A reader loads a pointer, searches, and is done before its worker is back in the loop. So
 * when mail that was posted after the pointer had changed is delivered, that worker cannot
 * hold the old generation any more: the last of the workers frees it. The same mail has the
 * worker tell its VMs how many siblings they have now.
 */
#include <stdlib.h>

#include "backend/sibling_internal.h"
#include "util/error.h"

struct groups {					/* never changes */
	_Atomic size_t refs;
	size_t n;
	char *names[];				/* sorted; the text is behind them */
};

struct row {
	struct sibling_entry *entry;		/* a reference, as groups */
	struct groups *groups;
	size_t n_siblings;			/* VMs that share a group with it */
};

struct notice {					/* to one worker: there is a new generation */
	struct mail mail;
	struct sibling_dir *dir;
	struct mailbox *mailbox;
	struct generation *old;			/* ... and this one is not used any more */
};

struct generation {
	_Atomic size_t n_notices;		/* not delivered yet, once it is old */
	struct notice *notices;			/* owned array; NULL while it is current */
	size_t n;
	struct row rows[];			/* sorted by CID */
};

struct sibling_dir {
	_Atomic(struct generation *) current;
	/* Only the writer's: */
	struct row *next;			/* as they are to be published, sorted by CID */
	size_t n_next, max_next;
	struct mailbox **mailboxes;		/* of the workers, that ever had a VM here */
	size_t n_mailboxes;
	_Atomic size_t n_old;			/* generations that wait for workers */
};

/* ---- references ---- */

struct sibling_entry *sibling_entry_ref(struct sibling_entry *entry)
{
	atomic_fetch_add(&entry->refs, 1);
	return entry;
}

void sibling_entry_unref(struct sibling_entry *entry)
{
	if (atomic_fetch_sub(&entry->refs, 1) == 1)
		free(entry);
}

static void groups_unref(struct groups *groups)
{
	if (atomic_fetch_sub(&groups->refs, 1) == 1)
		free(groups);
}

static struct groups *groups_new(char *const *names, size_t n)
{
	size_t size = sizeof(struct groups) + n * sizeof *names;
	struct groups *groups;
	char *text;

	for (size_t i = 0; i < n; i++)
		size += strlen(names[i]) + 1;
	groups = malloc(size);
	if (!groups)
		return NULL;
	atomic_init(&groups->refs, 1);
	groups->n = n;
	text = (char *)(groups->names + n);
	for (size_t i = 0; i < n; i++) {
		groups->names[i] = text;
		text = stpcpy(text, names[i]) + 1;
	}
	return groups;
}

static struct row row_copy(const struct row *row)
{
	sibling_entry_ref(row->entry);
	atomic_fetch_add(&row->groups->refs, 1);
	return *row;
}

static void row_drop(struct row *row)
{
	sibling_entry_unref(row->entry);
	groups_unref(row->groups);
}

static void generation_free(struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		row_drop(&g->rows[i]);
	free(g->notices);
	free(g);
}

/* ---- readers ---- */

static int compare_cid(const void *key, const void *element)
{
	const uint64_t *cid = key;
	const struct row *row = element;

	return (*cid > row->entry->cid) - (*cid < row->entry->cid);
}

static const struct row *find_row(const struct generation *g, uint64_t cid)
{
	return bsearch(&cid, g->rows, g->n, sizeof g->rows[0], compare_cid);
}

static const struct generation *now(const struct sibling_dir *dir)
{
	return atomic_load(&dir->current);
}

struct sibling_entry *sibling_dir_find(const struct sibling_dir *dir, uint64_t cid)
{
	const struct row *row = find_row(now(dir), cid);

	return row ? row->entry : NULL;
}

/* One walk along both lists, which are sorted. */
static bool share_group(const struct groups *a, const struct groups *b)
{
	for (size_t i = 0, j = 0; i < a->n && j < b->n; ) {
		int order = strcmp(a->names[i], b->names[j]);

		if (order == 0)
			return true;
		if (order < 0)
			i++;
		else
			j++;
	}
	return false;
}

struct sibling_entry *sibling_dir_reach(const struct sibling_dir *dir, uint64_t from, uint64_t to)
{
	const struct generation *g = now(dir);
	const struct row *a = find_row(g, from), *b = find_row(g, to);

	return a && b && a != b && share_group(a->groups, b->groups) ? b->entry : NULL;
}

bool sibling_dir_allows(const struct sibling_dir *dir, uint64_t from, uint64_t to)
{
	return sibling_dir_reach(dir, from, to);
}

size_t sibling_dir_count(const struct sibling_dir *dir, uint64_t cid)
{
	const struct row *row = find_row(now(dir), cid);

	return row ? row->n_siblings : 0;
}

/* In the worker of @mailbox. */
static void tell_counts(const struct sibling_dir *dir, const struct mailbox *mailbox)
{
	const struct generation *g = now(dir);

	for (const struct row *row = g->rows; row < g->rows + g->n; row++)
		if (row->entry->mailbox == mailbox && row->entry->backend)
			mux_set_siblings(row->entry->backend->config.mux, row->n_siblings);
}

static void on_notice(struct mail *mail)
{
	struct notice *notice = container_of(mail, struct notice, mail);
	struct sibling_dir *dir = notice->dir;
	struct generation *old = notice->old;

	tell_counts(dir, notice->mailbox);
	if (atomic_fetch_sub(&old->n_notices, 1) != 1)
		return;
	generation_free(old);
	atomic_fetch_sub(&dir->n_old, 1);
}

/* ---- the writer ---- */

static struct generation *generation_new(size_t n)
{
	return calloc(1, sizeof(struct generation) + n * sizeof(struct row));
}

int sibling_dir_new(struct sibling_dir **out)
{
	struct sibling_dir *dir = calloc(1, sizeof *dir);
	struct generation *empty = generation_new(0);

	if (!dir || !empty) {
		free(dir);
		free(empty);
		return -ENOMEM;
	}
	atomic_init(&dir->current, empty);
	*out = dir;
	return 0;
}

void sibling_dir_free(struct sibling_dir *dir)
{
	if (!dir)
		return;
	assert(!atomic_load(&dir->n_old));
	generation_free(atomic_load(&dir->current));
	for (size_t i = 0; i < dir->n_next; i++)
		row_drop(&dir->next[i]);
	free(dir->next);
	free(dir->mailboxes);
	free(dir);
}

/* 0 or -ENOMEM. A worker is told of each generation for ever: its VMs may have gone from
 * here, and their devices not yet. */
static int remember(struct sibling_dir *dir, struct mailbox *mailbox)
{
	struct mailbox **mailboxes;

	for (size_t i = 0; i < dir->n_mailboxes; i++)
		if (dir->mailboxes[i] == mailbox)
			return 0;
	mailboxes = reallocarray(dir->mailboxes, dir->n_mailboxes + 1, sizeof *mailboxes);
	if (!mailboxes)
		return -ENOMEM;
	mailboxes[dir->n_mailboxes++] = mailbox;
	dir->mailboxes = mailboxes;
	return 0;
}

static int make_room(struct sibling_dir *dir)
{
	size_t max = dir->max_next ? 2 * dir->max_next : 8;
	struct row *next;

	if (dir->n_next < dir->max_next)
		return 0;
	next = reallocarray(dir->next, max, sizeof *next);
	if (!next)
		return -ENOMEM;
	dir->next = next;
	dir->max_next = max;
	return 0;
}

/* @row's groups count, or count no more, for it and for those that share one of them. */
static void count_in(struct sibling_dir *dir, struct row *row)
{
	row->n_siblings = 0;
	for (struct row *r = dir->next; r < dir->next + dir->n_next; r++) {
		if (r == row || !share_group(r->groups, row->groups))
			continue;
		row->n_siblings++;
		r->n_siblings++;
	}
}

static void count_out(struct sibling_dir *dir, struct row *row)
{
	for (struct row *r = dir->next; r < dir->next + dir->n_next; r++)
		r->n_siblings -= r != row && share_group(r->groups, row->groups);
}

static struct row *find_next(struct sibling_dir *dir, const struct sibling_entry *entry)
{
	struct row *row = bsearch(&entry->cid, dir->next, dir->n_next, sizeof *row, compare_cid);

	assert(row && row->entry == entry);
	return row;
}

int sibling_dir_add(struct sibling_dir *dir, uint64_t cid, char *const *names, size_t n_groups,
		    struct mailbox *mailbox, struct sibling_entry **out)
{
	struct sibling_entry *entry = calloc(1, sizeof *entry);
	struct groups *groups = groups_new(names, n_groups);
	struct row *at;

	if (!entry || !groups || make_room(dir) < 0 || remember(dir, mailbox) < 0) {
		free(entry);
		free(groups);
		return -ENOMEM;
	}
	atomic_init(&entry->refs, 1);
	entry->cid = cid;
	entry->mailbox = mailbox;
	for (at = dir->next + dir->n_next; at > dir->next && at[-1].entry->cid > cid; at--)
		at[0] = at[-1];
	assert(at == dir->next || at[-1].entry->cid != cid);
	*at = (struct row){ .entry = entry, .groups = groups };
	dir->n_next++;
	count_in(dir, at);
	*out = entry;
	return 0;
}

int sibling_dir_set_groups(struct sibling_dir *dir, struct sibling_entry *entry,
			   char *const *names, size_t n_groups)
{
	struct groups *groups = groups_new(names, n_groups);
	struct row *row = find_next(dir, entry);

	if (!groups)
		return -ENOMEM;
	count_out(dir, row);
	groups_unref(row->groups);
	row->groups = groups;
	count_in(dir, row);
	return 0;
}

void sibling_dir_remove(struct sibling_dir *dir, struct sibling_entry *entry)
{
	struct row *row = find_next(dir, entry);

	count_out(dir, row);
	row_drop(row);
	dir->n_next--;
	memmove(row, row + 1, (size_t)(dir->next + dir->n_next - row) * sizeof *row);
}

int sibling_dir_move(struct sibling_dir *dir, struct sibling_entry *entry,
		     struct mailbox *mailbox)
{
	int r = remember(dir, mailbox);

	if (!r)
		entry->mailbox = mailbox;
	return r;
}

/* Everybody is told, and the last one frees it. */
static void retire(struct sibling_dir *dir, struct generation *old)
{
	size_t n = dir->n_mailboxes;

	atomic_fetch_add(&dir->n_old, 1);
	atomic_store(&old->n_notices, n + 1);	/* one is ours: it is not freed in the loop */
	for (size_t i = 0; i < n; i++) {
		struct notice *notice = &old->notices[i];

		*notice = (struct notice){
			.mail.deliver = on_notice, .dir = dir, .mailbox = dir->mailboxes[i],
			.old = old,
		};
		mailbox_post(dir->mailboxes[i], &notice->mail);
	}
	if (atomic_fetch_sub(&old->n_notices, 1) != 1)
		return;
	generation_free(old);
	atomic_fetch_sub(&dir->n_old, 1);
}

int sibling_dir_publish(struct sibling_dir *dir)
{
	struct generation *g = generation_new(dir->n_next), *old = atomic_load(&dir->current);
	struct notice *notices = calloc(dir->n_mailboxes + 1, sizeof *notices);

	if (!g || !notices) {
		free(g);
		free(notices);
		return -ENOMEM;
	}
	for (; g->n < dir->n_next; g->n++)
		g->rows[g->n] = row_copy(&dir->next[g->n]);
	old->notices = notices;
	atomic_store(&dir->current, g);
	retire(dir, old);
	return 0;
}
