/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon whose configuration file is read again. In all that is a file here, "$" is the
 * test's folder. */
#pragma once

#include "e2e/e2e.h"

#define VM3	"  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/vm.sock }\n"
#define VM4(rest) "  - { guest-cid: 4, " rest " }\n"
#define VM4_PATHS "socket: $/4.vhost, uds-path: $/4.sock"
#define BOTH	"vms:\n" VM3 VM4(VM4_PATHS)

/* "DIR/name"; valid until it has been called four times more. */
const char *reloads_path(const char *name);

void reloads_write(const char *text);
/* A daemon that has @first for its file, and @extra options (NULL: none); does not wait. */
void reloads_spawn(const char *first, const char *const *extra);

/* Asks it to read @text. The log begins anew, so that what is found in it is about this time. */
void reloads_ask(const char *text);
void reloads_do(const char *text, const char *logged);	/* ... and waits for that line */

/* That the guest of VM @cid runs has been logged, at info: what a log that begins anew has to say
 * of that VM is about something else. */
void reloads_wait_guest(uint64_t cid);

bool reloads_wait_gone(const char *path);	/* false at the deadline */
