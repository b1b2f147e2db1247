/* SPDX-License-Identifier: BSD-3-Clause */
/* The CONNECT line: what is one, and which port it names. */
#include "backend/hybrid.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { UNTOUCHED = 4711 };

struct line_case {
	const char *line;
	bool good;
	uint32_t port;
};

static const struct line_case line_cases[] = {
	{ "CONNECT 1234", true, 1234 },
	{ "connect 1234", true, 1234 },
	{ "CoNnEcT 1", true, 1 },
	{ "CONNECT 0", true, 0 },
	{ "CONNECT 007", true, 7 },
	{ "CONNECT 4294967295", true, 4294967295u },
	{ "CONNECT 1234\r", true, 1234 },
	{ "CONNECT 1234 \r", true, 1234 },
	{ "CONNECT\t1234", true, 1234 },
	{ "CONNECT   1234   ", true, 1234 },
	{ " CONNECT 1234", true, 1234 },
	{ "CONNECT 1234 and more", true, 1234 },
	{ "CONNECT 1234 5678", true, 1234 },
	{ "", false, 0 },
	{ " ", false, 0 },
	{ "\r", false, 0 },
	{ "CONNECT", false, 0 },
	{ "CONNECT ", false, 0 },
	{ "CONNECT \r", false, 0 },
	{ "CONNECT1234", false, 0 },
	{ "CONNEC 1234", false, 0 },
	{ "CONNECTS 1234", false, 0 },
	{ "OK 1234", false, 0 },
	{ "1234", false, 0 },
	{ "CONNECT 4294967296", false, 0 },
	{ "CONNECT 99999999999999999999999", false, 0 },
	{ "CONNECT 18446744073709551617", false, 0 },
	{ "CONNECT -1", false, 0 },
	{ "CONNECT +1", false, 0 },
	{ "CONNECT 0x10", false, 0 },
	{ "CONNECT 12a", false, 0 },
	{ "CONNECT a", false, 0 },
	{ "CONNECT 1.0", false, 0 },
	{ "CONNECT\n1", false, 0 },
};

/* Exact size, so that a byte too far is seen. */
static bool parse(const char *line, size_t len, uint32_t *port)
{
	char *copy = malloc(len ? len : 1);
	bool good;

	memcpy(copy, line, len);
	good = hybrid_parse_connect(copy, len, port);
	free(copy);
	return good;
}

START_TEST(lines)
{
	const struct line_case *c = &line_cases[_i];
	uint32_t port = UNTOUCHED;

	ck_assert_msg(parse(c->line, strlen(c->line), &port) == c->good, "%s", c->line);
	ck_assert_msg(port == (c->good ? c->port : UNTOUCHED), "%s", c->line);
}
END_TEST

/* Cut at every byte: a port needs its keyword and a digit. */
START_TEST(every_cut)
{
	char line[] = "CONNECT 4294967295";
	uint32_t port = UNTOUCHED;

	line[_i] = '\0';
	ck_assert_int_eq(parse(line, (size_t)_i, &port), _i > 8);
	if (_i > 8)
		ck_assert_uint_eq(port, strtoul(line + 8, NULL, 10));
}
END_TEST

START_TEST(nul_bytes)
{
	uint32_t port = UNTOUCHED;

	ck_assert(!parse("CONNECT 1\0", 10, &port));
	ck_assert(!parse("CONNECT\0" "1", 9, &port));
	ck_assert(!parse("\0CONNECT 1", 10, &port));
	ck_assert_uint_eq(port, UNTOUCHED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hybrid");
	TCase *tc = tcase_create("hybrid");

	tcase_add_loop_test(tc, lines, 0, COUNT(line_cases));
	tcase_add_loop_test(tc, every_cut, 0, sizeof "CONNECT 4294967295");
	tcase_add_test(tc, nul_bytes);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
