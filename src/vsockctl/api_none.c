/* SPDX-License-Identifier: BSD-3-Clause */
/* The API's commands, where the program was built without libcurl or jansson. */
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

static int refuse(const struct args *a)
{
	text_complain("%s: this vsockctl was built without libcurl and jansson", a->command->name);
	return EXIT_FAILED;
}

int command_list(const struct args *a) { return refuse(a); }
int command_show(const struct args *a) { return refuse(a); }
int command_top(const struct args *a) { return refuse(a); }
int command_capture(const struct args *a) { return refuse(a); }
int command_events(const struct args *a) { return refuse(a); }
int command_log_level(const struct args *a) { return refuse(a); }
int command_upgrade(const struct args *a) { return refuse(a); }
int command_reload(const struct args *a) { return refuse(a); }
int command_shutdown(const struct args *a) { return refuse(a); }
int command_metrics(const struct args *a) { return refuse(a); }
