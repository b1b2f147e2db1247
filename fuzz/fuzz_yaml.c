/* SPDX-License-Identifier: BSD-3-Clause */
/* Input: the text of a configuration file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"
#include "config/error.h"
#include "config/plan.h"
#include "config/plan_build.h"
#include "config/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_error err = { "" };
	char *text = malloc(size);
	struct plan plan;

	if (!text && size)
		return 0;
	if (size)
		memcpy(text, data, size);
	plan_init_defaults(&plan);
	if (yaml_parse_plan(text, size, "fuzz.yaml", &plan, &err) == 0 &&
	    plan_finish(&plan) == 0)
		check_plan(&plan, &err);
	plan_deinit(&plan);
	free(text);
	return 0;
}
