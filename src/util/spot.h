/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A name of a socket in the file system, as the kernel is asked for it. Where it may be
 * anywhere, that is its path. Where it has to be within certain folders, its folder is opened
 * (folders.h), and all goes through that, whatever the path leads to meanwhile. bind(2) alone
 * has no such way that would leave the socket its name (/proc/net/unix, ss, lsof): it is called
 * with the path, by a thread that may make sockets in that folder alone.
 */
#pragma once

#include "util/folders.h"

struct sockaddr_un;

struct spot {
	int folder;				/* O_PATH; owned; -1: it may be anywhere */
	char name[FOLDERS_PATH_BYTES];		/* for lstat(2), unlink(2), open(2) */
};

enum { SPOT_E_OUTSIDE = 1, SPOT_E_NAME_LENGTH };

/* 0; SPOT_E_OUTSIDE; -errno. To be closed in any case. */
int spot_open(struct spot *s, const char *path, const struct folders *within);
void spot_close(struct spot *s);

/* Connects @fd, also if it is of another type than what listens there. As unix_connect();
 * UNIX_E_NOBODY: it became another file. */
int spot_connect(const struct spot *s, int fd);

/* 0; SPOT_E_NAME_LENGTH; -ENOENT: @path is empty. */
int spot_address(struct sockaddr_un *sa, const char *path);

/* Binds @fd; @sa is that of the path, and becomes what the kernel calls the socket. 0;
 * SPOT_E_NAME_LENGTH; -errno. */
int spot_bind(const struct spot *s, int fd, struct sockaddr_un *sa);
