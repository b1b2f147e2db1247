/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet core as a backend sees it. */
#include "fake_core.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "support/deadline.h"
#include "unit.h"

struct mux core;

void core_begin(void)
{
	core = (struct mux){ .is_stopped = false };
	ck_assert_int_eq(loop_new(&core.loop), 0);
}

void core_close(size_t i)
{
	struct stream *s = core.streams[i];

	core.streams[i] = NULL;
	s->ops->close(s, true);
}

void core_close_all(void)
{
	for (size_t i = 0; i < core.n_streams; i++)
		if (core.streams[i])
			core_close(i);
	core.n_streams = 0;
}

void core_end(void)
{
	core_close_all();
	if (core.backend)
		core.backend->ops->free(core.backend);
	loop_free(core.loop);
}

static size_t place_of(const struct stream *s)
{
	size_t i = 0;

	while (core.streams[i] != s)
		ck_assert_uint_lt(++i, CORE_STREAMS);
	return i;
}

static void explain(size_t i, uint32_t port, int error)
{
	struct vsock_addr dst = { 2, port };

	core.errors[i] = error;
	core.backend->ops->explain(core.backend, &dst, error, core.why, sizeof core.why);
}

int core_connect(size_t i, uint32_t port)
{
	struct vsock_addr guest = { 3, 1024 + (uint32_t)i }, dst = { 2, port };
	struct stream *s = NULL;
	int r = core.backend->ops->connect(core.backend, &guest, &dst, &s);

	ck_assert_uint_eq(i, core.n_streams);
	core.guests[core.n_streams++] = guest;
	if (r && r != BACKEND_E_PENDING) {
		explain(i, port, r);
		return r;
	}
	core.streams[i] = s;
	core.guests[i].cid = port;		/* for what is explained later */
	return r;
}

bool mux_is_running(const struct mux *mux)
{
	return !mux->is_stopped;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	ck_assert_ptr_eq(mux, &core);
	ck_assert_uint_eq(now_ms, loop_now_ms(core.loop));
	place_of(s);
	core.n_ready++;
}

void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms)
{
	size_t i = place_of(s);

	ck_assert_ptr_eq(mux, &core);
	ck_assert_uint_eq(now_ms, loop_now_ms(core.loop));
	ck_assert_int_ne(error, BACKEND_E_PENDING);
	core.n_connected++;
	if (error)
		explain(i, (uint32_t)core.guests[i].cid, error);
	if (error || live != s)
		core_close(i);
	if (!error)
		core.streams[i] = live;
}

int mux_connect_from_host(struct mux *mux, struct stream *stream, uint64_t host_cid,
			  uint32_t port, uint64_t now_ms)
{
	size_t i = core.n_streams++;

	ck_assert_ptr_eq(mux, &core);
	ck_assert_uint_eq(host_cid, 2);
	ck_assert_uint_eq(now_ms, loop_now_ms(core.loop));
	ck_assert_uint_lt(i, CORE_STREAMS);
	core.streams[i] = stream;
	core.guests[i] = (struct vsock_addr){ 3, port };
	return 0;
}

void core_run_until_connected(unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (core.n_connected < n) {
		ck_assert_int_gt(deadline_left(deadline), 0);
		ck_assert_int_eq(loop_step(core.loop, 20), 0);
	}
}

void core_run_for(int ms)
{
	int64_t deadline = deadline_in(ms);

	do
		ck_assert_int_eq(loop_step(core.loop, 5), 0);
	while (deadline_left(deadline));
}

void core_expect(size_t i, const char *text)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stream *s = core.streams[i];
	char got[4096];
	size_t len = 0, n;

	while (len < strlen(text)) {
		struct iovec v = { got + len, sizeof got - len };
		int r = s->ops->read(s, &v, 1, &n);

		ck_assert_int_gt(deadline_left(deadline), 0);
		if (r == 0)
			len += n;
		else
			ck_assert_int_eq(r, STREAM_E_AGAIN);
		while (r && !(s->ready & STREAM_IN)) {
			ck_assert_int_gt(deadline_left(deadline), 0);
			ck_assert_int_eq(loop_step(core.loop, 20), 0);
		}
	}
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_mem_eq(got, text, len);
}

void core_write(size_t i, const char *text)
{
	struct stream *s = core.streams[i];
	union {
		const char *c;
		char *v;
	} bytes = { .c = text };
	struct iovec v = { bytes.v, strlen(text) };
	size_t n = 0;

	ck_assert_int_eq(s->ops->write(s, &v, 1, &n), 0);
	ck_assert_uint_eq(n, strlen(text));
}
