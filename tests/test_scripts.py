#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the scripts share: ending with all that was started, set-ups, packages, what is
fetched. TAP.

    tests/test_scripts.py [CLASS[.METHOD]...]

Each test runs a small script that sources the shared file, and where it is about the
terminal, on one: a pseudo-terminal of its own.
"""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
DEADLINE = 30


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {DEADLINE} s still not: {what}")
        time.sleep(0.02)
    return value


def is_gone(pid):
    """Or dead, and nobody has asked after it yet."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] == "Z"
    return True


class Scripts(unittest.TestCase):
    """A folder, and scripts in it."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="s-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), 0o755)

    def read(self, name):
        try:
            with open(self.path(name)) as f:
                return f.read()
        except FileNotFoundError:
            return ""


# A job that heeds no signal, what has left its group, a daemon that hides its environment,
# and a file; all of it is there once "ready" has been said. Each says who it is in a file.
STUBBORN = """
set -euo pipefail
. "$1/jobs.sh"
begin_work
echo "$work" >"$2/work"
echo kept >"$work/file"
cat >"$work/stubborn" <<'EOS'
trap '' INT TERM HUP
sleep 1000 & echo $! >"$2/pid1"
setsid sh -c 'echo $$ >"$2/pid2"; trap "" INT TERM HUP; while :; do sleep 1000; done' sh "$1" "$2" &
env -i PATH="$PATH" setsid bash -c '
	trap "" TERM; echo $$ >"$0/pid3"
	exec -a /bin/vhost-device-vsock python3 -c "import time; time.sleep(1000)" --socket "$1/s"
' "$2" "${0%/*}" &
echo $$ >"$2/pid4"
while [ ! -s "$2/pid2" ] || [ ! -s "$2/pid3" ]; do sleep 0.01; done
echo ready
wait
EOS
attend sh "$work/stubborn" "$1" "$2"
echo "not reached"
"""


class Jobs(Scripts):
    """Nothing stays, whatever ends the script."""

    def start(self, text):
        self.write("script", text)
        pid, self.terminal = pty.fork()
        if pid == 0:
            for signum in signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE:
                signal.signal(signum, signal.SIG_DFL)       # whatever we were started with
            os.execvp("bash", ["bash", self.path("script"), LIB, self.dir])
        self.pid, self.said = pid, b""
        self.addCleanup(self.give_up)

    def give_up(self):
        """A test that failed: what the script has started is for it to end."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)
            self.status()
        if self.terminal >= 0:
            os.close(self.terminal)

    def wait_for(self, text):
        while text not in self.said:
            self.said += os.read(self.terminal, 4096)

    def status(self):
        """Reads on, or who writes to the terminal would wait for us."""
        def ended():
            with contextlib.suppress(OSError):
                os.set_blocking(self.terminal, False)
                self.said += os.read(self.terminal, 4096)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (status,) if pid else None
        status = wait_until(ended, "the script ended")[0]
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def pids(self):
        return [int(self.read(f"pid{i}")) for i in (1, 2, 3, 4)]

    def check_nothing_stays(self):
        self.assertFalse(os.path.exists(self.read("work").strip()))
        self.assertEqual([pid for pid in self.pids() if not is_gone(pid)], [])
        self.assertNotIn(b"not reached", self.said)

    def test_ctrl_c(self):
        self.start(STUBBORN)
        self.wait_for(b"ready")
        os.write(self.terminal, b"\x03")
        self.assertEqual(self.status(), -signal.SIGINT)
        self.check_nothing_stays()

    def test_terminal_closes(self):
        self.start(STUBBORN)
        self.wait_for(b"ready")
        os.close(self.terminal)
        self.terminal = -1
        self.assertEqual(self.status(), -signal.SIGHUP)
        self.check_nothing_stays()

    def test_terminated(self):
        self.start(STUBBORN)
        self.wait_for(b"ready")
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(self.status(), -signal.SIGTERM)
        self.check_nothing_stays()

    def test_its_own_end(self):
        self.start(STUBBORN.replace("attend sh", "start sh")
                   .replace('echo "not reached"', 'for i in 1 2 3 4; do\n'
                            '\twhile [ ! -s "$2/pid$i" ]; do sleep 0.01; done\ndone\nexit 7'))
        self.assertEqual(self.status(), 7)
        self.check_nothing_stays()

    def test_killed(self):
        """Then at least its programs go, and what is on their leash."""
        if not shutil.which("setpriv"):
            self.skipTest("no setpriv")
        self.start('. "$1/jobs.sh"; begin_work; echo "$work" >"$2/work"\n'
                   'attend sh -c \'echo $$ >"$0/pid1"; echo ready; exec sleep 1000\' "$2"\n')
        self.wait_for(b"ready")
        os.kill(self.pid, signal.SIGKILL)
        self.assertEqual(self.status(), -signal.SIGKILL)
        wait_until(lambda: is_gone(self.read("pid1").strip()), "the program is gone")
        shutil.rmtree(self.read("work").strip())

    def test_package_manager_finishes(self):
        self.start('. "$1/jobs.sh"; begin_work; echo "$work" >"$2/work"\n'
                   'attend_gently sh -c \'trap "sleep 0.5; echo done >\\"$0/done\\"; exit" INT\n'
                   'echo ready; while :; do sleep 0.05; done\' "$2"\n')
        self.wait_for(b"ready")
        os.write(self.terminal, b"\x03")
        self.assertEqual(self.status(), -signal.SIGINT)
        self.assertEqual(self.read("done"), "done\n")
        self.assertIn(b"waiting for the package manager", self.said)
        self.assertFalse(os.path.exists(self.read("work").strip()))

    def test_exit_status(self):
        self.start('. "$1/jobs.sh"; begin_work; status=0; attend false || status=$?\n'
                   'attend sh -c "exit 5" || exit $((status + $?))\n')
        self.assertEqual(self.status(), 6)


class SetUp(Scripts):
    """Meson is a stub that writes build.ninja, and then fails, or not."""

    def set_up(self, *options, fails=False, cc="gcc"):
        self.write("meson", '#!/bin/sh\necho "$@" >>"$LOG"\nshift\nmkdir -p "$1/meson-private"\n'
                   'touch "$1/build.ninja"\nexit $FAILS\n')
        env = {"PATH": f"{self.dir}:{os.environ['PATH']}", "CC": cc,
               "LOG": self.path("log"), "FAILS": str(int(fails))}
        return subprocess.run(["bash", "-euc", 'root=/the/tree; . "$1/build.sh"; shift; set_up "$@"',
                               "bash", LIB, self.path("build"), *options], env=env).returncode

    def calls(self):
        return len(self.read("log").splitlines())

    def test_once(self):
        for _ in range(3):
            self.assertEqual(self.set_up("-Da=b"), 0)
        self.assertEqual(self.calls(), 1)
        self.assertEqual(self.read("log"), f"setup {self.path('build')} /the/tree -Da=b\n")

    def test_cut_short(self):
        self.assertNotEqual(self.set_up(fails=True), 0)
        self.write("build/left", "")
        self.assertEqual(self.set_up(), 0)
        self.assertEqual(self.calls(), 2)
        self.assertFalse(os.path.exists(self.path("build/left")))

    def test_set_up_otherwise(self):
        self.set_up("-Da=b")
        self.set_up("-Da=c")
        self.set_up("-Da=c", cc="clang")
        self.assertEqual(self.calls(), 3)

    def test_what_is_no_build_is_not_removed(self):
        os.mkdir(self.path("build"))
        self.write("build/precious", "")
        self.set_up()
        self.assertTrue(os.path.exists(self.path("build/precious")))


class Fetched(Scripts):
    """What is fetched of Debian, without a network and with lists that are old: nothing of
    that is kept for the next call."""

    KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

    def run_script(self, script, *arguments, **env):
        p = subprocess.run([script, *arguments], env={**os.environ, **env},
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return p.returncode, p.stderr.splitlines()[-1:]

    def need(self, *programs):
        for program in programs:
            if not shutil.which(program):
                self.skipTest(f"no {program}")
        if not os.path.exists(self.KEYRING):
            self.skipTest("no debian-archive-keyring")

    def test_kernel_without_network(self):
        self.need("apt-get", "dpkg-deb", "cpio", "cc")
        image = os.path.join(LIB, "..", "vm", "image.sh")
        for _ in range(2):
            self.assertEqual(
                self.run_script(image, self.path("image"), VM_KERNEL="sid",
                                DEBIAN_MIRROR="http://127.0.0.1:1"),
                (77, ["image.sh: the package lists of Debian cannot be fetched: no guest kernel"]))

    def test_unstable_has_moved_on(self):
        """A stub of apt-get: the archive has what the newest lists name."""
        self.need("dpkg-deb", "tar", "flock")
        os.mkdir(self.path("bin"))
        os.mkdir(self.path("deb"))
        self.write("deb/hello", "")
        self.write("bin/dpkg-deb", f"#!/bin/sh\ntar -c -C {self.path('deb')} .\n")
        self.write("bin/apt-get", f"""#!/bin/sh
echo "$@" >>{self.path("log")}
case " $* " in
*" update "*) echo new >{self.path("lists")} ;;
*" --print-uris "*) echo "'http://x/hello' hello_2.deb 1" ;;
*) grep -q new {self.path("lists")} ;;
esac
""")
        self.write("lists", "old")
        os.mkdir(self.path("cache"))
        self.write("cache/fetched", "")
        sid = os.path.join(LIB, "sid.sh")
        self.assertEqual(self.run_script(sid, self.path("root"), "hello",
                                         PATH=f"{self.path('bin')}:{os.environ['PATH']}",
                                         SID_CACHE=self.path("cache")), (0, []))
        self.assertTrue(os.path.exists(self.path("root/hello")))


class Packages(Scripts):
    """A machine of stubs: what is installed is a file in bin."""

    def machine(self, uid=0, apt=True, sudo=None):
        os.mkdir(self.path("bin"))
        tools = ["bash", "sh", "env", "cat", "touch", "true"]
        for tool in tools:
            os.symlink(shutil.which(tool), self.path(f"bin/{tool}"))
        self.write("bin/id", f"#!/bin/sh\necho {uid}\n")
        self.write("bin/dpkg", "#!/bin/sh\n")
        if apt:
            # Package names are those of the commands here, but for one that is nowhere.
            self.write("bin/apt-get", f"""#!/bin/bash
echo "$@" >>"{self.dir}/log"
[[ " $* " = *" install "* ]] || exit 0
for p; do
	case $p in
	-* | *=* | install | nowhere) ;;
	*) [ -e "{self.dir}/bin/$p" ] || {{ echo '#!/bin/sh' >"{self.dir}/bin/$p"; /bin/chmod 755 "{self.dir}/bin/$p"; }} ;;
	esac
done
[[ " $* " != *" nowhere "* ]]
""")
        if sudo:
            self.write("bin/sudo", f"#!/bin/bash\n{sudo}\n")

    def need(self, *what):
        p = subprocess.run(["bash", "-euc", '. "$1/packages.sh"; shift; need "$@"; echo "goes on"',
                            "demo.sh", LIB, *what], env={"PATH": self.path("bin")},
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return p.returncode, p.stdout, p.stderr

    ROOT_HAS_TO = "demo.sh: not installed; root has to: apt-get install --no-install-recommends "

    def test_nothing_to_do(self):
        self.machine()
        self.assertEqual(self.need("cat", "touch"), (0, "goes on\n", ""))
        self.assertEqual(self.read("log"), "")

    def test_root_installs(self):
        self.machine()
        status, out, _ = self.need("socat", "cat", "patch", "--", "clang")
        self.assertEqual((status, out), (0, "goes on\n"))
        self.assertRegex(self.read("log"), "install .*socat patch clang\n")

    def test_without_sudo(self):
        self.machine(uid=1000)
        self.assertEqual(self.need("socat", "ninja", "--", "clang"),
                         (1, "", self.ROOT_HAS_TO + "socat ninja-build clang\n"))
        self.assertEqual(self.read("log"), "")

    def test_sudo_that_would_ask(self):
        self.machine(uid=1000, sudo=f'[ "$1" != -n ] || exit 1; echo asked >>"{self.path("asked")}"')
        self.assertEqual(self.need("socat"), (1, "", self.ROOT_HAS_TO + "socat\n"))
        self.assertEqual(self.read("asked"), "")

    def test_sudo(self):
        self.machine(uid=1000, sudo='[ "$1" != -n ] || shift; exec "$@"')
        self.assertEqual(self.need("socat"), (0, "goes on\n", "installing socat\n"))

    def test_no_apt(self):
        self.machine(apt=False)
        self.assertEqual(self.need("socat"), (1, "", self.ROOT_HAS_TO + "socat\n"))

    def test_cannot_be_installed(self):
        self.machine()
        status, _, err = self.need("socat", "nowhere")
        self.assertEqual(status, 1)
        self.assertIn(self.ROOT_HAS_TO + "nowhere\n", err)

    def test_can_do_without(self):
        self.machine()
        status, out, err = self.need("socat", "--", "nowhere")
        self.assertEqual((status, out), (0, "goes on\n"))
        self.assertIn(self.ROOT_HAS_TO + "nowhere\n", err)


class Sid(Scripts):
    KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

    @unittest.skipUnless(shutil.which("apt-get") and os.path.exists(KEYRING), "no apt-get or keyring")
    def test_no_network(self):
        p = subprocess.run(["bash", os.path.join(LIB, "sid.sh"), self.path("root"), "socat"],
                           env={**os.environ, "DEBIAN_MIRROR": "http://127.0.0.1:1",
                                "SID_CACHE": self.path("cache"), "no_proxy": "127.0.0.1"},
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(p.returncode, 77, p.stderr)
        self.assertEqual(p.stderr.splitlines()[-1],
                         "sid.sh: the package lists of Debian unstable cannot be fetched")
        # The next one asks again.
        self.assertFalse(os.path.exists(self.path("cache/fetched")))


class Tap(unittest.TestResult):
    def line(self, word, test, comment=""):
        print(f"{word} {self.testsRun} - {test.id().replace('__main__.', '')}{comment}", flush=True)

    def addSuccess(self, test):
        self.line("ok", test)

    def addSkip(self, test, reason):
        self.line("ok", test, f" # SKIP {reason}")

    def bad(self, test, err):
        self.line("not ok", test)
        print(self._exc_info_to_string(err, test), file=sys.stderr)

    def addError(self, test, err):
        super().addError(test, err)
        self.bad(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.bad(test, err)


def main():
    loader, module, result = unittest.defaultTestLoader, sys.modules["__main__"], Tap()
    suite = (loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else
             loader.loadTestsFromModule(module))
    suite.run(result)
    print(f"1..{result.testsRun}", flush=True)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
