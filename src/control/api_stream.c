/* SPDX-License-Identifier: BSD-3-Clause */
/* An answer without an end. */
#include "control/api_stream.h"

#include <microhttpd.h>
#include <sys/epoll.h>

#include "control/api_context.h"
#include "util/error.h"

enum { BLOCK_BYTES = 16 * 1024 };

/* A client that has only shut its own side down still reads. */
static void on_hangup(struct loop_source *source, uint32_t events)
{
	struct api_stream *s = container_of(source, struct api_stream, hangup);

	if (!(events & (EPOLLHUP | EPOLLERR)))
		return;
	loop_remove(s->context->loop, source);
	s->is_gone = true;
	api_stream_wake(s);
}

int api_stream_init(struct api_stream *s, const struct api_stream_ops *ops,
		    struct api_context *context, struct MHD_Connection *connection, int fd)
{
	int r;

	*s = (struct api_stream){
		.ops = ops, .context = context, .connection = connection,
		.hangup = { .dispatch = on_hangup, .fd = -1 },
	};
	list_init(&s->node);
	r = loop_add(context->loop, &s->hangup, fd, 0);
	if (r)
		return r;
	/* The library's; it would end one that is idle. */
	MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	list_append(&context->streams, &s->node);
	return 0;
}

void api_stream_deinit(struct api_stream *s)
{
	loop_remove(s->context->loop, &s->hangup);
	list_remove(&s->node);
}

void api_stream_wake(struct api_stream *s)
{
	if (!s->is_suspended)
		return;
	s->is_suspended = false;
	MHD_resume_connection(s->connection);
	loop_work_schedule(s->context->loop, s->context->run);
}

static ssize_t on_read(void *ctx, uint64_t at, char *to, size_t max)
{
	struct api_stream *s = ctx;
	ssize_t n;

	(void)at;
	if (s->is_gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = s->ops->read(s, to, max);
	if (n == API_STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		s->is_suspended = true;
		MHD_suspend_connection(s->connection);
	}
	return n;
}

static void on_free(void *ctx)
{
	struct api_stream *s = ctx;

	s->ops->free(s);
}

struct MHD_Response *api_stream_respond(struct api_stream *s)
{
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, s, on_free);

	if (response)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return response;
}

void api_stream_finish_all(struct api_context *context)
{
	list_for_each(node, &context->streams) {
		struct api_stream *s = container_of(node, struct api_stream, node);

		s->ops->finish(s);
		api_stream_wake(s);
	}
}

void api_stream_drop_all(struct api_context *context)
{
	list_for_each(node, &context->streams) {
		struct api_stream *s = container_of(node, struct api_stream, node);

		s->is_gone = true;
		api_stream_wake(s);
	}
}
