/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that we were started with: by --fd, or by a service manager that listens for us
 * (systemd's LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES). Whether one is there, and of which
 * kind, is known before anything else is made; a number that leads to something of our own
 * is a mistake like any other.
 *
 * A manager's socket belongs to the path at which it is bound; or to that, or the socket of
 * that VM, which its name says: "cid-3-socket", "cid-3-uds". What is left goes to a sole VM,
 * first to its socket, then to its uds-path. "vdv-..." are what the manager has kept for a
 * process before us (daemon/fd_store.h), and none of the plan's. One that is nobody's is a
 * mistake: its clients would wait for ever.
 */
#pragma once

struct config_error;
struct plan;

/*
 * Gives the sockets of a service manager to the VMs. 0 or CONFIG_E_USAGE.
 *
 * @running NULL: we start. Otherwise they are ours already, and a VM that stays what it is
 * keeps what it has. Those of VMs that have gone wait for one that comes again.
 */
int passed_activate(struct plan *plan, const struct plan *running, struct config_error *err);

/* Looks at each socket that --fd names. @running: NULL, or VMs that use theirs: one that is
 * connected is used up by the VM that has it. 0 or CONFIG_E_USAGE. */
int passed_check(struct plan *plan, const struct plan *running, struct config_error *err);
