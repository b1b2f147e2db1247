/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the user asked for, checked: command line or YAML become one plan, and
 * nobody after that looks at an option again.
 *
 *   keys, options   rows: what may be said, of one VM and of all
 *   yaml            the file
 *   owner           names of users and groups become numbers
 *   finish          the gaps that are left
 *   place, check    the whole is judged
 *   passed          and the sockets that were passed in
 *
 * They fill a plan (plan.h), which knows none of them.
 */
#pragma once

#include <sys/types.h>

#include "config/error.h"

struct plan;

/*
 * Fills @plan from the command line, @argv as main() gets it, and the @umask that
 * the process was started with; reads the file that --config names. May write to
 * stdout (--help, --version); what is wrong goes to stderr, in one line that names
 * option, key and value, and in YAML file and line.
 *
 * 0; CONFIG_E_EXIT: asked only to print, exit status 0; CONFIG_E_USAGE: the
 * user's mistake, exit status 2; -errno: the system's, exit status 1. @plan is
 * empty unless 0; plan_deinit() is due in any case.
 */
int config_read(struct plan *plan, mode_t umask, int argc, char **argv);

/* The same, but what is wrong is only in @err. @running: NULL, or the VMs that are served
 * already, with the sockets that were passed to them. */
int config_load(struct plan *plan, const struct plan *running, mode_t umask, int argc, char **argv,
		struct config_error *err);
