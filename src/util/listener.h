/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listening unix socket with a name in the file system.
 *
 * It is bound at its path itself, for that is how the kernel names it from then on
 * (/proc/net/unix, ss, lsof), and listens at once: who sees the name and connects in the
 * same microsecond is refused, and has to try again. It replaces a socket that nobody
 * listens on any more, never a live one, never another kind of file; and what is removed
 * at the end is what we made, not what somebody else put there since. Of several
 * processes that want one path at the same time one has it (listener.c says how).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "util/folders.h"
#include "util/list.h"

struct listener {
	int fd;					/* non-blocking; -1: not open */
	char *path;				/* owned; NULL: it has no name */
	dev_t dev;
	ino_t ino;
	struct folders within;			/* its name has to be in one of these, at all times */
	struct list node;			/* all that have a name */
};

void listener_init(struct listener *l);

/* Of a socket's inode, and where that may be. */
struct listener_access {
	mode_t mode;
	uid_t uid;				/* (uid_t)-1: ours */
	gid_t gid;				/* (gid_t)-1: ours */
	struct folders within;
};

enum {
	LISTENER_E_BUSY = 1,			/* somebody listens there */
	LISTENER_E_OTHER_FILE,			/* another kind of file is there */
	LISTENER_E_NAME_LENGTH,			/* no socket has such a long name */
	LISTENER_E_EXCHANGED,			/* somebody put another file in its place */
	LISTENER_E_OUTSIDE,			/* its path leads out of the folders */
	LISTENER_E_NONE,			/* nobody has come */
};

/* @type: SOCK_STREAM, SOCK_SEQPACKET. 0; LISTENER_E_BUSY, _OTHER_FILE, _NAME_LENGTH, _EXCHANGED,
 * _OUTSIDE; -errno. Blocks no longer than a file system does, and a second where others hold the folder's
 * lock. For a moment the process has another umask: not while other threads make files. */
int listener_open(struct listener *l, const char *path, int type,
		  const struct listener_access *access);

/* Of one with a path: does that still lead to it? False: somebody has removed or moved its name. */
bool listener_has_name(const struct listener *l);

/* @to, which is not open, becomes what @from was. */
void listener_move(struct listener *to, struct listener *from);

/* As it was in the process, or the program, before: takes over @fd (-1: it is not open) and
 * @path, from malloc() (NULL: it has no name). */
void listener_restore(struct listener *l, int fd, char *path, dev_t dev, ino_t ino);

/* Takes over @fd, a listening socket that somebody else has made: without a name that would
 * be ours to remove. It no longer blocks, for all who have it. 0 or -errno; then closed. */
int listener_adopt(struct listener *l, int fd);

const char *listener_str_error(int error);	/* LISTENER_E_* or -errno, for people */

/* Why listener_open() failed, for people: looks again at who is in the way, if that may be. */
enum { LISTENER_TEXT_MAX = 256 };
void listener_explain(const char *path, const struct folders *within, int error,
		      char text[LISTENER_TEXT_MAX]);
void listener_deinit(struct listener *l);	/* removes the name if it is still ours */

/* Removes the names of all listeners of the process; none may be used afterwards. For a
 * process that is about to end, from any thread. Blocks as long as a file system does. */
void listener_unlink_all(void);

/* The next connection, non-blocking. 0; LISTENER_E_NONE; -errno. */
int listener_accept(struct listener *l, int *out);
