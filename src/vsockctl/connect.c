/* SPDX-License-Identifier: BSD-3-Clause */
/* vsockctl connect: standard input and output to a guest's port. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/guest_port.h"
#include "vsockctl/relay.h"
#include "vsockctl/text.h"

/* To ssh, which has given us a socket for standard output: a byte and the descriptor. */
static int hand_over(int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = "" };
	struct iovec iov = { (char []){ 0 }, 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	do
		n = sendmsg(STDOUT_FILENO, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return EXIT_DONE;
	if (errno == ENOTSOCK)
		text_complain("--fdpass: standard output is no socket; ssh makes it one with "
			      "ProxyUseFdpass=yes");
	else
		text_complain("--fdpass: %s", error_str(error_last()));
	return EXIT_FAILED;
}

int command_connect(const struct args *a)
{
	int type = a->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
	uint64_t deadline = a->timeout_ms == UINT64_MAX ? GUEST_PORT_NEVER :
		clock_ms() + a->timeout_ms;
	uint32_t port;
	int fd, r;

	if (!command_port(a->operands[1], &port))
		return EXIT_USAGE;
	r = guest_port_open(&fd, a->operands[0], type, port, deadline);
	if (r) {
		text_complain("%s, port %u: %s", a->operands[0], port, guest_port_str_error(r));
		return guest_port_exit(r);
	}
	if (a->fdpass)
		return hand_over(fd);
	r = relay_run(&(struct relay){
		.in = STDIN_FILENO, .out = STDOUT_FILENO, .sock = fd,
		.is_seqpacket = a->seqpacket,
	});
	return r ? EXIT_FAILED : EXIT_DONE;	/* and the end of the process closes it */
}
