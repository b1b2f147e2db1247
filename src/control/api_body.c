/* SPDX-License-Identifier: BSD-3-Clause */
/* What the body of a request says. */
#include "control/api_body.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util/log.h"

__attribute__((format(printf, 2, 3)))
static const char *fail(char why[API_BODY_ERROR_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, API_BODY_ERROR_MAX, fmt, ap);
	va_end(ap);
	return why;
}

/* False: there is no more room. */
static bool put(struct api_body_row *row, const char *text, size_t len)
{
	if (len > sizeof row->bytes - row->len)
		return false;
	memcpy(row->bytes + row->len, text, len);
	row->len += len;
	return true;
}

static const char too_long[] = "the row is too long";

/* One value, without its end; in a list a '+' would make two of it. */
static const char *put_scalar(struct api_body_row *row, const char *key, const json_t *value,
			      bool is_item, char why[API_BODY_ERROR_MAX])
{
	char number[32];
	const char *text = number;

	if (json_is_string(value))
		text = json_string_value(value);
	else if (json_is_integer(value))
		snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_boolean(value))
		text = json_is_true(value) ? "true" : "false";
	else
		return fail(why, "%.60s: a string, a whole number or a bool is wanted", key);
	if (is_item && strchr(text, '+'))
		return fail(why, "%.60s: '+' in an item of the list", key);
	if (!*text)
		return fail(why, "%.60s: empty value", key);
	return put(row, text, strlen(text)) ? NULL : too_long;
}

static const char *put_list(struct api_body_row *row, const char *key, const json_t *list,
			    char why[API_BODY_ERROR_MAX])
{
	const char *wrong = json_array_size(list) ? NULL : fail(why, "%.60s: empty list", key);

	for (size_t i = 0; !wrong && i < json_array_size(list); i++) {
		if (i && !put(row, "+", 1))
			return too_long;
		wrong = put_scalar(row, key, json_array_get(list, i), true, why);
	}
	return wrong;
}

static const char *put_pair(struct api_body_row *row, const char *key, const json_t *value,
			    char why[API_BODY_ERROR_MAX])
{
	const char *wrong;

	if (!put(row, key, strlen(key) + 1))
		return too_long;
	wrong = json_is_array(value) ? put_list(row, key, value, why) :
		put_scalar(row, key, value, false, why);
	if (!wrong && !put(row, "", 1))
		wrong = too_long;
	return wrong;
}

/* Strings with a NUL in them are refused by jansson itself. */
const char *api_body_row(struct api_body_row *row, const char *json, size_t len,
			  char why[API_BODY_ERROR_MAX])
{
	const char *wrong = NULL, *key;
	json_error_t error;
	json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error), *value;

	row->len = 0;
	if (!root && strspn(json, " \t\r\n") < len)
		return fail(why, "line %d: %.200s", error.line, error.text);
	if (!json_is_object(root))
		wrong = fail(why, "an object with the keys of a VM is wanted");
	json_object_foreach(root, key, value) {
		if (!json_is_null(value) && !wrong)
			wrong = put_pair(row, key, value, why);
	}
	json_decref(root);
	return wrong;
}

int api_body_level(const char *json, size_t len)
{
	json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(root, "level"));
	int level = -1;

	for (int i = LEVEL_ERR; name && json_object_size(root) == 1 && i <= LEVEL_TRACE; i++)
		if (strcmp(name, log_level_names[i]) == 0)
			level = i;
	json_decref(root);
	return level;
}
