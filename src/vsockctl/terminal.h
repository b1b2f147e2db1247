/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The terminal of a program that fills it: entered, and left as it was, whatever ends us.
 * Plain ANSI escapes: the other screen, no cursor; keys come one by one and unseen.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* On standard input and output. 0; -1: they are no terminal. */
int terminal_enter(void);
void terminal_leave(void);			/* also if it was not entered */

void terminal_size(unsigned *columns, unsigned *lines);

enum { TERMINAL_E_NOTHING = 1, TERMINAL_E_ENDED };

/* Waits until @deadline_ms for a key, another size, or the end; stops and goes on, if it is
 * to. 0 and the key; TERMINAL_E_NOTHING: look again; TERMINAL_E_ENDED: a signal ended us, or
 * there is no input any more. */
int terminal_wait(uint64_t deadline_ms, char *key);

/* The signal that was to end us, after terminal_leave(): as if nobody had caught it. */
void terminal_end_by_signal(void);
