/* SPDX-License-Identifier: BSD-3-Clause */
/* The pieces of the sandbox. Each returns 0 or -errno and logs nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * A sanitizer looks around in /proc when it reports, and traces its own process
 * to find leaks. Its builds are for testing: they give up what stands in the way.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_HAS_SANITIZER	true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_HAS_SANITIZER	true
#endif
#ifndef SANDBOX_HAS_SANITIZER
#define SANDBOX_HAS_SANITIZER	false
#endif

/* Absolute paths, spelled as the user did, since later look-ups do so too; sorted,
 * each once. */
struct sandbox_folders {
	char **paths;				/* owned */
	size_t n;
	char *cwd;				/* owned; where relative paths begin; NULL: gone */
	bool may_lack;				/* those that are not there, or behind a link */
	bool has_names;				/* in them, which we remove */
};

/* unshare(@what). @may_make_user: where that takes a user namespace, it may have one. */
int sandbox_unshare(int what, bool may_make_user);

int sandbox_enter_tree(const struct sandbox_folders *folders, bool may_make_user);
int sandbox_drop_bounding_set(void);		/* while we still may */
int sandbox_drop_capabilities(void);
int sandbox_keep_for_supervisor(void);		/* capabilities */
int sandbox_no_new_privs(void);
int sandbox_not_dumpable(void);

/* *@is_scoped: abstract unix sockets that others have bound are out of reach. */
int sandbox_enter_landlock(const struct sandbox_folders *folders, bool *is_scoped);

/* -EOPNOTSUPP: this build has no libseccomp. */
struct sandbox_config;
int sandbox_enter_seccomp(const struct sandbox_config *config);
