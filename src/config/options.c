/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#include "config/options.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/api.h"
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
	unsigned given;				/* rows of options_rows */
	enum source source;
	const char *source_name;		/* the first option that said so */
	unsigned single_given;			/* keys of the VM of single options */
	unsigned n_verbose;
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
	const struct setting *key;
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
	vm = copy ? keys_add_vm(s->plan, origin) : NULL;
	r = vm ? set_vm_pairs(vm, copy, s->err) : -ENOMEM;
	free(copy);
	return config_prefix(s->err, r, "%s", origin);
}

static int set_config(struct scan *s, const char *value)
{
	s->options->config = value;
	return claim_source(s, SOURCE_CONFIG, "config");
}

static int fail_two_levels(struct scan *s)
{
	return config_fail(s->err, "--log-level and --verbose exclude one another");
}

static int claim_level(struct scan *s, const char *value)
{
	(void)value;
	if (s->n_verbose)
		return fail_two_levels(s);
	s->options->has_log_level = true;
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

static int ask_help(struct scan *s, const char *value)
{
	(void)value;
	s->options->print = PRINT_HELP;
	return CONFIG_E_EXIT;
}

static int ask_capabilities(struct scan *s, const char *value)
{
	(void)value;
	s->options->print = PRINT_CAPABILITIES;
	return CONFIG_E_EXIT;
}

static int ask_version(struct scan *s, const char *value)
{
	(void)value;
	s->options->print = PRINT_VERSION;
	return CONFIG_E_EXIT;
}

static int set_level(const struct setting *setting, void *into, const char *value,
		     struct config_error *err)
{
	if (!level_parse(setting_field(setting, into), value))
		return config_fail(err, SHOWN " is none of error, warn, info, debug, trace",
				   value);
	return 0;
}

static int set_sandbox(const struct setting *setting, void *into, const char *value,
		       struct config_error *err)
{
	static const char *const wishes[] = {
		[SANDBOX_OFF] = "off", [SANDBOX_LOG] = "log", [SANDBOX_ON] = "on",
		[SANDBOX_STRICT] = "on,strict",
	};

	for (int wish = SANDBOX_OFF; wish <= SANDBOX_STRICT; wish++) {
		if (strcmp(value, wishes[wish]) == 0) {
			*(enum sandbox_wish *)setting_field(setting, into) = wish;
			return 0;
		}
	}
	return config_fail(err, SHOWN " is none of on; on,strict; log; off", value);
}

static int set_supervise(const struct setting *setting, void *into, const char *value,
			 struct config_error *err)
{
	bool is_on = strcmp(value, "on") == 0;

	if (!is_on && strcmp(value, "off") != 0)
		return config_fail(err, SHOWN " is neither on nor off", value);
	*(bool *)setting_field(setting, into) = is_on;
	return 0;
}

/* As cloud-hypervisor has it. */
static int set_event_monitor(const struct setting *setting, void *into, const char *value,
			     struct config_error *err)
{
	static const struct setting parts[] = {
		{ .name = "path", SETTING_TEXT(struct plan, event_path) },
		{ .name = "fd", SETTING_FD(struct plan, event_fd) },
		{ .name = NULL },
	};
	const char *rest = "";
	const struct setting *part = setting_find_part(parts, value, &rest);

	(void)setting;
	if (!*rest)
		return config_fail(err, SHOWN " is neither path=PATH nor fd=N", value);
	return config_prefix(err, part->set(part, into, rest, err), "%s", part->name);
}

/*
 * A new option is one row here, and the field that it fills in the place that uses it; see
 * setting.h. Rows of the plan have a field; a row that does something else has an act().
 */
const struct option_row options_rows[] = {
	{ .heading = "Several VMs (instead of the options above):",
	  .setting = { .name = "vm", .value = "KEY=VALUE[,KEY=VALUE]...",
		.help = "one VM; repeat it for more" },
	  .is_repeatable = true, .act = set_vm },

	{ .setting = { .name = "config", .value = "FILE",
		.help = "YAML with a list \"vms\" of such keys" },
	  .act = set_config },

	{ .heading = "All VMs:",
	  .setting = { .name = "socket-mode", .value = "MODE",
		SETTING_MODE(struct plan, vhost_socket.mode),
		.default_text = "\n0600, plus rw for whomever the umask lets write",
		.help = "mode of the sockets created, octal" } },

	{ .setting = { .name = "socket-group", .value = "GROUP",
		SETTING_TEXT(struct plan, vhost_socket.group),
		.help = "group of the sockets created, name or number" } },

	/* The help of these two is one sentence. */
	{ .setting = { .name = "uds-mode", .value = "MODE",
		SETTING_MODE(struct plan, uds_socket.mode),
		.help = "of the sockets at uds-path alone; all four are" } },

	{ .setting = { .name = "uds-group", .value = "GROUP",
		SETTING_TEXT(struct plan, uds_socket.group),
		.help = "keys of --vm and of the file too" } },

	{ .setting = { .name = "user", .value = "USER", SETTING_TEXT(struct plan, user),
		.help = "as root: become this user, name or number, once the sockets are there; "
			"they belong to it" } },

	{ .setting = { .name = "group", .value = "GROUP", SETTING_TEXT(struct plan, group),
		.default_text = "the user's",
		.help = "as root: become this group" } },

	{ .setting = { .name = "sandbox", .value = "MODE", .set = set_sandbox,
		.at = SETTING_AT(enum sandbox_wish, struct plan, sandbox), .default_value = "on",
		.help = "on; on,strict: do not run without a part that the kernel lacks; log: "
			"only log what it would refuse; off" } },

	{ .setting = { .name = "supervise", .value = "MODE", .set = set_supervise,
		.at = SETTING_AT(bool, struct plan, is_supervised), .default_value = "on",
		.help = "on: a second process does the work, and is replaced when it crashes or "
			"hangs, and by SIGUSR2; off: all in one process" } },

	{ .setting = { .name = "watchdog", .value = "SECONDS",
		SETTING_SECONDS(struct plan, watchdog_ms), .default_value = "10",
		.help = "how long a worker may hang before the process that does the work is "
			"replaced; 0: for ever" } },

	{ .setting = { .name = "linger", .value = "SECONDS",
		SETTING_SECONDS(struct plan, linger_ms), .default_value = "30",
		.help = "how long the rest of what a guest sent before it closed may wait for a "
			"receiver that takes none of it" } },

	{ .setting = { .name = "pause-grace", .value = "SECONDS",
		SETTING_SECONDS(struct plan, pause_grace_ms), .default_value = "3",
		.help = "how long a guest whose queues were stopped, paused or reset, may take "
			"to resume before its connections are closed" } },

	/* Zero would not be "for ever", which is what somebody might mean by it. */
	{ .setting = { .name = "handshake-timeout", .value = "SECONDS",
		SETTING_SECONDS(struct plan, handshake_ms), .min = 1, .default_value = "10",
		.help = "how long a host client may take to say its CONNECT line before it is "
			"closed" } },

	{ .setting = { .name = "threads", .value = "N", SETTING_U32(struct plan, threads),
		.min = 1, .max = PLAN_THREADS_MAX,
		.default_text = "one per CPU, but not more than VMs",
		.help = "how many threads share the VMs, {min} to {max}" } },

	{ .heading = "Control API:",
	  .setting = { .name = "api-socket", .value = "path=PATH|fd=N", .set = api_set_socket,
		.help = "unix socket that serves HTTP with JSON: see, change, /metrics; "
			"path=PATH,mode=MODE,group=GROUP says who may use it" } },

	{ .setting = { .name = "api-folder", .value = "DIR", .set = api_add_folder,
		.help = "folder in which VMs that the API adds may have their sockets; repeat it "
			"for more" },
	  .is_repeatable = true },

	{ .heading = "Logging, events, help:",
	  .setting = { .name = "log-level", .value = "LEVEL", .set = set_level,
		.at = SETTING_AT(int, struct plan, log_level), .default_value = "warn",
		.default_text = "what the file says, or RUST_LOG, or warn",
		.help = "error, warn, info, debug or trace" },
	  .act = claim_level },

	{ .setting = { .name = "verbose", .help = "one level more than warn; repeat it for more" },
	  .letter = 'v', .is_repeatable = true, .act = add_verbose },

	{ .setting = { .name = "log-file", .value = "PATH", SETTING_TEXT(struct plan, log_file),
		.help = "append to this file instead of standard error" } },

	{ .setting = { .name = "event-monitor", .value = "path=PATH|fd=N", .set = set_event_monitor,
		.help = "append what happens to VMs and connections to this file, or pipe, as "
			"lines of JSON" } },

	{ .setting = { .name = "help", .help = "print this and exit" },
	  .letter = 'h', .is_repeatable = true, .act = ask_help },

	{ .setting = { .name = "version", .help = "print the version and exit" },
	  .letter = 'V', .is_repeatable = true, .act = ask_version },

	{ .setting = { .name = "print-capabilities",
		.help = "print what a VMM's launcher may ask of this program, in JSON, and exit" },
	  .is_repeatable = true, .act = ask_capabilities },

	{ .setting = { .name = NULL } },
};

static_assert(sizeof options_rows / sizeof *options_rows - 1 <= 32,
	      "scan::given has a bit for each");

/* By name, or by letter if @name is NULL. */
static const struct option_row *find_option(const char *name, char letter)
{
	for (const struct option_row *o = options_rows; o->setting.name; o++) {
		if (name ? strcmp(o->setting.name, name) == 0 : o->letter == letter)
			return o;
	}
	return NULL;
}

static int apply_option(struct scan *s, const struct option_row *o, const char *value)
{
	const struct setting *setting = &o->setting;
	unsigned bit = 1u << (o - options_rows);
	int r = 0;

	if (!o->is_repeatable && (s->given & bit))
		return config_fail(s->err, "--%s: given twice", setting->name);
	s->given |= bit;
	if (o->act)
		r = o->act(s, value);
	if (r || !setting->set)
		return r;
	r = setting->set(setting, s->plan, value, s->err);
	return config_prefix(s->err, r, "--%s", setting->name);
}

/* A key of keys.h as an option: there is one VM then. */
static int apply_key(struct scan *s, const struct setting *key, const char *value)
{
	int r = claim_source(s, SOURCE_SINGLE, key->name);

	if (r)
		return r;
	if (s->plan->n_vms == 0 && !keys_add_vm(s->plan, NULL))
		return -ENOMEM;
	r = keys_claim(key, &s->single_given, s->err);
	if (r == 0)
		r = keys_set(key, &s->plan->vms[0], value, s->err);
	return config_prefix(s->err, r, "--%s", key->name);
}

/*
 * The value after '=' or the next word. A word that looks like an option is
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
static const struct setting *find_single(const char *name)
{
	return strchr(name, '_') ? NULL : keys_find(name);
}

/* @word: the option without its dashes. The value stays argv's. */
static int scan_long(struct scan *s, const char *word)
{
	char name[NAME_MAX_BYTES] = "";
	size_t len = strcspn(word, "=");
	const char *value = word[len] ? word + len + 1 : NULL;
	const struct option_row *option;
	const struct setting *key;
	int r;

	if (len < sizeof name)			/* else it is none of ours */
		memcpy(name, word, len);
	option = find_option(name, 0);
	key = option ? NULL : find_single(name);
	if (!option && !key)
		return config_fail(s->err, "unknown option '--%.*s'",
				   (int)(len < 80 ? len : 80), word);
	if (option && !option->setting.value) {
		if (value)
			return config_fail(s->err, "--%s: takes no value, not "
					   SHOWN, name, value);
		return apply_option(s, option, NULL);
	}
	if (!value && key && key->kind == SETTING_FLAG)
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
		const struct option_row *option = find_option(NULL, *letters);

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
	for (const struct option_row *row = options_rows; row->setting.name; row++)
		setting_set_default(&row->setting, plan);
	while (r == 0 && s.next < s.end)
		r = scan_word(&s, *s.next++);
	return r;
}
