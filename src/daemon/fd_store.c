/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that a service manager keeps for us. */
#include "daemon/fd_store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/closer.h"
#include "util/env.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/list.h"
#include "util/log.h"

enum { LISTEN_FDS_START = 3, LISTEN_FDS_MAX = 1 << 16, NAME_BYTES = 48 };

/* A name, and what the manager has to hear of it. A name that it knows is removed before it is
 * put again, for it keeps several of one. */
struct entry {
	struct list node;			/* of all */
	struct list due;			/* of what is to be sent, in order */
	char name[NAME_BYTES];
	int fd;					/* owned: to be sent, or to be taken; or -1 */
	bool is_known;				/* to the manager, once it has heard all so far */
	bool is_removed;			/* to be removed, first */
	bool has_come;				/* from the manager, and was not taken yet */
};

/* As long as there is a process. */
static struct {
	pthread_mutex_t lock;			/* of all the rest */
	struct list all, due;
	uint64_t max, n;			/* names at a time; 0: there is no store */
	bool was_filled;			/* a program before us has put names, and which ones is
						   not known */
	bool is_full;				/* and that was logged */
	void (*wake)(void);			/* who sends; NULL: nobody yet */
} store = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.all = { &store.all, &store.all }, .due = { &store.due, &store.due },
};

static void name_of(char name[NAME_BYTES], uint64_t cid, const char *what)
{
	snprintf(name, NAME_BYTES, FD_STORE_PREFIX "%" PRIu64 "-%s", cid, what);
}

static struct entry *find(const char *name)
{
	list_for_each(node, &store.all) {
		struct entry *e = container_of(node, struct entry, node);

		if (strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

static struct entry *add(const char *name)
{
	struct entry *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	snprintf(e->name, sizeof e->name, "%s", name);
	e->fd = -1;
	e->is_known = store.was_filled;
	list_init(&e->due);
	list_append(&store.all, &e->node);
	store.n++;
	return e;
}

static void entry_free(struct entry *e)
{
	closer_close(&e->fd);
	list_remove(&e->due);
	list_remove(&e->node);
	store.n--;
	free(e);
}

/* To the end of what is due: nothing of this name before it is left. */
static void make_due(struct entry *e)
{
	e->is_removed |= e->is_known;
	list_remove(&e->due);
	list_append(&store.due, &e->due);
}

/* Without the lock: who sends has locks of its own. */
static void wake(void)
{
	void (*wake_sender)(void);

	pthread_mutex_lock(&store.lock);
	wake_sender = store.wake;
	pthread_mutex_unlock(&store.lock);
	if (wake_sender)
		wake_sender();
}

/* ---- what has come back ---- */

static void take_back(int fd, const char *name)
{
	struct entry *e;

	if (strncmp(name, FD_STORE_PREFIX, strlen(FD_STORE_PREFIX)) != 0 ||
	    strlen(name) >= NAME_BYTES || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return;
	e = find(name) ? NULL : add(name);	/* one of a name is enough */
	if (!e) {
		closer_close(&fd);
		return;
	}
	e->fd = fd;
	e->is_known = e->has_come = true;
}

void fd_store_init(void)
{
	uint64_t n = env_number("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");

	store.max = env_number("FDSTORE");
	if (!store.max || !names || n > LISTEN_FDS_MAX ||
	    env_number("LISTEN_PID") != (uint64_t)getpid())
		return;
	for (int i = 0; i < (int)n && *names; i++) {
		int len = (int)strcspn(names, ":");
		char name[256];

		snprintf(name, sizeof name, "%.*s", len, names);
		names += len + (names[len] == ':');
		take_back(LISTEN_FDS_START + i, name);
	}
}

void fd_store_resume(void)
{
	store.max = env_number("FDSTORE");
	store.was_filled = true;
}

static int take(struct entry *e)
{
	e->has_come = false;
	return fd_take(&e->fd);
}

int fd_store_take(uint64_t cid, const char *what)
{
	char name[NAME_BYTES];
	struct entry *e;
	int fd = -1;

	name_of(name, cid, what);
	pthread_mutex_lock(&store.lock);
	e = find(name);
	if (e && e->has_come)
		fd = take(e);
	pthread_mutex_unlock(&store.lock);
	return fd;
}

int fd_store_take_slot(uint64_t cid, uint32_t *slot)
{
	char prefix[NAME_BYTES];
	int fd = -1;

	name_of(prefix, cid, "");
	pthread_mutex_lock(&store.lock);
	list_for_each(node, &store.all) {
		struct entry *e = container_of(node, struct entry, node);
		const char *number = e->name + strlen(prefix);

		if (!e->has_come || strncmp(e->name, prefix, strlen(prefix)) != 0 ||
		    strspn(number, "0123456789") != strlen(number) || strlen(number) > 9)
			continue;
		*slot = (uint32_t)strtoul(number, NULL, 10);
		fd = take(e);
		break;
	}
	pthread_mutex_unlock(&store.lock);
	return fd;
}

void fd_store_drop_untaken(void)
{
	pthread_mutex_lock(&store.lock);
	list_for_each(node, &store.all) {
		struct entry *e = container_of(node, struct entry, node);

		if (!e->has_come)
			continue;
		e->has_come = false;
		closer_close(&e->fd);
		make_due(e);
	}
	pthread_mutex_unlock(&store.lock);
	wake();
}

/* ---- what changes ---- */

/* With the lock. */
static void put(const char *name, int fd)
{
	struct entry *e = find(name);

	if (!e && store.n >= store.max) {
		if (!store.is_full)
			log_warn("main", "the service manager keeps no more than %" PRIu64
				 " descriptors (FileDescriptorStoreMax): not every device outlives "
				 "this process", store.max);
		store.is_full = true;
		return;
	}
	e = e ? e : add(name);
	if (!e)
		return;
	closer_close(&e->fd);
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, LISTEN_FDS_START);
	make_due(e);
}

void fd_store_put(uint64_t cid, const char *what, int fd)
{
	char name[NAME_BYTES];

	if (!store.max || fd < 0)
		return;
	name_of(name, cid, what);
	pthread_mutex_lock(&store.lock);
	put(name, fd);
	pthread_mutex_unlock(&store.lock);
	wake();
}

void fd_store_drop(uint64_t cid, const char *what)
{
	char name[NAME_BYTES];
	struct entry *e;

	if (!store.max)
		return;
	name_of(name, cid, what);
	pthread_mutex_lock(&store.lock);
	e = find(name);
	if (e) {
		closer_close(&e->fd);
		make_due(e);
	}
	pthread_mutex_unlock(&store.lock);
	wake();
}

void fd_store_put_slot(uint64_t cid, uint32_t slot, int fd)
{
	char what[16];

	snprintf(what, sizeof what, "%" PRIu32, slot);
	fd_store_put(cid, what, fd);
}

void fd_store_drop_slot(uint64_t cid, uint32_t slot)
{
	char what[16];

	snprintf(what, sizeof what, "%" PRIu32, slot);
	fd_store_drop(cid, what);
}

/* ---- to the manager ---- */

void fd_store_set_sender(void (*wake_sender)(void))
{
	pthread_mutex_lock(&store.lock);
	store.wake = wake_sender;
	pthread_mutex_unlock(&store.lock);
}

/* 0 or -errno. */
static int send_one(int socket, const char *text, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = "" };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
		hdr.msg_control = &control;
		hdr.msg_controllen = sizeof control;
	}
	return sendmsg(socket, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? error_last() : 0;
}

/* As it stays: what cannot be said now can be later. */
static bool is_for_later(int r)
{
	return r == -EAGAIN || r == -EINTR || r == -ENOBUFS || r == -ETOOMANYREFS;
}

/* All of one name, with the lock. 0 or -errno. */
static int send_entry(int socket, struct entry *e)
{
	char text[NAME_BYTES + 40];
	int r = 0;

	if (e->is_removed) {
		snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s\n", e->name);
		r = send_one(socket, text, -1);
		if (is_for_later(r))
			return r;
		e->is_removed = e->is_known = false;
	}
	if (e->fd >= 0) {
		snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\n", e->name);
		r = send_one(socket, text, e->fd);
		if (is_for_later(r))
			return r;
		e->is_known = !r;
	}
	closer_close(&e->fd);
	list_remove(&e->due);
	if (!e->is_known)
		entry_free(e);
	return 0;
}

bool fd_store_is_due(void)
{
	bool is_due;

	pthread_mutex_lock(&store.lock);
	is_due = !list_is_empty(&store.due);
	pthread_mutex_unlock(&store.lock);
	return is_due;
}

int fd_store_send(int socket)
{
	int r = 0;

	pthread_mutex_lock(&store.lock);
	while (!r && !list_is_empty(&store.due))
		r = send_entry(socket, container_of(store.due.next, struct entry, due));
	pthread_mutex_unlock(&store.lock);
	return r;
}

void fd_store_end(int socket, uint64_t until_ms)
{
	struct pollfd p = { .fd = socket, .events = POLLOUT };

	pthread_mutex_lock(&store.lock);
	list_for_each(node, &store.all) {
		struct entry *e = container_of(node, struct entry, node);

		closer_close(&e->fd);
		make_due(e);
	}
	pthread_mutex_unlock(&store.lock);
	while (fd_store_send(socket) && clock_ms() < until_ms)
		poll(&p, 1, 10);
}
