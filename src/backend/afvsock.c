/* SPDX-License-Identifier: BSD-3-Clause */
/* The AF_VSOCK backend: ports that listen, connects, and its streams. */
#include "backend/afvsock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/vm_sockets.h>

#include "backend/afvsock_stream.h"
#include "util/acceptor.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/log_limit.h"
#include "util/sender.h"
#include "util/socket_kind.h"

#define AFVSOCK_TAG BLOB_TAG('A', 'F', 'V', ' ')

enum {
	AFVSOCK_VERSION = 1,
	BACKLOG = 1024,				/* the kernel caps it at somaxconn */
	ACCEPTS_PER_EVENT = 64,
	CONNECT_GIVE_UP_MS = 1800,		/* a Linux guest waits for 2 s */
};

struct listen_port {
	struct afvsock *owner;
	uint32_t number;
	enum vsock_type type;
	struct listener listener;		/* without a name in the file system; not open:
						   another process has it */
	struct acceptor acceptor;
};

struct afvsock {
	struct backend base;
	struct afvsock_config config;
	struct senders *senders;
	uint32_t local_cid;			/* VMADDR_CID_ANY: this machine has none */
	size_t n_ports;
	struct listen_port ports[];
};

static const struct backend_ops afvsock_ops;

static struct afvsock *afvsock_of(struct backend *b)
{
	assert(b->ops == &afvsock_ops);
	return container_of(b, struct afvsock, base);
}

static struct afvsock_stream_config stream_config(const struct afvsock *a, uint32_t port)
{
	return (struct afvsock_stream_config){
		.loop = a->config.loop, .mux = a->config.mux, .senders = a->senders,
		.tag = a->config.tag, .port = port,
	};
}

/* ---- host to guest ---- */

static bool is_welcome(const struct afvsock *a, uint32_t cid)
{
	return a->config.listen_any || cid == a->config.cid || cid == VMADDR_CID_LOCAL ||
		(cid == a->local_cid && cid != VMADDR_CID_ANY);
}

static void begin_stream(struct listen_port *p, int fd)
{
	struct afvsock *a = p->owner;
	struct afvsock_stream_config config = stream_config(a, p->number);
	struct afvsock_stream *s;
	int r = afvsock_stream_new(&s, &config, p->type, fd, false);

	if (r < 0) {
		log_limited(LEVEL_WARN, a->config.tag, "host client to port %u: %s; closed",
			    p->number, error_str(r));
		return;
	}
	if (mux_connect_from_host(a->config.mux, &s->sock.base, VSOCK_CID_HOST, p->number,
				  loop_now_ms(a->config.loop)))
		afvsock_stream_free(s);
}

static void on_accepted(void *ctx, int fd)
{
	struct listen_port *p = ctx;
	struct afvsock *a = p->owner;
	struct sockaddr_vm peer = { .svm_cid = VMADDR_CID_ANY };
	socklen_t len = sizeof peer;

	if (!mux_is_running(a->config.mux)) {
		fd_close(&fd);
	} else if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0) {
		fd_close(&fd);			/* it has left */
	} else if (!is_welcome(a, peer.svm_cid)) {
		log_limited(LEVEL_WARN, a->config.tag, "host client of CID %u to port %u: not "
			    "let in by forward-listen; closed", peer.svm_cid, p->number);
		fd_close(&fd);
	} else {
		begin_stream(p, fd);
	}
}

/* ---- guest to host ---- */

static bool afvsock_serves(struct backend *b, uint64_t cid)
{
	(void)b;
	(void)cid;
	return true;
}

static int open_socket(int *out, enum vsock_type type)
{
	const int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;

	*out = socket(AF_VSOCK, sock_stream_socket_type(type) | flags, 0);
	return *out < 0 ? error_last() : 0;
}

/* 0; BACKEND_E_*; -errno. */
static int begin_connect(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	struct timeval limit = {
		.tv_sec = CONNECT_GIVE_UP_MS / 1000,
		.tv_usec = CONNECT_GIVE_UP_MS % 1000 * 1000,
	};

	if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit) < 0)
		return error_last();
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return 0;
	return errno == EINPROGRESS ? BACKEND_E_PENDING : afvsock_connect_error(errno);
}

static int afvsock_connect(struct backend *b, enum vsock_type type, const struct vsock_addr *src,
			   const struct vsock_addr *dst, struct stream **out)
{
	struct afvsock *a = afvsock_of(b);
	struct afvsock_stream_config config = stream_config(a, dst->port);
	struct afvsock_stream *s;
	int fd, r, result;

	(void)src;
	if ((r = open_socket(&fd, type)) < 0)
		return r;
	result = begin_connect(fd, a->config.cid, dst->port);
	if (result && result != BACKEND_E_PENDING) {
		fd_close(&fd);
		return result;
	}
	if ((r = afvsock_stream_new(&s, &config, type, fd, result == BACKEND_E_PENDING)) < 0)
		return r;
	*out = &s->sock.base;
	return result;
}

static void afvsock_explain(struct backend *b, const struct vsock_addr *dst, int error,
			    char *text, size_t size)
{
	const struct afvsock *a = afvsock_of(b);
	const char *cure = "";

	if (error == BACKEND_E_NOBODY)
		cure = "; start the program that does, with a socket of the guest's type";
	else if (error == BACKEND_E_NO_ROUTE)
		cure = a->config.cid == VMADDR_CID_LOCAL ?
			": is the kernel module vsock_loopback there?" :
			": is that CID running, and the kernel's module for it there?";
	snprintf(text, size, "port %u of CID %u, by AF_VSOCK: %s%s", dst->port, a->config.cid,
		 backend_str_error(error), cure);
}

/* ---- ports ---- */

static int accept_at(struct listen_port *p)
{
	const struct afvsock_config *config = &p->owner->config;
	struct acceptor_config acceptor = {
		.loop = config->loop, .listener = &p->listener, .tag = config->tag,
		.what = "a host client", .per_event = ACCEPTS_PER_EVENT,
		.is_held = config->is_held, .accepted = on_accepted, .ctx = p,
	};

	return acceptor_start(&p->acceptor, &acceptor);
}

static void leave_port(struct listen_port *p)
{
	acceptor_stop(&p->acceptor);
	acceptor_init(&p->acceptor);
	listener_deinit(&p->listener);
}

/* 0 or -errno; but while it is held, a port may be another process's. */
static int listen_on(struct afvsock *a, uint32_t number, enum vsock_type type)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = number,
	};
	struct listen_port *p = &a->ports[a->n_ports++];
	int r;

	p->owner = a;
	p->number = number;
	p->type = type;
	acceptor_init(&p->acceptor);
	listener_init(&p->listener);
	if ((r = open_socket(&p->listener.fd, type)) < 0)
		return r;
	if (bind(p->listener.fd, (struct sockaddr *)&at, sizeof at) < 0) {
		if (errno != EADDRINUSE || !a->config.is_held)
			return error_last();
		listener_deinit(&p->listener);
		return 0;
	}
	return listen(p->listener.fd, BACKLOG) < 0 ? error_last() : accept_at(p);
}

/* ---- state ---- */

static int afvsock_load_stream(struct backend *b, const struct vsock_addr *guest,
			       const struct vsock_addr *peer, struct blob_reader *in,
			       struct stream **out)
{
	struct afvsock_stream_config config = stream_config(afvsock_of(b), peer->port);

	(void)guest;
	return afvsock_stream_load(out, &config, in);
}

/* The sockets that listen: between two that do, connects would be refused. */
static void afvsock_save(const struct backend *b, struct blob *out)
{
	const struct afvsock *a = container_of_const(b, struct afvsock, base);
	size_t section = blob_open(out, AFVSOCK_TAG, AFVSOCK_VERSION);

	for (size_t i = 0; i < a->n_ports; i++) {
		blob_put_u32(out, a->ports[i].number);
		blob_put_fd(out, a->ports[i].listener.fd);
	}
	blob_close(out, section);
}

/* Takes @fd over. A port that is not configured any more is left. */
static int load_port(struct afvsock *a, uint32_t number, int fd)
{
	struct listen_port *p = a->ports, *end = p + a->n_ports;
	int r;

	while (p < end && (p->number != number || p->listener.fd >= 0))
		p++;
	if (p == end || fd < 0) {
		closer_close(&fd);
		return 0;
	}
	if (!socket_listens(fd, AF_VSOCK, sock_stream_socket_type(p->type))) {
		closer_close(&fd);
		return BACKEND_E_BAD_STATE;
	}
	r = listener_adopt(&p->listener, fd);
	return r ? r : accept_at(p);
}

static int afvsock_load(struct backend *b, struct blob_reader *in)
{
	struct afvsock *a = afvsock_of(b);
	struct blob_reader section;
	uint32_t version;
	int r = 0;

	assert(a->config.is_held);
	if (!blob_enter(in, &section, AFVSOCK_TAG, AFVSOCK_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	while (!r && blob_has_more(&section)) {
		uint32_t number = blob_get_u32(&section);

		r = load_port(a, number, blob_get_fd(&section));
	}
	if (!r && !blob_is_whole(&section))
		r = BACKEND_E_BAD_STATE;
	if (r)
		for (size_t i = 0; i < a->n_ports; i++)
			leave_port(&a->ports[i]);
	return r;
}

static void afvsock_resume(struct backend *b)
{
	struct afvsock *a = afvsock_of(b);

	a->config.is_held = false;
	for (size_t i = 0; i < a->n_ports; i++) {
		struct listen_port *p = &a->ports[i];

		if (p->listener.fd >= 0)
			acceptor_resume(&p->acceptor);
		else
			log_err(a->config.tag, "forward-listen %u: %s", p->number,
				error_str(-EADDRINUSE));
	}
}

/* ---- life ---- */

static void afvsock_free(struct backend *b)
{
	struct afvsock *a = afvsock_of(b);

	for (size_t i = 0; i < a->n_ports; i++)
		leave_port(&a->ports[i]);
	senders_free(a->senders);
	free(a);
}

static void afvsock_move(struct backend *b, struct loop_move *m)
{
	struct afvsock *a = afvsock_of(b);

	for (size_t i = 0; i < a->n_ports; i++)
		acceptor_move(&a->ports[i].acceptor, m);
	loop_move_pointer(m, &a->config.loop);
	if (loop_move_is_done(m))
		senders_move(a->senders, m->mailbox);
}

static const struct backend_ops afvsock_ops = {
	.serves = afvsock_serves,
	.connect = afvsock_connect,
	.explain = afvsock_explain,
	.free = afvsock_free,
	.move = afvsock_move,
	.stream_tag = AFVSOCK_STREAM_TAG,
	.save = afvsock_save,
	.load = afvsock_load,
	.load_stream = afvsock_load_stream,
	.resume = afvsock_resume,
};

/* Before there is another thread. */
static unsigned local_cid = VMADDR_CID_ANY;

void afvsock_init(void)
{
	int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &local_cid) < 0)
		local_cid = VMADDR_CID_ANY;
	fd_close(&fd);
}

/* Logs and returns what is wrong now, rather than at the guest's first connect. */
static int check_family(const struct afvsock *a)
{
	int fd, r = open_socket(&fd, VSOCK_TYPE_STREAM);
	bool is_there = !(r < 0 && errno == EAFNOSUPPORT);

	fd_close(&fd);
	if (!is_there)
		log_err(a->config.tag, "forward-cid %u: this kernel has no AF_VSOCK (is the "
			"module vsock there?)", a->config.cid);
	else if (r < 0)
		log_err(a->config.tag, "forward-cid %u: %s", a->config.cid, error_str(r));
	return r;
}

/* All ports of one type. 0, or -errno, and it is in the log. */
static int listen_all(struct afvsock *a, const uint32_t *numbers, size_t n, enum vsock_type type)
{
	int r = 0;

	for (size_t i = 0; !r && i < n; i++)
		if ((r = listen_on(a, numbers[i], type)) < 0)
			log_err(a->config.tag, "forward-listen %u: %s", numbers[i], error_str(r));
	return r;
}

int afvsock_new(struct backend **out, const struct afvsock_config *config)
{
	size_t n_ports = config->n_listen + config->n_listen_seqpacket;
	struct afvsock *a = calloc(1, sizeof *a + n_ports * sizeof a->ports[0]);
	int r;

	if (!a)
		return -ENOMEM;
	a->base.ops = &afvsock_ops;
	a->config = *config;
	a->local_cid = local_cid;
	r = senders_new(&a->senders, config->mailbox, config->tag);
	if (!r)
		r = check_family(a);
	if (!r)
		r = listen_all(a, config->listen, config->n_listen, VSOCK_TYPE_STREAM);
	if (!r)
		r = listen_all(a, config->listen_seqpacket, config->n_listen_seqpacket,
			       VSOCK_TYPE_SEQPACKET);
	if (r < 0) {
		afvsock_free(&a->base);
		return r;
	}
	*out = &a->base;
	return 0;
}
