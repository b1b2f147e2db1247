/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rows of the report, the limits among them, and the targets that the
 * project has set itself as ratios to a limit.
 */
#include <string.h>

#include "bench/bench.h"

enum { K4 = 4096, K64 = 65536 };

const struct scenario scenarios[] = {
	{ .name = "uds-64", .unit = "MiB/s", .is_limit = true, .run = run_uds, .size = 64,
	  .says = "raw AF_UNIX stream between two threads, writes of 64 B" },
	{ .name = "uds-4k", .unit = "MiB/s", .is_limit = true, .run = run_uds, .size = K4,
	  .says = "the same, 4 KiB" },
	{ .name = "uds-64k", .unit = "MiB/s", .is_limit = true, .run = run_uds, .size = K64,
	  .says = "the same, 64 KiB" },
	{ .name = "uds-bidir-64k", .unit = "MiB/s", .is_limit = true, .run = run_uds_both, .size = K64,
	  .says = "the same, both ways at once, the sum" },
	{ .name = "relay-rr-1", .unit = "1/s", .is_limit = true, .run = run_relay_rr, .size = 1,
	  .says = "eventfd, epoll thread, unix socket and back, 1 B" },
	{ .name = "relay-rr-1-pin", .unit = "1/s", .is_limit = true, .run = run_relay_rr, .size = 1,
	  .is_pinned = true, .says = "the same, all on one CPU" },

	{ .name = "g2h-64k", .unit = "MiB/s", .run = run_flow, .size = K64,
	  .limit = "uds-64k", .target = 0.9, .says = "guest to host, 64 KiB" },
	{ .name = "g2h-4k", .unit = "MiB/s", .run = run_flow, .size = K4,
	  .limit = "uds-64k", .target = 0.75, .says = "guest to host, 4 KiB" },
	{ .name = "g2h-64", .unit = "MiB/s", .run = run_flow, .size = 64,
	  .limit = "uds-64", .target = 5, .says = "guest to host, 64 B" },
	{ .name = "h2g-64k", .unit = "MiB/s", .run = run_flow_to_guest, .size = K64,
	  .limit = "uds-64k", .target = 0.8, .says = "host to guest, 64 KiB" },
	{ .name = "h2g-4k", .unit = "MiB/s", .run = run_flow_to_guest, .size = K4,
	  .limit = "uds-4k", .target = 1, .says = "host to guest, 4 KiB" },
	{ .name = "h2g-64", .unit = "MiB/s", .run = run_flow_to_guest, .size = 64,
	  .limit = "uds-64", .target = 0.95, .says = "host to guest, 64 B" },
	{ .name = "bidir-64k", .unit = "MiB/s", .run = run_flow_both, .size = K64,
	  .limit = "uds-bidir-64k", .target = 0.8, .says = "both ways at once, 64 KiB" },
	{ .name = "rr-1", .unit = "1/s", .run = run_rr, .size = 1,
	  .limit = "relay-rr-1", .says = "round trips of 1 B, guest first" },
	{ .name = "rr-1-pin", .unit = "1/s", .run = run_rr, .size = 1,
	  .limit = "relay-rr-1-pin", .target = 0.9, .is_pinned = true,
	  .says = "the same, all on one CPU" },
	{ .name = NULL },
};

const struct scenario *scenario_find(const char *name)
{
	const struct scenario *s = scenarios;

	while (s->name && strcmp(s->name, name) != 0)
		s++;
	return s->name ? s : NULL;
}
