#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The README's recipes, taken from there and run as they stand.

What differs: the folder of the sockets, and where QEMU's disk, accelerator and the guest's
socat would be there are this guest's kernel, VM_ACCEL and agent.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import unittest

import vm
from vm import SCALE, Daemon, Guest, Scratch, wait_until

README = os.path.join(os.path.dirname(vm.HERE), "..", "README.md")
OPENBSD_NC = "nc.openbsd" if shutil.which("nc.openbsd") else "nc"


def recipe(start):
    """The code of the README that starts so: between backquotes, or indented lines."""
    with open(README) as f:
        text = f.read()
    found = re.findall(r"`(" + re.escape(start) + r"[^`\n]*)`", text)
    for block in re.findall(r"(?:^(?:    .*)?\n)+", text, re.M):
        lines = [line[4:] for line in block.strip("\n").splitlines()]
        found += [m for m in re.findall(r"^(?:.*\\\n)*.*", "\n".join(lines), re.M)
                  if m.startswith(start)]
    assert len(found) == 1, f"recipes that start with {start!r}: {found}"
    return found[0]


def words_of(command):
    return shlex.split(command.replace("\\\n", " "))


def script(first_line):
    """A whole indented block."""
    with open(README) as f:
        block = re.search("^    " + re.escape(first_line) + r"\n(?:    .*\n|\n(?=    ))*",
                          f.read(), re.M)
    assert block, f"no block that starts with {first_line!r}"
    return re.sub("^    ", "", block.group(0), flags=re.M)


def is_listening(path):
    with open("/proc/net/unix") as f:
        return any(words[-1] == path and int(words[3], 16) & 0x10000    # __SO_ACCEPTCON
                   for words in map(str.split, list(f)[1:]))


class RecipeDaemon(Daemon):
    """Started by the first recipe."""

    def __init__(self, scratch, command):
        self.words = words_of(command)
        super().__init__(scratch)

    def arguments(self, groups):
        return self.words[1:]

    def front_socket(self, i=0):
        return self.words[self.words.index("--socket") + 1]

    def uds(self, i=0):
        return self.words[self.words.index("--uds-path") + 1]


class Shell:
    """A recipe of the host in the background, in a process group of its own."""

    def __init__(self, scratch, command, **kwargs):
        self.process = subprocess.Popen(["bash", "-c", command], start_new_session=True,
                                        **kwargs)
        scratch.parties.append(self)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Recipes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch()
        try:
            cls.daemon = RecipeDaemon(cls.scratch, cls.here(recipe(
                "vhost-device-vsock --guest-cid 3 --socket /tmp/vhost3.socket --uds-path")))
            cls.guest = Guest(cls.daemon, machine=cls.machine())
            cls.uds = cls.daemon.uds()
        except BaseException:
            vm.show_logs(cls.scratch)
            cls.scratch.end()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.guest.kill()
            cls.daemon.stop()
        finally:
            cls.scratch.end()

    @classmethod
    def here(cls, command):
        return command.replace("/tmp/", cls.scratch.dir + "/")

    @classmethod
    def machine(cls):
        words = words_of(cls.here(recipe("qemu-system-x86_64 -accel kvm -m 1G")))
        words[words.index("kvm")] = vm.ACCEL
        disk = words.index("-drive")
        return words[1:disk] + words[disk + 2:]

    def need(self, program):
        if shutil.which(program) is None:
            self.skipTest(f"{program} is not installed")

    # Guest to host.

    def listen(self, command, socket_name):
        """Runs a listener with its output in a file; returns how to read that."""
        out = self.scratch.path("out")
        with open(out, "wb") as f:
            shell = Shell(self.scratch, self.here(command), stdin=subprocess.DEVNULL, stdout=f)
        path = self.here(socket_name)

        def end():
            shell.kill()
            if os.path.exists(path):
                os.unlink(path)
        self.addCleanup(end)
        wait_until(lambda: is_listening(path), f"somebody listens at {path}")

        def text():
            with open(out) as f:
                return f.read()
        return text

    def say(self, port, text):
        """`echo TEXT | socat - VSOCK-CONNECT:2:PORT`"""
        self.guest.run(f"connect vsock:2:{port}; say {text}; shut wr; eof").done()

    def check_listener(self, command):
        heard = self.listen(command, "/tmp/vm3.vsock_1234")
        for text in "hello", "again":           # `fork`, or `-k`: not once only
            self.say(1234, text)
        wait_until(lambda: heard() == "hello\nagain\n", "the host heard the guest")

    def test_guest_to_host(self):
        self.need("socat")
        self.check_listener(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_1234"))

    def test_guest_to_host_piped(self):
        self.need("socat")
        self.check_listener(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_1234") + " | cat")

    def test_guest_to_host_ncat(self):
        self.need("ncat")
        self.check_listener(recipe("ncat -lkU") + " /tmp/vm3.vsock_1234")

    def test_guest_to_host_nc(self):
        self.need_openbsd_nc()
        self.check_listener(recipe("nc -lkU").replace("nc", OPENBSD_NC, 1) + " /tmp/vm3.vsock_1234")

    def need_openbsd_nc(self):
        self.need(OPENBSD_NC)
        said = subprocess.run([OPENBSD_NC, "-h"], capture_output=True, text=True)
        if "OpenBSD" not in said.stderr:
            self.skipTest("nc is not OpenBSD's")

    def test_systemd_tells_when_it_is_ready(self):
        """Each message ends with the listener closing, and comes out as a line."""
        self.need("socat")
        heard = self.listen(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_9999"),
                            "/tmp/vm3.vsock_9999")
        for text in "STATUS=Starting", "READY=1":
            self.say(9999, text)
        wait_until(lambda: heard().split() == ["STATUS=Starting", "READY=1"], "both messages")

    # Host to guest.

    def check_client(self, command):
        listener = self.guest.listen("listen vsock:5000; accept; hear; eof; close")
        done = subprocess.run(["bash", "-c", self.here(command)], capture_output=True, text=True,
                              timeout=60 * SCALE)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("OK 5000\n", "", 0))
        self.assertEqual(listener.event("heard")["text"], "hello")
        listener.done()

    client = "(echo CONNECT 5000; echo hello) | socat -t 5 - UNIX-CONNECT:/tmp/vm3.vsock"

    def with_tool(self, tool):
        return recipe(self.client).replace("socat -t 5 - UNIX-CONNECT:", tool + " ")

    def test_host_to_guest(self):
        self.need("socat")
        self.check_client(recipe(self.client))

    def test_host_to_guest_piped(self):
        self.need("socat")
        self.check_client(recipe(self.client) + " | cat")

    def test_host_to_guest_ncat(self):
        self.need("ncat")
        self.check_client(self.with_tool(recipe("ncat -U")))

    def test_host_to_guest_nc(self):
        self.need_openbsd_nc()
        self.check_client(self.with_tool(recipe("nc -N -U").replace("nc", OPENBSD_NC, 1)))

    # ssh

    def proxy(self, port):
        path = self.scratch.path("vsock-ssh-proxy")
        with open(path, "w") as f:
            f.write(script("#!/usr/bin/env python3"))
        os.chmod(path, 0o755)
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        process = subprocess.Popen([path, self.uds, str(port)], stdout=theirs,
                                   stderr=subprocess.PIPE, text=True)
        theirs.close()
        _, said = process.communicate(timeout=60 * SCALE)
        with ours:
            return process.returncode, said, socket.recv_fds(ours, 1, 1)[1]

    def test_ssh_proxy(self):
        """What ssh does with it: takes the connection, and talks."""
        listener = self.guest.listen("listen vsock:22; accept; say SSH-2.0-guest; hear; eof")
        status, said, fds = self.proxy(22)
        self.assertEqual((status, said, len(fds)), (0, "", 1))
        with socket.socket(fileno=fds[0]) as s, s.makefile("rw") as f:
            self.assertEqual(f.readline(), "SSH-2.0-guest\n")
            f.write("SSH-2.0-host\n")
            f.flush()
            self.assertEqual(listener.event("heard")["text"], "SSH-2.0-host")
        listener.done()

    def test_ssh_proxy_without_sshd(self):
        self.assertEqual(self.proxy(23), (1, "nobody listens there\n", []))


if __name__ == "__main__":
    vm.main()
