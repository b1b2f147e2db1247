/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which part of a path keeps somebody from connecting to the socket at its end, and whose it
 * is. For ourselves the kernel is asked; for others mode, owner and groups tell, so what an
 * access control list allows or forbids besides is not seen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum path_fault_kind {
	PATH_FINE,
	PATH_MISSING,				/* there is no such file */
	PATH_DANGLING,				/* the last part is a link to one that is not there */
	PATH_NO_FOLDER,				/* something else, where a folder would have to be */
	PATH_NO_SEARCH,				/* a folder that may not be passed through */
	PATH_NO_SOCKET,				/* something else, where the socket would have to be */
	PATH_NO_WRITE,				/* a socket that may not be connected to */
	PATH_UNSEEN,				/* it cannot be looked at: error */
};

enum { PATH_TEXT_MAX = 256, PATH_NAME_MAX = 33, PATH_GROUPS_MAX = 64 };

struct path_fault {
	enum path_fault_kind kind;
	char path[PATH_TEXT_MAX];		/* up to the part with the fault; cut if it is longer */
	bool is_last;				/* it is the whole path */
	mode_t mode;
	char owner[PATH_NAME_MAX], group[PATH_NAME_MAX];	/* names, or numbers */
	int error;				/* -errno of PATH_UNSEEN */
};

struct path_who {
	uid_t uid;
	gid_t groups[PATH_GROUPS_MAX];		/* its own first */
	size_t n_groups;
};

/* Looks from the first part to the last, and stops at the first fault. @who NULL: ourselves. */
void path_check(const char *path, const struct path_who *who, struct path_fault *out);

/* Whom the process @pid runs as, as far as it may be seen. False: not at all. */
bool path_who_is(pid_t pid, struct path_who *out);

void path_user_name(uid_t uid, char name[PATH_NAME_MAX]);
