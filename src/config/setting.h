/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thing that the user may set is one row of a table: keys.c has those of one VM,
 * options.c those of all. --help is printed from the rows; man page, README and sample
 * are checked against it (tests/lint/docs.sh).
 *
 * A new one costs one row and the place that uses it: a field of the plan, or of a
 * struct in it that goes whole to the code it concerns (vsock_limits). The row names the
 * field, and does not compile if that has another type than the row fills.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct config_error;

struct setting {
	const char *name;			/* of the option, without its dashes */
	enum {
		SETTING_VALUE,
		SETTING_LIST,			/* "a+b": set() gets one at a time */
		SETTING_FLAG,			/* alone it means "true" */
	} kind;
	const char *value;			/* what --help calls it; NULL: it takes none */
	const char *help;			/* with the numbers below for "{min}" and "{max}" */
	const char *default_value;		/* as the user would write it; NULL: there is none */
	const char *default_text;		/* what --help says instead, or NULL */

	/* Takes @text into the field of @into. 0; CONFIG_E_USAGE; -ENOMEM. */
	int (*set)(const struct setting *s, void *into, const char *text,
		   struct config_error *err);
	size_t at;				/* the field */
	uint64_t min, max;			/* of a number; of seconds, min in ms */
};

/* The field @field of struct @of, which has the type @type. */
#define SETTING_AT(type, of, field)	_Generic(((of *)0)->field, type: offsetof(of, field))

/* What a row fills: field and function. */
#define SETTING_U32(of, field)		.set = setting_set_u32, .at = SETTING_AT(uint32_t, of, field)
#define SETTING_U64(of, field)		.set = setting_set_u64, .at = SETTING_AT(uint64_t, of, field)
#define SETTING_BOOL(of, field)		.set = setting_set_bool, .at = SETTING_AT(bool, of, field)
#define SETTING_TEXT(of, field)		.set = setting_set_text, .at = SETTING_AT(char *, of, field)
#define SETTING_PATH(of, field)		.set = setting_set_path, .at = SETTING_AT(char *, of, field)
#define SETTING_MODE(of, field)		.set = setting_set_mode, .at = SETTING_AT(mode_t, of, field)
/* One that was passed to us: no standard stream. */
#define SETTING_FD(of, field)	\
	.set = setting_set_fd, .at = SETTING_AT(int, of, field), .min = 3, .max = INT_MAX
#define SETTING_SECONDS(of, field_ms)	\
	.set = setting_set_seconds, .at = SETTING_AT(uint32_t, of, field_ms)

int setting_set_u32(const struct setting *s, void *into, const char *text,
		    struct config_error *err);
int setting_set_u64(const struct setting *s, void *into, const char *text,
		    struct config_error *err);
int setting_set_bool(const struct setting *s, void *into, const char *text,
		     struct config_error *err);
int setting_set_text(const struct setting *s, void *into, const char *text,
		     struct config_error *err);
int setting_set_path(const struct setting *s, void *into, const char *text,	/* of a socket */
		     struct config_error *err);
int setting_set_fd(const struct setting *s, void *into, const char *text,
		   struct config_error *err);
int setting_set_mode(const struct setting *s, void *into, const char *text,
		     struct config_error *err);
int setting_set_seconds(const struct setting *s, void *into, const char *text,
			struct config_error *err);

/* For a set() of one's own. */
static inline void *setting_field(const struct setting *s, void *into)
{
	return (char *)into + s->at;
}

/* Of values that have parts, "path=/run/x": the row of that name, and what follows. The rows end
 * with one that has no name. NULL: there is no such part. */
const struct setting *setting_find_part(const struct setting *rows, const char *text,
					const char **value);

/* Sets it to its default, if it has one. */
void setting_set_default(const struct setting *s, void *into);
