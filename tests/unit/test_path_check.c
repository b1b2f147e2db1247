/* SPDX-License-Identifier: BSD-3-Clause */
/* Which part of a path keeps whom from its socket: real files, and people who are made up. */
#include "vsockctl/path_check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/scratch.h"
#include "unit.h"

/* "a" (a folder), "a/s" (a socket), "a/f" (a file), "a/loop", "a/gone" (links). */
static void setup(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "a/s" };
	char folder[128];
	int fd;

	snprintf(folder, sizeof folder, "%s/XXXXXX", scratch_path());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(chmod(".", 0755), 0);
	ck_assert_int_eq(mkdir("a", 0755), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	close(fd);
	close(open("a/f", O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(symlink("loop", "a/loop"), 0);
	ck_assert_int_eq(symlink("nowhere", "a/gone"), 0);
	ck_assert_int_eq(symlink("a", "link"), 0);
}

enum who { OWNER, MEMBER, OTHER, ROOT };

static struct path_who somebody(enum who who)
{
	struct path_who w = { .uid = getuid() + 4711, .groups = { 4711, getgid() }, .n_groups = 1 };

	if (who == OWNER)
		w.uid = getuid();
	if (who == MEMBER)
		w.n_groups = 2;
	if (who == ROOT)
		w.uid = 0;
	return w;
}

static const struct {
	const char *path;
	enum who who;
	mode_t folder, socket;
	enum path_fault_kind kind;
	const char *part;			/* of the fault */
} cases[] = {
	{ "a/s", OTHER, 0755, 0777, PATH_FINE, "" },
	{ "a/s", OTHER, 0755, 0775, PATH_NO_WRITE, "a/s" },
	{ "a/s", MEMBER, 0755, 0770, PATH_FINE, "" },
	{ "a/s", MEMBER, 0755, 0707, PATH_NO_WRITE, "a/s" },	/* the group's bits are what counts */
	{ "a/s", OTHER, 0750, 0777, PATH_NO_SEARCH, "a" },
	{ "a/s", MEMBER, 0710, 0020, PATH_FINE, "" },
	{ "a/s", MEMBER, 0701, 0777, PATH_NO_SEARCH, "a" },
	{ "a/s", ROOT, 0000, 0000, PATH_FINE, "" },
	{ "./a//s", OTHER, 0755, 0755, PATH_NO_WRITE, "./a//s" },
	{ "../.", OTHER, 0755, 0777, PATH_NO_SEARCH, ".." },
	{ "link/s", OTHER, 0750, 0777, PATH_NO_SEARCH, "link" },
	{ "a/f", OTHER, 0755, 0777, PATH_NO_SOCKET, "a/f" },
	{ "a", OTHER, 0755, 0777, PATH_NO_SOCKET, "a" },
	{ "a/f/x", OTHER, 0755, 0777, PATH_NO_FOLDER, "a/f" },
	{ "a/none", OTHER, 0755, 0777, PATH_MISSING, "a/none" },
	{ "none/s", OTHER, 0755, 0777, PATH_MISSING, "none" },
	{ "a/gone", OTHER, 0755, 0777, PATH_DANGLING, "a/gone" },
	{ "a/gone/s", OTHER, 0755, 0777, PATH_MISSING, "a/gone" },
	{ "a/loop", OTHER, 0755, 0777, PATH_UNSEEN, "a/loop" },
	{ "", OTHER, 0755, 0777, PATH_UNSEEN, "" },
};

START_TEST(faults)
{
	struct path_who who = somebody(cases[_i].who);
	struct path_fault fault;

	if (cases[_i].who == OWNER && getuid() == 0)
		return;
	ck_assert_int_eq(chmod("a/s", cases[_i].socket), 0);
	ck_assert_int_eq(chmod("a", cases[_i].folder), 0);
	if (getuid() != 0 && !(cases[_i].folder & 0100))
		return;				/* who looks has to see it */
	path_check(cases[_i].path, &who, &fault);
	ck_assert_int_eq(fault.kind, cases[_i].kind);
	ck_assert_str_eq(fault.path, cases[_i].part);
	if (fault.kind == PATH_NO_WRITE)
		ck_assert_uint_eq(fault.mode, cases[_i].socket);
	if (fault.kind == PATH_NO_SEARCH && strcmp(fault.path, "..") != 0)
		ck_assert_uint_eq(fault.mode, cases[_i].folder);
	ck_assert_int_eq(fault.is_last, strcmp(cases[_i].part, cases[_i].path) == 0 ||
			 fault.kind == PATH_FINE);
}
END_TEST

START_TEST(long_paths)
{
	static char path[10000];
	struct path_fault fault;

	memset(path, '/', sizeof path - 1);
	path_check(path, NULL, &fault);
	ck_assert_int_eq(fault.kind, PATH_UNSEEN);
	path[4095] = '\0';
	path_check(path, NULL, &fault);
	ck_assert_int_eq(fault.kind, PATH_NO_SOCKET);
	memset(path, 'x', 300);
	path[300] = '\0';
	path_check(path, NULL, &fault);
	ck_assert_int_eq(fault.kind, PATH_UNSEEN);
	ck_assert_uint_eq(strlen(fault.path), PATH_TEXT_MAX - 1);
}
END_TEST

START_TEST(who_we_are)
{
	struct path_who who;

	ck_assert(path_who_is(getpid(), &who));
	ck_assert_uint_eq(who.uid, geteuid());
	ck_assert_uint_ge(who.n_groups, 1);
	ck_assert_uint_eq(who.groups[0], getegid());
	ck_assert(!path_who_is(0x7ffffff0, &who));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("path_check");
	TCase *tc = tcase_create("path_check");
	int status;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, faults, 0, COUNT(cases));
	tcase_add_test(tc, long_paths);
	tcase_add_test(tc, who_we_are);
	suite_add_tcase(suite, tc);
	scratch_begin();
	status = unit_main(suite);
	scratch_end();
	return status;
}
