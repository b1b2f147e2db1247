/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening unix socket with a name in the file system. */
#include "util/listener.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { BACKLOG = 1024 };			/* the kernel caps it at somaxconn */

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

static int make_addr(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof sa->sun_path)
		return LISTENER_E_NAME_LENGTH;
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

/* 0: the name is free, or a socket that nobody listens on. */
static int check_name(const char *path)
{
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_last();
	if (!S_ISSOCK(st.st_mode))
		return LISTENER_E_OTHER_FILE;
	if ((r = unix_socket(&fd)) < 0)
		return r;
	r = unix_connect(fd, path);
	fd_close(&fd);
	if (r == UNIX_E_NOBODY || r == UNIX_E_NO_NAME)
		return 0;
	if (r == UNIX_E_DENIED)
		return -EACCES;
	return r < 0 ? r : LISTENER_E_BUSY;
}

/* The name to bind under: one character more, or another last one at the limit. */
static int make_temporary(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);
	int r = make_addr(sa, path);

	if (r)
		return r;
	if (len + 1 < sizeof sa->sun_path)
		len++;
	sa->sun_path[len - 1] = '~';
	sa->sun_path[len] = '\0';
	return check_name(sa->sun_path);
}

int listener_open(struct listener *l, const char *path, const struct listener_access *access)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	bool is_bound = false;
	int r;

	listener_init(l);
	if ((r = check_name(path)) || (r = make_temporary(&sa, path)))
		return r;
	if (unlink(sa.sun_path) < 0 && errno != ENOENT)
		return error_last();
	if ((r = unix_socket(&l->fd)) < 0)
		return r;
	if (bind(l->fd, (struct sockaddr *)&sa, sizeof sa) < 0)
		goto fail;
	is_bound = true;
	if ((access->uid != (uid_t)-1 || access->gid != (gid_t)-1) &&
	    lchown(sa.sun_path, access->uid, access->gid) < 0)
		goto fail;
	if (chmod(sa.sun_path, access->mode) < 0 || listen(l->fd, BACKLOG) < 0)
		goto fail;
	if (stat(sa.sun_path, &st) < 0 || rename(sa.sun_path, path) < 0)
		goto fail;
	is_bound = false;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	l->path = strdup(path);
	if (l->path) {
		enlist(l);
		return 0;
	}
	unlink(path);
	errno = ENOMEM;
fail:
	r = error_last();
	if (is_bound)
		unlink(sa.sun_path);
	listener_deinit(l);
	return r;
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
	default:
		return error_str(error);
	}
}

void listener_explain(const char *path, int error, char text[LISTENER_TEXT_MAX])
{
	struct sockaddr_un sa;

	if (check_name(path) == 0 && make_temporary(&sa, path) == error)
		snprintf(text, LISTENER_TEXT_MAX, "its temporary name %s: %s", sa.sun_path,
			 listener_str_error(error));
	else
		snprintf(text, LISTENER_TEXT_MAX, "%s", listener_str_error(error));
}

static void unlink_ours(const struct listener *l)
{
	struct stat st;

	if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
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
