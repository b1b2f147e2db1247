/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control API as the command line has it: its socket, and the folders in which it may
 * have sockets made; and a VM that it adds, as a row of keys and values.
 *
 * Whoever asks for such a VM is believed no more than a file is, and may do less: only paths
 * in those folders, and nothing that gives the daemon more than it had at its start.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_error;
struct plan;
struct setting;

/* Of the rows in options.c, each with a plan: as setting::set. */
int api_set_socket(const struct setting *s, void *into, const char *text,
		   struct config_error *err);
int api_add_folder(const struct setting *s, void *into, const char *text,
		   struct config_error *err);

/* The folders become what they lead to. 0; CONFIG_E_USAGE: one is not there; -ENOMEM. */
int api_find_folders(struct plan *plan, struct config_error *err);

enum {
	API_E_DENIED = 16,			/* it is right, but may not be had by the API */
	API_ROW_MAX = 16 * 1024,		/* bytes of a row */
};

/*
 * Appends the VM @cid to @plan, which has all VMs that there are: @row is @len bytes of keys and
 * values by turns, each with a NUL at its end. @has_vsock: it may have a forward-cid.
 * 0; CONFIG_E_USAGE, API_E_DENIED: @err says why; -ENOMEM. On failure the plan may hold a part of it.
 */
int api_add_row(struct plan *plan, uint64_t cid, const char *row, size_t len, bool has_vsock,
	       struct config_error *err);
