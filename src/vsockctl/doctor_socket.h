/* SPDX-License-Identifier: BSD-3-Clause */
/* A socket as it is seen, and what is wrong with it, whoever is to listen there. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "vsockctl/doctor_report.h"
#include "vsockctl/path_check.h"

enum doctor_socket_state {
	SOCKET_UNTRIED,
	SOCKET_OPEN,				/* somebody listens */
	SOCKET_ABSENT,				/* no such file, or no such folder: fault */
	SOCKET_STALE,				/* nobody listens any more */
	SOCKET_UNSURE,				/* whether somebody listens cannot be seen */
	SOCKET_OTHER_FILE,			/* it is no socket */
	SOCKET_OTHER_TYPE,			/* one of another type */
	SOCKET_DENIED,				/* fault says by what */
	SOCKET_NAME_LENGTH,
	SOCKET_BUSY,				/* whoever listens does not accept */
	SOCKET_FAILED,				/* error */
};

enum { DOCTOR_NAME_MAX = 64, DOCTOR_PATH_MAX = 160 };

struct doctor_socket {
	char path[DOCTOR_PATH_MAX];		/* cut where it is longer than any socket's */
	enum doctor_socket_state state;
	int error;				/* -errno of SOCKET_FAILED */
	struct path_fault fault;
	pid_t pid;				/* who listens; 0: unknown, as from another namespace */
	char program[DOCTOR_NAME_MAX], user[PATH_NAME_MAX];
};

/* What a socket is for, as the texts and the causes say it. */
struct doctor_role {
	const char *daemon;			/* "the daemon", who is to be there */
	const char *who;			/* who may not connect: "you", or a user */
	const char *start, *allow;		/* advice: how it comes into being; and is opened */
	const char *absent, *stale, *denied;	/* causes */
	bool is_other;				/* it is not the reader who may not connect */
};

/* True: somebody listens; false: or it was not tried. */
bool doctor_judge_socket(const struct doctor_socket *s, const struct doctor_role *role,
			 struct doctor_report *out);

enum { DOCTOR_WHO_MAX = DOCTOR_NAME_MAX + 32 };

/* " (program, pid 7)", who listens, as far as it is known. */
const char *doctor_str_holder(char to[DOCTOR_WHO_MAX], const struct doctor_socket *s);
