/* SPDX-License-Identifier: BSD-3-Clause */
/* Two plans: each key that can be said is seen to change, and no other. */
#include "config/compare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/error.h"
#include "config/finish.h"
#include "config/keys.h"
#include "config/options.h"
#include "config/owner.h"
#include "config/place.h"
#include "config/plan.h"
#include "unit.h"
#include "util/log.h"

static struct config_error err;

/* /link leads to /run, as the folder that is there; nothing else of it is looked at. */
static int look(const char *path, struct stat *st)
{
	*st = (struct stat){ .st_dev = 1 };
	st->st_ino = strncmp(path, "/run", 4) == 0 || strncmp(path, "/link", 5) == 0 ? 2 :
		strncmp(path, "/tmp", 4) == 0 ? 3 : 4;
	return 0;
}

/* A VM for each ';' in @words, which are KEY=VALUE. */
static void plan_make(struct plan *plan, const char *words)
{
	char *copy = strdup(words), *vms = copy, *vm_words, *word;

	plan_init(plan);
	plan->linger_ms = 30000;
	while ((vm_words = strsep(&vms, ";"))) {
		struct vm_plan *vm = keys_add_vm(plan, vm_words);

		while ((word = strsep(&vm_words, " "))) {
			char *value = strchr(word, '=');

			if (!value)
				continue;
			*value++ = '\0';
			ck_assert_int_eq(keys_set(keys_find(word), vm, value, &err), 0);
		}
	}
	free(copy);
	ck_assert_int_eq(owner_find_sockets(plan, &err), 0);
	ck_assert_int_eq(finish_plan(plan), 0);
	ck_assert_int_eq(place_find_all(plan, look), 0);
}

#define UDS		"socket=/run/s uds-path=/run/u "
#define FORWARD		"socket=/run/s forward-cid=1 "
#define LISTEN		FORWARD "forward-listen=7+8 "

static const struct row {
	const char *name, *before, *after;
	const char *keys;			/* that have changed */
	enum compare_when when;
} rows[] = {
	{ "nothing", UDS, UDS, "", COMPARE_NOW },
	{ "socket", UDS, "socket=/run/t uds-path=/run/u", "socket", COMPARE_ANEW },
	{ "socket-path", UDS, "socket-path=/run/t uds-path=/run/u", "socket", COMPARE_ANEW },
	{ "spelled with dots", UDS, "socket=/run/../run/s uds-path=/run/u", "", COMPARE_NOW },
	{ "by a link", UDS, "socket=/run/s uds-path=/link/u", "", COMPARE_NOW },
	{ "socket-connect", "socket-connect=/run/s uds-path=/run/u",
	  "socket-connect=/tmp/s uds-path=/run/u", "socket-connect", COMPARE_ANEW },
	{ "another way of the front-end", UDS, "socket-connect=/run/s uds-path=/run/u",
	  "socket, socket-connect", COMPARE_ANEW },
	{ "fd", "fd=3 uds-path=/run/u", "fd=4 uds-path=/run/u", "fd", COMPARE_ANEW },
	{ "uds-path", UDS, "socket=/run/s uds-path=/run/w", "uds-path", COMPARE_NOW },
	{ "... in another folder", UDS, "socket=/run/s uds-path=/tmp/u", "uds-path", COMPARE_NOW },
	{ "host-cid", UDS "host-cid=8", UDS "host-cid=8+9", "host-cid", COMPARE_NOW },
	{ "... of the same number", UDS "host-cid=8+9", UDS "host-cid=9+8", "host-cid",
	  COMPARE_NOW },
	{ "another backend", UDS, FORWARD, "uds-path, forward-cid", COMPARE_ANEW },
	{ "forward-cid", FORWARD, "socket=/run/s forward-cid=5", "forward-cid", COMPARE_ANEW },
	{ "forward-listen", FORWARD "forward-listen=7", LISTEN, "forward-listen", COMPARE_ANEW },
	{ "... of the same number", FORWARD "forward-listen=7+9", LISTEN, "forward-listen",
	  COMPARE_ANEW },
	{ "... of another type", FORWARD "forward-listen=7+seqpacket:8", LISTEN, "forward-listen",
	  COMPARE_ANEW },
	{ "... with messages", FORWARD "forward-listen=7+seqpacket:8",
	  FORWARD "forward-listen=7+seqpacket:9", "forward-listen", COMPARE_ANEW },
	{ "... in another order", FORWARD "forward-listen=7+seqpacket:8",
	  FORWARD "forward-listen=seqpacket:8+7", "", COMPARE_NOW },
	{ "forward-listen-any", LISTEN, LISTEN "forward-listen-any=true", "forward-listen-any",
	  COMPARE_ANEW },
	{ "tx-buffer-size", UDS, UDS "tx-buffer-size=1", "tx-buffer-size", COMPARE_NOW },
	{ "queue-size", UDS, UDS "queue-size=64", "queue-size", COMPARE_NEXT },
	{ "max-connections", UDS, UDS "max-connections=9", "max-connections", COMPARE_NOW },
	{ "max-buffered", UDS, UDS "max-buffered=99", "max-buffered", COMPARE_NOW },
	{ "poll-us", UDS, UDS "poll-us=50", "poll-us", COMPARE_NOW },
	{ "max-memory", UDS, UDS "max-memory=99", "max-memory", COMPARE_NEXT },
	{ "groups", UDS "groups=a", UDS "groups=a+b", "groups", COMPARE_NOW },
	{ "... of the same number", UDS "groups=a+b", UDS "groups=a+c", "groups", COMPARE_NOW },
	{ "... in another order", UDS "groups=a+b", UDS "groups=b+a", "", COMPARE_NOW },
	{ "... by default", UDS, UDS "groups=default", "", COMPARE_NOW },
	{ "socket-mode", UDS "uds-mode=600", UDS "uds-mode=600 socket-mode=666", "socket-mode",
	  COMPARE_ANEW },
	{ "socket-group", UDS "uds-group=1", UDS "uds-group=1 socket-group=2", "socket-group",
	  COMPARE_ANEW },
	{ "uds-mode", UDS, UDS "uds-mode=666", "uds-mode", COMPARE_NOW },
	{ "uds-group", UDS "uds-group=1", UDS "uds-group=2", "uds-group", COMPARE_NOW },
	{ "capture", UDS, UDS "capture=/a", "capture", COMPARE_NOW },
	{ "... another", UDS "capture=/b", UDS "capture=/a", "capture", COMPARE_NOW },
	{ "capture-port", UDS "capture=/a capture-port=1+2", UDS "capture=/a capture-port=1+3",
	  "capture-port", COMPARE_NOW },
	{ "capture-snaplen", UDS, UDS "capture-snaplen=100", "capture-snaplen", COMPARE_NOW },
	{ "capture-size", UDS, UDS "capture-size=0", "capture-size", COMPARE_NOW },
	{ "capture-files", UDS, UDS "capture-files=3", "capture-files", COMPARE_NOW },
	{ "two at a time", UDS, UDS "groups=x max-buffered=1", "max-buffered, groups",
	  COMPARE_NOW },
};

START_TEST(of_a_vm)
{
	const struct row *row = &rows[_i];
	char text[COMPARE_TEXT_MAX];
	struct plan before, after;
	compare_set set, back;

	plan_make(&before, row->before);
	plan_make(&after, row->after);
	set = compare_vms(before.vms, after.vms);
	back = compare_vms(after.vms, before.vms);
	ck_assert_uint_eq(set, back);
	compare_vms_text(set, text);
	ck_assert_msg(strcmp(text, row->keys) == 0, "%s: '%s'", row->name, text);
	for (enum compare_when when = 0; when < COMPARE_NUM_WHEN; when++)
		ck_assert_uint_eq(compare_vms_when(set, when), when == row->when ? set : 0);
	plan_deinit(&before);
	plan_deinit(&after);
}
END_TEST

/* Every key that a VM can be given has its row above. */
START_TEST(no_key_is_forgotten)
{
	for (const struct setting *key = vm_keys; key->name; key++) {
		bool found = strcmp(key->name, "guest-cid") == 0;	/* makes it another VM */

		for (int i = 0; i < COUNT(rows); i++)
			found |= strcmp(rows[i].name, key->name) == 0 &&
				strlen(rows[i].keys);
		ck_assert_msg(found, "%s", key->name);
	}
}
END_TEST

/* What is left is neither of the plan nor of a reload: it is printed, or read before. */
static const char *const no_settings[] = {
	"vm", "config", "socket-mode", "socket-group", "uds-mode", "uds-group", "linger",
	"verbose", "help", "version", "print-capabilities",
};

START_TEST(no_option_is_forgotten)
{
	char text[COMPARE_TEXT_MAX];

	compare_settings_text(UINT32_MAX, text);
	for (const struct option_row *o = options_rows; o->setting.name; o++) {
		bool found = strstr(text, o->setting.name);

		for (int i = 0; i < COUNT(no_settings); i++)
			found |= strcmp(no_settings[i], o->setting.name) == 0;
		ck_assert_msg(found, "%s", o->setting.name);
	}
}
END_TEST

static void set_level(struct plan *p) { p->log_level = LEVEL_DEBUG; }
static void set_grace(struct plan *p) { p->pause_grace_ms = 7; }
static void set_handshake(struct plan *p) { p->handshake_ms = 7; }
static void set_file(struct plan *p) { p->log_file = strdup("x"); }
static void set_threads(struct plan *p) { p->threads = 7; }
static void set_uid(struct plan *p) { p->uid = 7; }
static void set_gid(struct plan *p) { p->gid = 7; }
static void set_sandbox(struct plan *p) { p->sandbox = SANDBOX_STRICT; }
static void set_events(struct plan *p) { p->event_fd = 3; }
static void set_user(struct plan *p) { p->user = strdup("root"); }	/* who has the same number */

static const struct {
	const char *keys;
	void (*set)(struct plan *p);
	enum compare_when when;
} setting_rows[] = {
	{ "log-level", set_level, COMPARE_NOW },
	{ "pause-grace", set_grace, COMPARE_NOW },
	{ "handshake-timeout", set_handshake, COMPARE_NOW },
	{ "log-file", set_file, COMPARE_RESTART },
	{ "threads", set_threads, COMPARE_RESTART },
	{ "user", set_uid, COMPARE_RESTART },
	{ "group", set_gid, COMPARE_RESTART },
	{ "sandbox", set_sandbox, COMPARE_RESTART },
	{ "event-monitor", set_events, COMPARE_RESTART },
	{ "", set_user, COMPARE_NOW },
};

START_TEST(of_all)
{
	char text[COMPARE_TEXT_MAX];
	struct plan before, after;
	compare_set set;

	plan_init(&before);
	plan_init(&after);
	setting_rows[_i].set(&after);
	set = compare_settings(&before, &after);
	compare_settings_text(set, text);
	ck_assert_str_eq(text, setting_rows[_i].keys);
	ck_assert_uint_eq(compare_settings_when(set, setting_rows[_i].when), set);
	plan_deinit(&before);
	plan_deinit(&after);
}
END_TEST

/* What is set for all VMs is seen in each. */
START_TEST(linger)
{
	char text[COMPARE_TEXT_MAX];
	struct plan before, after;

	plan_make(&before, UDS);
	plan_make(&after, UDS);
	after.linger_ms = 1;
	ck_assert_int_eq(finish_plan(&after), 0);
	compare_vms_text(compare_vms(before.vms, after.vms), text);
	ck_assert_str_eq(text, "linger");
	plan_deinit(&before);
	plan_deinit(&after);
}
END_TEST

/* The text never leaves its room. */
START_TEST(all_names_fit)
{
	char text[COMPARE_TEXT_MAX];

	compare_vms_text(UINT32_MAX, text);
	ck_assert_ptr_nonnull(strstr(text, ", groups"));	/* the last */
	compare_settings_text(UINT32_MAX, text);
	ck_assert_ptr_nonnull(strstr(text, "sandbox"));
}
END_TEST

#define VM(cid, more)	"guest-cid=" cid " socket=/run/s" cid " uds-path=/run/u" cid more

static const struct {
	const char *before, *after, *rows;
} plans[] = {
	{ VM("3", ""), VM("3", ""), "3 " },
	{ VM("3", ""), VM("4", ""), "-3 +4 " },
	{ VM("5", "") ";" VM("3", ""), VM("3", "") ";" VM("4", "") ";" VM("5", ""), "3 +4 5 " },
	{ VM("3", "") ";" VM("4", "") ";" VM("5", ""), VM("4", " groups=x"), "-3 4(groups) -5 " },
	{ VM("4", "") ";" VM("3", ""), VM("3", "") ";" VM("4", ""), "3 4 " },	/* order is nothing */
};

START_TEST(of_plans)
{
	struct plan before, after;
	struct compare_row *found;
	char text[2048] = "", keys[COMPARE_TEXT_MAX];
	size_t n;

	plan_make(&before, plans[_i].before);
	plan_make(&after, plans[_i].after);
	ck_assert_int_eq(compare_plans(&before, &after, &found, &n), 0);
	for (size_t i = 0; i < n; i++) {
		const struct vm_plan *vm = found[i].after ? found[i].after : found[i].before;
		size_t len = strlen(text);

		compare_vms_text(found[i].changes, keys);
		snprintf(text + len, sizeof text - len, "%s%d%s%s%s ",
			 !found[i].before ? "+" : !found[i].after ? "-" : "",
			 (int)vm->guest_cid, *keys ? "(" : "", keys, *keys ? ")" : "");
	}
	ck_assert_str_eq(text, plans[_i].rows);
	free(found);
	plan_deinit(&before);
	plan_deinit(&after);
}
END_TEST

/* A plan that never was, and one without VMs. */
START_TEST(of_nothing)
{
	struct plan nothing;
	struct compare_row *found;
	size_t n;

	plan_init(&nothing);
	ck_assert_int_eq(compare_plans(&nothing, &nothing, &found, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(found);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compare");
	TCase *tc = tcase_create("compare");

	tcase_add_loop_test(tc, of_a_vm, 0, COUNT(rows));
	tcase_add_test(tc, no_key_is_forgotten);
	tcase_add_test(tc, no_option_is_forgotten);
	tcase_add_loop_test(tc, of_all, 0, COUNT(setting_rows));
	tcase_add_test(tc, linger);
	tcase_add_test(tc, all_names_fit);
	tcase_add_loop_test(tc, of_plans, 0, COUNT(plans));
	tcase_add_test(tc, of_nothing);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
