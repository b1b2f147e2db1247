/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Folders that a name has to be in, for paths that somebody else has given us. A path says
 * where it leads only at the moment of a look: any folder on the way may become a link to
 * elsewhere before the next call. So the folder, or the file, is opened, the kernel is asked
 * where what we have leads to (/proc), and all that is done then is done by this descriptor.
 *
 * Nothing here allocates or locks: it is for children of a process with threads, too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct folders {
	char *const *paths;			/* borrowed; as realpath() has them; NULL: anywhere */
	size_t n;
};

enum { FOLDERS_E_OUTSIDE = 1 };

/* Opens the folder of @path, or what is at @path itself, links on the way and there followed,
 * with O_PATH. 0; FOLDERS_E_OUTSIDE: it is in none of @f, or there is no /proc; -errno. */
int folders_open_folder(const struct folders *f, const char *path, int *out);
int folders_open_file(const struct folders *f, const char *path, int *out);

/* A path that leads to what @fd is, or to @name in it (NULL: none): "/proc/self/fd/7/name". */
enum { FOLDERS_PATH_BYTES = 32 + 256 };		/* NAME_MAX */
void folders_spell(char path[FOLDERS_PATH_BYTES], int fd, const char *name);
