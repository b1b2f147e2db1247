/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl's command line: what is right, and what is said about the rest. */
#include "vsockctl/args.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "vsockctl/command.h"

enum { WORDS_MAX = 9 };

static struct args a;
static char error[ARGS_ERROR_MAX];

static char *argv[WORDS_MAX + 2];		/* of the last parse(), as it borrows them */

static void forget_words(void)
{
	for (int i = 1; argv[i]; i++)
		free(argv[i]);
	memset(argv, 0, sizeof argv);
}

static int parse(const char *const words[WORDS_MAX])
{
	int n = 1;

	forget_words();
	argv[0] = "vsockctl";
	for (; words[n - 1]; n++)
		argv[n] = strdup(words[n - 1]);		/* exact sizes */
	error[0] = '\0';
	return args_parse(&a, command_rows, n, argv, error);
}

static const struct {
	const char *words[WORDS_MAX];
	const char *command, *operands[ARGS_OPERANDS_MAX], *api;
	uint64_t timeout_ms;
	uint32_t mode;
	bool json, seqpacket, fdpass, keep;
} good[] = {
	{ .words = { "list" }, .command = "list" },
	{ .words = { "list", "--json" }, .command = "list", .json = true },
	{ .words = { "--json", "list" }, .command = "list", .json = true },
	{ .words = { "--api", "/x", "show", "3" },
	  .command = "show", .operands = { "3" }, .api = "/x" },
	{ .words = { "show", "3", "--api=/x=y" },
	  .command = "show", .operands = { "3" }, .api = "/x=y" },
	{ .words = { "connect", "/u", "22", "--fdpass" },
	  .command = "connect", .operands = { "/u", "22" }, .fdpass = true },
	{ .words = { "connect", "--seqpacket", "/u", "22" },
	  .command = "connect", .operands = { "/u", "22" }, .seqpacket = true },
	{ .words = { "connect", "--", "-u", "--x" },
	  .command = "connect", .operands = { "-u", "--x" } },
	{ .words = { "capture", "3", "-" }, .command = "capture", .operands = { "3", "-" } },
	{ .words = { "listen", "-k", "/u", "1" },
	  .command = "listen", .operands = { "/u", "1" }, .keep = true },
	{ .words = { "listen", "--mode", "0660", "/u", "1" },
	  .command = "listen", .operands = { "/u", "1" }, .mode = 0660 },
	{ .words = { "listen", "-m", "7", "/u", "1" },
	  .command = "listen", .operands = { "/u", "1" }, .mode = 7 },
	{ .words = { "wait", "/u", "1", "-t", "10" },
	  .command = "wait", .operands = { "/u", "1" }, .timeout_ms = 10000 },
	{ .words = { "wait", "/u", "1", "-t", "0.5" },
	  .command = "wait", .operands = { "/u", "1" }, .timeout_ms = 500 },
	{ .words = { "wait", "/u", "1", "-t", "1.025" },
	  .command = "wait", .operands = { "/u", "1" }, .timeout_ms = 1025 },
	{ .words = { "wait", "/u", "1", "-t", "1000000" },
	  .command = "wait", .operands = { "/u", "1" }, .timeout_ms = 1000000000 },
	{ .words = { "doctor" }, .command = "doctor" },
	{ .words = { "doctor", "3", "22" }, .command = "doctor", .operands = { "3", "22" } },
};

static void check_text(const char *got, const char *wanted)
{
	ck_assert_int_eq(!got, !wanted);
	if (wanted)
		ck_assert_str_eq(got, wanted);
}

START_TEST(right)
{
	ck_assert_msg(parse(good[_i].words) == 0, "%s", error);
	ck_assert_str_eq(a.command->name, good[_i].command);
	for (int i = 0; i < ARGS_OPERANDS_MAX; i++)
		check_text(a.operands[i], good[_i].operands[i]);
	check_text(a.api, good[_i].api);
	ck_assert_uint_eq(a.timeout_ms, good[_i].timeout_ms ? good[_i].timeout_ms : UINT64_MAX);
	ck_assert_uint_eq(a.mode, good[_i].mode ? good[_i].mode : UINT32_MAX);
	ck_assert_int_eq(a.json, good[_i].json);
	ck_assert_int_eq(a.seqpacket, good[_i].seqpacket);
	ck_assert_int_eq(a.fdpass, good[_i].fdpass);
	ck_assert_int_eq(a.keep, good[_i].keep);
}
END_TEST

static const struct {
	const char *words[WORDS_MAX];
	const char *error;
} bad[] = {
	{ { NULL }, "which command? See vsockctl --help" },
	{ { "lis" }, "there is no command lis" },
	{ { "" }, "there is no command " },
	{ { "--jso", "list" }, "there is no option --jso" },
	{ { "-x" }, "there is no option -x" },
	{ { "-kt" }, "there is no option -kt" },
	{ { "list", "x" }, "list: what is x?" },
	{ { "show" }, "usage: vsockctl show CID" },
	{ { "connect", "/u" }, "usage: vsockctl connect UDS PORT" },
	{ { "connect", "/u", "1", "2" }, "connect: what is 2?" },
	{ { "list", "--keep" }, "list has no option --keep" },
	{ { "connect", "/u", "1", "--json" }, "connect has no option --json" },
	{ { "connect", "/u", "1", "--api=x" }, "connect has no option --api" },
	{ { "list", "--json=1" }, "--json takes no value" },
	{ { "list", "--api" }, "--api needs a value: PATH" },
	{ { "list", "--api", "--json" }, "--api needs a value: PATH" },
	{ { "list", "--api=" }, "--api : it has to be the path of a socket" },
	{ { "connect", "/u", "1", "--fdpass", "--seqpacket" },
	  "--fdpass is for streams, --seqpacket is not" },
};

START_TEST(wrong)
{
	ck_assert_int_eq(parse(bad[_i].words), -1);
	ck_assert_str_eq(error, bad[_i].error);
}
END_TEST

static const char *const bad_timeouts[] = {
	"", "0", "0.000", "-1", "+1", "1e3", "1.", ".5", "1.0001", "1000001", "99999999999999999999",
	"x", "1 ", "1.x",
};

START_TEST(wrong_timeouts)
{
	const char *words[WORDS_MAX] = { "wait", "/u", "1", "-t", bad_timeouts[_i] };
	int r = parse(words);

	ck_assert_int_eq(r, -1);
	ck_assert_ptr_nonnull(strstr(error, _i == 3 ? "needs a value" : "it has to be seconds"));
}
END_TEST

static const char *const bad_modes[] = { "", "8", "0x1", "01000", "00660", "660 ", "77777777777" };

START_TEST(wrong_modes)
{
	const char *words[WORDS_MAX] = { "listen", "/u", "1", "-m", bad_modes[_i] };

	ck_assert_int_eq(parse(words), -1);
	ck_assert_ptr_nonnull(strstr(error, "octal"));
}
END_TEST

START_TEST(captures)
{
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "capture", "3", "-", "--port=0+4294967295",
								"-p", "7", "-s", "76" }), 0);
	ck_assert_uint_eq(a.n_ports, 3);
	ck_assert_uint_eq(a.ports[0], 0);
	ck_assert_uint_eq(a.ports[1], UINT32_MAX);
	ck_assert_uint_eq(a.ports[2], 7);
	ck_assert_uint_eq(a.snaplen, 76);
	ck_assert_uint_eq(a.size + a.files, 0);
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "capture", "3", "f", "--size=1000",
								"--files=16" }), 0);
	ck_assert_uint_eq(a.size, 1000);
	ck_assert_uint_eq(a.files, 16);
}
END_TEST

static const struct { const char *option, *error; } bad_captures[] = {
	{ "--port=", "ports" }, { "--port=1+", "ports" }, { "--port=+1", "ports" },
	{ "--port=4294967296", "ports" }, { "--port=1,2", "ports" }, { "--port=x", "ports" },
	{ "--port=0+1+2+3+4+5+6+7+8+9+0+1+2+3+4+5+6+7+8+9+0+1+2+3+4+5+6+7+8+9+0+1+2+3+4+5+6+7+8+9"
	  "+0+1+2+3+4+5+6+7+8+9+0+1+2+3+4+5+6+7+8+9+0+1+2+3+4", "at most 64" },
	{ "--snaplen=75", "76 to 262144" }, { "--snaplen=262145", "76 to 262144" },
	{ "--snaplen=", "76 to 262144" }, { "--size=0", "bytes" }, { "--size=1k", "bytes" },
	{ "--files=0", "1 to 16" }, { "--files=17", "1 to 16" }, { "--files=3", "needs --size" },
	{ "--json", "no option" },
};

START_TEST(wrong_captures)
{
	const char *words[WORDS_MAX] = { "capture", "3", "f", bad_captures[_i].option };

	ck_assert_int_eq(parse(words), -1);
	ck_assert_msg(strstr(error, bad_captures[_i].error), "%s", error);
}
END_TEST

START_TEST(help_and_version_come_first)
{
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "-h" }), 0);
	ck_assert(a.has_help);
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "connect", "--version" }), 0);
	ck_assert(a.has_version);
}
END_TEST

START_TEST(numbers)
{
	uint64_t n = 4711;

	ck_assert(args_number("0", 10, &n) && n == 0);
	ck_assert(args_number("10", 10, &n) && n == 10);
	ck_assert(args_number("18446744073709551615", UINT64_MAX, &n) && n == UINT64_MAX);
	n = 4711;
	ck_assert(!args_number("11", 10, &n) && !args_number("", 10, &n) && !args_number("-1", 10, &n));
	ck_assert(!args_number("18446744073709551616", UINT64_MAX, &n) && !args_number("9", 8, &n));
	ck_assert(!args_number("1x", 10, &n) && !args_number(" 1", 10, &n) && n == 4711);
}
END_TEST

START_TEST(where_the_api_is)
{
	bool was_said;

	unsetenv("VSOCKCTL_API");
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "list" }), 0);
	ck_assert_str_eq(args_api(&a, &was_said), "/run/vhost-device-vsock/api.sock");
	ck_assert(!was_said);
	setenv("VSOCKCTL_API", "", 1);
	ck_assert_str_eq(args_api(&a, NULL), ARGS_API_DEFAULT);
	setenv("VSOCKCTL_API", "/e", 1);
	ck_assert_str_eq(args_api(&a, &was_said), "/e");
	ck_assert(was_said);
	ck_assert_int_eq(parse((const char *const [WORDS_MAX]){ "list", "--api", "/o" }), 0);
	ck_assert_str_eq(args_api(&a, &was_said), "/o");
	ck_assert(was_said);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl_args");
	TCase *tc = tcase_create("ctl_args");

	tcase_add_checked_fixture(tc, NULL, forget_words);
	tcase_add_loop_test(tc, right, 0, COUNT(good));
	tcase_add_loop_test(tc, wrong, 0, COUNT(bad));
	tcase_add_loop_test(tc, wrong_timeouts, 0, COUNT(bad_timeouts));
	tcase_add_loop_test(tc, wrong_modes, 0, COUNT(bad_modes));
	tcase_add_test(tc, captures);
	tcase_add_loop_test(tc, wrong_captures, 0, COUNT(bad_captures));
	tcase_add_test(tc, help_and_version_come_first);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, where_the_api_is);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
