/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file tree of our own: an empty, read-only file system as the root, and in
 * it, under their old names, only the folders of the sockets. Nothing but names
 * confines connect(2) on kernels before 7.1, where landlock learns it.
 *
 * The folders stay those that they were at the start: one that is removed and
 * made anew is another, and a symbolic link that leads out of them leads
 * nowhere. A supervisor, if there is one, sees them all.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "util/error.h"
#include "util/fd.h"

#ifndef OPEN_TREE_CLONE				/* glibc before 2.36 */
#define OPEN_TREE_CLONE		1
#define OPEN_TREE_CLOEXEC	O_CLOEXEC
#define MOVE_MOUNT_F_EMPTY_PATH	0x00000004
#endif

enum { ROOT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC };

/* What is unmounted outside goes here, too; what we do has no effect outside. */
static int make_namespace(bool may_make_user)
{
	int r = sandbox_unshare(CLONE_NEWNS, may_make_user);

	if (!r && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		r = error_last();
	return r;
}

static int make_folders(char *path)
{
	for (char *end = path; end; ) {
		int r = 0;

		end = strchr(end + 1, '/');
		if (end)
			*end = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			r = error_last();
		if (end)
			*end = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_same(int fd, const char *path)
{
	struct stat sf, sp;

	return fstat(fd, &sf) == 0 && stat(path, &sp) == 0 && sf.st_dev == sp.st_dev &&
		sf.st_ino == sp.st_ino;
}

/* Moves the folder @tree of the old root into the new one, the working directory. */
static int bring(const char *path, int tree)
{
	mode_t mask;
	char *copy;
	int r;

	path += strspn(path, "/");
	if (!*path)
		return -EINVAL;			/* all there is: nothing to confine to */
	if (is_same(tree, path))
		return 0;			/* lies within another */
	copy = strdup(path);
	mask = umask(022);			/* for whomever we become */
	r = copy ? make_folders(copy) : -ENOMEM;
	umask(mask);
	free(copy);
	if (!r && syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		r = error_last();
	if (!r && !is_same(tree, path))
		r = -EXDEV;			/* a link on the way led elsewhere */
	return r;
}

/* The kernel does not do it, or not for us, whatever the folder. */
static bool is_missing_call(int error)
{
	return error == ENOSYS || error == EPERM;
}

static int open_trees(const struct sandbox_folders *folders, int *trees)
{
	for (size_t i = 0; i < folders->n; i++) {
		trees[i] = (int)syscall(SYS_open_tree, AT_FDCWD, folders->paths[i],
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
		if (trees[i] < 0 && (!folders->may_lack || is_missing_call(errno)))
			return error_last();
	}
	return 0;
}

/* pivot_root lets the old tree go; from an initial ramfs there is only chroot. */
static int change_root(const char *cwd)
{
	int r = 0;

	if (syscall(SYS_pivot_root, ".", ".") == 0)
		r = umount2(".", MNT_DETACH);
	else
		r = errno == EINVAL ? chroot(".") : -1;
	if (r < 0)
		return error_last();
	if ((!cwd || chdir(cwd) < 0) && chdir("/") < 0)
		return error_last();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | ROOT_FLAGS, NULL) < 0)
		return error_last();
	return 0;
}

/* For a moment the new root lies on one of the folders, which surely exists; or in /dev. */
static const char *find_place(const struct sandbox_folders *folders)
{
	struct stat st;

	for (size_t i = 0; i < folders->n; i++)
		if (stat(folders->paths[i], &st) == 0)
			return folders->paths[i];
	return "/dev";
}

static int build(const struct sandbox_folders *folders, int *trees)
{
	/* The way back: a name may not lead there. -1 where that folder is closed to us. */
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *place = find_place(folders);
	int r = open_trees(folders, trees);

	if (!r && mount("none", place, "tmpfs", ROOT_FLAGS, "mode=0755") < 0)
		r = error_last();
	if (r) {
		fd_close(&here);
		return r;
	}
	if (chdir(place) < 0)
		r = error_last();
	for (size_t i = 0; !r && i < folders->n; i++) {
		r = trees[i] < 0 ? 0 : bring(folders->paths[i], trees[i]);
		if (r < 0 && folders->may_lack && !is_missing_call(-r))
			r = 0;			/* whoever may write on the way could make it fail */
	}
	if (!r)
		r = change_root(folders->cwd);
	if (r < 0 && umount2(place, MNT_DETACH) == 0 && (here < 0 || fchdir(here) < 0) &&
	    chdir("/") < 0)
		r = error_last();
	fd_close(&here);
	return r;
}

int sandbox_enter_tree(const struct sandbox_folders *folders, bool may_make_user)
{
	int *trees = malloc((folders->n + 1) * sizeof *trees), r;

	if (!trees)
		return -ENOMEM;
	for (size_t i = 0; i < folders->n; i++)
		trees[i] = -1;
	r = make_namespace(may_make_user);
	if (!r)
		r = build(folders, trees);
	for (size_t i = 0; i < folders->n; i++)
		fd_close(&trees[i]);
	free(trees);
	return r;
}
