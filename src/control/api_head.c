/* SPDX-License-Identifier: BSD-3-Clause */
/* The head of a request. */
#include "control/api_head.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Another version of the library may have them elsewhere: then there is nothing to see. */
static bool are_apart(const char *one, const char *other)
{
	uintptr_t at = (uintptr_t)other - (uintptr_t)one;

	return at >= API_HEAD_BYTES && -at >= API_HEAD_BYTES;
}

static bool is_followed_by(const char *part, size_t len, const char *next)
{
	return are_apart(part, next) || next == part + len + 1;
}

/* Between what ends at @end, with a NUL, and @next are the ends of @n_lines lines. The library
 * makes each one or two NULs; another version leaves them, and cuts blanks off before them. A name
 * that was moved, for a line that goes on in the next one, has more than that before it. */
static bool is_line_end(const char *end, const char *next, size_t n_lines)
{
	size_t n_nuls = 0, n_blanks = 0;

	if (are_apart(end, next))
		return true;
	if (next <= end)
		return false;
	while (++end < next)
		if (!*end)
			n_nuls++;
		else if (strchr(" \t\r\n", *end))
			n_blanks++;
		else
			return false;
	return n_nuls < 2 * n_lines && (!n_nuls || !n_blanks);
}

const char *api_head_check_line(struct api_head *h, const char *method, const char *uri,
				size_t uri_len, const char *version)
{
	h->is_old = strcmp(version, "HTTP/1.0") == 0;
	h->end = version + strlen(version);
	if (uri && is_followed_by(method, strlen(method), uri) &&
	    is_followed_by(uri, uri_len, version))
		return NULL;
	return "the first line of a request is a method, a path and a version, with one blank "
		"between";
}

static bool is_token(const char *name)
{
	size_t n = 0;

	while (isalnum((unsigned char)name[n]) || (name[n] && strchr("!#$%&'*+-.^_`|~", name[n])))
		n++;
	return n && !name[n];
}

static bool has_controls(const char *value)
{
	for (; *value; value++)
		if (iscntrl((unsigned char)*value) && *value != '\t')
			return true;
	return false;
}

const char *api_head_check_field(struct api_head *h, const char *name, const char *value)
{
	bool is_length = strcasecmp(name, "Content-Length") == 0;
	bool is_coding = strcasecmp(name, "Transfer-Encoding") == 0;

	if (!is_token(name) || has_controls(value))
		return "a header has a character that may not be there";
	if (!is_line_end(h->end, name, 1))
		return "a header is one line, without a NUL in it";
	h->end = value + strlen(value);
	if (!is_length && !is_coding)
		return NULL;
	if (h->has_length || h->has_coding)
		return "it is said twice how long the body is";
	h->has_length = is_length;
	h->has_coding = is_coding;
	if (is_coding && (h->is_old || strcasecmp(value, "chunked") != 0))
		return "a body comes in chunks (HTTP/1.1), or has a Content-Length";
	return NULL;
}

const char *api_head_check_end(const struct api_head *h, const char *next)
{
	return is_line_end(h->end, next, 2) ? NULL : "the last line of a head has a NUL in it";
}
