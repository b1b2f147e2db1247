/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs config_read() as main() would, in a folder of its own with the YAML file
 * "vms.yaml", and keeps what it printed and a plan in one line of text, so that
 * a test case is a row: words in, text out. What few cases set is shown when it
 * is not the default.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum { CONFIG_RUN_WORDS = 16, CONFIG_RUN_TEXT = 8192 };

struct config_run {
	int result;
	char out[CONFIG_RUN_TEXT];		/* standard output */
	char err[CONFIG_RUN_TEXT];		/* standard error */
	char plan[CONFIG_RUN_TEXT];		/* "" if there is none */
};

extern mode_t config_run_umask;			/* the process is started with; 022 */

/* @words: blank-separated; those with blanks in them go to config_run_words(). */
void config_run(struct config_run *run, const char *words);
void config_run_words(struct config_run *run, int argc, char **argv);

/* The same for --config vms.yaml with this content. */
void config_run_yaml(struct config_run *run, const char *text, size_t len);
