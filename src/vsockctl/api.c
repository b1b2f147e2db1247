/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's API, for the commands. */
#include "vsockctl/api.h"

#include <inttypes.h>
#include <string.h>

#include "vsockctl/exit.h"
#include "vsockctl/text.h"

/* ---- outcomes ---- */

int api_failure(int http_error)
{
	switch (http_error) {
	case 0:
	case HTTP_E_STOPPED:
		return EXIT_DONE;
	case HTTP_E_NO_DAEMON:
		return EXIT_NO_DAEMON;
	case HTTP_E_LATE:
		return EXIT_LATE;
	default:
		return EXIT_FAILED;
	}
}

int api_refusal(const struct http_answer *answer, char why[HTTP_WHY_MAX])
{
	json_t *json;

	if (answer->status >= 200 && answer->status < 300)
		return EXIT_DONE;
	json = json_loads(answer->body, 0, NULL);
	if (*api_text(json, "error"))
		snprintf(why, HTTP_WHY_MAX, "%s", api_text(json, "error"));
	else
		snprintf(why, HTTP_WHY_MAX, "HTTP status %ld", answer->status);
	json_decref(json);
	if (answer->status == 504)
		return EXIT_LATE;
	return answer->status >= 400 && answer->status < 500 ? EXIT_REFUSED : EXIT_FAILED;
}

static int ask(const struct http_request *request, struct http_answer *answer,
	       char why[HTTP_WHY_MAX])
{
	int r = http_ask(request, answer);

	if (r == 0)
		return api_refusal(answer, why);
	memcpy(why, answer->why, HTTP_WHY_MAX);
	return api_failure(r);
}

/* ---- requests ---- */

int api_get(const char *socket, const char *path, json_t **out, char why[HTTP_WHY_MAX])
{
	const struct http_request request = {
		.socket = socket, .method = "GET", .path = path, .timeout_ms = API_TIMEOUT_MS,
	};
	struct http_answer answer;
	json_error_t error;
	int r = ask(&request, &answer, why);

	if (r == EXIT_DONE) {
		*out = json_loadb(answer.body, answer.len, 0, &error);
		if (!json_is_object(*out)) {
			json_decref(*out);
			snprintf(why, HTTP_WHY_MAX, "%s: the answer to %s is no JSON object",
				 socket, path);
			r = EXIT_FAILED;
		}
	}
	http_answer_deinit(&answer);
	return r;
}

int api_get_for(const struct args *a, const char *path, json_t **out)
{
	char why[HTTP_WHY_MAX];
	int r = api_get(args_api(a, NULL), path, out, why);

	if (r)
		text_complain("%s", why);
	return r;
}

int api_order(const struct args *a, const char *method, const char *path, const char *json,
	      long timeout_ms)
{
	const struct http_request request = {
		.socket = args_api(a, NULL), .method = method, .path = path, .json = json,
		.timeout_ms = timeout_ms,
	};
	struct http_answer answer;
	char why[HTTP_WHY_MAX];
	int r = ask(&request, &answer, why);

	if (r)
		text_complain("%s", why);
	http_answer_deinit(&answer);
	return r;
}

bool api_vm_path(const struct args *a, const char *below, char path[API_PATH_MAX])
{
	uint64_t cid;

	if (!args_number(a->operands[0], UINT32_MAX - 1, &cid) || cid < 3) {
		text_complain("%s: a guest's CID is a number from 3 to %u", a->operands[0],
			      UINT32_MAX - 1);
		return false;
	}
	snprintf(path, API_PATH_MAX, "/v1/vms/%" PRIu64 "%s", cid, below);
	return true;
}

/* ---- JSON ---- */

uint64_t api_number(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

const char *api_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

bool api_is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

const json_t *api_array(const json_t *object, const char *key)
{
	const json_t *array = json_object_get(object, key);

	return json_is_array(array) ? array : NULL;
}

uint64_t api_number_in(const json_t *object, const char *key, const char *key2)
{
	return api_number(json_object_get(object, key), key2);
}

void api_put(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER);
	putchar('\n');
}
