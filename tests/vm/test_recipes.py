#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The README's recipes for host programs, taken from there and run as they stand.

What differs: the folder of the sockets, and where QEMU's disk, accelerator and the guest's
socat would be there are this guest's kernel, VM_ACCEL and agent. (In test_systemd.py the
guest has a socat.) A netcat that is not installed is Debian unstable's.
"""

import os
import shutil
import socket
import subprocess

import recipes
import sid
import vm
from recipes import block, recipe
from vm import SCALE, wait_until


def openbsd_nc():
    """nc may be another's."""
    for name in "nc.openbsd", "nc":
        path = shutil.which(name)
        if path and "OpenBSD" in subprocess.run([path, "-h"], capture_output=True,
                                                text=True).stderr:
            return path
    return None


class Recipes(recipes.RecipeTest):
    def need(self, name, package=None):
        """That command is the installed one, or else Debian unstable's."""
        installed = openbsd_nc() if name == "nc" else shutil.which(name)
        if os.path.exists(os.path.join(self.bin, name)):
            return
        if installed:
            os.symlink(installed, os.path.join(self.bin, name))
        else:
            root = sid.Root(package or name, package or name)
            root.add_to(self.bin, name, "usr/bin/" + ("nc.openbsd" if name == "nc" else name))

    def python(self, first_line):
        """A program of the README, as a command."""
        with open(self.scratch.path("recipe.py"), "w") as f:
            f.write(self.sockets_here(block(first_line)))
        return "python3 recipe.py"

    # Guest to host.

    def say(self, port, text):
        """`echo TEXT | socat - VSOCK-CONNECT:2:PORT`"""
        self.guest.run(f"connect vsock:2:{port}; say {text}; shut wr; eof").done()

    def check_listener(self, command):
        heard, end = self.listen(command, "/tmp/vm3.vsock_1234")
        self.addCleanup(end)
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
        self.need("nc", "netcat-openbsd")
        self.check_listener(recipe("nc -lkU") + " /tmp/vm3.vsock_1234")

    def test_guest_to_host_python(self):
        self.check_listener(self.python("# guest to host: prints what is said"))

    def test_systemd_tells_when_it_is_ready(self):
        """Each message ends with the listener closing, and comes out as a line."""
        self.need("socat")
        heard, end = self.listen(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_9999"),
                                 "/tmp/vm3.vsock_9999")
        self.addCleanup(end)
        for text in "STATUS=Starting", "READY=1":
            self.say(9999, text)
        wait_until(lambda: heard().split() == ["STATUS=Starting", "READY=1"], "both messages")

    # Host to guest.

    def check_client(self, command, out="OK 5000\n"):
        listener = self.guest.listen("listen vsock:5000; accept; hear; eof; close")
        self.assertEqual(self.run_command(command), (out, "", 0))
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
        self.need("nc", "netcat-openbsd")
        self.check_client(self.with_tool(recipe("nc -N -U")))

    def test_host_to_guest_python(self):
        self.check_client(self.python("# host to guest: connects, checks the answer"), "")

    def test_host_to_nobody_python(self):
        client = self.python("# host to guest: connects, checks the answer")
        self.assertEqual(self.run_command(client), ("", "nobody listens there\n", 1))

    # vsockctl

    def companion(self):
        """Where it is found first; False: it was not built."""
        path = os.environ.get("VSOCKCTL")
        if not path:
            self.skipTest("vsockctl was not built")
        if not os.path.exists(os.path.join(self.bin, "vsockctl")):
            os.symlink(path, os.path.join(self.bin, "vsockctl"))

    def test_vsockctl_listen(self):
        self.companion()
        heard, end = self.listen(recipe("vsockctl listen /tmp/vm3.vsock 1234"),
                                 "/tmp/vm3.vsock_1234")
        self.addCleanup(end)
        self.say(1234, "hello")
        wait_until(lambda: heard() == "hello\n", "the host heard the guest")

    def test_vsockctl_connect(self):
        self.companion()
        self.check_client(recipe("echo hello | vsockctl connect"), "")

    def test_vsockctl_wait_and_doctor(self):
        self.companion()
        wait = recipe("vsockctl wait /tmp/vm3.vsock 5000")
        doctor = recipe("vsockctl doctor /tmp/vm3.vsock 5000")
        out, _, status = self.run_command(doctor)
        self.assertEqual(status, 6, out)
        self.assertIn("Port 5000 is refused", out)
        waiting = self.start(wait, stdin=subprocess.DEVNULL)
        self.addCleanup(waiting.kill)
        listener = self.guest.listen("listen vsock:5000; accept; eof; close")
        self.assertEqual(waiting.process.wait(60 * SCALE), 0)
        listener.done()
        listener = self.guest.listen("listen vsock:5000; accept; eof; close")
        out, _, status = self.run_command(doctor)
        self.assertEqual(status, 0, out)
        self.assertIn("Nothing is wrong.", out)
        listener.done()

    # ssh

    def proxy(self, port):
        self.companion()
        command = recipe('ssh -o "ProxyCommand=vsockctl')
        words = recipes.words_of(recipes.words_of(self.sockets_here(command))[2].split("=", 1)[1])
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        process = subprocess.Popen(words[:-1] + [str(port)], stdout=theirs, env=self.env,
                                   executable=os.environ["VSOCKCTL"],
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
        self.assertEqual(self.proxy(23), (
            3, f"vsockctl: {self.uds}, port 23: nobody listens there\n", []))


if __name__ == "__main__":
    vm.main()
