/* SPDX-License-Identifier: BSD-3-Clause */
/* The listening sockets of one VM, above all "<uds-path>_seqpacket", without which it is served as
 * well: where it is made, and what becomes of it. */
#include "daemon/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/plan.h"
#include "daemon/fd_store.h"
#include "daemon/held_vm.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/fd.h"
#include "util/socket_kind.h"
#include "util/unix_socket.h"

enum { NONE = 0 };				/* no socket */

static struct vm_sockets sockets;
static struct plan plan;
static struct vm_plan vm, next;
static char folder[64];
static int fds_before;

/* Of the folder; used at once. */
static char *path_of(const char *name)
{
	static char paths[8][128];
	static unsigned n;
	char *path = paths[n++ % 8];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static void plan_vm(struct vm_plan *row, const char *uds, mode_t mode)
{
	vm_plan_init(row);
	row->guest_cid = 3;
	row->socket = strdup(path_of("vhost"));
	row->uds_path = strdup(path_of(uds));
	row->vhost_socket.mode = 0600;
	row->uds_socket.mode = mode;
}

static void setup(void)
{
	fds_before = unit_count_fds();
	snprintf(folder, sizeof folder, "%s/%d", scratch_path(), (int)getpid());
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	plan_init(&plan);
	vm_sockets_init(&sockets);
	plan_vm(&vm, "uds", 0600);
	plan_vm(&next, "uds", 0600);
}

static void teardown(void)
{
	vm_sockets_deinit(&sockets);
	ck_assert_int_eq(unit_count_fds(), fds_before);
	free(vm.socket);
	free(vm.uds_path);
	free(next.socket);
	free(next.uds_path);
}

/* The type of the socket that somebody listens at there, or NONE. */
static int type_at(const char *name)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	int found = NONE;

	for (size_t i = 0; i < COUNT(types); i++) {
		int fd;

		ck_assert_int_eq(unix_socket(&fd, types[i]), 0);
		if (unix_connect(fd, path_of(name)) == 0)
			found = types[i];
		fd_close(&fd);
	}
	return found;
}

static bool is_there(const char *name)
{
	struct stat st;

	return lstat(path_of(name), &st) == 0;
}

static mode_t mode_at(const char *name)
{
	struct stat st;

	ck_assert_int_eq(lstat(path_of(name), &st), 0);
	return st.st_mode & 0777;
}

static void make_file(const char *name)
{
	int fd = open(path_of(name), O_CREAT | O_WRONLY, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

/* What comes once all VMs have their own. */
static void complete(struct vm_sockets *s, const struct vm_plan *row)
{
	if (vm_sockets_want_seqpacket(s, row))
		vm_sockets_open_seqpacket(s, &plan, row, false);
}

static int open_all(void)
{
	int r = vm_sockets_open(&sockets, &plan, &vm);

	if (!r)
		complete(&sockets, &vm);
	return r;
}

START_TEST(all_of_them)
{
	vm.uds_socket.mode = 0620;
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(type_at("vhost"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
	ck_assert_uint_eq(mode_at("vhost"), 0600);
	ck_assert_uint_eq(mode_at("uds"), 0620);
	ck_assert_uint_eq(mode_at("uds_seqpacket"), 0620);
	ck_assert(!vm_sockets_lack_name(&sockets));
	vm_sockets_deinit(&sockets);
	ck_assert(!is_there("vhost") && !is_there("uds") && !is_there("uds_seqpacket"));
}
END_TEST

START_TEST(none_where_there_is_no_uds)
{
	free(vm.uds_path);
	vm.uds_path = NULL;
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(sockets.seqpacket.fd, -1);
	ck_assert(!is_there("uds_seqpacket"));
}
END_TEST

/* Who has passed the one, has not made the other. */
START_TEST(made_where_the_first_was_passed)
{
	int fd;

	ck_assert_int_eq(unix_socket(&fd, SOCK_STREAM), 0);
	vm.uds_socket.fd = fd;
	vm.uds_socket.fd_listens = true;
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_ge(sockets.uds.fd, 0);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
	ck_assert_int_eq(type_at("uds"), NONE);
	fd_close(&fd);
}
END_TEST

/* A name for the uds-path of @len bytes. */
static char *long_path(size_t len)
{
	char *path = malloc(len + 1);
	size_t n = strlen(folder);

	ck_assert_ptr_nonnull(path);
	memcpy(path, folder, n);
	path[n] = '/';
	memset(path + n + 1, 'x', len - n - 1);
	path[len] = '\0';
	return path;
}

/* _i: one byte too long, or just not: of a socket's name 107 bytes are ours. */
START_TEST(name_too_long)
{
	size_t longest = UNIX_PATH_BYTES - 1 - strlen("_seqpacket");

	free(vm.uds_path);
	vm.uds_path = long_path(longest + !_i);
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_ge(sockets.vhost.fd, 0);
	ck_assert_int_ge(sockets.uds.fd, 0);
	ck_assert_int_eq(sockets.seqpacket.fd >= 0, _i);
	ck_assert(!vm_sockets_lack_name(&sockets));
}
END_TEST

START_TEST(file_in_the_way)
{
	make_file("uds_seqpacket");
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(sockets.seqpacket.fd, -1);
	vm_sockets_deinit(&sockets);
	ck_assert(is_there("uds_seqpacket"));	/* it is another's */
}
END_TEST

/* _i: of the type that we would have made, or of the other. */
START_TEST(somebody_listens_there)
{
	struct listener_access access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int type = _i ? SOCK_STREAM : SOCK_SEQPACKET;
	struct listener other;

	ck_assert_int_eq(listener_open(&other, path_of("uds_seqpacket"), type, &access), 0);
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(sockets.seqpacket.fd, -1);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds_seqpacket"), type);
	ck_assert(listener_has_name(&other));
	listener_deinit(&other);
}
END_TEST

/* What a process that was killed has left. */
START_TEST(stale_name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path_of("uds_seqpacket"));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	fd_close(&fd);
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
}
END_TEST

/* The VM itself cannot be served: then there is none of this, either. */
START_TEST(uds_cannot_be_had)
{
	make_file("uds");
	ck_assert_int_eq(open_all(), LISTENER_E_OTHER_FILE);
	ck_assert(!is_there("uds_seqpacket") && !is_there("vhost"));
}
END_TEST

/* What another program could not have, or did not know. _i: it knew and had it. */
START_TEST(completed)
{
	int before;

	if (!_i)
		make_file("uds_seqpacket");
	ck_assert_int_eq(open_all(), 0);
	before = sockets.seqpacket.fd;
	complete(&sockets, &vm);
	ck_assert_int_eq(sockets.seqpacket.fd, before);
	if (_i)
		return;
	unlink(path_of("uds_seqpacket"));
	complete(&sockets, &vm);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
}
END_TEST

static int renew(bool *is_new)
{
	*is_new = false;
	return vm_sockets_renew(&sockets, &plan, &vm, is_new);
}

/* _i: it alone has lost its name, or all have. */
START_TEST(renewed)
{
	bool is_new;

	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(renew(&is_new), 0);
	ck_assert(!is_new);
	unlink(path_of("uds_seqpacket"));
	if (_i) {
		unlink(path_of("uds"));
		unlink(path_of("vhost"));
	}
	ck_assert(vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(renew(&is_new), 0);
	ck_assert(is_new);
	ck_assert(!vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(type_at("vhost"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
	ck_assert_int_eq(socket_option(sockets.seqpacket.fd, SO_TYPE), SOCK_SEQPACKET);
}
END_TEST

/* Another has it now: no reason to look again and again, nor to touch the others. */
START_TEST(name_is_taken)
{
	bool is_new;

	ck_assert_int_eq(open_all(), 0);
	unlink(path_of("uds_seqpacket"));
	make_file("uds_seqpacket");
	ck_assert(vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(renew(&is_new), LISTENER_E_OTHER_FILE);
	ck_assert(!is_new);
	ck_assert(!vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	unlink(path_of("uds"));			/* this one still counts */
	ck_assert(vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(renew(&is_new), LISTENER_E_OTHER_FILE);
	ck_assert(is_new);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	unlink(path_of("uds_seqpacket"));	/* what was in the way has gone, maybe unseen */
	ck_assert(vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(renew(&is_new), 0);
	ck_assert(!vm_sockets_lack_name(&sockets));
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
}
END_TEST

/* Names are there, but the way to them leads out of the folders: until it is another one again. */
START_TEST(folder_leads_away)
{
	char below[128], moved[128], *only[] = { below };
	bool is_new;

	snprintf(below, sizeof below, "%s", path_of("below"));
	snprintf(moved, sizeof moved, "%s", path_of("moved"));
	ck_assert_int_eq(mkdir(below, 0700), 0);
	plan.api_folders = only;
	plan.n_api_folders = 1;
	vm.is_by_api = true;
	free(vm.socket);
	free(vm.uds_path);
	vm.socket = strdup(path_of("below/vhost"));
	vm.uds_path = strdup(path_of("below/uds"));
	ck_assert_int_eq(open_all(), 0);
	ck_assert(rename(below, moved) == 0 && symlink(moved, below) == 0);
	ck_assert_int_eq(renew(&is_new), LISTENER_E_OUTSIDE);
	ck_assert(!is_new && vm_sockets_lack_name(&sockets));
	ck_assert(unlink(below) == 0 && rename(moved, below) == 0);
	ck_assert(!vm_sockets_lack_name(&sockets));
	vm_sockets_deinit(&sockets);
}
END_TEST

static int move_to(const char *uds, mode_t mode)
{
	int r;

	free(next.uds_path);
	next.uds_path = *uds == '/' ? strdup(uds) : strdup(path_of(uds));
	next.uds_socket.mode = mode;
	r = vm_sockets_move_uds(&sockets, &plan, &vm, &next);
	complete(&sockets, r ? &vm : &next);
	return r;
}

START_TEST(moved)
{
	ck_assert_int_eq(open_all(), 0);
	ck_assert_int_eq(move_to("other", 0640), 0);
	ck_assert(!is_there("uds") && !is_there("uds_seqpacket"));
	ck_assert_int_eq(type_at("other"), SOCK_STREAM);
	ck_assert_int_eq(type_at("other_seqpacket"), SOCK_SEQPACKET);
	ck_assert_uint_eq(mode_at("other_seqpacket"), 0640);
	ck_assert(!vm_sockets_lack_name(&sockets));
}
END_TEST

/* _i: nothing but the mode, or nothing at all. */
START_TEST(another_mode)
{
	int before;

	ck_assert_int_eq(open_all(), 0);
	before = sockets.seqpacket.fd;
	ck_assert_int_eq(move_to("uds", _i ? 0600 : 0640), 0);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
	ck_assert_uint_eq(mode_at("uds"), _i ? 0600 : 0640);
	ck_assert_uint_eq(mode_at("uds_seqpacket"), _i ? 0600 : 0640);
	if (_i)
		ck_assert_int_eq(sockets.seqpacket.fd, before);
}
END_TEST

/* The VM's own has moved: that this one cannot is no reason to stay. */
START_TEST(moved_without_it)
{
	ck_assert_int_eq(open_all(), 0);
	make_file("other_seqpacket");
	ck_assert_int_eq(move_to("other", 0600), 0);
	ck_assert_int_eq(type_at("other"), SOCK_STREAM);
	ck_assert_int_eq(sockets.seqpacket.fd, -1);
	ck_assert(!is_there("uds_seqpacket"));
	ck_assert(is_there("other_seqpacket"));
}
END_TEST

/* The other way round both stay. */
START_TEST(cannot_move)
{
	ck_assert_int_eq(open_all(), 0);
	make_file("other");
	ck_assert_int_eq(move_to("other", 0600), LISTENER_E_OTHER_FILE);
	ck_assert_int_eq(type_at("uds"), SOCK_STREAM);
	ck_assert_int_eq(type_at("uds_seqpacket"), SOCK_SEQPACKET);
	ck_assert(!is_there("other_seqpacket"));
	ck_assert(!vm_sockets_lack_name(&sockets));
}
END_TEST

/* Another VM is to have the names; where ours then cannot move, it takes them back. */
START_TEST(released)
{
	ck_assert_int_eq(open_all(), 0);
	vm_sockets_release_uds(&sockets);
	ck_assert(!is_there("uds") && !is_there("uds_seqpacket"));
	if (_i)
		make_file("other");
	ck_assert_int_eq(move_to("other", 0600), _i ? LISTENER_E_OTHER_FILE : 0);
	ck_assert_int_eq(type_at(_i ? "uds" : "other"), SOCK_STREAM);
	ck_assert_int_eq(type_at(_i ? "uds_seqpacket" : "other_seqpacket"), SOCK_SEQPACKET);
	ck_assert_int_eq(type_at(_i ? "other_seqpacket" : "uds_seqpacket"), NONE);
}
END_TEST

/* ---- what a service manager keeps of them ---- */

static int manager[2];				/* [0]: its socket, as we have it */

static void have_manager(void)
{
	ck_assert_int_eq(setenv("FDSTORE", "16", 1), 0);
	fd_store_init();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, manager), 0);
}

/* It hears @what, a message, of the socket @name: among all that is due. */
static bool hears_of(const char *what, const char *name)
{
	char text[200], wanted[100];
	bool has_heard = false;
	ssize_t n;

	snprintf(wanted, sizeof wanted, "%s=1\nFDNAME=vdv-3-%s\n", what, name);
	ck_assert_int_eq(fd_store_send(manager[0]), 0);
	while ((n = recv(manager[1], text, sizeof text - 1, MSG_DONTWAIT)) > 0) {
		text[n] = '\0';
		has_heard |= strcmp(text, wanted) == 0;
	}
	return has_heard;
}

static void leave_manager(void)
{
	fd_store_end(manager[0], 1000);
	fd_close(&manager[0]);
	fd_close(&manager[1]);
}

/* _i: is made beside the uds-path, is moved, or is not there after a move. */
START_TEST(kept)
{
	have_manager();
	ck_assert_int_eq(open_all(), 0);
	ck_assert(hears_of("FDSTORE", "seqpacket"));
	if (_i == 1) {
		ck_assert_int_eq(move_to("other", 0600), 0);
		ck_assert(hears_of("FDSTORE", "seqpacket"));
	} else if (_i == 2) {
		make_file("other_seqpacket");
		ck_assert_int_eq(move_to("other", 0600), 0);
		ck_assert(hears_of("FDSTOREREMOVE", "seqpacket"));
	}
	leave_manager();
}
END_TEST

/* Of a VM that is gone nothing is kept: who waits in a backlog reads an end. */
START_TEST(kept_no_longer)
{
	static const char *const names[] = { "socket", "uds", "seqpacket" };
	struct held_vm *held;
	char got;
	int fd;

	have_manager();
	held = held_vm_new(&vm);
	ck_assert_ptr_nonnull(held);
	ck_assert_int_eq(vm_sockets_open(&held->sockets, &plan, &held->plan), 0);
	complete(&held->sockets, &held->plan);
	ck_assert_int_eq(unix_socket(&fd, SOCK_SEQPACKET), 0);
	ck_assert_int_eq(unix_connect(fd, path_of("uds_seqpacket")), 0);
	ck_assert(hears_of("FDSTORE", names[_i]));
	held_vm_close(held);
	ck_assert(hears_of("FDSTOREREMOVE", names[_i]));
	ck_assert_int_le(recv(fd, &got, 1, MSG_DONTWAIT), 0);
	ck_assert_int_ne(errno, EAGAIN);
	fd_close(&fd);
	held_vm_free(held);
	leave_manager();
}
END_TEST

/* What the API has added is nowhere, where no folder has been named; others are anywhere. */
START_TEST(nowhere_without_a_folder)
{
	vm.is_by_api = true;
	ck_assert_int_eq(open_all(), LISTENER_E_OUTSIDE);
	ck_assert(!is_there("vhost") && !is_there("uds"));
	vm.is_by_api = false;
	ck_assert_int_eq(open_all(), 0);
	vm.is_by_api = true;			/* after an upgrade */
	vm_sockets_confine(&sockets, &plan, &vm);
	ck_assert(vm_sockets_lack_name(&sockets));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sockets");
	TCase *tc = tcase_create("sockets");
	int status;

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, all_of_them);
	tcase_add_test(tc, none_where_there_is_no_uds);
	tcase_add_test(tc, made_where_the_first_was_passed);
	tcase_add_loop_test(tc, name_too_long, 0, 2);
	tcase_add_test(tc, file_in_the_way);
	tcase_add_loop_test(tc, somebody_listens_there, 0, 2);
	tcase_add_test(tc, stale_name);
	tcase_add_test(tc, uds_cannot_be_had);
	tcase_add_loop_test(tc, completed, 0, 2);
	tcase_add_loop_test(tc, renewed, 0, 2);
	tcase_add_test(tc, name_is_taken);
	tcase_add_test(tc, folder_leads_away);
	tcase_add_test(tc, moved);
	tcase_add_loop_test(tc, another_mode, 0, 2);
	tcase_add_test(tc, moved_without_it);
	tcase_add_test(tc, cannot_move);
	tcase_add_loop_test(tc, released, 0, 2);
	tcase_add_loop_test(tc, kept, 0, 3);
	tcase_add_loop_test(tc, kept_no_longer, 0, 3);
	tcase_add_test(tc, nowhere_without_a_folder);
	suite_add_tcase(suite, tc);
	status = unit_main(suite);
	scratch_end();
	return status;
}
