/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of a capture, for who may open files: the supervisor, which keeps them while
 * engines come and go, or the whole daemon before it enters its sandbox.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "protocol/capture.h"

struct capture_plan;
struct capture_settings;

struct capture_files {
	int shared_fd;				/* a struct capture_shared; -1: there is no capture */
	int fds[CAPTURE_FILES_MAX];		/* owned, as that */
	size_t n;
};

void capture_files_init(struct capture_files *f);
void capture_files_close(struct capture_files *f);	/* elsewhere (closer.h); also twice */

/* Where nobody else has them: others may have the files at once, not only when they are closed. */
void capture_files_unlock(const struct capture_files *f);

/*
 * Opens what @plan names: PATH, PATH.1 and so on, which are made, or emptied; or one pipe, or
 * device, whose reader has to be there. Nobody else may write to such a file for a capture.
 * Does not block. 0; -errno, and CAPTURE_FILES_E_*: nothing is open, or has been emptied.
 */
enum {
	CAPTURE_FILES_E_TAKEN = 1,		/* another capture writes to it */
	CAPTURE_FILES_E_KIND,			/* a folder, a socket, a disk */
};
int capture_files_open(struct capture_files *f, const struct capture_plan *plan);
const char *capture_files_str_error(int error);	/* for people */

/* A capture by this process itself: as capture_files_open(), and capture_new(). */
struct capture;
int capture_open(struct capture **out, uint64_t cid, const struct capture_plan *plan);

/* What @plan says besides. */
void capture_settings_of(struct capture_settings *out, const struct capture_plan *plan);
