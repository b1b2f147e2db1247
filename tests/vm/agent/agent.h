/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of the agent share: a job runs one script in some threads, each with
 * one connection.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#define LINE_MAX_LEN 4096
#define STEPS_MAX 64
#define WORDS_MAX 6
#define JOBS_MAX 64
#define CHUNK_MAX (1024 * 1024)

/* One direction of a stream: where we are in the pattern. */
struct flow {
	uint64_t seed, pos;
	uint32_t a, b;			/* Fletcher-like: depends on the order */
};

struct step {
	const struct verb *verb;
	char *word[WORDS_MAX];
	int n_words;
	char *rest;			/* of the line, for `say` */
	char *expected;			/* errors of `expect`, or NULL */
};

struct script {
	struct step step[STEPS_MAX];
	int n_steps;
	const char *id;
	int n_threads;
	int listener;
	pthread_barrier_t barrier;
};

/* What one thread knows. */
struct conn {
	struct script *script;
	int index;
	int fd;
	struct flow out, in;
	size_t chunk;
	unsigned pace_ms;
	int n_waits;
	uint64_t connect_us;
	char *buf, *want;
	_Atomic int at;			/* step, for `status` */
	_Atomic uint64_t sent, received;
	const char *error;		/* NULL while all is well */
	char detail[96];
};

struct verb {
	const char *name;
	int min_words;
	/* 0, or -1 with errno, or 1 with conn::error set. */
	int (*run)(struct conn *c, struct step *s);
};

/* agent.c: one line, one write; several processes share the channel. */
void answer(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* stream.c: the verbs that move bytes. */
int do_seed(struct conn *c, struct step *s);
int do_chunk(struct conn *c, struct step *s);
int do_pace(struct conn *c, struct step *s);
int do_send(struct conn *c, struct step *s);
int do_recv(struct conn *c, struct step *s);
int do_peek(struct conn *c, struct step *s);
int do_drain(struct conn *c, struct step *s);
int do_until_end(struct conn *c, struct step *s);
int do_duplex(struct conn *c, struct step *s);
int do_echo(struct conn *c, struct step *s);
int do_eof(struct conn *c, struct step *s);

/* verbs.c: the others, and the table of all. */
const struct verb *find_verb(const char *name);
int open_listener(struct script *script, struct step *s);

/* job.c: `go` and the life of a job. */
uint64_t now_us(void);
int fail(struct conn *c, const char *error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void wait_for_go(struct conn *c);
int run_job(const char *id, int n_threads, char *text);
