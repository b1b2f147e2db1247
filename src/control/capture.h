/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet capture: what one VM and its device say to each other, as a pcap file or into a pipe,
 * for tshark and Wireshark.
 *
 * The device's worker puts each packet (device_tap) into a ring of fixed size: header and
 * payload are copied as they pass, and that is all that it does. A thread of the capture writes
 * what is in the ring, as it lies there. So neither a slow disk nor a reader that stands still
 * delays a guest: packets that find the ring full are lost and counted, and the log says how
 * many. A full disk, a closed pipe or any other failure ends the capture, and nothing else.
 *
 * Who writes is in the sandbox and opens nothing: the files were opened outside
 * (capture_files.h), all of them at the start. When one is full the next is emptied and used,
 * in a circle, so names stay where they are, and what was captured last is in two files or
 * more (mergecap puts them in order).
 *
 * The memory is the guest's, which may change it while it is read: then a capture shows of
 * payload what the guest has made of it. Headers are those that were obeyed, or sent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/tap.h"
#include "protocol/capture.h"

struct capture;
struct blob;
struct blob_reader;

enum {
	CAPTURE_PORTS_MAX = 64,
	CAPTURE_NAME_MAX = 4096,		/* bytes of a path, with its end */
	CAPTURE_RING_BYTES = 4 * 1024 * 1024,	/* a power of two; touched as it is used */
};

struct capture_settings {
	char name[CAPTURE_NAME_MAX];		/* of the first file, for logs */
	uint32_t snaplen;			/* bytes of a packet, its 76 of headers included */
	uint64_t max_bytes;			/* of a file; 0: no bound */
	uint32_t ports[CAPTURE_PORTS_MAX];	/* of either side; n_ports 0: all */
	size_t n_ports;
};

struct capture_state {
	uint64_t packets, bytes, lost;		/* in the files; lost */
	int error;				/* -errno that it ended by; 0: it goes on */
};

struct capture_config {
	const struct capture_settings *settings;
	uint64_t cid;				/* of the VM */
	uint64_t id;				/* for who asks which one has ended */
	int shared_fd;				/* a struct capture_shared; -1: no other process goes on
						   with it, so nobody else needs to see it */
	int fds[CAPTURE_FILES_MAX];
	size_t n_files;				/* one that is no file is alone */
	size_t ring_bytes;			/* 0: CAPTURE_RING_BYTES */
	bool may_be_many;			/* one after the other: its log lines are limited */
	/* It has ended, and its files are closed: in its thread. NULL: nobody asks. */
	void (*ended)(uint64_t cid, uint64_t id, const struct capture_state *last);
};

/* Takes the descriptors of @config over in any case. 0 or -errno. */
int capture_new(struct capture **out, const struct capture_config *config);

/* From now on a thread writes; where another process has left off, which is gone by now, it goes
 * on. Once, before the first packet. 0 or -errno. */
int capture_start(struct capture *c);

/* For device_add_tap(); what passes there must stop before capture_free(). */
struct device_tap capture_tap(struct capture *c);

/* From any thread. */
void capture_get_state(const struct capture *c, struct capture_state *out);
void capture_read_state(const struct capture_shared *shared, struct capture_state *out);

uint64_t capture_count_lost(void);		/* packets, by all captures of this process */

/* While nothing passes: when this returns all is written, or it is @until_ms (clock.h). */
void capture_flush(struct capture *c, uint64_t until_ms);

/* NULL: nothing. Its thread writes the rest, for a short while, closes the files, and frees it.
 * Never blocks, from any thread. */
void capture_free(struct capture *c);

/* For a process that is about to end: the thread begins with that; waits for it to be done. */
void capture_end(struct capture *c);
void capture_wait(struct capture *c, uint64_t until_ms);

/* Settings as state: one section. capture_settings_load: false: they cannot be believed. */
void capture_settings_save(const struct capture_settings *s, struct blob *out);
bool capture_settings_load(struct capture_settings *s, struct blob_reader *in);
