/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rows of the report, the limits among them, and the targets that the
 * project has set itself as ratios to a limit.
 */
#include <string.h>

#include "bench/bench.h"

enum { K4 = 4096, K64 = 65536 };

#define CPU(who, most)	{ "cpu s/GiB", who " cpu s/GiB", .at_most = (most) }
#define P99		{ "p99 us", "p99 us", .at_most = 1.5 }

const struct scenario scenarios[] = {
	/* Limits: beside the rows that name them, and alone when asked for. */
	{ .name = "uds-64", .unit = "MiB/s", .is_limit = true, .run = run_uds, .size = 64,
	  .says = "raw AF_UNIX stream between two threads, writes of 64 B" },
	{ .name = "uds-4k", .unit = "MiB/s", .is_limit = true, .run = run_uds, .size = K4,
	  .says = "the same, 4 KiB" },
	{ .name = "uds-64k", .unit = "MiB/s", .is_limit = true, .run = run_uds,
	  .size = K64, .says = "the same, 64 KiB" },
	{ .name = "uds-64k-pin", .unit = "MiB/s", .is_limit = true, .run = run_uds,
	  .size = K64, .is_pinned = true, .says = "64 KiB, both threads on one CPU" },
	{ .name = "uds-bidir-64k", .unit = "MiB/s", .is_limit = true, .run = run_uds_both,
	  .size = K64, .says = "the same, both ways at once, the sum" },
	{ .name = "uds-seq-64", .unit = "1/s", .is_limit = true, .run = run_uds_messages,
	  .size = 64, .says = "raw AF_UNIX seqpacket, messages of 64 B" },
	{ .name = "uds-seq-4k", .unit = "1/s", .is_limit = true, .run = run_uds_messages,
	  .size = K4, .says = "the same, 4 KiB" },
	{ .name = "uds-seq-64-pin", .unit = "1/s", .is_limit = true, .run = run_uds_messages,
	  .size = 64, .is_pinned = true, .says = "64 B, both threads on one CPU" },
	{ .name = "uds-seq-4k-pin", .unit = "1/s", .is_limit = true, .run = run_uds_messages,
	  .size = K4, .is_pinned = true, .says = "4 KiB, both threads on one CPU" },
	{ .name = "relay-rr-1", .unit = "1/s", .is_limit = true, .run = run_relay_rr,
	  .size = 1, .says = "eventfd, epoll thread, unix socket and back, 1 B" },
	{ .name = "relay-rr-4k", .unit = "1/s", .is_limit = true, .run = run_relay_rr,
	  .size = K4, .says = "the same, 4 KiB" },
	{ .name = "relay-rr-1-pin", .unit = "1/s", .is_limit = true, .run = run_relay_rr,
	  .size = 1, .is_pinned = true, .says = "1 B, all threads on one CPU" },
	{ .name = "relay-rr-4k-pin", .unit = "1/s", .is_limit = true, .run = run_relay_rr,
	  .size = K4, .is_pinned = true, .says = "4 KiB, all threads on one CPU" },
	{ .name = "relay-sib", .unit = "1/s", .is_limit = true,
	  .run = run_relay_sibling_rr, .says = "a relay between two eventfds" },
	{ .name = "relay-sib-pin", .unit = "1/s", .is_limit = true, .is_pinned = true,
	  .run = run_relay_sibling_rr, .says = "the same, all on one CPU" },
	{ .name = "uds-crr", .unit = "1/s", .is_limit = true, .run = run_uds_crr,
	  .says = "connect, one byte each way, close on a unix socket" },
	{ .name = "uds-crr-pin", .unit = "1/s", .is_limit = true, .run = run_uds_crr,
	  .is_pinned = true, .says = "the same, all on one CPU" },

	/* Throughput of one connection. */
	{ .name = "g2h-64k", .unit = "MiB/s", .run = run_flow, .size = K64,
	  .limit = "uds-64k", .target = 0.9, .goal = CPU("writer", 1.15),
	  .says = "guest to host, 64 KiB" },
	{ .name = "g2h-4k", .unit = "MiB/s", .run = run_flow, .size = K4,
	  .limit = "uds-64k", .target = 0.75, .says = "guest to host, 4 KiB" },
	{ .name = "g2h-64", .unit = "MiB/s", .run = run_flow, .size = 64,
	  .limit = "uds-64", .target = 5, .says = "guest to host, 64 B" },
	{ .name = "h2g-64k", .unit = "MiB/s", .run = run_flow_to_guest, .size = K64,
	  .limit = "uds-64k", .target = 0.8, .goal = CPU("reader", 1.3),
	  .says = "host to guest, 64 KiB" },
	{ .name = "h2g-4k", .unit = "MiB/s", .run = run_flow_to_guest, .size = K4,
	  .limit = "uds-4k", .target = 1, .says = "host to guest, 4 KiB" },
	{ .name = "h2g-64", .unit = "MiB/s", .run = run_flow_to_guest, .size = 64,
	  .limit = "uds-64", .target = 0.95, .says = "host to guest, 64 B" },
	{ .name = "bidir-64k", .unit = "MiB/s", .run = run_flow_both, .size = K64,
	  .limit = "uds-bidir-64k", .target = 0.8, .says = "both ways at once, 64 KiB" },
	{ .name = "g2h-64k-pin", .unit = "MiB/s", .run = run_flow, .size = K64,
	  .limit = "uds-64k-pin", .is_pinned = true,
	  .says = "guest to host, 64 KiB, all on one CPU: the sum of all costs" },
	{ .name = "h2g-64k-pin", .unit = "MiB/s", .run = run_flow_to_guest, .size = K64,
	  .limit = "uds-64k-pin", .is_pinned = true,
	  .says = "host to guest, 64 KiB, all on one CPU" },
	{ .name = "g2h-64k-q256", .unit = "MiB/s", .run = run_flow, .size = K64,
	  .limit = "uds-64k", .target = 0.9, .queue_size = 256,
	  .says = "guest to host, 64 KiB, queues of 256" },
	{ .name = "g2h-64-q256", .unit = "MiB/s", .run = run_flow, .size = 64,
	  .limit = "uds-64", .target = 5, .queue_size = 256,
	  .says = "guest to host, 64 B, queues of 256" },
	{ .name = "h2g-64k-q256", .unit = "MiB/s", .run = run_flow_to_guest, .size = K64,
	  .limit = "uds-64k", .target = 0.8, .queue_size = 256,
	  .says = "host to guest, 64 KiB, queues of 256" },

	/* Time. */
	{ .name = "rr-1", .unit = "1/s", .run = run_rr, .size = 1,
	  .limit = "relay-rr-1", .says = "round trips of 1 B, guest first" },
	{ .name = "rr-4k", .unit = "1/s", .run = run_rr, .size = K4,
	  .limit = "relay-rr-4k", .says = "round trips of 4 KiB" },
	{ .name = "rr-1-pin", .unit = "1/s", .run = run_rr, .size = 1,
	  .limit = "relay-rr-1-pin", .target = 0.9, .goal = P99, .is_pinned = true,
	  .says = "1 B, all on one CPU" },
	{ .name = "rr-4k-pin", .unit = "1/s", .run = run_rr, .size = K4,
	  .limit = "relay-rr-4k-pin", .target = 0.9, .goal = P99, .is_pinned = true,
	  .says = "4 KiB, all on one CPU" },
	{ .name = "crr-guest", .unit = "1/s", .run = run_crr_guest, .limit = "uds-crr",
	  .says = "guest connects, one byte each way, close" },
	{ .name = "crr-host", .unit = "1/s", .run = run_crr_host, .limit = "uds-crr",
	  .says = "host program connects, one byte each way, close" },
	{ .name = "crr-guest-pin", .unit = "1/s", .run = run_crr_guest,
	  .limit = "uds-crr-pin", .target = 0.6, .is_pinned = true,
	  .says = "guest connects, all on one CPU" },
	{ .name = "crr-host-pin", .unit = "1/s", .run = run_crr_host,
	  .limit = "uds-crr-pin", .target = 0.6, .is_pinned = true,
	  .says = "host program connects, all on one CPU" },

	/* Siblings. */
	{ .name = "sib-64k", .unit = "MiB/s", .run = run_sibling, .size = K64,
	  .limit = "uds-64k", .target = 0.9, .says = "guest to guest, 64 KiB" },
	{ .name = "sib-4k", .unit = "MiB/s", .run = run_sibling, .size = K4,
	  .limit = "uds-4k", .says = "guest to guest, 4 KiB" },
	{ .name = "sib-rr-1", .unit = "1/s", .run = run_sibling_rr, .size = 1,
	  .limit = "relay-sib", .says = "round trips of 1 B between guests" },
	{ .name = "sib-rr-1-pin", .unit = "1/s", .run = run_sibling_rr, .size = 1,
	  .limit = "relay-sib-pin", .target = 0.6, .is_pinned = true,
	  .says = "the same, all on one CPU" },

	/* Crowds: beside one alone. */
	{ .name = "many-g2h", .unit = "MiB/s", .run = run_many, .size = K64, .count = 1000,
	  .limit = "g2h-64k", .target = 0.8,
	  .goal = { "first/last", .at_least = 0.8 },
	  .says = "1,000 connections at once, guest to host" },
	{ .name = "many-h2g", .unit = "MiB/s", .run = run_many_to_guest, .size = K64,
	  .count = 1000, .limit = "h2g-64k", .target = 0.8,
	  .goal = { "first/last", .at_least = 0.8 },
	  .says = "1,000 connections at once, host to guest" },
	{ .name = "many-idle", .unit = "B", .run = run_many_idle, .count = 1000,
	  .is_cost = true,
	  .goal = { "idle B/conn", .at_most = 1024 },
	  .says = "memory of the daemon per idle connection" },
	{ .name = "vms-8", .unit = "MiB/s", .run = run_vms, .size = K64, .count = 8,
	  .limit = "g2h-64k", .target = 0.95, .says = "8 VMs at once, guest to host" },
	{ .name = "vms-64", .unit = "MiB/s", .run = run_vms, .size = K64, .count = 64,
	  .limit = "g2h-64k", .says = "64 VMs at once, guest to host" },

	/* Neighbours that do not move: beside being alone. */
	{ .name = "stall-reader", .unit = "MiB/s", .run = run_stalled_reader, .size = K64,
	  .limit = "g2h-64k", .target = 0.97,
	  .says = "guest to host beside a host program that does not read" },
	{ .name = "stall-program", .unit = "MiB/s", .run = run_stalled_program,
	  .size = K64, .limit = "h2g-64k", .target = 0.97,
	  .says = "host to guest beside a guest's program that does not read" },
	{ .name = "stall-guest", .unit = "MiB/s", .run = run_stalled_guest, .size = K64,
	  .limit = "h2g-64k", .target = 0.97,
	  .says = "host to guest beside a VM that does nothing" },
	{ .name = "pause", .unit = "ms", .run = run_pause, .size = 1, .count = 1,
	  .is_cost = true,
	  .goal = { "p50 ms", .at_most = 20 },
	  .says = "longest round trip of 1 B while another engine takes over; 1 VM" },
	{ .name = "pause-100", .unit = "ms", .run = run_pause, .size = 1, .count = 100,
	  .is_cost = true,
	  .says = "the same beside 99 other VMs" },
	{ .name = "pause-1000", .unit = "ms", .run = run_pause, .size = 1, .count = 1000,
	  .is_cost = true,
	  .says = "beside 999" },
	{ .name = "idle", .unit = "1/s", .run = run_idle, .is_cost = true,
	  .goal = { "wake-ups/s", .at_most = 0 },
	  .says = "wake-ups with open connections that say nothing" },
	{ .name = "memcpy", .unit = "MiB/s", .run = run_memcpy, .size = K64,
	  .is_bare = true,
	  .says = "of 64 KiB blocks that no cache holds; no daemon" },
	{ .name = NULL },
};

const struct scenario *scenario_find(const char *name)
{
	const struct scenario *s = scenarios;

	while (s->name && strcmp(s->name, name) != 0)
		s++;
	return s->name ? s : NULL;
}
