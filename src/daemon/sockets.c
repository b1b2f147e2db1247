/* SPDX-License-Identifier: BSD-3-Clause */
/* The listening sockets of one VM. */
#include "daemon/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "config/plan.h"
#include "daemon/fd_store.h"
#include "protocol/hybrid.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/unix_socket.h"

#define SEQPACKET	"seqpacket"		/* as key, and as role */

void vm_sockets_init(struct vm_sockets *s)
{
	listener_init(&s->vhost);
	listener_init(&s->uds);
	listener_init(&s->seqpacket);
	s->vhost_error = s->uds_error = s->seqpacket_error = 0;
}

struct listener_access sockets_access(const struct plan *plan, const struct socket_plan *socket)
{
	return (struct listener_access){
		.mode = socket->mode,
		.uid = plan->uid,
		.gid = socket->gid != (gid_t)-1 ? socket->gid : plan->gid,
	};
}

struct folders sockets_api_folders(const struct plan *plan)
{
	static char *const none[1];		/* without paths it would be anywhere */

	return plan->n_api_folders ?
		(struct folders){ plan->api_folders, plan->n_api_folders } :
		(struct folders){ none, 0 };
}

struct folders vm_sockets_within(const struct plan *plan, const struct vm_plan *vm)
{
	return vm->is_by_api ? sockets_api_folders(plan) : (struct folders){ .n = 0 };
}

void vm_sockets_confine(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm)
{
	s->vhost.within = s->uds.within = s->seqpacket.within = vm_sockets_within(plan, vm);
}

static struct listener_access vm_access(const struct plan *plan, const struct vm_plan *vm,
					const struct socket_plan *socket)
{
	struct listener_access access = sockets_access(plan, socket);

	access.within = vm_sockets_within(plan, vm);
	return access;
}

/* The path as the reason why the VM cannot be served. */
static void log_unopened(const struct plan *plan, const struct vm_plan *vm, const char *key,
			 const char *path, int error)
{
	const struct folders within = vm_sockets_within(plan, vm);
	char why[LISTENER_TEXT_MAX];

	listener_explain(path, &within, error, why);
	log_err("main", "vm %llu: %s %s: %s", (unsigned long long)vm->guest_cid, key, path, why);
}

static const char *role_of(const char *key)
{
	return strcmp(key, "uds-path") == 0 ? "uds" : key;
}

/* One that listens at @path already: a supervisor before us made it. */
static bool restore_one(struct listener *l, const struct vm_plan *vm, const char *key,
			const char *path)
{
	int fd = fd_store_take(vm->guest_cid, role_of(key));
	struct sockaddr_un at = { .sun_path = "" };
	socklen_t len = sizeof at - 1;
	char *copy = NULL;
	struct stat st;

	if (fd < 0)
		return false;
	if (getsockname(fd, (struct sockaddr *)&at, &len) == 0 && strcmp(at.sun_path, path) == 0 &&
	    lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (copy = strdup(path))) {
		listener_restore(l, fd, copy, st.st_dev, st.st_ino);
		return true;
	}
	fd_close(&fd);
	return false;
}

/* @path NULL: there is nothing to make. A socket that was passed to us has no name of ours;
 * one that listens stays open where it is, for VMs that come later. */
static int open_one(struct listener *l, const struct plan *plan, const struct vm_plan *vm,
		    const char *key, const char *path, const struct socket_plan *socket)
{
	struct listener_access access = vm_access(plan, vm, socket);
	int r;

	if (socket->fd >= 0 && socket->fd_listens) {
		l->fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 3);
		return l->fd < 0 ? error_last() : 0;
	}
	if (socket->fd >= 0) {
		l->fd = socket->fd;
		return 0;
	}
	if (!path || restore_one(l, vm, key, path))
		return 0;
	r = listener_open(l, path, SOCK_STREAM, &access);
	if (r)
		log_unopened(plan, vm, key, path, r);
	else
		fd_store_put(vm->guest_cid, role_of(key), l->fd);
	return r;
}

/* "<uds-path>_seqpacket". False: no socket has such a long name. */
static bool seqpacket_path(const struct vm_plan *vm, char path[UNIX_PATH_BYTES])
{
	return snprintf(path, UNIX_PATH_BYTES, "%s" HYBRID_SEQPACKET, vm->uds_path) <
		UNIX_PATH_BYTES;
}

/* May both be names of one file, in whatever way they are spelled? */
static bool are_same(const char *a, const char *b)
{
	char folders[2][UNIX_PATH_BYTES];
	const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
	struct stat st[2];

	if (strcmp(a, b) == 0)
		return true;
	if (strlen(a) >= UNIX_PATH_BYTES || strlen(b) >= UNIX_PATH_BYTES ||
	    strcmp(a_slash ? a_slash + 1 : a, b_slash ? b_slash + 1 : b) != 0)
		return false;
	unix_folder(folders[0], a);
	unix_folder(folders[1], b);
	return stat(folders[0], &st[0]) == 0 && stat(folders[1], &st[1]) == 0 &&
		st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino;
}

static bool wants_name(const struct vm_plan *vm, const char *path)
{
	return (vm->socket && are_same(vm->socket, path)) ||
		(vm->uds_path && are_same(vm->uds_path, path));
}

bool vm_sockets_want_seqpacket(const struct vm_sockets *s, const struct vm_plan *vm)
{
	return vm->uds_path && s->seqpacket.fd < 0;
}

static bool is_such_name(const char *path)
{
	const size_t n = sizeof HYBRID_SEQPACKET - 1;
	size_t len = path ? strlen(path) : 0;

	return len >= n && memcmp(path + len - n, HYBRID_SEQPACKET, n) == 0;
}

bool vm_sockets_seqpacket_is_wanted(const struct vm_plan *vm, const struct vm_plan *other)
{
	char path[UNIX_PATH_BYTES];

	/* Hardly any has such a name, and all are compared with all. */
	return (is_such_name(other->socket) || is_such_name(other->uds_path)) && vm->uds_path &&
		seqpacket_path(vm, path) && wants_name(other, path);
}

bool vm_sockets_open_seqpacket(struct vm_sockets *s, const struct plan *plan,
			       const struct vm_plan *vm, bool is_wanted)
{
	struct listener_access access = vm_access(plan, vm, &vm->uds_socket);
	char path[UNIX_PATH_BYTES], why[LISTENER_TEXT_MAX];
	int r;

	if (!seqpacket_path(vm, path))
		r = LISTENER_E_NAME_LENGTH;
	else if (is_wanted)
		r = LISTENER_E_BUSY;
	else if (restore_one(&s->seqpacket, vm, SEQPACKET, path))
		r = 0;
	else
		r = listener_open(&s->seqpacket, path, SOCK_SEQPACKET, &access);
	if (!r) {
		fd_store_put(vm->guest_cid, SEQPACKET, s->seqpacket.fd);
	} else if (r != s->seqpacket_error) {
		/* The folder of a service manager's socket need not be ours to write to. */
		listener_explain(path, &access.within, r, why);
		log_at(vm->uds_socket.fd < 0 ? LEVEL_WARN : LEVEL_INFO, "main",
		       "vm %llu: host programs have no SOCK_SEQPACKET socket to connect to: "
		       "%s" HYBRID_SEQPACKET ": %s", (unsigned long long)vm->guest_cid,
		       vm->uds_path, is_wanted ? "another VM is to listen there" : why);
	}
	s->seqpacket_error = r;
	return !r;
}

static void close_seqpacket(struct vm_sockets *s, const struct vm_plan *vm)
{
	listener_deinit(&s->seqpacket);
	fd_store_drop(vm->guest_cid, SEQPACKET);
}

void vm_sockets_yield(struct vm_sockets *s, const struct vm_plan *vm, const struct vm_plan *other)
{
	if (s->seqpacket.path && wants_name(other, s->seqpacket.path))
		close_seqpacket(s, vm);
}

/* 0 or -errno. */
static int check_folder(const char *path)
{
	char folder[UNIX_PATH_BYTES];
	struct stat st;

	if (!path || strlen(path) >= UNIX_PATH_BYTES)
		return 0;
	unix_folder(folder, path);
	if (stat(folder, &st) < 0)
		return error_last();
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

bool vm_sockets_have_folders(const struct vm_plan *vm)
{
	return (vm->vhost_socket.fd >= 0 || !check_folder(vm->socket)) &&
		(vm->uds_socket.fd >= 0 || !check_folder(vm->uds_path)) &&
		!check_folder(vm->connect);
}

static void log_opened(const struct vm_plan *vm)
{
	char tag[32];

	snprintf(tag, sizeof tag, "vm %llu", (unsigned long long)vm->guest_cid);
	if (vm->connect)
		log_info(tag, "connects to %s", vm->connect);
	else if (vm->vhost_socket.fd >= 0)
		log_info(tag, "%s descriptor %d",
			 vm->vhost_socket.fd_listens ? "listening on" : "connected by",
			 vm->vhost_socket.fd);
	else
		log_info(tag, "listening on %s, mode %04o", vm->socket,
			 (unsigned)vm->vhost_socket.mode);
}

int vm_sockets_open(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm)
{
	int r;

	vm_sockets_init(s);
	r = check_folder(vm->connect);
	if (r)
		log_unopened(plan, vm, "socket-connect", vm->connect, r);
	else
		r = open_one(&s->vhost, plan, vm, "socket", vm->socket, &vm->vhost_socket);
	if (!r)
		r = open_one(&s->uds, plan, vm, "uds-path", vm->uds_path, &vm->uds_socket);
	if (r) {
		vm_sockets_deinit(s);
		log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->guest_cid,
			listener_str_error(r));
	} else {
		log_opened(vm);
	}
	return r;
}

static bool lacks_name(const struct listener *l)
{
	return l->path && !listener_has_name(l);
}

/* What somebody else has put there is theirs, as long as it is there. */
static bool is_held_by_others(const struct listener *l, int error)
{
	struct stat st;

	return error > 0 && error != LISTENER_E_OUTSIDE &&
		(lstat(l->path, &st) == 0 || errno != ENOENT);
}

static bool may_come_back(const struct listener *l, int error)
{
	return lacks_name(l) && !is_held_by_others(l, error);
}

bool vm_sockets_lack_name(const struct vm_sockets *s)
{
	return may_come_back(&s->vhost, s->vhost_error) ||
		may_come_back(&s->uds, s->uds_error) ||
		may_come_back(&s->seqpacket, s->seqpacket_error);
}

/* The old one serves whoever has connected to it, until it is closed. */
static int renew_one(struct listener *l, int type, const struct listener_access *access,
		     bool *is_new)
{
	struct listener fresh;
	int r;

	if (!lacks_name(l))
		return 0;
	r = listener_open(&fresh, l->path, type, access);
	if (r)
		return r;
	listener_deinit(l);
	listener_move(l, &fresh);
	*is_new = true;
	return 0;
}

static int renew_logged(struct listener *l, const struct plan *plan, const struct vm_plan *vm,
			const char *key, const struct socket_plan *socket, int *error,
			bool *is_new)
{
	bool is_there = false;
	char tag[32];
	int type = strcmp(key, SEQPACKET) == 0 ? SOCK_SEQPACKET : SOCK_STREAM;
	const struct listener_access access = vm_access(plan, vm, socket);
	int r = renew_one(l, type, &access, &is_there);

	if (r && r != *error)
		log_unopened(plan, vm, key, l->path, r);
	if (is_there) {
		snprintf(tag, sizeof tag, "vm %llu", (unsigned long long)vm->guest_cid);
		log_info(tag, "%s %s had lost its name, and is there again", key, l->path);
		fd_store_put(vm->guest_cid, role_of(key), l->fd);
		*is_new = true;
	}
	*error = r;
	return r;
}

int vm_sockets_renew(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm,
		     bool *is_new)
{
	int uds = renew_logged(&s->uds, plan, vm, "uds-path", &vm->uds_socket, &s->uds_error,
			       is_new);
	int vhost = renew_logged(&s->vhost, plan, vm, "socket", &vm->vhost_socket,
				 &s->vhost_error, is_new);

	int seqpacket = renew_logged(&s->seqpacket, plan, vm, SEQPACKET, &vm->uds_socket,
				     &s->seqpacket_error, is_new);

	if (vhost < 0 || uds < 0)
		return vhost < 0 ? vhost : uds;
	return vhost ? vhost : uds ? uds : seqpacket;
}

void vm_sockets_release_uds(struct vm_sockets *s)
{
	if (s->uds.path)
		listener_deinit(&s->uds);
	listener_deinit(&s->seqpacket);
}

/* Where nothing but the mode is another, the name has to go first, and comes back at once. */
int vm_sockets_move_uds(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *now,
			const struct vm_plan *next)
{
	bool has_moved = now->uds_path && next->uds_path &&
		strcmp(now->uds_path, next->uds_path) != 0;
	bool has_mode = now->uds_socket.mode == next->uds_socket.mode &&
		now->uds_socket.gid == next->uds_socket.gid;
	bool is_passed = next->uds_socket.fd >= 0;
	struct listener fresh;
	int r;

	if (!next->uds_path || (now->uds_socket.fd == next->uds_socket.fd &&
				(is_passed || (!has_moved && has_mode))))
		return 0;
	listener_init(&fresh);
	if (!has_moved)
		listener_deinit(&s->uds);
	r = open_one(&fresh, plan, next, "uds-path", next->uds_path, &next->uds_socket);
	if (r && has_moved && s->uds.fd >= 0)
		return r;
	if (r && has_moved)			/* back to where it was */
		open_one(&fresh, plan, now, "uds-path", now->uds_path, &now->uds_socket);
	listener_deinit(&s->uds);
	listener_move(&s->uds, &fresh);
	close_seqpacket(s, now);
	s->uds_error = s->seqpacket_error = 0;
	return r;
}

void vm_sockets_deinit(struct vm_sockets *s)
{
	listener_deinit(&s->vhost);
	listener_deinit(&s->uds);
	listener_deinit(&s->seqpacket);
}

void vm_sockets_explain(const struct plan *plan, const struct vm_plan *vm, int error)
{
	if (vm->connect)
		log_unopened(plan, vm, "socket-connect", vm->connect, error);
	else if (vm->socket)
		log_unopened(plan, vm, "socket", vm->socket, error);
	else
		log_err("main", "vm %llu: the socket that was passed: %s",
			(unsigned long long)vm->guest_cid, listener_str_error(error));
}
