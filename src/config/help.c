/* SPDX-License-Identifier: BSD-3-Clause */
/* What --help and --version print: the rows of keys and options, one after the other. */
#include "config/help.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/error.h"
#include "config/keys.h"
#include "config/options.h"

enum {
	WIDTH = 80,
	COLUMN = 29,				/* where the words about an option begin */
	TEXT_MAX_BYTES = 1024,			/* of these words */
};

#define NEXT_LINE "\n%*s"

/* To a full disk or a closed pipe the answer did not get through. */
static int finish_output(void)
{
	if (fflush(stdout) == EOF || ferror(stdout))
		return errno ? -errno : -EIO;
	return CONFIG_E_EXIT;
}

__attribute__((format(printf, 2, 3)))
static void append(char text[TEXT_MAX_BYTES], const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + len, TEXT_MAX_BYTES - len, fmt, ap);
	va_end(ap);
}

/* The help of a row, with its numbers and its default. */
static void make_text(char text[TEXT_MAX_BYTES], const struct setting *s)
{
	const char *normal = s->default_text ? s->default_text : s->default_value;
	const char *rest = s->help;

	*text = '\0';
	for (const char *brace; (brace = strchr(rest, '{')); rest = brace + strlen("{min}")) {
		append(text, "%.*s", (int)(brace - rest), rest);
		append(text, "%" PRIu64, strncmp(brace, "{min}", 5) == 0 ? s->min : s->max);
	}
	append(text, "%s", rest);
	if (normal)
		append(text, "%s(default%s%s)", text[strlen(text) - 1] == '\n' ? "" : " ",
		       *normal == '\n' ? "" : " ", normal);
}

/* At COLUMN. Breaks lines at blanks where they would be too long, and where @text does. */
static void print_text(const char *text)
{
	size_t column = COLUMN, len;

	for (; *text; text += len + (text[len] != '\0')) {
		len = strcspn(text, " \n");
		if (column + (column > COLUMN) + len > WIDTH) {
			printf(NEXT_LINE, COLUMN, "");
			column = COLUMN;
		}
		column += (size_t)printf("%s%.*s", column > COLUMN ? " " : "", (int)len, text);
		if (text[len] == '\n') {
			printf(NEXT_LINE, COLUMN, "");
			column = COLUMN;
		}
	}
	puts("");
}

static void print_row(const struct setting *s, char letter)
{
	char head[TEXT_MAX_BYTES] = "", text[TEXT_MAX_BYTES];

	if (letter)
		append(head, "  -%c, --%s", letter, s->name);
	else
		append(head, "      --%s", s->name);
	if (s->value)
		append(head, " %s", s->value);
	if (s->kind == SETTING_LIST)
		append(head, "[+%s]...", s->value);
	if (strlen(head) + 2 <= COLUMN)
		printf("%-*s", COLUMN, head);
	else
		printf("%s" NEXT_LINE, head, COLUMN, "");
	make_text(text, s);
	print_text(text);
}

static void print_usage(void)
{
	fputs(
"vhost-device-vsock: virtio-vsock devices for virtual machines, over vhost-user\n"
"\n"
"Usage:\n"
"  vhost-device-vsock --socket PATH --uds-path PATH [OPTION]...\n"
"  vhost-device-vsock --socket PATH --forward-cid CID [OPTION]...\n"
"  vhost-device-vsock --socket-connect PATH | --fd N ... [OPTION]...\n"
"  vhost-device-vsock --vm KEY=VALUE[,KEY=VALUE]... [--vm ...] [OPTION]...\n"
"  vhost-device-vsock --config FILE [OPTION]...\n"
"\n"
"Values follow as --option VALUE or --option=VALUE. Numbers are decimal, or\n"
"start with 0x (hexadecimal), 0o (octal) or 0b (binary).\n", stdout);
}

int help_print(void)
{
	errno = 0;
	print_usage();
	puts("\nOne VM (each also a key of --vm and of the file, with - or _):");
	for (const struct setting *key = vm_keys; key->name; key++)
		if (key->help)
			print_row(key, 0);
	for (const struct option_row *o = options_rows; o->setting.name; o++) {
		if (o->heading)
			printf("\n%s\n", o->heading);
		print_row(&o->setting, o->letter);
	}
	puts("\nExit status: 0 after a signal to end, 1 if the system fails us, 2 for a\n"
	     "mistake in the options or the file.");
	return finish_output();
}

int help_print_version(void)
{
	errno = 0;
	puts("vhost-device-vsock " VERSION);
	return finish_output();
}

/* VHostUserBackendCapabilities of QEMU's docs/interop/vhost-user.json. */
int help_print_capabilities(void)
{
	errno = 0;
	puts("{\"type\": \"vsock\", \"features\": []}");
	return finish_output();
}
