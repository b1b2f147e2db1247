/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands, a row each. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vsockctl/args.h"

/* The last has no name. */
extern const struct command command_rows[];

/* What takes the operand "PORT". False: it has been complained about. */
bool command_port(const char *text, uint32_t *port);

int command_connect(const struct args *a);
int command_listen(const struct args *a);
int command_wait(const struct args *a);
int command_doctor(const struct args *a);

/* By the API. */
int command_list(const struct args *a);
int command_show(const struct args *a);
int command_top(const struct args *a);
int command_capture(const struct args *a);
int command_events(const struct args *a);
int command_log_level(const struct args *a);
int command_upgrade(const struct args *a);
int command_reload(const struct args *a);
int command_shutdown(const struct args *a);
int command_metrics(const struct args *a);
