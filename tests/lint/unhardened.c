/* SPDX-License-Identifier: BSD-3-Clause */
/* A program without any hardening, in which tests/lint/hardened.sh must find none. */
#include <stdio.h>

int main(int argc, char **argv)
{
	char text[64];

	return snprintf(text, sizeof text, "%d%s", argc, argv[0]) < 0;
}
