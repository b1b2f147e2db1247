/* SPDX-License-Identifier: BSD-3-Clause */
/* The control API's options, and the VMs that it may add. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/api.h"
#include "config/error.h"
#include "config/finish.h"
#include "config/keys.h"
#include "config/options.h"
#include "config/place.h"
#include "config/plan.h"
#include "support/scratch.h"
#include "unit.h"

static struct config_error err;
static struct plan plan;

static void setup(void)
{
	err = (struct config_error){ "" };
	plan_init(&plan);
}

static void teardown(void)
{
	plan_deinit(&plan);
}

/* ---- options ---- */

static const struct {
	const char *value;
	const char *error;			/* a part of it; NULL: it is right */
	const char *path;
	mode_t mode;
	int fd;
} sockets[] = {
	{ "/run/api", NULL, "/run/api", SOCKET_MODE_UNSET, -1 },
	{ "path=/run/api", NULL, "/run/api", SOCKET_MODE_UNSET, -1 },
	{ "path=/run/api,mode=0660", NULL, "/run/api", 0660, -1 },
	{ "mode=660,path=api", NULL, "api", 0660, -1 },
	{ "fd=3", NULL, NULL, SOCKET_MODE_UNSET, 3 },
	{ "fd=2", "fd: ", NULL, 0, -1 },
	{ "fd=x", "fd: ", NULL, 0, -1 },
	{ "fd=3,mode=0660", "nothing else", NULL, 0, -1 },
	{ "fd=3,path=/x", "nothing else", NULL, 0, -1 },
	{ "mode=0660", "is missing", NULL, 0, -1 },
	{ "path=/x,path=/y", "given twice", NULL, 0, -1 },
	{ "path=/x,mode=8", "mode: ", NULL, 0, -1 },
	{ "path=/x,", "is none of", NULL, 0, -1 },
	{ "path=", "empty value", NULL, 0, -1 },
	{ "port=7", "is none of", NULL, 0, -1 },
	{ "path=/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "at most 107", NULL, 0, -1 },
};

static int parse(const char *option, const char *value)
{
	char program[] = "x", *words[] = { program, strdup(option), strdup(value), NULL };
	struct options o;
	int r = options_parse(&o, &plan, 3, words, &err);

	free(words[1]);
	free(words[2]);
	return r;
}

START_TEST(each_socket)
{
	int r = parse("--api-socket", sockets[_i].value);

	if (!HAVE_API) {
		ck_assert_ptr_nonnull(strstr(err.text, "built without"));
		return;
	}
	ck_assert_msg(!r == !sockets[_i].error, "%s: %s", sockets[_i].value, err.text);
	if (sockets[_i].error) {
		ck_assert_msg(strstr(err.text, sockets[_i].error), "%s", err.text);
		return;
	}
	if (sockets[_i].path)
		ck_assert_str_eq(plan.api_path, sockets[_i].path);
	else
		ck_assert_ptr_null(plan.api_path);
	ck_assert_uint_eq(plan.api_socket.mode, sockets[_i].mode);
	ck_assert_int_eq(plan.api_socket.fd, sockets[_i].fd);
	ck_assert(plan_has_api(&plan));
}
END_TEST

/* Links are followed once, at the start. */
START_TEST(folders)
{
	char link[256], target[256];

	snprintf(target, sizeof target, "%s/target", scratch_path());
	snprintf(link, sizeof link, "%s/link", scratch_path());
	ck_assert_int_eq(mkdir(target, 0700), 0);
	ck_assert_int_eq(symlink(target, link), 0);
	ck_assert_int_eq(parse("--api-folder", link), 0);
	ck_assert_int_eq(api_find_folders(&plan, &err), CONFIG_E_USAGE);
	ck_assert_str_eq(err.text, "--api-folder needs --api-socket");
	plan.api_path = strdup("/api");
	ck_assert_int_eq(api_find_folders(&plan, &err), 0);
	ck_assert_str_eq(plan.api_folders[0], target);
	rmdir(target);
	ck_assert_int_eq(api_find_folders(&plan, &err), CONFIG_E_USAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "No such file"));
	unlink(link);
}
END_TEST

/* ---- VMs ---- */

static char folder[200];			/* which is open to it */

/* A VM that is there already has 3, and "folder/3". */
static void setup_folder(void)
{
	struct vm_plan *vm;
	char path[256];

	setup();
	snprintf(folder, sizeof folder, "%s/open", scratch_path());
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	snprintf(path, sizeof path, "%sx", folder);	/* which is not, though it begins so */
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/below", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/out", folder);
	ck_assert_int_eq(symlink("/", path), 0);
	plan.api_path = strdup("/api");
	plan.api_folders = calloc(1, sizeof *plan.api_folders);
	plan.api_folders[plan.n_api_folders++] = realpath(folder, NULL);
	vm = keys_add_vm(&plan, "first");
	vm->guest_cid = 3;
	snprintf(path, sizeof path, "%s/3", folder);
	vm->socket = strdup(path);
	vm->uds_path = strdup("/3.uds");
	ck_assert_int_eq(finish_plan(&plan), 0);
	ck_assert_int_eq(place_find_all(&plan, stat), 0);
}

static void teardown_folder(void)
{
	char path[256];

	snprintf(path, sizeof path, "%sx", folder);
	rmdir(path);
	snprintf(path, sizeof path, "%s/below", folder);
	rmdir(path);
	snprintf(path, sizeof path, "%s/out", folder);
	unlink(path);
	rmdir(folder);
	teardown();
}

static const struct {
	const char *row;			/* NULs as ';', the folder as '@' */
	int outcome;
	const char *error;
	bool has_vsock;
	uint64_t cid;				/* 0: 5 */
} rows[] = {
	{ "socket;@/s;uds-path;@/u;", 0, NULL, false, 0 },
	{ "socket;@/below/s;uds_path;@/below/u;groups;a+b;queue-size;64;", 0, NULL, false, 0 },
	{ "socket-connect;@/s;uds-path;@/below/../u;", 0, NULL, false, 0 },
	{ "socket;@/s;forward-cid;1;", 0, NULL, true, 0 },
	{ "socket;@/s;forward-cid;1;", API_E_DENIED, "forward-cid: ", false, 0 },
	{ "socket;@/../s;uds-path;@/u;", API_E_DENIED, "socket: not in", false, 0 },
	{ "socket;@/s;uds-path;@x/u;", API_E_DENIED, "uds-path: not in", false, 0 },
	{ "socket;@/out/s;uds-path;@/u;", API_E_DENIED, "socket: not in", false, 0 },
	{ "socket;/s;uds-path;@/u;", API_E_DENIED, "socket: not in", false, 0 },
	{ "socket;s;uds-path;@/u;", API_E_DENIED, "absolute", false, 0 },
	{ "socket-connect;/s;uds-path;@/u;", API_E_DENIED, "socket-connect: not in", false, 0 },
	{ "socket;@/none/s;uds-path;@/u;", API_E_DENIED, "/none': No such file", false, 0 },
	{ "socket;@/..;uds-path;@/u;", API_E_DENIED, "path of a socket", false, 0 },
	{ "socket;@/;uds-path;@/u;", API_E_DENIED, "path of a socket", false, 0 },
	{ "fd;7;uds-path;@/u;", API_E_DENIED, "fd: ", false, 0 },
	{ "socket;@/s;uds-path;@/u;capture;@/c;", API_E_DENIED, "capture: ", false, 0 },
	{ "socket;@/s;uds-path;@/u;capture-files;9;", API_E_DENIED, "capture-files: ", false, 0 },
	{ "guest_cid;7;socket;@/s;uds-path;@/u;", API_E_DENIED, "guest-cid: ", false, 0 },
	{ "socket;@/s;socket-group;0;uds-path;@/u;", API_E_DENIED, "socket-group: ", false, 0 },
	{ "socket;@/s;uds_group;0;uds-path;@/u;", API_E_DENIED, "uds-group: ", false, 0 },
	{ "socket;@/3;uds-path;@/u;", CONFIG_E_USAGE, "is the socket of", false, 0 },
	{ "socket;@/s;uds-path;@/s;", CONFIG_E_USAGE, "is also the", false, 0 },
	{ "socket;@/s;uds-path;@/u;", CONFIG_E_USAGE, "guest-cid: 3", false, 3 },
	{ "socket;@/s;uds-path;@/u;", CONFIG_E_USAGE, "guest-cid: 2", false, 2 },
	{ "socket;@/s;", CONFIG_E_USAGE, "missing", false, 0 },
	{ "", CONFIG_E_USAGE, "missing", false, 0 },
	{ "socket;@/s;uds-path;@/u", CONFIG_E_USAGE, "cut", false, 0 },
	{ "socket;@/s;uds-path;", CONFIG_E_USAGE, "cut", false, 0 },
	{ "nothing;1;", CONFIG_E_USAGE, "unknown key", false, 0 },
	{ ";1;", CONFIG_E_USAGE, "unknown key", false, 0 },
	{ "socket;;uds-path;@/u;", CONFIG_E_USAGE, "empty value", false, 0 },
	{ "queue-size;64;queue_size;64;", CONFIG_E_USAGE, "given twice", false, 0 },
	{ "queue-size;63;", CONFIG_E_USAGE, "power of two", false, 0 },
	{ "socket;@/s;uds-path;@/u;poll-us;1000;", 0, NULL, false, 0 },
	{ "socket;@/s;uds-path;@/u;poll-us;1001;", CONFIG_E_USAGE, "0 and 1000", false, 0 },
};

START_TEST(each_row)
{
	char row[1024];
	size_t len = 0;
	int r;

	for (const char *c = rows[_i].row; *c; c++)
		if (*c == '@')
			len += (size_t)sprintf(row + len, "%s", folder);
		else
			row[len++] = *c == ';' ? '\0' : *c;
	r = api_add_row(&plan, rows[_i].cid ? rows[_i].cid : 5, row, len, rows[_i].has_vsock, &err);
	ck_assert_msg(r == rows[_i].outcome, "%d: %s", r, err.text);
	ck_assert_msg(!rows[_i].error || strstr(err.text, rows[_i].error), "%s", err.text);
	if (r)
		return;
	ck_assert_uint_eq(plan.n_vms, 2);
	ck_assert_uint_eq(plan.vms[1].guest_cid, 5);
	ck_assert_str_eq(plan.vms[1].origin, "vm 5");
	ck_assert_uint_ge(plan.vms[1].n_groups, 1);
	ck_assert_uint_eq(plan.vms[1].vhost_socket.mode, 0600);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config_api");
	TCase *tc = tcase_create("options");
	int status;

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_socket, 0, COUNT(sockets));
	tcase_add_test(tc, folders);
	suite_add_tcase(s, tc);
	tc = tcase_create("rows");
	tcase_add_checked_fixture(tc, setup_folder, teardown_folder);
	tcase_add_loop_test(tc, each_row, 0, COUNT(rows));
	suite_add_tcase(s, tc);
	status = unit_main(s);
	scratch_end();
	return status;
}
