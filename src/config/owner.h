/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Users and groups, which the user names: who the daemon becomes, and to whom the
 * sockets belong. As chown and chgrp: a name before a number.
 */
#pragma once

struct config_error;
struct plan;

/* Both: 0; CONFIG_E_USAGE; -errno. */
int owner_find(struct plan *plan, struct config_error *err);

/* Groups of sockets, of which many VMs mostly have one: looked up once all the words
 * of the user are read. */
int owner_find_sockets(struct plan *plan, struct config_error *err);
