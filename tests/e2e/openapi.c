/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers against the document: see openapi.h. */
#include "e2e/openapi.h"

#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/must.h"

enum { TRIED_MAX = 64 };

static json_t *document;
static char tried[TRIED_MAX][96], wrong[512];
static int n_tried;

void openapi_load(const char *socket)
{
	struct http_answer a = http_ask(socket, "GET", "/v1/openapi.json", NULL);

	must(a.status == 200);
	document = json_loads(a.body, 0, NULL);
	must(document);
	n_tried = 0;
	http_answer_deinit(&a);
}

void openapi_unload(void)
{
	json_decref(document);
}

static const char *fail(const char *where, const char *what)
{
	snprintf(wrong, sizeof wrong, "%s: %s", where, what);
	return wrong;
}

/* "#/components/schemas/Vm". */
static const json_t *follow(const json_t *node)
{
	const char *ref = json_string_value(json_object_get(node, "$ref"));
	char path[128], *rest = path + 2, *part;

	if (!ref)
		return node;
	snprintf(path, sizeof path, "%s", ref);
	must(strncmp(path, "#/", 2) == 0);
	node = document;
	while ((part = strsep(&rest, "/")))
		node = json_object_get(node, part);
	must(node);
	return follow(node);
}

static bool has_type(const json_t *value, const char *type)
{
	return strcmp(type, "object") == 0 ? json_is_object(value) :
		strcmp(type, "array") == 0 ? json_is_array(value) :
		strcmp(type, "string") == 0 ? json_is_string(value) :
		strcmp(type, "integer") == 0 ? json_is_integer(value) :
		strcmp(type, "number") == 0 ? json_is_number(value) :
		strcmp(type, "boolean") == 0 && json_is_boolean(value);
}

static const char *check(const json_t *schema, const json_t *value, const char *where);

static const char *check_object(const json_t *schema, json_t *value, const char *where)
{
	const json_t *more = json_object_get(schema, "additionalProperties");
	const char *name, *found;
	json_t *member, *required;
	size_t i;

	json_array_foreach(json_object_get(schema, "required"), i, required)
		if (!json_object_get(value, json_string_value(required)))
			return fail(json_string_value(required), "is missing");
	json_object_foreach(value, name, member) {
		const json_t *its = json_object_get(json_object_get(schema, "properties"), name);

		if (!its && json_is_false(more))
			return fail(name, "is in no document");
		if (!its && json_is_object(more))
			its = more;
		found = its ? check(its, member, name) : NULL;
		if (found)
			return found;
	}
	(void)where;
	return NULL;
}

static const char *check_one_of(const json_t *any, const json_t *value, const char *where)
{
	json_t *schema;
	size_t i, n = 0;

	json_array_foreach(any, i, schema)
		n += !check(schema, value, where);
	return n == 1 ? NULL : fail(where, "is not one of them");
}

static const char *check_range(const json_t *schema, const json_t *value, const char *where)
{
	const json_t *min = json_object_get(schema, "minimum");
	const json_t *max = json_object_get(schema, "maximum");
	const json_t *len = json_object_get(schema, "minLength");

	if (min && json_number_value(value) < json_number_value(min))
		return fail(where, "is too small");
	if (max && json_number_value(value) > json_number_value(max))
		return fail(where, "is too large");
	if (len && json_string_length(value) < (size_t)json_integer_value(len))
		return fail(where, "is too short");
	return NULL;
}

static bool is_in(const json_t *list, const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_equal(item, value))
			return true;
	return false;
}

static const char *check(const json_t *schema, const json_t *value, const char *where)
{
	const json_t *node = follow(schema), *one_of = json_object_get(node, "oneOf");
	const char *type = json_string_value(json_object_get(node, "type")), *found = NULL;
	json_t *item;
	size_t i;

	if (json_is_null(value) && json_is_true(json_object_get(node, "nullable")))
		return NULL;
	if (type && !has_type(value, type))
		return fail(where, "is of another type");
	if (json_object_get(node, "enum") && !is_in(json_object_get(node, "enum"), value))
		return fail(where, "is none of its values");
	found = one_of ? check_one_of(one_of, value, where) : check_range(node, value, where);
	if (!found && json_is_object(value))
		found = check_object(node, (json_t *)(uintptr_t)value, where);
	if (json_is_array(value))
		json_array_foreach(value, i, item)
			found = found ? found : check(json_object_get(node, "items"), item, where);
	return found;
}

static void lower(char *to, const char *method)
{
	for (; *method; method++)
		*to++ = (char)tolower(*method);
	*to = '\0';
}

/* @content: of the document, by type. */
static const char *check_content(const json_t *content, const struct http_answer *a)
{
	const char *type, *found;
	json_t *body, *value = NULL;

	json_object_foreach((json_t *)(uintptr_t)content, type, body) {
		if (strncmp(a->type, type, strlen(type)) != 0)
			continue;
		if (strcmp(type, "application/json") != 0)
			return NULL;
		value = json_loads(a->body, JSON_DECODE_ANY, NULL);
		found = value ? check(json_object_get(body, "schema"), value, "the answer") :
			fail("the answer", "is no JSON");
		json_decref(value);
		return found;
	}
	return fail(a->type, "is no type that it may have");
}

const char *openapi_check(const char *method, const char *path, const struct http_answer *a)
{
	char name[16], status[16];
	const json_t *operation, *response;
	const char *found;

	lower(name, method);
	snprintf(status, sizeof status, "%d", a->status);
	operation = json_object_get(json_object_get(json_object_get(document, "paths"), path), name);
	if (!operation)
		return fail(path, "is in no document");
	response = json_object_get(json_object_get(operation, "responses"), status);
	if (!response && a->status < 400)
		return fail(status, "is no status that it may have");
	if (!response)
		response = json_object_get(json_object_get(operation, "responses"), "default");
	found = check_content(json_object_get(follow(response), "content"), a);
	if (!found && a->status < 300 && n_tried < TRIED_MAX)
		snprintf(tried[n_tried++], sizeof *tried, "%s %s", name, path);
	return found;
}

const char *openapi_find_untried(void)
{
	static char name[96];
	const char *path, *method;
	json_t *item, *operation;

	json_object_foreach(json_object_get(document, "paths"), path, item)
		json_object_foreach(item, method, operation) {
			int i = 0;

			if (!json_object_get(operation, "operationId"))
				continue;	/* what is the same for all of the path */
			snprintf(name, sizeof name, "%s %s", method, path);
			while (i < n_tried && strcmp(tried[i], name) != 0)
				i++;
			if (i == n_tried)
				return name;
		}
	return NULL;
}
