# SPDX-License-Identifier: BSD-3-Clause
"""The recipes of the documents: how they are found, and what is run by them.

A recipe is what stands between backquotes, or in indented lines. It is run as it stands,
save for the folder of its sockets.
"""

import os
import re
import shlex
import signal
import subprocess
import unittest

import vm

ROOT = os.path.join(os.path.dirname(vm.HERE), "..")
README = os.path.join(ROOT, "README.md")
FRONT_ENDS = os.path.join(ROOT, "src", "data", "front-ends.md")


def text_of(document):
    with open(document) as f:
        return f.read()


def recipe(start, document=README):
    """The one command that starts so."""
    text = text_of(document)
    found = re.findall(r"`(" + re.escape(start) + r"[^`\n]*)`", text)
    for block in re.findall(r"(?:^(?:    .*)?\n)+", text, re.M):
        lines = [line[4:] for line in block.strip("\n").splitlines()]
        found += [m for m in re.findall(r"^(?:.*\\\n)*.*", "\n".join(lines), re.M)
                  if m.startswith(start)]
    assert len(found) == 1, f"recipes that start with {start!r}: {found}"
    return found[0]


def block(first_line, document=README):
    """All indented lines from that one on."""
    found = re.search("^    " + re.escape(first_line) + r"\n(?:    .*\n|\n(?=    ))*",
                      text_of(document), re.M)
    assert found, f"no block that starts with {first_line!r}"
    return re.sub("^    ", "", found.group(0), flags=re.M)


def words_of(command):
    return shlex.split(command.replace("\\\n", " "))


def sockets_in(folder, text):
    """The recipes' sockets are in /tmp."""
    return re.sub(r"/tmp/(?=vm3\.|vhost3\.)", lambda _: folder + "/", text)


def is_listening(path):
    with open("/proc/net/unix") as f:
        return any(words[-1] == path and int(words[3], 16) & 0x10000    # __SO_ACCEPTCON
                   for words in map(str.split, list(f)[1:]))


class RecipeDaemon(vm.Daemon):
    """Started by the first recipe."""

    def __init__(self, scratch):
        self.words = words_of(sockets_in(scratch.dir, recipe(
            "vhost-device-vsock --guest-cid 3 --socket /tmp/vhost3.socket --uds-path")))
        super().__init__(scratch)

    def arguments(self, groups):
        return self.words[1:]

    def front_socket(self, i=0):
        return self.words[self.words.index("--socket") + 1]

    def uds(self, i=0):
        return self.words[self.words.index("--uds-path") + 1]


class Shell:
    """A recipe of the host, in a process group of its own."""

    def __init__(self, scratch, command, **kwargs):
        self.process = subprocess.Popen(["bash", "-c", command], start_new_session=True,
                                        **kwargs)
        scratch.parties.append(self)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class RecipeTest(unittest.TestCase):
    """The daemon and the VM of the README; commands in `bin` are found before all others."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = vm.Scratch()
        try:
            cls.bin = cls.scratch.path("bin")
            os.mkdir(cls.bin)
            cls.env = {**os.environ, "PATH": f"{cls.bin}:{os.environ['PATH']}"}
            cls.daemon = RecipeDaemon(cls.scratch)
            cls.uds = cls.daemon.uds()
            cls.start_guest()
        except BaseException:
            vm.show_logs(cls.scratch)
            cls.scratch.end()
            raise

    @classmethod
    def start_guest(cls):
        cls.guest = vm.Guest(cls.daemon, machine=cls.machine())

    @classmethod
    def tearDownClass(cls):
        try:
            cls.guest.kill()
            cls.daemon.stop()
        finally:
            cls.scratch.end()

    @classmethod
    def sockets_here(cls, text):
        return sockets_in(cls.scratch.dir, text)

    @classmethod
    def machine(cls):
        """What the recipe for QEMU says, without its accelerator and its disk."""
        words = words_of(cls.sockets_here(recipe("qemu-system-x86_64 -accel kvm -m 1G")))
        words[words.index("kvm")] = vm.ACCEL
        disk = words.index("-drive")
        return words[1:disk] + words[disk + 2:]

    @classmethod
    def start(cls, command, **kwargs):
        """A command of the host, in the background."""
        return Shell(cls.scratch, cls.sockets_here(command), env=cls.env, cwd=cls.scratch.dir,
                     **kwargs)

    @classmethod
    def run_command(cls, command, stdin=b"", timeout=60):
        """What it says, what it complains of, and its status."""
        shell = cls.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
        try:
            out, err = shell.process.communicate(stdin, timeout * vm.SCALE)
        except subprocess.TimeoutExpired:
            raise vm.Timeout(f"still running: {command}") from None
        finally:
            shell.kill()
        return out.decode(errors="replace"), err.decode(errors="replace"), shell.process.returncode

    @classmethod
    def listen(cls, command, socket_name):
        """A listener with its output in a file: (how to read that, how to end it)."""
        path, out = cls.sockets_here(socket_name), cls.scratch.path("heard")
        with open(out, "wb") as f:
            shell = cls.start(command, stdin=subprocess.DEVNULL, stdout=f)

        def end():
            shell.kill()
            if os.path.exists(path):
                os.unlink(path)
        vm.wait_until(lambda: is_listening(path), f"somebody listens at {path}")
        return lambda: text_of(out), end
