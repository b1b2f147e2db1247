/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands. */
#include "vsockctl/command.h"

#include "vsockctl/text.h"

const struct command command_rows[] = {
	{ "list", "", 0, 0, OPTION_API | OPTION_JSON, command_list,
	  "the VMs that the daemon serves" },
	{ "show", "CID", 1, 1, OPTION_API | OPTION_JSON, command_show,
	  "one VM: front-end, rings, counters, connections" },
	{ "top", "", 0, 0, OPTION_API, command_top,
	  "VMs and connections, live, the busiest first; q quits" },
	{ "connect", "UDS PORT", 2, 2, OPTION_SEQPACKET | OPTION_FDPASS | OPTION_TIMEOUT,
	  command_connect, "standard input and output to a guest's port" },
	{ "listen", "UDS PORT", 2, 2, OPTION_SEQPACKET | OPTION_KEEP | OPTION_MODE, command_listen,
	  "the same for a connection that the guest makes" },
	{ "wait", "UDS PORT", 2, 2, OPTION_SEQPACKET | OPTION_TIMEOUT, command_wait,
	  "until somebody listens at a guest's port" },
	{ "doctor", "[UDS|CID] [PORT]", 0, 2, OPTION_API | OPTION_JSON, command_doctor,
	  "what is wrong, and what to do about it" },
	{ "events", "", 0, 0, OPTION_API, command_events,
	  "what happens from now on, a line of JSON each" },
	{ "capture", "CID FILE|-", 2, 2, OPTION_API | OPTION_CAPTURE, command_capture,
	  "the packets of a VM, as pcap, until it is interrupted" },
	{ "log-level", "[LEVEL]", 0, 1, OPTION_API, command_log_level,
	  "what the daemon logs; or from now on is to log" },
	{ "metrics", "", 0, 0, OPTION_API, command_metrics,
	  "all counters, for Prometheus" },
	{ "reload", "", 0, 0, OPTION_API, command_reload,
	  "the daemon reads the file of its --config again" },
	{ "upgrade", "", 0, 0, OPTION_API, command_upgrade,
	  "the program that is installed now takes over" },
	{ "shutdown", "", 0, 0, OPTION_API | OPTION_TIMEOUT, command_shutdown,
	  "the daemon ends, and that is waited for" },
	{ .name = NULL },
};

bool command_port(const char *text, uint32_t *port)
{
	uint64_t n;

	if (!args_number(text, UINT32_MAX, &n)) {
		text_complain("%s: a port is a number from 0 to %u", text, UINT32_MAX);
		return false;
	}
	*port = (uint32_t)n;
	return true;
}
