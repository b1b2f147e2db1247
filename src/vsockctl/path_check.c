/* SPDX-License-Identifier: BSD-3-Clause */
/* Which part of a path keeps somebody from its socket. */
#include "vsockctl/path_check.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

void path_user_name(uid_t uid, char name[PATH_NAME_MAX])
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(name, PATH_NAME_MAX, "%s", pw->pw_name);
	else
		snprintf(name, PATH_NAME_MAX, "%u", uid);
}

static void group_name(gid_t gid, char name[PATH_NAME_MAX])
{
	const struct group *gr = getgrgid(gid);

	if (gr)
		snprintf(name, PATH_NAME_MAX, "%s", gr->gr_name);
	else
		snprintf(name, PATH_NAME_MAX, "%u", gid);
}

/* ---- rights ---- */

static bool is_in_group(const struct path_who *who, gid_t gid)
{
	for (size_t i = 0; i < who->n_groups; i++)
		if (who->groups[i] == gid)
			return true;
	return false;
}

/* @right: R_OK, W_OK or X_OK, which are the bits of a mode's last digit. */
static bool may(const char *path, const struct stat *st, const struct path_who *who, int right)
{
	unsigned bits = st->st_mode;

	if (!who)
		return faccessat(AT_FDCWD, path, right, AT_EACCESS) == 0;
	if (who->uid == 0)
		return true;
	if (who->uid == st->st_uid)
		bits >>= 6;
	else if (is_in_group(who, st->st_gid))
		bits >>= 3;
	return bits & (unsigned)right;
}

/* ---- the walk ---- */

static enum path_fault_kind fault_of(const char *path, bool is_last, const struct path_who *who,
				     struct stat *st, int *error)
{
	if (stat(path, st) < 0) {
		*error = error_last();
		if (*error == -ENOENT)
			return is_last && lstat(path, st) == 0 ? PATH_DANGLING : PATH_MISSING;
		return *error == -ENOTDIR ? PATH_NO_FOLDER : PATH_UNSEEN;
	}
	if (is_last && !S_ISSOCK(st->st_mode))
		return PATH_NO_SOCKET;
	if (!is_last && !S_ISDIR(st->st_mode))
		return PATH_NO_FOLDER;
	if (may(path, st, who, is_last ? W_OK : X_OK))
		return PATH_FINE;
	return is_last ? PATH_NO_WRITE : PATH_NO_SEARCH;
}

static void describe(struct path_fault *out, const char *path, const struct stat *st)
{
	snprintf(out->path, sizeof out->path, "%.*s", PATH_TEXT_MAX - 1, path);
	out->mode = st->st_mode & 07777;
	path_user_name(st->st_uid, out->owner);
	group_name(st->st_gid, out->group);
}

void path_check(const char *path, const struct path_who *who, struct path_fault *out)
{
	char part[PATH_MAX];
	size_t len = 0, all = strlen(path);

	*out = (struct path_fault){ .kind = PATH_FINE, .is_last = true };
	if (all == 0 || all >= sizeof part) {
		out->kind = PATH_UNSEEN;
		out->error = all ? -ENAMETOOLONG : -ENOENT;
		snprintf(out->path, sizeof out->path, "%.*s", PATH_TEXT_MAX - 1, path);
		return;
	}
	strcpy(part, path[0] == '/' ? "/" : ".");
	for (;;) {
		struct stat st = { .st_mode = 0 };

		out->is_last = len == all;
		out->kind = fault_of(part, out->is_last, who, &st, &out->error);
		if (out->kind != PATH_FINE)
			describe(out, part, &st);
		if (out->kind != PATH_FINE || out->is_last)
			return;
		len += strspn(path + len, "/");
		len += strcspn(path + len, "/");
		memcpy(part, path, len);
		part[len] = '\0';
	}
}

/* ---- others ---- */

bool path_who_is(pid_t pid, struct path_who *out)
{
	char name[64], line[1024], *at;
	bool has_uid = false;
	unsigned id;
	int n;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
	f = fopen(name, "re");
	if (!f)
		return false;
	*out = (struct path_who){ .n_groups = 0 };
	while (fgets(line, sizeof line, f)) {	/* real, effective, ... */
		if (sscanf(line, "Uid: %*u %u", &id) == 1) {
			out->uid = id;
			has_uid = true;
		} else if (sscanf(line, "Gid: %*u %u", &id) == 1) {
			out->groups[out->n_groups++] = id;
		} else if (strncmp(line, "Groups:", 7) == 0) {
			for (at = line + 7; out->n_groups < PATH_GROUPS_MAX &&
			     sscanf(at, "%u%n", &id, &n) == 1; at += n)
				out->groups[out->n_groups++] = id;
		}
	}
	fclose(f);
	return has_uid;
}
