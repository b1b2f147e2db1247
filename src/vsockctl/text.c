/* SPDX-License-Identifier: BSD-3-Clause */
/* What is shown to people and to programs. */
#include "vsockctl/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { COMPLAINT_MAX = 1024, ESCAPE_MAX = 5 };

static size_t escape_byte(char to[ESCAPE_MAX], unsigned char c)
{
	if (c == '\\')
		return (size_t)snprintf(to, ESCAPE_MAX, "\\\\");
	if (c < ' ' || c > '~')
		return (size_t)snprintf(to, ESCAPE_MAX, "\\x%02x", c);
	to[0] = (char)c;
	to[1] = '\0';
	return 1;
}

char *text_escape(char *to, size_t size, const char *s)
{
	static const char dots[] = "...";
	size_t len = 0, cut = 0;		/* cut: where the dots would fit */

	for (; *s; s++) {
		char escaped[ESCAPE_MAX];
		size_t n = escape_byte(escaped, (unsigned char)*s);

		if (n >= size - len) {
			if (size >= sizeof dots) {
				memcpy(to + cut, dots, sizeof dots);
				return to;
			}
			break;
		}
		memcpy(to + len, escaped, n);
		len += n;
		if (len + sizeof dots <= size)
			cut = len;
	}
	to[len] = '\0';
	return to;
}

void text_put(FILE *f, const char *s)
{
	for (; *s; s++) {
		char escaped[ESCAPE_MAX];

		escape_byte(escaped, (unsigned char)*s);
		fputs(escaped, f);
	}
}

/* ---- JSON ---- */

enum { REPLACEMENT = 0xfffd };

/* The code point at *@s, which moves behind it; of what is no UTF-8, behind one byte. */
static uint32_t next_point(const unsigned char **s)
{
	static const struct { unsigned char mask, lead; uint32_t least; } forms[] = {
		{ 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 },
		{ 0xf8, 0xf0, 0x10000 },
	};
	const unsigned char *at = *s;

	*s = at + 1;
	for (size_t more = 0; more < sizeof forms / sizeof *forms; more++) {
		uint32_t point = at[0] & (unsigned char)~forms[more].mask;

		if ((at[0] & forms[more].mask) != forms[more].lead)
			continue;
		for (size_t i = 1; i <= more; i++) {
			if ((at[i] & 0xc0) != 0x80)
				return REPLACEMENT;
			point = point << 6 | (at[i] & 0x3f);
		}
		if (point < forms[more].least || point > 0x10ffff ||
		    (point >= 0xd800 && point < 0xe000))
			return REPLACEMENT;
		*s = at + 1 + more;
		return point;
	}
	return REPLACEMENT;
}

static void put_point(FILE *f, uint32_t point)
{
	if (point >= ' ' && point <= '~')
		fputc((int)point, f);
	else if (point < 0x10000)
		fprintf(f, "\\u%04" PRIx32, point);
	else
		fprintf(f, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + ((point - 0x10000) >> 10),
			0xdc00 + ((point - 0x10000) & 0x3ff));
}

void text_put_ascii(FILE *f, const char *json)
{
	for (const unsigned char *at = (const unsigned char *)json; *at; )
		put_point(f, next_point(&at));
}

void text_put_json(FILE *f, const char *s)
{
	if (!s) {
		fputs("null", f);
		return;
	}
	fputc('"', f);
	for (const unsigned char *at = (const unsigned char *)s; *at; ) {
		if (*at == '"' || *at == '\\')
			fputc('\\', f);
		put_point(f, next_point(&at));
	}
	fputc('"', f);
}

/* ---- people ---- */

void text_complain(const char *fmt, ...)
{
	char said[COMPLAINT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(said, sizeof said, fmt, args);
	va_end(args);
	fflush(stdout);				/* what came before it stands before it */
	fputs("vsockctl: ", stderr);
	text_put(stderr, said);
	fputc('\n', stderr);
}

char *text_bytes(char to[TEXT_SHORT_MAX], uint64_t n)
{
	static const char units[] = "KMGTPE";
	uint64_t unit = 1;
	int i = -1;

	while (n / unit >= 1000 && units[i + 1]) {
		unit *= 1024;
		i++;
	}
	if (i < 0)
		snprintf(to, TEXT_SHORT_MAX, "%" PRIu64, n);
	else if (n / unit >= 10 || n % unit == 0)
		snprintf(to, TEXT_SHORT_MAX, "%" PRIu64 "%c", n / unit, units[i]);
	else					/* below 10 units: no overflow */
		snprintf(to, TEXT_SHORT_MAX, "%" PRIu64 ".%" PRIu64 "%c", n / unit,
			 n % unit / (unit / 1024) * 10 / 1024, units[i]);
	return to;
}

char *text_age(char to[TEXT_SHORT_MAX], uint64_t ms)
{
	static const struct { uint64_t ms; char name; } units[] = {
		{ 86400000, 'd' }, { 3600000, 'h' }, { 60000, 'm' },
	};

	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (ms >= 2 * units[i].ms) {
			snprintf(to, TEXT_SHORT_MAX, "%" PRIu64 "%c", ms / units[i].ms,
				 units[i].name);
			return to;
		}
	if (ms < 10000)
		snprintf(to, TEXT_SHORT_MAX, "%" PRIu64 ".%" PRIu64 "s", ms / 1000,
			 ms % 1000 / 100);
	else
		snprintf(to, TEXT_SHORT_MAX, "%" PRIu64 "s", ms / 1000);
	return to;
}
