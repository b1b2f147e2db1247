/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the paths of sockets lead. */
#include "config/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/plan.h"

/* @len bytes at @name are the component @word. */
static bool is_component(const char *name, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(name, word, len) == 0;
}

/* Where the last component of the @len bytes at @path begins. */
static size_t last_component(const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len;
}

/* Leaves out of @path what means nothing as text alone, in place: empty components,
 * "." and, with what is before it, "..". */
static void clean(char *path)
{
	size_t root = *path == '/', len = root;

	for (const char *at = path, *end; *at; at = end) {
		size_t n, last;

		at += strspn(at, "/");
		end = at + (n = strcspn(at, "/"));
		if (n == 0 || is_component(at, n, "."))
			continue;
		last = last_component(path, len);
		if (is_component(at, n, "..") && len > root &&
		    !is_component(path + last, len - last, "..")) {
			len = last > root ? last - 1 : root;
			continue;
		}
		if (is_component(at, n, "..") && root && len == root)
			continue;		/* above the root there is the root */
		if (len > root)
			path[len++] = '/';
		memmove(path + len, at, n);
		len += n;
	}
	path[len] = '\0';
}

/* The deepest folder of @path that is there, and what is left behind it. */
static int find(struct socket_place *place, const char *path,
		int (*look)(const char *path, struct stat *st))
{
	char *folder = strdup(path);
	size_t len = strlen(path);
	struct stat st;

	if (!folder)
		return -ENOMEM;
	do {
		while (len > 0 && path[len - 1] == '/')
			len--;
		len = last_component(path, len);
		folder[len] = '\0';
		if (look(len ? folder : ".", &st) == 0) {
			place->is_found = true;
			place->dev = st.st_dev;
			place->ino = st.st_ino;
		} else if (errno != ENOENT && errno != ENOTDIR) {
			place->error = -errno;
		}
	} while (!place->is_found && len > strspn(path, "/"));
	free(folder);
	place->rest = strdup(path + (place->is_found ? len : 0));
	if (!place->rest)
		return -ENOMEM;
	clean(place->rest);
	return 0;
}

int place_find(struct vm_plan *vm, int (*look)(const char *path, struct stat *st))
{
	int r = vm->socket ? find(&vm->socket_at, vm->socket, look) : 0;

	if (r == 0 && vm->connect)
		r = find(&vm->connect_at, vm->connect, look);
	if (r == 0 && vm->uds_path)
		r = find(&vm->uds_at, vm->uds_path, look);
	return r;
}

int place_find_all(struct plan *plan, int (*look)(const char *path, struct stat *st))
{
	int r = plan->api_path ? find(&plan->api_at, plan->api_path, look) : 0;

	for (size_t i = 0; r == 0 && i < plan->n_vms; i++)
		r = place_find(&plan->vms[i], look);
	return r;
}

int place_compare(const struct socket_place *a, const struct socket_place *b)
{
	if (a->is_found != b->is_found)
		return a->is_found - b->is_found;
	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return strcmp(a->rest, b->rest);
}
