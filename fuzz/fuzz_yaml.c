/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Input: the text of a configuration file.
 *
 * Asserted: it is refused with a complaint, or becomes a plan that is whole and
 * without clashes (plan_judge.c).
 */
#include "config/error.h"
#include "config/plan.h"
#include "config/yaml.h"
#include "input.h"
#include "plan_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_error err = { "" };
	char *text = input_copy(data, size);
	struct plan plan;

	plan_init(&plan);
	plan_judge(&plan, yaml_parse_plan(text, size, "fuzz.yaml", &plan, &err), &err);
	plan_deinit(&plan);
	free(text);
	return 0;
}
