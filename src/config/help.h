/* SPDX-License-Identifier: BSD-3-Clause */
/* What --help and --version print. Both return CONFIG_E_EXIT or -errno. */
#pragma once

int help_print(void);
int help_print_version(void);
int help_print_capabilities(void);
