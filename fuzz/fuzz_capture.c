/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture of which an engine that somebody has taken over has left the state, and packets of
 * any kind.
 *
 * Input: what is read (1 byte: bit 0 settings, and nothing else). Else: the number of files
 * (bits 1 and 2, and one), bit 3: in between the state is overwritten by 48 bytes, bit 4:
 * /dev/full is the last file; then snaplen and max_bytes (2 bytes each), the ring's size (1
 * byte), a port to filter by (1 byte; 0: none). Then packets of 12 bytes, the first half for
 * one process and the rest for the next: ports (2 bytes each), operation, how many bytes it
 * says (4), how many are there (2), and one that is not used.
 *
 * Asserted: settings that load are within their bounds; without that state, every file has
 * whole packets alone, none is larger than it may be, and what is written, lost and seen adds
 * up; with it, nothing is left open.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "control/capture_internal.h"
#include "input.h"
#include "protocol/pcap.h"
#include "util/blob.h"
#include "util/fd.h"
#include "util/iov.h"
#include "util/log.h"
#include "vsock/pkt.h"

enum { FILES_MAX = 4, PACKETS_MAX = 200, PAYLOAD_MAX = 70000, FDS = 200 };

static unsigned n_ended;

static void on_ended(uint64_t cid, uint64_t id, const struct capture_state *last)
{
	(void)last;
	assert(cid == 3 && id == 1);
	n_ended++;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < FDS; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void put(struct capture *c, struct input *in)
{
	static char payload[PAYLOAD_MAX];
	struct device_tap tap = capture_tap(c);
	struct iovec iov = { .iov_base = payload };
	struct iov_cur cur;
	struct pkt pkt = { .src.cid = 3, .dst.cid = 2, .type = 1 };

	pkt.src.port = input_u16(in);
	pkt.dst.port = input_u16(in);
	pkt.op = input_u8(in);
	input_take(in, &pkt.len, sizeof pkt.len);
	iov.iov_len = input_u16(in);
	input_u8(in);
	iov_cur_init(&cur, &iov, 1);
	tap.packet(tap.ctx, &pkt, &cur);
}

/* A process that captures @n packets; its thread is this one. */
static void run(const struct capture_settings *settings, size_t ring, int shared_fd,
		const int *fds, size_t n_fds, struct input *in, size_t n)
{
	struct capture_config config = {
		.settings = settings, .cid = 3, .id = 1, .shared_fd = dup(shared_fd),
		.n_files = n_fds, .ring_bytes = ring, .ended = on_ended,
	};
	struct capture *c;

	for (size_t i = 0; i < n_fds; i++)
		config.fds[i] = dup(fds[i]);
	if (capture_new(&c, &config) < 0)
		abort();
	capture_note_rest_lost(c);
	atomic_fetch_add(&c->n_refs, 1);
	for (size_t i = 0; i < n; i++)
		put(c, in);
	capture_end(c);
	capture_write_all(c);
	capture_free(c);
}

/* Whole packets, and no more than @max bytes unless it is one alone. Returns how many. */
static uint64_t check_file(int fd, const struct capture_settings *s)
{
	struct pcap_file head;
	struct pcap_record record;
	struct stat st;
	off_t at = sizeof head;
	uint64_t n = 0;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return 0;
	assert(pread(fd, &head, sizeof head, 0) == sizeof head);
	assert(head.magic == PCAP_MAGIC_NS && head.linktype == PCAP_LINKTYPE_VSOCK);
	for (; at < st.st_size; n++) {
		assert(pread(fd, &record, sizeof record, at) == sizeof record);
		assert(record.len <= s->snaplen && record.len <= record.orig_len);
		at += (off_t)sizeof record + record.len;
	}
	assert(at == st.st_size);
	assert(n <= 1 || !s->max_bytes || (uint64_t)at <= s->max_bytes);
	return n;
}

static void attack_capture(struct input *in, uint8_t how)
{
	struct capture_settings s = { .name = "x", .n_ports = 0 };
	int fds[FILES_MAX], shared_fd = memfd_create("shared", MFD_CLOEXEC);
	size_t n_fds = 1 + (how >> 1 & 3), n, ring;
	struct capture_shared *shared;
	uint64_t in_files = 0;

	s.snaplen = PCAP_PACKET_HEADERS + input_u16(in);
	s.max_bytes = input_u16(in);
	ring = (size_t)4096 << input_u8(in) % 6;
	s.ports[0] = input_u8(in);
	s.n_ports = s.ports[0] != 0;
	if (ftruncate(shared_fd, sizeof *shared) < 0)
		abort();
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = how & 16 && i == n_fds - 1 ? open("/dev/full", O_WRONLY | O_CLOEXEC) :
			memfd_create("file", MFD_CLOEXEC);
	n = in->left / 12 < PACKETS_MAX ? in->left / 12 : PACKETS_MAX;
	run(&s, ring, shared_fd, fds, n_fds, in, n / 2);
	if (how & 8)
		input_take(in, shared, sizeof *shared);
	run(&s, ring, shared_fd, fds, n_fds, in, n - n / 2);
	assert(n_ended >= 1);
	if (!(how & 8)) {
		for (size_t i = 0; i < n_fds; i++)
			in_files += check_file(fds[i], &s);
		assert(shared->written + shared->lost == shared->seen && shared->seen <= n);
		assert(in_files <= shared->written);
		assert(n_fds > 1 || how & 16 || in_files == shared->written);
	}
	for (size_t i = 0; i < n_fds; i++)
		fd_close(&fds[i]);
	munmap(shared, sizeof *shared);
	fd_close(&shared_fd);
}

static void attack_settings(struct input *in)
{
	struct capture_settings s;
	struct blob_reader r;

	blob_read(&r, in->data, in->left, NULL);
	if (!capture_settings_load(&s, &r))
		return;
	assert(s.snaplen >= PCAP_PACKET_HEADERS && s.snaplen <= PCAP_SNAPLEN_MAX);
	assert(s.n_ports <= CAPTURE_PORTS_MAX && memchr(s.name, '\0', sizeof s.name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = input_copy(data, size);
	struct input in = { copy, size };
	uint8_t how = input_u8(&in);
	int before = count_fds();

	log_level = LEVEL_ERR;
	n_ended = 0;
	if (how & 1)
		attack_settings(&in);
	else
		attack_capture(&in, how);
	assert(count_fds() == before);
	free(copy);
	return 0;
}
