/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#include "config/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/error.h"
#include "config/keys.h"
#include "config/level.h"
#include "config/number.h"
#include "config/plan.h"
#include "util/log.h"

enum {
	NAME_MAX_BYTES = 32,			/* of an option, with its end */
};

/* People write lists with a blank after the comma. */
#define NO_BLANKS "; write KEY=VALUE,KEY=VALUE without blanks"

/* Where the VMs come from; one excludes the others. */
enum source { SOURCE_NONE, SOURCE_SINGLE, SOURCE_VM, SOURCE_CONFIG };

struct scan {
	struct options *options;
	struct plan *plan;
	struct config_error *err;
	char **next, **end;			/* the words not yet read */
	unsigned given;				/* rows of options_table */
	enum source source;
	const char *source_name;		/* the first option that said so */
	unsigned single_given;			/* keys of the VM of single options */
	unsigned n_verbose;
};

struct option {
	const char *name;
	char letter;				/* 0: has none */
	bool takes_value, is_repeatable;
	int (*set)(struct scan *s, const char *value);
};

static int claim_source(struct scan *s, enum source source, const char *name)
{
	if (s->source != SOURCE_NONE && s->source != source)
		return config_fail(s->err, "--%s and --%s exclude one another",
				   s->source_name, name);
	if (s->source == SOURCE_NONE)
		s->source_name = name;
	s->source = source;
	return 0;
}

/* One "key=value" of --vm. */
static int set_vm_pair(struct vm_plan *vm, unsigned *given, char *pair,
		       struct config_error *err)
{
	char *value = strchr(pair, '='), *name;
	const struct vm_key *key;
	size_t len;
	int r;

	if (!value)
		return config_fail(err, SHOWN " is not key=value", pair);
	*value++ = '\0';
	len = strlen(pair);
	name = keys_trim(pair);
	if (strlen(name) < len)
		return config_fail(err, "a blank %s " SHOWN NO_BLANKS,
				   name > pair ? "before" : "after", name);
	key = keys_find(name);
	if (!key)
		return config_fail(err, "unknown key " SHOWN, name);
	r = keys_claim(key, given, err);
	if (r == 0)
		r = keys_set(key, vm, value, err);
	return config_prefix(err, r, "%s", name);
}

/* The value of --vm, which is cut into its pairs. */
static int set_vm_pairs(struct vm_plan *vm, char *pairs, struct config_error *err)
{
	char *rest = keys_trim(pairs);
	unsigned given = 0;
	int r = 0;

	for (char *pair; r == 0 && (pair = strsep(&rest, ",")); ) {
		if (!*pair && !rest && given)	/* "a=b, c=d", cut at the blank by the shell */
			r = config_fail(err, "nothing after the last comma" NO_BLANKS);
		else
			r = set_vm_pair(vm, &given, pair, err);
	}
	return r;
}

static int set_vm(struct scan *s, const char *value)
{
	char origin[32], *copy;
	struct vm_plan *vm;
	int r;

	r = claim_source(s, SOURCE_VM, "vm");
	if (r)
		return r;
	snprintf(origin, sizeof origin, "--vm %zu", s->plan->n_vms + 1);
	copy = strdup(value);
	vm = copy ? plan_add_vm(s->plan, origin) : NULL;
	r = vm ? set_vm_pairs(vm, copy, s->err) : -ENOMEM;
	free(copy);
	return config_prefix(s->err, r, "%s", origin);
}

static int set_config(struct scan *s, const char *value)
{
	s->options->config = value;
	return claim_source(s, SOURCE_CONFIG, "config");
}

static int set_log_file(struct scan *s, const char *value)
{
	s->plan->log_file = strdup(value);
	return s->plan->log_file ? 0 : -ENOMEM;
}

static int fail_two_levels(struct scan *s)
{
	return config_fail(s->err, "--log-level and --verbose exclude one another");
}

static int set_log_level(struct scan *s, const char *value)
{
	if (s->n_verbose)
		return fail_two_levels(s);
	s->options->has_log_level = true;
	if (!level_parse(&s->plan->log_level, value))
		return config_fail(s->err, "--log-level: " SHOWN " is none of error, "
				   "warn, info, debug, trace", value);
	return 0;
}

static int add_verbose(struct scan *s, const char *value)
{
	(void)value;
	if (s->options->has_log_level && !s->n_verbose)
		return fail_two_levels(s);
	s->options->has_log_level = true;
	s->n_verbose++;
	if (s->plan->log_level < LEVEL_TRACE)
		s->plan->log_level++;
	return 0;
}

static int set_socket_mode(struct scan *s, const char *value)
{
	return config_prefix(s->err, keys_set_mode(&s->plan->vhost_socket, value, s->err),
			     "--socket-mode");
}

static int set_uds_mode(struct scan *s, const char *value)
{
	return config_prefix(s->err, keys_set_mode(&s->plan->uds_socket, value, s->err),
			     "--uds-mode");
}

static int set_socket_group(struct scan *s, const char *value)
{
	return keys_set_group(&s->plan->vhost_socket, value);
}

static int set_uds_group(struct scan *s, const char *value)
{
	return keys_set_group(&s->plan->uds_socket, value);
}

static int set_user(struct scan *s, const char *value)
{
	s->options->user = value;
	return 0;
}

static int set_group(struct scan *s, const char *value)
{
	s->options->group = value;
	return 0;
}

static int set_sandbox(struct scan *s, const char *value)
{
	static const char *const wishes[] = {
		[SANDBOX_OFF] = "off", [SANDBOX_LOG] = "log", [SANDBOX_ON] = "on",
		[SANDBOX_STRICT] = "on,strict",
	};

	for (int wish = SANDBOX_OFF; wish <= SANDBOX_STRICT; wish++) {
		if (strcmp(value, wishes[wish]) == 0) {
			s->plan->sandbox = (enum sandbox_wish)wish;
			return 0;
		}
	}
	return config_fail(s->err, "--sandbox: " SHOWN " is none of on; on,strict; log; off",
			   value);
}

static int set_linger(struct scan *s, const char *value)
{
	return config_prefix(s->err, number_parse_seconds(&s->plan->linger_ms, value, s->err),
			     "--linger");
}

static int set_pause_grace(struct scan *s, const char *value)
{
	return config_prefix(s->err, number_parse_seconds(&s->plan->pause_grace_ms, value, s->err),
			     "--pause-grace");
}

/* Zero would not be "for ever", which is what somebody might mean by it. */
static int set_handshake_timeout(struct scan *s, const char *value)
{
	int r = number_parse_seconds(&s->plan->handshake_ms, value, s->err);

	if (r == 0 && s->plan->handshake_ms == 0)
		r = config_fail(s->err, SHOWN " leaves no time at all", value);
	return config_prefix(s->err, r, "--handshake-timeout");
}

static int set_threads(struct scan *s, const char *value)
{
	uint64_t n;
	int r = number_parse(&n, value, 1, PLAN_THREADS_MAX, s->err);

	if (r)
		return config_prefix(s->err, r, "--threads");
	s->plan->threads = (uint32_t)n;
	return 0;
}

static int set_help(struct scan *s, const char *value)
{
	(void)value;
	s->options->print = PRINT_HELP;
	return CONFIG_E_EXIT;
}

static int set_version(struct scan *s, const char *value)
{
	(void)value;
	s->options->print = PRINT_VERSION;
	return CONFIG_E_EXIT;
}

static const struct option options_table[] = {
	{ "vm",			0,	true,	true,	set_vm },
	{ "config",		0,	true,	false,	set_config },
	{ "socket-mode",	0,	true,	false,	set_socket_mode },
	{ "socket-group",	0,	true,	false,	set_socket_group },
	{ "uds-mode",		0,	true,	false,	set_uds_mode },
	{ "uds-group",		0,	true,	false,	set_uds_group },
	{ "user",		0,	true,	false,	set_user },
	{ "group",		0,	true,	false,	set_group },
	{ "sandbox",		0,	true,	false,	set_sandbox },
	{ "linger",		0,	true,	false,	set_linger },
	{ "pause-grace",	0,	true,	false,	set_pause_grace },
	{ "handshake-timeout",	0,	true,	false,	set_handshake_timeout },
	{ "threads",		0,	true,	false,	set_threads },
	{ "log-file",		0,	true,	false,	set_log_file },
	{ "log-level",		0,	true,	false,	set_log_level },
	{ "verbose",		'v',	false,	true,	add_verbose },
	{ "help",		'h',	false,	true,	set_help },
	{ "version",		'V',	false,	true,	set_version },
};

enum { N_OPTIONS = sizeof options_table / sizeof *options_table };

/* By name, or by letter if @name is NULL. */
static const struct option *find_option(const char *name, char letter)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option *o = &options_table[i];

		if (name ? strcmp(o->name, name) == 0 : o->letter == letter)
			return o;
	}
	return NULL;
}

static int apply_option(struct scan *s, const struct option *o, const char *value)
{
	unsigned bit = 1u << (o - options_table);

	if (!o->is_repeatable && (s->given & bit))
		return config_fail(s->err, "--%s: given twice", o->name);
	s->given |= bit;
	return o->set(s, value);
}

/* A key of keys.h as an option: there is one VM then. */
static int apply_key(struct scan *s, const struct vm_key *key, const char *value)
{
	int r = claim_source(s, SOURCE_SINGLE, key->name);

	if (r)
		return r;
	if (s->plan->n_vms == 0 && !plan_add_vm(s->plan, NULL))
		return -ENOMEM;
	r = keys_claim(key, &s->single_given, s->err);
	if (r == 0)
		r = keys_set(key, &s->plan->vms[0], value, s->err);
	return config_prefix(s->err, r, "--%s", key->name);
}

/*
 * The value behind '=' or the next word. A word that looks like an option is
 * none: rather than take it, ask for '='.
 */
static int take_value(struct scan *s, const char *name, const char **value)
{
	if (!*value) {
		if (s->next == s->end)
			return config_fail(s->err, "--%s: needs a value", name);
		if (s->next[0][0] == '-' && s->next[0][1])
			return config_fail(s->err, "--%s: needs a value, and " SHOWN
					   " looks like an option (else write --%s=...)",
					   name, *s->next, name);
		*value = *s->next++;
	}
	return **value ? 0 : config_fail(s->err, "--%s: empty value", name);
}

/* Keys may be spelled with '_', options not. */
static const struct vm_key *find_single(const char *name)
{
	return strchr(name, '_') ? NULL : keys_find(name);
}

/* @word: the option without its dashes. The value stays argv's. */
static int scan_long(struct scan *s, const char *word)
{
	char name[NAME_MAX_BYTES] = "";
	size_t len = strcspn(word, "=");
	const char *value = word[len] ? word + len + 1 : NULL;
	const struct option *option;
	const struct vm_key *key;
	int r;

	if (len < sizeof name)			/* else it is none of ours */
		memcpy(name, word, len);
	option = find_option(name, 0);
	key = option ? NULL : find_single(name);
	if (!option && !key)
		return config_fail(s->err, "unknown option '--%.*s'",
				   (int)(len < 80 ? len : 80), word);
	if (option && !option->takes_value) {
		if (value)
			return config_fail(s->err, "--%s: takes no value, not "
					   SHOWN, name, value);
		return apply_option(s, option, NULL);
	}
	if (!value && key && key->kind == KEY_FLAG)
		value = "true";
	r = take_value(s, name, &value);
	if (r)
		return r;
	return key ? apply_key(s, key, value) : apply_option(s, option, value);
}

/* Letters may share a dash: -vv. */
static int scan_letters(struct scan *s, const char *letters)
{
	int r = 0;

	for (; r == 0 && *letters; letters++) {
		const struct option *option = find_option(NULL, *letters);

		if (!option)
			return config_fail(s->err, "unknown option '-%.80s'", letters);
		r = apply_option(s, option, NULL);
	}
	return r;
}

static int fail_argument(struct scan *s, const char *word)
{
	return config_fail(s->err, SHOWN " is no option; there is nothing else to give",
			   word);
}

static int scan_word(struct scan *s, const char *word)
{
	if (word[0] != '-' || !word[1])
		return fail_argument(s, word);
	if (word[1] != '-')
		return scan_letters(s, word + 1);
	if (word[2])
		return scan_long(s, word + 2);
	/* "--": arguments follow, and we take none. */
	return s->next == s->end ? 0 : fail_argument(s, *s->next);
}

int options_parse(struct options *o, struct plan *plan, int argc, char **argv,
		  struct config_error *err)
{
	struct scan s = {
		.options = o, .plan = plan, .err = err,
		.next = argv + (argc > 0), .end = argv + (argc > 0 ? argc : 0),
	};
	int r = 0;

	*o = (struct options){ .print = PRINT_NOTHING };
	while (r == 0 && s.next < s.end)
		r = scan_word(&s, *s.next++);
	return r;
}
