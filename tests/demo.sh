#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A line each way between a small Linux guest and this host: tests/demo.sh
#
# Installs what is missing (Debian), builds, starts the daemon, boots the guest under
# QEMU, prints what crossed, and ends all it started.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BUILD_ROOT:-$root/build-tests}
image=${VM_CACHE:-$out/vm-image}/${VM_KERNEL:-default}

say() { printf '\n== %s\n' "$*"; }
give_up() { echo "demo.sh: $*" >&2; exit 1; }

# shellcheck source=tests/lib/jobs.sh
. "$root/tests/lib/jobs.sh"
# shellcheck source=tests/lib/packages.sh
. "$root/tests/lib/packages.sh"
# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
begin_work
need pkg-config cc meson ninja lib:yaml-0.1 lib:libseccomp \
	qemu-system-x86_64 busybox cpio xz socat

say "building the daemon and the guest"
mkdir -p "$out"
{ set_up "$out/demo" -Dtests=disabled -Dseccomp=enabled &&
	attend meson compile -C "$out/demo" vhost-device-vsock; } >"$out/demo.log" 2>&1 ||
	{ cat "$out/demo.log"; give_up "the build failed"; }
attend "$root/tests/vm/image.sh" "$image" || give_up "no guest"
dir=$work

# until_true SECONDS WHAT COMMAND...
until_true() {
	local end=$((SECONDS + $1)) what=$2

	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { tail -n 20 "$dir"/*.log; give_up "no $what"; }
		sleep 0.05
	done
}

say "starting the daemon"
start "$out/demo/src/vhost-device-vsock" --guest-cid 3 --socket "$dir/vhost.sock" \
	--uds-path "$dir/vm.vsock" >"$dir/daemon.log" 2>&1
until_true 10 "socket of the daemon" test -S "$dir/vhost.sock"
echo "vhost-device-vsock --guest-cid 3 --socket vhost.sock --uds-path vm.vsock"

say "booting a guest of CID 3 (it takes a few seconds)"
start socat -u "UNIX-LISTEN:$dir/vm.vsock_1234" "CREATE:$dir/from-guest"
start qemu-system-x86_64 -accel "${VM_ACCEL:-tcg}" -nodefaults -no-user-config -display none \
	-m 256M -object memory-backend-memfd,id=mem0,size=256M,share=on \
	-machine q35,memory-backend=mem0 \
	-chardev "socket,id=vsk0,path=$dir/vhost.sock" \
	-device vhost-user-vsock-pci,chardev=vsk0 \
	-kernel "$image/vmlinuz" -initrd "$image/initrd.img" \
	-append "console=ttyS0 quiet panic=-1 no_timer_check vm.demo" -serial "file:$dir/console.log" \
	>"$dir/qemu.log" 2>&1

until_true 50 "line from the guest" grep -q . "$dir/from-guest"
say "guest to host: it connected to CID 2, port 1234; the host listened on vm.vsock_1234"
cat "$dir/from-guest"

say "host to guest: CONNECT 5000 on vm.vsock, then a line; the answers:"
printf 'CONNECT 5000\nHello from the host, %s\n' "$(uname -n)" |
	socat -t 10 - "UNIX-CONNECT:$dir/vm.vsock" | tee "$dir/answers"
until_true 10 "line in the guest" grep -q 'heard' "$dir/console.log"
say "and on the guest's console:"
sed -n 's/.* event heard //p' "$dir/console.log" | tr -d '\r'

grep -q '^OK 5000' "$dir/answers" || give_up "the guest did not answer"
say "both lines crossed"
