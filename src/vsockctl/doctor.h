/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is wrong, and what to do about it. Facts are gathered first (doctor_facts.c by way of
 * the sockets, doctor_vm.c by way of the API); what follows from them is a pure function.
 *
 * It goes from the outside in, and what is behind a fault is not judged: without a daemon
 * nobody listens in the guest either, and saying so would only hide the cause.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vsockctl/doctor_report.h"
#include "vsockctl/doctor_socket.h"

/* ---- facts ---- */

enum doctor_front_end { FRONT_END_UNKNOWN, FRONT_END_ABSENT, FRONT_END_SILENT, FRONT_END_THERE };

enum { DOCTOR_STALLS_MAX = 8, DOCTOR_TEXT_MAX = 128 };

struct doctor_stall {				/* a connection that waits */
	char name[DOCTOR_TEXT_MAX];		/* "stream 3:1024 - 2:80" */
	char waits_for[DOCTOR_TEXT_MAX];	/* "the guest to read" */
	bool is_guest;				/* for the guest, not for a host program */
	uint64_t since_ms;
};

struct doctor_vm {
	uint64_t cid;
	char uds[DOCTOR_PATH_MAX];		/* its uds-path; "": it has none */
	enum doctor_front_end front_end;
	bool has_features;			/* the guest's driver has said which */
	bool is_memory_missing;
	bool is_running;			/* its driver has started the queues */
	char broken[DOCTOR_TEXT_MAX];		/* why a ring is; "": none is */
	struct doctor_stall stalls[DOCTOR_STALLS_MAX];	/* the oldest */
	size_t n_stalls;			/* of all; may be more */
};

enum doctor_api {
	DOCTOR_API_NONE,			/* this program was built without */
	DOCTOR_API_SHUT,				/* api_socket says why */
	DOCTOR_API_FAILED,			/* api_error */
	DOCTOR_API_ANSWERS,
};

struct doctor_facts {
	/* What was asked. */
	bool has_uds, has_port;
	uint64_t cid;				/* 0: none */
	uint32_t port;

	enum doctor_api api;
	bool is_api_said;			/* where it is: not only the default was tried */
	struct doctor_socket api_socket;
	char api_error[DOCTOR_TEXT_MAX];
	bool has_vm;				/* the API knows the VM */
	struct doctor_vm vm;

	struct doctor_socket uds;		/* the hybrid socket */
	const char *uds_is;			/* what it is by its name, if no VM's; NULL: unknown */
	bool is_vm_unseen;			/* a VM's is not to be seen, and may be this one */
	bool was_port_tried;
	int port_outcome;			/* of guest_port_ask(), if it was */
	uint64_t port_ms;			/* how long that took */
	struct doctor_socket host;		/* "<uds>_<port>", as the daemon sees it */
	char daemon_user[PATH_NAME_MAX];	/* who that is */
};

/* ---- what follows ---- */

/* Appends to @out. */
void doctor_judge(const struct doctor_facts *f, struct doctor_report *out);
