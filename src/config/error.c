/* SPDX-License-Identifier: BSD-3-Clause */
/* Complaints about the configuration: set, prefixed, printed once. */
#include "config/error.h"

#include <stdarg.h>
#include <string.h>

int config_fail(struct config_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return CONFIG_E_USAGE;
}

int config_prefix(struct config_error *err, int r, const char *fmt, ...)
{
	char rest[CONFIG_ERROR_MAX];
	size_t len;
	va_list ap;

	if (r == 0)
		return 0;
	if (r < 0 && !*err->text)
		config_fail(err, "%s", strerror(-r));
	memcpy(rest, err->text, sizeof rest);

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof err->text - len, ": %s", rest);
	return r;
}

void config_error_print(const struct config_error *err, FILE *to)
{
	fputs("vhost-device-vsock: ", to);
	for (const char *text = err->text; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c != 0x7f)
			fputc(c, to);
		else
			fprintf(to, "\\x%02x", c);
	}
	fputc('\n', to);
}
