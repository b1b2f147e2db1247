/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names that get lost, and folders that are not there yet.
 *
 * Somebody may remove a socket's name or its folder, move them, or lead a symbolic link on
 * the way elsewhere. Then nobody can connect any more, until another socket has the name.
 * inotify tells of it, by the inodes: of the socket, which loses its name, and of all folders
 * and links on the way, which are moved or removed. The contents of folders are not watched,
 * so nobody is woken up by what others do there. What cannot be seen by this: a mount that
 * covers a folder, and links that lead to links.
 *
 * Nothing tells when a folder comes whose parents are missing, too. So what is missing is
 * looked for once a second, and all that is watched is watched anew then: what was removed
 * needs no bookkeeping. What somebody else has put in a name's place is watched as well, and
 * whether it was gone before that is looked at afterwards; a socket there that dies without
 * being removed is seen by a reload.
 */
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "config/plan.h"
#include "daemon/notify.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/unix_socket.h"

enum {
	SETTLE_MS = 200,			/* who removes a folder is to find it empty */
	RETRY_MS = 1000,
};

/* ---- what is watched ---- */

/* What is not there is missed by the look that follows. */
static int watch(const struct supervisor *s, const char *path, uint32_t events)
{
	int r = inotify_add_watch(s->folders.fd, path, events | IN_DONT_FOLLOW) < 0 ? errno : 0;

	return r == ENOSPC || r == ENOMEM ? -r : 0;
}

/* Each folder, or link, on the way to @path; not what @path itself is. */
static int watch_way(const struct supervisor *s, const char *path)
{
	char way[PATH_MAX];
	int r = 0;

	if (strlen(path) >= sizeof way)
		return 0;
	for (const char *slash = strchr(path, '/'); !r && slash; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - path);

		memcpy(way, path, len);
		way[len] = '\0';
		if (len)
			r = watch(s, way, IN_MOVE_SELF | IN_DELETE_SELF);
	}
	return r;
}

static int watch_name(const struct supervisor *s, const struct listener *l)
{
	char folder[UNIX_PATH_BYTES], *real;
	int r;

	if (!l->path)
		return 0;
	r = watch(s, l->path, IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF);
	if (!r)
		r = watch_way(s, l->path);
	unix_folder(folder, l->path);
	real = realpath(folder, NULL);
	if (!r && real)
		r = watch_way(s, real);
	if (!r && real)
		r = watch(s, real, IN_MOVE_SELF | IN_DELETE_SELF);
	free(real);
	return r;
}

static int watch_all(struct supervisor *s)
{
	int r = 0;

	loop_remove(s->loop, &s->folders.source);
	fd_close(&s->folders.fd);
	s->folders.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->folders.fd < 0)
		return error_last();
	for (size_t i = 0; !r && i < s->n_vms; i++) {
		const struct held_vm *h = s->vms[i];

		if (!h->is_served)
			continue;
		r = watch_name(s, &h->sockets.vhost);
		if (!r)
			r = watch_name(s, &h->sockets.uds);
		if (!r)
			r = watch_name(s, &h->sockets.seqpacket);
	}
	return r ? r : loop_add(s->loop, &s->folders.source, s->folders.fd, EPOLLIN);
}

/* ---- what is missing ---- */

/* True: it has to be tried again. */
static bool renew(struct supervisor *s, struct held_vm *h)
{
	bool is_new = false;

	vm_sockets_renew(&h->sockets, s->plan, &h->plan, &is_new);
	if (is_new)
		supervisor_tell_vm(s, h);
	return vm_sockets_lack_name(&h->sockets);
}

/* As renew(). */
static bool try_to_serve(struct supervisor *s, struct held_vm *h)
{
	if (!vm_sockets_have_folders(&h->plan))
		return true;
	h->awaits_folder = false;
	supervisor_yield_names(s, &h->plan);
	if (vm_sockets_open(&h->sockets, s->plan, &h->plan)) {
		h->awaits_folder = !vm_sockets_have_folders(&h->plan);
		return h->awaits_folder;
	}
	h->is_served = true;
	supervisor_on_served(s, h);
	notify_reloaded(supervisor_count_served(s));
	supervisor_tell_vm(s, h);
	supervisor_open_seqpackets(s);
	return false;
}

static void look(struct supervisor *s)
{
	bool is_missing = false;

	for (size_t i = 0; i < s->n_vms; i++) {
		struct held_vm *h = s->vms[i];

		if (h->is_served)
			is_missing |= renew(s, h);
		else if (h->awaits_folder)
			is_missing |= try_to_serve(s, h);
	}
	if (is_missing)
		loop_timer_set(s->loop, &s->folders.timer, clock_ms() + RETRY_MS);
}

/* What goes between the look and the watch is seen by another look. */
static void on_timer(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, folders.timer);

	if (s->is_upgrading) {			/* the engine is what it was told to be */
		loop_timer_set(s->loop, timer, clock_ms() + RETRY_MS);
		return;
	}
	look(s);
	supervisor_watch_folders(s);
}

static void look_soon(struct supervisor *s)
{
	if (s->state != SUPERVISOR_ENDING && !s->folders.timer.is_set)
		loop_timer_set(s->loop, &s->folders.timer, clock_ms() + SETTLE_MS);
}

static void on_event(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, folders.source);
	char seen[4096];

	(void)events;
	while (read(source->fd, seen, sizeof seen) > 0)
		;
	look_soon(s);
}

/* ---- for the other files ---- */

static bool is_any_missing(const struct supervisor *s)
{
	for (size_t i = 0; i < s->n_vms; i++) {
		const struct held_vm *h = s->vms[i];

		if (h->is_served ? vm_sockets_lack_name(&h->sockets) : h->awaits_folder)
			return true;
	}
	return false;
}

void supervisor_watch_folders(struct supervisor *s)
{
	int r = watch_all(s);

	if (r && !s->folders.has_failed)
		log_warn("main", "names of sockets that somebody removes do not come back: %s",
			 error_str(r));
	s->folders.has_failed = r;
	if (is_any_missing(s))
		look_soon(s);
}

void supervisor_look_for_names(struct supervisor *s)
{
	look_soon(s);
}

void supervisor_folders_init(struct supervisor *s)
{
	s->folders.fd = -1;
	s->folders.source = (struct loop_source){ .dispatch = on_event, .fd = -1 };
	s->folders.timer.expire = on_timer;
}

void supervisor_folders_deinit(struct supervisor *s)
{
	if (s->loop) {
		loop_timer_cancel(s->loop, &s->folders.timer);
		loop_remove(s->loop, &s->folders.source);
	}
	fd_close(&s->folders.fd);
}
