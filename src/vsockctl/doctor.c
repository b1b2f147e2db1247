/* SPDX-License-Identifier: BSD-3-Clause */
/* What follows from the facts. */
#include "vsockctl/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "util/error.h"
#include "vsockctl/guest_port.h"
#include "vsockctl/text.h"

enum {
	/* Less than the daemon gives a guest (2 s), more than one needs that refuses. */
	DAEMON_PATIENCE_MS = 1500,
};

/* ---- saying so ---- */

static struct doctor_finding *add(struct doctor_report *out, enum doctor_severity severity,
				  const char *cause)
{
	struct doctor_finding *last = &out->findings[DOCTOR_FINDINGS_MAX - 1];

	if (out->n < DOCTOR_FINDINGS_MAX)
		last = &out->findings[out->n++];
	*last = (struct doctor_finding){ .severity = severity, .cause = cause };
	return last;
}

static void __attribute__((format(printf, 2, 3)))
say(char to[DOCTOR_LINE_MAX], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(to, DOCTOR_LINE_MAX, fmt, args);
	va_end(args);
}

enum { WHO_MAX = DOCTOR_NAME_MAX + 32 };

/* " (program, pid 7)", as far as it is known. */
static const char *who_listens(char to[WHO_MAX], const struct doctor_socket *s)
{
	to[0] = '\0';
	if (s->pid > 0)
		snprintf(to, WHO_MAX, " (%s, pid %d)", s->program[0] ? s->program : "unknown",
			 (int)s->pid);
	return to;
}

/* ---- sockets ---- */

/* What a socket is for, as the texts and the causes say it. */
struct role {
	const char *daemon;			/* "the daemon", who is to be there */
	const char *who;			/* who may not connect: "you", or a user */
	const char *start, *allow;		/* advice: how it comes into being; and is opened */
	const char *absent, *stale, *denied;	/* causes */
	bool is_other;				/* it is not the reader who may not connect */
};

static void judge_absent(const struct doctor_socket *s, const struct role *role,
			 struct doctor_report *out)
{
	struct doctor_finding *f = add(out, DOCTOR_PROBLEM, role->absent);

	if (s->fault.kind == PATH_MISSING && !s->fault.is_last)
		say(f->what, "There is no folder %s, so no %s is at %s.", s->fault.path, role->daemon,
		    s->path);
	else if (s->fault.kind == PATH_NO_FOLDER)
		say(f->what, "%s is no folder, so no %s is at %s.", s->fault.path, role->daemon,
		    s->path);
	else
		say(f->what, "There is no socket %s: no %s is there.", s->path, role->daemon);
	say(f->advice, "%s Or is the path another one?", role->start);
}

static void judge_denied(const struct doctor_socket *s, const struct role *role,
			 struct doctor_report *out)
{
	static const char folder[] = "give that folder the right to be searched (x)";
	struct doctor_finding *f = add(out, DOCTOR_PROBLEM, role->denied);
	const struct path_fault *fault = &s->fault;
	bool is_socket = fault->kind == PATH_NO_WRITE;

	if (fault->kind != PATH_NO_SEARCH && fault->kind != PATH_NO_WRITE) {
		say(f->what, "%s may not connect to %s: permission denied, by something else than "
		    "file modes (an access control list, or a security module).", role->who, s->path);
		say(f->advice, "Look at getfacl for each part of the path, and at the kernel's log.");
		return;
	}
	say(f->what, "%s may not connect to %s: the %s %s belongs to user %s, group %s and has mode "
	    "%04o, which does not let %s %s.", role->who, s->path, is_socket ? "socket" : "folder",
	    fault->path, fault->owner, fault->group, (unsigned)fault->mode, role->who,
	    is_socket ? "write to it" : "pass through it");
	if (role->is_other)
		say(f->advice, "Either %s, or run the daemon as a user whom the mode lets in.",
		    is_socket ? role->allow : folder);
	else
		say(f->advice, "Become user %s, or a member of group %s if the mode says so; or %s.",
		    fault->owner, fault->group, is_socket ? role->allow : folder);
}

/* True: somebody listens. */
static bool judge_socket(const struct doctor_socket *s, const struct role *role,
			 struct doctor_report *out)
{
	struct doctor_finding *f;
	char who[WHO_MAX];

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
		f = add(out, DOCTOR_PROBLEM, role->stale);
		say(f->what, "Nobody listens at %s any more: whoever made this socket has ended, "
		    "and left its file.", s->path);
		say(f->advice, "%s The file is replaced then.", role->start);
		return false;
	case SOCKET_OTHER_FILE:
		f = add(out, DOCTOR_PROBLEM, "not-a-socket");
		say(f->what, s->fault.kind == PATH_DANGLING ?
		    "%s is no socket, but a link to a file that is not there." :
		    "%s is no socket, but a file of another kind.", s->path);
		say(f->advice, "Remove it, or use another path. %s", role->start);
		return false;
	case SOCKET_OTHER_TYPE:
		f = add(out, DOCTOR_PROBLEM, "other-socket-type");
		say(f->what, "%s is a socket of another type than SOCK_STREAM: no %s's.", s->path,
		    role->daemon);
		say(f->advice, "Is the path right? %s", role->start);
		return false;
	case SOCKET_DENIED:
		judge_denied(s, role, out);
		return false;
	case SOCKET_NAME_LENGTH:
		f = add(out, DOCTOR_PROBLEM, "name-too-long");
		say(f->what, "The path %s is too long: a socket's name has 107 bytes at most.", s->path);
		say(f->advice, "Use a shorter one.");
		return false;
	case SOCKET_BUSY:
		f = add(out, DOCTOR_PROBLEM, "not-accepting");
		say(f->what, "Whoever listens at %s%s does not accept connections: it hangs, or is "
		    "stopped.", s->path, who_listens(who, s));
		say(f->advice, "Look at its log, and whether it is stopped (state T in ps).");
		return false;
	case SOCKET_FAILED:
		f = add(out, DOCTOR_PROBLEM, "system");
		say(f->what, "%s cannot be connected to: %s.", s->path, error_str(s->error));
		return false;
	}
	return false;
}

/* ---- the API ---- */

static const struct role api_role = {
	.daemon = "daemon", .who = "you",
	.start = "Start vhost-device-vsock with --api-socket, or say with --api or VSOCKCTL_API "
		"where it is.",
	.allow = "start the daemon with --api-socket path=...,mode=...,group=... that let you in",
	.absent = "no-daemon", .stale = "stale-socket", .denied = "permission",
};

/* True: it answers. A VM's hybrid socket says something without it. */
static bool judge_api(const struct doctor_facts *f, struct doctor_report *out)
{
	enum doctor_severity severity = f->has_uds ? DOCTOR_NOTE : DOCTOR_PROBLEM;
	struct doctor_finding *finding;

	switch (f->api) {
	case DOCTOR_API_ANSWERS:
		return true;
	case DOCTOR_API_NONE:
		finding = add(out, severity, "no-api");
		say(finding->what, "This vsockctl was built without libcurl and jansson and cannot "
		    "ask the daemon, so it sees less.");
		if (!f->has_uds)
			say(finding->advice, "Say the VM's --uds-path.");
		return false;
	case DOCTOR_API_SHUT:
		if (!f->has_uds || f->is_api_said) {
			judge_socket(&f->api_socket, &api_role, out);
			return false;
		}
		finding = add(out, DOCTOR_NOTE, "no-api");
		say(finding->what, "No daemon could be asked at %s, so this is what can be seen from "
		    "outside.", f->api_socket.path);
		say(finding->advice, "%s", api_role.start);
		return false;
	case DOCTOR_API_FAILED:
		finding = add(out, DOCTOR_PROBLEM, "api-failed");
		say(finding->what, "The daemon's API at %s does not work: %s.", f->api_socket.path,
		    f->api_error);
		say(finding->advice, "Is that path the --api-socket of a vhost-device-vsock? Look at "
		    "its log.");
		return false;
	}
	return false;
}

/* ---- the hybrid socket ---- */

static const struct role uds_role = {
	.daemon = "daemon", .who = "you",
	.start = "Start vhost-device-vsock with that --uds-path.",
	.allow = "start the daemon with --uds-mode and --uds-group that let you in",
	.absent = "no-daemon", .stale = "stale-socket", .denied = "permission",
};

/* The API knows the VM, and we do not see its socket. */
static void judge_gone(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = add(out, DOCTOR_PROBLEM, "socket-gone");

	say(finding->what, "The daemon serves CID %" PRIu64 ", but %s is not there: its file was "
	    "removed, or is in another file tree than ours (a container's).", f->vm.cid,
	    f->uds.path);
	say(finding->advice, "The daemon makes it anew within a second where it can. If it does not: "
	    "its log says why, and ss -xlp whether another program has that name.");
}

/* Somebody listens: the daemon whose API it is? systemd's sockets are its own (pid 1). */
static bool judge_holder(const struct doctor_facts *f, struct doctor_report *out)
{
	const struct doctor_socket *s = &f->uds;
	struct doctor_finding *finding;

	if (f->api != DOCTOR_API_ANSWERS || s->pid <= 1 || f->api_socket.pid <= 1 ||
	    s->pid == f->api_socket.pid)
		return true;
	finding = add(out, DOCTOR_PROBLEM, "other-daemon");
	say(finding->what, "%s belongs to another process than the daemon of %s (pid %d): to %s, pid "
	    "%d, user %s.", s->path, f->api_socket.path, (int)f->api_socket.pid,
	    s->program[0] ? s->program : "unknown", (int)s->pid, s->user);
	say(finding->advice, "Two daemons want one --uds-path: end the one that is not to have it, or "
	    "give it another path. If it is to be that one, say its --api-socket with --api.");
	return false;
}

/* It is somebody's, but no VM's. */
static void judge_name(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = add(out, DOCTOR_PROBLEM, "not-uds-path");

	say(finding->what, "%s is no VM's --uds-path, but %s.", f->uds.path,
	    f->uds_is ? f->uds_is : "another socket of the daemon: a VM's vhost-user --socket, say");
	say(finding->advice, "Say the path of --uds-path as it is there, or the VM's CID: vsockctl "
	    "list shows them.");
}

static bool is_no_vms(const struct doctor_facts *f)
{
	if (!f->has_uds || f->has_vm || f->uds.state != SOCKET_OPEN)
		return false;
	return f->uds_is || (f->api == DOCTOR_API_ANSWERS && !f->is_vm_unseen && f->uds.pid > 1 &&
			     f->uds.pid == f->api_socket.pid);
}

/* ---- the VM ---- */

/* True: its driver runs. */
static bool judge_vm(const struct doctor_vm *vm, struct doctor_report *out)
{
	struct doctor_finding *f;

	switch (vm->front_end) {
	case FRONT_END_UNKNOWN:
		return true;
	case FRONT_END_ABSENT:
		f = add(out, DOCTOR_PROBLEM, "no-front-end");
		say(f->what, "No VM is connected: no VMM has opened the vhost-user socket of CID %"
		    PRIu64 ".", vm->cid);
		say(f->advice, "Start the VM with a vhost-user vsock device on the daemon's --socket. "
		    "QEMU connects only once, when it starts: start it again if the daemon came later.");
		return false;
	case FRONT_END_SILENT:
		f = add(out, DOCTOR_PROBLEM, "front-end-silent");
		say(f->what, "Somebody has connected to the vhost-user socket of CID %" PRIu64
		    " and says nothing.", vm->cid);
		say(f->advice, "A VMM that is still starting goes on soon; anything else is no VMM's "
		    "vhost-user front-end, and keeps no VMM out.");
		return false;
	case FRONT_END_THERE:
		break;
	}
	if (vm->broken[0]) {
		f = add(out, DOCTOR_PROBLEM, "ring-broken");
		say(f->what, "A queue of CID %" PRIu64 " is broken and was stopped: %s.", vm->cid,
		    vm->broken);
		say(f->advice, "The guest's driver has a fault. Load it anew (rmmod and modprobe "
		    "vmw_vsock_virtio_transport) or reboot the guest; the daemon's log has more.");
		return false;
	}
	if (vm->is_memory_missing) {
		f = add(out, DOCTOR_PROBLEM, "memory-not-shared");
		say(f->what, "The VMM of CID %" PRIu64 " is connected, but does not share the guest's "
		    "memory with the daemon.", vm->cid);
		say(f->advice, "QEMU: -object memory-backend-memfd,id=mem0,size=...,share=on and "
		    "-machine memory-backend=mem0; cloud-hypervisor: --memory shared=on.");
		return false;
	}
	if (!vm->is_running) {
		f = add(out, DOCTOR_PROBLEM, vm->has_features ? "guest-stopped" : "no-driver");
		if (vm->has_features) {
			say(f->what, "The guest of CID %" PRIu64 " does not run: its queues are stopped.",
			    vm->cid);
			say(f->advice, "It is paused, is being reset, or has ended: ask the VMM.");
		} else {
			say(f->what, "The VMM of CID %" PRIu64 " is connected, but no driver in the guest "
			    "has started the device.", vm->cid);
			say(f->advice, "The guest has not booted so far, or lacks the driver: modprobe "
			    "vmw_vsock_virtio_transport (CONFIG_VIRTIO_VSOCKETS) in the guest.");
		}
		return false;
	}
	return true;
}

static void judge_stalls(const struct doctor_vm *vm, struct doctor_report *out)
{
	struct doctor_finding *f;
	char age[TEXT_SHORT_MAX];

	for (size_t i = 0; i < vm->n_stalls && i < DOCTOR_STALLS_MAX; i++) {
		const struct doctor_stall *s = &vm->stalls[i];

		f = add(out, DOCTOR_PROBLEM, "stalled");
		say(f->what, "The connection %s has stood still for %s: it waits for %s.", s->name,
		    text_age(age, s->since_ms), s->waits_for);
		say(f->advice, s->is_guest ? "The program in the guest does not read: look what it does."
		    : "The program on the host does not read: look what it does.");
	}
}

/* ---- the port ---- */

static const struct role host_role = {
	.daemon = "host program", .start = "Start the program that is to listen there.",
	.allow = "let the program that listens give its socket another mode (vsockctl listen --mode)",
	.absent = "no-listener-host", .stale = "stale-listener", .denied = "listener-permission",
	.is_other = true,
};

/* True: the host has a listener that the guest reaches. */
static bool judge_host(const struct doctor_facts *f, struct doctor_report *out)
{
	struct role role = host_role;
	char who[PATH_NAME_MAX + sizeof "the daemon (user )"];
	struct doctor_finding *finding;

	snprintf(who, sizeof who, "the daemon (user %s)", f->daemon_user[0] ? f->daemon_user : "?");
	role.who = who;
	if (f->host.state == SOCKET_ABSENT) {	/* no fault if it is the guest that listens */
		if (f->was_port_tried && f->port_outcome == 0) {
			finding = add(out, DOCTOR_NOTE, role.absent);
			say(finding->what, "On the host nobody listens at %s: the guest cannot connect "
			    "to port %u.", f->host.path, f->port);
		}
		return false;
	}
	if (!judge_socket(&f->host, &role, out))
		return false;
	finding = add(out, DOCTOR_NOTE, "listener-host");
	say(finding->what, f->host.state == SOCKET_UNSURE ?
	    "On the host somebody may listen at %s, port %u: of what folder a listener with that last "
	    "name is, cannot be seen." :
	    "On the host somebody listens at %s: the guest can connect to port %u.", f->host.path,
	    f->port);
	return true;
}

/* And not somebody whom the guest does not reach, which has been said. */
static bool is_nobody_on_host(const struct doctor_facts *f)
{
	return f->host.state == SOCKET_ABSENT || f->host.state == SOCKET_STALE;
}

static void judge_refused(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding;

	if (f->has_vm) {
		finding = add(out, DOCTOR_PROBLEM, "no-listener-guest");
		say(finding->what, "The guest refuses connections to port %u: nobody listens there%s.",
		    f->port, is_nobody_on_host(f) ? ", nor on the host" : "");
		say(finding->advice, "Start the service in the guest: ss --vsock -l there shows who "
		    "listens. vsockctl wait tells when it is up.");
		return;
	}
	finding = add(out, DOCTOR_PROBLEM, "refused");
	say(finding->what, "Port %u is refused: no VM is connected, or its guest has not booted or "
	    "has no vsock driver, or nobody listens there%s.", f->port,
	    is_nobody_on_host(f) ? "; nor does anybody on the host" : "");
	say(finding->advice, "Start the daemon with --api-socket, and say it with --api: then it can "
	    "be told which. Or look in the guest: ss --vsock -l shows who listens.");
}

static void judge_silent(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = add(out, DOCTOR_PROBLEM, "guest-silent");

	say(finding->what, "The guest does not answer a connect to port %u: it neither accepts nor "
	    "refuses.", f->port);
	say(finding->advice, "It is paused, hangs, or has lost its vsock driver: look at its console, "
	    "and ask the VMM.");
}

static void judge_outcome(const struct doctor_facts *f, bool is_host, struct doctor_report *out)
{
	struct doctor_finding *finding;
	char who[WHO_MAX];

	switch (f->port_outcome) {
	case GUEST_PORT_E_REFUSED:
		if (f->port_ms >= DAEMON_PATIENCE_MS)
			judge_silent(f, out);
		else if (!is_host)
			judge_refused(f, out);
		return;
	case GUEST_PORT_E_LATE:
		judge_silent(f, out);
		return;
	case GUEST_PORT_E_ODD:
		finding = add(out, DOCTOR_PROBLEM, "other-daemon");
		say(finding->what, "Whoever listens at %s%s does not speak the protocol of hybrid "
		    "vsock.", f->uds.path, who_listens(who, &f->uds));
		say(finding->advice, "Another program has that socket: end it, or use another path.");
		return;
	default:
		finding = add(out, DOCTOR_PROBLEM, "system");
		say(finding->what, "Port %u could not be tried: %s.", f->port,
		    guest_port_str_error(f->port_outcome));
	}
}

/* Which direction was meant is not known; one that works is enough. */
static void judge_port(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding;
	bool is_host;

	if (f->was_port_tried && f->port_outcome == 0) {
		finding = add(out, DOCTOR_NOTE, "listener-guest");
		say(finding->what, "In the guest somebody listens at port %u and accepts.", f->port);
	}
	is_host = judge_host(f, out);
	if (f->was_port_tried && f->port_outcome != 0)
		judge_outcome(f, is_host, out);
}

/* ---- all of it ---- */

static void judge_unknown_vm(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = add(out, f->cid ? DOCTOR_PROBLEM : DOCTOR_NOTE, "no-vm");

	if (f->cid)
		say(finding->what, "The daemon of %s serves no VM with CID %" PRIu64 ".",
		    f->api_socket.path, f->cid);
	else
		say(finding->what, "The daemon of %s serves no VM with --uds-path %s.",
		    f->api_socket.path, f->uds.path);
	say(finding->advice, "vsockctl list shows those that it serves.");
}

void doctor_judge(const struct doctor_facts *f, struct doctor_report *out)
{
	bool has_api = judge_api(f, out), is_running = true;

	if (!has_api && !f->has_uds)
		return;
	if (is_no_vms(f)) {
		judge_name(f, out);
		return;
	}
	if (has_api && !f->has_vm && (f->has_uds || f->cid))
		judge_unknown_vm(f, out);
	if (f->has_vm && f->uds.state == SOCKET_ABSENT)
		judge_gone(f, out);
	else if (f->uds.state != SOCKET_UNTRIED &&
		 (!judge_socket(&f->uds, &uds_role, out) || !judge_holder(f, out)))
		return;
	if (f->has_vm) {
		is_running = judge_vm(&f->vm, out);
		judge_stalls(&f->vm, out);
	}
	if (f->has_port && is_running)
		judge_port(f, out);
	else if (f->has_port)
		judge_host(f, out);
}
