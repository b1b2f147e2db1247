#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel's own vsock_test, between two guests, and between a guest and the host.

Two programs run its list, a client and a server, and a TCP connection keeps them in step; it
goes through QEMU's user network. They are of the guest's kernel version (vsock_test.sh). On
the host their AF_VSOCK sockets are the daemon's unix sockets (vsock_unix.c, preloaded).

The measure is what the guest's kernel does over its own loopback, which is asked first. What a
host program of unix sockets cannot do is in UNIX_CLIENT and UNIX_SERVER, with the reason; that
it still cannot is checked as well. Guests among themselves have no such list.
"""

import os
import re
import shutil
import socket
import subprocess
import unittest

import vm
from vm import MIB, Guest, VmTest, wait_until

PROGRAMS = os.path.join(vm.IMAGE, "vsock_test")
GUEST_PORT = 5000                       # of the TCP connection, in each guest
GUEST_ADDRESS, HOST_ADDRESS, LOOPBACK = "10.0.2.15", "10.0.2.2", "127.0.0.1"
CID_LOCAL, CID_HOST = 1, 2
SILENCE_S = 40                          # vsock_test itself gives up after 10
FAULTS_MAX = 3                          # of a guest's kernel by itself; more, and it is us

EOR = "unix sockets have no MSG_EOR"
ZEROCOPY = "unix sockets have no MSG_ZEROCOPY"

# What a host program cannot do as client, or server; as said by vsock_test's list.
UNIX_CLIENT = {
    "SOCK_SEQPACKET msg bounds": EOR,
    "SOCK_STREAM poll() + SO_RCVLOWAT": "poll() of unix sockets does not know SO_RCVLOWAT",
    "SOCK_STREAM MSG_ZEROCOPY": ZEROCOPY,
    "SOCK_SEQPACKET MSG_ZEROCOPY": ZEROCOPY,
    "SOCK_STREAM MSG_ZEROCOPY empty MSG_ERRQUEUE": "unix sockets have no MSG_ERRQUEUE",
    "SOCK_STREAM MSG_ZEROCOPY leak MSG_ERRQUEUE": ZEROCOPY,
    "SOCK_STREAM MSG_ZEROCOPY leak completion skb": ZEROCOPY,
    "SOCK_STREAM virtio MSG_ZEROCOPY coalescence corruption": ZEROCOPY,
    "SOCK_STREAM TX credit bounds": "what a host program sends is the daemon's at once, "
                                    "and does not count against its own buffer",
}
UNIX_SERVER = {
    "SOCK_SEQPACKET msg bounds": EOR,
    "SOCK_STREAM accept()ed socket custom setsockopt()": ZEROCOPY,
    # Which expects ENOMEM of a receiver's bad pointer; since Linux 6.4 EFAULT.
    "SOCK_SEQPACKET invalid receive buffer": "unix sockets say EFAULT",
}
# It sends until there is no more credit, which may come before it hears of more.
UNIX_SERVER_AT_TIMES = {
    "SOCK_STREAM TX credit bounds": "what a host program's socket has taken counts as passed "
                                    "on, though nobody has read it",
}
UNIX_SERVER_UNTIL = {"SOCK_SEQPACKET invalid receive buffer": (6, 4)}

# It interrupts connects by signals, and the kernel does not tell the daemon that they are
# void. So the daemon goes on trying those that found a full backlog, and who listens on that
# port next gets them: it runs by itself, at the end.
INTERRUPTS = "SOCK_STREAM transport change null-ptr-deref, lockdep warn"

# All that this complains of is how slow the machine is.
TOO_SLOW = "too much time in read(2)"

# It binds to the port of a socket that it has closed, as soon as its peer has heard of that by
# TCP. The RST that frees the port may just then be on its way to the guest's kernel: it gets
# some more tries.
REBINDS, IN_USE, TRIES = "SOCK_STREAM double bind connect", "Address already in use", 5

# Speaks as agent/agent.c does; a script is vsock_test's arguments, an event a line of its output.
SCRIPT = f"""
/bin/busybox --install -s /bin
export PATH=/bin
for file in /modules/*.ko /more/*.ko; do
	[ ! -e $file ] || insmod $file
done
ip link set lo up
ip address add {GUEST_ADDRESS}/24 dev eth0
ip link set eth0 up
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1

run() {{
	{{
		sh -c "echo \\$\\$ >/tmp/$1; exec /vsock_test $2"
		status=$?
		echo
		echo "status=$status"
	}} 2>&1 | while IFS= read -r line; do
		case $line in
		status=*) echo "$1 done $line" ;;
		?*) echo "$1 event line $line" ;;
		esac
	done
}}

# A shell with children may lose of a line what it has read when one of them ends.
echo ready
while line=$(sh -c 'IFS= read -r line && echo "$line"'); do
	set -- $line
	case $1 in
	run)
		id=$2
		shift 3
		run $id "$*" &
		;;
	kill) kill -9 $(cat /tmp/$2) ;;
	esac
done
"""

# ---- the two ends ----

class InGuest:
    """vsock_test in a guest."""

    def __init__(self, guest):
        self.guest = guest

    def start(self, arguments):
        self.job = self.guest.run(" ".join(arguments))

    def lines(self):
        return [values["text"] for name, values in list(self.job.events) if name == "line"]

    def status(self):
        """None: it runs."""
        return self.job.result and self.job.result.get("status", -1)

    def kill(self):
        self.job.kill()
        self.job.wait()


class OnHost:
    """vsock_test out here."""

    def __init__(self, test):
        self.uds, self.cid = test.daemon.uds(), test.cids[0]
        self.scratch = test.scratch

    def start(self, arguments):
        self.out = self.scratch.path("vsock_test.txt")
        with open(self.out, "wb") as f:
            self.process = subprocess.Popen(
                [*vm.LEASH, os.path.join(PROGRAMS, "host"), *arguments],
                stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                env={**os.environ, "LD_PRELOAD": os.environ["VSOCK_UNIX_SO"],
                     "VSOCK_UNIX": self.uds, "VSOCK_UNIX_CID": str(self.cid)})

    def lines(self):
        with open(self.out, errors="replace") as f:
            return [line for line in f.read().splitlines() if line]

    def status(self):
        return self.process.poll()

    def kill(self):
        self.process.kill()
        self.process.wait()


STARTED = re.compile(r"(\d+) - (.*?)\.\.\.")


class Pair:
    """A client and a server that run the same list, to its end or to the first that fails."""

    def __init__(self, client, server, client_arguments, server_arguments):
        self.ends = {"server": server, "client": client}
        server.start(["--mode=server", *server_arguments])
        try:
            wait_until(self.is_listening, "vsock_test's server listens")
            client.start(["--mode=client", *client_arguments])
        except BaseException:
            server.kill()
            raise
        while not self.is_over():
            n_lines = self.n_lines()
            try:
                wait_until(lambda: self.is_over() or self.n_lines() > n_lines,
                           "vsock_test goes on", SILENCE_S)
            except vm.Timeout:
                break
        for end in self.ends.values():
            if end.status() is None:        # nobody is left whom it could talk to
                end.kill()

    def is_listening(self):
        server = self.ends["server"]
        assert server.status() is None, f"vsock_test's server ended: {server.lines()}"
        return any("socket listening" in line for line in server.lines())

    def is_over(self):
        """Both are done, or one has failed."""
        status = [end.status() for end in self.ends.values()]
        return status == [0, 0] or any(status)

    def n_lines(self):
        return sum(len(end.lines()) for end in self.ends.values())

    def failed(self):
        """None; or the number of what failed, and what was said of it."""
        if all(end.status() == 0 for end in self.ends.values()):
            return None
        # The other one may have gone on to the next.
        last = [[int(m[1]) for m in map(STARTED.match, end.lines()) if m]
                for end in self.ends.values()]
        number = min(numbers[-1] if numbers else -1 for numbers in last)
        return number, "; ".join(f"{who}: {said}" for who, end in self.ends.items()
                                 for said in said_in(end.lines(), number))


def said_in(lines, number):
    """What a test has written, but for its name."""
    said, is_in = [], False
    for line in lines:
        m = STARTED.match(line)
        if m:
            is_in = int(m[1]) == number
            line = line[m.end():]
        if is_in and line not in ("", "ok", "skipped"):
            said.append(line)
    return said


def free_port():
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


def run_script(name, *arguments):
    """Skips, with its last words, if what it makes cannot be had."""
    made = subprocess.run([os.path.join(vm.HERE, name), *arguments], capture_output=True, text=True)
    if made.returncode == 77:
        raise unittest.SkipTest(made.stderr.strip().splitlines()[-1])
    assert made.returncode == 0, f"{name} failed:\n{made.stderr}"


class RoomyDaemon(vm.Daemon):
    """vsock_test makes its sockets' buffers this large, and sends before the receiver reads."""

    def arguments(self, groups):
        return [f"{word},tx-buffer-size={2 * MIB}" if word.startswith("guest-cid=") else word
                for word in super().arguments(groups)]


class VsockTest(VmTest):
    """Two guests that may reach each other, and the host."""

    cids = (3, 4)
    daemon_class = RoomyDaemon

    @classmethod
    def setUpClass(cls):
        if "user" not in vm.ask_qemu("-netdev", "help").split():
            raise unittest.SkipTest("this QEMU has no user network")
        run_script("vsock_test.sh", vm.IMAGE)
        with open(os.path.join(PROGRAMS, "version")) as f:
            version = f.read().strip()
        vm.note(f"vsock_test of Linux {version}")
        cls.version = tuple(int(n) for n in version.split(".")[:2])
        listed = subprocess.run([os.path.join(PROGRAMS, "host"), "--list"],
                                capture_output=True, text=True).stdout
        cls.names = [line.partition("\t")[2] for line in listed.splitlines()[1:]]
        assert "SOCK_SEQPACKET msg bounds" in cls.names, f"no list of tests: {listed}"
        super().setUpClass()
        try:
            cls.faults = cls.ask_loopback()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def make_guest(cls, i):
        if i == 0:
            cls.forwarded = [free_port() for _ in cls.cids]
            cls.initrd = cls.make_initrd()
        return Guest(cls.daemon, i, wait=False, device=",seqpacket=on", initrd=cls.initrd, extra=[
            "-netdev", f"user,id=net0,hostfwd=tcp:{LOOPBACK}:{cls.forwarded[i]}-:{GUEST_PORT}",
            "-device", "virtio-net-pci,netdev=net0"])

    @classmethod
    def make_initrd(cls):
        root = cls.scratch.path("root")
        shutil.copytree(os.path.join(vm.IMAGE, "more"), os.path.join(root, "more"))
        shutil.copy(os.path.join(PROGRAMS, "guest"), os.path.join(root, "vsock_test"))
        with open(os.path.join(root, "script"), "w") as f:
            f.write(SCRIPT)
        return vm.behind_image(cls.scratch.path("initrd"), vm.archive(root))

    @classmethod
    def ask_loopback(cls):
        """What the guest's kernel cannot do by itself."""
        end = cls.guests[0]
        to_itself = [f"--control-port={GUEST_PORT}", f"--peer-cid={CID_LOCAL}"]
        failed = cls.run_list(InGuest(end), InGuest(end),
                              [*to_itself, f"--control-host={LOOPBACK}"], to_itself)
        for name, why in failed.items():
            vm.note(f"over loopback: {name}: {why}")
        assert len(failed) <= FAULTS_MAX, f"over the guest's own loopback: {failed}"
        return failed

    @classmethod
    def run_list(cls, client, server, client_arguments, server_arguments):
        """What failed, and why."""
        all_of_it = set(range(len(cls.names)))
        last = {cls.names.index(INTERRUPTS)} if INTERRUPTS in cls.names else set()
        failed, tries = {}, TRIES
        for picked in all_of_it - last, last:
            while picked:
                skip = [f"--skip={n}" for n in all_of_it - picked]
                result = Pair(client, server, client_arguments + skip,
                              server_arguments + skip).failed()
                if not result:
                    break
                number, why = result
                assert number in picked, f"none of its tests, but vsock_test fails: {why}"
                name = cls.names[number]
                if name == REBINDS and IN_USE in why and tries:
                    tries -= 1
                    number -= 1
                elif TOO_SLOW not in why:
                    failed[name] = why or "it hangs"
                picked = {n for n in picked if n > number}
        return failed

    def check(self, client, server, client_arguments, server_arguments, excused=(), at_times=()):
        failed = self.run_list(client, server, client_arguments, server_arguments)
        for name in self.names:
            why = failed.get(name)
            with self.subTest(name):
                if name in excused:
                    vm.note(f"{name}: {excused[name]}: {why}")
                    self.assertTrue(why, "it passes: no exception any more")
                elif name in at_times:
                    vm.note(f"{name}: {at_times[name]}: {why or 'passes'}")
                elif name in self.faults:
                    vm.note(f"{name}: not over the guest's loopback either: {why or 'passes'}")
                else:
                    self.assertFalse(why)
        vm.note(f"{len(self.names) - len(failed)} of {len(self.names)} pass")

    def test_guest_is_client_of_host(self):
        port = free_port()
        excused = {name: why for name, why in UNIX_SERVER.items() if name in self.names and
                   self.version < UNIX_SERVER_UNTIL.get(name, (1 << 16,))}
        self.check(InGuest(self.guest), OnHost(self),
                   [f"--control-host={HOST_ADDRESS}", f"--control-port={port}",
                    f"--peer-cid={CID_HOST}"],
                   [f"--control-host={LOOPBACK}", f"--control-port={port}",
                    f"--peer-cid={self.cids[0]}"], excused, UNIX_SERVER_AT_TIMES)

    def test_host_is_client_of_guest(self):
        self.check(OnHost(self), InGuest(self.guest),
                   [f"--control-host={LOOPBACK}", f"--control-port={self.forwarded[0]}",
                    f"--peer-cid={self.cids[0]}"],
                   [f"--control-port={GUEST_PORT}", f"--peer-cid={CID_HOST}"],
                   {name: why for name, why in UNIX_CLIENT.items() if name in self.names})

    def test_siblings(self):
        self.check(InGuest(self.guests[0]), InGuest(self.guests[1]),
                   [f"--control-host={HOST_ADDRESS}", f"--control-port={self.forwarded[1]}",
                    f"--peer-cid={self.cids[1]}"],
                   [f"--control-port={GUEST_PORT}", f"--peer-cid={self.cids[0]}"])


if __name__ == "__main__":
    vm.main()
