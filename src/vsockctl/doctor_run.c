/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl doctor: gathers the facts, has them judged, and says what came of it. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/hybrid.h"
#include "util/clock.h"
#include "vsockctl/command.h"
#include "vsockctl/doctor_facts.h"
#include "vsockctl/doctor_vm.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

enum {
	PATIENCE_MS = 3000,			/* for a guest's answer, and for each socket */
	COLUMNS_MAX = 78,
};

/* ---- what came of it ---- */

/* What is written about one VM, or about none. */
struct writer {
	bool is_json;
	uint64_t cid;				/* 0: of no VM */
	size_t n;				/* findings so far, of all */
	bool has_problem;
};

/* Lines of words, each with @indent blanks in front but the first. */
static void put_wrapped(const char *label, const char *text)
{
	size_t indent = strlen(label), column = indent;
	char word[DOCTOR_LINE_MAX], shown[DOCTOR_LINE_MAX];

	fputs(label, stdout);
	for (const char *at = text; *at; ) {
		size_t len = strcspn(at, " ");

		snprintf(word, sizeof word, "%.*s", (int)len, at);
		text_escape(shown, sizeof shown, word);
		if (column > indent && column + 1 + strlen(shown) > COLUMNS_MAX) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		}
		column += (size_t)printf("%s%s", column > indent ? " " : "", shown);
		at += len + strspn(at + len, " ");
	}
	putchar('\n');
}

static void put_text(const struct writer *w, const struct doctor_finding *f)
{
	char label[48];

	if (w->cid)
		printf("VM %" PRIu64 ":\n", w->cid);
	snprintf(label, sizeof label, "%s",
		 f->severity == DOCTOR_PROBLEM ? "Problem: " : "Note:    ");
	put_wrapped(label, f->what);
	if (f->advice[0])
		put_wrapped("To do:   ", f->advice);
}

static void put_json(const struct writer *w, const struct doctor_finding *f)
{
	printf("%s\n    {\"severity\": \"%s\", \"cause\": \"%s\"", w->n ? "," : "",
	       f->severity == DOCTOR_PROBLEM ? "problem" : "note", f->cause);
	if (w->cid)
		printf(", \"cid\": %" PRIu64, w->cid);
	fputs(", \"what\": ", stdout);
	text_put_json(stdout, f->what);
	fputs(", \"advice\": ", stdout);
	text_put_json(stdout, f->advice[0] ? f->advice : NULL);
	putchar('}');
}

static void put_report(struct writer *w, const struct doctor_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		if (w->is_json)
			put_json(w, &report->findings[i]);
		else
			put_text(w, &report->findings[i]);
		w->n++;
	}
	w->has_problem |= doctor_has_problem(report);
}

/* ---- which VMs ---- */

/* The folder's real path, and the name in it, which need not be there; or @path as it is. */
static void make_real(char to[PATH_MAX], const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char folder[PATH_MAX], real[PATH_MAX];
	int len;

	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(name - path) : 1, slash ? path : ".");
	len = realpath(folder, real) ? snprintf(to, PATH_MAX, "%s/%s", real, name) : -1;
	if (len < 0 || len >= PATH_MAX)
		snprintf(to, PATH_MAX, "%s", path);
}

static bool is_same_file(const char *a, const char *b)
{
	char real_a[PATH_MAX], real_b[PATH_MAX];
	struct stat x, y;

	make_real(real_a, a);
	make_real(real_b, b);
	if (strcmp(real_a, real_b) == 0)
		return true;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A path that the daemon, process @pid, has from where it was started; as far as we may see. */
static void make_absolute(struct doctor_vm *vm, pid_t pid)
{
	char link[64], cwd[DOCTOR_PATH_MAX], path[DOCTOR_PATH_MAX];
	ssize_t n;
	int len;

	if (!vm->uds[0] || vm->uds[0] == '/' || pid <= 0)
		return;
	snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
	n = readlink(link, cwd, sizeof cwd - 1);
	if (n <= 0)
		return;
	cwd[n] = '\0';
	len = snprintf(path, sizeof path, "%s/%s", cwd, vm->uds);
	if (len > 0 && (size_t)len < sizeof path)
		memcpy(vm->uds, path, (size_t)len + 1);
}

static void look_for(struct doctor_vm *vm, struct doctor_facts *f)
{
	make_absolute(vm, f->api_socket.pid);
	f->is_vm_unseen |= vm->uds[0] && access(vm->uds, F_OK) < 0;
}

static struct doctor_vm *find_vm(struct doctor_vms *vms, const char *uds, uint64_t cid)
{
	for (size_t i = 0; i < vms->n; i++)
		if (uds ? vms->vms[i].uds[0] && is_same_file(vms->vms[i].uds, uds) :
		    vms->vms[i].cid == cid)
			return &vms->vms[i];
	return NULL;
}

/* @path is a VM's, with @more behind. */
static bool is_made_of(struct doctor_vms *vms, const char *path, size_t more)
{
	size_t len = strlen(path);
	char uds[PATH_MAX];

	if (more == 0 || more >= len || len >= sizeof uds)
		return false;
	snprintf(uds, sizeof uds, "%.*s", (int)(len - more), path);
	return find_vm(vms, uds, 0);
}

/* What it is by its name; NULL: unknown. */
static const char *name_of(const char *path, const char *api, struct doctor_vms *vms)
{
	const char *line = strrchr(path, '_');

	if (is_same_file(path, api))
		return "the API's socket";
	if (!line)
		return NULL;
	if (strcmp(line, HYBRID_SEQPACKET) == 0 && is_made_of(vms, path, strlen(line)))
		return "a VM's socket for SOCK_SEQPACKET";
	return line[1] && strspn(line + 1, "0123456789") == strlen(line + 1) &&
		is_made_of(vms, path, strlen(line)) ?
		"where a host program listens for what a guest connects to" : NULL;
}

/* All that is known about one VM: @vm, as far as the API knows it (NULL: not at all). */
static void look_at_vm(const char *api, struct doctor_facts *f, const char *uds,
		       struct doctor_vm *vm, struct writer *w)
{
	struct doctor_report report = { .n = 0 };

	f->has_vm = vm;
	if (vm) {
		doctor_vm_look(api, vm);
		f->vm = *vm;
		if (!uds && vm->uds[0])
			uds = vm->uds;
	}
	if (uds)
		doctor_facts_hybrid(uds, clock_ms() + PATIENCE_MS, f);
	doctor_judge(f, &report);
	put_report(w, &report);
}

static void look_at_all(const char *api, struct doctor_facts *f, struct doctor_vms *vms,
			struct writer *w)
{
	struct doctor_facts of_one;

	if (vms->n == 0)
		look_at_vm(api, f, NULL, NULL, w);
	for (size_t i = 0; i < vms->n; i++) {
		of_one = *f;
		w->cid = vms->vms[i].cid;
		look_at_vm(api, &of_one, NULL, &vms->vms[i], w);
	}
}

/* ---- the command ---- */

/* A CID is a number; a path of digits is ./123. False: it has been complained about. */
static bool read_operands(const struct args *a, struct doctor_facts *f, const char **uds)
{
	const char *who = a->operands[0];

	if (who && strspn(who, "0123456789") < strlen(who)) {
		f->has_uds = true;
		*uds = who;
	} else if (who && (!args_number(who, UINT32_MAX - 1, &f->cid) || f->cid < 3)) {
		text_complain("%s: a guest's CID is a number from 3 to %u", who, UINT32_MAX - 1);
		return false;
	}
	f->has_port = a->operands[1];
	return !f->has_port || command_port(a->operands[1], &f->port);
}

int command_doctor(const struct args *a)
{
	struct writer w = { .is_json = a->json };
	struct doctor_facts f = { .api = DOCTOR_API_NONE };
	struct doctor_vms vms = { .n = 0 };
	const char *uds = NULL, *api = args_api(a, &f.is_api_said);

	if (!read_operands(a, &f, &uds))
		return EXIT_USAGE;
	if (doctor_vm_can_ask()) {
		doctor_facts_connect(api, clock_ms() + PATIENCE_MS, &f.api_socket, NULL);
		f.api = DOCTOR_API_SHUT;
		if (f.api_socket.state == SOCKET_OPEN)
			doctor_vm_list(api, &f, &vms);
		for (size_t i = 0; i < vms.n; i++)
			look_for(&vms.vms[i], &f);
	}
	if (w.is_json)
		fputs("{\"findings\": [", stdout);
	if (uds)
		f.uds_is = name_of(uds, api, &vms);
	if (uds || f.cid)
		look_at_vm(api, &f, uds, find_vm(&vms, uds, f.cid), &w);
	else
		look_at_all(api, &f, &vms, &w);
	if (w.is_json)
		printf("\n  ],\n  \"ok\": %s}\n", w.has_problem ? "false" : "true");
	else if (!w.has_problem)
		puts("Nothing is wrong.");
	free(vms.vms);
	return w.has_problem ? EXIT_FOUND : EXIT_DONE;
}
