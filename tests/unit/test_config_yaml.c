/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what is taken, and that each mistake has its line. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/plan.h"
#include "config/yaml.h"
#include "config_run.h"
#include "support/scratch.h"

#define COUNT(array)	((int)(sizeof (array) / sizeof *(array)))
#define TEXT(literal)	(literal), sizeof (literal) - 1

#define VM	"vms:\n  - socket: s\n    uds_path: u\n"	/* lines 1 to 3 */
#define BASE	"cid=3 socket=s uds=u tx=262144 queue=1024 groups=default; "
#define REST	"level=1 mode=600 linger=30000 grace=3000"

static const struct {
	const char *name, *text;
	size_t len;
	const char *plan;
} good_cases[] = {
	{ "least", TEXT(VM), BASE REST },
	{ "with _", TEXT("vms:\n - guest_cid: 4\n   socket: s\n   forward_cid: 1\n"
	  "   forward_listen: 1234+4321\n   tx_buffer_size: 32768\n   queue_size: 2048\n"
	  "   groups: group1+group2\n"),
	  "cid=4 socket=s forward=1:1234+4321 tx=32768 queue=2048 groups=group1+group2; " REST },
	{ "with -", TEXT("vms:\n - guest-cid: 4\n   socket: s\n   forward-cid: 1\n"
	  "   forward-listen: 9001\n   tx-buffer-size: 2\n   queue-size: 1\n"),
	  "cid=4 socket=s forward=1:9001 tx=2 queue=1 groups=default; " REST },
	{ "lists", TEXT("vms:\n - socket: s\n   forward_cid: 1\n"
	  "   forward_listen: [9001, 9002+9003]\n   groups:\n    - b\n    - a\n"),
	  "cid=3 socket=s forward=1:9001+9002+9003 tx=262144 queue=1024 groups=a+b; " REST },
	{ "ports of messages", TEXT("vms:\n - socket: s\n   forward_cid: 1\n"
	  "   forward_listen: [9001, seqpacket:9003]\n"
	  " - guest_cid: 4\n   socket: t\n   forward_cid: 1\n"
	  "   forward_listen:\n    - seqpacket:9004\n    - seqpacket:9005+9002\n"),
	  "cid=3 socket=s forward=1:9001 seqpacket:9003 tx=262144 queue=1024 groups=default; "
	  "cid=4 socket=t forward=1:9002 seqpacket:9004 seqpacket:9005 tx=262144 queue=1024 "
	  "groups=default; " REST },
	{ "limits and flags", TEXT("vms:\n - socket: s\n   forward_cid: 1\n   forward_listen: 7\n"
	  "   forward_listen_any: true\n   max_connections: 10\n   max_memory: 5\n"
	  " - {guest-cid: 4, socket: t, uds-path: u, host-cid: [5, 6+7]}\n"),
	  "cid=3 socket=s forward=1:7 tx=262144 queue=1024 groups=default any max=10 memory=5; "
	  "cid=4 socket=t uds=u tx=262144 queue=1024 groups=default host=5+6+7; " REST },
	{ "two VMs", TEXT(VM "  - guest_cid: 0x5\n    socket: t\n    uds_path: v\n"),
	  BASE "cid=5 socket=t uds=v tx=262144 queue=1024 groups=default; " REST },
	{ "null is not given", TEXT(VM "    groups: ~\n    guest_cid: null\n"
	  "    forward_cid: NULL\n"), BASE REST },
	{ "quoted null is text", TEXT(VM "    groups: '~'\n"),
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=~; " REST },
	{ "blanks around groups", TEXT(VM "    groups: ' a+b '\n"),
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=a+b; " REST },
	{ "quoted number", TEXT(VM "    guest_cid: \"3\"\n"), BASE REST },
	{ "octal of YAML 1.2", TEXT(VM "    guest_cid: 0o10\n"),
	  "cid=8 socket=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "comments and ---", TEXT("# x\n---\n" VM "...\n# y\n"), BASE REST },
	{ "JSON", TEXT("{\"vms\": [{\"socket\": \"s\", \"uds_path\": \"u\"}]}"), BASE REST },
	{ "no newline at the end", TEXT("vms:\n- socket: s\n  uds_path: u"), BASE REST },
	{ "CR LF", TEXT("vms:\r\n- socket: s\r\n  uds_path: u\r\n"), BASE REST },
	{ "byte order mark", TEXT("\xef\xbb\xbf" VM), BASE REST },
	{ "alias", TEXT(VM "    groups: &g [a, b]\n  - guest_cid: 4\n    socket: t\n"
	  "    uds_path: v\n    groups: *g\n"),
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=a+b; "
	  "cid=4 socket=t uds=v tx=262144 queue=1024 groups=a+b; " REST },
	{ "UTF-8", TEXT("vms:\n- socket: \xc3\xa9\n  uds_path: u\n"),
	  "cid=3 socket=\xc3\xa9 uds=u tx=262144 queue=1024 groups=default; " REST },
};

START_TEST(good_files)
{
	struct config_run run;

	config_run_yaml(&run, good_cases[_i].text, good_cases[_i].len);
	ck_assert_msg(run.result == 0, "%s: %s", good_cases[_i].name, run.err);
	ck_assert_str_eq(run.plan, good_cases[_i].plan);
	ck_assert_str_eq(run.err, "");
}
END_TEST

static const struct {
	const char *name, *text;
	size_t len;
	const char *err;
} bad_cases[] = {
	{ "empty", TEXT(""), "vms.yaml: the file is empty" },
	{ "only a comment", TEXT("# x\n"), "vms.yaml: the file is empty" },
	{ "empty document", TEXT("---\n"), "vms.yaml:2: a mapping with the key 'vms' is wanted" },
	{ "scalar", TEXT("\nvms\n"), "vms.yaml:2: a mapping with the key 'vms' is wanted" },
	{ "sequence", TEXT("- vms\n"), "vms.yaml:1: a mapping with the key 'vms' is wanted" },
	{ "empty mapping", TEXT("{}"), "vms.yaml:1: no list 'vms'" },
	{ "other root key", TEXT(VM "vm: 1\n"), "vms.yaml:4: unknown key 'vm'" },
	{ "vms twice", TEXT(VM VM), "vms.yaml:4: vms: given twice" },
	{ "root key a list", TEXT("? [a]\n: b\n"), "vms.yaml:1: one value is wanted, not a list" },
	{ "level twice", TEXT("log-level: info\nlog_level: info\n" VM),
	  "vms.yaml:2: log_level: given twice" },
	{ "unknown level", TEXT("log-level: loud\n" VM),
	  "vms.yaml:1: log-level: 'loud' is none of error, warn, info, debug, trace" },
	{ "level a list", TEXT("log-level: [info]\n" VM),
	  "vms.yaml:1: log-level: one value is wanted, not a list" },
	{ "level alone", TEXT("log-level: info\n"), "vms.yaml:1: no list 'vms'" },
	{ "vms empty", TEXT("vms: []\n"), "vms.yaml:1: vms: the list is empty" },
	{ "vms null", TEXT("\nvms:\n"), "vms.yaml:2: vms: a list is wanted" },
	{ "vms mapping", TEXT("vms:\n  socket: s\n"), "vms.yaml:2: vms: a list is wanted" },
	{ "VM scalar", TEXT("vms:\n  - s\n"), "vms.yaml:2: a VM is a mapping of keys" },
	{ "VM list", TEXT("vms: [[]]\n"), "vms.yaml:1: a VM is a mapping of keys" },
	{ "VM empty", TEXT("vms:\n  - {}\n"), "vms.yaml:2: socket is missing" },
	{ "unknown key", TEXT(VM "    colour: red\n"), "vms.yaml:4: unknown key 'colour'" },
	{ "merge key", TEXT(VM "    <<: {}\n"), "vms.yaml:4: unknown key '<<'" },
	{ "key a mapping", TEXT(VM "    ? {}\n    : x\n"),
	  "vms.yaml:4: key: one value is wanted, not a mapping" },
	{ "key twice", TEXT(VM "    guest_cid: 4\n    guest-cid: 5\n"),
	  "vms.yaml:5: guest-cid: given twice" },
	{ "null key twice", TEXT(VM "    groups: ~\n    groups: a\n"),
	  "vms.yaml:5: groups: given twice" },
	{ "no value", TEXT(VM "    groups:\n"), "vms.yaml:4: groups: empty value" },
	{ "empty text", TEXT(VM "    groups: ''\n"), "vms.yaml:4: groups: empty value" },
	{ "empty list", TEXT(VM "    groups: []\n"), "vms.yaml:4: groups: empty list" },
	{ "empty item", TEXT(VM "    groups: [a, '']\n"), "vms.yaml:4: groups: empty value" },
	{ "list in a list", TEXT(VM "    groups:\n      - a\n      - [b]\n"),
	  "vms.yaml:6: groups: one value is wanted, not a list" },
	{ "list for a scalar", TEXT("vms:\n  - socket: [s]\n"),
	  "vms.yaml:2: socket: one value is wanted, not a list" },
	{ "mapping for a scalar", TEXT("vms:\n  - socket:\n      a: b\n"),
	  "vms.yaml:3: socket: one value is wanted, not a mapping" },
	{ "number", TEXT(VM "    guest_cid: three\n"),
	  "vms.yaml:4: guest_cid: 'three' is not a number" },
	{ "fraction", TEXT(VM "    guest_cid: 3.0\n"),
	  "vms.yaml:4: guest_cid: '3.0' is not a number" },
	{ "range", TEXT(VM "    queue_size: 3\n"),
	  "vms.yaml:4: queue_size: '3' is not a power of two" },
	{ "a flag without its value", TEXT("vms:\n- socket: s\n  forward_cid: 1\n"
	  "  forward_listen: 1\n  forward_listen_any:\n"),
	  "vms.yaml:5: forward_listen_any: empty value" },
	{ "a flag in other words", TEXT("vms:\n- socket: s\n  forward_cid: 1\n"
	  "  forward_listen: 1\n  forward_listen_any: on\n"),
	  "vms.yaml:5: forward_listen_any: 'on' is neither true nor false" },
	{ "host_cid is a guest", TEXT("vms:\n- socket: s\n  uds_path: u\n  host_cid: [7, 4]\n"
	  "- socket: t\n  uds_path: v\n  guest_cid: 4\n"),
	  "vms.yaml:2: host-cid: 4 is the guest-cid of vms.yaml:5" },
	{ "port in a list", TEXT("vms:\n- socket: s\n  forward_cid: 1\n  forward_listen:\n"
	  "  - 1\n  - x\n"), "vms.yaml:6: forward_listen: 'x' is not a number" },
	{ "missing socket", TEXT("vms:\n\n  - uds_path: u\n"), "vms.yaml:3: socket is missing" },
	{ "both back-ends", TEXT(VM "    forward_cid: 1\n"),
	  "vms.yaml:2: uds-path and forward-cid exclude one another" },
	{ "CID twice", TEXT(VM "  - socket: t\n    uds_path: v\n"),
	  "vms.yaml:4: guest-cid: 3 is taken by vms.yaml:2" },
	{ "path twice", TEXT(VM "  - guest_cid: 4\n    socket: u\n    uds_path: v\n"),
	  "vms.yaml:4: socket: 'u' is the uds-path of vms.yaml:2" },
	{ "port's name", TEXT(VM "  - guest_cid: 4\n    socket: u_7\n    uds_path: v\n"),
	  "vms.yaml:4: socket: 'u_7' is where the guest of uds-path 'u' finds port 7" },
	{ "NUL in the text", TEXT("vms:\n- socket: \"a\\0b\"\n"),
	  "vms.yaml:2: socket: a NUL byte in the text" },
	{ "two documents", TEXT(VM "---\n" VM), "vms.yaml:4: a second document" },
	{ "unknown alias", TEXT(VM "    groups: *g\n"), "vms.yaml:4: found undefined alias" },
	{ "loop", TEXT("vms: &v\n- *v\n"), "vms.yaml:1: a VM is a mapping of keys" },
	{ "loop in a list", TEXT(VM "    groups: &g [a, *g]\n"),
	  "vms.yaml:4: groups: one value is wanted, not a list" },
	{ "tab", TEXT("vms:\n\t- socket: s\n"),
	  "vms.yaml:2: found character that cannot start any token" },
	{ "open quote", TEXT("vms:\n- socket: 's\n"),
	  "vms.yaml:3: found unexpected end of stream" },
	{ "not UTF-8", TEXT(VM "    groups: a\xff\n"), "vms.yaml:4: invalid leading UTF-8 octet" },
	{ "broken second document", TEXT(VM "---\n]\n"),
	  "vms.yaml:5: did not find expected node content" },
	{ "escape in a value", TEXT("vms:\n- guest_cid: \"\\e[1m\\n\"\n"),
	  "vms.yaml:2: guest_cid: '\\x1b[1m\\x0a' is not a number" },
};

START_TEST(bad_files)
{
	char expected[CONFIG_RUN_TEXT];
	struct config_run run;

	config_run_yaml(&run, bad_cases[_i].text, bad_cases[_i].len);
	snprintf(expected, sizeof expected, "vhost-device-vsock: %s\n", bad_cases[_i].err);
	ck_assert_str_eq(run.err, expected);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
}
END_TEST

/* A file cut anywhere is either right or a complaint, and leaks nothing. */
START_TEST(every_cut)
{
	static const char text[] = VM "    groups: &g [a, \"b\\n\"]\n    guest_cid: 4\n"
		"  - {socket: t, forward_cid: 1, forward_listen: 1+2, groups: *g}\n";
	struct config_run run;

	for (size_t len = 0; len < sizeof text; len++) {
		config_run_yaml(&run, text, len);
		if (run.result)
			ck_assert_int_eq(run.result, CONFIG_E_USAGE);
		else
			ck_assert_str_ne(run.plan, "");
	}
}
END_TEST

START_TEST(many_groups)
{
	struct config_run run;
	char text[4096];
	int len = snprintf(text, sizeof text, VM "    groups: g0");

	for (int i = 1; i < 200; i++)
		len += snprintf(text + len, sizeof text - (size_t)len, "+g%d", i);
	config_run_yaml(&run, text, (size_t)len);
	ck_assert_int_eq(run.result, 0);
	ck_assert_ptr_nonnull(strstr(run.plan, "+g198+g199+g2+"));
}
END_TEST

START_TEST(many_vms)
{
	char *text, path[64];
	char *argv[] = { "x", "--config", path, NULL };
	struct plan plan;
	FILE *file;

	snprintf(path, sizeof path, "%s/vms.yaml", scratch_path());
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs("vms:\n", file);
	for (int i = 0; i < 1000; i++)
		fprintf(file, "- {guest_cid: %d, socket: s%d, uds_path: u%d}\n", i + 3, i, i);
	fclose(file);
	ck_assert_int_eq(config_read(&plan, 022, 3, argv), 0);
	ck_assert_uint_eq(plan.n_vms, 1000);
	ck_assert_uint_eq(plan.vms[999].guest_cid, 1002);
	ck_assert_int_eq(asprintf(&text, "%s:1001", path) > 0, 1);
	ck_assert_str_eq(plan.vms[999].origin, text);
	free(text);
	plan_deinit(&plan);
	remove(path);
}
END_TEST

/* One long list, named by many VMs. */
START_TEST(repeating_aliases)
{
	size_t size = 256 * 1024, len;
	char *text = malloc(size);
	struct config_run run;

	len = (size_t)snprintf(text, size, VM "    groups: &g ");
	memset(text + len, 'g', 100000);
	len += 100000;
	for (int i = 4; i < 100; i++)
		len += (size_t)snprintf(text + len, size - len, "\n  - {socket: s%d, "
					"uds_path: u%d, guest_cid: %d, groups: *g}", i, i, i);
	config_run_yaml(&run, text, len);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	ck_assert_ptr_nonnull(strstr(run.err, "groups: the aliases repeat too much"));
	free(text);
}
END_TEST

START_TEST(too_big)
{
	char *text = malloc(YAML_FILE_MAX + 1);
	struct config_run run;

	memset(text, '#', YAML_FILE_MAX + 1);
	config_run_yaml(&run, text, YAML_FILE_MAX);
	ck_assert_str_eq(run.err, "vhost-device-vsock: vms.yaml: the file is empty\n");
	config_run_yaml(&run, text, YAML_FILE_MAX + 1);
	ck_assert_str_eq(run.err, "vhost-device-vsock: --config: vms.yaml: "
			 "more than 1048576 bytes\n");
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	config_run(&run, "--config /dev/zero");
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	free(text);
}
END_TEST

START_TEST(deep_nesting)
{
	struct config_run run;
	char text[20000];

	memset(text, '[', sizeof text);
	config_run_yaml(&run, text, sizeof text);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
}
END_TEST

START_TEST(unreadable)
{
	char words[1500] = "--config ", expected[CONFIG_RUN_TEXT];
	struct config_run run;

	config_run(&run, "--config /no/such/file");
	ck_assert_int_eq(run.result, -ENOENT);
	ck_assert_str_eq(run.err, "vhost-device-vsock: --config: /no/such/file: "
			 "No such file or directory\n");
	config_run(&run, "--config /");
	ck_assert_int_eq(run.result, -EISDIR);

	/* What is wrong is told behind the longest path, too. */
	while (strlen(words) < sizeof words - 21)
		strcat(words, "/no/such/folder/here");
	config_run(&run, words);
	snprintf(expected, sizeof expected, "vhost-device-vsock: --config: %s: "
		 "No such file or directory\n", words + strlen("--config "));
	ck_assert_str_eq(run.err, expected);
}
END_TEST

void add_yaml_cases(Suite *suite);

void add_yaml_cases(Suite *suite)
{
	TCase *tc = tcase_create("YAML");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, good_files, 0, COUNT(good_cases));
	tcase_add_loop_test(tc, bad_files, 0, COUNT(bad_cases));
	tcase_add_test(tc, every_cut);
	tcase_add_test(tc, many_groups);
	tcase_add_test(tc, many_vms);
	tcase_add_test(tc, repeating_aliases);
	tcase_add_test(tc, too_big);
	tcase_add_test(tc, deep_nesting);
	tcase_add_test(tc, unreadable);
	suite_add_tcase(suite, tc);
}
