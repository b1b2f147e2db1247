/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput through the daemon: one connection, one direction or both, for a
 * while, to the end of the stream on the other side. Bytes sent and received are
 * equal or the run fails.
 */
#include "bench/flow.h"

#include <stdio.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/cost.h"
#include "support/must.h"

static const double MIB = 1024.0 * 1024;

void flow_expect_equal(uint64_t sent, uint64_t received)
{
	if (sent != received)
		die("%llu bytes sent, %llu received", (unsigned long long)sent,
		    (unsigned long long)received);
}

double flow_rate(uint64_t bytes, int64_t start_ns, int64_t end_ns)
{
	return (double)bytes / MIB / ((double)(end_ns - start_ns) / 1e9);
}

struct stream flow_stream(const struct run *r, int fd, double seconds)
{
	return (struct stream){
		.fd = fd, .size = r->what->size, .seconds = seconds,
		.is_messages = r->what->is_messages, .polls_first = r->what->polls_first,
		.check_all = r->is_quick, .may_lack_end = r->has_peer,
		.is_overrun = r->is_kernels ? &r->out->is_overrun : NULL,
	};
}

void flow_join_reader(const struct run *r, struct stream *reader, uint64_t sent)
{
	stream_join_at(reader, sent);
	flow_expect_equal(sent, reader->bytes);
	if (reader->lacks_end)
		snprintf(r->out->note, sizeof r->out->note,
			 "no end of file reaches the host program");
}

static struct sock *flow_connect(struct vm *v, const struct run *r, int *fd)
{
	return r->what->is_messages ? vm_connect_messages(v, fd) : vm_connect(v, fd);
}

uint64_t flow_to_host(struct vm *v, const struct run *r, double seconds,
		      double *mib_s)
{
	struct stream reader;
	struct sock *s;
	uint64_t sent;
	int64_t start;
	int fd;

	s = flow_connect(v, r, &fd);
	reader = flow_stream(r, fd, 0);
	stream_start_reader(&reader);
	start = now_ns();
	sent = vm_send(v, s, r->what->size, seconds);
	flow_join_reader(r, &reader, sent);
	*mib_s = flow_rate(sent, start, reader.end_ns);
	sock_close(s);
	close(fd);
	return sent;
}

uint64_t flow_to_guest(struct vm *v, const struct run *r, double seconds,
		       double *mib_s)
{
	struct check check = { .size = r->what->size, .all = r->is_quick };
	struct stream writer;
	struct sock *s;
	int64_t start;
	int fd;

	s = flow_connect(v, r, &fd);
	vm_sink(s, &check);
	writer = flow_stream(r, fd, seconds);
	start = now_ns();
	stream_start_writer(&writer);
	vm_receive(v, s);
	*mib_s = flow_rate(s->total, start, now_ns());
	stream_join(&writer);
	flow_expect_equal(writer.bytes, s->total);
	sock_close(s);
	close(fd);
	return writer.bytes;
}

/* The guest's program sends when it can and takes what comes in between. */
static uint64_t guest_both(struct vm *v, struct sock *s, size_t size, double seconds)
{
	int64_t until = now_ns() + ns_of(seconds);
	bool is_sending = true;
	uint64_t n = 0;

	for (;;) {
		while (is_sending && vm_send_one(v, s, size, n)) {
			n++;
			if (now_ns() >= until) {
				sock_shutdown(s, VSOCK_SHUTDOWN_SEND);
				is_sending = false;
			}
		}
		if (!is_sending && (s->state != SOCK_OPEN || s->peer_shutdown))
			return n * size;
		vm_wait(v);
	}
}

static uint64_t both_ways(struct vm *v, const struct run *r, double seconds,
			  double *mib_s)
{
	struct check check = { .size = r->what->size, .all = r->is_quick };
	struct stream writer, reader;
	int64_t start, end;
	struct sock *s;
	uint64_t sent;
	int fd;

	s = vm_connect(v, &fd);
	vm_sink(s, &check);
	writer = flow_stream(r, fd, seconds);
	reader = flow_stream(r, fd, 0);
	start = now_ns();
	stream_start_reader(&reader);
	stream_start_writer(&writer);
	sent = guest_both(v, s, r->what->size, seconds);
	end = now_ns();
	stream_join(&writer);
	flow_join_reader(r, &reader, sent);
	end = reader.end_ns > end ? reader.end_ns : end;
	*mib_s = flow_rate(sent + s->total, start, end);
	flow_expect_equal(writer.bytes, s->total);
	sock_close(s);
	close(fd);
	return sent + writer.bytes;
}

void flow_measure(struct run *r, struct host *h, flow_fn *flow)
{
	struct vm *v = &h->vms[0];
	struct cost cost;
	uint64_t bytes;

	flow(v, r, r->seconds / 10, &r->out->value);		/* warm */
	cost_start(&cost, r, h);
	bytes = flow(v, r, r->seconds, &r->out->value);
	if (!r->what->is_messages) {
		cost_stop_bytes(&cost, r, bytes);
		return;
	}
	cost_stop_ops(&cost, r, bytes / r->what->size);
	r->out->value *= MIB / (double)r->what->size;		/* MiB/s to messages per second */
}

static void measure(struct run *r, flow_fn *flow)
{
	struct host h;

	host_up(&h, r, 1);
	flow_measure(r, &h, flow);
	host_down(&h);
}

void run_flow(struct run *r)
{
	measure(r, flow_to_host);
}

void run_flow_to_guest(struct run *r)
{
	measure(r, flow_to_guest);
}

void run_flow_both(struct run *r)
{
	measure(r, both_ways);
}
