/* SPDX-License-Identifier: BSD-3-Clause */
/* A name of a socket in the file system. */
#include "util/spot.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/landlock.h"
#include "util/unix_socket.h"

enum { MAKE_SOCK = 1 << 9 };			/* LANDLOCK_ACCESS_FS_MAKE_SOCK */

static_assert(FOLDERS_PATH_BYTES >= (int)UNIX_PATH_BYTES, "a path is one");

int spot_open(struct spot *s, const char *path, const struct folders *within)
{
	const char *slash = strrchr(path, '/');
	int r;

	s->folder = -1;
	if (!within->paths) {
		snprintf(s->name, sizeof s->name, "%s", path);
		return 0;
	}
	r = folders_open_folder(within, path, &s->folder);
	if (!r)
		folders_spell(s->name, s->folder, slash ? slash + 1 : path);
	return r > 0 ? SPOT_E_OUTSIDE : r;
}

void spot_close(struct spot *s)
{
	fd_close(&s->folder);
}

int spot_connect(const struct spot *s, int fd)
{
	char inode[FOLDERS_PATH_BYTES];
	struct stat st;
	int handle, r;

	if (s->folder < 0)
		return unix_connect(fd, s->name);
	handle = open(s->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (handle < 0)
		return unix_open_error(error_last());
	folders_spell(inode, handle, NULL);
	r = fstat(handle, &st) == 0 && S_ISSOCK(st.st_mode) ? unix_connect(fd, inode) : UNIX_E_NOBODY;
	fd_close(&handle);
	return r;
}

int spot_address(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof sa->sun_path)
		return SPOT_E_NAME_LENGTH;
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

/* ---- bind ---- */

struct binding {
	int fd, folder;
	const struct sockaddr_un *sa;
	bool is_confined;
	int result;				/* 0 or -errno */
};

static void bind_socket(struct binding *b)
{
	b->result = bind(b->fd, (const struct sockaddr *)b->sa, sizeof *b->sa) < 0 ? error_last() : 0;
}

/* For the rest of a thread's life. 0 or -errno. */
static int confine_to(int folder)
{
	const struct wire_landlock denied = { .fs = MAKE_SOCK };
	int ruleset = -1, r = landlock_new(&denied, &ruleset);

	if (!r)
		r = landlock_allow(ruleset, folder, MAKE_SOCK);
	if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = error_last();
	if (!r)
		r = landlock_enter(ruleset);
	fd_close(&ruleset);
	return r;
}

static void *run_bind(void *arg)
{
	struct binding *b = arg;

	b->is_confined = confine_to(b->folder) == 0;
	if (b->is_confined)
		bind_socket(b);
	return NULL;
}

/* Where that cannot be had, the socket is known by the name that leads to its folder. */
static int bind_within(const struct spot *s, int fd, struct sockaddr_un *sa)
{
	struct binding b = { .fd = fd, .folder = s->folder, .sa = sa };
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_bind, &b) == 0)
		pthread_join(thread, NULL);
	if (!b.is_confined) {
		int r = spot_address(sa, s->name);

		if (r)
			return r;
		bind_socket(&b);
	}
	return b.result;
}

int spot_bind(const struct spot *s, int fd, struct sockaddr_un *sa)
{
	struct binding b = { .fd = fd, .sa = sa };

	if (s->folder >= 0)
		return bind_within(s, fd, sa);
	bind_socket(&b);
	return b.result;
}
