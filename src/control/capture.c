/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture: life, and what the device's worker does. */
#include "control/capture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "control/capture_internal.h"
#include "protocol/pcap.h"
#include "util/blob.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/iov.h"
#include "vsock/pkt.h"

#define SETTINGS_TAG	BLOB_TAG('C', 'A', 'P', 'T')

enum { SETTINGS_VERSION = 1 };

/* ---- the ring ---- */

/* Where a piece that begins at @at lies, up to the end of the array. */
static uint8_t *ring_piece(const struct capture *c, uint64_t at, size_t len, size_t *here)
{
	size_t i = (size_t)at & (c->size - 1);

	*here = len < c->size - i ? len : c->size - i;
	return c->ring + i;
}

void capture_ring_get(const struct capture *c, uint64_t at, void *out, size_t len)
{
	size_t here;
	const uint8_t *from = ring_piece(c, at, len, &here);

	memcpy(out, from, here);
	memcpy((uint8_t *)out + here, c->ring, len - here);
}

static void ring_put(struct capture *c, uint64_t at, const void *bytes, size_t len)
{
	size_t here;
	uint8_t *to = ring_piece(c, at, len, &here);

	memcpy(to, bytes, here);
	memcpy(c->ring, (const uint8_t *)bytes + here, len - here);
}

/* The first @len bytes of @from, which has them. */
static void ring_put_payload(struct capture *c, uint64_t at, const struct iov_cur *from,
			     size_t len)
{
	struct iov_cur cur = *from;
	size_t here;
	uint8_t *to = ring_piece(c, at, len, &here);

	iov_cur_get(&cur, to, here);
	iov_cur_get(&cur, c->ring, len - here);
}

static bool has_room(struct capture *c, uint64_t head, size_t len)
{
	if (c->size - (head - c->tail_seen) >= len)
		return true;
	c->tail_seen = atomic_load_explicit(&c->tail, memory_order_acquire);
	return c->size - (head - c->tail_seen) >= len;
}

/* ---- a packet ---- */

static _Atomic uint64_t n_lost_ever;

void capture_count_more_lost(uint64_t n)
{
	atomic_fetch_add_explicit(&n_lost_ever, n, memory_order_relaxed);
}

uint64_t capture_count_lost(void)
{
	return atomic_load_explicit(&n_lost_ever, memory_order_relaxed);
}

/* A count that only this thread changes. */
static void count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static bool passes(const struct capture *c, const struct pkt *pkt)
{
	bool passes = c->settings.n_ports == 0;

	for (size_t i = 0; !passes && i < c->settings.n_ports; i++)
		passes = c->settings.ports[i] == pkt->src.port ||
			c->settings.ports[i] == pkt->dst.port;
	return passes;
}

/* As Linux has it. */
static enum vsockmon_op mon_op(uint16_t op)
{
	switch (op) {
	case VSOCK_OP_REQUEST:
	case VSOCK_OP_RESPONSE:
		return VSOCKMON_OP_CONNECT;
	case VSOCK_OP_RST:
	case VSOCK_OP_SHUTDOWN:
		return VSOCKMON_OP_DISCONNECT;
	case VSOCK_OP_CREDIT_UPDATE:
	case VSOCK_OP_CREDIT_REQUEST:
		return VSOCKMON_OP_CONTROL;
	case VSOCK_OP_RW:
		return VSOCKMON_OP_PAYLOAD;
	default:
		return VSOCKMON_OP_UNKNOWN;
	}
}

static void build(struct pcap_packet *out, const struct pkt *pkt, size_t payload, size_t len)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct pcap_packet){
		.record = {
			.secs = (uint32_t)now.tv_sec, .nanos = (uint32_t)now.tv_nsec,
			.len = (uint32_t)len,
			.orig_len = (uint32_t)(PCAP_PACKET_HEADERS + payload),
		},
		.mon = {
			.src_cid = le64_of(pkt->src.cid), .src_port = le32_of(pkt->src.port),
			.dst_cid = le64_of(pkt->dst.cid), .dst_port = le32_of(pkt->dst.port),
			.op = le16_of((uint16_t)mon_op(pkt->op)),
			.transport = le16_of(VSOCKMON_TRANSPORT_VIRTIO),
			.len = le16_of(sizeof(struct wire_vsock_hdr)),
		},
	};
	pkt_build(pkt, &out->hdr);
}

/* The store of the head has to be seen before the thread is looked at, as the thread sees to it
 * that it sleeps before it looks at the head. */
static void wake_thread(struct capture *c)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&c->is_asleep, memory_order_relaxed) &&
	    atomic_exchange(&c->is_asleep, false))
		eventfd_write(c->event_fd, 1);
}

static void on_packet(void *ctx, const struct pkt *pkt, const struct iov_cur *payload)
{
	struct capture *c = ctx;
	uint64_t head = atomic_load_explicit(&c->head, memory_order_relaxed);
	size_t body = pkt->len < payload->left ? pkt->len : payload->left, kept;
	struct pcap_packet packet;

	if (atomic_load_explicit(&c->has_ended, memory_order_relaxed) || !passes(c, pkt))
		return;
	count(&c->shared->seen);
	kept = c->settings.snaplen - PCAP_PACKET_HEADERS;
	kept = body < kept ? body : kept;
	if (!has_room(c, head, sizeof packet + kept)) {
		count(&c->shared->lost);
		capture_count_more_lost(1);
		return;
	}
	build(&packet, pkt, body, PCAP_PACKET_HEADERS + kept);
	ring_put(c, head, &packet, sizeof packet);
	ring_put_payload(c, head + sizeof packet, payload, kept);
	atomic_store_explicit(&c->head, head + sizeof packet + kept, memory_order_release);
	wake_thread(c);
}

struct device_tap capture_tap(struct capture *c)
{
	return (struct device_tap){ .packet = on_packet, .ctx = c };
}

/* ---- life ---- */

static int map_shared(struct capture *c, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	struct stat st;
	void *shared;

	if (fd >= 0 && fstat(fd, &st) < 0)
		return error_last();
	if (fd >= 0 && st.st_size < (off_t)sizeof *c->shared)
		return -EINVAL;			/* access beyond its end would be a signal */
	shared = mmap(NULL, sizeof *c->shared, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (shared == MAP_FAILED)
		return error_last();
	c->shared = shared;
	return 0;
}

/* Untouched, it takes no memory. */
static int make_ring(struct capture *c, size_t size)
{
	void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ring == MAP_FAILED)
		return error_last();
	c->ring = ring;
	c->size = size;
	return 0;
}

static int fill(struct capture *c, const struct capture_config *config)
{
	int r = map_shared(c, config->shared_fd);

	if (!r)
		r = make_ring(c, config->ring_bytes ? config->ring_bytes : CAPTURE_RING_BYTES);
	if (r)
		return r;
	c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->event_fd < 0)
		return error_last();
	atomic_store(&c->has_ended, atomic_load(&c->shared->ended) != 0);
	return 0;
}

int capture_new(struct capture **out, const struct capture_config *config)
{
	struct capture *c = aligned_alloc(alignof(struct capture), sizeof *c);
	int shared_fd = config->shared_fd, r = -ENOMEM;

	if (c) {
		*c = (struct capture){
			.settings = *config->settings, .cid = config->cid, .id = config->id,
			.ended = config->ended, .event_fd = -1, .n_refs = 1,
			.n_files = config->n_files, .may_be_many = config->may_be_many,
		};
		snprintf(c->tag, sizeof c->tag, "vm %llu", (unsigned long long)config->cid);
		memcpy(c->fds, config->fds, config->n_files * sizeof *c->fds);
		r = fill(c, config);
		if (r)
			capture_unref(c);
	} else {
		for (size_t i = 0; i < config->n_files; i++) {
			int fd = config->fds[i];

			fd_close(&fd);
		}
	}
	fd_close(&shared_fd);
	if (!r)
		*out = c;
	return r;
}

int capture_start(struct capture *c)
{
	pthread_t thread;
	int r;

	capture_note_rest_lost(c);		/* which waited in another process's ring */
	atomic_fetch_add(&c->n_refs, 1);
	r = pthread_create(&thread, NULL, capture_write_all, c);
	if (r) {
		atomic_store(&c->has_ended, true);
		atomic_fetch_sub(&c->n_refs, 1);
		return -r;
	}
	pthread_detach(thread);
	return 0;
}

void capture_unref(struct capture *c)
{
	if (atomic_fetch_sub(&c->n_refs, 1) > 1)
		return;
	for (size_t i = 0; i < c->n_files; i++)
		fd_close(&c->fds[i]);
	fd_close(&c->event_fd);
	if (c->ring)
		munmap(c->ring, c->size);
	if (c->shared)
		munmap(c->shared, sizeof *c->shared);
	free(c);
}

void capture_end(struct capture *c)
{
	atomic_store(&c->ends, true);
	eventfd_write(c->event_fd, 1);
}

void capture_free(struct capture *c)
{
	if (!c)
		return;
	capture_end(c);
	capture_unref(c);
}

void capture_wait(struct capture *c, uint64_t until_ms)
{
	while (atomic_load(&c->n_refs) > 1 && clock_ms() < until_ms)
		clock_rest(1);
}

void capture_flush(struct capture *c, uint64_t until_ms)
{
	while (atomic_load(&c->tail) != atomic_load(&c->head) && !atomic_load(&c->has_ended) &&
	       clock_ms() < until_ms)
		clock_rest(1);
}

/* ---- state ---- */

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

void capture_read_state(const struct capture_shared *shared, struct capture_state *out)
{
	uint32_t ended = atomic_load(&shared->ended);

	*out = (struct capture_state){
		.packets = get(&shared->written), .bytes = get(&shared->bytes),
		.lost = get(&shared->lost), .error = -(int)(ended & 0xfff),
	};
	if (ended)				/* the worker may have come in between */
		out->lost = get(&shared->seen) - out->packets;
}

void capture_get_state(const struct capture *c, struct capture_state *out)
{
	capture_read_state(c->shared, out);
}

void capture_settings_save(const struct capture_settings *s, struct blob *out)
{
	size_t section = blob_open(out, SETTINGS_TAG, SETTINGS_VERSION);

	blob_put_string(out, s->name);
	blob_put_u32(out, s->snaplen);
	blob_put_u64(out, s->max_bytes);
	blob_put_u32(out, (uint32_t)s->n_ports);
	for (size_t i = 0; i < s->n_ports; i++)
		blob_put_u32(out, s->ports[i]);
	blob_close(out, section);
}

bool capture_settings_load(struct capture_settings *s, struct blob_reader *in)
{
	struct blob_reader section;
	char *name = NULL;
	uint32_t version;

	*s = (struct capture_settings){ .n_ports = 0 };
	if (!blob_enter(in, &section, SETTINGS_TAG, SETTINGS_VERSION, &version) ||
	    blob_get_string(&section, sizeof s->name - 1, &name) || !name)
		return false;
	snprintf(s->name, sizeof s->name, "%s", name);
	free(name);
	s->snaplen = blob_get_u32(&section);
	s->max_bytes = blob_get_u64(&section);
	s->n_ports = blob_get_u32(&section);
	if (s->n_ports > CAPTURE_PORTS_MAX || s->snaplen < PCAP_PACKET_HEADERS ||
	    s->snaplen > PCAP_SNAPLEN_MAX)
		return false;
	for (size_t i = 0; i < s->n_ports; i++)
		s->ports[i] = blob_get_u32(&section);
	return blob_is_whole(&section);
}
