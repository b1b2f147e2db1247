/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of a device's vhost-user socket. */
#include "device/frontend.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "device/frontend_internal.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

enum { NO_MEMORY_MS = 2000 };

#define KICK_EVENTS	(EPOLLIN | EPOLLET)

enum { NO_MEMORY };				/* frontend::failures */

/* Its driver says that there is something in the RX ring, where we see nothing. A front-end
 * may kick before its guest does, so that means nothing for a moment. */
static bool is_guest_unseen(struct frontend *fe)
{
	struct virtq *rx = frontend_running(fe, VSOCK_RXQ);

	return rx && fe->kicks[VSOCK_RXQ].has_come && virtq_is_untouched(rx);
}

/* A front-end may share memory after it has started the rings, but one that waits so
 * long has none to share: QEMU leaves out memory that is private to it, without a word. Or
 * it passes its descriptor (7.2: of a memfd, or a file), and the guest's pages are copies. */
static void watch_memory(struct frontend *fe)
{
	if (!fe->session || !(session_lacks_memory(fe->session) || is_guest_unseen(fe)))
		loop_timer_cancel(fe->config.loop, &fe->no_memory);
	else if (!fe->no_memory.is_set)
		loop_timer_set(fe->config.loop, &fe->no_memory,
			       loop_now_ms(fe->config.loop) + NO_MEMORY_MS);
}

static void on_no_memory(struct loop_timer *timer)
{
	struct frontend *fe = container_of(timer, struct frontend, no_memory);
	const char *what = "the front-end has started the rings, but shares no memory: the guest's";

	if (!session_lacks_memory(fe->session)) {
		if (!is_guest_unseen(fe))
			return;
		what = "the guest has kicked, but no buffer is seen in its RX ring: its";
	}
	log_first(&fe->failures, NO_MEMORY, fe->config.tag,
		  "%s memory has to be shared (QEMU: a memory backend with share=on; "
		  "cloud-hypervisor: --memory shared=on)", what);
}

static void on_kick(struct loop_source *source, uint32_t events)
{
	struct frontend_kick *kick = container_of(source, struct frontend_kick, source);
	struct frontend *fe = kick->fe;

	/* Edge-triggered, so the counter is left alone; a closed pipe is no kick. */
	if (!(events & EPOLLIN)) {
		loop_remove(fe->config.loop, source);
		return;
	}
	if (!kick->has_come) {
		kick->has_come = true;
		watch_memory(fe);
	}
	fe->config.ops->kicked(fe->config.ctx, (unsigned)(kick - fe->kicks));
}

void frontend_wait_for_kicks(struct frontend *fe, unsigned ring, int fd)
{
	struct frontend_kick *kick = &fe->kicks[ring];
	int r;

	if (kick->source.fd == fd && fd >= 0)
		return;
	loop_remove(fe->config.loop, &kick->source);
	kick->is_polled = true;
	kick->has_come = false;
	if (fd < 0)
		return;
	r = loop_add(fe->config.loop, &kick->source, fd, KICK_EVENTS);
	if (r < 0)
		log_limited(LEVEL_WARN, fe->config.tag,
			    "ring %u: cannot wait for kicks: %s; polled", ring, error_str(r));
	else
		kick->is_polled = false;
}

static void on_ring_changed(void *ctx, unsigned ring, int kick_fd)
{
	struct frontend *fe = ctx;

	frontend_wait_for_kicks(fe, ring, kick_fd);
	if (frontend_has_guest(fe))
		loop_timer_cancel(fe->config.loop, &fe->pause);
	fe->config.ops->rings_changed(fe->config.ctx);
}

static void on_ring_stopped(void *ctx, unsigned ring)
{
	struct frontend *fe = ctx;

	loop_remove(fe->config.loop, &fe->kicks[ring].source);
	if (ring != VSOCK_EVENTQ && !fe->pause.is_set && !session_says_reset(fe->session))
		loop_timer_set(fe->config.loop, &fe->pause,
			       loop_now_ms(fe->config.loop) + fe->config.pause_grace_ms);
	fe->config.ops->rings_changed(fe->config.ctx);
}

static void on_guest_reset(void *ctx)
{
	struct frontend *fe = ctx;

	loop_timer_cancel(fe->config.loop, &fe->pause);
	fe->config.ops->guest_reset(fe->config.ctx);
}

static void on_pause_over(struct loop_timer *timer)
{
	struct frontend *fe = container_of(timer, struct frontend, pause);

	fe->config.ops->guest_overdue(fe->config.ctx);
}

static void on_read_config(void *ctx, uint32_t offset, void *out, size_t len)
{
	struct frontend *fe = ctx;

	fe->config.ops->read_config(fe->config.ctx, offset, out, len);
}

/* For a process that comes after a crash of this one. */
void frontend_commit(struct frontend *fe)
{
	if (fe->config.is_journalled)
		fe->config.ops->commit(fe->config.ctx);
}

static void on_commit(void *ctx)
{
	frontend_commit(ctx);
}

static void on_settle(void *ctx)
{
	struct frontend *fe = ctx;

	fe->config.ops->settle(fe->config.ctx);
}

static struct msghdr *on_receipt(void *ctx)
{
	struct frontend *fe = ctx;

	return fe->config.ops->receipt(fe->config.ctx);
}

static const struct session_ops session_ops = {
	.ring_changed = on_ring_changed,
	.ring_stopped = on_ring_stopped,
	.guest_reset = on_guest_reset,
	.read_config = on_read_config,
	.commit = on_commit,
	.settle = on_settle,
	.receipt = on_receipt,
};

/* One of its eventfds has held up the worker, and all its VMs, until the watchdog came:
 * some 200 ms. From now on its successors' are polled before each write. */
static void note_held_up(struct frontend *fe)
{
	log_limited(LEVEL_WARN, fe->config.tag,
		    "front-end disconnected: a write to its eventfd has blocked");
	fe->was_held_up = true;
}

/* A connection has ended. Who listens has nothing to do but to go on with it. */
void frontend_on_lost(struct frontend *fe)
{
	const struct frontend_address *address = &fe->config.address;

	connector_again(&fe->connector);
	if (!address->is_sole || fe->is_over)
		return;
	fe->is_over = true;
	fe->config.ops->over(fe->config.ctx);
}

/* Whoever has a duplicate of its socket would keep it connected. */
static void session_end(struct frontend *fe)
{
	struct session *s = fe->session;

	fe->session = NULL;
	if (fe->config.is_journalled) {
		frontend_commit(fe);
		shutdown(session_sock(s), SHUT_RDWR);
	}
	session_free(s);
}

void frontend_wait_no_more(struct frontend *fe)
{
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		loop_remove(fe->config.loop, &fe->kicks[i].source);
	loop_remove(fe->config.loop, &fe->session_source);
}

void frontend_drop(struct frontend *fe)
{
	if (!fe->session)
		return;
	frontend_wait_no_more(fe);
	loop_timer_cancel(fe->config.loop, &fe->pause);
	loop_timer_cancel(fe->config.loop, &fe->no_memory);
	if (session_has_held_up(fe->session))
		note_held_up(fe);
	else
		log_limited(LEVEL_INFO, fe->config.tag, "front-end disconnected");
	session_end(fe);
	fe->config.ops->gone(fe->config.ctx);
	frontend_on_lost(fe);
}

void frontend_session_turn(struct frontend *fe)
{
	fe->config.ops->handles(fe->config.ctx, true);
	if (session_input(fe->session) == SESSION_E_END)
		frontend_drop(fe);
	watch_memory(fe);
	fe->config.ops->handles(fe->config.ctx, false);
}

/* Messages that it has not begun with are the socket's next event. */
void frontend_session_resume(struct frontend *fe)
{
	if (session_is_in_message(fe->session))
		frontend_session_turn(fe);
	else
		watch_memory(fe);
}

static void on_session(struct loop_source *source, uint32_t events)
{
	(void)events;
	frontend_session_turn(container_of(source, struct frontend, session_source));
}

enum place frontend_look_at_place(struct frontend *fe)
{
	if (fe->session) {
		int r = session_input(fe->session);

		if (r != SESSION_E_END)
			return r == SESSION_E_AGAIN ? PLACE_TAKEN : PLACE_UNKNOWN;
		frontend_drop(fe);
	}
	return PLACE_FREE;
}

struct session_config frontend_session_config(struct frontend *fe)
{
	return (struct session_config){
		.ops = &session_ops, .ctx = fe, .tag = fe->config.tag,
		.features = FEATURE_BIT(VIRTIO_F_VERSION_1) | FEATURE_BIT(VIRTIO_F_EVENT_IDX) |
			FEATURE_BIT(VIRTIO_F_INDIRECT_DESC) | FEATURE_BIT(VIRTIO_F_IN_ORDER) |
			FEATURE_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) |
			FEATURE_BIT(VIRTIO_VSOCK_F_STREAM) |
			FEATURE_BIT(VIRTIO_VSOCK_F_SEQPACKET) |
			FEATURE_BIT(VIRTIO_VSOCK_F_NO_IMPLIED_STREAM),
		.n_rings = VSOCK_NUM_QUEUES, .queue_size = fe->config.queue_size,
		.memory = fe->config.memory, .distrusts_eventfds = fe->was_held_up,
		.ring_stops = fe->config.ring_stops,
		.is_journalled = fe->config.is_journalled,
	};
}

int frontend_wait_for_messages(struct frontend *fe, int sock)
{
	if (fe->session_source.fd == sock)
		return 0;
	return loop_add(fe->config.loop, &fe->session_source, sock, FRONTEND_EVENTS);
}

int frontend_session_wait(struct frontend *fe)
{
	int r;

	connector_settle(&fe->connector);
	fe->config.ops->came(fe->config.ctx);
	r = frontend_wait_for_messages(fe, session_sock(fe->session));
	if (r < 0)
		frontend_drop(fe);
	return r;
}

int frontend_session_begin(struct frontend *fe, int sock)
{
	struct session_config config = frontend_session_config(fe);
	int r = session_new(&fe->session, &config, sock);

	if (r < 0) {
		frontend_commit(fe);
		return r;
	}
	log_limited(LEVEL_INFO, fe->config.tag, "front-end connected");
	if ((r = frontend_session_wait(fe)) < 0)
		return r;
	frontend_session_turn(fe);
	return 0;
}

static void on_accepted(void *ctx, int fd)
{
	struct frontend *fe = ctx;

	switch (frontend_look_at_place(fe)) {
	case PLACE_TAKEN:
		log_limited(LEVEL_WARN, fe->config.tag, "a second front-end was refused");
		unix_close(&fd);
		return;
	case PLACE_FREE:
	case PLACE_UNKNOWN:
		frontend_add_candidate(fe, fd);
	}
}

bool frontend_accepted(struct frontend *fe, int outcome, int fd)
{
	bool is_here = !outcome && frontend_is_here(fe, fd);

	if (is_here)				/* nothing is shut down: it is a duplicate */
		closer_close(&fd);
	acceptor_answer(&fe->acceptor, is_here ? LISTENER_E_NONE : outcome, fd);
	return !is_here;
}

static void on_connected(void *ctx, int fd)
{
	struct frontend *fe = ctx;

	if (frontend_add_candidate(fe, fd) < 0)
		frontend_on_lost(fe);
}

static int start_listening(struct frontend *fe)
{
	const struct frontend_address *address = &fe->config.address;
	const struct acceptor_config acceptor = {
		.loop = fe->config.loop, .listener = &fe->listener, .tag = fe->config.tag,
		.what = "a front-end", .per_event = 1, .accepted = on_accepted, .ctx = fe,
		.ask = address->accept, .ask_ctx = address->ask_ctx,
	};
	int r = address->fd >= 0 ? listener_adopt(&fe->listener, address->fd) :
		listener_open(&fe->listener, address->listen, SOCK_STREAM, &address->access);

	if (r || !fe->config.waits)
		return r ? r : acceptor_start(&fe->acceptor, &acceptor);
	acceptor_start_late(&fe->acceptor, &acceptor);
	return 0;
}

static int start(struct frontend *fe)
{
	const struct frontend_address *address = &fe->config.address;
	const struct connector_config connector = {
		.loop = fe->config.loop, .path = address->connect, .tag = fe->config.tag,
		.what = "socket-connect", .connected = on_connected, .ctx = fe,
		.ask = address->ask, .ask_ctx = address->ask_ctx, .only_asks = address->only_asks,
	};

	if (address->connect)
		return connector_start(&fe->connector, &connector);
	if (!address->is_sole)
		return start_listening(fe);
	if (!fe->config.waits && address->fd >= 0)
		return frontend_add_candidate(fe, address->fd);
	fe->waiting_fd = address->fd;
	return 0;
}

int frontend_init(struct frontend *fe, const struct frontend_config *config)
{
	*fe = (struct frontend){ .config = *config, .waiting_fd = -1 };
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		fe->kicks[i] = (struct frontend_kick){
			.fe = fe, .source = { .dispatch = on_kick, .fd = -1 },
		};
	for (unsigned i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		fe->candidates[i] = (struct frontend_candidate){
			.fe = fe, .fd = -1, .source = { .dispatch = frontend_on_candidate, .fd = -1 },
		};
	fe->session_source = (struct loop_source){ .dispatch = on_session, .fd = -1 };
	fe->pause.expire = on_pause_over;
	fe->no_memory.expire = on_no_memory;
	listener_init(&fe->listener);
	acceptor_init(&fe->acceptor);
	connector_init(&fe->connector);
	return start(fe);
}

void frontend_move(struct frontend *fe, struct loop_move *m)
{
	acceptor_move(&fe->acceptor, m);
	connector_move(&fe->connector, m);
	for (unsigned i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		loop_move_source(m, &fe->candidates[i].source, FRONTEND_EVENTS);
	loop_move_source(m, &fe->session_source, FRONTEND_EVENTS);
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		loop_move_source(m, &fe->kicks[i].source, KICK_EVENTS);
	loop_move_timer(m, &fe->pause);
	loop_move_timer(m, &fe->no_memory);
	loop_move_pointer(m, &fe->config.loop);
	if (loop_move_is_done(m) && fe->session)
		session_leave_thread(fe->session);
}

void frontend_enter_thread(struct frontend *fe)
{
	if (fe->session)
		session_enter_thread(fe->session);
}

void frontend_deinit(struct frontend *fe)
{
	if (!fe->config.ops)			/* no init */
		return;
	fe->is_over = true;
	connector_stop(&fe->connector);
	frontend_drop(fe);
	for (unsigned i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		frontend_drop_candidate(&fe->candidates[i]);
	fd_close(&fe->waiting_fd);
	frontend_forget_loaded(fe);
	acceptor_stop(&fe->acceptor);
	listener_deinit(&fe->listener);
}

void frontend_set_limits(struct frontend *fe, uint32_t queue_size, uint32_t pause_grace_ms,
			 const struct gmem_limits *memory)
{
	fe->config.queue_size = queue_size;
	fe->config.pause_grace_ms = pause_grace_ms;
	fe->config.memory = *memory;
}

struct virtq *frontend_running(struct frontend *fe, unsigned ring)
{
	return fe->session ? session_running(fe->session, ring) : NULL;
}

bool frontend_has_guest(struct frontend *fe)
{
	return frontend_running(fe, VSOCK_TXQ) && frontend_running(fe, VSOCK_RXQ);
}

uint64_t frontend_features(const struct frontend *fe)
{
	return fe->session ? session_features(fe->session) : 0;
}

bool frontend_is_polled(struct frontend *fe)
{
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		if (fe->kicks[i].is_polled && frontend_running(fe, i))
			return true;
	return false;
}

struct vring *frontend_vring(struct frontend *fe, unsigned ring)
{
	return fe->session ? session_vring(fe->session, ring) : NULL;
}

bool frontend_has_held_up(const struct frontend *fe)
{
	return fe->session && session_has_held_up(fe->session);
}

bool frontend_lost_memory(const struct frontend *fe)
{
	return fe->session && session_memory_is_lost(fe->session);
}
