/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that a service manager keeps for us (systemd's FileDescriptorStoreMax), so that
 * even a supervisor that is killed loses no device: the next one gets them back among
 * LISTEN_FDS, and goes on as after a crash of the engine.
 *
 * Each has a name: "vdv-CID-SLOT" for what an engine has kept, "vdv-CID-socket",
 * "vdv-CID-uds" and "vdv-CID-seqpacket" for listening sockets. What is put and dropped is told
 * to the manager in this order, by the thread of notify.h. An orderly end drops all: then the
 * devices end, too.
 *
 * Without such a manager all of this does nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FD_STORE_PREFIX	"vdv-"

/* Once, before what is put; takes the descriptors that have come back out of the environment. */
void fd_store_init(void);
/* After another program in this process, which has taken them: all is to be put again. The manager
 * may have older ones under the same names; they are removed first. */
void fd_store_resume(void);

/* @what: a slot in digits, or a name. In place of what had that name. @fd is borrowed. */
void fd_store_put(uint64_t cid, const char *what, int fd);
void fd_store_drop(uint64_t cid, const char *what);
void fd_store_put_slot(uint64_t cid, uint32_t slot, int fd);
void fd_store_drop_slot(uint64_t cid, uint32_t slot);

/* What has come back under that name, and stays put; -1: nothing. */
int fd_store_take(uint64_t cid, const char *what);
/* The same, any slot of that VM. */
int fd_store_take_slot(uint64_t cid, uint32_t *slot);
/* Nobody wants the rest. */
void fd_store_drop_untaken(void);

/* ---- for the thread that talks to the manager ---- */

/* @wake_sender, from any thread: something is due. */
void fd_store_set_sender(void (*wake_sender)(void));

bool fd_store_is_due(void);
/* Sends what is due over @socket. 0; or not all could be sent now: -EAGAIN, for want of room that
 * poll() tells of; another -errno. */
int fd_store_send(int socket);
/* Drops all, until @until_ms at the latest. */
void fd_store_end(int socket, uint64_t until_ms);
