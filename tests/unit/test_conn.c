/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a connection: what is said and done after what. vsock_script.h has
 * the words. */
#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "vsock/credit.h"
#include "vsock_script.h"

struct script_case {
	const char *name, *script, *trace;
};

static const struct script_case unknown_cases[] = {
	{ "RESPONSE", "resp", "RST" },
	{ "RW", "rw:x", "RST" },
	{ "SHUTDOWN", "shut:b", "RST" },
	{ "CREDIT_UPDATE", "update", "RST" },
	{ "CREDIT_REQUEST", "request", "RST" },
	{ "operation 0", "op:0", "RST" },
	{ "unknown operation", "op:99", "RST" },
	{ "RST is never answered", "rst", "" },
	{ "RST of an unknown type", "type:2 rst", "" },
	{ "each is answered", "rw:x rw:x", "RST RST" },
	{ "after the guest's RST", "req rst rw:x", "RESPONSE close RST" },
	{ "from another cid", "src:4 rw:x req rst", "" },
	{ "from another cid, live", "req src:4 rw:x rst src:3 rw:y", "RESPONSE <y" },
};

static const struct script_case request_cases[] = {
	{ "accepted", "req", "RESPONSE" },
	{ "unknown type", "type:2 req", "RST" },
	{ "type 0", "type:0 req", "RST" },
	{ "unknown cid", "dst:9 req", "RST" },
	{ "nobody listens", "refuse:111 req", "RST" },
	{ "refused, then accepted", "refuse:111 req at_once req", "RST RESPONSE" },
	{ "pending", "pending req connected:0", "RESPONSE" },
	{ "pending, credit comes", "pending req update request connected:0", "RESPONSE" },
	{ "pending, then refused", "pending req connected:111", "close RST" },
	{ "pending, not in time", "pending req +1499 +1", "close RST" },
	{ "pending, just in time", "pending req +1499 connected:0 +9999", "RESPONSE" },
	{ "pending, guest gives up", "pending req rst", "close" },
	{ "pending, RW", "pending req rw:x", "close RST" },
	{ "pending, REQUEST", "pending req req", "close RST" },
	{ "pending, SHUTDOWN", "pending req shut:b", "close RST" },
	{ "second REQUEST", "req req", "RESPONSE close RST" },
	{ "RESPONSE", "req resp", "RESPONSE close RST" },
	{ "operation 0", "req op:0", "RESPONSE close RST" },
	{ "unknown operation", "req op:8", "RESPONSE close RST" },
	{ "unknown type, live", "req type:2 rw:x", "RESPONSE close RST" },
	{ "RST of an unknown type, live", "req type:2 rst", "RESPONSE close" },
	{ "name is free after RST", "req rst req", "RESPONSE close RESPONSE" },
	{ "name is free after our RST", "req req req", "RESPONSE close RST RESPONSE" },
};

static const struct script_case connect_cases[] = {
	{ "asked", "connect", "REQUEST" },
	{ "accepted", "connect resp", "REQUEST accepted:1024" },
	{ "data waits for RESPONSE", "connect give:hi resp", "REQUEST accepted:1024 RW(hi)" },
	{ "end waits for RESPONSE", "connect give:hi& eof resp",
	  "REQUEST accepted:1024 RW(hi) SHUTDOWN(s)" },
	{ "refused", "connect rst", "REQUEST close" },
	{ "credit before RESPONSE", "connect update request resp", "REQUEST accepted:1024" },
	{ "RW before RESPONSE", "connect rw:x", "REQUEST close RST" },
	{ "REQUEST crosses", "connect req", "REQUEST close RST" },
	{ "SHUTDOWN before RESPONSE", "connect shut:b", "REQUEST close RST" },
	{ "RESPONSE twice", "connect resp resp", "REQUEST accepted:1024 close RST" },
	{ "no answer yet", "connect +1999 resp", "REQUEST accepted:1024" },
	{ "no answer", "connect +2000", "REQUEST close" },
	{ "answer too late", "connect +2000 resp", "REQUEST close RST" },
	{ "answered, no deadline any more", "connect resp +99999", "REQUEST accepted:1024" },
	{ "others are not affected", "connect +1000 b.connect +1000 b.resp",
	  "REQUEST b.REQUEST close b.accepted:1025" },
	{ "no buffer for REQUEST", "starve connect feed:1", "REQUEST" },
	{ "never a buffer for REQUEST", "starve connect +2000 feed:9", "close" },
	{ "ended before REQUEST", "starve connect abort feed:9", "close" },
	{ "no guest", "stopped connect", "NO_GUEST" },
};

static const struct script_case half_cases[] = {
	{ "guest sends no more", "req rw:ab shut:s", "RESPONSE <ab shut_wr" },
	{ "the other direction goes on", "req shut:s give:cd", "RESPONSE shut_wr RW(cd)" },
	{ "told once", "req shut:s shut:s", "RESPONSE shut_wr" },
	{ "all delivered first", "req full rw:ab shut:s takes:1 takes:9",
	  "RESPONSE <a <b shut_wr" },
	{ "RW after it", "req shut:s rw:x", "RESPONSE shut_wr close RST" },
	{ "guest receives no more", "req shut:r give:x rw:ab", "RESPONSE shut_rd <ab" },
	{ "flags add up, r s", "req shut:r shut:s", "RESPONSE shut_rd close RST" },
	{ "flags add up, s r", "req shut:s shut:r", "RESPONSE shut_wr close RST" },
	{ "both", "req shut:b", "RESPONSE close RST" },
	{ "no flags", "req shut:0 rw:a", "RESPONSE <a" },
	{ "host's end", "req give:ab& eof", "RESPONSE RW(ab) SHUTDOWN(s)" },
	{ "guest still answers", "req eof rw:ab", "RESPONSE SHUTDOWN(s) <ab" },
	{ "guest answers and is done", "req eof rw:ab shut:b",
	  "RESPONSE SHUTDOWN(s) <ab close RST" },
	{ "host first, then guest", "req eof shut:s",
	  "RESPONSE SHUTDOWN(s) shut_wr close SHUTDOWN(b)" },
	{ "guest first, then host", "req shut:s eof shut:b",
	  "RESPONSE shut_wr close SHUTDOWN(b) RST" },
	{ "host closes the rest", "req eof hup", "RESPONSE SHUTDOWN(s) close SHUTDOWN(b)" },
	{ "host closes, guest deaf", "req shut:r hup", "RESPONSE shut_rd close SHUTDOWN(b)" },
	{ "closed with data on the way", "req full rw:ab eof closed",
	  "RESPONSE SHUTDOWN(s) close RST" },
};

static const struct script_case linger_cases[] = {
	{ "drained, then RST", "req full rw:abc shut:b takes:1 takes:9",
	  "RESPONSE shut_rd <a <bc close RST" },
	{ "flags in two packets", "req full rw:abc shut:s shut:r takes:9",
	  "RESPONSE shut_rd <abc close RST" },
	{ "given up", "req full rw:abc shut:b +30000", "RESPONSE shut_rd close RST" },
	{ "progress prolongs", "req full rw:abc shut:b +29999 takes:1 +29999 takes:1 +29999",
	  "RESPONSE shut_rd <a <b" },
	{ "progress, then none", "req full rw:abc shut:b +29999 takes:1 +30000",
	  "RESPONSE shut_rd <a close RST" },
	{ "credit and SHUTDOWN do no harm", "req full rw:a shut:b update request shut:b takes:1",
	  "RESPONSE shut_rd <a close RST" },
	{ "RW", "req full rw:a shut:b rw:x", "RESPONSE shut_rd close RST" },
	{ "REQUEST", "req full rw:a shut:b req", "RESPONSE shut_rd close RST" },
	{ "host gives nothing any more", "req full rw:a shut:b give:x takes:1",
	  "RESPONSE shut_rd <a close RST" },
	{ "host closes", "req full rw:a shut:b deaf:no_reader", "RESPONSE shut_rd close RST" },
	{ "host stops reading, noticed when it writes",
	  "stay req full rw:a shut:b stops:no_reader give:x", "RESPONSE shut_rd close RST" },
	{ "host has stopped reading", "req full rw:ab rw:c stops:no_reader shut:b",
	  "RESPONSE shut_rd close RST" },
	{ "guest reset, host has stopped reading", "req full rw:ab stops:no_reader reset",
	  "RESPONSE close" },
	{ "after the guest's RST", "req full rw:abc rst takes:1 takes:9",
	  "RESPONSE <a <bc close" },
	{ "RST while draining", "req full rw:abc shut:b rst takes:9",
	  "RESPONSE shut_rd <abc close" },
	{ "after RST, given up", "req full rw:abc rst +30000", "RESPONSE close" },
	{ "after RST, host closes", "req full rw:abc rst deaf:no_reader", "RESPONSE close" },
	{ "after RST, packets", "req full rw:abc rst rw:x takes:9", "RESPONSE RST <abc close" },
	{ "after RST, the name is free", "req full rw:abc rst req rw:x +30000 rw:y",
	  "RESPONSE RESPONSE <x close <y" },
	{ "guest reset", "req reset rw:x", "RESPONSE close RST" },
	{ "guest reset while draining", "req full rw:ab reset takes:9", "RESPONSE <ab close" },
	{ "guest reset while asked", "connect reset resp", "REQUEST close RST" },
	{ "guest reset while closing", "req closed reset +99999",
	  "RESPONSE close SHUTDOWN(b)" },
	{ "guest reset before our RST", "req starve req reset feed:9", "RESPONSE close" },
	{ "guest reset before stray RSTs", "starve rw:x reset feed:9", "" },
};

static const struct script_case closing_cases[] = {
	{ "data first", "req give:ab& closed", "RESPONSE RW(ab) close SHUTDOWN(b)" },
	{ "closed at once", "starve req closed feed:9", "RESPONSE close SHUTDOWN(b)" },
	{ "guest agrees by RST", "req closed rst rw:x", "RESPONSE close SHUTDOWN(b) RST" },
	{ "guest agrees by SHUTDOWN", "req closed shut:b", "RESPONSE close SHUTDOWN(b) RST" },
	{ "guest agrees in halves", "req closed shut:r shut:s",
	  "RESPONSE close SHUTDOWN(b) RST" },
	{ "guest agrees to half", "req closed shut:r", "RESPONSE close SHUTDOWN(b)" },
	{ "guest writes", "req closed rw:x", "RESPONSE close SHUTDOWN(b) RST" },
	{ "credit does no harm", "req closed update request", "RESPONSE close SHUTDOWN(b)" },
	{ "guest does not answer yet", "req closed +9999", "RESPONSE close SHUTDOWN(b)" },
	{ "guest does not answer", "req closed +10000", "RESPONSE close SHUTDOWN(b) RST" },
	{ "one RST only", "req closed rw:x rst +99999", "RESPONSE close SHUTDOWN(b) RST" },
	{ "reading fails", "req give:ab& fail:reset", "RESPONSE RW(ab) close RST" },
	{ "reading fails otherwise", "req fail:5", "RESPONSE close RST" },
	{ "host reads no more", "req deaf:no_reader rw:ab give:x", "RESPONSE SHUTDOWN(r) RW(x)" },
	{ "host reads no more, RW", "req deaf:no_reader rw:ab rw:cd", "RESPONSE SHUTDOWN(r)" },
	{ "host reads no more, ends", "req deaf:no_reader rw:ab eof",
	  "RESPONSE SHUTDOWN(r) close RST" },
	{ "took all, then ends", "req rw:ab eof shut:s",
	  "RESPONSE <ab SHUTDOWN(s) shut_wr close SHUTDOWN(b)" },
	{ "took all, and closes", "req rw:ab closed", "RESPONSE <ab close SHUTDOWN(b)" },
	{ "took a part, and closes", "req full rw:abcd takes:2 closed", "RESPONSE <ab close RST" },
	{ "took a part, says something, and closes", "req full rw:abcd takes:2 give:x& closed",
	  "RESPONSE <ab RW(x) close RST" },
	{ "took a part, a write tells", "req full rw:abcd takes:2 stops:no_reader closed",
	  "RESPONSE <ab close RST" },
	{ "ends, reads no more", "req eof deaf:no_reader rw:ab",
	  "RESPONSE SHUTDOWN(s) close SHUTDOWN(b)" },
	{ "reset by the host, data left", "req deaf:reset rw:ab give:x& fail:reset",
	  "RESPONSE SHUTDOWN(r) RW(x) close RST" },
	{ "reset by the host, end", "req deaf:reset rw:ab eof", "RESPONSE SHUTDOWN(r) close RST" },
	{ "writing fails otherwise", "req deaf:5 rw:ab", "RESPONSE close RST" },
	{ "told that the host reads no more", "req reads_no_more rw:ab",
	  "RESPONSE SHUTDOWN(r)" },
	{ "told with data on the way", "req full rw:ab reads_no_more takes:9",
	  "RESPONSE SHUTDOWN(r)" },
	{ "told while lingering", "req full rw:ab shut:b reads_no_more",
	  "RESPONSE shut_rd close RST" },
	{ "buffered when it fails", "req full rw:ab deaf:no_reader", "RESPONSE SHUTDOWN(r)" },
	{ "guest deaf, then host", "req shut:r deaf:no_reader rw:a",
	  "RESPONSE shut_rd close SHUTDOWN(b)" },
	{ "RST instead of SHUTDOWN", "req eof starve hup rw:x feed:9",
	  "RESPONSE SHUTDOWN(s) close RST" },
	{ "guest's RST instead of ours", "req starve req rst feed:9", "RESPONSE close" },
	{ "one at a time", "starve req give:cd& eof feed:1 feed:1 feed:1",
	  "RESPONSE RW(cd) SHUTDOWN(s)" },
};

static const struct script_case credit_cases[] = {
	{ "guest has room for 2", "credit:2,0 req give:abcde", "RESPONSE RW(ab) CREDIT_REQUEST" },
	{ "asked once", "credit:2,0 req give:abcde update update",
	  "RESPONSE RW(ab) CREDIT_REQUEST" },
	{ "room again", "credit:2,0 req give:abcde credit:2,1 update",
	  "RESPONSE RW(ab) CREDIT_REQUEST RW(c) CREDIT_REQUEST" },
	{ "no room at all", "credit:0,0 req give:ab", "RESPONSE CREDIT_REQUEST" },
	{ "guest shrinks", "credit:4,0 req give:abcd credit:1,0 update give:e credit:8,4 update",
	  "RESPONSE RW(abcd) CREDIT_REQUEST CREDIT_REQUEST RW(e)" },
	{ "guest has read more than there was", "credit:4,100 req give:ab",
	  "RESPONSE CREDIT_REQUEST" },
	{ "guest has read 2^32 less", "credit:4,4294967295 req give:abcd",
	  "RESPONSE RW(abc) CREDIT_REQUEST" },
	{ "any packet carries it", "credit:2,0 req give:abc credit:2,2 rw:x",
	  "RESPONSE RW(ab) CREDIT_REQUEST <x RW(c)" },
	{ "end behind the data", "credit:2,0 req give:abc& eof credit:2,2 update",
	  "RESPONSE RW(ab) CREDIT_REQUEST RW(c) SHUTDOWN(s)" },
	{ "guest asks", "req request", "RESPONSE CREDIT_UPDATE" },
	{ "guest asks, told with data", "req request& give:x", "RESPONSE RW(x)" },
	{ "told in time", "req rw:abcd", "RESPONSE <abcd CREDIT_UPDATE" },
	{ "not for each packet", "req rw:a rw:b rw:c", "RESPONSE <a <b <c" },
	{ "sooner, with a small buffer of its own", "credit:4,0 req rw:a", "RESPONSE <a CREDIT_UPDATE" },
	{ "told with data", "req rw:abc give:x rw:d", "RESPONSE <abc RW(x) <d" },
	{ "nothing to tell while it is buffered", "req full rw:abcdefgh takes:4",
	  "RESPONSE <abcd CREDIT_UPDATE" },
	{ "all of it", "req full rw:0123456789abcdef takes:99",
	  "RESPONSE <0123456789abcdef CREDIT_UPDATE" },
	{ "one more", "req full rw:0123456789abcdef rw:x", "RESPONSE close RST" },
	{ "one more, at once", "req rw:0123456789abcdefx", "RESPONSE close RST" },
	{ "what was not told does not count", "req starve rw:01234567 rw:89abcdef rw:x feed:9",
	  "RESPONSE <01234567 <89abcdef close RST" },
	{ "what was told does", "req rw:0123456789abcdef rw:0123456789abcdef",
	  "RESPONSE <0123456789abcdef CREDIT_UPDATE <0123456789abcdef CREDIT_UPDATE" },
	{ "no more for who sends no more", "req full rw:abcd shut:s takes:9",
	  "RESPONSE <abcd shut_wr" },
	{ "empty RW", "req rw:", "RESPONSE" },
	{ "empty RW without credit", "req full rw:0123456789abcdef rw:", "RESPONSE" },
};

/* A guest that has room without a word about it. */
static const struct script_case ask_cases[] = {
	{ "not yet", "credit:2,0 req give:abcde +4999", "RESPONSE RW(ab) CREDIT_REQUEST" },
	{ "again", "credit:2,0 req give:abcde +5000", "RESPONSE RW(ab) CREDIT_REQUEST CREDIT_REQUEST" },
	{ "and again", "credit:2,0 req give:abcde +5000 +5000",
	  "RESPONSE RW(ab) CREDIT_REQUEST CREDIT_REQUEST CREDIT_REQUEST" },
	{ "an answer that says nothing new", "credit:2,0 req give:abcde update +4999 +1",
	  "RESPONSE RW(ab) CREDIT_REQUEST CREDIT_REQUEST" },
	{ "an answer that does", "credit:3,0 req give:abcde credit:9,2 update +9999",
	  "RESPONSE RW(abc) CREDIT_REQUEST RW(de)" },
	{ "no more for who receives no more", "credit:2,0 req give:abc shut:r +9999",
	  "RESPONSE RW(ab) CREDIT_REQUEST shut_rd" },
	{ "not while it stands still", "credit:2,0 req give:abc stopped +99999",
	  "RESPONSE RW(ab) CREDIT_REQUEST" },
	{ "never without a buffer", "credit:2,0 req give:abc starve +5000 +5000 feed:9",
	  "RESPONSE RW(ab) CREDIT_REQUEST CREDIT_REQUEST" },
};

/* The peer is a guest as well: what it has consumed counts, and nothing else. */
static const struct script_case consumed_cases[] = {
	{ "written is not consumed", "req window:16 rw:abcdefgh", "RESPONSE <abcdefgh" },
	{ "consumed", "req window:16 rw:abcdefgh consumed:8",
	  "RESPONSE <abcdefgh CREDIT_UPDATE fwd:8" },
	{ "a little of it", "req window:16 rw:abcdefgh consumed:3 consumed:4",
	  "RESPONSE <abcdefgh CREDIT_UPDATE fwd:4" },
	{ "as of now", "req window:16 rw:abcdefgh consumed:1 request",
	  "RESPONSE <abcdefgh CREDIT_UPDATE fwd:1" },
	{ "one more than the window", "req window:16 rw:0123456789abcdef rw:x",
	  "RESPONSE <0123456789abcdef close RST" },
	{ "buffered is not consumed", "req window:16 full rw:abcdefgh takes:9",
	  "RESPONSE <abcdefgh" },
	{ "sends no more ahead than it takes", "credit:8,0 req window:16 rw:abcd credit:4,0 update",
	  "RESPONSE <abcd window:4" },
	{ "shrinks, and what is consumed is due", "req window:16 rw:abcdefgh consumed_untold:3 credit:8,0 update",
	  "RESPONSE <abcdefgh window:8 CREDIT_UPDATE fwd:3" },
	{ "shrinks, what it takes does not count", "req window:16 rw:ab credit:99,0 update",
	  "RESPONSE <ab" },
	{ "the peer reads no more", "req window:16 rw:abcd deaf:no_reader rw:efgh request",
	  "RESPONSE <abcd SHUTDOWN(r) CREDIT_UPDATE fwd:0" },
	{ "the peer reads no more, but counts", "req window:16 rw:abcd deaf:no_reader rw:efgh consumed:4 request",
	  "RESPONSE <abcd SHUTDOWN(r) CREDIT_UPDATE fwd:0" },
	{ "ours tells", "req window:16 give:abcd credit:99,3 update",
	  "RESPONSE RW(abcd) consumed:3" },
	{ "ours tells nothing new", "req window:16 give:abcd credit:99,3 update update",
	  "RESPONSE RW(abcd) consumed:3" },
	{ "more than it got", "req window:16 give:abcd credit:99,5 update", "RESPONSE RW(abcd)" },
	{ "less than before", "req window:16 give:abcd credit:99,3 update credit:99,2 update",
	  "RESPONSE RW(abcd) consumed:3" },
	{ "asked where the peer soon runs dry", "req window:16 more:12",
	  "RESPONSE RW(xxxxxxxxxxxx) CREDIT_REQUEST" },
	{ "not before", "req window:16 more:11 +9999", "RESPONSE RW(xxxxxxxxxxx)" },
	{ "the answer helps", "req window:16 more:12 credit:99,12 update +9999",
	  "RESPONSE RW(xxxxxxxxxxxx) CREDIT_REQUEST consumed:12" },
	{ "the answer says nothing new", "req window:16 more:12 update +9 +1 update +10",
	  "RESPONSE RW(xxxxxxxxxxxx) CREDIT_REQUEST CREDIT_REQUEST CREDIT_REQUEST" },
	{ "no answer", "req window:16 more:12 +4999 +1",
	  "RESPONSE RW(xxxxxxxxxxxx) CREDIT_REQUEST CREDIT_REQUEST" },
	{ "a little is no reason to ask at once",
	  "req window:16 more:16 credit:99,1 update credit:99,2 update +10",
	  "RESPONSE RW(xxxxxxxxxxxxxxxx) CREDIT_REQUEST consumed:1 consumed:2 CREDIT_REQUEST" },
	{ "the peer has ended", "req window:16 more:12& eof +9999",
	  "RESPONSE RW(xxxxxxxxxxxx) SHUTDOWN(s)" },
};

static const struct script_case gather_cases[] = {
	{ "one write", "req rw:ab& rw:c& rw:d", "RESPONSE <abcd CREDIT_UPDATE" },
	{ "two connections", "req b.req rw:ab& b.rw:cd& rw:e", "RESPONSE b.RESPONSE <ab b.<cd <e" },
	{ "before SHUTDOWN", "req rw:ab& shut:s", "RESPONSE <ab shut_wr" },
	{ "before SHUTDOWN both", "req rw:ab& shut:b", "RESPONSE <ab close RST" },
	{ "before RST", "req rw:ab& rst", "RESPONSE <ab close" },
	{ "before a bad packet", "req rw:ab& resp", "RESPONSE <ab close RST" },
	{ "with credit", "req rw:ab& update& rw:c", "RESPONSE <ab <c" },
	{ "partly taken", "req full rw:x takes:3 rw:ab& rw:cd takes:9",
	  "RESPONSE <x <ab <cd CREDIT_UPDATE" },
	{ "after what waits", "req full rw:ab rw:cd takes:9", "RESPONSE <abcd CREDIT_UPDATE" },
	{ "stray between", "req rw:ab& b.rw:x& rw:c", "RESPONSE <ab <c b.RST" },
	{ "refused between", "req rw:ab& dst:9 b.req& dst:2 rw:c", "RESPONSE <ab b.RST <c" },
};

static const struct script_case interest_cases[] = {
	{ "pending", "pending req waits", "waits:" },
	{ "asked", "connect waits", "REQUEST waits:" },
	{ "open", "req waits", "RESPONSE waits:i" },
	{ "open, nothing said yet", "starve req waits", "waits:i" },
	{ "open, host does not read", "req full rw:a waits", "RESPONSE waits:io" },
	{ "drained", "req full rw:a takes:1 waits", "RESPONSE <a waits:i" },
	{ "no credit", "credit:0,0 req waits", "RESPONSE waits:" },
	{ "credit used up", "credit:1,0 req give:ab waits", "RESPONSE RW(a) CREDIT_REQUEST waits:" },
	{ "credit again", "credit:1,0 req give:a credit:1,1 update waits",
	  "RESPONSE RW(a) CREDIT_REQUEST waits:i" },
	{ "end", "req eof waits", "RESPONSE SHUTDOWN(s) waits:" },
	{ "end, host does not read", "req eof full rw:a waits", "RESPONSE SHUTDOWN(s) waits:o" },
	{ "guest receives no more", "req shut:r waits", "RESPONSE shut_rd waits:" },
	{ "guest sends no more", "req shut:s waits", "RESPONSE shut_wr waits:i" },
	{ "lingering", "req full rw:a shut:b waits", "RESPONSE shut_rd waits:o" },
	{ "lingering, orphaned", "req full rw:a rst waits", "RESPONSE waits:o" },
	{ "host reads no more", "req deaf:no_reader rw:a waits", "RESPONSE SHUTDOWN(r) waits:i" },
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

/* Each row twice: a connection that is handed over from mux to mux goes on as if nothing had
 * been. */
#define TABLE(table)				\
	START_TEST(test_##table)		\
	{					\
		run_case(&table[_i], false);	\
		run_case(&table[_i], true);	\
	}					\
	END_TEST

TABLE(unknown_cases)
TABLE(request_cases)
TABLE(connect_cases)
TABLE(half_cases)
TABLE(linger_cases)
TABLE(closing_cases)
TABLE(credit_cases)
TABLE(ask_cases)
TABLE(consumed_cases)
TABLE(gather_cases)
TABLE(interest_cases)

/* How often in @ms a guest is asked that answers, and has consumed nothing. */
static size_t count_asks(struct script *s, uint64_t ms)
{
	size_t before = s->rx.n_ops[VSOCK_OP_CREDIT_REQUEST];

	for (uint64_t end = s->now_ms + ms; s->now_ms < end; )
		script_run(s, "+1 update");
	return s->rx.n_ops[VSOCK_OP_CREDIT_REQUEST] - before;
}

START_TEST(asked_less_and_less)
{
	static struct script s;

	script_init(&s, 64);
	script_run(&s, "req window:16 more:13");
	ck_assert_uint_eq(count_asks(&s, 165), CONN_ASKS_SOON);
	ck_assert_uint_eq(count_asks(&s, 1650), CONN_ASKS - CONN_ASKS_SOON);
	ck_assert_uint_eq(count_asks(&s, 14900), 2);
	script_run(&s, "credit:1000,1 update");	/* it does move, after all */
	ck_assert_uint_ge(count_asks(&s, 5100), CONN_ASKS_SOON);
	script_deinit(&s);
}
END_TEST

/* Bytes in packets of one each, of which Linux lets no more wait unread than have room
 * with their bookkeeping: 20 here, and 9 KiB of the window are still free. */
START_TEST(not_too_many_packets)
{
	static struct script s;
	uint64_t consumed = 0;

	script_init(&s, 64);
	script_run(&s, "credit:11520,0 req");
	for (int i = 0; i < 20; i++)
		script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.n_bytes, 20);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_CREDIT_REQUEST], 1);
	script_run(&s, "give:x give:y give:z");
	ck_assert_uint_eq(s.rx.n_bytes, 20);
	script_run(&s, "credit:11520,20 update");	/* and what waited comes in one packet */
	ck_assert_uint_eq(s.rx.n_bytes, 23);
	ck_assert_str_eq(script_trace(&s) + strlen(script_trace(&s)) - 8, " RW(xyz)");
	/* However much is consumed at a time, there are never too many. */
	for (int i = 0; i < 500; i++) {
		char words[64];

		script_run(&s, "give:x");
		if (i % 7)
			continue;
		consumed = s.rx.n_bytes > 5 ? s.rx.n_bytes - 5 : 0;
		snprintf(words, sizeof words, "credit:11520,%u update", (unsigned)consumed);
		script_run(&s, words);
		ck_assert_uint_le(s.rx.n_bytes - consumed, 20 + 3);
	}
	script_deinit(&s);
}
END_TEST

/* What they are is known only roughly, but never too few. */
START_TEST(packets_on_the_way)
{
	struct credit c = { .guest_buf_alloc = 576 * 100 };
	uint32_t ends[4000], n = 0, first = 0, seed = 1;

	while (n < 4000) {
		seed = seed * 1103515245 + 12345;
		if (seed >> 16 & 1 && credit_packets(&c)) {
			credit_sent(&c, 1 + (seed >> 17) % 500, 1);
			ends[n++] = c.sent_to_guest;
		} else {
			credit_update(&c, c.guest_buf_alloc,
				      c.consumed + (seed >> 17) % (credit_unconsumed(&c) + 1));
		}
		while (first < n && (int32_t)(c.consumed - ends[first]) >= 0)
			first++;
		ck_assert_uint_ge(c.packets_before + c.packets_after, n - first);
		ck_assert_uint_le(n - first, 100);
		if (c.consumed == c.sent_to_guest)
			ck_assert_uint_eq(credit_packets(&c), 100);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn");
	TCase *tc = tcase_create("conn");

	tcase_add_loop_test(tc, test_unknown_cases, 0, COUNT(unknown_cases));
	tcase_add_loop_test(tc, test_request_cases, 0, COUNT(request_cases));
	tcase_add_loop_test(tc, test_connect_cases, 0, COUNT(connect_cases));
	tcase_add_loop_test(tc, test_half_cases, 0, COUNT(half_cases));
	tcase_add_loop_test(tc, test_linger_cases, 0, COUNT(linger_cases));
	tcase_add_loop_test(tc, test_closing_cases, 0, COUNT(closing_cases));
	tcase_add_loop_test(tc, test_credit_cases, 0, COUNT(credit_cases));
	tcase_add_loop_test(tc, test_ask_cases, 0, COUNT(ask_cases));
	tcase_add_loop_test(tc, test_consumed_cases, 0, COUNT(consumed_cases));
	tcase_add_test(tc, asked_less_and_less);
	tcase_add_test(tc, not_too_many_packets);
	tcase_add_test(tc, packets_on_the_way);
	tcase_add_loop_test(tc, test_gather_cases, 0, COUNT(gather_cases));
	tcase_add_loop_test(tc, test_interest_cases, 0, COUNT(interest_cases));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
