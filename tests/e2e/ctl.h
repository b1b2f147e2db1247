/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl as a child of the test, whose own thread plays the guest meanwhile. The program's
 * path comes from the environment: VSOCKCTL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct driver;

enum { CTL_OUT_MAX = 1 << 18, CTL_ERR_MAX = 4096 };

struct ctl {
	pid_t pid;
	int in, out, err;			/* our ends; -1: closed, or not ours */
	int status;				/* exit status, or -signal */
	char said[CTL_OUT_MAX];			/* on standard output, if that is ours to read */
	size_t n_said;
	char complained[CTL_ERR_MAX];
};

/* What its launcher does last, in the child; or NULL. */
extern void (*ctl_prepare)(void);

/* Starts it. @in, @out: its streams, borrowed; -1: pipes, whose ends are in->in, ->out. */
void ctl_start(struct ctl *c, const char *const *args, int in, int out);

void ctl_end_input(struct ctl *c);

/* Turns the guest (NULL: there is none) and reads what is said, until it has ended: its exit
 * status. Dies at the deadline. */
int ctl_finish(struct ctl *c, struct driver *guest);
/* The same until @text was said, or complained about. */
void ctl_wait_said(struct ctl *c, struct driver *guest, const char *text);

/* A look at what it has said so far. */
bool ctl_has_said(struct ctl *c, struct driver *guest, const char *text);

/* Starts it, without input, and finishes it. */
int ctl_run(struct ctl *c, struct driver *guest, const char *const *args);
