/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl log-level, metrics, reload, upgrade: a request each. */
#include <stdio.h>
#include <string.h>

#include "util/log.h"
#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

enum { PATIENCE_MS = 120000 };			/* an upgrade of many VMs takes its time */

static int say_level(const struct args *a)
{
	json_t *json;
	int r = api_get_for(a, "/v1/log-level", &json);

	if (r)
		return r;
	text_put(stdout, api_text(json, "level"));
	putchar('\n');
	json_decref(json);
	return EXIT_DONE;
}

int command_log_level(const struct args *a)
{
	char json[64];

	if (!a->operands[0])
		return say_level(a);
	for (int i = 0; i < LOG_LEVELS; i++)
		if (strcmp(a->operands[0], log_level_names[i]) == 0) {
			snprintf(json, sizeof json, "{\"level\": \"%s\"}",
				 log_level_names[i]);
			return api_order(a, "PUT", "/v1/log-level", json, API_TIMEOUT_MS);
		}
	text_complain("%s: the levels are error, warn, info, debug and trace", a->operands[0]);
	return EXIT_USAGE;
}

int command_reload(const struct args *a)
{
	return api_order(a, "POST", "/v1/reload", NULL, PATIENCE_MS);
}

int command_upgrade(const struct args *a)
{
	return api_order(a, "POST", "/v1/upgrade", NULL, PATIENCE_MS);
}

/* As it comes, for a collector; but not to a terminal with what is no text. */
int command_metrics(const struct args *a)
{
	const struct http_request request = {
		.socket = args_api(a, NULL), .method = "GET", .path = "/metrics",
		.timeout_ms = API_TIMEOUT_MS,
	};
	struct http_answer answer;
	char why[HTTP_WHY_MAX] = "";
	int r = http_ask(&request, &answer);

	if (r)
		snprintf(why, sizeof why, "%s", answer.why);
	r = r ? api_failure(r) : api_refusal(&answer, why);
	for (size_t i = 0; r == EXIT_DONE && i < answer.len; i++)
		if ((answer.body[i] < ' ' && answer.body[i] != '\n') || answer.body[i] == 0x7f) {
			snprintf(why, sizeof why, "what came is no text of metrics");
			r = EXIT_FAILED;
		}
	if (r)
		text_complain("%s", why);
	else
		fwrite(answer.body, 1, answer.len, stdout);
	http_answer_deinit(&answer);
	return r;
}
