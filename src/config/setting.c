/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows, and how the common kinds of values get into their fields. */
#include "config/setting.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "config/error.h"
#include "config/number.h"

int setting_set_u64(const struct setting *s, void *into, const char *text,
		    struct config_error *err)
{
	return number_parse(setting_field(s, into), text, s->min, s->max, err);
}

int setting_set_u32(const struct setting *s, void *into, const char *text,
		    struct config_error *err)
{
	uint64_t number;
	int r = number_parse(&number, text, s->min, s->max, err);

	if (r == 0)
		*(uint32_t *)setting_field(s, into) = (uint32_t)number;
	return r;
}

int setting_set_bool(const struct setting *s, void *into, const char *text,
		     struct config_error *err)
{
	bool is_true = strcmp(text, "true") == 0;

	if (!is_true && strcmp(text, "false") != 0)
		return config_fail(err, SHOWN " is neither true nor false", text);
	*(bool *)setting_field(s, into) = is_true;
	return 0;
}

int setting_set_text(const struct setting *s, void *into, const char *text,
		     struct config_error *err)
{
	char **field = setting_field(s, into);

	(void)err;
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

/*
 * Only the path itself has to fit. A uds-path so long that "_<port>" does not
 * fit behind it still serves host programs; the guest's connects to such a port
 * fail (limits_port_digits() tells which).
 */
int setting_set_path(const struct setting *s, void *into, const char *text,
		     struct config_error *err)
{
	size_t max = sizeof ((struct sockaddr_un *)0)->sun_path - 1;

	if (strlen(text) > max)
		return config_fail(err, SHOWN_PATH " has %zu bytes; the path of a socket "
				   "has at most %zu", text, strlen(text), max);
	return setting_set_text(s, into, text, err);
}

int setting_set_fd(const struct setting *s, void *into, const char *text,
		   struct config_error *err)
{
	uint64_t fd;
	int r = number_parse(&fd, text, s->min, s->max, err);

	if (r == 0)
		*(int *)setting_field(s, into) = (int)fd;
	return r;
}

int setting_set_mode(const struct setting *s, void *into, const char *text,
		     struct config_error *err)
{
	uint32_t mode;
	int r = number_parse_mode(&mode, text, err);

	if (r == 0)
		*(mode_t *)setting_field(s, into) = (mode_t)mode;
	return r;
}

int setting_set_seconds(const struct setting *s, void *into, const char *text,
			struct config_error *err)
{
	uint32_t *field_ms = setting_field(s, into);
	int r = number_parse_seconds(field_ms, text, err);

	if (r == 0 && *field_ms < s->min)
		r = config_fail(err, SHOWN " leaves no time at all", text);
	return r;
}

const struct setting *setting_find_part(const struct setting *rows, const char *text,
					const char **value)
{
	size_t len = strcspn(text, "=");

	for (const struct setting *s = rows; text[len] && s->name; s++)
		if (strncmp(text, s->name, len) == 0 && !s->name[len]) {
			*value = text + len + 1;
			return s;
		}
	return NULL;
}

void setting_set_default(const struct setting *s, void *into)
{
	struct config_error err = { "" };
	int r = 0;

	if (s->default_value)
		r = s->set(s, into, s->default_value, &err);
	assert(r == 0);				/* or the row is wrong */
}
