/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGUSR2: the program that is installed now takes over.
 *
 * It is executed in the place of this one, in the same process, whose children and
 * descriptors stay; from there on nothing leads back. So it is started as a child first, and
 * asked whether it understands what it would get. Then its supervisor has its engine take
 * over from the one that still serves (supervisor_handover.c).
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/events.h"
#include "daemon/engine_process.h"
#include "daemon/notify.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	CHECK_MS = 10 * 1000, OPTION_MAX = 48, FLUSH_MS = 1000,
	CHECK_OK = 42,				/* a status that another program hardly has */
};

/* Not for users. */
#define CHECK	"--check-supervisor="
#define RESUME	"--resume-supervisor="

static void give_up(struct supervisor *s, const char *why)
{
	log_err("main", "%s cannot take over: %s; all goes on as it was",
		s->path ? s->path : "the program", why);
	loop_timer_cancel(s->loop, &s->check_patience);
	supervisor_upgraded(s, why);
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
		sa.st_ino == sb.st_ino;
}

/* ---- the question ---- */

static int start_check(struct supervisor *s, int program, int state)
{
	char option[OPTION_MAX];
	char *argv[] = { s->config.argv[0], option, NULL };

	snprintf(option, sizeof option, CHECK "%d", state);
	return engine_process_spawn(program, argv, state, &s->checker);
}

static void on_impatient(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, check_patience);

	kill(s->checker, SIGKILL);		/* how it ends is the answer */
}

static int check(struct supervisor *s, int program)
{
	int state, r = supervisor_state_save(s, &state);

	if (r)
		return r < 0 ? r : -E2BIG;
	r = start_check(s, program, state);
	fd_close(&state);
	if (!r)
		loop_timer_set(s->loop, &s->check_patience, clock_ms() + CHECK_MS);
	return r;
}

const char *supervisor_upgrade_obstacle(const struct supervisor *s)
{
	if (s->state != SUPERVISOR_SERVING || s->successor.state != SUCCESSOR_NONE || s->checker)
		return "an engine is about to begin";
	return s->patience.is_set ? "the engine is stopped" : NULL;
}

void supervisor_upgrade(struct supervisor *s)
{
	const char *obstacle = supervisor_upgrade_obstacle(s);
	int program = -1, r = 0;

	if (s->state == SUPERVISOR_ENDING)
		return;
	if (obstacle) {
		log_warn("main", "SIGUSR2: not now: %s", obstacle);
		if (s->wants_upgrade && s->state == SUPERVISOR_SERVING) {
			s->wants_upgrade = false;
			supervisor_upgraded(s, obstacle);
		}
		return;
	}
	s->wants_upgrade = s->n_leaving;	/* both engines are to know of the same VMs */
	if (s->wants_upgrade)
		return;
	s->is_upgrading = true;
	program = s->path ? open(s->path, O_PATH | O_CLOEXEC) : -1;
	if (program < 0)
		r = s->path ? error_last() : -ENOENT;
	else if (is_same_file(program, s->program))
		supervisor_hand_over(s);	/* there is no other; its engine is a new one */
	else
		r = check(s, program);
	fd_close(&program);
	if (r)
		give_up(s, error_str(r));
}

/* ---- the step ---- */

/* Returns only if it came to nothing: all is as it was. */
static int execute(struct supervisor *s)
{
	char option[OPTION_MAX];
	char **argv = calloc((size_t)s->config.argc + 2, sizeof *argv);
	int state, r = argv ? supervisor_state_save(s, &state) : -ENOMEM;

	if (r) {
		free(argv);
		return r < 0 ? r : -E2BIG;
	}
	snprintf(option, sizeof option, RESUME "%d", state);
	for (int i = 0; i < s->config.argc; i++)
		argv[i] = s->config.argv[i];
	argv[s->config.argc] = option;
	r = supervisor_state_pass(s, state, true);
	if (!r) {
		log_info("main", "%s takes over", s->path);
		if (s->wants_reload)		/* it waits, blocked, for who takes over */
			raise(SIGHUP);
		notify_flush(FLUSH_MS);
		log_stop_thread();
		events_stop_thread();
		execv(s->path, argv);
		r = error_last();
		log_start_thread();
		events_start_thread();
	}
	supervisor_state_pass(s, state, false);
	fd_close(&state);
	free(argv);
	return r;
}

bool supervisor_on_checker(struct supervisor *s, const siginfo_t *info)
{
	int r;

	if (!s->checker || info->si_pid != s->checker)
		return false;
	if (info->si_code == CLD_STOPPED || info->si_code == CLD_CONTINUED)
		return true;
	s->checker = 0;
	loop_timer_cancel(s->loop, &s->check_patience);
	if (s->state != SUPERVISOR_SERVING) {
		give_up(s, "there is no engine to take over from");
	} else if (info->si_code != CLD_EXITED || info->si_status != CHECK_OK) {
		give_up(s, "it does not start, or does not understand what it would get");
	} else {
		r = execute(s);
		give_up(s, error_str(r));
	}
	return true;
}

void supervisor_upgraded(struct supervisor *s, const char *why_not)
{
	if (!why_not && s->shared)
		atomic_fetch_add(&s->shared->upgrades, 1);
	if (!why_not)
		log_info("main", "another engine has taken over, process %d", (int)s->engine);
	events_put(&(struct event){
		.kind = why_not ? EVENT_UPGRADE_FAILED : EVENT_UPGRADED,
		.pid = why_not ? 0 : (int)s->engine, .reason = why_not,
	});
	s->is_upgrading = false;
	supervisor_orders_upgraded(s, why_not);
	if (s->state == SUPERVISOR_ENDING)
		return;
	supervisor_catch_up_all(s);
	supervisor_open_seqpackets(s);		/* the program before may have known none */
	supervisor_look_for_names(s);		/* which takes longer than guests have to wait */
	if (s->wants_reload)
		supervisor_reload(s);
}

void supervisor_upgrade_init(struct supervisor *s)
{
	s->check_patience.expire = on_impatient;
	s->log_fd = s->events_fd = -1;
}

/* ---- in main() ---- */

static int number_behind(const char *option, const char *word)
{
	size_t len = strlen(option);

	return strncmp(word, option, len) == 0 ? atoi(word + len) : -1;
}

int supervisor_upgrade_state(int argc, char **argv)
{
	return argc > 1 ? number_behind(RESUME, argv[argc - 1]) : -1;
}

int supervisor_upgrade_check(int argc, char **argv)
{
	int state = argc == 2 ? number_behind(CHECK, argv[1]) : -1;

	if (state < 0)
		return -1;
	return supervisor_state_check(state) ? CHECK_OK : 1;
}
