/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line. A scanner of our own and not getopt_long(): that one takes
 * any unambiguous start of an option, which breaks scripts as soon as an option
 * is added, takes the next option for a value that was forgotten, and writes its
 * own messages. VMs come from one of three sources: single options (the keys of
 * keys.h), --vm, --config.
 */
#pragma once

#include <stdbool.h>

#include "config/setting.h"

struct plan;
struct scan;

struct option_row {
	const char *heading;			/* of --help, for this row and the next ones */
	struct setting setting;			/* of a struct plan */
	char letter;				/* 0: has none */
	bool is_repeatable;
	int (*act)(struct scan *s, const char *value);	/* before the setting is set, or NULL */
};

/* Every option that is no key, and a NULL name at the end. */
extern const struct option_row options_rows[];

/* What is left to do when the words are read. */
struct options {
	enum { PRINT_NOTHING, PRINT_HELP, PRINT_VERSION, PRINT_CAPABILITIES } print;
	const char *config;			/* file to read: argv's, or NULL */
	bool has_log_level;			/* else RUST_LOG may say */
};

/*
 * Touches neither files nor the environment, prints nothing. 0; CONFIG_E_EXIT
 * when @o->print says what to print; CONFIG_E_USAGE; -ENOMEM. The caller frees
 * @plan, of which nothing was said before, in any case.
 */
int options_parse(struct options *o, struct plan *plan, int argc, char **argv,
		  struct config_error *err);
