/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the supervisor share: supervisor.c (its life), supervisor_engine.c (that of
 * an engine), supervisor_feed.c (what one is told), supervisor_hear.c (what one says),
 * supervisor_front_ends.c (which come and go), supervisor_folders.c (where names are missing),
 * supervisor_handover.c (another engine takes over), supervisor_state.c and supervisor_upgrade.c
 * (another program does), supervisor_reload.c, supervisor_shares.c (what VMs share),
 * supervisor_orders.c (what the API asks for). */
#pragma once

#include <signal.h>
#include <stdatomic.h>

#include "daemon/channel.h"
#include "daemon/connects.h"
#include "daemon/held_vm.h"
#include "daemon/supervisor.h"
#include "util/loop.h"

enum { ORDERS_REMOVALS_MAX = 64 };
struct removal {
	uint64_t cid;
	uint32_t id;
};

struct orders {					/* of the API; supervisor_orders.c's */
	uint32_t n_left;			/* that may be given, as of filled_ms */
	uint64_t filled_ms;
	struct removal removals[ORDERS_REMOVALS_MAX];	/* that the engine is at */
	size_t n_removals;
	uint32_t upgrade_id;			/* 0: nobody waits for one */
	pid_t upgrade_engine;			/* that has asked for it */
	int upgrade_fd;				/* owned: its client's socket; -1: none */
};

enum { TOLD_EVENTS = 32 };
struct told_event {
	uint64_t at_ns;
	size_t len;
	char line[SUPERVISE_LINE_MAX];
};

struct told {					/* of events, to clients of the API */
	struct told_event last[TOLD_EVENTS];	/* circular */
	size_t n;				/* since the beginning */
	pid_t engine;				/* that knows of all so far; 0: none does */
	unsigned n_lost;			/* it has not been told of, since it was last said */
};

enum supervisor_state {
	SUPERVISOR_STARTING,			/* an engine is there, and not ready yet */
	SUPERVISOR_SERVING,
	SUPERVISOR_WAITING,			/* there is none; the restart timer runs */
	SUPERVISOR_ENDING,
};

enum successor_state {
	SUCCESSOR_NONE,
	SUCCESSOR_PREPARING,			/* it makes itself ready */
	SUCCESSOR_PARKING,			/* the engine is to stop */
	SUCCESSOR_LOADING,			/* it gets what the engine has */
};

struct successor {				/* an engine that is to take over */
	enum successor_state state;
	pid_t pid;
	int channel;
	bool has_vsock;				/* as supervisor::has_vsock */
	struct loop_source source;
	struct loop_timer patience;
};

struct supervisor {
	struct supervisor_config config;
	struct plan *plan;			/* borrowed; its rows are ::vms' */
	struct loop *loop;
	struct loop_source signals, from_engine, pings;
	int signal_fd, program, shared_fd, ping_fd;	/* owned, as the next */
	int log_fd, events_fd;			/* of a program before, until they are in use; or -1 */
	char *path;				/* owned: where the program is installed */
	pid_t checker;				/* another program, which is asked; 0: none */
	struct loop_timer check_patience;
	bool is_upgrading;
	int channel;				/* to the engine; -1: there is none */
	pid_t engine;				/* 0: there is none */
	enum supervisor_state state;
	struct supervise_shared *shared;	/* mapped; NULL: there is none */
	struct held_vm **vms;			/* owned */
	size_t n_vms;
	struct connects connects;
	struct listener api;			/* not open: there is no control API */
	struct orders orders;
	struct told told;
	uint64_t *leaving;			/* owned: CIDs of VMs that the engine was told to
						   remove, and has not yet */
	size_t n_leaving;
	struct {
		struct loop_source source;
		struct loop_timer timer;	/* set if anything may be missing */
		int fd;				/* inotify; owned */
		bool has_failed;		/* and that was logged */
	} folders;
	struct successor successor;
	bool has_vsock;				/* the engine's sandbox has AF_VSOCK in it */
	struct loop_timer outgrown;		/* set: it needs more than it may */
	struct loop_timer shares_due;		/* set: VMs may get larger shares */
	bool wants_reload;			/* once the successor has taken over, or not */
	bool wants_upgrade;			/* once nothing is leaving */
	uint64_t n_captures;			/* begun since the start: the last one's id */
	struct loop_timer captures_due;		/* set: some wait for their files */
	struct loop_timer restart;
	struct loop_timer patience;		/* with an engine that ends, or is stopped */
	uint64_t started_ms;			/* the engine */
	uint32_t pause_ms;			/* before the next one, if they die too fast */
	unsigned n_restarts;			/* since one lived for long */
	bool has_served;			/* some engine was ready */
	bool has_older_engine;			/* of the program before, which may not know what
						   this one could tell it */
	bool has_failed;			/* the first one was not, and has said why */
	bool is_killed;				/* the engine, by us */
	bool is_hung;				/* for it hung */
	_Atomic uint64_t ping, pong;		/* asked, answered */
	int status;				/* of the process, 0 or -errno */
};

/* The VM if it is served; NULL: no such one. */
struct held_vm *supervisor_find(struct supervisor *s, uint64_t cid);

/* Binds the sockets of a VM, of which @row's contents are taken over. *@out, also where it is
 * not served: LISTENER_E_*, -errno; NULL is left there without memory. */
int supervisor_add_vm(struct supervisor *s, struct vm_plan *row, struct held_vm **out);

void supervisor_on_served(struct supervisor *s, struct held_vm *h);	/* its sockets are there now */

size_t supervisor_count_served(const struct supervisor *s);

/* Makes the sockets for SOCK_SEQPACKET that are missing, when VMs have come, gone or changed. */
void supervisor_open_seqpackets(struct supervisor *s);
/* No VM has the names that @row wants for such a socket any more. */
void supervisor_yield_names(struct supervisor *s, const struct vm_plan *row);

void supervisor_end(struct supervisor *s, int status);

/* ---- supervisor_engine.c ---- */

void supervisor_engine_init(struct supervisor *s);
void supervisor_start_engine(struct supervisor *s);
void supervisor_forget_engine(struct supervisor *s);
void supervisor_replace_engine(struct supervisor *s, const char *why);	/* it is ended first */
void supervisor_on_child(struct supervisor *s, const siginfo_t *info);	/* one of any kind */

/* Another one serves from now on: takes @channel over. */
void supervisor_adopt_engine(struct supervisor *s, pid_t pid, int channel);

struct supervisor_with {
	char text[48];				/* ", busy with vm N", or nothing */
};
struct supervisor_with supervisor_busy_with(struct supervisor *s);

/* ---- supervisor_hear.c ---- */

void supervisor_hear_init(struct supervisor *s);
/* It has ended, or will without doing anything more: hears its last words and forgets it. False:
 * so does the daemon. */
bool supervisor_part_with_engine(struct supervisor *s);

/* The service manager hears of us from now on. */
void supervisor_notify(struct supervisor *s);

/* ---- supervisor_front_ends.c ---- */

/* The VM has one in session from now on, or none any more. */
void supervisor_note_session(struct held_vm *h, bool has_come);

/* The engine wants the next front-end of the VM. 0, also if it has ended; as channel_send(). */
int supervisor_accept(struct supervisor *s, struct held_vm *h);

/* The front-end of the VM has gone, and no other can come. 0; CHANNEL_E_GARBAGE. */
int supervisor_on_over(struct supervisor *s, struct held_vm *h);

/* ---- supervisor_handover.c ---- */

void supervisor_handover_init(struct supervisor *s);

/* Another engine is made and takes over, in its time; supervisor_upgraded() follows. */
void supervisor_hand_over(struct supervisor *s);
void supervisor_give_up_successor(struct supervisor *s, const char *why);	/* if there is one */

/* One may do what the VMs that it is told of at its start need, and no more. Is that so little
 * that it cannot serve @h? Then another one takes over soon; what fails is tried again. */
bool supervisor_outgrows(struct supervisor *s, const struct held_vm *h);
/* Does any VM that is served need AF_VSOCK? */
bool supervisor_needs_vsock(const struct supervisor *s);

void supervisor_on_parked(struct supervisor *s);	/* the engine */
bool supervisor_on_successor(struct supervisor *s, const siginfo_t *info);	/* is it that child? */

/* ---- supervisor_state.c ---- */

/*
 * A supervisor as state: what the program that is installed by now needs to go on in its
 * place, in the same process. Its descriptors stay open over execve(2), under their numbers.
 *
 * The numbers of sections' versions say which programs can take over from which: one reads
 * its own and all that came before. Another program is asked before it is executed.
 */
enum { SUPERVISOR_STATE_E_BAD = 1 };		/* cut, of a newer version, or never one */

/* As a file, *@fd, with the numbers of the descriptors in it. 0; BLOB_E_*; -errno. */
int supervisor_state_save(struct supervisor *s, int *fd);

/* All descriptors that the state names are to stay open, or not. 0 or -errno. */
int supervisor_state_pass(struct supervisor *s, int state_fd, bool is_passed);

/*
 * Fills @s, of which ::plan is a plan as plan_init() leaves it, and the rest as
 * supervisor_init() does. 0; SUPERVISOR_STATE_E_BAD; -errno. What was loaded belongs to @s in
 * any case.
 */
int supervisor_state_load(struct supervisor *s, int fd);

/* Could it be loaded? The descriptors need not be there. */
bool supervisor_state_check(int fd);

/* ---- supervisor_upgrade.c ---- */

void supervisor_upgrade(struct supervisor *s);	/* by the program that is installed now */
const char *supervisor_upgrade_obstacle(const struct supervisor *s);	/* why not now; NULL: none */
void supervisor_upgraded(struct supervisor *s, const char *why_not);	/* NULL: it has worked */
void supervisor_upgrade_init(struct supervisor *s);
bool supervisor_on_checker(struct supervisor *s, const siginfo_t *info);	/* is it that child? */

/* ---- supervisor_reload.c ---- */

/* Reads the file again, and has done what can be done at once. */
void supervisor_reload(struct supervisor *s);

/* The same, whose outcome somebody waits for: 0; CONFIG_E_*, -errno: nothing has changed, and
 * @err, which is logged, says why. Not while one engine hands over to another. */
struct config_error;
int supervisor_read_again(struct supervisor *s, struct config_error *err);

/* What is served now, or waits to be, as a plan: its rows are borrowed. 0 or -ENOMEM. */
int supervisor_list_rows(struct supervisor *s, struct plan *rows);

/* From the one, as listed, to the other, of whose rows those that are needed are taken. */
void supervisor_update(struct supervisor *s, const struct plan *before, struct plan *next);

struct held_vm *supervisor_find_any(struct supervisor *s, uint64_t cid);	/* also not served */
void supervisor_remove_vm(struct supervisor *s, struct held_vm *h);

/* It may not be served any more, until the file is read again: no engine has heard of it. Or the
 * engine that has cannot serve it. */
void supervisor_leave_out(struct supervisor *s, struct held_vm *h);
void supervisor_take_out(struct supervisor *s, struct held_vm *h);
/* The engine was told of all there were before, and may hold those that are left out since. */
void supervisor_take_out_again(struct supervisor *s);

/* One more VM, or one less, besides which nothing changes but the shares of the others: takes
 * the contents of @row over. NULL without memory; held_vm::open_error says why it is not served. */
struct held_vm *supervisor_take_vm(struct supervisor *s, struct vm_plan *row);
void supervisor_drop_vm(struct supervisor *s, struct held_vm *h);

void supervisor_tell_settings(struct supervisor *s);

/* Tells the engine, if there is one, of a VM that is new or has changed. One that does not
 * listen does not work either: it is replaced. */
void supervisor_tell_vm(struct supervisor *s, struct held_vm *h);

/* A front-end has left, so a VM may become what it is wanted to be; or any may have. */
void supervisor_catch_up(struct supervisor *s, struct held_vm *h);
void supervisor_catch_up_all(struct supervisor *s);

/* The engine was told to remove a VM, and has not said yet that it did. */
bool supervisor_is_leaving(const struct supervisor *s, uint64_t cid);

/* The engine has removed a VM; there is no engine that could. */
void supervisor_on_removed(struct supervisor *s, uint64_t cid);
void supervisor_forget_leaving(struct supervisor *s);

/* ---- supervisor_shares.c ---- */

void supervisor_shares_init(struct supervisor *s);

/* VMs have come or gone: all get their shares, and hear of them where these are others: at once of
 * what is less, later of what is more. @fresh, or NULL, is one that the engine has not heard of
 * yet, and has its share at once. */
void supervisor_share_out(struct supervisor *s, struct held_vm *fresh);
void supervisor_share_later(struct supervisor *s);	/* once more, within a second or so */

/* All at once, with the shares of @shared, which has its rows, with what the API has added. */
void supervisor_take_shares(struct supervisor *s, const struct plan *shared);

/* Those of a file that was read again, besides VMs that it does not have; as prepare_plan(). */
void supervisor_prepare(struct supervisor *s, struct plan *next);

/* ---- supervisor_orders.c ---- */

void supervisor_orders_init(struct supervisor *s);
bool supervisor_is_order(uint32_t type);

/* The engine passes on what a client of the API has asked for. 0; CHANNEL_E_GARBAGE. */
int supervisor_on_order(struct supervisor *s, struct channel_msg *msg);

/* What an order may wait for. */
void supervisor_orders_removed(struct supervisor *s, uint64_t cid);
void supervisor_orders_upgraded(struct supervisor *s, const char *why_not);
void supervisor_orders_forget(struct supervisor *s);	/* the engine is gone */

/* ---- supervisor_events.c ---- */

void supervisor_events_init(struct supervisor *s);	/* the API's socket is there, or will not be */
void supervisor_feed_told(struct supervisor *s);	/* an engine begins that knows of none */

/* ---- supervisor_capture.c ---- */

void supervisor_capture_init(struct supervisor *s);

/*
 * Another capture of the VM, of which there is none. 0; CAPTURE_FILES_E_*, -errno: there is
 * none. And its end. As channel_send() where it is the engine that does not listen; -EBUSY
 * while one engine hands over to another.
 */
int supervisor_begin_capture(struct supervisor *s, struct held_vm *h,
			     const struct capture_plan *plan);
int supervisor_end_capture(struct supervisor *s, struct held_vm *h);

/* The VM's plan is new: what it says of a capture takes the place of what there is, soon; what
 * does not work is logged. */
void supervisor_plan_capture(struct supervisor *s, struct held_vm *h);

void supervisor_on_capture_ended(struct supervisor *s, struct held_vm *h, uint64_t id);
void supervisor_settle_captures(struct supervisor *s);	/* there is no engine that could say so */

/* Tells the engine, or one that begins. As channel_send(). */
int supervisor_send_capture(struct supervisor *s, struct held_vm *h);
int supervisor_feed_capture(int channel, struct held_vm *h);

/* Is there anything to be kept of it? */
bool supervisor_has_capture(const struct held_capture *c);

/* A part of the VM's state. supervisor_load_capture: as supervisor_state_load(). */
void supervisor_save_capture(const struct held_capture *c, struct blob *out);
int supervisor_load_capture(struct supervisor *s, struct held_capture *c, struct blob_reader *in);

/* ---- supervisor_folders.c ---- */

void supervisor_folders_init(struct supervisor *s);
void supervisor_folders_deinit(struct supervisor *s);

/* The sockets are others than before: from now on they get their names back if they lose
 * them, and VMs their sockets once the folders are there. */
void supervisor_watch_folders(struct supervisor *s);
void supervisor_look_for_names(struct supervisor *s);	/* of all that are lost, soon */

/* ---- supervisor_feed.c ---- */

/* Memory that engines share with us; 0 or -errno: it is not known what they are busy with. */
int supervisor_share(struct supervisor *s);
void supervisor_unshare(struct supervisor *s);

/* Tells the engine at @channel all that it needs to know, @begin last. Its channel does not block
 * from then on. 0, or as channel_send(). */
int supervisor_feed(struct supervisor *s, int channel, enum supervise_type begin);

/* Of what was kept: that of one VM once more, or all that has changed since. Likewise. */
int supervisor_feed_again(int channel, struct held_vm *h);
int supervisor_feed_changes(struct supervisor *s, int channel);

/* What it serves: all VMs; one, which is new or another than it was. As channel_send(). */
int supervisor_send_settings(struct supervisor *s);
int supervisor_send_vm(struct supervisor *s, struct held_vm *h);

/* A message without anything in it. 0, or as channel_send(). */
int supervisor_say(struct supervisor *s, enum supervise_type type, uint64_t number);

/* The engine keeps a front-end's socket: one that we were passed for it is no longer ours, or
 * the front-end would not see it closed. */
void supervisor_passed_on(struct held_vm *h);
