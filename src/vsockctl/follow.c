/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon goes on to send. */
#include "vsockctl/follow.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "vsockctl/api.h"
#include "vsockctl/exit.h"
#include "vsockctl/text.h"

static volatile sig_atomic_t is_over;

static void on_signal(int sig)
{
	(void)sig;
	if (is_over < 2)
		is_over++;
}

enum { PAUSE_MS = 100, TRIES = 100, STEADY_MS = 1000 };

struct trying {
	const struct follow *f;
	const struct http_answer *answer;
	bool has_come;				/* anything, since the last try began */
	unsigned n_failed;			/* tries in a row that brought nothing */
};

static bool take(void *ctx, const char *bytes, size_t len)
{
	struct trying *t = ctx;

	t->has_come = true;
	if (t->f->sink(t->f->ctx, bytes, len))
		return true;
	if (t->f->stop)				/* while the daemon still knows what was lost */
		t->f->stop(t->f->ctx, t->answer->capture);
	return false;
}

/* It was cut off, and not for good. */
static bool goes_on(struct trying *t, int r, long status, bool has_begun, uint64_t took_ms)
{
	if (r != HTTP_E_FAILED || is_over || !t->f->again ||
	    (status != 200 && !(has_begun && status == 0)))
		return false;
	t->n_failed = t->has_come || took_ms >= STEADY_MS ? 0 : t->n_failed + 1;
	return t->n_failed < TRIES;
}

static int follow_all(struct http_request *request, const struct follow *f,
		      struct http_answer *answer)
{
	struct trying t = { .f = f, .answer = answer };
	bool has_begun = false;

	for (;;) {
		uint64_t began_ms = clock_ms();
		int r;

		t.has_come = false;
		r = http_stream(request, take, &t, answer);
		if (!goes_on(&t, r, answer->status, has_begun, clock_ms() - began_ms))
			return r;
		has_begun = true;
		http_answer_deinit(answer);
		request->path = f->again(f->ctx);
		clock_rest(PAUSE_MS);
	}
}

/* ---- what a sink does ---- */

enum { LOOK_MS = 100, UNREAD_MS = 2000 };

/* A signal that comes just before the wait is seen after it. */
static bool wait_for_reader(int fd)
{
	static uint64_t ends_ms;		/* for all that is still to be written; 0: no end yet */
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (poll(&p, 1, LOOK_MS) <= 0) {
		if (is_over && !ends_ms)
			ends_ms = clock_ms() + UNREAD_MS;
		if (is_over > 1 || (is_over && clock_ms() >= ends_ms))
			return false;
	}
	return true;
}

/* A pipe that has room has room for PIPE_BUF. */
int follow_write(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n;

		if (!wait_for_reader(fd))
			return FOLLOW_E_UNREAD;
		n = write(fd, at, len < PIPE_BUF ? len : PIPE_BUF);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return error_last();
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

const char *follow_str_error(int error)
{
	return error == FOLLOW_E_UNREAD ? "nobody reads it" : error_str(error);
}

int follow(const struct args *a, const char *path, const struct follow *f)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	const struct sigaction sa = { .sa_handler = on_signal };
	struct http_request request = {
		.socket = args_api(a, NULL), .method = "GET", .path = path, .is_over = &is_over,
		.stop = f->stop, .stop_ctx = f->ctx,
	};
	struct http_answer answer;
	char why[HTTP_WHY_MAX] = "";
	int r;

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &sa, NULL);
	r = follow_all(&request, f, &answer);
	if (r == 0) {
		r = api_refusal(&answer, why);
	} else {
		snprintf(why, sizeof why, "%s", answer.why);
		r = api_failure(r);
	}
	if (r)
		text_complain("%s", why);
	http_answer_deinit(&answer);
	return r;
}
