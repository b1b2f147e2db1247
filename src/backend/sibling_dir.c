/* SPDX-License-Identifier: BSD-3-Clause */
/* Who there is, and who may reach whom. */
#include <stdlib.h>

#include "backend/sibling_internal.h"
#include "util/error.h"

struct sibling_dir {
	size_t n, max;
	struct sibling_entry entries[];		/* sorted by cid once sealed */
};

int sibling_dir_new(struct sibling_dir **out, size_t n_vms)
{
	struct sibling_dir *dir = calloc(1, sizeof *dir + n_vms * sizeof dir->entries[0]);

	if (!dir)
		return -ENOMEM;
	dir->max = n_vms;
	*out = dir;
	return 0;
}

void sibling_dir_free(struct sibling_dir *dir)
{
	free(dir);
}

void sibling_dir_add(struct sibling_dir *dir, uint64_t cid, char *const *groups,
		     size_t n_groups, struct mailbox *mailbox)
{
	assert(dir->n < dir->max);
	dir->entries[dir->n++] = (struct sibling_entry){
		.cid = cid, .groups = groups, .n_groups = n_groups, .mailbox = mailbox,
	};
}

static int compare(const void *a, const void *b)
{
	const struct sibling_entry *x = a, *y = b;

	return (x->cid > y->cid) - (x->cid < y->cid);
}

void sibling_dir_seal(struct sibling_dir *dir)
{
	qsort(dir->entries, dir->n, sizeof dir->entries[0], compare);
}

struct sibling_entry *sibling_dir_find(const struct sibling_dir *dir, uint64_t cid)
{
	struct sibling_entry key = { .cid = cid };

	return bsearch(&key, dir->entries, dir->n, sizeof dir->entries[0], compare);
}

/* One walk along both lists, which are sorted. */
static bool share_group(const struct sibling_entry *a, const struct sibling_entry *b)
{
	for (size_t i = 0, j = 0; i < a->n_groups && j < b->n_groups; ) {
		int order = strcmp(a->groups[i], b->groups[j]);

		if (order == 0)
			return true;
		if (order < 0)
			i++;
		else
			j++;
	}
	return false;
}

bool sibling_dir_allows(const struct sibling_dir *dir, uint64_t from, uint64_t to)
{
	const struct sibling_entry *a = sibling_dir_find(dir, from), *b = sibling_dir_find(dir, to);

	return a && b && a != b && share_group(a, b);
}

size_t sibling_dir_count(const struct sibling_dir *dir, uint64_t cid)
{
	const struct sibling_entry *to = sibling_dir_find(dir, cid);
	size_t n = 0;

	for (const struct sibling_entry *e = dir->entries; e < dir->entries + dir->n; e++)
		n += e != to && share_group(e, to);
	return n;
}
