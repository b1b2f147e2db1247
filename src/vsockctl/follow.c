/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon goes on to send. */
#include "vsockctl/follow.h"

#include <signal.h>
#include <stdio.h>

#include "vsockctl/api.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

static volatile sig_atomic_t is_over;

static void on_signal(int sig)
{
	(void)sig;
	is_over = 1;
}

int follow(const struct args *a, const char *path, http_sink *sink, void *ctx)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	const struct sigaction sa = { .sa_handler = on_signal };
	const struct http_request request = {
		.socket = args_api(a, NULL), .method = "GET", .path = path, .is_over = &is_over,
	};
	struct http_answer answer;
	char why[HTTP_WHY_MAX] = "";
	int r;

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &sa, NULL);
	r = http_stream(&request, sink, ctx, &answer);
	if (r == 0) {
		r = api_refusal(&answer, why);
		if (answer.status == 404)
			snprintf(why, sizeof why, "this daemon's API has no %s", a->command->name);
	} else {
		snprintf(why, sizeof why, "%s", answer.why);
		r = api_failure(r);
	}
	if (r)
		text_complain("%s", why);
	http_answer_deinit(&answer);
	return r;
}
