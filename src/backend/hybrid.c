/* SPDX-License-Identifier: BSD-3-Clause */
/* The CONNECT line of hybrid vsock. */
#include "backend/hybrid.h"

#include <strings.h>

#include "protocol/hybrid.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word; empty at the end. */
static const char *next_word(const char **at, const char *end, size_t *len)
{
	const char *word;

	while (*at < end && is_space(**at))
		(*at)++;
	word = *at;
	while (*at < end && !is_space(**at))
		(*at)++;
	*len = (size_t)(*at - word);
	return word;
}

static bool parse_port(const char *word, size_t len, uint32_t *port)
{
	uint64_t v = 0;

	if (!len)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (word[i] < '0' || word[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(word[i] - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*port = (uint32_t)v;
	return true;
}

bool hybrid_parse_connect(const char *line, size_t len, uint32_t *port)
{
	const char *at = line, *end = line + len, *word;
	size_t n;

	word = next_word(&at, end, &n);
	if (n != sizeof HYBRID_CONNECT - 1 || strncasecmp(word, HYBRID_CONNECT, n) != 0)
		return false;
	word = next_word(&at, end, &n);
	return parse_port(word, n, port);
}
