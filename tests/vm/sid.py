# SPDX-License-Identifier: BSD-3-Clause
"""Programs of Debian unstable, unpacked by tests/lib/sid.sh beside the images."""

import gzip
import os
import shlex
import subprocess
import unittest

import vm


class Root:
    """A folder with the packages, and all that they need."""

    def __init__(self, name, *packages):
        """Skips, with the reason, where they cannot be had."""
        unpack, self.dir, env = vm.sid_command(name, *packages)
        made = subprocess.run(unpack, capture_output=True, text=True, env={**os.environ, **env})
        if made.returncode == 77:
            raise unittest.SkipTest(made.stderr.strip().splitlines()[-1])
        assert made.returncode == 0, f"sid.sh failed:\n{made.stderr}"
        for package in packages:
            vm.note(f"{package} {self.version(package)}")

    def version(self, package):
        folder = os.path.join(self.dir, "usr", "share", "doc", package)
        for name in "changelog.Debian.gz", "changelog.gz":
            if os.path.exists(os.path.join(folder, name)):
                with gzip.open(os.path.join(folder, name), "rt", errors="replace") as f:
                    return f.readline().partition("(")[2].partition(")")[0]
        return "of unknown version"

    def run(self, program, *arguments):
        subprocess.run([self.dir + "/run", program, *arguments], check=True)

    def command(self, program):
        """What runs it, in a shell's words; `program`: "usr/bin/ssh"."""
        return f"{shlex.quote(self.dir + '/run')} {program}"

    def add_to(self, folder, name, program, *arguments):
        """A command of that name, in a folder for PATH."""
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(f'#!/bin/sh\nexec {" ".join([self.command(program), *arguments])} "$@"\n')
        os.chmod(path, 0o755)
