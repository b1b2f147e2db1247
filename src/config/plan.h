/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan: what the daemon is to do. Plain data, which config_read() fills and nobody
 * after that looks at an option again. It owns its strings and arrays; the daemon
 * borrows them until plan_deinit().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vsock/limits.h"

enum {
	PLAN_THREADS_MAX = 1024,
	PLAN_MEM_SLOTS_MAX = 509,		/* VHOST_USER_MEM_SLOTS_MAX */
	PLAN_CAPTURE_PORTS_MAX = 64,		/* CAPTURE_PORTS_MAX */
};

#define PLAN_GROUP "default"			/* of a VM that is in no group */

enum sandbox_wish { SANDBOX_OFF, SANDBOX_LOG, SANDBOX_ON, SANDBOX_STRICT };

/*
 * Who may use a socket that we make. Where nobody has said a mode or a group, it is
 * the owner and whom the umask of the start lets write: with the original, umask is
 * what opens sockets to others.
 */
struct socket_plan {
	mode_t mode;				/* SOCKET_MODE_UNSET: nobody has said */
	char *group;				/* as given: a name or a number, or NULL */
	gid_t gid;				/* that is it; (gid_t)-1: of the process */
	int fd;					/* one that we were given instead; -1: none */
	bool fd_listens;			/* else it is connected */
};

#define SOCKET_MODE_UNSET	((mode_t)-1)
#define SOCKET_PLAN_UNSET	{ .mode = SOCKET_MODE_UNSET, .gid = (gid_t)-1, .fd = -1 }

/* What a path means, however it is spelled; see place.h. */
struct socket_place {
	bool is_found;				/* the deepest folder on the way that is there: */
	dev_t dev;
	ino_t ino;
	char *rest;				/* what is left behind it: mostly the name */
	int error;				/* -errno: a folder there could not be looked at */
};

/* What is captured of a VM's packets; see control/capture.h. */
struct capture_plan {
	char *path;				/* NULL: nothing */
	uint32_t snaplen;			/* bytes of a packet, headers included */
	uint32_t n_files;			/* path, path.1, ...; in a circle */
	uint64_t max_bytes;			/* of each; 0: no bound */
	uint32_t *ports;			/* of either side; none: all */
	size_t n_ports;
};

struct vm_plan {
	char *origin;				/* "--vm 2", "vms.yaml:7", or NULL: single options */
	uint64_t guest_cid;
	char *socket;				/* vhost-user: we listen there, or NULL: */
	char *connect;				/* a front-end does, or NULL: vhost_socket.fd */
	char *uds_path;				/* unix-socket backend, or NULL */
	struct socket_place socket_at, connect_at, uds_at;
	bool has_forward_cid;			/* AF_VSOCK backend instead */
	uint32_t forward_cid;
	uint32_t *forward_listen;		/* ports, unique */
	size_t n_forward_listen;
	uint32_t *forward_listen_seqpacket;	/* further ones, of SOCK_SEQPACKET */
	size_t n_forward_listen_seqpacket;
	bool forward_listen_any;		/* ... take connections from any CID */
	uint64_t *host_cids;			/* uds-path answers for these besides CID 2 */
	size_t n_host_cids;
	struct vsock_limits limits;		/* linger_ms: the plan's, by finish.c */
	uint64_t max_memory;			/* bytes of it that are mapped */
	struct {				/* what was said, before it was shared (limits.h): */
		uint64_t max_memory;		/* 0: a fair share */
		uint32_t max_connections;
	} said;
	bool is_by_api;				/* its paths are within plan::api_folders */
	uint32_t poll_us;			/* for which the worker may poll; 0: it sleeps at once */
	uint32_t queue_size;			/* largest ring a front-end may set up */
	char **groups;				/* unique, sorted; siblings share one */
	size_t n_groups;
	struct socket_plan vhost_socket, uds_socket;	/* of socket, of uds-path */
	struct capture_plan capture;
};

struct plan {
	struct vm_plan *vms;
	size_t n_vms;
	uint32_t threads;			/* 0: as many as make sense, up to the most */
	uint32_t mem_slots;			/* regions that each VM may share; by the daemon, ... */
	uint64_t n_files;			/* ... that may be open, at most */
	uint64_t memory_share;			/* of a VM that has not said any */
	uint32_t connections_share;		/* more than these has none; 0: all what they said */
	bool has_too_little_memory;		/* for what VMs have said */
	int log_level;				/* enum log_level */
	char *log_file;				/* NULL: standard error */
	char *config;				/* the file that has the VMs, or NULL */
	char *event_path;			/* where events go, or NULL: */
	int event_fd;				/* a descriptor that we were given; -1: nowhere */
	struct socket_plan vhost_socket, uds_socket;	/* of VMs that say nothing else */
	mode_t umask;				/* as we were started with */
	char *api_path;				/* of the control API's socket, or NULL: */
	struct socket_plan api_socket;		/* ::fd, or there is no API */
	struct socket_place api_at;
	char **api_folders;			/* where the API may have sockets made; as realpath() */
	size_t n_api_folders;
	char *user, *group;			/* to become, as given, or NULL */
	uid_t uid;				/* that is it; (uid_t)-1: stay */
	gid_t gid;
	enum sandbox_wish sandbox;
	bool is_supervised;			/* two processes */
	uint32_t watchdog_ms;			/* for a worker that hangs; 0: none */
	uint32_t linger_ms;			/* drain to a slow host at most so long without progress */
	uint32_t pause_grace_ms;		/* connections survive stopped rings so long */
	uint32_t handshake_ms;			/* for a host client to say its CONNECT line; > 0 */
};

/* Nothing has been said, there is no VM; a number that may be set is 0. What has a
 * default gets it by its row (setting.h). */
void plan_init(struct plan *plan);
void plan_deinit(struct plan *plan);		/* also twice */

static inline bool plan_has_api(const struct plan *plan)
{
	return plan->api_path || plan->api_socket.fd >= 0;
}

/* One VM, for who has it without the others. Deinit leaves it as init does. */
void vm_plan_init(struct vm_plan *vm);
void vm_plan_deinit(struct vm_plan *vm);

/*
 * Appends a VM of which nothing has been said. @origin NULL: it comes from single
 * options. NULL without memory. What an earlier call returned is no longer valid.
 */
struct vm_plan *plan_add_vm(struct plan *plan, const char *origin);
