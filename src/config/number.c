/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as the user writes them. */
#include "config/number.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/error.h"

enum { MODE_MAX = 0777 };

enum { DIGITS_E_NONE = 1, DIGITS_E_OVERFLOW };

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 16;
}

/* Reads the digits at *@text and moves it behind them. */
static int take_digits(uint64_t *out, const char **text, unsigned base)
{
	const char *start = *text;
	uint64_t value = 0;
	bool overflow = false;

	for (unsigned d; (d = digit_value(**text)) < base; (*text)++)
		overflow |= __builtin_mul_overflow(value, base, &value) ||
			    __builtin_add_overflow(value, d, &value);
	if (*text == start)
		return DIGITS_E_NONE;
	if (overflow)
		return DIGITS_E_OVERFLOW;
	*out = value;
	return 0;
}

/* Moves *@text behind a prefix that names the base, if there is one. */
static unsigned take_base(const char **text, unsigned base)
{
	static const struct {
		char letter;
		unsigned base;
	} prefixes[] = { { 'x', 16 }, { 'o', 8 }, { 'b', 2 } };

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		if ((*text)[0] != '0' || ((*text)[1] | 0x20) != prefixes[i].letter)
			continue;
		*text += 2;
		return prefixes[i].base;
	}
	return base;
}

int number_parse(uint64_t *out, const char *text, uint64_t min, uint64_t max,
		 struct config_error *err)
{
	const char *cur = text;
	uint64_t value = 0;
	unsigned base;
	int r;

	if (*cur == '+')
		cur++;
	base = take_base(&cur, 10);
	r = take_digits(&value, &cur, base);
	if (r == DIGITS_E_NONE || *cur)
		return config_fail(err, SHOWN " is not a number", text);
	if (r == DIGITS_E_OVERFLOW || value < min || value > max)
		return config_fail(err, SHOWN " is not between %" PRIu64
				   " and %" PRIu64, text, min, max);
	*out = value;
	return 0;
}

int number_parse_mode(uint32_t *out, const char *text, struct config_error *err)
{
	const char *cur = text;
	uint64_t value = 0;

	if (take_base(&cur, 8) != 8 || take_digits(&value, &cur, 8) != 0 || *cur)
		return config_fail(err, SHOWN " is not an octal mode", text);
	if (value > MODE_MAX)
		return config_fail(err, SHOWN " is not between 0 and 0777", text);
	*out = (uint32_t)value;
	return 0;
}

/* The fraction behind the point, at least one digit, in ms rounded up. */
static bool take_fraction(uint64_t *out_ms, const char **text)
{
	const char *start = *text;
	uint64_t scale = 100, ms = 0;
	bool rest = false;

	for (; **text >= '0' && **text <= '9'; (*text)++) {
		ms += (uint64_t)(**text - '0') * scale;
		rest |= scale == 0 && **text != '0';
		scale /= 10;
	}
	*out_ms = ms + rest;
	return *text != start;
}

int number_parse_seconds(uint32_t *out_ms, const char *text,
			 struct config_error *err)
{
	const char *cur = text;
	uint64_t seconds = 0, fraction_ms = 0;
	int r = take_digits(&seconds, &cur, 10);
	bool is_good = r != DIGITS_E_NONE;

	if (is_good && *cur == '.') {
		cur++;
		is_good = take_fraction(&fraction_ms, &cur);
	}
	if (!is_good || *cur)
		return config_fail(err, SHOWN " is not a number of seconds", text);
	if (r == DIGITS_E_OVERFLOW || seconds > UINT32_MAX / 1000 - 1)
		return config_fail(err, SHOWN " is more than %u seconds", text,
				   UINT32_MAX / 1000 - 1);
	*out_ms = (uint32_t)(seconds * 1000 + fraction_ms);
	return 0;
}
