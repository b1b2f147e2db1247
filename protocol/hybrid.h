/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hybrid vsock: the line protocol in front of a host-initiated connection over
 * a unix socket (Firecracker, docs/vsock.md). The host program connects and
 * sends "CONNECT <port>\n"; once the guest has accepted it reads "OK <port>\n".
 * Guest-initiated connections have no handshake: they arrive at the unix socket
 * "<uds-path>_<port>", of the guest's socket's type.
 *
 * The same for SOCK_SEQPACKET, which is ours: the host program connects to
 * "<uds-path>_seqpacket", its first message is the line, and the first that it reads is the answer.
 */
#pragma once

enum {
	HYBRID_LINE_MAX = 32,			/* bytes of a CONNECT line with its newline */
	HYBRID_REPLY_MAX = sizeof "OK 4294967295\n",
};

#define HYBRID_SEQPACKET	"_seqpacket"	/* behind the uds-path */
#define HYBRID_CONNECT	"connect"		/* compared without regard to case */
