/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listening unix socket with a name in the file system.
 *
 * Two processes and one path. What a crash has left is told from a living socket by a
 * connect, and has to be removed before bind(2); between the two another one may have bound
 * there, which does not listen yet and so looks just as dead. The kernel has no call for
 * "replace if dead", so those three steps and listen(2) are done under a lock: flock(2) of
 * the folder. Unlike a lock file it leaves nothing behind; unlike an abstract name, it is
 * the same in all network namespaces; and it ends with its process. Anybody who may read
 * the folder can hold it, though, and /tmp is everybody's: after LOCK_MS we go on without.
 * So do those who may not read the folder, or whose file system has no such locks. They have
 * what they had before: no more than one name, but maybe that of the second.
 *
 * The end needs no lock: the name is removed while the socket still listens, so nobody has
 * taken it for dead and put another there.
 *
 * Whoever may write to the folder can exchange the name at any time, and a daemon that is
 * root must not be made to give away another file. So the umask makes the mode, from the
 * first moment on; and where an owner is asked for, or the file system has an idea of its
 * own about the mode, both go to the inode, through a descriptor, and only when a connect
 * to that very inode has ended at this process and this name.
 */
#include "util/listener.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/folders.h"
#include "util/spot.h"
#include "util/unix_socket.h"

enum {
	BACKLOG = 1024,				/* the kernel caps it at somaxconn */
	LOCK_MS = 1000,
	MODE_BITS = 07777,
};

static struct {
	pthread_mutex_t lock;
	struct list all;			/* listener::node */
} named = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .all = { &named.all, &named.all },
};

void listener_init(struct listener *l)
{
	*l = (struct listener){ .fd = -1 };
	list_init(&l->node);
}

static void enlist(struct listener *l)
{
	pthread_mutex_lock(&named.lock);
	list_append(&named.all, &l->node);
	pthread_mutex_unlock(&named.lock);
}

static void delist(struct listener *l)
{
	pthread_mutex_lock(&named.lock);
	list_remove(&l->node);
	pthread_mutex_unlock(&named.lock);
}

/* 0: the name is free, or a socket that nobody listens on. */
static int check_name(const struct spot *s)
{
	struct stat st;
	int fd, r;

	if (lstat(s->name, &st) < 0)
		return errno == ENOENT ? 0 : error_last();
	if (!S_ISSOCK(st.st_mode))
		return LISTENER_E_OTHER_FILE;
	if ((r = unix_socket(&fd, SOCK_STREAM)) < 0)
		return r;
	r = spot_connect(s, fd);
	fd_close(&fd);
	if (r == UNIX_E_NOBODY || r == UNIX_E_NO_NAME)
		return 0;
	if (r == UNIX_E_DENIED)
		return -EACCES;
	return r < 0 ? r : LISTENER_E_BUSY;
}

/* ---- the lock ---- */

/* -1: there is none to be had. Closed, it is let go. */
static int lock_folder(const struct spot *s)
{
	char folder[FOLDERS_PATH_BYTES];
	int fd;

	unix_folder(folder, s->name);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	for (int ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; ms++) {
		if (ms == LOCK_MS || (errno != EWOULDBLOCK && errno != EINTR)) {
			fd_close(&fd);
			return -1;
		}
		clock_rest(1);
	}
	return fd;
}

/* ---- the name ---- */

/* In our words. */
static int spot_error(int r)
{
	return r == SPOT_E_OUTSIDE ? LISTENER_E_OUTSIDE :
		r == SPOT_E_NAME_LENGTH ? LISTENER_E_NAME_LENGTH :
		r == -EADDRINUSE ? LISTENER_E_BUSY : r;
}

/* The inode gets all the bits that the umask leaves; *@sa: what the kernel calls it. */
static int bind_with_mode(const struct spot *s, int fd, struct sockaddr_un *sa, mode_t mode)
{
	mode_t mask = umask(~mode & 0777);
	int r = spot_bind(s, fd, sa);

	umask(mask);
	return spot_error(r);
}

/* Does whoever connects to the inode reach this process, at this name? */
static bool leads_to_us(const char *inode, const char *path, int type)
{
	struct sockaddr_un peer = { .sun_path = "" };
	socklen_t size = sizeof peer - 1, cred_size = sizeof(struct ucred);
	struct ucred cred = { .pid = 0 };
	bool is_ours = false;
	int fd;

	if (unix_socket(&fd, type) < 0)
		return false;
	if (unix_connect(fd, inode) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_size) == 0 &&
	    getpeername(fd, (struct sockaddr *)&peer, &size) == 0)
		is_ours = cred.pid == getpid() && strcmp(peer.sun_path, path) == 0;
	fd_close(&fd);
	return is_ours;
}

/* @handle: of what has the name. */
static int give(int handle, const char *path, int type, const struct listener_access *access)
{
	char inode[FOLDERS_PATH_BYTES];

	folders_spell(inode, handle, NULL);
	if (!leads_to_us(inode, path, type))
		return LISTENER_E_EXCHANGED;
	if (fchownat(handle, "", access->uid, access->gid, AT_EMPTY_PATH) < 0 ||
	    chmod(inode, access->mode) < 0)
		return error_last();
	return 0;
}

static bool has_owner(const struct listener_access *access)
{
	return access->uid != (uid_t)-1 || access->gid != (gid_t)-1;
}

/* It listens, as @path: whose it is, and what will be removed at the end. */
static int settle(struct listener *l, const struct spot *s, const char *path, int type,
		  const struct listener_access *access)
{
	int handle = open(s->name, O_PATH | O_NOFOLLOW | O_CLOEXEC), r = 0;
	struct stat st;

	if (handle < 0 || fstat(handle, &st) < 0)
		r = error_last();
	else if (has_owner(access) || (st.st_mode & MODE_BITS) != access->mode)
		r = give(handle, path, type, access);
	fd_close(&handle);
	if (r)
		return r;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

/* With the lock. */
static int open_locked(struct listener *l, const struct spot *s, struct sockaddr_un *sa, int type,
		       const struct listener_access *access)
{
	/* Before it has its owner nobody else is let in, and we are. */
	mode_t mode = has_owner(access) ? 0600 : access->mode;
	int r = check_name(s);

	if (r)
		return r;
	if (unlink(s->name) < 0 && errno != ENOENT)
		return error_last();
	if ((r = unix_socket(&l->fd, type)) < 0 || (r = bind_with_mode(s, l->fd, sa, mode)))
		return r;
	if (listen(l->fd, BACKLOG) < 0)
		r = error_last();
	else
		r = settle(l, s, sa->sun_path, type, access);
	if (r && r != LISTENER_E_EXCHANGED)
		unlink(s->name);
	return r;
}

int listener_open(struct listener *l, const char *path, int type,
		  const struct listener_access *access)
{
	struct sockaddr_un sa;
	struct spot spot;
	char *copy;
	int lock, r;

	listener_init(l);
	if ((r = spot_address(&sa, path)))
		return spot_error(r);
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	r = spot_error(spot_open(&spot, path, &access->within));
	if (!r) {
		lock = lock_folder(&spot);
		r = open_locked(l, &spot, &sa, type, access);
		fd_close(&lock);
	}
	spot_close(&spot);
	if (r) {
		free(copy);
		listener_deinit(l);
		return r;
	}
	l->within = access->within;
	l->path = copy;
	enlist(l);
	return 0;
}

void listener_move(struct listener *to, struct listener *from)
{
	delist(from);
	*to = *from;
	list_init(&to->node);
	if (to->path)
		enlist(to);
	listener_init(from);
}

void listener_restore(struct listener *l, int fd, char *path, dev_t dev, ino_t ino)
{
	*l = (struct listener){ .fd = fd, .path = path, .dev = dev, .ino = ino };
	list_init(&l->node);
	if (path)
		enlist(l);
}

int listener_adopt(struct listener *l, int fd)
{
	int flags = fcntl(fd, F_GETFL), r = 0;

	listener_init(l);
	l->fd = fd;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		r = error_last();
		listener_deinit(l);
	}
	return r;
}

const char *listener_str_error(int error)
{
	switch (error) {
	case LISTENER_E_BUSY:
		return "somebody listens there already";
	case LISTENER_E_OTHER_FILE:
		return "a file that is not a socket is in the way";
	case LISTENER_E_NAME_LENGTH:
		return "longer than the name of a socket can be";
	case LISTENER_E_OUTSIDE:
		return "leads out of the folders in which it may be";
	case LISTENER_E_EXCHANGED:
		return "somebody has put another file in its place (or there is no /proc)";
	default:
		return error_str(error);
	}
}

/* ": process 12 (qemu)"; "" if it is not to be seen from here. */
static void name_listener(const char *path, const struct folders *within, char *text, size_t size)
{
	struct ucred cred = { .pid = 0 };
	socklen_t cred_size = sizeof cred;
	char comm[32], name[32] = "";
	struct spot spot;
	int fd;

	*text = '\0';
	if (unix_socket(&fd, SOCK_STREAM) < 0)
		return;
	if (spot_open(&spot, path, within) == 0 && spot_connect(&spot, fd) == 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_size);
	spot_close(&spot);
	fd_close(&fd);
	if (cred.pid <= 0)
		return;
	snprintf(comm, sizeof comm, "/proc/%d/comm", (int)cred.pid);
	fd = open(comm, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, name, sizeof name - 1) > 0) {
		name[strcspn(name, "\n")] = '\0';
		snprintf(text, size, ": process %d (%s)", (int)cred.pid, name);
	} else {
		snprintf(text, size, ": process %d", (int)cred.pid);
	}
	fd_close(&fd);
}

void listener_explain(const char *path, const struct folders *within, int error,
		      char text[LISTENER_TEXT_MAX])
{
	char who[80] = "";

	if (error == LISTENER_E_BUSY)
		name_listener(path, within, who, sizeof who);
	snprintf(text, LISTENER_TEXT_MAX, "%s%s", listener_str_error(error), who);
}

static bool is_ours(const struct listener *l, const struct spot *s)
{
	struct stat st;

	return lstat(s->name, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

bool listener_has_name(const struct listener *l)
{
	struct spot spot;
	bool has = spot_open(&spot, l->path, &l->within) == 0 && is_ours(l, &spot);

	spot_close(&spot);
	return has;
}

static void unlink_ours(const struct listener *l)
{
	struct spot spot;

	if (spot_open(&spot, l->path, &l->within) == 0 && is_ours(l, &spot))
		unlink(spot.name);
	spot_close(&spot);
}

void listener_unlink_all(void)
{
	pthread_mutex_lock(&named.lock);	/* for good: no more are freed */
	list_for_each(node, &named.all)
		unlink_ours(container_of(node, struct listener, node));
}

void listener_deinit(struct listener *l)
{
	delist(l);
	if (l->path)
		unlink_ours(l);
	free(l->path);
	fd_close(&l->fd);
	listener_init(l);
}

int listener_accept(struct listener *l, int *out)
{
	int fd;

	do
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		return errno == EAGAIN ? LISTENER_E_NONE : error_last();
	*out = fd;
	return 0;
}
