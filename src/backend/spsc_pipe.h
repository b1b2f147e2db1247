/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded pipe between two threads: one writes, one reads, nobody locks.
 *
 * Its memory belongs to the writer, who may exchange it or give it up while the
 * pipe is empty: the reader touches it only when something has been written.
 * A side that finds the pipe full or empty notes that it waits, looks again, and
 * leaves. The other side, once it has moved bytes, clears the note and wakes it. Bytes
 * come from and go to guest memory, so nothing about them is believed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct spsc_pipe {
	uint8_t *data;				/* NULL: there is no memory now */
	uint32_t size;				/* of it: a power of two */
	_Atomic uint32_t read, written;		/* bytes so far, modulo 2^32 */
	atomic_bool reader_waits, writer_waits;
};

void spsc_pipe_init(struct spsc_pipe *p);

/* For the writer, while the pipe is empty: other memory; 0 gives it up. 0 or
 * -ENOMEM, then there is none. */
int spsc_pipe_resize(struct spsc_pipe *p, uint32_t size);
void spsc_pipe_deinit(struct spsc_pipe *p);	/* when neither side uses it any more */

/*
 * Moves what fits, or what is there: *@n bytes. 0 and *n > 0; SPSC_PIPE_E_WAIT: none,
 * and the caller is noted as waiting. *@wake: the other side was waiting and must be
 * told. The writer gives the pipe memory first. Never blocks.
 */
enum { SPSC_PIPE_E_WAIT = 1 };
int spsc_pipe_write(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n, bool *wake);
int spsc_pipe_read(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n, bool *wake);

/*
 * The same in messages, in a pipe that has nothing else: one whole, or none. The writer first
 * gives it memory of SPSC_PIPE_MESSAGE_BYTES more than the message. Reading: *@n bytes, maybe
 * 0; SPSC_PIPE_E_TOO_LONG: @v is too small for as many, and the message is still there.
 */
enum { SPSC_PIPE_E_TOO_LONG = 2, SPSC_PIPE_MESSAGE_BYTES = 8 };
int spsc_pipe_write_message(struct spsc_pipe *p, const struct iovec *v, int nv, uint32_t flags,
			    bool *wake);
int spsc_pipe_read_message(struct spsc_pipe *p, const struct iovec *v, int nv, size_t *n,
			   uint32_t *flags, bool *wake);

/* May @n bytes be the content of a pipe of messages, with no other flags than @flags? */
bool spsc_pipe_are_messages(const void *bytes, size_t n, uint32_t flags);

/* Notes the writer as waiting; false: there is room already. */
bool spsc_pipe_wait_writable(struct spsc_pipe *p);
/* Notes the writer as waiting until the pipe is empty; false: it is already. */
bool spsc_pipe_wait_empty(struct spsc_pipe *p);

/* What is in it, in one or two pieces, while nobody moves any: how many pieces. */
size_t spsc_pipe_peek(const struct spsc_pipe *p, struct iovec out[2]);

bool spsc_pipe_is_empty(const struct spsc_pipe *p);
