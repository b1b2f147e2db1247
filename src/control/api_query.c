/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands behind the path of a request. */
#include "control/api_query.h"

#include <string.h>

#include "util/decimal.h"

/* -1: it is none. */
static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Of "%XX"; 0: it is not that, or a NUL. */
static char decode_byte(const char *text)
{
	int high = *text == '%' ? hex_digit(text[1]) : -1, low = high < 0 ? -1 : hex_digit(text[2]);

	return (char)(low < 0 ? 0 : high << 4 | low);
}

size_t api_query_decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from; ) {
		char byte = decode_byte(from);

		*to++ = byte ? byte : *from;
		from += byte ? 3 : 1;
	}
	*to = '\0';
	return (size_t)(to - text);
}

int api_query_claim(const struct api_query_key *keys, const char *name, unsigned *given)
{
	size_t i = 0;

	while (keys && keys[i].name && strcmp(keys[i].name, name) != 0)
		i++;
	if (!keys || !keys[i].name)
		return API_QUERY_E_UNKNOWN;
	if (*given & 1u << i && !keys[i].may_repeat)
		return API_QUERY_E_REPEATED;
	*given |= 1u << i;
	return 0;
}

bool api_query_time(const char *text, uint64_t *out_ns)
{
	enum { SECS_MAX = 10, NANOS = 9 };
	const uint64_t second = UINT64_C(1000000000);
	const char *at = text;
	uint64_t secs, nanos;

	if (!decimal_take(&at, 10 * second - 1, &secs) || at - text > SECS_MAX || *at != '.')
		return false;
	text = ++at;
	if (!decimal_take(&at, second - 1, &nanos) || at - text != NANOS || *at)
		return false;
	*out_ns = secs * second + nanos;
	return true;
}

bool api_query_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t n;

	if (!decimal_take(&text, max, &n) || *text || n < min)
		return false;
	*out = n;
	return true;
}
