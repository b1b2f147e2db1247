#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Debian unstable's systemd, OpenSSH and socat, at both ends.

The guest boots unstable's systemd as PID 1. It binds sshd to vsock port 22 by itself
(systemd-ssh-generator), gets a key as a credential, and says how far the boot is. On the host
ssh and scp come in through systemd-ssh-proxy. The recipes are those of README.md and
front-ends.md, run as they stand but for the folder of the sockets and the place of
systemd-ssh-proxy.
"""

import contextlib
import hashlib
import os
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading

import recipes
import sid
import vm
from recipes import FRONT_ENDS, block, recipe
from vm import MIB, wait_until

PACKAGES = "systemd", "openssh-client", "openssh-server", "socat"
PROXY = "/usr/lib/systemd/systemd-ssh-proxy"
SNIPPET = "usr/lib/systemd/ssh_config.d/20-systemd-ssh-proxy.conf"
MACHINE_ID = "0123456789abcdef0123456789abcdef"

# What the guest does without.
UNWANTED = ("run", ".packages", "var", "usr/share", "usr/bin/perl*", "usr/lib/*/perl*",
            "usr/lib/*/gconv")

GUEST_FILES = {
    "script": """\
for module in /modules/*.ko; do
	/bin/busybox insmod $module
done
exec /usr/lib/systemd/systemd
""",
    "etc/passwd": """\
root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin
""",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:::::::\n",
    "etc/os-release": "ID=debian\n",
    "etc/machine-id": MACHINE_ID + "\n",
    "etc/ssh/sshd_config": "UsePAM no\nSubsystem sftp /usr/lib/openssh/sftp-server\n",
    "etc/systemd/system/default.target": "[Unit]\nRequires=basic.target\nAfter=basic.target\n",
}

GUEST_LINKS = {
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "root/.keep": "/dev/null",
    "etc/systemd/system/ldconfig.service": "/dev/null",
    **{f"usr/bin/{name}": "/bin/busybox"
       for name in ("cat", "echo", "head", "mount", "seq", "sh", "sha256sum", "tr", "umount")},
    "bin/sh": "busybox",
}


def some_bytes(n, seed=1):
    return random.Random(seed).randbytes(n)


class SystemdTest(recipes.RecipeTest):
    """A guest with systemd and sshd, and the host's ssh, scp and socat."""

    @classmethod
    def setUpClass(cls):
        cls.root = sid.Root("systemd", *PACKAGES)
        super().setUpClass()

    @classmethod
    def start_guest(cls):
        cls.add_commands()
        cls.start_listeners()
        cls.guest = vm.Guest(cls.daemon, machine=cls.machine(), wait=False,
                             initrd=cls.make_initrd(), extra=cls.credentials())

    @classmethod
    def start_listeners(cls):
        """What is there before the guest."""

    @classmethod
    def make_initrd(cls):
        own = cls.scratch.path("root")
        for name, text in GUEST_FILES.items():
            os.makedirs(os.path.dirname(os.path.join(own, name)), exist_ok=True)
            with open(os.path.join(own, name), "w") as f:
                f.write(text)
        for name, target in GUEST_LINKS.items():
            os.makedirs(os.path.dirname(os.path.join(own, name)), exist_ok=True)
            os.symlink(target, os.path.join(own, name))
        os.link(cls.scratch.path("host_key"), os.path.join(own, "etc/ssh/ssh_host_ed25519_key"))
        return vm.behind_image(cls.scratch.path("initrd"), vm.archive(cls.root.dir, UNWANTED),
                               vm.archive(own))

    @classmethod
    def add_commands(cls):
        """ssh, scp and socat, and what is in ~/.ssh of the recipes."""
        for name in "id_ed25519", "host_key":
            cls.root.run("usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                         cls.scratch.path(name))
        with open(cls.scratch.path("host_key.pub")) as f, \
                open(cls.scratch.path("known_hosts"), "w") as known:
            known.write("* " + f.read())
        with open(cls.scratch.path("ssh_config"), "w") as f:
            f.write(cls.proxy_here(block("Host vm3", FRONT_ENDS)))
            f.write(cls.proxy_here(recipes.text_of(os.path.join(cls.root.dir, SNIPPET))))
            f.write(f"""
Host *
    IdentityFile {cls.scratch.path("id_ed25519")}
    IdentitiesOnly yes
    IdentityAgent none
    BatchMode yes
    LogLevel ERROR
    StrictHostKeyChecking yes
    UserKnownHostsFile {cls.scratch.path("known_hosts")}
    GlobalKnownHostsFile /dev/null
""")
        cls.root.add_to(cls.bin, "ssh", "usr/bin/ssh", "-F", cls.scratch.path("ssh_config"))
        cls.root.add_to(cls.bin, "scp", "usr/bin/scp", "-S", os.path.join(cls.bin, "ssh"))
        cls.root.add_to(cls.bin, "socat", "usr/bin/socat")
        cls.env["SHELL"] = "/bin/sh"

    @classmethod
    def proxy_here(cls, text):
        return cls.sockets_here(text).replace(PROXY, cls.root.command(PROXY[1:]))

    @classmethod
    def credentials(cls):
        """QEMU's arguments: where PID 1 says what it does, and root's key."""
        start = "-smbios type=11,value=io.systemd.credential"
        words, _, _ = cls.run_command(
            f"printf '%s\\n' {recipe(start + ':')} {recipe(start + '.binary:', FRONT_ENDS)}")
        return words.split()

    @classmethod
    def wait_for_sshd(cls):
        def banner():
            s, answer = vm.dial(cls.uds, 22)
            with s:
                return answer and s.recv(7) == b"SSH-2.0"
        wait_until(banner, "sshd in the guest", 150)

    def ssh(self, command, stdin=b"", timeout=60):
        """By the shortest way."""
        return self.run_command(f"ssh vm3 {shlex.quote(command)}", stdin, timeout)


class Boot(SystemdTest):
    """From the first message of PID 1 to the last."""

    @classmethod
    def start_listeners(cls):
        cls.listener = cls.listen(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_9999"),
                                  "/tmp/vm3.vsock_9999")

    def test_pid_1_tells_how_far_it_is(self):
        heard, end = self.listener
        self.addCleanup(end)
        wait_until(lambda: "READY=1" in heard(), "systemd in the guest is ready", 150)
        self.wait_for_sshd()
        self.ssh("systemctl poweroff")
        self.assertEqual(self.guest.process.wait(60 * vm.SCALE), 0)
        # The guest waits for the end of each message, but not until socat has written it.
        wait_until(lambda: heard().endswith("X_SYSTEMD_SHUTDOWN=poweroff\n"), "the last message")
        lines = heard().splitlines()
        for line in lines:
            self.assertRegex(line, r"\A[A-Z_]+=.+\Z")
        self.assertEqual(lines[0], f"X_SYSTEMD_MACHINE_ID={MACHINE_ID}")
        self.assertEqual(lines.count("READY=1"), 1)
        steps = [lines.index(line) for line in (
            "X_SYSTEMD_UNIT_ACTIVE=sockets.target", "X_SYSTEMD_UNIT_ACTIVE=default.target",
            "READY=1", "X_SYSTEMD_UNIT_ACTIVE=poweroff.target", "EXIT_STATUS=0")]
        self.assertEqual(steps, sorted(steps))


class Listener(threading.Thread):
    """A host program that systemd-notify talks to: keeps each message, whole."""

    def __init__(self, path, kind=socket.SOCK_STREAM):
        super().__init__(daemon=True)
        self.socket, self.path, self.kind = socket.socket(socket.AF_UNIX, kind), path, kind
        self.socket.bind(path)
        self.socket.listen(100)
        self.messages = []
        self.may_read, self.may_close = threading.Event(), threading.Event()
        self.may_read.set()
        self.may_close.set()
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.may_read.wait()
            with connection:
                # To its end: systemd-notify fails where it finds the other end closed first.
                parts = iter(lambda c=connection: c.recv(65536), b"")
                self.messages.append(b"".join(parts).decode())
                self.may_close.wait()

    def end(self):
        self.may_read.set()
        self.may_close.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.join()
        os.unlink(self.path)


class Clients(SystemdTest):
    """What goes on between the two, once the guest is up. Nobody listens to its boot."""

    @classmethod
    def start_guest(cls):
        super().start_guest()
        cls.wait_for_sshd()
        cls.quiet_fds = cls.daemon.fds()        # one more, if that is not closed yet

    def setUp(self):
        self.addCleanup(self.check_descriptors)     # the last one

    def check_descriptors(self):
        wait_until(lambda: self.daemon.fds() <= self.quiet_fds,
                   "the daemon closed all descriptors of the test")

    # ssh

    def check_login(self, command):
        self.assertEqual(self.run_command(command + " 'cat /etc/machine-id; exit 7'"),
                         (MACHINE_ID + "\n", "", 7))

    def test_ssh_by_vsockctl(self):
        if not os.environ.get("VSOCKCTL"):
            self.skipTest("vsockctl was not built")
        os.symlink(os.environ["VSOCKCTL"], os.path.join(self.bin, "vsockctl"))
        self.check_login(recipe('ssh -o "ProxyCommand=vsockctl'))

    def test_ssh_by_systemd_ssh_proxy(self):
        self.check_login(self.proxy_here(recipe(f'ssh -o "ProxyCommand={PROXY}', FRONT_ENDS)))

    def in_lower_case(self, command):
        """ssh makes names of hosts so; the scratch folder may have a name with capitals."""
        folder = tempfile.mkdtemp(dir="/tmp")
        self.addCleanup(shutil.rmtree, folder)
        os.symlink(self.uds, os.path.join(folder, "vm3.vsock"))
        return command.replace("/tmp/", folder + "/")

    def test_ssh_by_the_snippet(self):
        self.check_login(self.in_lower_case(recipe("ssh root@vsock-mux/tmp/vm3.vsock", FRONT_ENDS)))

    def test_ssh_by_a_name(self):
        self.check_login("ssh vm3")

    def test_ssh_to_nobody(self):
        """It is told at once; nothing is waited for."""
        out, err, status = self.run_command(
            self.in_lower_case("ssh -p 23 root@vsock-mux/tmp/vm3.vsock true"))
        self.assertEqual((out, status), ("", 255))
        self.assertNotEqual(err, "")

    def check_scp(self, options=""):
        data = some_bytes(16 * MIB)
        with open(self.scratch.path("sent"), "wb") as f:
            f.write(data)
        name = "/root/" + os.urandom(4).hex()
        self.assertEqual(self.run_command(f"scp {options} sent vm3:{name}", timeout=120),
                         ("", "", 0))
        self.assertEqual(self.ssh(f"sha256sum {name}"),
                         (f"{hashlib.sha256(data).hexdigest()}  {name}\n", "", 0))
        self.assertEqual(self.run_command(f"scp {options} vm3:{name} received", timeout=120),
                         ("", "", 0))
        with open(self.scratch.path("received"), "rb") as f:
            self.assertTrue(f.read() == data, "what came back is not what was sent")
        self.ssh("rm " + name)

    def test_scp(self):
        self.check_scp()

    def test_scp_by_its_old_protocol(self):
        self.check_scp("-O")

    def start_session(self, command):
        shell = self.start("ssh vm3 " + shlex.quote(command), stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

        def end():
            shell.kill()
            for pipe in shell.process.stdin, shell.process.stdout:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.addCleanup(end)
        return shell

    def start_cat(self):
        """Sends back what it gets."""
        return self.start_session("cat").process

    def check_cat(self, process, data, while_it_runs=lambda: None):
        """Both ways at once; half of it before that is done, half after."""
        half = len(data) // 2
        was_done = threading.Event()
        back = []

        def write():
            process.stdin.write(data[:half])
            process.stdin.flush()
            was_done.wait()
            process.stdin.write(data[half:])
            process.stdin.close()
        writer = threading.Thread(target=write, daemon=True)
        reader = threading.Thread(target=lambda: back.append(process.stdout.read(half // 2)) or
                                  back.append(process.stdout.read()), daemon=True)
        writer.start()
        reader.start()
        wait_until(lambda: back, "some of it came back", 60)
        while_it_runs()
        was_done.set()
        for thread in writer, reader:
            thread.join(120 * vm.SCALE)
        self.assertFalse(reader.is_alive(), "not all came back")
        self.assertTrue(b"".join(back) == data, "what came back is not what was sent")
        self.assertEqual(process.wait(30 * vm.SCALE), 0)

    def test_both_ways_at_once(self):
        self.check_cat(self.start_cat(), some_bytes(16 * MIB))

    def test_an_upgrade_during_a_session(self):
        if not self.daemon.is_supervised:
            self.skipTest("no supervisor, no upgrade")
        self.check_cat(self.start_cat(), some_bytes(8 * MIB), self.daemon.upgrade)

    def test_many_sessions(self):
        failed = []

        def check(process, seed):
            try:
                self.check_cat(process, some_bytes(MIB, seed))
            except Exception as e:          # told below: this is a thread
                failed.append(e)
        threads = [threading.Thread(target=check, args=(self.start_cat(), i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])

    def test_a_client_that_is_killed(self):
        """The guest's end of the session goes, too."""
        shell = self.start_session("echo $$; exec cat")
        pid = int(shell.process.stdout.readline())
        self.assertEqual(self.ssh(f"kill -0 {pid}"), ("", "", 0))
        shell.kill()
        wait_until(lambda: self.ssh(f"kill -0 {pid}")[2] == 1, "the session ended in the guest")

    def test_a_server_that_is_killed(self):
        process = self.start_session("echo here; read line; kill -9 $PPID; exec cat").process
        self.assertEqual(process.stdout.readline(), b"here\n")
        process.stdin.write(b"go\n")
        process.stdin.flush()
        self.assertEqual(process.wait(30 * vm.SCALE), 255)

    # sd_notify

    def listener(self, port, kind=socket.SOCK_STREAM):
        listener = Listener(f"{self.uds}_{port}", kind)
        self.addCleanup(listener.end)
        return listener

    def notify(self, port, options, kind="vsock-stream"):
        return self.ssh(f"NOTIFY_SOCKET={kind}:2:{port} systemd-notify {options}")

    def test_notify(self):
        """A message for each connection, whole."""
        listener = self.listener(2001)
        self.assertEqual(self.notify(2001, "--ready --status='all is well'"), ("", "", 0))
        self.assertEqual(listener.messages, ["READY=1\nSTATUS=all is well", "BARRIER=1"])

    def test_notify_by_seqpacket(self):
        listener = self.listener(2006, socket.SOCK_SEQPACKET)
        self.assertEqual(self.notify(2006, "--ready --status='all is well'", "vsock-seqpacket"),
                         ("", "", 0))
        self.assertEqual(listener.messages, ["READY=1\nSTATUS=all is well", "BARRIER=1"])

    def start_notify(self, port, options):
        command = f"NOTIFY_SOCKET=vsock-stream:2:{port} systemd-notify --no-block {options}"
        ssh = self.start("ssh vm3 " + shlex.quote(command), stdin=subprocess.DEVNULL)
        self.addCleanup(ssh.kill)
        return ssh

    def check_notify_waits(self, ssh):
        """In that time the guest has sent all that it can."""
        wait_until(lambda: self.ssh("pgrep -c systemd-notify") == ("1\n", "", 0),
                   "systemd-notify waits")
        self.assertIsNone(ssh.process.poll())

    def test_notify_more_than_a_socket_holds(self):
        """Its end is not told before the rest of it."""
        listener = self.listener(2005)
        listener.may_read.clear()
        ssh = self.start_notify(2005, "--status=$(head -c 90000 /dev/zero | tr '\\0' x)" + "".join(
            f" {name}=$(head -c 90000 /dev/zero | tr '\\0' x)" for name in "ABC"))
        self.check_notify_waits(ssh)
        listener.may_read.set()
        self.assertEqual(ssh.process.wait(30 * vm.SCALE), 0)
        self.assertEqual([sorted(message.split("\n")) for message in listener.messages],
                         [[f"{name}=" + "x" * 90000 for name in ("A", "B", "C", "STATUS")]])

    def test_notify_waits_until_the_listener_closes(self):
        listener = self.listener(2002)
        listener.may_close.clear()
        ssh = self.start_notify(2002, "--stopping")
        wait_until(lambda: listener.messages, "the message")
        self.assertEqual(listener.messages, ["STOPPING=1"])
        self.check_notify_waits(ssh)
        listener.may_close.set()
        self.assertEqual(ssh.process.wait(30 * vm.SCALE), 0)

    def test_many_notify_at_once(self):
        listener = self.listener(2003)
        self.assertEqual(self.ssh("""
            export NOTIFY_SOCKET=vsock-stream:2:2003
            for i in $(seq 30); do systemd-notify --no-block --status=$i & done
            wait"""), ("", "", 0))
        self.assertEqual(sorted(listener.messages), sorted(f"STATUS={i + 1}" for i in range(30)))

    def test_notify_nobody(self):
        out, err, status = self.notify(2004, "--ready")
        self.assertEqual((out, status), ("", 1))
        self.assertIn("Connection reset by peer", err)

    # The guest's half of the README's recipes, by a socat in the guest.

    def test_guest_to_host(self):
        heard, end = self.listen(recipe("socat -u UNIX-LISTEN:/tmp/vm3.vsock_1234"),
                                 "/tmp/vm3.vsock_1234")
        self.addCleanup(end)
        for _ in range(2):
            self.assertEqual(self.ssh(recipe("echo hello | socat")), ("", "", 0))
        wait_until(lambda: heard() == "hello\nhello\n", "the host heard the guest")

    def test_host_to_guest(self):
        listener = recipe("socat -u VSOCK-LISTEN:5000")
        with open(self.scratch.path("guest-heard"), "wb") as f:
            ssh = self.start(f"ssh vm3 {shlex.quote(listener)}", stdin=subprocess.DEVNULL,
                             stdout=f, stderr=subprocess.DEVNULL)
        self.addCleanup(ssh.kill)
        self.addCleanup(self.ssh, "pkill socat")

        def is_there():
            s, answer = vm.dial(self.uds, 5000)
            s.close()
            return answer
        wait_until(is_there, "socat in the guest")
        client = recipe("(echo CONNECT 5000; echo hello) | socat")
        for _ in range(2):
            self.assertEqual(self.run_command(client), ("OK 5000\n", "", 0))
        wait_until(lambda: recipes.text_of(self.scratch.path("guest-heard")) == "hello\nhello\n",
                   "the guest heard the host")


if __name__ == "__main__":
    vm.main()
