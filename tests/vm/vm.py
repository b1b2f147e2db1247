# SPDX-License-Identifier: BSD-3-Clause
"""Real guests against the real daemon: what the tests of this folder share.

A test file is called with the daemon's path and speaks TAP. It drives three parties:
Daemon, Guest (QEMU with the image of image.sh) and, in the guest and on the host, the
same Agent (agent/agent.c), which runs socket scripts. Waiting is always for a
condition, with a deadline that only a failure reaches.

Environment: VM_ACCEL (tcg), VM_KERNEL (image.sh), VM_CACHE (where images are kept),
VM_SCALE (factor on all deadlines, for slow machines), VM_QEMU (a program, or "sid": that
of Debian unstable), VM_KEEP=1 (leave the scratch folders), TEST_SANDBOX (--sandbox for the
daemons).

Whatever ends a test program, by whichever signal, ends all that it started.
"""

import contextlib
import ctypes
import fnmatch
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ACCEL = os.environ.get("VM_ACCEL", "tcg")
KERNEL = os.environ.get("VM_KERNEL", "default")
CACHE = (os.environ.get("VM_CACHE") or
         os.path.join(os.environ.get("VM_BUILD", tempfile.gettempdir()), "vm-image"))
QEMU = os.environ.get("VM_QEMU", "qemu-system-x86_64")
SID = "sid"
SCALE = float(os.environ.get("VM_SCALE", "1"))
IMAGE = os.path.join(CACHE, KERNEL)
# An emulated timer that comes late, on a busy machine, is a broken one for the kernel: it panics.
KERNEL_WORDS = "console=ttyS0 quiet panic=-1 no_timer_check"
MIB = 1 << 20

# What runs behind it dies with us, even if we are killed.
LEASH = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
PR_SET_PDEATHSIG, CAP_SYS_PTRACE = 1, 19

daemon_path = None      # set by main()
qemu = [QEMU]           # how it is started; set by prepare_image()


def may_look_into_sandbox():
    with open("/proc/self/status") as f:
        caps = next(line.split()[1] for line in f if line.startswith("CapEff:"))
    return bool(int(caps, 16) >> CAP_SYS_PTRACE & 1)


# Linux 6.2 and newer tell everybody how many descriptors a process has.
MAY_LOOK = may_look_into_sandbox()
CAN_COUNT = MAY_LOOK or os.stat("/proc/self/fd").st_size > 0
SANDBOX = os.environ.get("TEST_SANDBOX", "" if CAN_COUNT else "off")
SUPERVISE = os.environ.get("TEST_SUPERVISE", "on")


class Timeout(AssertionError):
    pass


def wait_until(condition, what, timeout=30):
    """Return the first true value of condition()."""
    end = time.monotonic() + timeout * SCALE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f"after {timeout * SCALE:g} s still not: {what}")
        time.sleep(0.01)


def tail(path, n=25):
    with contextlib.suppress(OSError), open(path, errors="replace") as f:
        text = "".join(f.readlines()[-n:])
        return "".join(c for c in text if c.isprintable() or c in "\n\t")
    return ""


class Scratch:
    """A folder for sockets (their paths are short) and logs, and all that has to end."""

    made = []

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="vm-")
        self.parties = []
        Scratch.made.append(self)

    def path(self, name):
        return os.path.join(self.dir, name)

    def logs(self):
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                yield name, tail(self.path(name))

    def end(self):
        while self.parties:
            with contextlib.suppress(OSError):
                self.parties.pop().kill()
        if self in Scratch.made:
            Scratch.made.remove(self)
        if os.environ.get("VM_KEEP"):
            print(f"# kept: {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def sandbox_mode(extra):
    if not SANDBOX or any(arg.startswith("--sandbox") for arg in extra):
        return []
    return ["--sandbox", SANDBOX]


def supervise_mode(extra):
    if SUPERVISE == "on" or any(arg.startswith("--supervise") for arg in extra):
        return []
    return [f"--supervise={SUPERVISE}"]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


class Daemon:
    """The program under test; one VM per CID."""

    def __init__(self, scratch, cids=(3,), extra=(), groups=None):
        self.scratch = scratch
        self.cids = list(cids)
        self.log = scratch.path("daemon.log")
        self.is_supervised = "--supervise=off" not in [*supervise_mode(extra), *extra]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*LEASH, daemon_path, *self.arguments(groups or {}), *sandbox_mode(extra),
                 *supervise_mode(extra), *extra],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        scratch.parties.append(self)
        for i in range(len(self.cids)):
            wait_until(lambda: self.is_up(i), f"the daemon's socket for VM {i}")

    def arguments(self, groups):
        args = []
        for i, cid in enumerate(self.cids):
            if len(self.cids) == 1:
                args += ["--guest-cid", str(cid), "--socket", self.front_socket(i),
                         "--uds-path", self.uds(i)]
            else:
                args += ["--vm", f"guest-cid={cid},socket={self.front_socket(i)},"
                                 f"uds-path={self.uds(i)}"
                                 + (f",groups={groups[cid]}" if cid in groups else "")]
        return args

    def front_socket(self, i=0):
        return self.scratch.path(f"vm{i}.sock")

    def uds(self, i=0):
        return self.scratch.path(f"vm{i}.vsock")

    def is_up(self, i):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended: status {self.process.returncode}")
        return os.path.exists(self.front_socket(i))

    # Its processes: what was started, and where that is a supervisor, the engine.

    def find_engine(self):
        for pid in children_of(self.process.pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
                if f.read() == "vsock-engine\n":
                    return pid
        return None

    def engine(self):
        """The process that serves."""
        if not self.is_supervised:
            return self.process.pid
        return wait_until(self.find_engine, "an engine")

    def pids(self):
        return [self.process.pid] + ([self.engine()] if self.is_supervised else [])

    def upgrade(self):
        """Returns when another engine serves."""
        old = self.engine()
        self.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: old not in children_of(self.process.pid), "the old engine's end")
        assert self.engine() != old and self.is_alive(), "the daemon has ended"

    # What they cost: descriptors are the engine's, the rest is the sum.

    def fds(self):
        folder = f"/proc/{self.engine()}/fd"
        return os.stat(folder).st_size or len(os.listdir(folder))

    def tasks(self):
        return [f"/proc/{pid}/task/{task}" for pid in self.pids()
                for task in os.listdir(f"/proc/{pid}/task")]

    def wakeups(self):
        """How often their threads went to sleep."""
        n = 0
        for task in self.tasks():
            # One that closes descriptors may have ended meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                    open(f"{task}/status") as f:
                for line in f:
                    if line.startswith("voluntary_ctxt_switches"):
                        n += int(line.split()[1])
        return n

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ends as it should: at once, with status 0, nothing left, no complaint."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(15 * SCALE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("SIGTERM did not end the daemon") from None
        with open(self.log, errors="replace") as f:
            log = f.read()
        for word in ("Sanitizer", "runtime error:", "Assertion"):
            assert word not in log, f"{word} in the daemon's log:\n{log[-4000:]}"
        assert status == 0, f"the daemon ended with status {status}"
        for i in range(len(self.cids)):
            for path in (self.front_socket(i), self.uds(i)):
                assert not os.path.exists(path), f"{path} was left"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Job:
    """A script that runs (agent/agent.c)."""

    def __init__(self, agent, ident, script):
        self.agent, self.id, self.script = agent, ident, script
        self.events, self.result = [], None

    def __repr__(self):
        return f"{self.agent.name}: {self.script!r}"

    def event(self, name, timeout=60):
        """Take the next event of that name; what it said."""
        def find():
            for i, (n, values) in enumerate(self.events):
                if n == name:
                    del self.events[i]
                    return values
            if self.result is not None:
                raise AssertionError(f"{self} ended before {name}: {self.result}")
            return None
        return self.agent.wait(find, f"event {name} of {self}", timeout)

    def go(self):
        self.agent.order(f"go {self.id}")

    def status(self, timeout=30):
        """Where it is: {'step', 'sent', 'received'}."""
        self.agent.order(f"status {self.id}")
        return self.event("status", timeout)

    def kill(self):
        if self.result is None:
            self.agent.order(f"kill {self.id}")

    def wait(self, timeout=60):
        try:
            return self.agent.wait(lambda: self.result, f"the end of {self}", timeout)
        except Timeout as e:
            with contextlib.suppress(AssertionError):
                raise Timeout(f"{e}; it is at {self.status(5)}") from None
            raise

    def done(self, timeout=60):
        """Its values, once it is done; an error if it failed."""
        result = self.wait(timeout)
        assert result["how"] == "done", f"{self} failed: {result}"
        return result

    def failed(self, timeout=60):
        result = self.wait(timeout)
        assert result["how"] == "failed", f"{self} ought to fail: {result}"
        return result


class Agent:
    """Talks to an agent over two pipes or a socket."""

    def __init__(self, name, reader, writer):
        self.name, self.reader, self.writer = name, reader, writer
        self.changed = threading.Condition()
        self.jobs, self.next_id, self.n_ready, self.gone = {}, 0, 0, False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            for line in self.reader:
                with self.changed:
                    self.take(line.decode(errors="replace").strip())
                    self.changed.notify_all()
        with self.changed:
            self.gone = True
            self.lose_jobs("AGENT_GONE")
            self.changed.notify_all()

    def take(self, line):
        word = line.split()
        if word == ["ready"]:
            self.n_ready += 1
            self.lose_jobs("REBOOTED")
        job = self.jobs.get(word[0]) if word else None
        if job is None or len(word) < 2:
            return
        values = {}
        for w in word[2:]:
            key, _, value = w.partition("=")
            values[key] = int(value) if value.isdigit() and "sum" not in key else value
        if word[1] == "event" and len(word) > 2:
            values["text"] = line.split(None, 3)[3] if len(word) > 3 else ""
            job.events.append((word[2], values))
        elif word[1] in ("done", "failed"):
            job.result = {"how": word[1], **values}
            del self.jobs[job.id]

    def lose_jobs(self, error):
        for job in self.jobs.values():
            job.result = {"how": "failed", "verb": "", "error": error}
        self.jobs.clear()

    def wait(self, condition, what, timeout):
        end = time.monotonic() + timeout * SCALE
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise Timeout(f"after {timeout * SCALE:g} s still not: {what}")
                self.changed.wait(left)

    def order(self, line):
        self.writer.write(line.encode() + b"\n")
        self.writer.flush()

    def run(self, script, threads=1):
        script = " ".join(script.split())
        with self.changed:
            self.next_id += 1
            job = Job(self, f"{self.name}{self.next_id}", script)
            self.jobs[job.id] = job
        self.order(f"run {job.id} {threads} {script}")
        return job

    def listen(self, script, threads=1):
        """Run a script that starts with `listen`; it does when this returns."""
        job = self.run(script, threads)
        job.event("listening")
        return job

    def kill_jobs(self):
        with self.changed:
            jobs = list(self.jobs.values())
        for job in jobs:
            job.kill()
        for job in jobs:
            job.wait()


class Host(Agent):
    """The agent on this side."""

    def __init__(self, scratch):
        self.process = subprocess.Popen([*LEASH, os.path.join(IMAGE, "agent"), "-"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        scratch.parties.append(self)
        super().__init__("host", self.process.stdout, self.process.stdin)
        self.wait(lambda: self.n_ready, "the agent on the host", 10)

    def kill(self):
        if self.process.poll() is None:
            self.process.stdin.close()      # it ends its jobs, then itself
            self.process.wait()


def machine_args(front_socket, memory_mib, device):
    return ["-accel", ACCEL, "-m", f"{memory_mib}M",
            "-object", f"memory-backend-memfd,id=mem0,size={memory_mib}M,share=on",
            "-machine", "q35,memory-backend=mem0",
            "-chardev", f"socket,id=vsk0,path={front_socket}",
            "-device", f"vhost-user-vsock-pci,chardev=vsk0{device}"]


class Guest:
    """A virtual machine; `agent` talks to the inside. `machine`: instead of machine_args();
    `words`: for the kernel's command line; `initrd`: instead of the image's, see behind_image()."""

    n_made = 0

    def __init__(self, daemon, vm=0, memory_mib=256, wait=True, device="", extra=(),
                 machine=None, words="", initrd=None):
        Guest.n_made += 1
        self.control = self.qmp_socket = None
        scratch = daemon.scratch
        self.name = f"guest{Guest.n_made}"
        self.log = scratch.path(f"{self.name}-qemu.log")
        control, qmp = scratch.path(f"{self.name}.ctl"), scratch.path(f"{self.name}.qmp")
        args = [
            *LEASH, *qemu, "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none",
            *(machine or machine_args(daemon.front_socket(vm), memory_mib, device)),
            "-kernel", os.path.join(IMAGE, "vmlinuz"),
            "-initrd", initrd or os.path.join(IMAGE, "initrd.img"),
            "-append", f"{KERNEL_WORDS} {words}",
            "-serial", f"file:{scratch.path(self.name + '-console.log')}",
            "-serial", f"unix:{control},server=on,wait=off",
            "-qmp", f"unix:{qmp},server=on,wait=off", *extra]
        if ACCEL != "tcg":
            args += ["-cpu", "host"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        scratch.parties.append(self)
        self.control = self.dial(control)
        self.agent = Agent(self.name, self.control.makefile("rb"),
                           self.control.makefile("wb"))
        self.qmp_socket = self.dial(qmp)
        self.qmp = self.qmp_socket.makefile("rwb")
        self.qmp.readline()                 # the greeting
        self.command("qmp_capabilities")
        if wait:
            self.wait_ready()

    def dial(self, path):
        s = socket.socket(socket.AF_UNIX)

        def connected():
            if self.process.poll() is not None:
                raise AssertionError(f"QEMU ended: {tail(self.log)}")
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                s.connect(path)
                return True
            return False
        wait_until(connected, f"QEMU's socket {path}")
        return s

    def wait_ready(self, boots=1):
        self.agent.wait(lambda: self.agent.n_ready >= boots, "the guest's agent", 90)

    def command(self, name, **arguments):
        self.qmp_socket.settimeout(30 * SCALE)
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}).encode())
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "event" not in answer:
                assert "return" in answer, f"{name}: {answer}"
                return answer["return"]

    def run(self, script, threads=1):
        return self.agent.run(script, threads)

    def listen(self, script, threads=1):
        return self.agent.listen(script, threads)

    def reset(self):
        """As the reset button: the guest is not asked."""
        self.command("system_reset")

    def peripherals(self):
        """Devices that have a name."""
        return [child["name"] for child in self.command("qom-list", path="/machine/peripheral")]

    def kill(self):
        """SIGKILL, as the OOM killer would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for s in (self.control, self.qmp_socket):
            with contextlib.suppress(OSError, AttributeError):
                s.shutdown(socket.SHUT_RDWR)


def dial(path, port, timeout=30):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout * SCALE)
    s.connect(path)
    line = b""
    # It may hang up before it read what we wrote, or before we wrote.
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        s.sendall(f"CONNECT {port}\n".encode())
        while not line.endswith(b"\n"):
            byte = s.recv(1)
            if not byte:
                break
            line += byte
    return s, line.decode()


class VmTest(unittest.TestCase):
    """A daemon, a guest for each of its VMs, the host; shared by the tests of a class."""

    cids = (3,)
    daemon_class = Daemon
    daemon_args = ()
    groups = {}                         # of a CID; else the default group
    next_port = 1000

    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch()
        try:
            cls.daemon = cls.daemon_class(cls.scratch, cls.cids, cls.daemon_args, cls.groups)
            cls.host = Host(cls.scratch)
            cls.guests = [cls.make_guest(i) for i in range(len(cls.cids))]
            for guest in cls.guests:
                guest.wait_ready()
            cls.guest = cls.guests[0]
            cls.quiet_fds = cls.daemon.fds()
        except BaseException:
            show_logs(cls.scratch)
            cls.scratch.end()
            raise

    @classmethod
    def make_guest(cls, i):
        """Of the VM with that index; it need not be up yet."""
        return Guest(cls.daemon, i, wait=False)

    @classmethod
    def tearDownClass(cls):
        try:
            for guest in cls.guests:
                guest.kill()
            cls.daemon.stop()
        except BaseException:
            show_logs(cls.scratch)
            raise
        finally:
            cls.scratch.end()

    def tearDown(self):
        """Whatever a test did, the daemon ends it with as many descriptors as before."""
        for agent in [self.host] + [g.agent for g in self.guests]:
            agent.kill_jobs()
        assert self.daemon.is_alive(), "the daemon is gone"
        wait_until(lambda: self.daemon.fds() <= self.quiet_fds,
                   "the daemon closed all descriptors of the test")

    def port(self):
        VmTest.next_port += 1
        return VmTest.next_port

    def dial(self, port, vm=0, timeout=30):
        """CONNECT, and the answer: (socket, line); the line is empty if it hung up."""
        return dial(self.daemon.uds(vm), port, timeout)

    # A connection: a script for each end, run at the same time.

    def start_from_guest(self, guest_steps, host_steps, threads=1, vm=0):
        port = self.port()
        host = self.host.listen(f"listen unix:{self.daemon.uds(vm)}_{port}; accept;"
                                + host_steps, threads)
        guest = self.guests[vm].run(f"connect vsock:2:{port};" + guest_steps, threads)
        return guest, host

    def start_from_host(self, guest_steps, host_steps, threads=1, vm=0):
        port = self.port()
        guest = self.guests[vm].listen(f"listen vsock:{port}; accept;" + guest_steps,
                                       threads)
        host = self.host.run(f"connect hybrid:{port}:{self.daemon.uds(vm)};" + host_steps,
                             threads)
        return guest, host

    def start(self, opener, *args, **kwargs):
        return (self.start_from_guest if opener == "guest" else
                self.start_from_host)(*args, **kwargs)

    def finish(self, guest, host, timeout=60):
        """Both did all their steps, and each side got what the other sent."""
        g, h = guest.done(timeout), host.done(timeout)
        self.assertEqual((g["sent"], g["out_sum"]), (h["received"], h["in_sum"]))
        self.assertEqual((h["sent"], h["out_sum"]), (g["received"], g["in_sum"]))
        return g, h

    def exchange(self, opener, guest_steps, host_steps, threads=1, timeout=60, vm=0):
        return self.finish(*self.start(opener, guest_steps, host_steps, threads, vm),
                           timeout)


# ---- TAP ----

def note(text):
    for line in str(text).rstrip().splitlines():
        print("#", line, flush=True)


def complain(text):
    """Where meson shows it: it keeps the notes of a test to itself."""
    print(str(text).rstrip(), file=sys.stderr, flush=True)


def show_logs(scratch):
    for name, text in scratch.logs():
        if text:
            complain(f"--- end of {name}\n{text}")


class TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.n = 0

    def line(self, ok, test, comment=""):
        self.n += 1
        name = test.id().replace("__main__.", "")
        print(f"{'ok' if ok else 'not ok'} {self.n} - {name}{comment}", flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)
        note(f"{time.monotonic() - self.started:.1f} s")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, f" # SKIP {reason}")

    def bad(self, test, err):
        self.line(False, test)
        complain(f"*** {test.id()}")
        complain("".join(traceback.format_exception(*err)))
        scratch = getattr(getattr(test, "test_case", test), "scratch", None)
        if scratch and os.path.isdir(scratch.dir):
            show_logs(scratch)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.bad(subtest, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.bad(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.bad(test, err)


def skip_all(reason):
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)


def make(what, command, **env):
    """Runs what makes something; skips the file, with its last words, if it cannot be had."""
    made = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if made.returncode == 77:
        skip_all(made.stderr.strip().splitlines()[-1])
    if made.returncode != 0:
        complain(made.stderr)
        print(f"Bail out! no {what}", flush=True)
        sys.exit(1)
    note(made.stdout)


def archive(folder, unwanted=()):
    """A folder as the kernel takes it for a root, without what matches these patterns."""
    def is_wanted(name):
        return not any(fnmatch.fnmatch(name, pattern) for pattern in unwanted)

    names = []
    for place, folders, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        folders[:] = [f for f in folders if is_wanted(os.path.normpath(f"{inside}/{f}"))]
        names += [os.path.normpath(f"{inside}/{name}") for name in folders + files]
    names = filter(is_wanted, names)
    return subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=folder,
                          input="\n".join(sorted(names)).encode(),
                          stdout=subprocess.PIPE, check=True).stdout


def behind_image(path, *archives):
    """The image with more archives behind it, which the kernel unpacks over it."""
    with open(os.path.join(IMAGE, "initrd.img"), "rb") as f:
        image = f.read()
    with open(path, "wb") as f:
        for part in (image, *archives):
            f.write(part + b"\0" * (-len(part) % 512))
    return path


def sid_command(name, *packages):
    """What unpacks packages of Debian unstable; the folder; its environment. All builds share it."""
    root = os.path.join(os.path.abspath(CACHE), f"sid-{name}")
    return ([os.path.join(HERE, "..", "lib", "sid.sh"), root, *packages], root,
            {"SID_CACHE": os.path.join(os.path.abspath(CACHE), "sid-cache")})


def sid_qemu():
    unpack, root, env = sid_command("qemu", "qemu-system-x86")
    make("QEMU", unpack, **env)
    command = [os.path.join(root, "run"), "usr/bin/qemu-system-x86_64"]
    for folder in "qemu", "seabios":
        command += ["-L", os.path.join(root, "usr/share", folder)]
    return command


def ask_qemu(*args):
    return subprocess.run([*qemu, *args], capture_output=True, text=True).stdout


def device_options(driver):
    """Its list of them; empty: this QEMU has no such device."""
    return ask_qemu("-device", f"{driver},help")


def says_reset():
    """By RESET_DEVICE, so that a stop of whatever length is a pause: since QEMU 10."""
    return int(ask_qemu("--version").partition("version ")[2].partition(".")[0]) >= 10


def prepare_image():
    """Skips the file, with what is missing, if there can be no guest."""
    global qemu
    if QEMU == SID:
        qemu = sid_qemu()
    elif shutil.which(QEMU) is None:
        skip_all(f"no {QEMU}")
    if not device_options("vhost-user-vsock-pci"):
        skip_all(f"{QEMU} has no vhost-user-vsock-pci")
    make("guest image", [os.path.join(HERE, "image.sh"), IMAGE])


def interrupt(signum, frame):
    raise KeyboardInterrupt         # the one that unittest lets through


@contextlib.contextmanager
def all_ends_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for signum in signal.SIGTERM, signal.SIGHUP:
        signal.signal(signum, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(1)
    finally:
        for signum in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
            signal.signal(signum, signal.SIG_IGN)
        while Scratch.made:
            Scratch.made[-1].end()


def main():
    """DAEMON [TEST...], where a test is Class or Class.method."""
    global daemon_path
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} DAEMON [CLASS[.METHOD]...]")
    daemon_path = os.path.abspath(sys.argv[1])
    prepare_image()
    module = sys.modules["__main__"]
    loader = unittest.defaultTestLoader
    suite = (loader.loadTestsFromNames(sys.argv[2:], module) if sys.argv[2:] else
             loader.loadTestsFromModule(module))
    result = TapResult()
    with all_ends_with_us():
        suite.run(result)
    print(f"1..{result.n}", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)
