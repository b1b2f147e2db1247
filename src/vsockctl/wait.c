/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl wait: until somebody listens at a guest's port. Only a connect tells: it is closed
 * at once, and the guest's listener sees that one come and go.
 */
#include <sys/socket.h>

#include "util/clock.h"
#include "util/fd.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/guest_port.h"
#include "vsockctl/text.h"

enum { REST_FIRST_MS = 50, REST_MAX_MS = 1000 };

/* What time does not mend. */
static bool is_final(int error)
{
	return error < 0 || error == GUEST_PORT_E_DENIED || error == GUEST_PORT_E_NAME_LENGTH ||
		error == GUEST_PORT_E_OTHER_TYPE || error == GUEST_PORT_E_ODD;
}

/* Rests for @ms, or until the deadline. False: that has come, and a try would only be late. */
static bool rest(uint64_t ms, uint64_t deadline_ms)
{
	uint64_t now = clock_ms();

	if (now < deadline_ms)
		clock_rest(deadline_ms - now < ms ? deadline_ms - now : ms);
	return clock_ms() < deadline_ms;
}

int command_wait(const struct args *a)
{
	int type = a->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
	uint64_t deadline = a->timeout_ms == UINT64_MAX ? GUEST_PORT_NEVER :
		clock_ms() + a->timeout_ms;
	uint64_t ms = REST_FIRST_MS;
	uint32_t port;
	int fd, r;

	if (!command_port(a->operands[1], &port))
		return EXIT_USAGE;
	while ((r = guest_port_open(&fd, a->operands[0], type, port, deadline)) != 0) {
		if (is_final(r) || !rest(ms, deadline)) {
			text_complain("%s, port %u: %s", a->operands[0], port,
				      guest_port_str_error(r));
			return is_final(r) ? guest_port_exit(r) : EXIT_LATE;
		}
		ms = ms * 2 < REST_MAX_MS ? ms * 2 : REST_MAX_MS;
	}
	fd_close(&fd);
	return EXIT_DONE;
}
