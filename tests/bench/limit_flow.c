/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits of throughput: a raw AF_UNIX stream between two threads, or messages
 * on a raw AF_UNIX seqpacket socket, with the write sizes and the way of waiting
 * of the scenarios; and what memory gives to one copy of blocks that no cache
 * holds.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/stream.h"
#include "support/must.h"

static const double MIB = 1024.0 * 1024;

/* Writers first, then their readers. */
static void add_costs(struct run *r, const struct stream *end, bool is_messages)
{
	uint64_t n = end[0].bytes / r->what->size;

	if (is_messages) {
		cost_of_thread_ops(r, "writer", end[0].cpu_s, n);
		cost_of_thread_ops(r, "reader", end[1].cpu_s, n);
	} else {
		cost_of_thread(r, "writer", end[0].cpu_s, end[0].bytes);
		cost_of_thread(r, "reader", end[1].cpu_s, end[1].bytes);
	}
}

/* One way, or also back: MiB/s, or messages per second. */
static void pump(struct run *r, double seconds, unsigned ways, int type, bool is_timed)
{
	bool is_messages = type == SOCK_SEQPACKET;
	double unit = is_messages ? (double)r->what->size : MIB;
	struct stream end[4];
	uint64_t bytes = 0;
	int64_t start = now_ns();
	int fds[2];

	must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0);
	for (unsigned i = 0; i < 2 * ways; i++)
		end[i] = (struct stream){
			.fd = fds[i == 1 || i == 2], .size = r->what->size,
			.seconds = seconds, .check_all = r->is_quick,
			.is_messages = is_messages, .polls_first = r->what->polls_first,
		};
	for (unsigned i = 0; i < ways; i++) {
		stream_start_reader(&end[2 * i + 1]);
		stream_start_writer(&end[2 * i]);
	}
	for (unsigned i = 0; i < 2 * ways; i++)
		stream_join(&end[i]);
	for (unsigned i = 0; i < ways; i++) {
		must(end[2 * i].bytes == end[2 * i + 1].bytes);
		bytes += end[2 * i].bytes;
	}
	close(fds[0]);
	close(fds[1]);
	if (!is_timed)
		return;
	r->out->value = (double)bytes / unit / ((double)(now_ns() - start) / 1e9);
	add_costs(r, end, is_messages);
}

void run_uds(struct run *r)
{
	pump(r, r->seconds / 10, 1, SOCK_STREAM, false);
	pump(r, r->seconds, 1, SOCK_STREAM, true);
}

void run_uds_both(struct run *r)
{
	pump(r, r->seconds / 10, 2, SOCK_STREAM, false);
	pump(r, r->seconds, 2, SOCK_STREAM, true);
}

void run_uds_messages(struct run *r)
{
	pump(r, r->seconds / 10, 1, SOCK_SEQPACKET, false);
	pump(r, r->seconds, 1, SOCK_SEQPACKET, true);
}

void run_memcpy(struct run *r)
{
	size_t half = (r->is_quick ? (size_t)1 : (size_t)256) << 20, size = r->what->size;
	uint8_t *memory = malloc(2 * half);
	int64_t start, until;
	uint64_t bytes = 0;
	size_t at = 0;
	int64_t cpu_ns;

	must(memory);
	memset(memory, 1, 2 * half);
	cpu_ns = thread_cpu_ns();
	start = now_ns();
	for (until = start + ns_of(r->seconds); now_ns() < until; bytes += size) {
		memcpy(memory + half + at, memory + at, size);
		__asm__ volatile ("" : : "r" (memory) : "memory");
		at = (at + size) % half;
	}
	r->out->value = (double)bytes / MIB / ((double)(now_ns() - start) / 1e9);
	cost_of_thread(r, "copy", (double)(thread_cpu_ns() - cpu_ns) / 1e9, bytes);
	free(memory);
}
