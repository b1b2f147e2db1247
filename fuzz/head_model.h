/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How libmicrohttpd (0.9.75) cuts the head of a request, where it lies: the ends of lines become
 * NULs, a line begins with its name and ends at its first NUL, and one that begins with a blank is
 * put behind the name of the one before, which is moved for that.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "control/api_head.h"

/* NULL: there is no end of a line; @at is moved behind it. */
static inline char *head_model_line(char **at, const char *last)
{
	char *line = *at, *end = memchr(line, '\n', (size_t)(last - line));

	if (!end)
		return NULL;
	*at = end + 1;
	*end = '\0';
	if (end > line && end[-1] == '\r')
		end[-1] = '\0';
	return line;
}

static inline const char *head_model_first(struct api_head *h, char *line, size_t len)
{
	char *uri = memchr(line, ' ', len), *version = memrchr(line, ' ', len);

	if (!uri || version == uri)
		return "no HTTP";
	while (uri < version && *uri == ' ')
		*uri++ = '\0';
	*version++ = '\0';
	return api_head_check_line(h, line, uri, strlen(uri), version);
}

/* The fields and the end; @spare: bytes for a name that is moved. */
static inline const char *head_model_rest(struct api_head *h, char *at, const char *last, char *spare)
{
	char *name = NULL, *value = NULL, *line;
	const char *wrong;

	while ((line = head_model_line(&at, last))) {
		if (name && (*line == ' ' || *line == '\t')) {
			if (name != spare)
				name = strcpy(spare, name);
			strcat(name, line + strspn(line, " \t"));
			continue;
		}
		wrong = name ? api_head_check_field(h, name, value) : NULL;
		if (wrong)
			return wrong;
		if (!*line)
			return api_head_check_end(h, at);
		name = line;
		value = strchr(line, ':');
		if (!value)
			return "no HTTP";
		*value++ = '\0';
		value += strspn(value, " \t");
	}
	return "no end";
}

/* Of @text: NULL if it is accepted, all of it; what is wrong. */
static inline const char *head_model_judge(struct api_head *h, const char *text, size_t size)
{
	char *copy = calloc(1, 2 * size + 2), *at = copy, *line;
	const char *wrong = "no end";

	if (!copy)
		abort();
	memcpy(copy, text, size);
	line = head_model_line(&at, copy + size);
	if (line)
		wrong = head_model_first(h, line, (size_t)(at - line) - 1);
	if (!wrong)
		wrong = head_model_rest(h, at, copy + size, copy + size + 1);
	free(copy);
	h->end = NULL;
	return wrong;
}
