/* SPDX-License-Identifier: BSD-3-Clause */
/* The doctor's reasoning: facts, and the causes that follow from them. */
#include "vsockctl/doctor.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "vsockctl/guest_port.h"

/* ---- facts, by little changes of a daemon with a VM where all is well ---- */

typedef void change(struct doctor_facts *f);

static void well(struct doctor_facts *f)
{
	*f = (struct doctor_facts){
		.cid = 3, .has_port = true, .port = 22,
		.api = DOCTOR_API_ANSWERS,
		.api_socket = { .path = "/run/api", .state = SOCKET_OPEN, .pid = 77 },
		.has_vm = true,
		.vm = {
			.cid = 3, .uds = "/run/u", .front_end = FRONT_END_THERE,
			.has_features = true, .is_running = true,
		},
		.uds = { .path = "/run/u", .state = SOCKET_OPEN, .pid = 77,
			 .program = "vhost-device-vs", .user = "vsock" },
		.was_port_tried = true, .port_outcome = 0,
		.host = { .path = "/run/u_22", .state = SOCKET_ABSENT },
		.daemon_user = "vsock",
	};
}

/* From outside: the hybrid socket alone. */
static void outside(struct doctor_facts *f)
{
	f->cid = 0;
	f->has_uds = true;
	f->has_vm = false;
	f->api = DOCTOR_API_SHUT;
	f->api_socket = (struct doctor_socket){ .path = "/run/api", .state = SOCKET_ABSENT };
}

static void without_api(struct doctor_facts *f) { f->api = DOCTOR_API_NONE; f->has_vm = false; }
static void api_broken(struct doctor_facts *f) { f->api = DOCTOR_API_FAILED; f->has_vm = false; }
static void api_shut(struct doctor_facts *f) { f->api = DOCTOR_API_SHUT; f->has_vm = false; }
static void api_absent(struct doctor_facts *f) { f->api_socket.state = SOCKET_ABSENT; }
static void api_stale(struct doctor_facts *f) { f->api_socket.state = SOCKET_STALE; }
static void api_said(struct doctor_facts *f) { f->is_api_said = true; }
static void no_port(struct doctor_facts *f) { f->has_port = false; }
static void all_vms(struct doctor_facts *f) { f->cid = 0; f->has_vm = false; }
static void vm_unknown(struct doctor_facts *f) { f->has_vm = false; }

static void uds_untried(struct doctor_facts *f)
{
	f->uds.state = f->host.state = SOCKET_UNTRIED;
	f->was_port_tried = false;
}

static void by_uds(struct doctor_facts *f) { f->cid = 0; f->has_uds = true; }


static void uds_absent(struct doctor_facts *f)
{
	f->uds.state = SOCKET_ABSENT;
	f->was_port_tried = false;
}

static void uds_stale(struct doctor_facts *f) { f->uds.state = SOCKET_STALE; }
static void uds_file(struct doctor_facts *f) { f->uds.state = SOCKET_OTHER_FILE; }
static void uds_type(struct doctor_facts *f) { f->uds.state = SOCKET_OTHER_TYPE; }
static void uds_long(struct doctor_facts *f) { f->uds.state = SOCKET_NAME_LENGTH; }
static void uds_busy(struct doctor_facts *f) { f->uds.state = SOCKET_BUSY; }
static void uds_failed(struct doctor_facts *f) { f->uds.state = SOCKET_FAILED; f->uds.error = -5; }

static void no_folder(struct doctor_facts *f)
{
	f->uds.fault = (struct path_fault){ .kind = PATH_MISSING, .path = "/run" };
}

static void deny(struct doctor_socket *s, enum path_fault_kind kind)
{
	s->state = SOCKET_DENIED;
	s->fault = (struct path_fault){
		.kind = kind, .path = "/run/part", .mode = 0750, .owner = "root", .group = "kvm",
	};
}

static void api_closed(struct doctor_facts *f) { deny(&f->api_socket, PATH_NO_WRITE); }
static void uds_folder_closed(struct doctor_facts *f) { deny(&f->uds, PATH_NO_SEARCH); }
static void uds_closed(struct doctor_facts *f) { deny(&f->uds, PATH_NO_WRITE); }
static void uds_denied(struct doctor_facts *f) { deny(&f->uds, PATH_FINE); }
static void uds_others(struct doctor_facts *f) { f->uds.pid = 99; }
static void uds_systemds(struct doctor_facts *f) { f->uds.pid = 1; }
static void uds_named(struct doctor_facts *f) { f->uds_is = "the API's socket"; }
static void vm_unseen(struct doctor_facts *f) { f->is_vm_unseen = true; }
static void uds_strangers(struct doctor_facts *f) { f->uds.pid = 0; }

static void no_front_end(struct doctor_facts *f) { f->vm.front_end = FRONT_END_ABSENT; }
static void silent_front_end(struct doctor_facts *f) { f->vm.front_end = FRONT_END_SILENT; }
static void stopped(struct doctor_facts *f) { f->vm.is_running = false; }
static void no_memory(struct doctor_facts *f) { f->vm.is_memory_missing = true; stopped(f); }
static void no_driver(struct doctor_facts *f) { f->vm.is_running = f->vm.has_features = false; }
static void broken(struct doctor_facts *f) { strcpy(f->vm.broken, "head 300 of 256"); }

static void stalled(struct doctor_facts *f)
{
	f->vm.n_stalls = 2;
	f->vm.stalls[0] = (struct doctor_stall){
		"stream 3:22 - 2:1", "the guest to read", true, 65000,
	};
	f->vm.stalls[1] = (struct doctor_stall){
		"stream 3:23 - 2:1", "the host to read", false, 3000,
	};
}

static void stalled_often(struct doctor_facts *f)
{
	stalled(f);
	f->vm.n_stalls = 100000;
}

static void refused(struct doctor_facts *f) { f->port_outcome = GUEST_PORT_E_REFUSED; }
static void refused_late(struct doctor_facts *f) { refused(f); f->port_ms = 2003; }
static void late(struct doctor_facts *f) { f->port_outcome = GUEST_PORT_E_LATE; }
static void odd(struct doctor_facts *f) { f->port_outcome = GUEST_PORT_E_ODD; }
static void untried(struct doctor_facts *f) { f->was_port_tried = false; }
static void host_open(struct doctor_facts *f) { f->host.state = SOCKET_OPEN; }
static void host_stale(struct doctor_facts *f) { f->host.state = SOCKET_STALE; }
static void host_file(struct doctor_facts *f) { f->host.state = SOCKET_OTHER_FILE; }
static void host_unsure(struct doctor_facts *f) { f->host.state = SOCKET_UNSURE; }
static void host_closed(struct doctor_facts *f) { deny(&f->host, PATH_NO_WRITE); }

enum { CHANGES_MAX = 5 };

static const struct {
	change *changes[CHANGES_MAX];
	const char *causes;			/* a problem has "!" in front */
	const char *text;			/* what is said somewhere, or NULL */
} cases[] = {
	{ { 0 }, "listener-guest no-listener-host", "port 22" },
	{ { no_port }, "", NULL },
	{ { host_open }, "listener-guest listener-host", "/run/u_22" },

	/* no daemon, or no way to it */
	{ { api_shut, api_absent, uds_untried }, "!no-daemon", "/run/api" },
	{ { api_shut, api_stale, uds_untried }, "!stale-socket", "--api-socket" },
	{ { api_shut, api_closed, uds_untried }, "!permission", "--api-socket path=...,mode=...,group=..." },
	{ { api_broken, uds_untried }, "!api-failed", NULL },
	{ { without_api, uds_untried }, "!no-api", "--uds-path" },
	{ { all_vms, uds_untried, no_port }, "", NULL },
	{ { vm_unknown, uds_untried }, "!no-vm", "CID 3" },
	{ { by_uds, vm_unknown, uds_others }, "no-vm !other-daemon", "vsockctl list" },
	{ { by_uds, vm_unknown, uds_strangers }, "no-vm listener-guest no-listener-host", "vsockctl list" },
	{ { by_uds, vm_unknown, vm_unseen }, "no-vm listener-guest no-listener-host", "--uds-path /run/u." },

	/* another socket than was meant */
	{ { by_uds, vm_unknown }, "!not-uds-path", "vhost-user --socket" },
	{ { by_uds, vm_unknown, uds_named, uds_systemds }, "!not-uds-path", "the API's socket" },
	{ { outside, uds_named }, "no-api !not-uds-path", "the API's socket" },
	{ { by_uds, vm_unknown, uds_absent }, "no-vm !no-daemon", NULL },

	/* from outside */
	{ { outside }, "no-api listener-guest no-listener-host", NULL },
	{ { outside, without_api }, "no-api listener-guest no-listener-host", "sees less" },
	{ { outside, api_said }, "!no-daemon listener-guest no-listener-host", "/run/api" },
	{ { outside, refused }, "no-api !refused", "no VM is connected" },
	{ { outside, refused, host_open }, "no-api listener-host", NULL },
	{ { outside, refused_late }, "no-api !guest-silent", NULL },

	/* the hybrid socket: nothing behind it is judged */
	{ { uds_absent, untried }, "!socket-gone", "its log" },
	{ { uds_absent, untried, no_front_end }, "!socket-gone !no-front-end", NULL },
	{ { outside, uds_absent, refused }, "no-api !no-daemon", "There is no socket /run/u:" },
	{ { outside, uds_absent, no_folder }, "no-api !no-daemon", "There is no folder /run," },
	{ { uds_stale, no_front_end, refused }, "!stale-socket", "Nobody listens at /run/u " },
	{ { uds_file }, "!not-a-socket", NULL },
	{ { uds_type }, "!other-socket-type", NULL },
	{ { uds_long }, "!name-too-long", "107" },
	{ { uds_busy }, "!not-accepting", "vhost-device-vs, pid 77" },
	{ { outside, uds_busy, uds_strangers }, "no-api !not-accepting", "Whoever listens at /run/u does" },
	{ { uds_failed }, "!system", "Input/output error" },
	{ { uds_closed, refused }, "!permission",
	  "the socket /run/part belongs to user root, group kvm and has mode 0750" },
	{ { uds_folder_closed }, "!permission", "the folder /run/part belongs to" },
	{ { uds_denied }, "!permission", "access control list" },
	{ { uds_others }, "!other-daemon", "vhost-device-vs, pid 99, user vsock" },
	{ { uds_systemds }, "listener-guest no-listener-host", NULL },
	{ { uds_strangers }, "listener-guest no-listener-host", NULL },
	{ { outside, uds_others }, "no-api listener-guest no-listener-host", NULL },

	/* the VM */
	{ { no_front_end, refused }, "!no-front-end", "--socket" },
	{ { silent_front_end, refused }, "!front-end-silent", NULL },
	{ { no_memory, refused }, "!memory-not-shared", "share=on" },
	{ { no_driver, refused }, "!no-driver", "vmw_vsock_virtio_transport" },
	{ { stopped, refused }, "!guest-stopped", "paused" },
	{ { broken, refused }, "!ring-broken", "head 300 of 256" },
	{ { no_front_end, refused, host_stale }, "!no-front-end !stale-listener", NULL },
	{ { stalled }, "!stalled !stalled listener-guest no-listener-host", "65s: it waits for the guest to read" },
	{ { stalled_often, host_open }, "!stalled !stalled !stalled !stalled !stalled !stalled "
	  "!stalled !stalled listener-guest listener-host", NULL },

	/* the port */
	{ { refused }, "!no-listener-guest", "port 22" },
	{ { refused }, "!no-listener-guest", "nobody listens there, nor on the host." },
	{ { refused, host_open }, "listener-host", NULL },
	{ { refused, host_unsure }, "listener-host", "may listen at /run/u_22" },
	{ { refused, host_file }, "!not-a-socket !no-listener-guest", "nobody listens there." },
	{ { refused, host_stale }, "!stale-listener !no-listener-guest", "/run/u_22" },
	{ { host_stale }, "listener-guest !stale-listener", NULL },
	{ { host_file }, "listener-guest !not-a-socket", NULL },
	{ { host_closed, refused }, "!listener-permission !no-listener-guest",
	  "the daemon (user vsock) may not connect" },
	{ { host_closed, refused }, "!listener-permission !no-listener-guest", "nobody listens there." },
	{ { host_closed, refused }, "!listener-permission !no-listener-guest",
	  "Either let the program that listens give its socket another mode" },
	{ { late }, "!guest-silent", NULL },
	{ { refused_late }, "!guest-silent", NULL },
	{ { odd }, "!other-daemon", "protocol" },
	{ { untried }, "", NULL },
};

static void list_causes(const struct doctor_report *report, char *to, size_t size)
{
	size_t len = 0;

	to[0] = '\0';
	for (size_t i = 0; i < report->n; i++)
		len += (size_t)snprintf(to + len, size - len, "%s%s%s", i ? " " : "",
					report->findings[i].severity == DOCTOR_PROBLEM ? "!" : "",
					report->findings[i].cause);
}

static bool is_said(const struct doctor_report *report, const char *text)
{
	for (size_t i = 0; i < report->n; i++)
		if (strstr(report->findings[i].what, text) || strstr(report->findings[i].advice, text))
			return true;
	return false;
}

START_TEST(causes)
{
	struct doctor_report report = { .n = 0 };
	struct doctor_facts f;
	char found[512];

	well(&f);
	for (int i = 0; i < CHANGES_MAX && cases[_i].changes[i]; i++)
		cases[_i].changes[i](&f);
	doctor_judge(&f, &report);
	list_causes(&report, found, sizeof found);
	ck_assert_str_eq(found, cases[_i].causes);
	ck_assert(!cases[_i].text || is_said(&report, cases[_i].text));
	ck_assert_int_eq(doctor_has_problem(&report), strchr(cases[_i].causes, '!') != NULL);
	for (size_t i = 0; i < report.n; i++)	/* each problem has something to do, but the system's */
		ck_assert(report.findings[i].advice[0] ||
			  report.findings[i].severity == DOCTOR_NOTE ||
			  strcmp(report.findings[i].cause, "system") == 0);
}
END_TEST

/* However much there is to say. */
START_TEST(report_is_bounded)
{
	struct doctor_report report = { .n = 0 };
	struct doctor_facts f;

	well(&f);
	stalled_often(&f);
	for (int i = 0; i < 5; i++)
		doctor_judge(&f, &report);
	ck_assert_uint_eq(report.n, DOCTOR_FINDINGS_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("doctor");
	TCase *tc = tcase_create("doctor");

	tcase_add_loop_test(tc, causes, 0, COUNT(cases));
	tcase_add_test(tc, report_is_bounded);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
