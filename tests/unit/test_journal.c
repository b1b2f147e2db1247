/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal: which facts hold when, who keeps what, and what is no journal. */
#include "device/journal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/journal.h"
#include "unit.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum { NAMES = 5000 };

static struct journal *journal;
static int kept[JOURNAL_SLOTS_MAX];		/* -1: none */
static int n_keeps, n_drops, fails_at;		/* fails_at: which keep fails; 0: none */
static uint32_t holds;				/* the facts that a crash now would leave */
static bool is_looked_at;			/* ... is looked at by keep and drop */
static int fds_before;

static uint32_t look(bool *is_settled);

static int keep(void *ctx, uint32_t slot, int fd)
{
	(void)ctx;
	ck_assert_uint_lt(slot, JOURNAL_SLOTS_MAX);
	if (++n_keeps == fails_at)
		return -EMFILE;
	if (is_looked_at)
		ck_assert_uint_eq(look(NULL), holds);
	fd_close(&kept[slot]);
	kept[slot] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_ge(kept[slot], 0);
	return 0;
}

static void drop(void *ctx, uint32_t slot)
{
	(void)ctx;
	ck_assert_uint_lt(slot, JOURNAL_SLOTS_MAX);
	n_drops++;
	if (is_looked_at)
		ck_assert_uint_eq(look(NULL), holds);
	fd_close(&kept[slot]);
}

static const struct journal_keeper keeper = { .keep = keep, .drop = drop };

static void make(void)
{
	const struct journal_config config = {
		.keeper = &keeper, .tag = "test", .names_bytes = NAMES,
	};

	ck_assert_int_eq(journal_new(&journal, &config), 0);
}

static void setup(void)
{
	log_level = LEVEL_ERR;
	fds_before = unit_count_fds();
	memset(kept, -1, sizeof kept);
	n_keeps = n_drops = fails_at = 0;
	is_looked_at = false;
	make();
}

static void teardown(void)
{
	journal_free(journal);
	for (int i = 0; i < JOURNAL_SLOTS_MAX; i++)
		fd_close(&kept[i]);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static unsigned n_kept(void)
{
	unsigned n = 0;

	for (int i = 0; i < JOURNAL_SLOTS_MAX; i++)
		n += kept[i] >= 0;
	return n;
}

static size_t take_kept(struct journal_kept *out)
{
	size_t n = 0;

	for (uint32_t i = 0; i < JOURNAL_SLOTS_MAX; i++)
		if (kept[i] >= 0)
			out[n++] = (struct journal_kept){ i, fcntl(kept[i], F_DUPFD_CLOEXEC, 0) };
	return n;
}

static void silent_drop(void *ctx, uint32_t slot)
{
	(void)ctx;
	(void)slot;
}

/* What another process would find now; 0: nothing. */
static uint32_t look(bool *is_settled)
{
	static const struct journal_keeper blind = { .keep = NULL, .drop = silent_drop };
	const struct journal_config config = { .keeper = &blind, .tag = "test" };
	static struct journal_kept found[JOURNAL_SLOTS_MAX];
	struct journal_facts facts;
	struct journal *j;
	uint32_t v = 0;

	ck_assert_int_eq(journal_new(&j, &config), 0);
	if (journal_load(j, found, take_kept(found), &facts) == 0) {
		v = blob_get_u32(&facts.in);
		while (blob_has_more(&facts.in)) {
			int fd = blob_get_fd(&facts.in);

			ck_assert_int_ge(fd, 0);
			close(fd);
		}
		if (is_settled)
			*is_settled = facts.is_settled;
		journal_loaded(j, &facts);
	}
	journal_free(j);
	return v;
}

/* Facts: a number, and descriptors. */
static void commit(uint32_t v, const int *fds, size_t n)
{
	struct blob facts;

	journal_begin(&facts);
	blob_put_u32(&facts, v);
	for (size_t i = 0; i < n; i++)
		blob_put_fd(&facts, fds[i]);
	journal_commit(journal, &facts);
}

START_TEST(holds_what_was_committed)
{
	bool is_settled;

	ck_assert_uint_eq(look(NULL), 0);
	ck_assert_ptr_null(journal_receipt(journal));
	for (uint32_t v = 1; v < 5; v++) {
		commit(v, (int[]){ 0, 1, 2 }, v % 4);
		ck_assert_uint_eq(look(&is_settled), v);
		ck_assert(!is_settled);
		journal_settle(journal);
		ck_assert_uint_eq(look(&is_settled), v);
		ck_assert(is_settled);
		ck_assert_uint_eq(n_kept(), 1 + v % 4);
	}
}
END_TEST

/* At each moment of a commit: until all that is new is kept the old facts hold, and when
 * something is dropped the new ones do. */
START_TEST(crash_within_a_commit)
{
	is_looked_at = true;
	holds = 0;
	commit(1, (int[]){ 0, 1 }, 2);
	holds = 1;
	commit(2, (int[]){ 1, 2, 0 }, 3);
	n_keeps = n_drops = 0;
	holds = 3;
	commit(3, (int[]){ 1 }, 1);
	ck_assert_int_eq(n_keeps, 0);
	ck_assert_int_eq(n_drops, 2);
}
END_TEST

/* _i: which keep fails, of three that a commit needs, or four with the new journal itself.
 * All is void then, and not for ever. */
START_TEST(keeper_refuses)
{
	fails_at = _i;
	if (_i > 4) {
		fails_at = 0;
		commit(1, NULL, 0);
		fails_at = _i - 4;
	}
	n_keeps = 0;
	commit(2, (int[]){ 0, 1, 2 }, 3);
	ck_assert_uint_eq(look(NULL), 0);
	ck_assert_uint_le(n_kept(), 1);
	journal_settle(journal);
	ck_assert_uint_eq(look(NULL), 0);
	fails_at = 0;
	commit(3, (int[]){ 0, 1, 2 }, 3);
	ck_assert_uint_eq(look(NULL), 3);
	ck_assert_uint_eq(n_kept(), 4);
}
END_TEST

START_TEST(too_much)
{
	static uint8_t bytes[JOURNAL_COPY_BYTES];
	struct blob facts;
	int fds[JOURNAL_SLOTS_MAX];

	commit(1, NULL, 0);
	journal_begin(&facts);
	blob_put_bytes(&facts, bytes, sizeof bytes);
	journal_commit(journal, &facts);
	ck_assert_uint_eq(look(NULL), 0);
	for (int i = 0; i < COUNT(fds); i++)
		fds[i] = i;
	commit(2, fds, COUNT(fds));
	ck_assert_uint_eq(look(NULL), 0);
}
END_TEST

/* The next one goes on with the slots, and forgets what nobody names. */
START_TEST(goes_on)
{
	static struct journal_kept found[JOURNAL_SLOTS_MAX];
	struct journal_facts facts;
	size_t size;
	char *names;
	int fds[2];

	commit(7, (int[]){ 0, 1, 2 }, 3);
	names = journal_names(journal, &size);
	ck_assert_uint_eq(size, NAMES);
	names[0] = names[NAMES - 1] = 'x';
	kept[20] = fcntl(0, F_DUPFD_CLOEXEC, 0);	/* kept, but before the facts said so */
	journal_free(journal);
	make();
	ck_assert_int_eq(journal_load(journal, found, take_kept(found), &facts), 0);
	ck_assert_int_eq(kept[20], -1);
	ck_assert_uint_eq(blob_get_u32(&facts.in), 7);
	fds[0] = blob_get_fd(&facts.in);
	fds[1] = blob_get_fd(&facts.in);		/* the third is not taken */
	journal_loaded(journal, &facts);
	ck_assert_uint_eq(n_kept(), 3);
	names = journal_names(journal, &size);
	ck_assert(names[0] == 'x' && names[NAMES - 1] == 'x');
	n_keeps = n_drops = 0;
	commit(8, fds, 2);
	ck_assert_int_eq(n_keeps + n_drops, 0);
	ck_assert_uint_eq(look(NULL), 8);
	journal_clear_names(journal);
	ck_assert(!names[0] && !names[NAMES - 1]);
	commit(9, fds + 1, 1);
	ck_assert_uint_eq(n_kept(), 2);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* ---- what is no journal ---- */

static struct journal_head *head;		/* of the one that is spoilt */

static struct journal_copy *copy(void)
{
	return (struct journal_copy *)((char *)head + JOURNAL_COPY_AT +
				       (head->state & JOURNAL_COPY) * JOURNAL_COPY_BYTES);
}

static void replace(off_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert(fd >= 0 && ftruncate(fd, size) == 0);
	ck_assert_int_eq(pwrite(fd, head, JOURNAL_NAMES_AT, 0) < 0, false);
	ck_assert(ftruncate(fd, size) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
	fd_close(&kept[JOURNAL_SLOT]);
	kept[JOURNAL_SLOT] = fd;
}

static void no_journal(void) { fd_close(&kept[JOURNAL_SLOT]); }
static void is_void(void) { head->state = 0; }
static void magic(void) { head->magic[7]++; }
static void version(void) { head->version++; }
static void copy_bytes(void) { head->copy_bytes--; }
static void names_more(void) { head->names_bytes += 4096; }
static void names_wrap(void) { head->names_bytes = UINT64_MAX - 100; }
static void many_slots(void) { copy()->n_slots = JOURNAL_SLOTS_MAX; }
static void all_slots(void) { copy()->n_slots = UINT32_MAX; }
static void long_facts(void) { copy()->len = JOURNAL_COPY_BYTES; }
static void slot_of_journal(void) { copy()->slots[0] = JOURNAL_SLOT; }
static void slot_twice(void) { copy()->slots[0] = copy()->slots[1]; }
static void slot_beyond(void) { copy()->slots[0] = JOURNAL_SLOTS_MAX; }
static void slot_missing(void) { fd_close(&kept[copy()->slots[1]]); }
static void may_shrink(void) { replace(JOURNAL_NAMES_AT + 8192, F_SEAL_GROW); }
static void too_small(void) { replace(JOURNAL_NAMES_AT - 1, F_SEAL_GROW | F_SEAL_SHRINK); }
static void other_size(void) { replace(JOURNAL_NAMES_AT + 4096, F_SEAL_GROW | F_SEAL_SHRINK); }

static void no_memfd(void)
{
	fd_close(&kept[JOURNAL_SLOT]);
	kept[JOURNAL_SLOT] = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static const struct {
	void (*spoil)(void);
	int error;
} spoilt[] = {
	{ no_journal, JOURNAL_E_NONE }, { is_void, JOURNAL_E_VOID },
	{ magic, JOURNAL_E_STATE }, { version, JOURNAL_E_STATE },
	{ copy_bytes, JOURNAL_E_STATE }, { names_more, JOURNAL_E_STATE },
	{ names_wrap, JOURNAL_E_STATE }, { many_slots, JOURNAL_E_STATE },
	{ all_slots, JOURNAL_E_STATE }, { long_facts, JOURNAL_E_STATE },
	{ slot_of_journal, JOURNAL_E_STATE }, { slot_twice, JOURNAL_E_STATE },
	{ slot_beyond, JOURNAL_E_STATE }, { slot_missing, JOURNAL_E_STATE },
	{ may_shrink, JOURNAL_E_STATE }, { too_small, JOURNAL_E_STATE },
	{ other_size, JOURNAL_E_STATE }, { no_memfd, JOURNAL_E_STATE },
};

/* _i: which. Nothing is left of it, neither here nor with the keeper, and a new one works. */
START_TEST(is_spoilt)
{
	static struct journal_kept found[JOURNAL_SLOTS_MAX];
	struct journal_facts facts;

	commit(7, (int[]){ 0, 1, 2 }, 3);
	head = mmap(NULL, JOURNAL_NAMES_AT, PROT_READ | PROT_WRITE, MAP_SHARED,
		    kept[JOURNAL_SLOT], 0);
	ck_assert_ptr_ne(head, MAP_FAILED);
	spoilt[_i].spoil();
	munmap(head, JOURNAL_NAMES_AT);
	journal_free(journal);
	make();
	ck_assert_int_eq(journal_load(journal, found, take_kept(found), &facts), spoilt[_i].error);
	ck_assert_uint_eq(n_kept(), 0);
	ck_assert_int_eq(unit_count_fds(), fds_before);
	commit(8, (int[]){ 2 }, 1);
	ck_assert_uint_eq(look(NULL), 8);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal");
	TCase *tc = tcase_create("journal");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, holds_what_was_committed);
	tcase_add_test(tc, crash_within_a_commit);
	tcase_add_loop_test(tc, keeper_refuses, 1, 8);
	tcase_add_test(tc, too_much);
	tcase_add_test(tc, goes_on);
	tcase_add_loop_test(tc, is_spoilt, 0, COUNT(spoilt));
	suite_add_tcase(s, tc);
	return unit_main(s);
}
