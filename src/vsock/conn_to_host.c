/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection, towards the host: what the guest sent, and the end of the host's side. */
#include <sys/socket.h>

#include "util/error.h"
#include "vsock/conn_internal.h"

/* The host neither reads nor writes any more: tells the guest, and waits for its RST. */
static void host_is_closed(struct conn *c)
{
	if (c->host_failed || conn_holds_any(c)) {
		conn_reset(c, CONN_END_HOST_LEFT);
		return;
	}
	conn_close_stream(c);
	c->shutdown_pending = VSOCK_SHUTDOWN_BOTH;
	c->state = CONN_CLOSING;
}

/* The host has all that the guest sent. */
void conn_host_has_all(struct conn *c)
{
	if (c->state == CONN_LINGERING) {
		conn_reset(c, CONN_END_GUEST);
	} else if (c->guest_shutdown & VSOCK_SHUTDOWN_SEND && !c->host_shut) {
		c->host_shut = true;
		c->stream->ops->shutdown(c->stream, SHUT_WR);
		if (c->host_write_closed)
			host_is_closed(c);
	}
}

/* What it has not taken is lost: fwd_cnt never covers it, and the connection ends in a reset. */
void conn_host_stops_reading(struct conn *c, int r)
{
	c->host_lost_data |= conn_holds_any(c) && r != STREAM_E_NO_READER;
	c->host_failed |= conn_holds_any(c) || r == STREAM_E_RESET;
	byte_ring_deinit(&c->to_host);
	if (c->messages)
		conn_clear_messages(c);
	c->host_read_closed = true;
	if (r < 0) {
		c->error = r;
		conn_reset(c, CONN_END_HOST_ERROR);
		return;
	}
	if (c->state == CONN_LINGERING) {
		conn_reset(c, CONN_END_HOST_LEFT);
		return;
	}
	c->shutdown_pending |= VSOCK_SHUTDOWN_RCV;
	if (c->host_write_closed || c->guest_shutdown & VSOCK_SHUTDOWN_RCV)
		host_is_closed(c);
}

/* Writes once; counts what the stream took. False: it takes no more now. */
static bool write_some(struct conn *c, const struct iovec *iov, size_t n, size_t *taken)
{
	int r = c->stream->ops->write(c->stream, iov, (int)n, taken);

	if (r == STREAM_E_AGAIN)
		c->stream->ready &= ~(unsigned)STREAM_OUT;
	else if (r)
		conn_host_stops_reading(c, r);
	if (r)
		return false;
	if (!c->stream->consumed)
		c->credit.fwd_cnt += (uint32_t)*taken;
	return true;
}

void conn_forward(struct conn *c, const struct iovec *iov, size_t n, size_t len, uint32_t flags)
{
	size_t taken = 0;
	int r;

	if (c->messages) {
		conn_forward_message(c, iov, n, len, flags);
		return;
	}
	if (c->state != CONN_OPEN)
		return;
	if (!c->to_host.len && !c->host_read_closed && c->stream->ready & STREAM_OUT)
		write_some(c, iov, n, &taken);
	if (c->state != CONN_OPEN || taken == len)
		return;
	if (c->host_read_closed) {
		c->host_failed = true;
	} else if ((r = byte_ring_append(&c->to_host, iov, n, taken)) < 0) {
		c->error = r;
		conn_reset(c, CONN_END_NO_MEMORY);
	}
}

/* Moves what is buffered to the stream. */
static void drain(struct conn *c)
{
	struct iovec iov[2];
	size_t taken;

	while (c->to_host.len && c->stream->ready & STREAM_OUT) {
		if (!write_some(c, iov, byte_ring_peek(&c->to_host, iov), &taken))
			return;
		byte_ring_drop(&c->to_host, taken);
		c->timer_restart = true;
	}
	if (!c->to_host.len)
		conn_host_has_all(c);
}

void conn_stream_ready(struct conn *c)
{
	if (c->state != CONN_OPEN && c->state != CONN_LINGERING)
		return;
	conn_count_consumed(c);
	/* No event tells that the peer of a full unix socket has stopped reading, but a
	 * write does. It costs little: while nothing is read, there are few events. */
	if (c->state == CONN_LINGERING)
		c->stream->ready |= STREAM_OUT;
	if (c->stream->ready & STREAM_READ_CLOSED && !c->host_read_closed)
		conn_host_stops_reading(c, STREAM_E_NO_READER);
	else if (conn_has_for_host(c) && c->messages)
		conn_drain_messages(c);
	else if (conn_has_for_host(c))
		drain(c);
	if (c->state == CONN_OPEN && c->stream->ready & STREAM_HUP &&
	    (c->host_write_closed || c->guest_shutdown & VSOCK_SHUTDOWN_RCV)) {
		c->host_failed |= (c->stream->ready & STREAM_LOST) != 0;
		host_is_closed(c);
	}
}

void conn_read_ended(struct conn *c, int r)
{
	if (r < 0 || r == STREAM_E_RESET) {
		c->error = r < 0 ? r : 0;
		conn_reset(c, r < 0 ? CONN_END_HOST_ERROR : CONN_END_HOST_RST);
		return;
	}
	c->host_write_closed = true;
	c->shutdown_pending |= VSOCK_SHUTDOWN_SEND;
	if (r == STREAM_E_CLOSED || c->host_shut || c->host_read_closed)
		host_is_closed(c);
}
