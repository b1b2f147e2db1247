/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Input: the words of a command line, each ended by a NUL byte.
 *
 * Asserted: it is refused with a complaint, or becomes a plan that is whole and
 * without clashes (plan_judge.c), or asks to print or read something first.
 */
#include <assert.h>

#include "config/error.h"
#include "config/level.h"
#include "config/options.h"
#include "config/plan.h"
#include "input.h"
#include "plan_judge.h"

enum { WORDS_MAX = 64 };

/* Each word gets its exact size too. Returns how many there are. */
static int split(char **argv, const uint8_t *data, size_t size)
{
	int argc = 0;

	for (size_t len; size > 0 && argc < WORDS_MAX; data += len, size -= len) {
		len = strnlen((const char *)data, size);
		argv[argc] = strndup((const char *)data, len);
		if (!argv[argc])
			break;
		argc++;
		len += len < size;
	}
	return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_error err = { "" };
	char *argv[WORDS_MAX + 1] = { NULL };
	int argc = split(argv, data, size), level, r;
	struct options options;
	struct plan plan;

	plan_init(&plan);
	r = options_parse(&options, &plan, argc, argv, &err);
	assert((r == CONFIG_E_EXIT) == (options.print != PRINT_NOTHING) || r == CONFIG_E_USAGE);
	if (r || !options.config)		/* else the file has the VMs */
		plan_judge(&plan, r, &err);
	plan_deinit(&plan);
	for (int i = 0; i < argc; i++) {
		level_parse_rust_log(&level, argv[i]);
		free(argv[i]);
	}
	return 0;
}
