/* SPDX-License-Identifier: BSD-3-Clause */
/* What follows from the facts. */
#include "vsockctl/doctor.h"

#include <inttypes.h>
#include <stdio.h>

#include "vsockctl/guest_port.h"
#include "vsockctl/text.h"

enum {
	/* Less than the daemon gives a guest (2 s), more than one needs that refuses. */
	DAEMON_PATIENCE_MS = 1500,
};

/* ---- the API ---- */

static const struct doctor_role api_role = {
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
		finding = doctor_add(out, severity, "no-api");
		doctor_say(finding->what, "This vsockctl was built without libcurl and jansson and "
		    "cannot ask the daemon, so it sees less.");
		if (!f->has_uds)
			doctor_say(finding->advice, "Say the VM's --uds-path.");
		return false;
	case DOCTOR_API_SHUT:
		if (!f->has_uds || f->is_api_said) {
			doctor_judge_socket(&f->api_socket, &api_role, out);
			return false;
		}
		finding = doctor_add(out, DOCTOR_NOTE, "no-api");
		doctor_say(finding->what, "No daemon could be asked at %s, so this is what can be "
		    "seen from outside.", f->api_socket.path);
		doctor_say(finding->advice, "%s", api_role.start);
		return false;
	case DOCTOR_API_FAILED:
		finding = doctor_add(out, DOCTOR_PROBLEM, "api-failed");
		doctor_say(finding->what, "The daemon's API at %s does not work: %s.",
		    f->api_socket.path, f->api_error);
		doctor_say(finding->advice, "Is that path the --api-socket of a "
		    "vhost-device-vsock? Look at its log.");
		return false;
	}
	return false;
}

/* ---- the hybrid socket ---- */

static const struct doctor_role uds_role = {
	.daemon = "daemon", .who = "you",
	.start = "Start vhost-device-vsock with that --uds-path.",
	.allow = "start the daemon with --uds-mode and --uds-group that let you in",
	.absent = "no-daemon", .stale = "stale-socket", .denied = "permission",
};

/* The API knows the VM, and we do not see its socket. */
static void judge_gone(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = doctor_add(out, DOCTOR_PROBLEM, "socket-gone");

	doctor_say(finding->what, "The daemon serves CID %" PRIu64 ", but %s is not there: its "
	    "file was removed, or is in another file tree than ours (a container's).", f->vm.cid,
	    f->uds.path);
	doctor_say(finding->advice, "The daemon makes it anew within a second where it can. If it "
	    "does not: its log says why, and ss -xlp whether another program has that name.");
}

/* Somebody listens: the daemon whose API it is? systemd's sockets are its own (pid 1). */
static bool judge_holder(const struct doctor_facts *f, struct doctor_report *out)
{
	const struct doctor_socket *s = &f->uds;
	struct doctor_finding *finding;

	if (f->api != DOCTOR_API_ANSWERS || s->pid <= 1 || f->api_socket.pid <= 1 ||
	    s->pid == f->api_socket.pid)
		return true;
	finding = doctor_add(out, DOCTOR_PROBLEM, "other-daemon");
	doctor_say(finding->what, "%s belongs to another process than the daemon of %s (pid %d): "
	    "to %s, pid %d, user %s.", s->path, f->api_socket.path, (int)f->api_socket.pid,
	    s->program[0] ? s->program : "unknown", (int)s->pid, s->user);
	doctor_say(finding->advice, "Two daemons want one --uds-path: end the one that is not to "
	    "have it, or give it another path. If it is to be that one, say its --api-socket with "
	    "--api.");
	return false;
}

/* It is somebody's, but no VM's. */
static void judge_name(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = doctor_add(out, DOCTOR_PROBLEM, "not-uds-path");

	doctor_say(finding->what, "%s is no VM's --uds-path, but %s.", f->uds.path, f->uds_is ?
	    f->uds_is : "another socket of the daemon: a VM's vhost-user --socket, say");
	doctor_say(finding->advice, "Say the path of --uds-path as it is there, or the VM's CID: "
	    "vsockctl list shows them.");
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
		f = doctor_add(out, DOCTOR_PROBLEM, "no-front-end");
		doctor_say(f->what, "No VM is connected: no VMM has opened the vhost-user socket "
		    "of CID %" PRIu64 ".", vm->cid);
		doctor_say(f->advice, "Start the VM with a vhost-user vsock device on the daemon's "
		    "--socket. QEMU connects only once, when it starts: start it again if the "
		    "daemon came later.");
		return false;
	case FRONT_END_SILENT:
		f = doctor_add(out, DOCTOR_PROBLEM, "front-end-silent");
		doctor_say(f->what, "Somebody has connected to the vhost-user socket of CID %"
		    PRIu64 " and says nothing.", vm->cid);
		doctor_say(f->advice, "A VMM that is still starting goes on soon; anything else is "
		    "no VMM's vhost-user front-end, and keeps no VMM out.");
		return false;
	case FRONT_END_THERE:
		break;
	}
	if (vm->broken[0]) {
		f = doctor_add(out, DOCTOR_PROBLEM, "ring-broken");
		doctor_say(f->what, "A queue of CID %" PRIu64 " is broken and was stopped: %s.",
		    vm->cid, vm->broken);
		doctor_say(f->advice, "The guest's driver has a fault. Load it anew (rmmod and "
		    "modprobe vmw_vsock_virtio_transport) or reboot the guest; the daemon's log "
		    "has more.");
		return false;
	}
	if (vm->is_memory_missing) {
		f = doctor_add(out, DOCTOR_PROBLEM, "memory-not-shared");
		doctor_say(f->what, "The VMM of CID %" PRIu64 " is connected, but does not share "
		    "the guest's memory with the daemon.", vm->cid);
		doctor_say(f->advice, "QEMU: -object "
		    "memory-backend-memfd,id=mem0,size=...,share=on and -machine "
		    "memory-backend=mem0; cloud-hypervisor: --memory shared=on.");
		return false;
	}
	if (!vm->is_running) {
		f = doctor_add(out, DOCTOR_PROBLEM,
			       vm->has_features ? "guest-stopped" : "no-driver");
		if (vm->has_features) {
			doctor_say(f->what, "The guest of CID %" PRIu64 " does not run: its queues "
			    "are stopped.", vm->cid);
			doctor_say(f->advice, "It is paused, is being reset, or has ended: ask the "
			    "VMM.");
		} else {
			doctor_say(f->what, "The VMM of CID %" PRIu64 " is connected, but no "
			    "driver in the guest has started the device.", vm->cid);
			doctor_say(f->advice, "The guest has not booted so far, or lacks the "
			    "driver: modprobe vmw_vsock_virtio_transport (CONFIG_VIRTIO_VSOCKETS) "
			    "in the guest.");
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

		f = doctor_add(out, DOCTOR_PROBLEM, "stalled");
		doctor_say(f->what, "The connection %s has stood still for %s: it waits for %s.",
		    s->name, text_age(age, s->since_ms), s->waits_for);
		doctor_say(f->advice, s->is_guest ? "The program in the guest does not read: look "
		    "what it does." : "The program on the host does not read: look what it does.");
	}
}

/* ---- the port ---- */

static const struct doctor_role host_role = {
	.daemon = "host program", .start = "Start the program that is to listen there.",
	.allow = "let the program that listens give its socket another mode (vsockctl listen --mode)",
	.absent = "no-listener-host", .stale = "stale-listener", .denied = "listener-permission",
	.is_other = true,
};

/* True: the host has a listener that the guest reaches. */
static bool judge_host(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_role role = host_role;
	char who[PATH_NAME_MAX + sizeof "the daemon (user )"];
	struct doctor_finding *finding;

	snprintf(who, sizeof who, "the daemon (user %s)", f->daemon_user[0] ? f->daemon_user : "?");
	role.who = who;
	if (f->host.state == SOCKET_ABSENT) {	/* no fault if it is the guest that listens */
		if (f->was_port_tried && f->port_outcome == 0) {
			finding = doctor_add(out, DOCTOR_NOTE, role.absent);
			doctor_say(finding->what, "On the host nobody listens at %s: the guest "
			    "cannot connect to port %u.", f->host.path, f->port);
		}
		return false;
	}
	if (!doctor_judge_socket(&f->host, &role, out))
		return false;
	finding = doctor_add(out, DOCTOR_NOTE, "listener-host");
	doctor_say(finding->what, f->host.state == SOCKET_UNSURE ? "On the host somebody may "
	    "listen at %s, port %u: of what folder a listener with that last name is, cannot be "
	    "seen." : "On the host somebody listens at %s: the guest can connect to port %u.",
	    f->host.path, f->port);
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
		finding = doctor_add(out, DOCTOR_PROBLEM, "no-listener-guest");
		doctor_say(finding->what, "The guest refuses connections to port %u: nobody "
		    "listens there%s.", f->port, is_nobody_on_host(f) ? ", nor on the host" : "");
		doctor_say(finding->advice, "Start the service in the guest: ss --vsock -l there "
		    "shows who listens. vsockctl wait tells when it is up.");
		return;
	}
	finding = doctor_add(out, DOCTOR_PROBLEM, "refused");
	doctor_say(finding->what, "Port %u is refused: no VM is connected, or its guest has not "
	    "booted or has no vsock driver, or nobody listens there%s.", f->port,
	    is_nobody_on_host(f) ? "; nor does anybody on the host" : "");
	doctor_say(finding->advice, "Start the daemon with --api-socket, and say it with --api: "
	    "then it can be told which. Or look in the guest: ss --vsock -l shows who listens.");
}

static void judge_silent(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding = doctor_add(out, DOCTOR_PROBLEM, "guest-silent");

	doctor_say(finding->what, "The guest does not answer a connect to port %u: it neither "
	    "accepts nor refuses.", f->port);
	doctor_say(finding->advice, "It is paused, hangs, or has lost its vsock driver: look at "
	    "its console, and ask the VMM.");
}

static void judge_outcome(const struct doctor_facts *f, bool is_host, struct doctor_report *out)
{
	struct doctor_finding *finding;
	char who[DOCTOR_WHO_MAX];

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
		finding = doctor_add(out, DOCTOR_PROBLEM, "other-daemon");
		doctor_say(finding->what, "Whoever listens at %s%s does not speak the protocol of "
		    "hybrid vsock.", f->uds.path, doctor_str_holder(who, &f->uds));
		doctor_say(finding->advice, "Another program has that socket: end it, or use "
		    "another path.");
		return;
	default:
		finding = doctor_add(out, DOCTOR_PROBLEM, "system");
		doctor_say(finding->what, "Port %u could not be tried: %s.", f->port,
		    guest_port_str_error(f->port_outcome));
	}
}

/* Which direction was meant is not known; one that works is enough. */
static void judge_port(const struct doctor_facts *f, struct doctor_report *out)
{
	struct doctor_finding *finding;
	bool is_host;

	if (f->was_port_tried && f->port_outcome == 0) {
		finding = doctor_add(out, DOCTOR_NOTE, "listener-guest");
		doctor_say(finding->what, "In the guest somebody listens at port %u and accepts.",
		    f->port);
	}
	is_host = judge_host(f, out);
	if (f->was_port_tried && f->port_outcome != 0)
		judge_outcome(f, is_host, out);
}

/* ---- all of it ---- */

static void judge_unknown_vm(const struct doctor_facts *f, struct doctor_report *out)
{
	enum doctor_severity severity = f->cid ? DOCTOR_PROBLEM : DOCTOR_NOTE;
	struct doctor_finding *finding = doctor_add(out, severity, "no-vm");

	if (f->cid)
		doctor_say(finding->what, "The daemon of %s serves no VM with CID %" PRIu64 ".",
		    f->api_socket.path, f->cid);
	else
		doctor_say(finding->what, "The daemon of %s serves no VM with --uds-path %s.",
		    f->api_socket.path, f->uds.path);
	doctor_say(finding->advice, "vsockctl list shows those that it serves.");
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
		 (!doctor_judge_socket(&f->uds, &uds_role, out) || !judge_holder(f, out)))
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
