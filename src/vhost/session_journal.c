/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session that another process can go on with: session.h says how. What is announced by a
 * commit is either a piece to be taken (reader.unread) or an answer to be sent (queued).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "vhost/session_internal.h"

enum { QUEUE_OUT, QUEUE_IN };			/* ends of the pipe */

void session_journal_init(struct session *s)
{
	s->queue[QUEUE_OUT] = s->queue[QUEUE_IN] = -1;
}

/* Replies leave by splice, which has no flag of its own for the socket. */
static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
		return error_last();
	return 0;
}

void session_journal_begin(struct session *s)
{
	int r;

	if (!s->config.is_journalled)
		return;
	r = pipe2(s->queue, O_CLOEXEC | O_NONBLOCK) < 0 ? error_last() : 0;
	if (!r)
		r = set_nonblocking(s->sock);
	if (!r)
		r = msg_begin_peeking(s->sock);
	if (!r)
		return;
	s->config.is_journalled = false;
	log_limited(LEVEL_WARN, s->config.tag,
		    "front-end cannot be journalled: %s; a crash would end its session",
		    error_str(r));
}

void session_journal_deinit(struct session *s)
{
	fd_close(&s->queue[QUEUE_OUT]);
	fd_close(&s->queue[QUEUE_IN]);
}

bool session_is_journalled(const struct session *s)
{
	return s->config.is_journalled;
}

static void commit(struct session *s)
{
	s->config.ops->commit(s->config.ctx);
	for (unsigned i = 0; i < s->config.n_rings; i++)
		s->vrings[i].has_news = false;
}

void session_commit_rings(struct session *s)
{
	bool has_news = false;

	if (!s->config.is_journalled)
		return;
	for (unsigned i = 0; i < s->config.n_rings; i++)
		has_news |= s->vrings[i].has_news;
	if (has_news)
		commit(s);
}

void session_forget_peeks(int sock)
{
	msg_end_peeking(sock);
}

/* The piece that the facts say is in the socket leaves it. The receipt stands until the next
 * piece is taken, which another commit comes before. */
static int take(struct session *s)
{
	struct msghdr here, *receipt = s->config.ops->receipt(s->config.ctx);
	int r;

	if (!receipt)
		receipt = &here;
	r = msg_take(&s->reader, s->sock, receipt);
	if (r)
		return r;
	s->config.ops->settle(s->config.ctx);
	msg_settle_fds(&s->reader, receipt);
	return 0;
}

/* A piece of a payload ends the round if it is not the last: a front-end that sends them one
 * by one makes many commits. */
int session_journal_read(struct session *s)
{
	struct msg_reader *reader = &s->reader;
	int r;

	while ((r = msg_peek(reader, s->sock)) == VU_MSG_E_PIECE) {
		commit(s);
		if ((r = take(s)))
			return r;
		if (reader->got != sizeof reader->msg.hdr &&
		    reader->got != sizeof reader->msg.hdr + reader->msg.hdr.size)
			return VU_MSG_E_MORE;
	}
	return r;
}

/* The answer that the facts say is owed leaves us. */
static int send_queued(struct session *s)
{
	int r = s->queued ? msg_send_queued(s->queue[QUEUE_OUT], s->sock, s->queued) : 0;

	if (r < 0)
		return r;
	s->queued = 0;
	s->config.ops->settle(s->config.ctx);
	return 0;
}

int session_journal_conclude(struct session *s)
{
	int r = 0;

	if (s->reply.is_due)
		r = msg_queue_reply(s->queue[QUEUE_IN], s->reader.msg.hdr.request,
				    session_reply, s->reply.len, &s->queued);
	if (r < 0)
		return r;
	s->is_handled = true;
	commit(s);
	return s->queued ? send_queued(s) : 0;
}

/* An answer that is in the pipe, but not owed, is that of a message that will be handled
 * again. */
int session_resume(struct session *s)
{
	const struct msghdr *receipt;
	uint32_t left = 0;
	int r = 0;

	s->is_resumed = false;
	if (s->queued) {
		r = msg_count_queued(s->queue[QUEUE_OUT], &left);
		if (!r && left > s->queued)
			r = VU_MSG_E_GARBAGE;
		s->queued = left;
		if (!r)
			r = send_queued(s);
	} else {
		r = msg_drop_queued(s->queue[QUEUE_OUT]);
	}
	if (!r && s->reader.unread)
		r = msg_recount_unread(&s->reader, s->sock);
	if (!r && s->reader.unread)
		r = take(s);
	else if (!r && s->reader.doubtful && (receipt = s->config.ops->receipt(s->config.ctx)))
		msg_settle_fds(&s->reader, receipt);
	return r ? r : msg_begin_peeking(s->sock);
}

/* ---- state ---- */

void session_save(const struct session *s, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('S', 'E', 'S', 'S'), 1);
	struct msg_reader empty;

	msg_reader_init(&empty);
	blob_put_fd(out, s->sock);
	blob_put_fd(out, s->queue[QUEUE_OUT]);
	blob_put_fd(out, s->queue[QUEUE_IN]);
	blob_put_u32(out, s->queued);
	blob_put_u64(out, s->features);
	blob_put_u64(out, s->protocol_features);
	blob_put_u8(out, s->has_owner);
	blob_put_u8(out, s->says_reset);
	msg_reader_save(s->is_handled ? &empty : &s->reader, out);
	blob_put_u8(out, s->mem != NULL);
	if (s->mem)
		gmem_save(s->mem, out);
	blob_put_u32(out, s->config.n_rings);
	for (unsigned i = 0; i < s->config.n_rings; i++)
		vring_save(&s->vrings[i], out);
	blob_close(out, section);
}

/* A descriptor of that kind, which does not block. */
static bool load_fd(struct blob_reader *in, mode_t type, int *fd)
{
	struct statx st;
	int flags;

	*fd = blob_get_fd(in);
	if (*fd >= 0 && fd_stat(*fd, STATX_TYPE, &st) == 0 &&
	    (st.stx_mode & S_IFMT) == type && (flags = fcntl(*fd, F_GETFL)) >= 0 &&
	    flags & O_NONBLOCK)
		return true;
	closer_close(fd);
	return false;
}

static int load_rings(struct session *s, struct blob_reader *in)
{
	int r = 0;

	if (blob_get_u32(in) != s->config.n_rings)
		return SESSION_E_STATE;
	for (unsigned i = 0; !r && i < s->config.n_rings; i++)
		r = vring_load(&s->vrings[i], in);
	if (r)
		return SESSION_E_STATE;
	for (unsigned i = 0; i < s->config.n_rings; i++) {
		s->vrings[i].call_may_block |= s->config.distrusts_eventfds;
		s->vrings[i].err_may_block |= s->config.distrusts_eventfds;
	}
	return 0;
}

static bool load_fds(struct session *s, struct blob_reader *in)
{
	return load_fd(in, S_IFSOCK, &s->sock) && load_fd(in, S_IFIFO, &s->queue[QUEUE_OUT]) &&
		load_fd(in, S_IFIFO, &s->queue[QUEUE_IN]);
}

static int load(struct session *s, struct blob_reader *in)
{
	int r = load_fds(s, in) ? 0 : SESSION_E_STATE;

	s->queued = blob_get_u32(in);
	s->features = blob_get_u64(in);
	s->protocol_features = blob_get_u64(in);
	s->has_owner = blob_get_bool(in);
	s->says_reset = blob_get_bool(in);
	if (r || in->is_short || !session_may_have(s, s->features, s->protocol_features))
		return SESSION_E_STATE;
	if (msg_reader_load(&s->reader, in))
		return SESSION_E_STATE;
	if (blob_get_bool(in) && (r = gmem_load(&s->mem, &s->config.memory, in)))
		return r < 0 ? r : SESSION_E_STATE;
	if ((r = load_rings(s, in)))
		return r;
	return blob_is_whole(in) && !(s->queued && s->reader.got) ? 0 : SESSION_E_STATE;
}

void session_leave_thread(struct session *s)
{
	if (s->mem)
		gmem_leave_thread(s->mem);
}

void session_enter_thread(struct session *s)
{
	if (s->mem)
		gmem_enter_thread(s->mem);
}

int session_load(struct session **out, const struct session_config *config, bool is_settled,
		 struct blob_reader *in)
{
	struct session *s = session_alloc(config);
	struct blob_reader section;
	uint32_t version;
	int r = SESSION_E_STATE;

	if (!s)
		return -ENOMEM;
	s->is_resumed = true;
	if (blob_enter(in, &section, BLOB_TAG('S', 'E', 'S', 'S'), 1, &version))
		r = load(s, &section);
	if (r || s->has_held_up) {
		session_free(s);
		return r ? r : SESSION_E_STATE;
	}
	if (is_settled) {
		s->queued = 0;
		s->reader.unread = 0;
	}
	*out = s;
	return 0;
}

bool session_is_in_message(const struct session *s)
{
	return s->queued || s->reader.got || s->reader.unread || s->reader.doubtful;
}
