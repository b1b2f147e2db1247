/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A job: a script, parsed, run by its threads, reported.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

static struct conn *conns;		/* of this job */
static pthread_mutex_t go_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go_cond = PTHREAD_COND_INITIALIZER;
static int n_go;
static pthread_mutex_t end_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t start_us;

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int fail(struct conn *c, const char *error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof c->detail, fmt, ap);
	va_end(ap);
	c->error = error;
	return 1;
}

/* The k-th `wait` of a thread needs k times `go`. */
void wait_for_go(struct conn *c)
{
	c->n_waits++;
	pthread_mutex_lock(&go_lock);
	while (n_go < c->n_waits)
		pthread_cond_wait(&go_cond, &go_lock);
	pthread_mutex_unlock(&go_lock);
}

/* `expect ENAME[,ENAME] STEP` is a step that has to fail so. */
static int run_step(struct conn *c, struct step *s)
{
	int r = s->verb->run(c, s);

	if (r < 0)
		fail(c, strerrorname_np(errno), "-");
	if (s->expected == NULL)
		return r;
	if (r == 0)
		return fail(c, "NO_ERROR", "expected=%s", s->expected);
	if (strstr(s->expected, c->error) == NULL)
		return r;
	c->error = NULL;
	return 0;
}

static void report(struct script *script, const struct conn *bad)
{
	uint64_t sent = 0, received = 0, slowest = 0, elapsed = now_us() - start_us;
	uint32_t out_sum = 0, in_sum = 0;
	struct conn *c;

	for (int i = 0; i < script->n_threads; i++) {
		c = &conns[i];
		sent += c->sent;
		received += c->received;
		out_sum += c->out.b;
		in_sum += c->in.b;
		if (c->connect_us > slowest)
			slowest = c->connect_us;
	}
	if (bad)
		answer("%s failed step=%d verb=%s error=%s thread=%d sent=%llu received=%llu "
		       "connect_us=%llu us=%llu %s", script->id, bad->at,
		       script->step[bad->at].verb->name, bad->error, bad->index,
		       (unsigned long long)bad->sent, (unsigned long long)bad->received,
		       (unsigned long long)bad->connect_us, (unsigned long long)elapsed,
		       bad->detail);
	else
		answer("%s done sent=%llu out_sum=%08x received=%llu in_sum=%08x "
		       "connect_us=%llu us=%llu", script->id,
		       (unsigned long long)sent, out_sum,
		       (unsigned long long)received, in_sum,
		       (unsigned long long)slowest, (unsigned long long)elapsed);
}

static void *run_thread(void *arg)
{
	struct conn *c = arg;

	for (c->at = 0; c->at < c->script->n_steps; c->at++)
		if (run_step(c, &c->script->step[c->at]) != 0) {
			/* The others may stand at a barrier: they end with us. */
			pthread_mutex_lock(&end_lock);
			report(c->script, c);
			_exit(1);
		}
	return NULL;
}

static const char *parse_script(struct script *script, char *text)
{
	char *step_text, *save = NULL, *save2;
	struct step *s;

	for (step_text = strtok_r(text, ";", &save); step_text;
	     step_text = strtok_r(NULL, ";", &save)) {
		char *w;

		if (script->n_steps == STEPS_MAX)
			return "TOO_MANY_STEPS";
		s = &script->step[script->n_steps++];
		s->rest = strstr(step_text, "say ");
		s->rest = strdup(s->rest ? s->rest + 4 : "");
		for (w = strtok_r(step_text, " \t\n", &save2); w && s->n_words < WORDS_MAX;
		     w = strtok_r(NULL, " \t\n", &save2))
			s->word[s->n_words++] = w;
		if (s->n_words > 2 && strcmp(s->word[0], "expect") == 0) {
			s->expected = s->word[1];
			s->n_words -= 2;
			memmove(s->word, s->word + 2, (size_t)s->n_words * sizeof *s->word);
		}
		if (s->n_words > 0)
			s->verb = find_verb(s->word[0]);
		if (s->verb == NULL || s->n_words < s->verb->min_words)
			return s->n_words ? s->word[0] : "EMPTY_STEP";
	}
	return script->n_steps ? NULL : "EMPTY_SCRIPT";
}

static char *map_buffer(void)
{
	/* Untouched pages cost nothing, however many threads there are. */
	void *p = mmap(NULL, CHUNK_MAX, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Orders for a running job: one byte each. */
static void *read_orders(void *arg)
{
	struct script *script = arg;
	uint64_t sent = 0, received = 0;
	char order;

	while (read(0, &order, 1) == 1) {
		if (order == 'g') {
			pthread_mutex_lock(&go_lock);
			n_go++;
			pthread_cond_broadcast(&go_cond);
			pthread_mutex_unlock(&go_lock);
			continue;
		}
		sent = received = 0;
		for (int i = 0; i < script->n_threads; i++) {
			sent += conns[i].sent;
			received += conns[i].received;
		}
		answer("%s event status step=%d sent=%llu received=%llu", script->id,
		       conns[0].at, (unsigned long long)sent,
		       (unsigned long long)received);
	}
	return NULL;
}

/* The child's whole life; orders come on descriptor 0. */
int run_job(const char *id, int n_threads, char *text)
{
	struct script *script = calloc(1, sizeof *script);
	pthread_t *threads = calloc((size_t)n_threads, sizeof *threads), orders;
	pthread_attr_t attr;
	const char *error;

	script->id = id;
	script->n_threads = n_threads;
	script->listener = -1;
	error = parse_script(script, text);
	if (error == NULL && strcmp(script->step[0].verb->name, "listen") == 0 &&
	    open_listener(script, &script->step[0]) < 0)
		error = strerrorname_np(errno);
	conns = calloc((size_t)n_threads, sizeof *conns);
	for (int i = 0; i < n_threads; i++) {
		conns[i] = (struct conn){ .script = script, .index = i, .fd = -1,
					  .chunk = 65536, .buf = map_buffer(),
					  .want = map_buffer() };
		if (!conns[i].buf || !conns[i].want)
			error = "NO_MEMORY";
	}
	if (error) {
		answer("%s failed step=0 verb=script error=%s", id, error);
		return 1;
	}
	pthread_barrier_init(&script->barrier, NULL, (unsigned)n_threads);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	pthread_create(&orders, &attr, read_orders, script);
	start_us = now_us();
	for (int i = 0; i < n_threads; i++)
		if (pthread_create(&threads[i], &attr, run_thread, &conns[i]) != 0)
			abort();
	for (int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	report(script, NULL);
	return 0;
}
