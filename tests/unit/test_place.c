/* SPDX-License-Identifier: BSD-3-Clause */
/* One place, many spellings: what is refused, what is not, in a folder of links. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/error.h"
#include "config/place.h"
#include "config/plan.h"
#include "config_run.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

static char folder[64];

/* D/E, L -> D, M -> D/E */
static void setup(void)
{
	strcpy(folder, "/tmp/test_place.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(mkdir("D", 0700), 0);
	ck_assert_int_eq(mkdir("D/E", 0700), 0);
	ck_assert_int_eq(symlink("D", "L"), 0);
	ck_assert_int_eq(symlink("D/E", "M"), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(unlink("L") | unlink("M") | rmdir("D/E") | rmdir("D"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* ---- two VMs: the first's uds-path, the second's socket ---- */

enum clash { NONE, SAME, PORT };

/* @: the folder. */
static const struct {
	const char *uds, *socket;
	enum clash clash;
} cases[] = {
	{ "D/s", "D/s", SAME },
	{ "D/s", "D/./s", SAME },
	{ "D/s", "D//s", SAME },
	{ "D/s", ".//D/s", SAME },
	{ "D/s", "@/D/s", SAME },
	{ "D/s", "/proc/self/cwd/D/s", SAME },
	{ "D/s", "L/s", SAME },
	{ "D/s", "D/E/../s", SAME },
	{ "D/s", "M/../s", SAME },
	{ "s", "./s", SAME },
	{ "s", "D/../s", SAME },
	{ "@/s", "s", SAME },
	{ "D/s", "D/E/s", NONE },
	{ "D/E/s", "M/s", SAME },
	{ "s", "M/../s", NONE },		/* by text it would be */
	{ "D/s", "D/s_", NONE },
	{ "D/s", "D/s_7", PORT },
	{ "D/s", "D/./s_7", PORT },
	{ "D/s", "L/s_7", PORT },
	{ "D/./s", "@/M/..//s_7", PORT },
	{ "D/s", "D/E/s_7", NONE },
	{ "L/s", "D/s_4294967295", PORT },
	{ "L/s", "D/s_4294967296", NONE },
	/* Folders that are not there, yet. */
	{ "none/s", "none/s", SAME },
	{ "none/s", "none/./s", SAME },
	{ "none/s", "none//x/../s", SAME },
	{ "none/s", "./none/s", SAME },
	{ "none/s", "@/none/s", SAME },
	{ "D/none/s", "L/none/s_7", PORT },
	{ "D/none/s", "D/E/../none/./s_7", PORT },
	{ "none/s", "none/t/s", NONE },
	{ "none/s", "nine/s_7", NONE },
	{ "/none/s", "/none/../none/s_7", PORT },
	{ "/none/s", "none/s", NONE },
};

static void spell(char *out, size_t size, const char *path)
{
	snprintf(out, size, "%s%s", *path == '@' ? folder : "", path + (*path == '@'));
}

START_TEST(spellings)
{
	char uds[128], socket[128], words[512], want[512];
	struct config_run run;

	spell(uds, sizeof uds, cases[_i].uds);
	spell(socket, sizeof socket, cases[_i].socket);
	snprintf(words, sizeof words, "--vm socket=a,uds-path=%s --vm guest-cid=4,socket=%s,"
		 "uds-path=b", uds, socket);
	config_run(&run, words);
	if (cases[_i].clash == SAME)
		snprintf(want, sizeof want, "vhost-device-vsock: --vm 2: socket: '%s' is the "
			 "uds-path of --vm 1\n", socket);
	else
		snprintf(want, sizeof want, "vhost-device-vsock: --vm 2: socket: '%s' is where the "
			 "guest of uds-path '%s' finds port %s\n", socket, uds,
			 strrchr(socket, '_') ? strrchr(socket, '_') + 1 : "");
	ck_assert_str_eq(run.err, cases[_i].clash == NONE ? "" : want);
	ck_assert_int_eq(run.result, cases[_i].clash == NONE ? 0 : CONFIG_E_USAGE);
}
END_TEST

/* ---- text alone ---- */

static int look_nowhere(const char *path, struct stat *st)
{
	(void)path, (void)st;
	errno = ENOENT;
	return -1;
}

static const struct {
	const char *path, *rest;
} texts[] = {
	{ "s", "s" }, { "/s", "/s" }, { "//s", "/s" }, { "./s", "s" }, { "././/s", "s" },
	{ "a/s", "a/s" }, { "a//s", "a/s" }, { "a/./s", "a/s" }, { "a/../s", "s" },
	{ "a/b/../../s", "s" }, { "a/../../s", "../s" }, { "../../s", "../../s" },
	{ "/../s", "/s" }, { "/a/../../s", "/s" }, { "/a/b/..", "/a" }, { "a/..", "" },
	{ "..", ".." }, { ".", "" }, { "/", "/" }, { "///", "/" }, { "s/", "s" },
	{ "a/...", "a/..." }, { "..a/s", "..a/s" }, { "a/..s", "a/..s" },
	{ "../a/../../s", "../../s" },
};

START_TEST(clean_text)
{
	struct vm_plan vm = { .socket = strdup(texts[_i].path) };
	struct plan plan = { .vms = &vm, .n_vms = 1 };

	ck_assert_int_eq(place_find_all(&plan, look_nowhere), 0);
	ck_assert(!vm.socket_at.is_found);
	ck_assert_str_eq(vm.socket_at.rest, texts[_i].rest);
	ck_assert_ptr_null(vm.uds_at.rest);
	free(vm.socket_at.rest);
	free(vm.socket);
}
END_TEST

/* A folder that is closed to us, or a disk that fails, is no folder that is not there. */
static int look_in_vain(const char *path, struct stat *st)
{
	if (strcmp(path, "/") == 0)
		return stat(path, st);
	errno = strstr(path, "none") ? ENOENT : EACCES;
	return -1;
}

static const struct {
	const char *path;
	int error;
} closed[] = { { "/s", 0 }, { "/none/s", 0 }, { "/a/s", -EACCES }, { "/a/none/s", -EACCES } };

START_TEST(closed_folder)
{
	char path[32];
	struct vm_plan vm = { .uds_path = strcpy(path, closed[_i].path) };
	struct plan plan = { .vms = &vm, .n_vms = 1 };

	ck_assert_int_eq(place_find_all(&plan, look_in_vain), 0);
	ck_assert(vm.uds_at.is_found);
	ck_assert_str_eq(vm.uds_at.rest, path + 1);
	ck_assert_int_eq(vm.uds_at.error, closed[_i].error);
	free(vm.uds_at.rest);
}
END_TEST

void add_place_cases(Suite *suite);

void add_place_cases(Suite *suite)
{
	TCase *tc = tcase_create("places");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, spellings, 0, COUNT(cases));
	tcase_add_loop_test(tc, clean_text, 0, COUNT(texts));
	tcase_add_loop_test(tc, closed_folder, 0, COUNT(closed));
	suite_add_tcase(suite, tc);
}
