/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that we were started with: --fd. Whether one is there, and of which kind, is
 * known before anything else is made; a number that leads to something of our own is
 * a mistake like any other.
 */
#pragma once

struct config_error;
struct plan;

/* Looks at each socket that the plan names by its descriptor. 0 or CONFIG_E_USAGE. */
int passed_check(struct plan *plan, struct config_error *err);
