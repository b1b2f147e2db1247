/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends messages that may block, in threads of its own.
 *
 * A message of AF_VSOCK's SOCK_SEQPACKET has to be sent by a call that may wait. Without
 * waiting the kernel passes on as much as the peer has room for, says EAGAIN, and not how
 * much that was: the message is torn, and to send it again would put it behind its own
 * beginning. Nor can the room be asked for. So each message goes to a thread, which waits as
 * long as the peer makes it; the worker hears of the outcome by mail.
 *
 * A thread serves whatever message comes next, and ends when there was none for a while. A peer
 * that does not read holds up one, so others are started, up to SENDER_THREADS_MAX for each
 * `struct senders`; then messages wait for one of them. To cancel a message ends its thread's
 * wait by shutdown(2).
 *
 * A call that a signal interrupts may have passed on a part, too. The threads block all
 * signals, but a stopped or frozen process wakes its calls all the same: sender_prepare() makes
 * the kernel say EINTR then, where else it would begin the message anew.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/mailbox.h"

enum { SENDER_THREADS_MAX = 256 };

enum { SENDING_E_BUSY = 1 };			/* not sent yet */

struct senders;
struct sending;					/* one message */

/* What the mail goes to and the tag of log lines are borrowed. 0 or -errno. */
int senders_new(struct senders **out, struct mailbox *mailbox, const char *tag);

/* From now on mail goes to another mailbox, whose thread makes the calls. What has gone to the
 * first may still have to be delivered. */
void senders_move(struct senders *all, struct mailbox *mailbox);

/* Threads that are still about it end by themselves. NULL: nothing. */
void senders_free(struct senders *all);

/* The socket @fd, of messages, will be sent through: its calls wait from now on, where not
 * told otherwise by MSG_DONTWAIT. 0 or -errno. */
int sender_prepare(int fd);

/*
 * Copies a message and sends it to @fd, which stays open until it is sent or cancelled.
 * @flags: MSG_EOR or 0. @done comes by mail, from the mailbox's thread, as all calls here do.
 * 0 or -errno.
 */
int sending_new(struct sending **out, struct senders *all, int fd, const struct iovec *v, int nv,
		int flags, void (*done)(void *ctx), void *ctx);

/* SENDING_E_BUSY; 0: it is sent, all of it; -errno, and then nothing more may be sent, since it
 * may be torn. */
int sending_result(struct sending *s);

/* The same, after waiting until @until_ms (clock.h) at most. From any thread. */
int sending_wait(struct sending *s, uint64_t until_ms);

/* Never blocks. A message that is being sent ends soon, sent or torn; *@fd, its socket, is shut
 * down and taken over, to be closed then. Otherwise *@fd stays as it is. */
void sending_free(struct sending *s, int *fd);
