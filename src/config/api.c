/* SPDX-License-Identifier: BSD-3-Clause */
/* The control API's socket and folders, and VMs that it adds. */
#include "config/api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/check.h"
#include "config/error.h"
#include "config/finish.h"
#include "config/keys.h"
#include "config/place.h"
#include "config/plan.h"
#include "util/fd.h"
#include "util/folders.h"
#include "util/unix_socket.h"

/* ---- the command line ---- */

enum { PATH_PART, FD_PART };

static const struct setting parts[] = {
	[PATH_PART] = { .name = "path", SETTING_PATH(struct plan, api_path) },
	[FD_PART] = { .name = "fd", SETTING_FD(struct plan, api_socket.fd) },
	{ .name = "mode", SETTING_MODE(struct plan, api_socket.mode) },
	{ .name = "group", SETTING_TEXT(struct plan, api_socket.group) },
	{ .name = NULL },
};

static int set_part(struct plan *plan, unsigned *given, const char *word, struct config_error *err)
{
	const char *value;
	const struct setting *part = setting_find_part(parts, word, &value);
	unsigned bit = part ? 1u << (part - parts) : 0;

	if (!part)
		return config_fail(err, SHOWN " is none of path=PATH, fd=N, mode=MODE, group=GROUP",
				   word);
	if (!*value)
		return config_fail(err, "%s: empty value", part->name);
	if (*given & bit)
		return config_fail(err, "%s: given twice", part->name);
	*given |= bit;
	return config_prefix(err, part->set(part, plan, value, err), "%s", part->name);
}

static int set_parts(struct plan *plan, char *words, struct config_error *err)
{
	unsigned given = 0;
	int r = 0;

	for (char *word; r == 0 && (word = strsep(&words, ",")); )
		r = set_part(plan, &given, word, err);
	if (r)
		return r;
	if (!(given & (1u << PATH_PART | 1u << FD_PART)))
		return config_fail(err, "path=PATH or fd=N is missing");
	if (given & 1u << FD_PART && given != 1u << FD_PART)
		return config_fail(err, "fd goes with nothing else: who made the socket has said "
				   "who may use it");
	return 0;
}

/* As cloud-hypervisor has it, a path alone is one, too. */
int api_set_socket(const struct setting *s, void *into, const char *text,
		   struct config_error *err)
{
	char *copy;
	int r;

	(void)s;
	if (!HAVE_API)
		return config_fail(err, "this program was built without the control API (it needs "
				   "libmicrohttpd and jansson)");
	if (!strpbrk(text, "=,"))
		return parts[PATH_PART].set(&parts[PATH_PART], into, text, err);
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	r = set_parts(into, copy, err);
	free(copy);
	return r;
}

int api_add_folder(const struct setting *s, void *into, const char *text,
		   struct config_error *err)
{
	struct plan *plan = into;
	char **folders = reallocarray(plan->api_folders, plan->n_api_folders + 1, sizeof *folders);

	(void)s, (void)err;
	if (!folders)
		return -ENOMEM;
	plan->api_folders = folders;
	folders[plan->n_api_folders] = strdup(text);
	if (!folders[plan->n_api_folders])
		return -ENOMEM;
	plan->n_api_folders++;
	return 0;
}

static int find_folder(char **folder, struct config_error *err)
{
	char *found = realpath(*folder, NULL);
	struct stat st;
	int error = found ? 0 : errno;

	if (!error && (stat(found, &st) < 0 || !S_ISDIR(st.st_mode)))
		error = ENOTDIR;
	if (error) {
		free(found);
		return error == ENOMEM ? -ENOMEM :
			config_fail(err, "--api-folder: " SHOWN_PATH ": %s", *folder, strerror(error));
	}
	free(*folder);
	*folder = found;
	return 0;
}

int api_find_folders(struct plan *plan, struct config_error *err)
{
	int r = 0;

	if (plan->n_api_folders && !plan_has_api(plan))
		return config_fail(err, "--api-folder needs --api-socket");
	for (size_t i = 0; r == 0 && i < plan->n_api_folders; i++)
		r = find_folder(&plan->api_folders[i], err);
	return r;
}

/* ---- a VM ---- */

static int deny(struct config_error *err, const char *key, const char *why)
{
	config_fail(err, "%s: %s", key, why);
	return API_E_DENIED;
}

/* Of a key in any spelling: why it is not for the API; NULL: it is. */
static const char *find_denial(const struct setting *key, bool has_vsock)
{
	static const struct { const char *key, *why; } denied[] = {
		{ "guest-cid", "it is in the path of the request" },
		{ "fd", "no descriptor comes this way" },
		{ "socket-group", "said for all VMs, at the start alone" },
		{ "uds-group", "said for all VMs, at the start alone" },
	};

	for (size_t i = 0; i < sizeof denied / sizeof *denied; i++)
		if (strcmp(key->name, denied[i].key) == 0)
			return denied[i].why;
	if (strncmp(key->name, "capture", strlen("capture")) == 0)
		return "whoever starts the daemon says what is captured";
	if (!has_vsock && strcmp(key->name, "forward-cid") == 0)
		return "no VM had one when the daemon began, so AF_VSOCK is out of its reach";
	return NULL;
}

static int set_key(struct vm_plan *vm, unsigned *given, const char *name, const char *value,
		   bool has_vsock, struct config_error *err)
{
	const struct setting *key = keys_find(name);
	const char *denial = key ? find_denial(key, has_vsock) : NULL;
	int r;

	if (!key)
		return config_fail(err, "unknown key " SHOWN, name);
	if (denial)
		return deny(err, key->name, denial);
	r = keys_claim(key, given, err);
	if (r == 0)
		r = keys_set(key, vm, value, err);
	return config_prefix(err, r, "%s", name);
}

/* The next text of the row; NULL: there is none, or it has no end. */
static const char *take_text(const char **at, const char *end)
{
	const char *text = *at, *nul = text < end ? memchr(text, '\0', (size_t)(end - text)) : NULL;

	if (nul)
		*at = nul + 1;
	return nul ? text : NULL;
}

static int set_keys(struct vm_plan *vm, const char *row, size_t len, bool has_vsock,
		    struct config_error *err)
{
	const char *at = row, *end = row + len;
	unsigned given = 0;
	int r = 0;

	while (r == 0 && at < end) {
		const char *name = take_text(&at, end), *value = name ? take_text(&at, end) : NULL;

		r = value ? set_key(vm, &given, name, value, has_vsock, err) :
			config_fail(err, "the row is cut");
	}
	return r;
}

/* The part of the way to @path that is not there, if it would be in a folder that is open: what
 * there is elsewhere nobody is told, nor where links lead to. */
static bool find_missing(const struct folders *within, const char *path, char way[UNIX_PATH_BYTES])
{
	struct stat st;

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - path);
		int folder;

		if (len >= UNIX_PATH_BYTES)
			return false;
		memcpy(way, path, len);
		way[len] = '\0';
		if (lstat(way, &st) == 0)
			continue;
		if (errno != ENOENT || folders_open_folder(within, way, &folder))
			return false;
		fd_close(&folder);
		return true;
	}
	return false;
}

/* Where it leads now is told at once. Where it leads whenever the daemon uses it is judged then. */
static int check_path(const struct plan *plan, const char *key, const char *path,
		      struct config_error *err)
{
	const struct folders within = { plan->api_folders, plan->n_api_folders };
	const char *name = path ? strrchr(path, '/') : NULL;
	char missing[UNIX_PATH_BYTES];
	int folder = -1, r;

	if (!path)
		return 0;
	if (*path != '/')
		return deny(err, key, "an absolute path is wanted");
	if (strcmp(name, "/..") == 0 || strcmp(name, "/.") == 0 || !name[1])
		return deny(err, key, "the path of a socket is wanted");
	r = folders_open_folder(&within, path, &folder);
	fd_close(&folder);
	if (r && find_missing(&within, path, missing)) {
		config_fail(err, "%s: " SHOWN_PATH ": %s", key, missing, strerror(ENOENT));
		return API_E_DENIED;
	}
	return r ? deny(err, key, "not in a folder that --api-folder names") : 0;
}

static int check_paths(const struct plan *plan, const struct vm_plan *vm, struct config_error *err)
{
	int r = check_path(plan, "socket", vm->socket, err);

	if (r == 0)
		r = check_path(plan, "socket-connect", vm->connect, err);
	return r ? r : check_path(plan, "uds-path", vm->uds_path, err);
}

int api_add_row(struct plan *plan, uint64_t cid, const char *row, size_t len, bool has_vsock,
	       struct config_error *err)
{
	const struct setting *key = keys_find("guest-cid");
	struct vm_plan *vm;
	char origin[48];
	int r;

	if (cid < key->min || cid > key->max)
		return config_fail(err, "guest-cid: %" PRIu64 " is not from %" PRIu64 " to %" PRIu64,
				   cid, key->min, key->max);
	snprintf(origin, sizeof origin, "vm %" PRIu64, cid);
	vm = keys_add_vm(plan, origin);
	if (!vm)
		return -ENOMEM;
	vm->guest_cid = cid;
	vm->is_by_api = true;
	r = set_keys(vm, row, len, has_vsock, err);
	if (r == 0)
		r = check_paths(plan, vm, err);
	if (r == 0)
		r = finish_vm(plan, vm);
	if (r == 0)
		r = place_find(vm, stat);
	return r ? r : check_plan(plan, err);
}
