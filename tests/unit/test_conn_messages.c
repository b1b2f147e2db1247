/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections of type SEQPACKET: messages pass whole, or the connection ends. vsock_script.h has
 * the words. */
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "util/blob.h"
#include "vsock/mux_internal.h"
#include "vsock_script.h"

struct script_case {
	const char *name, *script, *trace;
};

#define FULL "RW(xxxxxxxxxxxxxxxxxxxx) "
#define FIVE FULL FULL FULL FULL FULL

static const struct script_case type_cases[] = {
	{ "known", "seq req", "RESPONSE" },
	{ "not known", "type:2 req", "RST" },
	{ "streams as well", "seq type:1 req eom:ab", "RESPONSE <ab" },
	{ "messages only", "types:4 type:2 req", "RESPONSE" },
	{ "messages only, a stream", "types:4 type:1 req", "RST" },
	{ "neither", "types:0 type:1 req", "RST" },
	{ "a type that there is not", "types:255 type:3 req", "RST" },
	{ "of bits that are not there", "types:255 type:34 req", "RST" },
	{ "type 0", "types:255 type:0 req", "RST" },
	{ "no longer known, live", "seq req types:2 eom:ab", "RESPONSE <[ab]" },
	{ "packet of another type", "seq req type:1 rw:x", "RESPONSE close RST" },
	{ "message to a stream", "seq type:1 req type:2 eom:x", "RESPONSE close RST" },
	{ "credit of another type", "seq req type:1 update", "RESPONSE close RST" },
	{ "RST of another type", "seq req type:1 rst", "RESPONSE close" },
	{ "host connects", "seq connect resp eom:ab give:cd",
	  "REQUEST accepted:1024 <[ab] RW(cd)eom" },
	{ "host connects, not known", "type:2 connect", "NO_TYPE" },
	{ "host connects by stream, not known", "types:4 connect", "NO_TYPE" },
	{ "host connects, answer of another type", "seq connect type:1 resp", "REQUEST close RST" },
};

static const struct script_case to_host_cases[] = {
	{ "one packet", "seq req eom:ab", "RESPONSE <[ab]" },
	{ "in packets", "seq req rw:a rw:b eom:c", "RESPONSE <[abc]" },
	{ "in packets of a batch", "seq req rw:a& rw:b& eom:c", "RESPONSE <[abc]" },
	{ "several in a batch", "seq req eom:a& eom:b& rw:c", "RESPONSE <[a] <[b]" },
	{ "over batches", "seq req rw:a& rw:b eom:c& eom:d",
	  "RESPONSE <[abc] <[d] CREDIT_UPDATE fwd:4" },
	{ "the last packet is empty", "seq req rw:ab eom:", "RESPONSE <[ab]" },
	{ "the same in a batch", "seq req rw:ab& eom:", "RESPONSE <[ab]" },
	{ "the first is", "seq req rw: eom:ab", "RESPONSE <[ab]" },
	{ "empty", "seq req eom: eom:a eom: eom:", "RESPONSE <[] <[a] <[] <[]" },
	{ "empty, in a batch", "seq req eom:& eom:a& eom:& eom:", "RESPONSE <[] <[a] <[] <[]" },
	{ "nothing at all", "seq req rw: rw:", "RESPONSE" },
	{ "record", "seq req eor:ab eom:c eor:", "RESPONSE <[ab]eor <[c] <[]eor" },
	{ "record of packets", "seq req rw:a eor:b eom:c", "RESPONSE <[ab]eor <[c]" },
	{ "other flags say nothing", "seq req not_eom:a eom:b", "RESPONSE <[ab]" },
	{ "nor in a stream", "seq type:1 req eor:a& eom:b& rw:c", "RESPONSE <abc" },
	{ "two connections", "seq req b.req rw:a& b.rw:b& rw:c& b.eom:d& eom:e",
	  "RESPONSE b.RESPONSE b.<[bd] <[ace]" },

	{ "wait", "seq req full eom:a eom:bc takes:9", "RESPONSE <[a] <[bc]" },
	{ "wait, with empty ones", "seq req full eom: eom:a eom: takes:9",
	  "RESPONSE <[] <[a] <[]" },
	{ "wait, one is taken", "seq req full eom:a eom:bc eor: takes:1 takes:1 takes:1",
	  "RESPONSE <[a] <[bc] <[]eor" },
	{ "what has begun does not count", "seq req full eom:a rw:b takes:9 eom:c",
	  "RESPONSE <[a] <[bc]" },
	{ "nor is written", "seq req rw:ab full takes:9 eom:c", "RESPONSE <[abc]" },
	{ "in order", "seq req full eom:a takes:1 rw:b& eom:c takes:2", "RESPONSE <[a] <[bc]" },
	{ "waits for it", "seq req full rw:a waits eom:b waits takes:9 waits",
	  "RESPONSE waits:i waits:io <[ab] waits:i" },
	{ "empty ones are waited for", "seq req full eom: waits takes:1 waits",
	  "RESPONSE waits:io <[] waits:i" },
};

/* The window is of 16 bytes. */
static const struct script_case credit_cases[] = {
	{ "only whole messages are passed on", "seq req rw:abcdefgh request eom:i",
	  "RESPONSE CREDIT_UPDATE fwd:0 <[abcdefghi] CREDIT_UPDATE fwd:9" },
	{ "those that wait are not", "seq req full eom:abcd eom:efgh request takes:1",
	  "RESPONSE CREDIT_UPDATE fwd:0 <[abcd] CREDIT_UPDATE fwd:4" },
	{ "all of the window", "seq req rw:0123456789abcde eom:f",
	  "RESPONSE <[0123456789abcdef] CREDIT_UPDATE fwd:16" },
	{ "all of it at once", "seq req eom:0123456789abcdef",
	  "RESPONSE <[0123456789abcdef] CREDIT_UPDATE fwd:16" },
	{ "one byte more", "seq req rw:0123456789abcdef", "RESPONSE close RST" },
	{ "one byte more, in a batch", "seq req rw:0123456789abcdef& eom:x", "RESPONSE close RST" },
	{ "told where a message needs all", "seq req eom:a rw:0123456789abcde eom:f",
	  "RESPONSE <[a] CREDIT_UPDATE fwd:1 <[0123456789abcdef] CREDIT_UPDATE fwd:17" },
	{ "not while half of it is left", "seq req eom:a rw:012345", "RESPONSE <[a]" },
	{ "half of it is gone", "seq req eom:a rw:0123456", "RESPONSE <[a] CREDIT_UPDATE fwd:1" },
	{ "nor where none has begun", "seq req eom:a full eom:0123456", "RESPONSE <[a]" },
	{ "told once another is taken", "seq req full eom:a rw:0123456789abcde takes:1",
	  "RESPONSE <[a] CREDIT_UPDATE fwd:1" },
	{ "nothing to tell", "seq req rw:0123456789", "RESPONSE" },
	{ "the peer is a guest", "seq req window:16 eom:ab rw:0123456789abc consumed:2 eom:def",
	  "RESPONSE <[ab] CREDIT_UPDATE fwd:2 <[0123456789abcdef]" },
};

static const struct script_case end_cases[] = {
	{ "begun, SHUTDOWN", "seq req rw:ab shut:s", "RESPONSE shut_wr" },
	{ "begun, SHUTDOWN both", "seq req rw:ab shut:b", "RESPONSE close RST" },
	{ "begun in the batch", "seq req eom:a& rw:b& shut:s", "RESPONSE <[a] shut_wr" },
	{ "begun after what waits, SHUTDOWN", "seq req full eom:ab rw:c shut:s takes:9",
	  "RESPONSE <[ab] shut_wr" },
	{ "begun after what waits, SHUTDOWN both", "seq req full eom:ab rw:c shut:b takes:9",
	  "RESPONSE shut_rd <[ab] close RST" },
	{ "begun after what waits, RST", "seq req full eom:ab eom:c rw:d rst takes:1 takes:9",
	  "RESPONSE <[ab] <[c] close" },
	{ "begun, RST", "seq req rw:ab rst", "RESPONSE close" },
	{ "begun, reset", "seq req full eom: rw:ab reset takes:9", "RESPONSE <[] close" },
	{ "SHUTDOWN(r) drops nothing", "seq req rw:ab shut:r eom:c", "RESPONSE shut_rd <[abc]" },
	{ "message after SHUTDOWN", "seq req shut:s eom:", "RESPONSE shut_wr close RST" },
	{ "an empty one waits, SHUTDOWN", "seq req full eom: shut:s takes:9",
	  "RESPONSE <[] shut_wr" },
	{ "an empty one waits, SHUTDOWN both", "seq req full eom: shut:b takes:9",
	  "RESPONSE shut_rd <[] close RST" },
	{ "lingers, given up", "seq req full eom:a shut:b +30000", "RESPONSE shut_rd close RST" },
	{ "lingers, with progress", "seq req full eom:a eom:b shut:b +29999 takes:1 +29999 takes:1",
	  "RESPONSE shut_rd <[a] <[b] close RST" },
	{ "host reads no more", "seq req deaf:no_reader eom:ab give:x eom:c",
	  "RESPONSE SHUTDOWN(r) RW(x)eom" },
	{ "host reads no more, begun", "seq req deaf:no_reader rw:ab eom:c give:x",
	  "RESPONSE SHUTDOWN(r) RW(x)eom" },
	{ "host reads no more, then begun", "seq req reads_no_more rw:a rw:b eom:c eof",
	  "RESPONSE SHUTDOWN(r) close RST" },
	{ "host closes, one waits", "seq req full eom:a closed", "RESPONSE close RST" },
	{ "host closes, an empty one waits", "seq req full eom: closed", "RESPONSE close RST" },
	{ "host closes, one has begun", "seq req rw:a closed", "RESPONSE close RST" },
	{ "host closes, has all", "seq req eom:a closed", "RESPONSE <[a] close SHUTDOWN(b)" },
	{ "writing fails", "seq req deaf:5 eom:a", "RESPONSE close RST" },
	{ "writing what waits fails", "seq req full eom:a eom:b deaf:5", "RESPONSE close RST" },
};

/* A buffer of the guest has room for 20 bytes. */
static const struct script_case to_guest_cases[] = {
	{ "messages", "seq req give:ab& give:c& give:& record:d& record:",
	  "RESPONSE RW(ab)eom RW(c)eom RW()eom RW(d)eor RW()eor" },
	{ "all of a buffer", "seq req give:0123456789abcdefghij", "RESPONSE RW(0123456789abcdefghij)eom" },
	{ "in two packets", "seq req record:0123456789abcdefghijk",
	  "RESPONSE RW(0123456789abcdefghij) RW(k)eor" },
	{ "both full", "seq req give:0123456789abcdefghij0123456789abcdefghij",
	  "RESPONSE RW(0123456789abcdefghij) RW(0123456789abcdefghij)eom" },
	{ "buffer by buffer", "seq starve req give:0123456789abcdefghijk feed:1 feed:1 give:x feed:1 feed:1",
	  "RESPONSE RW(0123456789abcdefghij) RW(k)eom RW(x)eom" },
	{ "another in between", "stay seq req b.req starve record:0123456789abcdefghijk feed:1 b.give:y feed:2",
	  "RESPONSE b.RESPONSE RW(0123456789abcdefghij) b.RW(y)eom RW(k)eor" },
	{ "a long one after a short one", "seq req give:a give:0123456789abcdefghijk",
	  "RESPONSE RW(a)eom RW(0123456789abcdefghij) RW(k)eom" },
	{ "end behind it", "seq req starve give:0123456789abcdefghijk feed:1 eof feed:9",
	  "RESPONSE RW(0123456789abcdefghij) RW(k)eom SHUTDOWN(s)" },
	{ "closed behind it", "seq req starve give:0123456789abcdefghijk feed:1 closed feed:9",
	  "RESPONSE RW(0123456789abcdefghij) RW(k)eom close SHUTDOWN(b)" },
	{ "an empty one before the end", "seq req give:& eof", "RESPONSE RW()eom SHUTDOWN(s)" },
	{ "the guest receives no more", "seq req starve give:0123456789abcdefghijk feed:1 shut:r feed:9 eom:a",
	  "RESPONSE RW(0123456789abcdefghij) shut_rd <[a]" },
	{ "the guest resets it", "seq req starve give:0123456789abcdefghijk feed:1 rst feed:9",
	  "RESPONSE RW(0123456789abcdefghij) close" },
	{ "lingers with a rest", "seq req starve full eom:a give:0123456789abcdefghijk feed:1 shut:b takes:1 feed:9",
	  "RESPONSE RW(0123456789abcdefghij) shut_rd <[a] close RST" },

	{ "all that the guest has room for", "seq credit:5,0 req give:abcde", "RESPONSE RW(abcde)eom CREDIT_REQUEST" },
	{ "one byte more", "seq credit:5,0 req give:abcdef", "RESPONSE close RST" },
	{ "more than all buffers hold", "seq credit:30,0 req more:31", "RESPONSE close RST" },
	{ "room for a part", "seq credit:5,0 req give:abc give:defg credit:5,3 update",
	  "RESPONSE RW(abc)eom RW(de) CREDIT_REQUEST RW(fg)eom" },
	{ "room for a byte at a time", "seq credit:3,0 req give:abc record:def credit:3,1 update "
	  "credit:3,2 update credit:3,3 update",
	  "RESPONSE RW(abc)eom CREDIT_REQUEST RW(d) CREDIT_REQUEST RW(e) CREDIT_REQUEST RW(f)eor CREDIT_REQUEST" },
	{ "no room at all", "seq credit:0,0 req give:ab credit:2,0 update",
	  "RESPONSE CREDIT_REQUEST RW(ab)eom CREDIT_REQUEST" },
	{ "waits, with a rest", "seq credit:5,0 req give:abc give:defg waits",
	  "RESPONSE RW(abc)eom RW(de) CREDIT_REQUEST waits:" },

	/* 16 packets are allowed at a time. */
	{ "more packets than that", "seq credit:9216,0 req more:400",
	  "RESPONSE " FIVE FIVE FIVE FULL FULL FULL FULL "RW(xxxxxxxxxxxxxxxxxxxx)eom CREDIT_REQUEST" },
	{ "held back for what is unread", "seq credit:9216,0 req give:a more:400 credit:9216,1 update",
	  "RESPONSE RW(a)eom " FIVE FIVE FIVE "CREDIT_REQUEST "
	  FULL FULL FULL FULL "RW(xxxxxxxxxxxxxxxxxxxx)eom" },
	{ "held back, with a rest, and waits", "seq credit:9216,0 req give:a more:400 waits",
	  "RESPONSE RW(a)eom " FIVE FIVE FIVE "CREDIT_REQUEST waits:" },
	{ "empty packets count", "seq credit:9216,0 req give:& give:& give:& give:& give:& give:& "
	  "give:& give:& give:& give:& give:& give:& give:& give:& give:& give:& give:x update",
	  "RESPONSE RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom "
	  "RW()eom RW()eom RW()eom RW()eom RW()eom RW()eom CREDIT_REQUEST RW(x)eom" },
};

static void run_case(const struct script_case *c, bool is_moving)
{
	static struct script s;

	script_init(&s, 64);
	s.is_moving = is_moving;
	script_run(&s, c->script);
	ck_assert_msg(strcmp(script_trace(&s), c->trace) == 0, "%s%s: '%s' gave '%s', not '%s'",
		      c->name, is_moving ? ", moved after each word" : "", c->script,
		      script_trace(&s), c->trace);
	script_deinit(&s);
}

/* Each row twice, as in test_conn. */
#define TABLE(table)				\
	START_TEST(test_##table)		\
	{					\
		run_case(&table[_i], false);	\
		run_case(&table[_i], true);	\
	}					\
	END_TEST

TABLE(type_cases)
TABLE(to_host_cases)
TABLE(credit_cases)
TABLE(end_cases)
TABLE(to_guest_cases)

/* Why it ends: what the log says. The guest has no buffer for the RST yet. */
static const struct {
	const char *name, *script;
	enum conn_end end;
} why_cases[] = {
	{ "longer than the window", "rw:0123456789abcdef", CONN_END_TOO_LONG },
	{ "in packets", "rw:01234567 rw:89abcdef", CONN_END_TOO_LONG },
	{ "longer than the window, after others", "eom:a rw:0123456789abcde feed:1 rw:f",
	  CONN_END_TOO_LONG },
	{ "beyond its credit", "full eom:a rw:0123456789abcde rw:f", CONN_END_CREDIT },
	{ "for the host", "max:3 eom:abcd", CONN_END_TOO_LONG_FOR_HOST },
	{ "for the host, in packets", "max:3 rw:ab eom:cd", CONN_END_TOO_LONG_FOR_HOST },
	{ "for the host, waits", "max:3 full eom:abc eom:abcd takes:1", CONN_END_TOO_LONG_FOR_HOST },
	{ "for the guest", "credit:5,0 update feed:1 give:abcdef", CONN_END_TOO_LONG_FOR_GUEST },
	{ "another type", "type:1 rw:x", CONN_END_PROTOCOL },
};

START_TEST(why_it_ends)
{
	static struct script s;
	const struct conn *c;

	script_init(&s, 64);
	script_run(&s, "seq req starve");
	script_run(&s, why_cases[_i].script);
	s.rx.left = 0;
	c = conn_table_find(&s.mux->table, 1024, &s.conns[0].peer);
	if (c) {				/* else the buffer was for its RST */
		ck_assert_int_eq(c->state, CONN_RESET);
		ck_assert_msg(c->end == why_cases[_i].end, "%s: %s", why_cases[_i].name,
			      conn_str_end(c->end));
		script_run(&s, "feed:1");
	}
	ck_assert_int_eq(s.rx.last.op, VSOCK_OP_RST);
	ck_assert_int_eq(s.rx.last.type, VSOCK_TYPE_SEQPACKET);
	ck_assert(s.streams[0].is_closed);
	script_deinit(&s);
}
END_TEST

/* What the guest had begun is lost: no host is told that this was all. */
static const struct {
	const char *script;
	bool is_orderly;
} orderly_cases[] = {
	{ "rw:ab shut:b", false },
	{ "rw:ab shut:s eof", false },
	{ "full eom:ab rw:c shut:b takes:9", false },
	{ "full eom:ab rw:c shut:s takes:9 eof", false },
	{ "eom:ab shut:b", true },
	{ "rw:ab eom:c shut:s eof", true },
	{ "full eom:ab eom: shut:b takes:9", true },
	{ "full eom: shut:b +30000", false },
	{ "rw: shut:b", true },			/* nothing has begun */
};

START_TEST(lost_is_not_orderly)
{
	static struct script s;

	for (int moving = 0; moving < 2; moving++) {
		script_init(&s, 64);
		s.is_moving = moving;
		script_run(&s, "seq req");
		script_run(&s, orderly_cases[_i].script);
		ck_assert(s.streams[0].is_closed);
		ck_assert_msg(s.streams[0].is_orderly == orderly_cases[_i].is_orderly, "%s",
			      orderly_cases[_i].script);
		script_deinit(&s);
	}
}
END_TEST

/* The stream that is loaded for a connection is of its type, or nothing is loaded. */
START_TEST(stream_of_another_type)
{
	static struct script s;
	struct blob_reader in;
	struct blob blob;
	struct mux *next;

	script_init(&s, 64);
	script_run(&s, _i ? "seq req" : "seq type:1 req");
	blob_init(&blob, 1 << 20, 0);
	mux_save(s.mux, &blob);
	s.streams[0].base.conn = NULL;
	s.streams[0].base.type = _i ? VSOCK_TYPE_STREAM : VSOCK_TYPE_SEQPACKET;
	ck_assert_int_eq(mux_new(&next, &s.mux->config), 0);
	mux_add_backend(next, &s.backend.base);
	blob_read(&in, blob.bytes, blob.len, NULL);
	ck_assert_int_eq(mux_load(next, &in, s.now_ms), MUX_E_BAD_STATE);
	ck_assert(s.streams[0].is_closed);
	mux_free(next);
	s.streams[0].is_closed = false;		/* the old process's is not */
	blob_deinit(&blob);
	script_deinit(&s);
}
END_TEST

/* Empty messages cost the guest nothing: so there are not any number of them. */
START_TEST(empty_messages_are_bounded)
{
	static struct script s;

	script_init(&s, 64);
	script_run(&s, "seq req full");
	for (int i = 0; i < 256 + SCRIPT_BUF_ALLOC; i++)
		script_run(&s, "eom:");
	ck_assert_str_eq(script_trace(&s), "RESPONSE");
	ck_assert_uint_le(s.mux->buffered->used, (256 + SCRIPT_BUF_ALLOC) * 8);
	script_move(&s);
	script_run(&s, "takes:1 eom: eor:");
	ck_assert_str_eq(script_trace(&s), "RESPONSE <[] close RST");
	ck_assert_uint_eq(s.mux->buffered->used, 0);
	script_deinit(&s);
}
END_TEST

/* What is counted is given back. */
START_TEST(budget)
{
	static struct script s;

	script_init(&s, 64);
	script_run(&s, "seq req full eom:ab rw:c starve give:0123456789abcdefghijk feed:1");
	ck_assert_uint_gt(s.mux->buffered->used, 0);
	script_run(&s, "takes:9 eom:d feed:1");
	ck_assert_uint_eq(s.mux->buffered->used, 0);
	script_run(&s, "full eom:ab rw:c give:0123456789abcdefghijk feed:1 rw:0123456789abcdef0");
	ck_assert_uint_eq(s.mux->buffered->used, 0);
	script_deinit(&s);
}
END_TEST

/* Messages of all lengths, empty ones too, in packets of all lengths, held in batches and not, to
 * a host that takes one now and then: each comes out as it went in. */
START_TEST(any_lengths)
{
	static struct script s;
	uint32_t seed = 1 + (uint32_t)_i, left = 0, n_sent = 0;
	static char expected[sizeof s.trace.text];
	size_t len = 0;

	script_init(&s, 64);
	script_run(&s, "seq req");
	s.trace.len = 0;
	script_run(&s, "full");
	for (int i = 0; i < 400; i++) {
		char text[16] = "", word[64];
		uint32_t n;

		seed = seed * 1103515245 + 12345;
		if (!left) {
			left = (seed >> 20) % 6;
			len += (size_t)sprintf(expected + len, "%s<[", len ? " " : "");
		}
		n = (seed >> 16) % (left + 1);
		for (uint32_t k = 0; k < n; k++)
			text[k] = (char)('a' + n_sent++ % 26);
		len += (size_t)sprintf(expected + len, "%s", text);
		left -= n;
		snprintf(word, sizeof word, "%s:%s%s", left ? "rw" : "eom", text,
			 seed >> 25 & 1 ? "&" : "");
		script_run(&s, word);
		if (!left)
			len += (size_t)sprintf(expected + len, "]");
		if (!left)
			script_run(&s, seed >> 26 & 1 ? "takes:2" : "takes:1");
		if (!left && seed >> 27 & 1)
			script_move(&s);
		ck_assert_uint_eq(s.mux->table.n, 1);
	}
	script_run(&s, left ? "eom:& takes:1000" : "takes:1000");
	if (left)
		sprintf(expected + len, "]");
	for (char *at; (at = strstr(s.trace.text, "CREDIT_UPDATE fwd:")); ) {
		char *end = at + strcspn(at, " ");

		end += strcspn(end + 1, " ") + 1;
		end += *end == ' ';
		memmove(at, end, strlen(end) + 1);
	}
	s.trace.len = strlen(s.trace.text);
	if (s.trace.len && s.trace.text[s.trace.len - 1] == ' ')
		s.trace.text[s.trace.len - 1] = '\0';
	ck_assert_str_eq(s.trace.text, expected);
	script_deinit(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn_messages");
	TCase *tc = tcase_create("conn_messages");

	tcase_add_loop_test(tc, test_type_cases, 0, COUNT(type_cases));
	tcase_add_loop_test(tc, test_to_host_cases, 0, COUNT(to_host_cases));
	tcase_add_loop_test(tc, test_credit_cases, 0, COUNT(credit_cases));
	tcase_add_loop_test(tc, test_end_cases, 0, COUNT(end_cases));
	tcase_add_loop_test(tc, test_to_guest_cases, 0, COUNT(to_guest_cases));
	tcase_add_loop_test(tc, why_it_ends, 0, COUNT(why_cases));
	tcase_add_loop_test(tc, lost_is_not_orderly, 0, COUNT(orderly_cases));
	tcase_add_loop_test(tc, stream_of_another_type, 0, 2);
	tcase_add_test(tc, empty_messages_are_bounded);
	tcase_add_test(tc, budget);
	tcase_add_loop_test(tc, any_lengths, 0, 20);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
