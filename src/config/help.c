/* SPDX-License-Identifier: BSD-3-Clause */
/* What --help and --version print; the defaults come from where they are set. */
#include "config/help.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "config/error.h"
#include "config/plan.h"

/* To a full disk or a closed pipe the answer did not get through. */
static int finish_output(void)
{
	if (fflush(stdout) == EOF || ferror(stdout))
		return errno ? -errno : -EIO;
	return CONFIG_E_EXIT;
}

static void print_usage(void)
{
	fputs(
"vhost-device-vsock: virtio-vsock devices for virtual machines, over vhost-user\n"
"\n"
"Usage:\n"
"  vhost-device-vsock --socket PATH --uds-path PATH [OPTION]...\n"
"  vhost-device-vsock --socket PATH --forward-cid CID [OPTION]...\n"
"  vhost-device-vsock --vm KEY=VALUE[,KEY=VALUE]... [--vm ...] [OPTION]...\n"
"  vhost-device-vsock --config FILE [OPTION]...\n"
"\n"
"Values follow as --option VALUE or --option=VALUE. Numbers are decimal, or\n"
"hexadecimal with 0x in front.\n", stdout);
}

static void print_vm_options(const struct vm_plan *vm)
{
	printf(
"\n"
"One VM (each also a key of --vm and of the file, with - or _):\n"
"      --guest-cid CID        CID of the guest, 3 to 4294967294 (default %" PRIu64 ")\n"
"      --socket PATH          unix socket to create for the VMM (vhost-user)\n"
"      --uds-path PATH        unix socket to create for host programs, which send\n"
"                             \"CONNECT port\"; the guest's connects to a port go\n"
"                             to the unix socket PATH_port\n"
"      --host-cid CID[+CID]...\n"
"                             the unix sockets answer for these CIDs too, besides\n"
"                             2, the host (with --uds-path)\n"
"      --forward-cid CID      instead of --uds-path: the guest's connects go to\n"
"                             this CID by AF_VSOCK\n"
"      --forward-listen PORT[+PORT]...\n"
"                             AF_VSOCK ports by which host programs reach the\n"
"                             guest (with --forward-cid)\n"
"      --forward-listen-any   take them from any CID, not only from that of\n"
"                             --forward-cid and from this machine itself\n"
"      --tx-buffer-size BYTES\n"
"                             how much a connection of the guest may send ahead\n"
"                             of its receiver, 1 to 2147483648 (default %" PRIu32 ")\n"
"      --queue-size N         largest ring a VMM may set up, a power of two up to\n"
"                             32768 (default %" PRIu32 ")\n"
"      --max-connections N    how many connections the guest may have at a time,\n"
"                             1 to 1048576 (default %" PRIu32 ")\n"
"      --max-buffered BYTES   how much all connections of the guest together may\n"
"                             have waiting for slow receivers (default %" PRIu64 ")\n"
"      --max-memory BYTES     how much memory of the guest may be mapped\n"
"                             (default a fair share of the address space, up to\n"
"                             16 TiB)\n"
"      --groups NAME[+NAME]...\n"
"                             guests that share a group reach each other\n"
"                             (default \"default\")\n",
	       vm->guest_cid, vm->limits.tx_buffer_size, vm->queue_size, vm->limits.max_connections,
	       vm->limits.max_buffered);
}

static void print_common_options(const struct plan *plan)
{
	fputs(
"\n"
"Several VMs (instead of the options above):\n"
"      --vm KEY=VALUE[,KEY=VALUE]...\n"
"                             one VM; repeat it for more\n"
"      --config FILE          YAML with a list \"vms\" of such keys\n", stdout);
	printf(
"\n"
"All VMs:\n"
"      --socket-mode MODE     mode of the sockets created, octal (default\n"
"                             0600, plus rw for whomever the umask lets write)\n"
"      --socket-group GROUP   group of the sockets created, name or number\n"
"      --uds-mode MODE        of the sockets at uds-path alone; all four are\n"
"      --uds-group GROUP      keys of --vm and of the file too\n"
"      --user USER            as root: become this user, name or number, once the\n"
"                             sockets are there; they belong to it\n"
"      --group GROUP          as root: become this group (default the user's)\n"
"      --sandbox MODE         on; on,strict: do not run without a part that the\n"
"                             kernel lacks; log: only log what it would refuse;\n"
"                             off (default on)\n"
"      --linger SECONDS       how long the rest of what a guest sent before it\n"
"                             closed may wait for a receiver that takes none of\n"
"                             it (default %g)\n"
"      --pause-grace SECONDS  how long a guest whose queues were stopped, paused\n"
"                             or reset, may take to resume before its connections\n"
"                             are closed (default %g)\n"
"      --handshake-timeout SECONDS\n"
"                             how long a host client may take to say its CONNECT\n"
"                             line before it is closed (default %g)\n"
"      --threads N            how many threads share the VMs, 1 to 1024 (default\n"
"                             one per CPU, but not more than VMs)\n"
"\n"
"Logging and help:\n"
"      --log-level LEVEL      error, warn, info, debug or trace (default warn, or\n"
"                             what RUST_LOG says)\n"
"  -v, --verbose              one level more than warn; repeat it for more\n"
"      --log-file PATH        append to this file instead of standard error\n"
"  -h, --help                 print this and exit\n"
"  -V, --version              print the version and exit\n"
"\n"
"Exit status: 0 after a signal to end, 1 if the system fails us, 2 for a\n"
"mistake in the options or the file.\n",
	       plan->linger_ms / 1000.0, plan->pause_grace_ms / 1000.0,
	       plan->handshake_ms / 1000.0);
}

int help_print(void)
{
	struct vm_plan vm;
	struct plan plan;

	vm_plan_init(&vm);
	plan_init(&plan);
	errno = 0;
	print_usage();
	print_vm_options(&vm);
	print_common_options(&plan);
	return finish_output();
}

int help_print_version(void)
{
	errno = 0;
	puts("vhost-device-vsock " VERSION);
	return finish_output();
}
