/* SPDX-License-Identifier: BSD-3-Clause */
/* Input: the words of a command line, each ended by a NUL byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"
#include "config/error.h"
#include "config/level.h"
#include "config/options.h"
#include "config/plan.h"
#include "config/plan_build.h"

enum { WORDS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	int argc = split(argv, data, size), level;
	struct options options;
	struct plan plan;

	plan_init_defaults(&plan);
	if (options_parse(&options, &plan, argc, argv, &err) == 0 &&
	    plan_finish(&plan) == 0)
		check_plan(&plan, &err);
	plan_deinit(&plan);
	for (int i = 0; i < argc; i++) {
		level_parse_rust_log(&level, argv[i]);
		free(argv[i]);
	}
	return 0;
}
