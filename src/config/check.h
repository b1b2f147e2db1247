/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan as a whole: what a value alone cannot show. Each VM has a socket and
 * one backend, and no two VMs want the same CID, path, descriptor or port.
 *
 * One clash is easily made and would open a hole: a guest's connect to port P
 * ends at the unix socket "<uds-path>_P". If that is another VM's socket, the
 * guest talks to its neighbour past all groups; if it is a vhost-user socket, it
 * plays the front-end; if it is one that we connect to, the back-end. Paths are compared by
 * where they lead, which place_find_all() has looked up before: nothing here looks at the file
 * system.
 */
#pragma once

struct config_error;
struct plan;

/* 0; CONFIG_E_USAGE; -ENOMEM. */
int check_plan(const struct plan *plan, struct config_error *err);
