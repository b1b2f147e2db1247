# SPDX-License-Identifier: BSD-3-Clause
"""Programs of ours inside a guest, each with the libraries that it needs, behind the image."""

import os
import re
import shutil
import subprocess

import vm


def libraries(program):
    """What the dynamic linker would load, itself included."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def make_initrd(scratch, script, programs):
    """The image, behind it `programs`, {name in the guest's root: path}, the modules that not all
    load (/more, /host), and /script, which is what the guest does."""
    root = scratch.path("root")
    os.makedirs(root)
    for folder in "more", "host":
        shutil.copytree(os.path.join(vm.IMAGE, folder), os.path.join(root, folder))
    for name, path in programs.items():
        shutil.copy(path, os.path.join(root, name))
        for lib in libraries(path):
            os.makedirs(root + os.path.dirname(lib), exist_ok=True)
            shutil.copy(lib, root + lib)
    with open(os.path.join(root, "script"), "w") as f:
        f.write(script)
    return vm.behind_image(scratch.path("initrd"), vm.archive(root))


def machine(initrd, words, console):
    """QEMU's arguments but for CPUs, memory and the serial ports behind the console's, a file."""
    return [*vm.LEASH, *vm.qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-kernel", os.path.join(vm.IMAGE, "vmlinuz"), "-initrd", initrd,
            "-append", f"{vm.KERNEL_WORDS} {words}", "-serial", f"file:{console}"]
