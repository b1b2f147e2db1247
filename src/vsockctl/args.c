/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line. A scanner of our own, as the daemon's: getopt_long() takes any start of an
 * option that is unambiguous today, and the next option for a value that was forgotten.
 */
#include "vsockctl/args.h"

#include <stdlib.h>
#include <string.h>

struct option {
	const char *name;
	char letter;				/* 0: has none */
	const char *value;			/* as it is shown; NULL: takes none */
	unsigned bit;				/* OPTION_*; 0: every command's */
	/* @value has been there, if it takes one. NULL, or what the value has to be. */
	const char *(*set)(struct args *a, const char *value);
	const char *help;
};

/* ---- values ---- */

bool args_number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9 || digit > max || n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return true;
}

static const char *set_api(struct args *a, const char *value)
{
	a->api = value;
	return *value ? NULL : "the path of a socket";
}

static const char *set_json(struct args *a, const char *value)
{
	(void)value;
	a->json = true;
	return NULL;
}

static const char *set_seqpacket(struct args *a, const char *value)
{
	(void)value;
	a->seqpacket = true;
	return NULL;
}

static const char *set_fdpass(struct args *a, const char *value)
{
	(void)value;
	a->fdpass = true;
	return NULL;
}

static const char *set_keep(struct args *a, const char *value)
{
	(void)value;
	a->keep = true;
	return NULL;
}

/* Seconds, with up to three decimals. */
static const char *set_timeout(struct args *a, const char *value)
{
	static const char *const wanted = "seconds, from 0.001 to 1000000, as 10 or 0.5";
	enum { MAX = 1000000 };
	const char *dot = strchr(value, '.');
	size_t len = dot ? (size_t)(dot - value) : strlen(value);
	uint64_t seconds, ms = 0, scale = 100;
	char whole[8];

	if (len >= sizeof whole)
		return wanted;
	memcpy(whole, value, len);
	whole[len] = '\0';
	if (!args_number(whole, MAX, &seconds))
		return wanted;
	if (dot && !dot[1])
		return wanted;
	for (const char *at = dot ? dot + 1 : ""; *at; at++, scale /= 10) {
		if (*at < '0' || *at > '9' || scale == 0)
			return wanted;
		ms += scale * (uint64_t)(*at - '0');
	}
	a->timeout_ms = seconds * 1000 + ms;
	return a->timeout_ms ? NULL : wanted;
}

static const char *set_mode(struct args *a, const char *value)
{
	uint32_t mode = 0;
	size_t len = strlen(value);

	for (const char *at = value; *at; at++) {
		if (len > 4 || *at < '0' || *at > '7')
			return "an octal number, as 0660";
		mode = mode * 8 + (uint32_t)(*at - '0');
	}
	if (len == 0 || mode > 0777)
		return "an octal number, as 0660";
	a->mode = mode;
	return NULL;
}

static const char *set_port(struct args *a, const char *value)
{
	static const char *const wanted = "ports, at most 64, as 1234 or 22+80";
	char number[12];
	uint64_t port;

	for (const char *at = value; ; at++) {
		size_t len = strcspn(at, "+");

		if (len >= sizeof number || a->n_ports == ARGS_PORTS_MAX)
			return wanted;
		memcpy(number, at, len);
		number[len] = '\0';
		if (!args_number(number, UINT32_MAX, &port))
			return wanted;
		a->ports[a->n_ports++] = (uint32_t)port;
		at += len;
		if (!*at)
			return NULL;
	}
}

static const char *set_snaplen(struct args *a, const char *value)
{
	uint64_t n;

	if (!args_number(value, 262144, &n) || n < 76)
		return "a number of bytes, from 76 to 262144";
	a->snaplen = (uint32_t)n;
	return NULL;
}

static const char *set_size(struct args *a, const char *value)
{
	return args_number(value, UINT64_MAX, &a->size) && a->size ? NULL : "a number of bytes";
}

static const char *set_files(struct args *a, const char *value)
{
	uint64_t n;

	if (!args_number(value, ARGS_FILES_MAX, &n) || !n)
		return "a number from 1 to 16";
	a->files = (unsigned)n;
	return NULL;
}

static const char *set_help(struct args *a, const char *value)
{
	(void)value;
	a->has_help = true;
	return NULL;
}

static const char *set_version(struct args *a, const char *value)
{
	(void)value;
	a->has_version = true;
	return NULL;
}

static const struct option options[] = {
	{ "--api", 0, "PATH", OPTION_API, set_api,
	  "the daemon's --api-socket (else VSOCKCTL_API, else\n"
	  "                           " ARGS_API_DEFAULT ")" },
	{ "--json", 0, NULL, OPTION_JSON, set_json, "for programs" },
	{ "--seqpacket", 0, NULL, OPTION_SEQPACKET, set_seqpacket, "messages, SOCK_SEQPACKET" },
	{ "--fdpass", 0, NULL, OPTION_FDPASS, set_fdpass,
	  "connect: hand the connection to ssh (ProxyUseFdpass)" },
	{ "--keep", 'k', NULL, OPTION_KEEP, set_keep,
	  "listen: one connection after the other; they are only read" },
	{ "--timeout", 't', "SECONDS", OPTION_TIMEOUT, set_timeout,
	  "connect, wait: how long until the guest answers;\n"
	  "                           shutdown: until the daemon has ended (default 10)" },
	{ "--mode", 'm', "OCTAL", OPTION_MODE, set_mode,
	  "listen: mode of the socket (default 0600)" },
	{ "--port", 'p', "PORT[+PORT]...", OPTION_CAPTURE, set_port,
	  "capture: only those from or to them" },
	{ "--snaplen", 's', "BYTES", OPTION_CAPTURE, set_snaplen,
	  "capture: how much of a packet (default 262144)" },
	{ "--size", 0, "BYTES", OPTION_CAPTURE, set_size,
	  "capture: of a file, before the next is used" },
	{ "--files", 0, "N", OPTION_CAPTURE, set_files,
	  "capture: FILE, FILE.1, ... in a circle (default 2)" },
	{ "--help", 'h', NULL, 0, set_help, "print a summary and exit" },
	{ "--version", 'V', NULL, 0, set_version, "print the version and exit" },
};

enum { N_OPTIONS = sizeof options / sizeof *options };

/* ---- words ---- */

struct scan {
	struct args *a;
	const struct command *commands;
	char **words;				/* what is left, NULL behind the last */
	unsigned n_operands;
	unsigned seen;				/* bits of the options that have a command */
	char *error;				/* ARGS_ERROR_MAX bytes */
};

#define SCAN_ERROR(s, ...)	(snprintf((s)->error, ARGS_ERROR_MAX, __VA_ARGS__), -1)

/* @word is "--name", "--name=value" or "-x". Sets @value if it is in the word. */
static const struct option *find_option(const char *word, const char **value)
{
	size_t len = strcspn(word, "=");

	*value = NULL;
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option *o = &options[i];

		if (o->letter && word[1] == o->letter && !word[2])
			return o;
		if (strlen(o->name) == len && strncmp(o->name, word, len) == 0) {
			if (word[len])
				*value = word + len + 1;
			return o;
		}
	}
	return NULL;
}

static int take_option(struct scan *s, const char *word)
{
	const char *value, *wanted;
	const struct option *o = find_option(word, &value);

	if (!o)
		return SCAN_ERROR(s, "there is no option %s", word);
	if (!o->value && value)
		return SCAN_ERROR(s, "%s takes no value", o->name);
	if (o->value && !value) {
		value = *s->words;
		if (!value || (value[0] == '-' && value[1]))
			return SCAN_ERROR(s, "%s needs a value: %s", o->name, o->value);
		s->words++;
	}
	s->seen |= o->bit;
	wanted = o->set(s->a, value);
	return wanted ? SCAN_ERROR(s, "%s %s: it has to be %s", o->name, value, wanted) : 0;
}

static const struct command *find_command(const struct command *c, const char *name)
{
	for (; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int take_word(struct scan *s, const char *word)
{
	if (!s->a->command) {
		s->a->command = find_command(s->commands, word);
		return s->a->command ? 0 : SCAN_ERROR(s, "there is no command %s", word);
	}
	if (s->n_operands == s->a->command->n_max)
		return SCAN_ERROR(s, "%s: what is %s?", s->a->command->name, word);
	s->a->operands[s->n_operands++] = word;
	return 0;
}

static int check(struct scan *s)
{
	const struct command *c = s->a->command;

	if (s->a->has_help || s->a->has_version)
		return 0;
	if (!c)
		return SCAN_ERROR(s, "which command? See vsockctl --help");
	if (s->n_operands < c->n_min)
		return SCAN_ERROR(s, "usage: vsockctl %s %s", c->name, c->operands);
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (s->seen & options[i].bit & ~c->options)
			return SCAN_ERROR(s, "%s has no option %s", c->name, options[i].name);
	if (s->a->fdpass && s->a->seqpacket)
		return SCAN_ERROR(s, "--fdpass is for streams, --seqpacket is not");
	if (s->a->files && !s->a->size)
		return SCAN_ERROR(s, "--files needs --size: it says when the next one is used");
	return 0;
}

int args_parse(struct args *a, const struct command *commands, int argc, char **argv,
	       char error[ARGS_ERROR_MAX])
{
	struct scan s = {
		.a = a, .commands = commands, .words = argv + (argc > 0), .error = error,
	};
	bool has_options = true;		/* until "--" */
	int r = 0;

	*a = (struct args){ .timeout_ms = UINT64_MAX, .mode = UINT32_MAX };
	while (r == 0 && *s.words) {
		const char *word = *s.words++;

		if (has_options && strcmp(word, "--") == 0)
			has_options = false;
		else if (has_options && word[0] == '-' && word[1])
			r = take_option(&s, word);
		else
			r = take_word(&s, word);
	}
	return r ? r : check(&s);
}

const char *args_api(const struct args *a, bool *was_said)
{
	const char *path = a->api;

	if (!path) {
		path = getenv("VSOCKCTL_API");
		if (path && !*path)
			path = NULL;
	}
	if (was_said)
		*was_said = path;
	return path ? path : ARGS_API_DEFAULT;
}

/* ---- help ---- */

void args_put_help(FILE *f, const struct command *commands)
{
	char shown[64];

	fputs("usage: vsockctl [OPTION]... COMMAND [OPERAND]...\n\n"
	      "Commands:\n", f);
	for (const struct command *c = commands; c->name; c++) {
		snprintf(shown, sizeof shown, "%s %s", c->name, c->operands);
		fprintf(f, "  %-24s %s\n", shown, c->help);
	}
	fputs("\nUDS is a VM's --uds-path; PORT one of the guest's, or of the host's (listen).\n\n"
	      "Options:\n", f);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option *o = &options[i];
		char letter[5] = "    ";

		if (o->letter)
			snprintf(letter, sizeof letter, "-%c, ", o->letter);
		snprintf(shown, sizeof shown, "%s%s%s%s", letter, o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		fprintf(f, "  %-22s %s\n", shown, o->help);
	}
	fputs("\nExit status: 0 done; 1 failed; 2 a mistake in the command line; 3 refused; 4 too\n"
	      "late; 5 no daemon; 6 doctor: something is wrong.\n", f);
}
