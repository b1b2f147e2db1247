/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl events and capture: what the daemon goes on to send. */
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

static int refuse(const struct args *a)
{
	text_complain("%s: the daemon's API has no such thing so far", a->command->name);
	return EXIT_FAILED;
}

int command_capture(const struct args *a) { return refuse(a); }
int command_events(const struct args *a) { return refuse(a); }
