/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of the pieces, and what happens where one is not to be had. */
#include "sandbox/sandbox.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "util/error.h"
#include "util/log.h"

/* @r: how the piece was entered; @missing: what the log says if it was not. 0: go on. */
static int check_piece(const struct sandbox_config *config, const char *missing, int r)
{
	if (r == 0)
		return 0;
	if (config->is_strict) {
		log_err("sandbox", "%s: %s (--sandbox=on,strict)", missing, error_str(r));
		return r;
	}
	log_warn("sandbox", "%s: %s", missing, error_str(r));
	return 0;
}

/* The folder of @socket, from the root on. -ENOENT: @socket is a relative path, and
 * the working directory has no name. */
static int folder_of(char **out, const char *socket, const char *cwd)
{
	char *path, *slash;

	if (*socket != '/' && !cwd)
		return -ENOENT;
	if (asprintf(&path, "%s%s%s", *socket == '/' ? "" : cwd, *socket == '/' ? "" : "/",
		     socket) < 0)
		return -ENOMEM;
	slash = strrchr(path, '/');
	while (slash > path && slash[-1] == '/')
		slash--;
	slash[slash == path] = '\0';		/* "/" stays */
	*out = path;
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_twins(struct sandbox_folders *f)
{
	size_t n = 0;

	qsort(f->paths, f->n, sizeof *f->paths, compare_paths);
	for (size_t i = 0; i < f->n; i++) {
		if (n && strcmp(f->paths[n - 1], f->paths[i]) == 0)
			free(f->paths[i]);
		else
			f->paths[n++] = f->paths[i];
	}
	f->n = n;
}

static void folders_deinit(struct sandbox_folders *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->paths[i]);
	free(f->paths);
	free(f->cwd);
	*f = (struct sandbox_folders){ .n = 0 };
}

/* A working directory that is gone matters to relative paths alone. */
static int folders_init(struct sandbox_folders *f, const struct sandbox_config *config)
{
	int r = -ENOMEM;

	*f = (struct sandbox_folders){
		.cwd = getcwd(NULL, 0), .may_lack = config->dies_with_parent,
		.has_names = config->has_names,
	};
	f->paths = calloc(config->n_sockets + 1, sizeof *f->paths);
	if (!f->paths)
		goto fail;
	for (size_t i = 0; i < config->n_sockets; i++) {
		r = folder_of(&f->paths[f->n], config->sockets[i], f->cwd);
		if (r == 0)
			f->n++;
		else if (r != -ENOENT || !f->may_lack)
			goto fail;
	}
	if (SANDBOX_HAS_SANITIZER && (r = folder_of(&f->paths[f->n++], "/proc/self", NULL)) < 0)
		goto fail;
	drop_twins(f);
	return 0;
fail:
	folders_deinit(f);
	return r;
}

/* @no_namespace: why the network has no namespace. Either that or landlock will do. */
static int check_abstract_sockets(const struct sandbox_config *config, int no_namespace,
				  bool is_scoped)
{
	if (is_scoped)
		return 0;
	return check_piece(config, config->has_vsock ? "abstract unix sockets are in reach, since "
			   "forward-cid takes the network as it is, and landlock is too old" :
			   "abstract unix sockets are in reach", no_namespace);
}

static int enter(const struct sandbox_config *config, const struct sandbox_folders *folders)
{
	bool stays = config->uid == (uid_t)-1 && config->gid == (gid_t)-1, is_scoped = false;
	int r, no_network = -EOPNOTSUPP;

	/* Another user would have no place in a user namespace of our own. */
	if (!config->has_vsock)
		no_network = sandbox_unshare(CLONE_NEWNET, stays);
	r = check_piece(config, "connects are not confined to the folders of the sockets",
			sandbox_enter_tree(folders, stays));
	if (!r)
		r = check_piece(config, "capabilities are not bounded",
				sandbox_drop_bounding_set());
	if (!r)
		r = sandbox_change_user(config->uid, config->gid);
	if (!r)
		r = check_piece(config, "capabilities are kept", sandbox_drop_capabilities());
	if (!r)
		r = check_piece(config, "programs may give privileges", sandbox_no_new_privs());
	if (!r)
		r = check_piece(config, "memory may be dumped", sandbox_not_dumpable());
	if (!r)
		r = check_piece(config, "files are not confined by landlock",
				sandbox_enter_landlock(folders, &is_scoped));
	if (!r)
		r = check_abstract_sockets(config, no_network, is_scoped);
	if (!r && config->dies_with_parent)
		r = sandbox_die_with_parent();
	if (!r)
		r = check_piece(config, "system calls are not filtered",
				sandbox_enter_seccomp(config));
	return r;
}

int sandbox_enter(const struct sandbox_config *config)
{
	struct sandbox_folders folders;
	int r;

	if (config->only_reports) {
		r = sandbox_change_user(config->uid, config->gid);
		if (!r && config->dies_with_parent)
			r = sandbox_die_with_parent();
		return r ? r : check_piece(config, "system calls are not reported",
					   sandbox_enter_seccomp(config));
	}
	r = folders_init(&folders, config);
	if (r < 0) {
		log_err("sandbox", "working directory: %s", error_str(r));
		return r;
	}
	r = enter(config, &folders);
	folders_deinit(&folders);
	return r;
}

int sandbox_enter_supervisor(bool is_strict)
{
	const struct sandbox_config config = { .is_strict = is_strict };
	int r = check_piece(&config, "the supervisor keeps capabilities",
			    sandbox_keep_for_supervisor());

	return r ? r : check_piece(&config, "programs may give privileges",
				   sandbox_no_new_privs());
}
