/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture's thread: from the ring to files, or into a pipe.
 *
 * Where the last whole packet ends is noted (capture_shared::place) after each write, so a
 * process that comes after a crash of this one cuts off what is behind that. A pipe cannot be
 * cut: who reads it would take the rest of another packet for a header, so a capture that was
 * in the middle of one ends there.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "control/capture_internal.h"
#include "protocol/pcap.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/log_limit.h"

enum {
	CHUNK_MAX = 256 * 1024,			/* bytes of one write, or one packet */
	REST_MS = 500,				/* for what is left at the end, and its reader */
	LOOK_MS = 500,				/* while its reader stands still */
	LOST_MS = 60 * 1000,			/* between lines about packets that are lost */
	E_FULL = 1,				/* the only file is as large as it may be */
	E_OVER = 2,				/* it is to end, and has had its time */
};

/* ---- how far it has come ---- */

static void set(_Atomic uint64_t *n, uint64_t value)
{
	atomic_store_explicit(n, value, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void note_place(struct capture *c, size_t file, uint64_t offset)
{
	c->file = file;
	c->offset = offset;
	set(&c->shared->place, (uint64_t)file << CAPTURE_PLACE_BITS | offset);
}

/* Nobody will write what is not written: it is lost. */
void capture_note_rest_lost(struct capture *c)
{
	uint64_t lost = get(&c->shared->seen) - get(&c->shared->written);

	capture_count_more_lost(lost - get(&c->shared->lost));
	set(&c->shared->lost, lost);
}

static void log_lost(struct capture *c)
{
	uint64_t lost = get(&c->shared->lost), now_ms = clock_ms();

	if (lost <= c->lost_logged || (c->logged_ms && now_ms - c->logged_ms < LOST_MS))
		return;
	c->lost_logged = lost;
	c->logged_ms = now_ms;
	log_limited(LEVEL_WARN, c->tag, "capture %s: %llu packets lost so far: they come faster than "
		    "they can be written", c->settings.name, (unsigned long long)lost);
}

/* ---- waiting ---- */

/* Time is over once it is to end. */
static bool is_over(struct capture *c)
{
	if (!atomic_load(&c->ends))
		return false;
	if (!c->ends_ms)
		c->ends_ms = clock_ms() + REST_MS;
	return clock_ms() >= c->ends_ms;
}

/* Waits for @fd to take more, or for the end. 0; E_OVER. */
static int wait_for_room(struct capture *c, int fd)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLOUT }, { .fd = c->event_fd, .events = POLLIN },
	};
	eventfd_t n;

	if (is_over(c))
		return E_OVER;
	/* Once it ends there is nothing more to be told. */
	poll(p, atomic_load(&c->ends) ? 1 : 2, atomic_load(&c->ends) ? REST_MS / 10 : LOOK_MS);
	if (p[1].revents)
		eventfd_read(c->event_fd, &n);
	log_lost(c);
	return is_over(c) ? E_OVER : 0;
}

/* Until something is in the ring. False: nothing ever will. */
static bool wait_for_packets(struct capture *c)
{
	struct pollfd p = { .fd = c->event_fd, .events = POLLIN };
	eventfd_t n;

	while (atomic_load(&c->head) == get(&c->tail)) {
		if (atomic_load(&c->ends))
			return false;
		atomic_store(&c->is_asleep, true);
		if (atomic_load(&c->head) == get(&c->tail) && !atomic_load(&c->ends)) {
			poll(&p, 1, -1);
			eventfd_read(c->event_fd, &n);
		}
		atomic_store(&c->is_asleep, false);
	}
	return true;
}

/* ---- writing ---- */

/* 0, with *@done bytes written in any case; -errno; E_OVER. */
static int write_whole(struct capture *c, const struct iovec *iov, int n, size_t *done)
{
	int fd = c->fds[c->file];
	size_t first = iov[0].iov_len, len = first + (n > 1 ? iov[1].iov_len : 0);

	for (*done = 0; *done < len; ) {
		struct iovec rest[2] = { iov[0], n > 1 ? iov[1] : (struct iovec){ NULL, 0 } };
		size_t in_first = *done < first ? *done : first;
		ssize_t got;
		int r;

		rest[0].iov_base = (char *)rest[0].iov_base + in_first;
		rest[0].iov_len -= in_first;
		if (n > 1) {
			rest[1].iov_base = (char *)rest[1].iov_base + (*done - in_first);
			rest[1].iov_len -= *done - in_first;
		}
		got = writev(fd, rest, n);
		if (got >= 0)
			*done += (size_t)got;
		else if (errno == EAGAIN && (r = wait_for_room(c, fd)))
			return r;
		else if (errno != EAGAIN && errno != EINTR)
			return error_last();
	}
	return 0;
}

/* The header of a file, at its beginning. */
static int begin_file(struct capture *c, size_t file)
{
	struct pcap_file head = {
		.magic = PCAP_MAGIC_NS, .version_major = PCAP_VERSION_MAJOR,
		.version_minor = PCAP_VERSION_MINOR, .snaplen = c->settings.snaplen,
		.linktype = PCAP_LINKTYPE_VSOCK,
	};
	const struct iovec iov = { &head, sizeof head };
	size_t done;
	int r;

	if (!c->is_stream &&
	    (ftruncate(c->fds[file], 0) < 0 || lseek(c->fds[file], 0, SEEK_SET) < 0))
		return error_last();
	c->file = file;
	r = write_whole(c, &iov, 1, &done);
	if (!r)
		note_place(c, file, sizeof head);
	return r;
}

/* Leaves whole packets alone in the file. */
static void cut(struct capture *c)
{
	if (!c->is_stream && ftruncate(c->fds[c->file], (off_t)c->offset) == 0)
		lseek(c->fds[c->file], (off_t)c->offset, SEEK_SET);
}

/* Bytes of the record at @at. */
static size_t record_len(const struct capture *c, uint64_t at)
{
	struct pcap_record record;

	capture_ring_get(c, at, &record, sizeof record);
	return sizeof record + record.len;
}

/* How many whole packets are in the first @len bytes of the ring, and in how many of these. */
static size_t count_whole(const struct capture *c, size_t len, size_t *packets)
{
	uint64_t tail = get(&c->tail);
	size_t whole = 0, next;

	for (*packets = 0; whole < len; ++*packets) {
		next = record_len(c, tail + whole);
		if (next > len - whole)
			break;
		whole += next;
	}
	return whole;
}

/* They are in the file, or gone: the worker has the room back. */
static void take_from_ring(struct capture *c, size_t len)
{
	atomic_store_explicit(&c->tail, get(&c->tail) + len, memory_order_release);
}

/* The first @len bytes of the ring, whole packets. 0; as write_whole(). */
static int write_packets(struct capture *c, size_t len)
{
	size_t i = (size_t)get(&c->tail) & (c->size - 1), done, packets, whole;
	struct iovec iov[2] = {
		{ c->ring + i, len < c->size - i ? len : c->size - i }, { c->ring, 0 },
	};
	int r;

	iov[1].iov_len = len - iov[0].iov_len;
	atomic_store(&c->shared->is_torn, 1);
	r = write_whole(c, iov, iov[1].iov_len ? 2 : 1, &done);
	whole = count_whole(c, done, &packets);
	set(&c->shared->written, get(&c->shared->written) + packets);
	set(&c->shared->bytes, get(&c->shared->bytes) + whole);
	note_place(c, c->file, c->offset + whole);
	if (whole == done)
		atomic_store(&c->shared->is_torn, 0);
	take_from_ring(c, whole);
	return r;
}

/* How much of the ring goes into the file as one write; 0: not even the first packet. */
static size_t find_chunk(const struct capture *c)
{
	uint64_t tail = get(&c->tail);
	size_t ready = (size_t)(atomic_load_explicit(&c->head, memory_order_acquire) - tail);
	size_t max = c->settings.max_bytes && !c->is_stream ? c->settings.max_bytes > c->offset ?
		c->settings.max_bytes - c->offset : 0 : SIZE_MAX;
	size_t len = 0, next;

	while (len < ready) {
		next = record_len(c, tail + len);
		if (next > max - len || (len && len + next > CHUNK_MAX))
			break;
		len += next;
	}
	return len;
}

/* A packet that is larger than a file may be gets one of its own. */
static int write_some(struct capture *c)
{
	size_t len = find_chunk(c);
	int r = 0;

	if (!len && c->offset > sizeof(struct pcap_file)) {
		if (c->n_files == 1)
			return E_FULL;
		r = begin_file(c, (c->file + 1) % c->n_files);
		len = r ? 0 : find_chunk(c);
	}
	if (!r && !len)
		len = record_len(c, get(&c->tail));
	return r ? r : write_packets(c, len);
}

/* ---- the beginning and the end ---- */

/* Where another process has left off, if that can be. 0; -errno. */
static int resume(struct capture *c)
{
	uint64_t place = get(&c->shared->place);
	size_t file = (size_t)(place >> CAPTURE_PLACE_BITS);
	uint64_t offset = place & ((UINT64_C(1) << CAPTURE_PLACE_BITS) - 1);
	struct stat st;

	if (fstat(c->fds[0], &st) < 0)
		return error_last();
	c->is_stream = !S_ISREG(st.st_mode);
	if (c->is_stream && atomic_load(&c->shared->is_torn))
		return -EPIPE;
	if (c->is_stream && offset) {
		note_place(c, 0, offset);
		return 0;
	}
	if (file >= c->n_files || offset < sizeof(struct pcap_file) ||
	    fstat(c->fds[file], &st) < 0 || (uint64_t)st.st_size < offset)
		return begin_file(c, 0);
	note_place(c, file, offset);
	cut(c);
	atomic_store(&c->shared->is_torn, 0);
	return 0;
}

static void log_end(const struct capture *c, int r, const struct capture_state *s)
{
	enum log_level level = r == 0 && !s->lost ? LEVEL_INFO : LEVEL_WARN;
	const char *why = r == E_FULL ? "the file is as large as it may be" :
		r == E_OVER ? "its reader stands still" : r ? error_str(r) : "";
	char text[sizeof c->settings.name + 128];

	snprintf(text, sizeof text, "capture %s ends%s%s: %llu packets, %llu lost", c->settings.name,
		 r ? ": " : "", why, (unsigned long long)s->packets, (unsigned long long)s->lost);
	if (c->may_be_many)
		log_limited(level, c->tag, "%s", text);
	else
		log_at(level, c->tag, "%s", text);
}

/* By itself, or since it is to. The owner may free it from here on. */
static void end(struct capture *c, int r)
{
	bool is_told_to = atomic_load(&c->ends);
	struct capture_state last;

	if (is_told_to && r == -EPIPE)		/* by its reader, who has left */
		r = 0;
	atomic_store(&c->has_ended, true);
	cut(c);
	if (!is_told_to)
		atomic_store(&c->shared->ended, r < 0 ? (uint32_t)-r : EFBIG);
	capture_note_rest_lost(c);
	capture_get_state(c, &last);
	log_end(c, r, &last);
	for (size_t i = 0; i < c->n_files; i++) {
		flock(c->fds[i], LOCK_UN);	/* the supervisor has it open, too */
		fd_close(&c->fds[i]);		/* a deleted file gives its room back */
	}
	if (c->ended)
		c->ended(c->cid, c->id, &last);
}

void *capture_write_all(void *capture)
{
	struct capture *c = capture;
	int r = 0;

	pthread_setname_np(pthread_self(), "capture");
	c->lost_logged = get(&c->shared->lost);
	if (!atomic_load(&c->has_ended)) {
		r = resume(c);
		while (!r && wait_for_packets(c)) {
			r = write_some(c);
			log_lost(c);
		}
		end(c, r);
	}
	capture_unref(c);
	return NULL;
}
