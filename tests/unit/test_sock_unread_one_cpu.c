/* SPDX-License-Identifier: BSD-3-Clause */
/* On one CPU answers are read before their program waits. */
#include "sock_talk.h"
#include "unit.h"

enum { TURNS = 17 };				/* after which an answer would stay */

START_TEST(first_answer_alone)
{
	ck_assert(!sock_unread_pays());
	begin_talk();
	sock_unread_note_greeted(&s.unread, loop_now_ms(loop));
	peer_writes("first");
	expect("first");
	ck_assert(is_left());
	talk(TURNS);
	ck_assert(!is_left());
	close_stream();
	end_talk();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sock_unread_one_cpu");
	TCase *tc = tcase_create("all");

	n_cpus = 1;
	tcase_add_test(tc, first_answer_alone);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
