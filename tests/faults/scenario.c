/* SPDX-License-Identifier: BSD-3-Clause */
/* One life of the daemon: see scenario.h. */
#include "faults/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults/link.h"

enum { VMS = 3, LINKS = 3 * VMS, ATTACHES = 3, THREADS = 1 + 2 };

struct scenario {
	struct faults_report *report;
	struct outcome *out;
	bool is_there[VMS];
	unsigned fds;				/* of the daemon, when nobody is connected */
	struct link links[LINKS];
	unsigned n_links;
};

static void set_env(const struct fault *f, const char *path)
{
	char number[16];

	setenv(FAULTS_CALL, f->call, 1);
	setenv(FAULTS_REPORT, path, 1);
	snprintf(number, sizeof number, "%d", f->error);
	setenv(FAULTS_ERRNO, number, 1);
	snprintf(number, sizeof number, "%u", f->nth);
	setenv(FAULTS_NTH, number, 1);
}

/* Without the sandbox: libseccomp has the daemon free what it allocated, which
 * the count of blocks does not see. test_sandbox.c takes its pieces away. */
static void spawn(void)
{
	static char words[VMS][512];
	const char *args[2 * VMS + 7] = {
		"--threads", "2", "--log-level", "info", "--sandbox", "off",
	};
	const char **next = args + 6;

	for (unsigned i = 0; i < VMS; i++) {
		sibs_name(i, NULL, words[i], sizeof words[i]);
		*next++ = "--vm";
		*next++ = words[i];
	}
	daemon_spawn(&vhd, args);
}

/* The error in words: in any line; in one for an operator. */
static void look_into_log(struct outcome *out, int error)
{
	char *log = daemon_log(&vhd), *rest = log, *line;

	while ((line = strsep(&rest, "\n"))) {
		if (!strstr(line, strerror(error)))
			continue;
		out->was_logged = true;
		out->was_warned |= strstr(line, " warn ") || strstr(line, " error ") ||
			strncmp(line, "vhost-device-vsock", 18) == 0;
	}
	free(log);
}

static void check_no_sockets(void)
{
	for (unsigned i = 0; i < VMS; i++)
		if (access(sibs[i].socket, F_OK) == 0 || access(sibs[i].uds, F_OK) == 0)
			die("a socket was left behind");
}

/* False: it did not start, which is all right if it said so. */
static bool start(struct scenario *sc)
{
	char text[64];

	spawn();
	if (!daemon_wait_log(&vhd, "main: serving")) {
		int status = daemon_wait_exit(&vhd, DEADLINE_MS);

		if (status != 1)
			die("the daemon did not start, with status %d", status);
		sc->out->refused_to_start = true;
		check_no_sockets();
		return false;
	}
	for (unsigned i = 0; i < VMS; i++) {
		snprintf(text, sizeof text, "vm %u is left out", 3 + i);
		sc->is_there[i] = !daemon_has_logged(&vhd, text);
		sc->out->vms_left_out += !sc->is_there[i];
	}
	sc->fds = daemon_usage(&vhd).fds;
	return true;
}

/* A front-end may be refused once, and comes again. */
static void attach(struct scenario *sc, struct sib *s)
{
	const struct driver_options opt = { .cid = s->cid };

	for (int i = 0; i < ATTACHES; i++) {
		driver_init(&s->d, &opt);
		if (driver_attach(&s->d, s->socket) == 0) {
			s->d.next_port = 10000;
			return;
		}
		driver_deinit(&s->d);
		sc->out->resets++;
	}
	die("a front-end is not let in");
}

static bool add_link(struct scenario *sc, enum link_kind kind, unsigned from, unsigned to)
{
	struct link *l = &sc->links[sc->n_links];

	if (!sc->is_there[from] || !sc->is_there[to])
		return true;
	*l = (struct link){ .kind = kind, .from = &sibs[from],
			    .to = kind == LINK_SIBLINGS ? &sibs[to] : NULL };
	sc->n_links++;
	return link_open(l);
}

static bool connect_all(struct scenario *sc, unsigned n_vms)
{
	sc->n_links = 0;
	for (unsigned i = 0; i < n_vms; i++)
		if (!add_link(sc, LINK_GUEST_TO_HOST, i, i) ||
		    !add_link(sc, LINK_HOST_TO_GUEST, i, i) ||
		    (n_vms == VMS && !add_link(sc, LINK_SIBLINGS, i, (i + 1) % VMS)))
			return false;
	return true;
}

/* The front-ends leave; true: one of them had been disconnected. */
static bool tear_down(struct scenario *sc, unsigned n_vms)
{
	bool had_lost = false;

	for (unsigned i = 0; i < sc->n_links; i++)
		for (int e = 0; e < 2; e++)
			if (sc->links[i].ends[e].fd >= 0)
				close(sc->links[i].ends[e].fd);
	for (unsigned i = 0; i < n_vms; i++) {
		if (!sc->is_there[i])
			continue;
		had_lost |= vmm_is_closed(&sibs[i].d.fe, 0);
		driver_deinit(&sibs[i].d);
	}
	return had_lost;
}

/* The first @n_vms come and talk. A front-end may be lost behind its last message:
 * then they come once more. */
static void come_and_talk(struct scenario *sc, unsigned n_vms)
{
	for (int i = 0; ; i++) {
		for (unsigned v = 0; v < n_vms; v++)
			if (sc->is_there[v])
				attach(sc, &sibs[v]);
		if (connect_all(sc, n_vms))
			break;
		if (!tear_down(sc, n_vms) || i > 0)
			die("a connection cannot be had");
		sc->out->resets++;
	}
	link_run(sc->links, sc->n_links);
	for (unsigned i = 0; i < sc->n_links; i++)
		sc->out->resets += sc->links[i].n_resets;
}

/* The first VM's front-end goes in the middle of it all; what is not its own stays. */
static void one_leaves(struct scenario *sc)
{
	struct sib *one = &sibs[0];

	if (!sc->is_there[0])
		return;
	for (unsigned i = 0; i < sc->n_links; i++)
		if (sc->links[i].to == one)	/* so that ends[1] is never its own */
			link_close(&sc->links[i]);
	driver_deinit(&one->d);
	for (unsigned i = 0; i < sc->n_links; i++)
		if (sc->links[i].from == one)
			link_wait_end(&sc->links[i]);
}

static void close_others(struct scenario *sc)
{
	for (unsigned i = 0; i < sc->n_links; i++)
		if (!sc->is_there[0] ||
		    (sc->links[i].from != &sibs[0] && sc->links[i].to != &sibs[0]))
			link_close(&sc->links[i]);
}

static void one_comes_back(struct scenario *sc)
{
	if (!sc->is_there[0])
		return;
	come_and_talk(sc, 1);
	for (unsigned i = 0; i < sc->n_links; i++)
		link_close(&sc->links[i]);
}

static void end(struct scenario *sc)
{
	int status;

	for (unsigned i = 0; i < VMS; i++)
		driver_deinit(&sibs[i].d);
	if (!daemon_wait_fds(&vhd, sc->fds, DEADLINE_MS))
		die("%u descriptors open, %u before", daemon_usage(&vhd).fds, sc->fds);
	sc->out->at_end = !atomic_load(&sc->report->injected);
	status = daemon_stop(&vhd, DEADLINE_MS);
	if (status != 0)
		die("the daemon ended with status %d", status);
	sc->out->at_end &= atomic_load(&sc->report->injected) != 0;
	if (!sc->out->at_end)
		check_no_sockets();
}

void scenario_run(const struct fault *f, struct faults_report *report, const char *path,
		  struct outcome *out)
{
	struct scenario sc = { .report = report, .out = out };

	*out = (struct outcome){ 0 };
	*report = (struct faults_report){ 0 };
	set_env(f, path);
	daemon_init(&vhd);
	if (start(&sc)) {
		out->at_start = atomic_load(&report->injected);
		come_and_talk(&sc, VMS);
		one_leaves(&sc);
		close_others(&sc);
		one_comes_back(&sc);
		end(&sc);
	} else {
		out->at_start = true;
	}
	out->calls = atomic_load(&report->calls);
	out->injected = atomic_load(&report->injected);
	look_into_log(out, f->error);
	if (atomic_load(&report->blocks))
		die("%d blocks of memory were not given back", atomic_load(&report->blocks));
	daemon_deinit(&vhd);
}
