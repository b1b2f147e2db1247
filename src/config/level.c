/* SPDX-License-Identifier: BSD-3-Clause */
/* Log levels by name, and RUST_LOG. */
#include "config/level.h"

#include <string.h>
#include <strings.h>

#include "util/log.h"

/* Is the @len bytes at @text the word @word? */
static bool is_word(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

static bool parse_part(int *out, const char *text, size_t len)
{
	for (int level = LEVEL_ERR; level <= LEVEL_TRACE; level++) {
		if (is_word(text, len, log_level_names[level])) {
			*out = level;
			return true;
		}
	}
	return false;
}

bool level_parse(int *out, const char *name)
{
	return parse_part(out, name, strlen(name));
}

static bool parse_directive(int *out, const char *text, size_t len)
{
	if (is_word(text, len, "off")) {
		*out = LEVEL_ERR;
		return true;
	}
	return parse_part(out, text, len);
}

static bool is_our_target(const char *text, size_t len)
{
	static const char ours[] = "vhost_device_vsock";
	size_t ours_len = sizeof ours - 1;

	if (len < ours_len || strncmp(text, ours, ours_len) != 0)
		return false;
	return len == ours_len || text[ours_len] == ':';
}

bool level_parse_rust_log(int *out, const char *text)
{
	size_t end = strcspn(text, "/");	/* behind it: a filter on the text */
	bool has_ours = false, has_any = false;
	int ours = LEVEL_ERR, any = LEVEL_ERR;

	for (size_t at = 0, len; at < end; at += len + 1) {
		const char *item = text + at, *level;
		int found = LEVEL_TRACE;

		len = strcspn(item, ",/");
		level = memchr(item, '=', len);
		if (!level && parse_directive(&found, item, len)) {
			any = found;
			has_any = true;
			continue;
		}
		if (!is_our_target(item, level ? (size_t)(level - item) : len))
			continue;
		if (level && !parse_directive(&found, level + 1,
					      len - (size_t)(level + 1 - item)))
			continue;
		if (!has_ours || found > ours)
			ours = found;
		has_ours = true;
	}
	if (!has_ours && !has_any)
		return false;
	*out = has_ours ? ours : any;
	return true;
}
