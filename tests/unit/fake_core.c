/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet core as a backend sees it. */
#include "fake_core.h"

#include <fcntl.h>
#include <string.h>

#include "support/deadline.h"
#include "unit.h"
#include "util/fd.h"

struct mux core;
struct blob core_blob;

static struct mux aside;			/* the other process's */
static bool has_aside;

static void begin_anew(void)
{
	core = (struct mux){ .is_stopped = false };
	ck_assert_int_eq(loop_new(&core.loop), 0);
}

void core_begin(void)
{
	blob_init(&core_blob, 1 << 20, 256);
	has_aside = false;
	begin_anew();
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

static void end_this(void)
{
	core_close_all();
	if (core.backend)
		core.backend->ops->free(core.backend);
	loop_free(core.loop);
}

void core_go_back(void)
{
	ck_assert(has_aside);
	end_this();
	core = aside;
	has_aside = false;
}

void core_end(void)
{
	end_this();
	if (has_aside) {
		core = aside;
		end_this();
	}
	blob_deinit(&core_blob);
}

void core_save(struct blob *out)
{
	uint32_t n = 0;

	for (size_t i = 0; i < core.n_streams; i++)
		n += core.streams[i] != NULL;
	blob_put_u32(out, n);
	for (size_t i = 0; i < core.n_streams; i++) {
		if (!core.streams[i])
			continue;
		blob_put_u64(out, core.guests[i].cid);
		blob_put_u32(out, core.guests[i].port);
		core.streams[i]->ops->save(core.streams[i], out);
	}
	core.backend->ops->save(core.backend, out);
	ck_assert_int_eq(blob_error(out), 0);
}

void core_hand_over(void)
{
	core_save(&core_blob);
	aside = core;
	has_aside = true;
	begin_anew();
}

static int load_all(struct blob_reader *in)
{
	struct backend *b = core.backend;
	uint32_t n = blob_get_u32(in);
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct vsock_addr guest = { blob_get_u64(in), blob_get_u32(in) };
		struct vsock_addr peer = { 2, (uint32_t)guest.cid };
		struct stream *s = NULL;

		if (blob_peek_tag(in) != b->ops->stream_tag)
			return BACKEND_E_BAD_STATE;
		r = b->ops->load_stream(b, &guest, &peer, in, &s);
		if (r && r != BACKEND_E_PENDING)
			break;
		r = 0;
		core.guests[core.n_streams] = guest;
		core.streams[core.n_streams++] = s;
	}
	return r ? r : b->ops->load(b, in);
}

int core_load(const uint8_t *bytes, size_t n)
{
	int fds[256], r;
	struct blob_fds given = { fds, core_blob.n_fds };
	struct blob_reader in;

	for (size_t i = 0; i < given.n; i++)
		ck_assert_int_ge(fds[i] = dup(core_blob.fds[i]), 0);
	blob_read(&in, bytes, n, &given);
	r = load_all(&in);
	if (r)
		core_close_all();
	for (size_t i = 0; i < given.n; i++)
		fd_close(&fds[i]);
	return r;
}

/* What closes a descriptor when its process ends. */
static void lose(int fd)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(dup3(nothing, fd, O_CLOEXEC), 0);
	close(nothing);
}

void core_resume(void)
{
	for (size_t i = 0; i < core_blob.n_fds; i++)
		lose(core_blob.fds[i]);
	for (size_t i = 0; i < core.n_streams; i++)
		core.streams[i]->ops->wait_for(core.streams[i], STREAM_IN);
	core.backend->ops->resume(core.backend);
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

int core_connect_by_type(size_t i, enum vsock_type type, uint32_t port)
{
	struct vsock_addr guest = { 3, 1024 + (uint32_t)i }, dst = { 2, port };
	struct stream *s = NULL;
	int r = core.backend->ops->connect(core.backend, type, &guest, &dst, &s);

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

int core_connect(size_t i, uint32_t port)
{
	return core_connect_by_type(i, VSOCK_TYPE_STREAM, port);
}

bool mux_is_running(const struct mux *mux)
{
	return !mux->is_stopped;
}

void mux_count_handshake(struct mux *mux, enum backend_handshake how)
{
	mux->handshakes[how]++;
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

/* As the core reads: only where the stream says that there may be something. */
int core_read(size_t i, char *to, size_t size, size_t *n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct stream *s = core.streams[i];
	struct iovec v = { to, size };
	int r = STREAM_E_AGAIN;

	while (r == STREAM_E_AGAIN) {
		while (!(s->ready & STREAM_IN)) {
			ck_assert_int_gt(deadline_left(deadline), 0);
			ck_assert_int_eq(loop_step(core.loop, 20), 0);
		}
		r = s->ops->read(s, &v, 1, n);
	}
	return r;
}

void core_expect(size_t i, const char *text)
{
	char got[4096];
	size_t len = 0, n;

	while (len < strlen(text)) {
		ck_assert_int_eq(core_read(i, got + len, sizeof got - len, &n), 0);
		len += n;
	}
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_mem_eq(got, text, len);
}

void core_expect_end(size_t i, int end)
{
	char got[16];
	size_t n;

	ck_assert_int_eq(core_read(i, got, sizeof got, &n), end);
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
