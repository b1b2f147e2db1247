/* SPDX-License-Identifier: BSD-3-Clause */
/* What is wrong with a socket. */
#include "vsockctl/doctor_socket.h"

#include <stdio.h>

#include "util/error.h"

const char *doctor_str_holder(char to[DOCTOR_WHO_MAX], const struct doctor_socket *s)
{
	to[0] = '\0';
	if (s->pid > 0)
		snprintf(to, DOCTOR_WHO_MAX, " (%s, pid %d)",
			 s->program[0] ? s->program : "unknown", (int)s->pid);
	return to;
}

static void judge_absent(const struct doctor_socket *s, const struct doctor_role *role,
			 struct doctor_report *out)
{
	struct doctor_finding *f = doctor_add(out, DOCTOR_PROBLEM, role->absent);

	if (s->fault.kind == PATH_MISSING && !s->fault.is_last)
		doctor_say(f->what, "There is no folder %s, so no %s is at %s.", s->fault.path,
		    role->daemon, s->path);
	else if (s->fault.kind == PATH_NO_FOLDER)
		doctor_say(f->what, "%s is no folder, so no %s is at %s.", s->fault.path,
		    role->daemon, s->path);
	else
		doctor_say(f->what, "There is no socket %s: no %s is there.", s->path,
		    role->daemon);
	doctor_say(f->advice, "%s Or is the path another one?", role->start);
}

static void judge_denied(const struct doctor_socket *s, const struct doctor_role *role,
			 struct doctor_report *out)
{
	static const char folder[] = "give that folder the right to be searched (x)";
	struct doctor_finding *f = doctor_add(out, DOCTOR_PROBLEM, role->denied);
	const struct path_fault *fault = &s->fault;
	bool is_socket = fault->kind == PATH_NO_WRITE;

	if (fault->kind != PATH_NO_SEARCH && fault->kind != PATH_NO_WRITE) {
		doctor_say(f->what, "%s may not connect to %s: permission denied, by something "
		    "else than file modes (an access control list, or a security module).",
		    role->who, s->path);
		doctor_say(f->advice, "Look at getfacl for each part of the path, and at the "
		    "kernel's log.");
		return;
	}
	doctor_say(f->what, "%s may not connect to %s: the %s %s belongs to user %s, group %s and "
	    "has mode %04o, which does not let %s %s.", role->who, s->path, is_socket ? "socket" :
	    "folder", fault->path, fault->owner, fault->group, (unsigned)fault->mode, role->who,
	    is_socket ? "write to it" : "pass through it");
	if (role->is_other)
		doctor_say(f->advice, "Either %s, or run the daemon as a user whom the mode lets "
		    "in.", is_socket ? role->allow : folder);
	else
		doctor_say(f->advice, "Become user %s, or a member of group %s if the mode says "
		    "so; or %s.", fault->owner, fault->group, is_socket ? role->allow : folder);
}

bool doctor_judge_socket(const struct doctor_socket *s, const struct doctor_role *role,
			 struct doctor_report *out)
{
	struct doctor_finding *f;
	char who[DOCTOR_WHO_MAX];

	switch (s->state) {
	case SOCKET_UNTRIED:
		return false;
	case SOCKET_OPEN:
	case SOCKET_UNSURE:
		return true;
	case SOCKET_ABSENT:
		judge_absent(s, role, out);
		return false;
	case SOCKET_STALE:
		f = doctor_add(out, DOCTOR_PROBLEM, role->stale);
		doctor_say(f->what, "Nobody listens at %s any more: whoever made this socket has "
		    "ended, and left its file.", s->path);
		doctor_say(f->advice, "%s The file is replaced then.", role->start);
		return false;
	case SOCKET_OTHER_FILE:
		f = doctor_add(out, DOCTOR_PROBLEM, "not-a-socket");
		doctor_say(f->what, s->fault.kind == PATH_DANGLING ?
		    "%s is no socket, but a link to a file that is not there." :
		    "%s is no socket, but a file of another kind.", s->path);
		doctor_say(f->advice, "Remove it, or use another path. %s", role->start);
		return false;
	case SOCKET_OTHER_TYPE:
		f = doctor_add(out, DOCTOR_PROBLEM, "other-socket-type");
		doctor_say(f->what, "%s is a socket of another type than SOCK_STREAM: no %s's.",
		    s->path, role->daemon);
		doctor_say(f->advice, "Is the path right? %s", role->start);
		return false;
	case SOCKET_DENIED:
		judge_denied(s, role, out);
		return false;
	case SOCKET_NAME_LENGTH:
		f = doctor_add(out, DOCTOR_PROBLEM, "name-too-long");
		doctor_say(f->what, "The path %s is too long: a socket's name has 107 bytes at "
		    "most.", s->path);
		doctor_say(f->advice, "Use a shorter one.");
		return false;
	case SOCKET_BUSY:
		f = doctor_add(out, DOCTOR_PROBLEM, "not-accepting");
		doctor_say(f->what, "Whoever listens at %s%s does not accept connections: it "
		    "hangs, or is stopped.", s->path, doctor_str_holder(who, s));
		doctor_say(f->advice, "Look at its log, and whether it is stopped (state T in "
		    "ps).");
		return false;
	case SOCKET_FAILED:
		f = doctor_add(out, DOCTOR_PROBLEM, "system");
		doctor_say(f->what, "%s cannot be connected to: %s.", s->path, error_str(s->error));
		return false;
	}
	return false;
}
