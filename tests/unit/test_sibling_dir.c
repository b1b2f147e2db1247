/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may reach whom: exactly those that share a group. And VMs that come, go and change
 * their groups, while workers look (to be run with the thread sanitizer, too).
 */
#include "backend/sibling.h"
#include "backend/sibling_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { GROUPS = 4, SETS = 1 << GROUPS, MANY = 200 };

/* Sorted by strcmp(), as a plan has them: prefixes of each other, and empty. */
static char *const names[GROUPS] = { (char[]){ "" }, (char[]){ "a" }, (char[]){ "aa" },
				     (char[]){ "b" } };

/* The core of a VM: what it is told. */
struct mux {
	size_t n_siblings;
	unsigned n_told;
};

void mux_set_siblings(struct mux *mux, size_t n)
{
	mux->n_siblings = n;
	mux->n_told++;
}

/* There are no connections here. */
struct byte_budget *mux_budget(struct mux *mux)
{
	ck_abort_msg("%p", (void *)mux);
}

uint32_t mux_window(const struct mux *mux)
{
	ck_abort_msg("%p", (const void *)mux);
}

/* Each VM has a worker of its own. */
void mux_push(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	(void)mux, (void)s, (void)now_ms;
	ck_abort_msg("pushed");
}

bool mux_is_lost(const struct mux *mux)
{
	(void)mux;
	return false;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	ck_abort_msg("%p %p %d", (void *)mux, (void *)s, (int)now_ms);
}

void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms)
{
	ck_abort_msg("%p %p %p %d %d", (void *)mux, (void *)s, (void *)live, error, (int)now_ms);
}

int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms)
{
	ck_abort_msg("%p %p %p %d %d", (void *)mux, (void *)stream, (const void *)from, (int)port,
		     (int)now_ms);
}

static struct sibling_dir *dir;
static struct sibling_entry *entry;		/* of those that are not asked for again */
static struct loop *loop;
static struct mailbox *box;

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(mailbox_new(&box, loop), 0);
	ck_assert_int_eq(sibling_dir_new(&dir), 0);
}

static void teardown(void)
{
	mailbox_deliver(box);
	sibling_dir_free(dir);
	mailbox_free(box);
	loop_free(loop);
}

static void add(uint64_t cid, char *const *groups, size_t n)
{
	ck_assert_int_eq(sibling_dir_add(dir, cid, groups, n, box, &entry), 0);
}

static void publish(void)
{
	ck_assert_int_eq(sibling_dir_publish(dir), 0);
}

struct set {
	char *groups[GROUPS];
	size_t n;
};

static struct set make_set(unsigned bits)
{
	struct set set = { .n = 0 };

	for (unsigned i = 0; i < GROUPS; i++)
		if (bits & 1u << i)
			set.groups[set.n++] = names[i];
	return set;
}

/* _i: the one's groups; the other's are all there are. */
START_TEST(all_combinations)
{
	struct set one = make_set((unsigned)_i);

	for (unsigned bits = 0; bits < SETS; bits++) {
		struct set other = make_set(bits);
		bool shares = (unsigned)_i & bits;

		setup();
		add(bits % 2 ? 3 : 4, one.groups, one.n);
		add(bits % 2 ? 4 : 3, other.groups, other.n);
		publish();
		ck_assert_int_eq(sibling_dir_allows(dir, 3, 4), shares);
		ck_assert_int_eq(sibling_dir_allows(dir, 4, 3), shares);
		ck_assert(!sibling_dir_allows(dir, 3, 3));
		ck_assert(!sibling_dir_allows(dir, 4, 4));
		ck_assert_uint_eq(sibling_dir_count(dir, 3), shares);
		ck_assert_uint_eq(sibling_dir_count(dir, 4), shares);
		teardown();
	}
}
END_TEST

/* All sixteen sets in one directory, added in an order that is not theirs. */
START_TEST(all_in_one_directory)
{
	static struct set sets[SETS];

	setup();
	for (unsigned i = 0; i < SETS; i++) {
		unsigned bits = i * 7 % SETS;

		sets[bits] = make_set(bits);
		add(3 + bits, sets[bits].groups, sets[bits].n);
	}
	publish();
	for (unsigned x = 0; x < SETS; x++)
		for (unsigned y = 0; y < SETS; y++)
			ck_assert_int_eq(sibling_dir_allows(dir, 3 + x, 3 + y),
					 x != y && x & y);
	teardown();
}
END_TEST

static int compare(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

/* Two hundred groups each, none, one or all in common: the first or the last. */
START_TEST(two_hundred_groups)
{
	static char text[2 * MANY][16];
	char *one[MANY], *other[MANY];

	for (int shared = -1; shared < MANY; shared++) {
		for (int i = 0; i < MANY; i++) {
			snprintf(text[i], sizeof text[i], "g%d", i);
			snprintf(text[MANY + i], sizeof text[i], i == shared ? "g%d" : "g%d.x", i);
			one[i] = text[i];
			other[i] = text[MANY + i];
		}
		qsort(one, MANY, sizeof *one, compare);
		qsort(other, MANY, sizeof *other, compare);
		setup();
		add(3, one, MANY);
		add(4, other, MANY);
		publish();
		ck_assert_int_eq(sibling_dir_allows(dir, 3, 4), shared >= 0);
		ck_assert_int_eq(sibling_dir_allows(dir, 4, 3), shared >= 0);
		teardown();
	}
}
END_TEST

/* CIDs are 64 bits wide, and anything may be asked for. */
START_TEST(finds_exactly_what_is_there)
{
	static const uint64_t cids[] = { UINT32_MAX - 1, 3, 1000, 4, UINT32_MAX - 2 };

	setup();
	for (int i = 0; i < COUNT(cids); i++)
		add(cids[i], names, GROUPS);
	publish();
	for (int i = 0; i < COUNT(cids); i++) {
		ck_assert_ptr_nonnull(sibling_dir_find(dir, cids[i]));
		ck_assert_uint_eq(sibling_dir_find(dir, cids[i])->cid, cids[i]);
		ck_assert_ptr_null(sibling_dir_find(dir, cids[i] + (UINT64_C(1) << 32)));
		ck_assert(!sibling_dir_allows(dir, cids[i], 5));
		ck_assert(!sibling_dir_allows(dir, 5, cids[i]));
	}
	ck_assert_ptr_null(sibling_dir_find(dir, 0));
	ck_assert_ptr_null(sibling_dir_find(dir, UINT64_MAX));
	teardown();
}
END_TEST

START_TEST(empty)
{
	setup();
	ck_assert_ptr_null(sibling_dir_find(dir, 3));
	ck_assert(!sibling_dir_allows(dir, 3, 4));
	publish();
	ck_assert_ptr_null(sibling_dir_find(dir, 3));
	ck_assert_uint_eq(sibling_dir_count(dir, 3), 0);
	teardown();
	sibling_dir_free(NULL);
}
END_TEST

/* ---- what changes ---- */

/* Nothing is seen before it is published, and all of it then. */
START_TEST(published_at_once)
{
	struct sibling_entry *third;

	setup();
	add(3, names, 2);
	ck_assert_int_eq(sibling_dir_add(dir, 5, names, 2, box, &third), 0);
	ck_assert_ptr_null(sibling_dir_find(dir, 3));
	publish();
	ck_assert(sibling_dir_allows(dir, 3, 5));
	sibling_dir_remove(dir, third);
	add(4, names, 1);
	ck_assert(sibling_dir_allows(dir, 3, 5));
	ck_assert_ptr_null(sibling_dir_find(dir, 4));
	publish();
	ck_assert_ptr_null(sibling_dir_find(dir, 5));
	ck_assert(!sibling_dir_allows(dir, 3, 5));
	ck_assert(sibling_dir_allows(dir, 3, 4));
	teardown();
}
END_TEST

/* The names are copies: whoever gave them may change them. */
START_TEST(groups_are_copied)
{
	char text[] = "a", *own[] = { text };
	struct sibling_entry *other;

	setup();
	add(3, own, 1);
	ck_assert_int_eq(sibling_dir_add(dir, 4, own, 1, box, &other), 0);
	text[0] = 'x';
	ck_assert_int_eq(sibling_dir_set_groups(dir, other, own, 1), 0);
	publish();
	ck_assert(!sibling_dir_allows(dir, 3, 4));
	text[0] = 'a';
	ck_assert_int_eq(sibling_dir_set_groups(dir, other, own, 1), 0);
	publish();
	ck_assert(sibling_dir_allows(dir, 3, 4));
	teardown();
}
END_TEST

/* An old generation, with what only it has, lives until the worker has been by its mail. */
START_TEST(what_was_found_stays)
{
	struct sibling_entry *found;

	setup();
	add(3, names, 1);
	publish();
	mailbox_deliver(box);
	found = sibling_dir_find(dir, 3);
	sibling_dir_remove(dir, entry);
	publish();
	ck_assert_ptr_null(sibling_dir_find(dir, 3));
	ck_assert_uint_eq(found->cid, 3);	/* an address sanitizer's matter */
	sibling_entry_ref(found);
	mailbox_deliver(box);
	ck_assert_uint_eq(found->cid, 3);
	ck_assert_uint_eq(atomic_load(&found->refs), 1);
	sibling_entry_unref(found);
	teardown();
}
END_TEST

/* One of that CID goes and another comes: they are two. */
START_TEST(same_cid_again)
{
	struct sibling_entry *first;

	setup();
	add(3, names, 1);
	publish();
	first = sibling_entry_ref(entry);
	sibling_dir_remove(dir, entry);
	add(3, names, 1);
	ck_assert_ptr_ne(entry, first);
	ck_assert_ptr_eq(sibling_dir_find(dir, 3), first);
	publish();
	ck_assert_ptr_eq(sibling_dir_find(dir, 3), entry);
	sibling_entry_unref(first);
	teardown();
}
END_TEST

/* How many siblings each has, after every kind of change, is what counting from the
 * beginning gives; and each core has been told. */
START_TEST(counts)
{
	enum { VMS = 12, ROUNDS = 400 };
	struct sibling_entry *entries[VMS] = { NULL };
	struct backend *backends[VMS] = { NULL };
	struct mux muxes[VMS];
	unsigned random = 1;

	setup();
	for (int round = 0; round < ROUNDS; round++) {
		unsigned i = (random = random * 1103515245 + 12345) >> 16;
		unsigned vm = i % VMS, bits = i / VMS % SETS;
		struct set set = make_set(bits);

		if (!entries[vm]) {
			struct sibling_config config = { .dir = dir, .loop = loop };

			ck_assert_int_eq(sibling_dir_add(dir, 3 + vm, set.groups, set.n, box,
							 &entries[vm]), 0);
			publish();
			config.self = entries[vm];
			config.mux = &muxes[vm];
			ck_assert_int_eq(sibling_new(&backends[vm], &config), 0);
		} else if (bits & 3) {
			ck_assert_int_eq(sibling_dir_set_groups(dir, entries[vm], set.groups,
								set.n), 0);
		} else {
			sibling_dir_remove(dir, entries[vm]);
			entries[vm] = NULL;
		}
		publish();
		mailbox_deliver(box);
		if (!entries[vm] && backends[vm]) {
			backends[vm]->ops->free(backends[vm]);
			backends[vm] = NULL;
		}
		for (unsigned x = 0; x < VMS; x++) {
			size_t n = 0;

			for (unsigned y = 0; y < VMS; y++)
				n += sibling_dir_allows(dir, 3 + x, 3 + y);
			ck_assert_uint_eq(sibling_dir_count(dir, 3 + x), n);
			if (backends[x])
				ck_assert_uint_eq(muxes[x].n_siblings, n);
		}
	}
	for (unsigned vm = 0; vm < VMS; vm++)
		if (backends[vm])
			backends[vm]->ops->free(backends[vm]);
	teardown();
}
END_TEST

/* ---- workers that look while it changes ---- */

enum { WORKERS = 4, LOOKED_UP = 64, CHANGES = 3000 };

struct reader {
	pthread_t thread;
	struct loop *loop;
	struct mailbox *box;
	struct loop_work work;
	struct backend *backend;		/* of a VM that stays */
	struct mux mux;
	size_t n_found;
	struct sibling_entry *kept;		/* as a connection keeps one */
};

static struct reader readers[WORKERS];

/* A turn: it holds what it finds to its end, and one of them for longer. */
static void on_work(struct loop_work *work)
{
	struct reader *r = container_of(work, struct reader, work);
	struct sibling_entry *found[LOOKED_UP];

	for (unsigned i = 0; i < LOOKED_UP; i++)
		found[i] = i % 2 ? sibling_dir_find(dir, 100 + i) :
			sibling_dir_reach(dir, 3 + (uint64_t)(r - readers), 100 + i);
	for (unsigned i = 0; i < LOOKED_UP; i++) {
		if (!found[i])
			continue;
		ck_assert_uint_eq(found[i]->cid, 100 + i);
		r->n_found++;
		if (r->n_found % 16)
			continue;
		if (r->kept)
			sibling_entry_unref(r->kept);
		r->kept = sibling_entry_ref(found[i]);
	}
	loop_work_schedule(r->loop, &r->work);
}

static void *run(void *arg)
{
	struct reader *r = arg;

	ck_assert_int_eq(loop_run(r->loop), 0);
	return NULL;
}

static void start_reader(struct reader *r)
{
	struct sibling_config config = { .dir = dir, .mux = &r->mux };

	ck_assert_int_eq(loop_new(&r->loop), 0);
	ck_assert_int_eq(mailbox_new(&r->box, r->loop), 0);
	ck_assert_int_eq(sibling_dir_add(dir, 3 + (uint64_t)(r - readers), names, GROUPS, r->box,
					 &config.self), 0);
	publish();
	config.loop = r->loop;
	ck_assert_int_eq(sibling_new(&r->backend, &config), 0);
	loop_work_init(&r->work, on_work);
	loop_work_schedule(r->loop, &r->work);
	ck_assert_int_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

static void join_reader(struct reader *r)
{
	loop_stop(r->loop);
	pthread_join(r->thread, NULL);
	mailbox_deliver(r->box);
	ck_assert_uint_gt(r->mux.n_told, 1);
	ck_assert_uint_eq(r->mux.n_siblings, sibling_dir_count(dir, 3 + (uint64_t)(r - readers)));
	if (r->kept)
		sibling_entry_unref(r->kept);
	r->backend->ops->free(r->backend);
}

/* VMs come, go, change their groups. All that was ever made is freed at the end. */
START_TEST(changes_under_readers)
{
	struct sibling_entry *entries[LOOKED_UP] = { NULL };
	unsigned random = 7;
	size_t n_found = 0;

	setup();
	for (int i = 0; i < WORKERS; i++)
		start_reader(&readers[i]);
	for (int i = 0; i < CHANGES; i++) {
		unsigned n = (random = random * 1103515245 + 12345) >> 16;
		unsigned vm = n % LOOKED_UP;
		struct set set = make_set(n / LOOKED_UP % SETS);
		struct mailbox *of = readers[n % WORKERS].box;

		if (!entries[vm]) {
			ck_assert_int_eq(sibling_dir_add(dir, 100 + vm, set.groups, set.n, of,
							 &entries[vm]), 0);
		} else if (n & 1) {
			ck_assert_int_eq(sibling_dir_set_groups(dir, entries[vm], set.groups,
								set.n), 0);
		} else {
			sibling_dir_remove(dir, entries[vm]);
			entries[vm] = NULL;
		}
		publish();
	}
	for (int i = 0; i < WORKERS; i++)
		join_reader(&readers[i]);
	for (int i = 0; i < WORKERS; i++) {
		n_found += readers[i].n_found;
		mailbox_free(readers[i].box);
		loop_free(readers[i].loop);
	}
	ck_assert_uint_gt(n_found, 0);
	teardown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sibling_dir");
	TCase *tc = tcase_create("sibling_dir");

	tcase_add_loop_test(tc, all_combinations, 0, SETS);
	tcase_add_test(tc, all_in_one_directory);
	tcase_add_test(tc, two_hundred_groups);
	tcase_add_test(tc, finds_exactly_what_is_there);
	tcase_add_test(tc, empty);
	tcase_add_test(tc, published_at_once);
	tcase_add_test(tc, groups_are_copied);
	tcase_add_test(tc, what_was_found_stays);
	tcase_add_test(tc, same_cid_again);
	tcase_add_test(tc, counts);
	tcase_add_test(tc, changes_under_readers);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
