/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line: what each option does, and what each mistake is told. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/plan.h"
#include "config_run.h"
#include "support/scratch.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

#define VM	"--socket s --uds-path u "
#define BASE	"cid=3 socket=s uds=u tx=262144 queue=1024 groups=default; "
#define REST	"level=1 mode=600 linger=30000 grace=3000"

/* 107 and 108 bytes: the longest path that fits, and one more. */
#define P20	"/2345678901234567890"
#define P100	P20 P20 P20 P20 P20
#define P105	P100 "/2345"
#define P107	P100 "/234567"
#define P108	P107 "8"
#define P1K	P100 P100 P100 P100 P100 P100 P100 P100 P100 P100

struct good_case {
	const char *name, *words, *plan;
};

static const struct good_case good_cases[] = {
	{ "defaults", VM, BASE REST },
	{ "with =", "--socket=s --uds-path=u", BASE REST },
	{ "= in the value", "--socket=a=b --uds-path=u",
	  "cid=3 socket=a=b uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "everything of one VM", "--guest-cid 7 --socket s --forward-cid 1 "
	  "--forward-listen 9002+9001 --tx-buffer-size 1 --queue-size 32768 --groups b+a",
	  "cid=7 socket=s forward=1:9002+9001 tx=1 queue=32768 groups=a+b; " REST },
	{ "ports of messages", "--socket s --forward-cid 1 "
	  "--forward-listen seqpacket:9004+9001+seqpacket:9003",
	  "cid=3 socket=s forward=1:9001 seqpacket:9004 seqpacket:9003 tx=262144 queue=1024 "
	  "groups=default; " REST },
	{ "... alone", "--socket s --forward-cid 1 --forward-listen seqpacket:0 "
	  "--forward-listen-any",
	  "cid=3 socket=s forward=1 seqpacket:0 tx=262144 queue=1024 groups=default any; " REST },
	{ "hexadecimal", VM "--guest-cid 0x10",
	  "cid=16 socket=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "no octal", VM "--guest-cid 010",
	  "cid=10 socket=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "plus sign", VM "--guest-cid +5",
	  "cid=5 socket=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "largest CID", VM "--guest-cid 4294967294",
	  "cid=4294967294 socket=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "largest buffer", VM "--tx-buffer-size 2147483648",
	  "cid=3 socket=s uds=u tx=2147483648 queue=1024 groups=default; " REST },
	{ "smallest queue", VM "--queue-size 1",
	  "cid=3 socket=s uds=u tx=262144 queue=1 groups=default; " REST },
	{ "groups twice are one", VM "--groups a+b+a",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=a+b; " REST },
	{ "longest path", "--socket " P107 " --uds-path u",
	  "cid=3 socket=" P107 " uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "forward without listen", "--socket s --forward-cid 4294967295",
	  "cid=3 socket=s forward=4294967295 tx=262144 queue=1024 groups=default; " REST },
	{ "port 0", "--socket s --forward-cid 1 --forward-listen 0",
	  "cid=3 socket=s forward=1:0 tx=262144 queue=1024 groups=default; " REST },
	{ "--socket-path", "--socket-path s --uds-path u", BASE REST },
	{ "--socket-connect", "--socket-connect s --uds-path u",
	  "cid=3 connect=s uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "socket_connect of one of two, in one folder",
	  "--vm socket_connect=s,uds-path=u --vm socket=t,uds-path=v,guest-cid=4",
	  "cid=3 connect=s uds=u tx=262144 queue=1024 groups=default; "
	  "cid=4 socket=t uds=v tx=262144 queue=1024 groups=default; " REST },
	{ "--vm", "--vm socket=s,uds-path=u", BASE REST },
	{ "--vm with _", "--vm=guest_cid=4,socket=s,forward_cid=2,forward_listen=1,"
	  "tx_buffer_size=2,queue_size=4,groups=g",
	  "cid=4 socket=s forward=2:1 tx=2 queue=4 groups=g; " REST },
	{ "--vm twice", "--vm guest-cid=4,socket=a,uds-path=b --vm socket=c,uds-path=d",
	  "cid=4 socket=a uds=b tx=262144 queue=1024 groups=default; "
	  "cid=3 socket=c uds=d tx=262144 queue=1024 groups=default; " REST },
	{ "--vm, = in the value", "--vm socket=a=b,uds-path=u",
	  "cid=3 socket=a=b uds=u tx=262144 queue=1024 groups=default; " REST },
	{ "same port, other forward-cid",
	  "--vm guest-cid=4,socket=a,forward-cid=1,forward-listen=5 "
	  "--vm socket=b,forward-cid=2,forward-listen=5",
	  "cid=4 socket=a forward=1:5 tx=262144 queue=1024 groups=default; "
	  "cid=3 socket=b forward=2:5 tx=262144 queue=1024 groups=default; " REST },
	{ "not a port suffix", "--vm guest-cid=4,socket=u_x,uds-path=u_ "
	  "--vm socket=u_01,uds-path=u --vm guest-cid=5,socket=u_4294967296,uds-path=v",
	  "cid=4 socket=u_x uds=u_ tx=262144 queue=1024 groups=default; "
	  "cid=3 socket=u_01 uds=u tx=262144 queue=1024 groups=default; "
	  "cid=5 socket=u_4294967296 uds=v tx=262144 queue=1024 groups=default; " REST },
	{ "port suffix of a socket", "--vm socket=u,uds-path=u_1",
	  "cid=3 socket=u uds=u_1 tx=262144 queue=1024 groups=default; " REST },
	{ "-v", VM "-v", BASE "level=2 mode=600 linger=30000 grace=3000" },
	{ "-vv", "-vv " VM, BASE "level=3 mode=600 linger=30000 grace=3000" },
	{ "-v -vv", "-v " VM "-vv", BASE "level=4 mode=600 linger=30000 grace=3000" },
	{ "-vvvvv", VM "-vvvvv", BASE "level=4 mode=600 linger=30000 grace=3000" },
	{ "--verbose", VM "--verbose -v", BASE "level=3 mode=600 linger=30000 grace=3000" },
	{ "--log-level", VM "--log-level error", BASE "level=0 mode=600 linger=30000 grace=3000" },
	{ "--log-level in capitals", VM "--log-level=TRACE",
	  BASE "level=4 mode=600 linger=30000 grace=3000" },
	{ "--log-file", "--log-file l --vm socket=s,uds-path=u", BASE REST " log=l" },
	{ "--socket-mode", VM "--socket-mode 0660", BASE "level=1 mode=660 linger=30000 grace=3000" },
	{ "--socket-mode without 0", VM "--socket-mode 777",
	  BASE "level=1 mode=777 linger=30000 grace=3000" },
	{ "--socket-group", VM "--socket-group root", BASE REST " gid=0" },
	{ "--socket-group by number", VM "--socket-group 54321", BASE REST " gid=54321" },
	{ "--uds-mode", VM "--uds-mode 0666", "cid=3 socket=s uds=u tx=262144 queue=1024 "
	  "groups=default sockets=600:-1,666:-1; " REST },
	{ "--uds-group", VM "--uds-group 7 --socket-mode 640", "cid=3 socket=s uds=u tx=262144 "
	  "queue=1024 groups=default sockets=640:-1,640:7; level=1 mode=640 linger=30000 grace=3000" },
	{ "modes and groups of one VM of two",
	  "--vm socket=s,uds-path=u,socket-mode=660,uds_group=8,socket-group=root "
	  "--vm socket=t,uds-path=v,guest-cid=4",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default sockets=660:0,660:8; "
	  "cid=4 socket=t uds=v tx=262144 queue=1024 groups=default; " REST },
	{ "uds-mode of all VMs before a VM's socket-mode",
	  "--uds-mode 622 --vm socket=s,uds-path=u,socket-mode=660",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default sockets=660:-1,622:-1; " REST },
	{ "uds-mode of a VM before that of all",
	  "--uds-mode 622 --vm socket=s,uds-path=u,uds-mode=611",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default sockets=600:-1,611:-1; " REST },
	{ "--linger", VM "--linger 2", BASE "level=1 mode=600 linger=2000 grace=3000" },
	{ "--linger 0", VM "--linger 0", BASE "level=1 mode=600 linger=0 grace=3000" },
	{ "--linger, fraction", VM "--linger 0.25", BASE "level=1 mode=600 linger=250 grace=3000" },
	{ "--linger, rounded up", VM "--linger 1.00001",
	  BASE "level=1 mode=600 linger=1001 grace=3000" },
	{ "--pause-grace", VM "--pause-grace 0.5", BASE "level=1 mode=600 linger=30000 grace=500" },
	{ "--handshake-timeout", VM "--handshake-timeout 30", BASE REST " handshake=30000" },
	{ "--handshake-timeout, least", VM "--handshake-timeout=0.0001", BASE REST " handshake=1" },
	{ "--linger, longest", VM "--linger 4294966.999",
	  BASE "level=1 mode=600 linger=4294966999 grace=3000" },
	{ "--host-cid", VM "--host-cid 4+5",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default host=4+5; " REST },
	{ "--host-cid, the edges", VM "--host-cid 0+4294967294",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default host=0+4294967294; " REST },
	{ "--max-connections", VM "--max-connections 1",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default max=1; " REST },
	{ "--max-buffered", VM "--max-buffered 65536",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default buffered=65536; " REST },
	{ "--poll-us", VM "--poll-us 1000",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default poll=1000; " REST },
	{ "--max-memory", VM "--max-memory 0x100000000",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default memory=4294967296; " REST },
	{ "--max-memory, most, of one of two",
	  "--vm socket=s,uds-path=u,max_memory=72057594037927936 "
	  "--vm socket=t,uds-path=v,guest-cid=4,max-memory=1",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default memory=72057594037927936; "
	  "cid=4 socket=t uds=v tx=262144 queue=1024 groups=default memory=1; " REST },
	{ "--max-connections, most", VM "--max-connections=1048576",
	  "cid=3 socket=s uds=u tx=262144 queue=1024 groups=default max=1048576; " REST },
	{ "--forward-listen-any", "--forward-listen-any --socket s --forward-cid 1 --forward-listen 7",
	  "cid=3 socket=s forward=1:7 tx=262144 queue=1024 groups=default any; " REST },
	{ "--forward-listen-any=true",
	  "--socket s --forward-cid 1 --forward-listen 7 --forward-listen-any=true",
	  "cid=3 socket=s forward=1:7 tx=262144 queue=1024 groups=default any; " REST },
	{ "--forward-listen-any=false", VM "--forward-listen-any=false", BASE REST },
	{ "new keys of --vm", "--vm socket=a,uds-path=b,host_cid=9,max-connections=5 "
	  "--vm guest-cid=4,socket=c,forward-cid=1,forward-listen=7,forward_listen_any=true",
	  "cid=3 socket=a uds=b tx=262144 queue=1024 groups=default host=9 max=5; "
	  "cid=4 socket=c forward=1:7 tx=262144 queue=1024 groups=default any; " REST },
	{ "--user", VM "--user root", BASE REST " user=0:0" },
	{ "--user by number", VM "--user 0", BASE REST " user=0:0" },
	{ "--user without a name", VM "--user 54321 --group 54322", BASE REST " user=54321:54322" },
	{ "--user of another group", VM "--group 54322 --user root", BASE REST " user=0:54322" },
	{ "--group", VM "--group root", BASE REST " user=-1:0" },
	{ "--sandbox=on", VM "--sandbox=on", BASE REST },
	{ "--sandbox=off", VM "--sandbox off", BASE REST " sandbox=0" },
	{ "--sandbox=log", VM "--sandbox=log", BASE REST " sandbox=1" },
	{ "--sandbox=on,strict", VM "--sandbox=on,strict", BASE REST " sandbox=3" },
	{ "--threads", VM "--threads 1024", BASE REST " threads=1024" },
	{ "-- at the end", VM "--", BASE REST },
};

START_TEST(good_command_lines)
{
	const struct good_case *c = &good_cases[_i];
	struct config_run run;

	config_run(&run, c->words);
	ck_assert_msg(run.result == 0, "%s: %s", c->name, run.err);
	ck_assert_str_eq(run.plan, c->plan);
	ck_assert_str_eq(run.err, "");
	ck_assert_str_eq(run.out, "");
}
END_TEST

#define NO_BLANKS "; write KEY=VALUE,KEY=VALUE without blanks"

struct bad_case {
	const char *words, *err;
};

static const struct bad_case bad_cases[] = {
	{ "", "no VM: give --socket with --uds-path or --forward-cid, or --vm, or "
	  "--config (see --help)" },
	{ "-v", "no VM: give --socket with --uds-path or --forward-cid, or --vm, or "
	  "--config (see --help)" },
	{ "x", "'x' is no option; there is nothing else to give" },
	{ VM "-", "'-' is no option; there is nothing else to give" },
	{ VM "-- x", "'x' is no option; there is nothing else to give" },
	{ "--frob", "unknown option '--frob'" },
	{ "--frob=1", "unknown option '--frob'" },
	{ "--sock s", "unknown option '--sock'" },
	{ "--guest_cid 4", "unknown option '--guest_cid'" },
	{ "--=", "unknown option '--'" },
	{ "-vx", "unknown option '-x'" },
	{ "--verbose=2", "--verbose: takes no value, not '2'" },
	{ "--socket", "--socket: needs a value" },
	{ "--socket=", "--socket: empty value" },
	{ "--socket --uds-path u", "--socket: needs a value, and '--uds-path' looks like "
	  "an option (else write --socket=...)" },
	{ "--socket s", "--uds-path or --forward-cid is missing" },
	{ "--uds-path u", "--socket is missing" },
	{ "--guest-cid 4", "--socket is missing" },
	{ VM "--socket-path t", "--socket-path: socket and socket-path are the same: give one" },
	{ VM "--socket-connect t", "--socket and --socket-connect exclude one another" },
	{ VM "--fd 9", "--socket and --fd exclude one another" },
	{ "--socket-connect s --fd 9 --uds-path u", "--socket-connect and --fd exclude one another" },
	{ "--fd 2 --uds-path u", "--fd: '2' is not between 3 and 2147483647" },
	{ "--fd 2147483648 --uds-path u", "--fd: '2147483648' is not between 3 and 2147483647" },
	{ "--vm fd=9,uds-path=u --vm fd=9,uds-path=v,guest-cid=4", "--vm 2: fd: 9 is taken by --vm 1" },
	{ "--vm socket-connect=s,uds-path=u --vm socket-connect=./s,uds-path=v,guest-cid=4",
	  "--vm 2: socket-connect: './s' is the socket-connect of --vm 1" },
	{ "--socket-connect u --uds-path u", "--uds-path: 'u' is also the socket-connect" },
	{ "--socket-connect u_7 --uds-path u",
	  "--socket-connect: 'u_7' is where the guest of uds-path 'u' finds port 7" },
	{ VM "--forward-cid 1", "--uds-path and --forward-cid exclude one another" },
	{ VM "--forward-listen 1", "--forward-listen needs --forward-cid" },
	{ "--socket s --forward-listen 1", "--forward-listen needs --forward-cid" },
	{ VM "--socket t", "--socket: given twice" },
	{ VM "--config f", "--socket and --config exclude one another" },
	{ "--config f --config g", "--config: given twice" },
	{ "--config f --vm socket=s", "--config and --vm exclude one another" },
	{ "--vm socket=s,uds-path=u --guest-cid 4", "--vm and --guest-cid exclude one another" },
	{ VM "--guest-cid x", "--guest-cid: 'x' is not a number" },
	{ VM "--guest-cid 4x", "--guest-cid: '4x' is not a number" },
	{ VM "--guest-cid 0x", "--guest-cid: '0x' is not a number" },
	{ VM "--guest-cid=-4", "--guest-cid: '-4' is not a number" },
	{ VM "--guest-cid 0", "--guest-cid: '0' is not between 3 and 4294967294" },
	{ VM "--guest-cid 2", "--guest-cid: '2' is not between 3 and 4294967294" },
	{ VM "--guest-cid 4294967295",
	  "--guest-cid: '4294967295' is not between 3 and 4294967294" },
	{ VM "--guest-cid 18446744073709551620",
	  "--guest-cid: '18446744073709551620' is not between 3 and 4294967294" },
	{ "--forward-cid 4294967296",
	  "--forward-cid: '4294967296' is not between 0 and 4294967295" },
	{ "--forward-listen 1+4294967295",
	  "--forward-listen: '4294967295' is not between 0 and 4294967294" },
	{ "--forward-listen 1++2", "--forward-listen: empty item in the list" },
	{ "--forward-listen 1+x", "--forward-listen: 'x' is not a number" },
	{ "--socket s --forward-cid 1 --forward-listen 1+2+1",
	  "--forward-listen: 1 is given twice" },
	{ "--socket s --forward-cid 1 --forward-listen 1+seqpacket:1",
	  "--forward-listen: 1 is given twice" },
	{ "--socket s --forward-cid 1 --forward-listen seqpacket:1+seqpacket:1",
	  "--forward-listen: 1 is given twice" },
	{ "--forward-listen seqpacket:x", "--forward-listen: 'x' is not a number" },
	{ "--forward-listen seqpacket:", "--forward-listen: '' is not a number" },
	{ "--forward-listen seqpacket:4294967295",
	  "--forward-listen: '4294967295' is not between 0 and 4294967294" },
	{ "--forward-listen stream:1", "--forward-listen: 'stream:1' is not a number" },
	{ VM "--forward-listen seqpacket:1", "--forward-listen needs --forward-cid" },
	{ VM "--tx-buffer-size 0", "--tx-buffer-size: '0' is not between 1 and 2147483648" },
	{ VM "--tx-buffer-size 2147483649",
	  "--tx-buffer-size: '2147483649' is not between 1 and 2147483648" },
	{ VM "--queue-size 0", "--queue-size: '0' is not between 1 and 32768" },
	{ VM "--queue-size 65536", "--queue-size: '65536' is not between 1 and 32768" },
	{ VM "--queue-size 1000", "--queue-size: '1000' is not a power of two" },
	{ VM "--groups +a", "--groups: empty item in the list" },
	{ VM "--groups a+", "--groups: empty item in the list" },
	{ "--socket " P108, "--socket: '" P108 "' has 108 bytes; the path of a socket has at "
	  "most 107" },
	{ "--uds-path " P108, "--uds-path: '" P108 "' has 108 bytes; the path of a socket has "
	  "at most 107" },
	{ "--vm socket=" P1K P1K, "--vm 1: socket: '" P1K P1K "' has 2000 bytes; the path of a "
	  "socket has at most 107" },
	{ "--socket " P107 " --uds-path " P107, "--uds-path: '" P107 "' is also the socket" },
	{ "--uds-path " P105 " --socket " P105 "_1", "--socket: '" P105 "_1' is where the guest "
	  "of uds-path '" P105 "' finds port 1" },
	{ "--vm socket=s,uds-path=" P107 " --vm guest-cid=4,socket=" P107 ",uds-path=v",
	  "--vm 2: socket: '" P107 "' is the uds-path of --vm 1" },
	{ "--socket s --uds-path s", "--uds-path: 's' is also the socket" },
	{ "--uds-path u --socket u_4294967295", "--socket: 'u_4294967295' is where the "
	  "guest of uds-path 'u' finds port 4294967295" },
	{ VM "--host-cid 4294967295", "--host-cid: '4294967295' is not between 0 and 4294967294" },
	{ VM "--host-cid 5+", "--host-cid: empty item in the list" },
	{ VM "--host-cid 5+3", "--host-cid: 3 is the guest-cid" },
	{ "--socket s --forward-cid 1 --host-cid 5", "--host-cid needs --uds-path" },
	{ "--vm socket=s,uds-path=u,host-cid=4 --vm guest-cid=4,socket=t,uds-path=v",
	  "--vm 1: host-cid: 4 is the guest-cid of --vm 2" },
	{ VM "--max-buffered 0", "--max-buffered: '0' is not between 1 and 1099511627776" },
	{ VM "--poll-us 1001", "--poll-us: '1001' is not between 0 and 1000" },
	{ VM "--max-memory 0", "--max-memory: '0' is not between 1 and 72057594037927936" },
	{ VM "--max-memory 16G", "--max-memory: '16G' is not a number" },
	{ VM "--max-memory 72057594037927937",
	  "--max-memory: '72057594037927937' is not between 1 and 72057594037927936" },
	{ VM "--max-memory 1 --max-memory 1", "--max-memory: given twice" },
	{ VM "--max-connections 0", "--max-connections: '0' is not between 1 and 1048576" },
	{ VM "--max-connections 1048577",
	  "--max-connections: '1048577' is not between 1 and 1048576" },
	{ VM "--forward-listen-any", "--forward-listen-any needs --forward-listen" },
	{ VM "--forward-listen-any=yes", "--forward-listen-any: 'yes' is neither true nor false" },
	{ VM "--forward-listen-any true", "'true' is no option; there is nothing else to give" },
	{ VM "--forward-listen-any --forward-listen-any", "--forward-listen-any: given twice" },
	{ "--vm socket=s,forward-cid=1,forward-listen-any",
	  "--vm 1: 'forward-listen-any' is not key=value" },
	{ VM "--user no.such.user", "--user: 'no.such.user' is neither a user nor a user ID" },
	{ VM "--user 4294967295", "--user: '4294967295' is neither a user nor a user ID" },
	{ VM "--user 54321", "--user: user ID 54321 has no name, hence no group: --group is needed" },
	{ VM "--group no.such.group", "--group: 'no.such.group' is neither a group nor a group ID" },
	{ VM "--uds-mode 8", "--uds-mode: '8' is not an octal mode" },
	{ VM "--uds-mode 1 --uds-mode 2", "--uds-mode: given twice" },
	{ VM "--uds-group nobody-has-this-name",
	  "--uds-group: 'nobody-has-this-name' is neither a group nor a group ID" },
	{ "--vm socket=s,uds-path=u,uds-group=nobody-has-this-name",
	  "--vm 1: uds-group: 'nobody-has-this-name' is neither a group nor a group ID" },
	{ "--vm socket=s,uds-path=u,socket-group=1,socket_group=2", "--vm 1: socket_group: given twice" },
	{ "--vm socket=s,uds-path=u,socket-mode=1000", "--vm 1: socket-mode: '1000' is not between 0 and 0777" },
	{ VM "--group 1 --group 1", "--group: given twice" },
	{ VM "--sandbox", "--sandbox: needs a value" },
	{ VM "--sandbox strict", "--sandbox: 'strict' is none of on; on,strict; log; off" },
	{ VM "--sandbox on,log", "--sandbox: 'on,log' is none of on; on,strict; log; off" },
	{ VM "--threads 0", "--threads: '0' is not between 1 and 1024" },
	{ VM "--threads 1025", "--threads: '1025' is not between 1 and 1024" },
	{ VM "--threads 2 --threads 2", "--threads: given twice" },
	{ "--socket-mode 8", "--socket-mode: '8' is not an octal mode" },
	{ "--socket-mode u+w", "--socket-mode: 'u+w' is not an octal mode" },
	{ "--socket-mode 1777", "--socket-mode: '1777' is not between 0 and 0777" },
	{ VM "--socket-group no.such.group",
	  "--socket-group: 'no.such.group' is neither a group nor a group ID" },
	{ VM "--socket-group 4294967295",
	  "--socket-group: '4294967295' is neither a group nor a group ID" },
	{ "--linger x", "--linger: 'x' is not a number of seconds" },
	{ "--linger .5", "--linger: '.5' is not a number of seconds" },
	{ "--linger 1.", "--linger: '1.' is not a number of seconds" },
	{ "--linger 1.5s", "--linger: '1.5s' is not a number of seconds" },
	{ "--linger=-1", "--linger: '-1' is not a number of seconds" },
	{ "--linger 4294967", "--linger: '4294967' is more than 4294966 seconds" },
	{ "--linger 99999999999999999999",
	  "--linger: '99999999999999999999' is more than 4294966 seconds" },
	{ "--linger 1 --linger 2", "--linger: given twice" },
	{ "--handshake-timeout 0", "--handshake-timeout: '0' leaves no time at all" },
	{ "--handshake-timeout=0.000", "--handshake-timeout: '0.000' leaves no time at all" },
	{ "--handshake-timeout 1m", "--handshake-timeout: '1m' is not a number of seconds" },
	{ "--log-level loud",
	  "--log-level: 'loud' is none of error, warn, info, debug, trace" },
	{ "--log-level info -v", "--log-level and --verbose exclude one another" },
	{ "-v --log-level info", "--log-level and --verbose exclude one another" },
	{ "--log-file a --log-file b", "--log-file: given twice" },
	{ "--vm socket", "--vm 1: 'socket' is not key=value" },
	{ "--vm ,socket=s", "--vm 1: '' is not key=value" },
	{ "--vm socket=s,,uds-path=u", "--vm 1: '' is not key=value" },
	{ "--vm socket=s, uds-path=u", "--vm 1: nothing after the last comma"
	  NO_BLANKS },
	{ "--vm ,", "--vm 1: '' is not key=value" },
	{ "--vm socket=", "--vm 1: socket: empty value" },
	{ "--vm group=g", "--vm 1: unknown key 'group'" },
	{ "--vm =g", "--vm 1: unknown key ''" },
	{ "--vm socket=s,uds-path=u,guest-cid=4,guest_cid=4", "--vm 1: guest_cid: given twice" },
	{ "--vm socket=s", "--vm 1: uds-path or forward-cid is missing" },
	{ "--vm uds-path=u", "--vm 1: socket is missing" },
	{ "--vm socket=s,uds-path=u,forward-cid=1",
	  "--vm 1: uds-path and forward-cid exclude one another" },
	{ "--vm socket=s,uds-path=u,forward-listen=1",
	  "--vm 1: forward-listen needs forward-cid" },
	{ "--vm socket=s,uds-path=u --vm guest-cid=x", "--vm 2: guest-cid: 'x' is not a number" },
	{ "--vm socket=s,uds-path=u --vm socket=t,uds-path=v",
	  "--vm 2: guest-cid: 3 is taken by --vm 1" },
	{ "--vm socket=s,uds-path=u --vm guest-cid=4,socket=s,uds-path=v",
	  "--vm 2: socket: 's' is the socket of --vm 1" },
	{ "--vm socket=s,uds-path=u --vm guest-cid=4,socket=t,uds-path=u",
	  "--vm 2: uds-path: 'u' is the uds-path of --vm 1" },
	{ "--vm socket=s,uds-path=u --vm guest-cid=4,socket=u,uds-path=v",
	  "--vm 2: socket: 'u' is the uds-path of --vm 1" },
	{ "--vm socket=s,uds-path=u_12 --vm guest-cid=4,socket=t,uds-path=u",
	  "--vm 1: uds-path: 'u_12' is where the guest of uds-path 'u' finds port 12" },
	{ "--vm socket=a,forward-cid=1,forward-listen=4+5 "
	  "--vm guest-cid=4,socket=b,forward-cid=1,forward-listen=5+6",
	  "--vm 2: forward-listen: 5 is taken by --vm 1" },
	{ "--vm socket=a,forward-cid=1,forward-listen=4+seqpacket:5 "
	  "--vm guest-cid=4,socket=b,forward-cid=1,forward-listen=5+6",
	  "--vm 2: forward-listen: 5 is taken by --vm 1" },
};

START_TEST(bad_command_lines)
{
	const struct bad_case *c = &bad_cases[_i];
	struct config_run run;
	char expected[CONFIG_RUN_TEXT];

	config_run(&run, c->words);
	snprintf(expected, sizeof expected, "vhost-device-vsock: %s\n", c->err);
	ck_assert_str_eq(run.err, expected);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	ck_assert_str_eq(run.out, "");
}
END_TEST

static const struct bad_case blank_cases[] = {
	{ "socket=s, uds-path=u", "--vm 1: a blank before 'uds-path'" NO_BLANKS },
	{ "socket=s,\tuds-path=u", "--vm 1: a blank before 'uds-path'" NO_BLANKS },
	{ "socket=s,\n uds_path =u", "--vm 1: a blank before 'uds_path'" NO_BLANKS },
	{ "socket=s,uds-path =u", "--vm 1: a blank after 'uds-path'" NO_BLANKS },
	{ "socket =s", "--vm 1: a blank after 'socket'" NO_BLANKS },
	{ "socket=s, frob=u", "--vm 1: a blank before 'frob'" NO_BLANKS },
	{ "socket=s, ,uds-path=u", "--vm 1: ' ' is not key=value" },
	{ "socket=s, \n", "--vm 1: nothing after the last comma" NO_BLANKS },
	{ "socket=s,guest-cid= 4", "--vm 1: guest-cid: ' 4' is not a number" },
};

/* A shell that was given quotes leaves the blanks in. */
START_TEST(blanks_in_vm)
{
	char *words[] = { "x", "--vm", strdup(blank_cases[_i].words), NULL };
	char expected[CONFIG_RUN_TEXT];
	struct config_run run;

	config_run_words(&run, 3, words);
	snprintf(expected, sizeof expected, "vhost-device-vsock: %s\n", blank_cases[_i].err);
	ck_assert_str_eq(run.err, expected);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	free(words[2]);
}
END_TEST

/* A word with blanks in it, control characters and all, comes out as one line. */
START_TEST(odd_words)
{
	char *blank[] = { "x", " --vm", NULL };
	char *control[] = { "x", "--guest-cid=\x1b[31m\n", NULL };
	char *trimmed[] = { "x", "--vm", " socket=s,uds-path=u,groups=a \n", NULL };
	char *empty[] = { "x", "--vm", "", NULL };
	char *none[] = { NULL };
	struct config_run run;

	config_run_words(&run, 2, blank);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
	config_run_words(&run, 2, control);
	ck_assert_str_eq(run.err, "vhost-device-vsock: --guest-cid: "
			 "'\\x1b[31m\\x0a' is not a number\n");
	config_run_words(&run, 3, trimmed);
	ck_assert_str_eq(run.plan, "cid=3 socket=s uds=u tx=262144 queue=1024 groups=a; " REST);
	config_run_words(&run, 3, empty);
	ck_assert_str_eq(run.err, "vhost-device-vsock: --vm: empty value\n");
	config_run_words(&run, 0, none);
	ck_assert_int_eq(run.result, CONFIG_E_USAGE);
}
END_TEST

static const struct {
	const char *rust_log, *words;
	int level;
} rust_log_cases[] = {
	{ "debug", VM, 3 }, { "DEBUG", VM, 3 }, { "off", VM, 0 }, { "error", VM, 0 },
	{ "", VM, 1 }, { "nonsense", VM, 1 }, { ",,=,", VM, 1 }, { "3", VM, 1 },
	{ "vhost_device_vsock=trace", VM, 4 }, { "vhost_device_vsock", VM, 4 },
	{ "vhost_device_vsock::vhu_vsock=debug", VM, 3 },
	{ "vhost_device_vsocket=debug", VM, 1 }, { "other=trace", VM, 1 },
	{ "info,other=trace", VM, 2 }, { "trace,vhost_device_vsock=info", VM, 2 },
	{ "vhost_device_vsock=info,trace", VM, 2 },
	{ "vhost_device_vsock=off", VM, 0 }, { "vhost_device_vsock=x,info", VM, 2 },
	{ "info/trace,debug", VM, 2 },
	{ "trace", VM "-v", 2 }, { "trace", VM "--log-level warn", 1 },
};

START_TEST(rust_log)
{
	struct config_run run;
	char expected[128];

	setenv("RUST_LOG", rust_log_cases[_i].rust_log, 1);
	config_run(&run, rust_log_cases[_i].words);
	snprintf(expected, sizeof expected, BASE "level=%d mode=600 linger=30000 grace=3000",
		 rust_log_cases[_i].level);
	ck_assert_str_eq(run.plan, expected);
}
END_TEST

/* Who may use the sockets, by the umask and by what is said: "sockets=..." or the mode
 * that is the same for all. */
static const struct {
	mode_t umask;
	const char *words, *plan;
} umask_cases[] = {
	{ 0077, VM, "mode=600" },
	{ 0022, VM, "mode=600" },
	{ 0027, VM, "mode=600" },
	{ 0007, VM, "mode=660" },
	{ 0002, VM, "mode=660" },
	{ 0020, VM, "mode=606" },
	{ 0000, VM, "mode=666" },
	{ 0111, VM, "mode=666" },
	{ 0777, VM, "mode=600" },
	{ 0000, VM "--socket-mode 600", "mode=600" },
	{ 0077, VM "--socket-mode 666", "mode=666" },
	{ 0000, VM "--socket-group 7", "mode=600" },
	{ 0000, VM "--uds-group 7", "sockets=666:-1,600:7" },
	{ 0000, VM "--uds-mode 622", "sockets=666:-1,622:-1" },
	{ 0000, VM "--user 5 --group 6", "mode=666" },
	{ 0000, "--vm socket=s,uds-path=u,socket-group=7", "sockets=600:7,600:7" },
	{ 0000, "--vm socket=s,uds-path=u,socket-mode=640", "sockets=640:-1,640:-1" },
};

START_TEST(modes_by_umask)
{
	struct config_run run;

	config_run_umask = umask_cases[_i].umask;
	config_run(&run, umask_cases[_i].words);
	ck_assert_msg(strstr(run.plan, umask_cases[_i].plan), "%s: %s", umask_cases[_i].words,
		      run.plan);
	ck_assert_int_eq(strstr(run.plan, "sockets=") != NULL, *umask_cases[_i].plan == 's');
}
END_TEST

static const char *const help_words[] = { "-h", "--help", "-vh", VM "--help", "--help x" };

START_TEST(help)
{
	static const char *const options[] = {
		"--guest-cid", "--socket ", "--uds-path", "--forward-cid", "--forward-listen",
		"--tx-buffer-size", "--queue-size", "--groups", "--vm", "--config",
		"--host-cid", "--forward-listen-any", "--max-connections", "--max-buffered", "--max-memory", "--threads",
		"--socket-mode", "--socket-group", "--user", "--group ", "--sandbox", "--linger", "--pause-grace",
		"--handshake-timeout", "--log-level", "--log-file",
		"-v, --verbose", "-h, --help", "-V, --version", "(default 262144)",
		"(default 1024)", "(default 4096)", "0600, plus rw", "(default 30)", "(default 10)",
	};
	struct config_run run;
	char *rest = run.out;

	config_run(&run, help_words[_i]);
	ck_assert_int_eq(run.result, CONFIG_E_EXIT);
	ck_assert_str_eq(run.err, "");
	for (int i = 0; i < COUNT(options); i++)
		ck_assert_msg(strstr(run.out, options[i]) != NULL, "no %s", options[i]);
	for (char *line; (line = strsep(&rest, "\n")); )
		ck_assert_uint_le(strlen(line), 80);
}
END_TEST

START_TEST(version)
{
	struct config_run run;

	config_run(&run, "-V");
	ck_assert_int_eq(run.result, CONFIG_E_EXIT);
	ck_assert_str_eq(run.out, "vhost-device-vsock " VERSION "\n");
	config_run(&run, VM "--version");
	ck_assert_int_eq(run.result, CONFIG_E_EXIT);
	ck_assert_str_eq(run.out, "vhost-device-vsock " VERSION "\n");
}
END_TEST

/* What QEMU's vhost-user.json has launchers expect. */
START_TEST(capabilities)
{
	struct config_run run;

	config_run(&run, _i ? "--socket-path s --print-capabilities" : "--print-capabilities");
	ck_assert_int_eq(run.result, CONFIG_E_EXIT);
	ck_assert_str_eq(run.out, "{\"type\": \"vsock\", \"features\": []}\n");
	ck_assert_str_eq(run.err, "");
}
END_TEST

/* An answer that nobody got is no success. */
START_TEST(help_to_full_disk)
{
	char *argv[] = { "x", "--help", NULL };
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), saved = dup(1), r;
	struct plan plan;

	ck_assert_int_ge(full, 0);
	dup2(full, 1);
	r = config_read(&plan, 022, 2, argv);
	dup2(saved, 1);
	close(full);
	close(saved);
	ck_assert_int_eq(r, -ENOSPC);
}
END_TEST

void add_place_cases(Suite *suite);
void add_yaml_cases(Suite *suite);

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("command line");
	SRunner *runner;
	int n_failed;

	scratch_begin();
	unsetenv("RUST_LOG");
	tcase_add_loop_test(tc, good_command_lines, 0, COUNT(good_cases));
	tcase_add_loop_test(tc, bad_command_lines, 0, COUNT(bad_cases));
	tcase_add_loop_test(tc, blanks_in_vm, 0, COUNT(blank_cases));
	tcase_add_test(tc, odd_words);
	tcase_add_loop_test(tc, rust_log, 0, COUNT(rust_log_cases));
	tcase_add_loop_test(tc, modes_by_umask, 0, COUNT(umask_cases));
	tcase_add_loop_test(tc, help, 0, COUNT(help_words));
	tcase_add_test(tc, version);
	tcase_add_loop_test(tc, capabilities, 0, 2);
	tcase_add_test(tc, help_to_full_disk);
	suite_add_tcase(suite, tc);
	add_place_cases(suite);
	add_yaml_cases(suite);

	runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	scratch_end();
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
