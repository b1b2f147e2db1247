/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets whose names have to be in certain folders: wherever a path leads meanwhile, nothing is
 * made, removed or connected to elsewhere. */
#include "util/spot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/scratch.h"
#include "unit.h"
#include "util/fd.h"
#include "util/landlock.h"
#include "util/listener.h"
#include "util/unix_socket.h"

enum { PATH_BYTES = 100 };

static char top[64];				/* has "in", where names may be, and "out" */
static char in[PATH_BYTES];
static char *paths[] = { in };
static struct listener_access access_in = {
	.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1, .within = { paths, 1 },
};
static int fds_before;

/* Of what is below the top; used at once. */
static const char *at(const char *name)
{
	static char made[8][PATH_BYTES];
	static unsigned n;
	char *path = made[n++ % 8];

	snprintf(path, PATH_BYTES, "%s/%s", top, name);
	return path;
}

static void setup(void)
{
	static const char *const folders[] = { "in", "in/below", "inside", "out" };

	snprintf(top, sizeof top, "%s/XXXXXX", scratch_path());
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(in, sizeof in, "%s", at("in"));
	for (size_t i = 0; i < COUNT(folders); i++)
		ck_assert_int_eq(mkdir(at(folders[i]), 0700), 0);
	ck_assert_int_eq(symlink("../out", at("in/away")), 0);
	ck_assert_int_eq(symlink("below", at("in/still")), 0);
	ck_assert_int_eq(symlink("in", at("way")), 0);
	fds_before = unit_count_fds();
}

static void teardown(void)
{
	char command[PATH_BYTES + 16];

	ck_assert_int_eq(unit_count_fds(), fds_before);
	snprintf(command, sizeof command, "rm -r %s", top);
	ck_assert_int_eq(system(command), 0);
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(at(name), &st) == 0;
}

/* The folder @name is moved to @to, and a link is where it was. */
static void exchange(const char *name, const char *to, const char *link)
{
	ck_assert_int_eq(rename(at(name), at(to)), 0);
	ck_assert_int_eq(symlink(at(link), at(name)), 0);
}

/* ---- which folders ---- */

static const struct {
	const char *path;			/* below the top */
	int outcome;
} folder_cases[] = {
	{ "in/s", 0 }, { "in/below/s", 0 }, { "in/below/../s", 0 }, { "in/still/s", 0 },
	{ "way/s", 0 }, { "way/below/s", 0 }, { "out/../in/s", 0 },
	{ "in/away/s", FOLDERS_E_OUTSIDE }, { "in/../s", FOLDERS_E_OUTSIDE },
	{ "inside/s", FOLDERS_E_OUTSIDE }, { "out/s", FOLDERS_E_OUTSIDE },
	{ "in/away/../s", FOLDERS_E_OUTSIDE }, { "in/none/s", -ENOENT },
};

START_TEST(each_folder)
{
	int fd = -1;

	ck_assert_msg(folders_open_folder(&access_in.within, at(folder_cases[_i].path), &fd) ==
		      folder_cases[_i].outcome, "%s", folder_cases[_i].path);
	ck_assert_int_eq(fd >= 0, !folder_cases[_i].outcome);
	fd_close(&fd);
}
END_TEST

START_TEST(root_and_none)
{
	char root[] = "/", *all[] = { root };
	int fd = -1;

	ck_assert_int_eq(folders_open_folder(&(struct folders){ all, 1 }, at("out/s"), &fd), 0);
	fd_close(&fd);
	ck_assert_int_eq(folders_open_folder(&(struct folders){ all, 0 }, at("out/s"), &fd),
			 FOLDERS_E_OUTSIDE);
}
END_TEST

START_TEST(spelled)
{
	char path[FOLDERS_PATH_BYTES], name[400];

	folders_spell(path, 0, NULL);
	ck_assert_str_eq(path, "/proc/self/fd/0");
	folders_spell(path, 2147483647, "a b");
	ck_assert_str_eq(path, "/proc/self/fd/2147483647/a b");
	memset(name, 'x', sizeof name);
	name[sizeof name - 1] = '\0';
	folders_spell(path, 1, name);
	ck_assert_uint_eq(strlen(path), sizeof path - 1);
}
END_TEST

/* ---- sockets ---- */

static void check_called(const struct listener *l, const char *path)
{
	struct sockaddr_un sa = { .sun_path = "" };
	socklen_t len = sizeof sa - 1;

	ck_assert_int_eq(getsockname(l->fd, (struct sockaddr *)&sa, &len), 0);
	ck_assert_msg(strncmp(sa.sun_path, path, strlen(path)) == 0, "%s", sa.sun_path);
}

START_TEST(made_and_removed)
{
	struct listener l, rival;

	ck_assert_int_eq(listener_open(&l, at("way/below/s"), SOCK_STREAM, &access_in), 0);
	ck_assert(exists("in/below/s"));
	if (landlock_version() > 0)
		check_called(&l, at("way/below/s"));
	ck_assert(listener_has_name(&l));
	ck_assert_int_eq(listener_open(&rival, at("in/below/s"), SOCK_STREAM, &access_in),
			 LISTENER_E_BUSY);
	listener_deinit(&l);
	ck_assert(!exists("in/below/s"));
}
END_TEST

/* Another folder is where the path leads now: by then the path was found to be right. */
START_TEST(exchanged_before_bind)
{
	struct sockaddr_un sa;
	struct spot spot;
	int fd;

	ck_assert_int_eq(spot_address(&sa, at("in/below/s")), 0);
	ck_assert_int_eq(spot_open(&spot, sa.sun_path, &access_in.within), 0);
	exchange("in/below", "in/moved", "out");
	ck_assert_int_eq(unix_socket(&fd, SOCK_STREAM), 0);
	if (landlock_version() > 0)
		ck_assert_int_lt(spot_bind(&spot, fd, &sa), 0);
	ck_assert(!exists("out/s"));
	fd_close(&fd);
	spot_close(&spot);
}
END_TEST

/* _i: what leads away was there already when it was opened. */
START_TEST(exchanged_later)
{
	struct listener l, again;

	ck_assert_int_eq(listener_open(&l, at("in/below/s"), SOCK_STREAM, &access_in), 0);
	exchange("in/below", "moved", _i ? "moved" : "out");
	ck_assert(!listener_has_name(&l));
	ck_assert_int_eq(listener_open(&again, at("in/below/s"), SOCK_STREAM, &access_in),
			 LISTENER_E_OUTSIDE);
	listener_deinit(&l);
	ck_assert(exists("moved/s"));
	ck_assert(!exists("out/s"));
}
END_TEST

/* A socket that nobody listens at is replaced; what is no socket is not connected to. */
START_TEST(in_the_way)
{
	struct listener l, other;

	ck_assert_int_eq(listener_open(&other, at("out/s"), SOCK_STREAM,
				       &(struct listener_access){ .mode = 0600, .uid = (uid_t)-1,
								  .gid = (gid_t)-1 }), 0);
	ck_assert_int_eq(symlink("../out/s", at("in/s")), 0);
	ck_assert_int_eq(listener_open(&l, at("in/s"), SOCK_STREAM, &access_in),
			 LISTENER_E_OTHER_FILE);
	unlink(at("in/s"));
	ck_assert_int_eq(link(at("out/s"), at("in/s")), 0);
	ck_assert_int_eq(listener_open(&l, at("in/s"), SOCK_STREAM, &access_in), LISTENER_E_BUSY);
	listener_deinit(&other);
	ck_assert_int_eq(listener_open(&l, at("in/s"), SOCK_SEQPACKET, &access_in), 0);
	listener_deinit(&l);
	ck_assert(!exists("in/s"));
}
END_TEST

/* No more of its layers can be had: so is a kernel that has none. */
static void use_up_landlock(void)
{
	const struct wire_landlock denied = { .fs = 1 << 11 };	/* to make block devices */
	int ruleset;

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (landlock_new(&denied, &ruleset))
		return;
	while (landlock_enter(ruleset) == 0)
		;
	fd_close(&ruleset);
}

START_TEST(without_landlock)
{
	struct listener l;

	use_up_landlock();
	access_in.mode = 0640;
	access_in.gid = getgid();		/* given to its inode */
	ck_assert_int_eq(listener_open(&l, at("in/below/s"), SOCK_STREAM, &access_in), 0);
	check_called(&l, "/proc/self/fd/");
	ck_assert(listener_has_name(&l));
	exchange("in/below", "in/moved", "out");
	ck_assert(!listener_has_name(&l));
	unlink(at("in/below"));
	ck_assert_int_eq(rename(at("in/moved"), at("in/below")), 0);
	listener_deinit(&l);
	ck_assert(!exists("in/below/s"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("spot");
	TCase *tc = tcase_create("spot");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_folder, 0, COUNT(folder_cases));
	tcase_add_test(tc, root_and_none);
	tcase_add_test(tc, spelled);
	tcase_add_test(tc, made_and_removed);
	tcase_add_test(tc, exchanged_before_bind);
	tcase_add_loop_test(tc, exchanged_later, 0, 2);
	tcase_add_test(tc, in_the_way);
	tcase_add_test(tc, without_landlock);
	suite_add_tcase(s, tc);
	scratch_begin();
	status = unit_main(s);
	scratch_end();
	return status;
}
