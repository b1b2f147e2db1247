/* SPDX-License-Identifier: BSD-3-Clause */
/* Is what was opened in a folder where it may be? */
#include "util/folders.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "util/decimal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

#define PROC_FD	"/proc/self/fd/"

/* Not by printf(), which may lock. */
void folders_spell(char path[FOLDERS_PATH_BYTES], int fd, const char *name)
{
	char *at = path + sizeof PROC_FD - 1;
	size_t left = name ? strlen(name) : 0;

	memcpy(path, PROC_FD, sizeof PROC_FD - 1);
	at = decimal_put(at, (uint64_t)fd);
	if (name) {
		size_t room = FOLDERS_PATH_BYTES - 2 - (size_t)(at - path);

		*at++ = '/';
		if (left > room)
			left = room;
		memcpy(at, name, left);
		at += left;
	}
	*at = '\0';
}

/* Is @path @folder, or below it? Both as the kernel has them. */
static bool is_within(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	while (len > 0 && folder[len - 1] == '/')
		len--;				/* the root itself */
	return strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]);
}

static bool has(const struct folders *f, int fd)
{
	char link[FOLDERS_PATH_BYTES], path[PATH_MAX];
	ssize_t n;

	folders_spell(link, fd, NULL);
	n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	for (size_t i = 0; i < f->n; i++)
		if (is_within(path, f->paths[i]))
			return true;
	return false;
}

static int open_within(const struct folders *f, const char *path, int flags, int *out)
{
	int fd = open(path, O_PATH | O_CLOEXEC | flags);

	if (fd < 0)
		return error_last();
	if (!has(f, fd)) {
		fd_close(&fd);
		return FOLDERS_E_OUTSIDE;
	}
	*out = fd;
	return 0;
}

int folders_open_folder(const struct folders *f, const char *path, int *out)
{
	char folder[UNIX_PATH_BYTES];

	if (strlen(path) >= sizeof folder)
		return -ENAMETOOLONG;
	unix_folder(folder, path);
	return open_within(f, folder, O_DIRECTORY, out);
}

int folders_open_file(const struct folders *f, const char *path, int *out)
{
	return open_within(f, path, 0, out);
}
