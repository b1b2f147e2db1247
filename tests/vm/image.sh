#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The guest of the real-guest tests: tests/vm/image.sh OUTDIR
#
# Leaves in OUTDIR: vmlinuz (Debian's cloud kernel, fetched, never installed),
# initrd.img (busybox, virtio and vsock modules, the agent), agent (the same program, for
# the host), more/ (modules that only some tests load) and host/ (those of the kernel's own
# vhost-vsock). What is there and up to date is kept, so a second call costs nothing and
# needs no network; calls at the same time wait for each other.
#
# VM_KERNEL=sid takes the newest kernel of Debian unstable instead of the one of
# the distribution that runs here.
#
# Exit status 77, with the reason on the last line, when something is missing.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: image.sh OUTDIR}
flavour=${VM_KERNEL:-default}
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci
	virtio_mmio virtio_mem vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport"
more_modules="vsock_loopback failover net_failover virtio_net"
host_modules="vhost_iotlb vhost vhost_vsock"
# shellcheck disable=SC2086,SC2116
asked=$(echo $modules, $more_modules, $host_modules)	# in one line

# The next call asks for newer lists.
missing() {
	rm -rf "$out/apt"
	echo "image.sh: $*" >&2
	exit 77
}

# shellcheck source=tests/lib/apt.sh
. "$here/../lib/apt.sh"

# The kernel's packages that PACKAGE depends on.
kernel_parts() {
	apt_for "$1" apt-cache depends --important "$1" |
		sed -nE 's/^ *(Pre)?Depends: (linux-(image|binary|modules)-[^ ]*)$/\2/p' || true
}

# unpack_module NAME FILE: leaves none if the kernel has it built in.
unpack_module() {
	local ko

	ko=$(find "$work" -name "$1.ko*" | head -n 1)
	case $ko in
	*.xz) xz -dc "$ko" >"$2" ;;
	*.zst)
		command -v zstd >/dev/null || missing "no zstd to unpack the guest's modules with"
		zstd -qdc "$ko" >"$2" ;;
	*.ko) cp "$ko" "$2" ;;
	esac
}

fetch_kernel() {
	local meta=linux-image-cloud-amd64 package work=$out/work name file

	{ command -v apt-get && command -v dpkg-deb; } >/dev/null ||
		missing "no apt-get and dpkg-deb to fetch a guest kernel with"
	apt_for $meta true ||
		missing "the package lists of Debian cannot be fetched: no guest kernel"
	package=$(kernel_parts $meta | head -n 1)
	[ -n "$package" ] || missing "apt knows no $meta: no guest kernel"
	rm -rf "$work" "$out/kernel.new"
	# Newer packages keep image and modules apart, under the first one.
	for name in $package $(kernel_parts "$package"); do
		download "$name" "$work" ||
			missing "cannot download $name: no guest kernel"
	done
	mkdir -p "$out/kernel.new"/{more,host}
	# The order of loading is in the names.
	file=10
	for name in $modules; do
		unpack_module "$name" "$out/kernel.new/$file-$name.ko"
		file=$((file + 1))
	done
	for name in $more_modules; do
		unpack_module "$name" "$out/kernel.new/more/$name.ko"
	done
	file=10
	for name in $host_modules; do
		unpack_module "$name" "$out/kernel.new/host/$file-$name.ko"
		file=$((file + 1))
	done
	echo "$asked" >"$out/kernel.new/asked"
	find "$work" -type f -name 'vmlinuz*' -exec cp {} "$out/kernel.new/vmlinuz" \;
	echo "$package" >"$out/kernel.new/package"
	rm -rf "$work" "$out/kernel" "$out/apt"
	mv "$out/kernel.new" "$out/kernel"
}

static_busybox() {
	local own

	own=$(command -v busybox || true)
	if [ -n "$own" ] && ! ldd "$own" >/dev/null 2>&1; then
		echo "$own"
		return
	fi
	[ -x "$out/busybox" ] || {
		flavour=default download busybox-static "$out/work" ||
			missing "no static busybox (package busybox-static)"
		cp "$(find "$out/work" -path '*bin/busybox')" "$out/busybox"
		rm -rf "$out/work"
	}
	echo "$out/busybox"
}

build_agent() {
	${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -static -pthread \
		-o "$out/agent.new" "$here"/agent/*.c
	mv "$out/agent.new" "$out/agent"
}

build_initrd() {
	local root=$out/root busybox

	busybox=$(static_busybox)
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,modules}
	cp "$busybox" "$root/bin/busybox"
	cp "$out"/kernel/*.ko "$root/modules/" 2>/dev/null || true
	cp "$out/agent" "$root/agent"
	cp "$here/init" "$root/init"
	chmod 755 "$root/init" "$root/agent" "$root/bin/busybox"
	(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) |
		gzip -1 >"$out/initrd.new"
	rm -rf "$root"
	cp "$out/kernel/vmlinuz" "$out/vmlinuz.new"
	mv "$out/vmlinuz.new" "$out/vmlinuz"
	mv "$out/initrd.new" "$out/initrd.img"
	rm -rf "$out/more" "$out/host"
	cp -r "$out/kernel/more" "$out/kernel/host" "$out"
}

mkdir -p "$out"
out=$(cd "$out" && pwd)
[ "$(uname -m)" = x86_64 ] || missing "the guest image is for x86_64 only"
command -v cpio >/dev/null || missing "no cpio"
command -v "${CC:-cc}" >/dev/null || missing "no C compiler for the agent"

exec 9>"$out/.lock"
flock 9

# Its inputs name an image; the kernel is kept for as long as it has what we ask for.
stamp=$(cat "$0" "$here/init" "$here"/agent/*.[ch] | sha256sum | cut -d' ' -f1)
[ "$(cat "$out/kernel/asked" 2>/dev/null)" = "$asked" ] || {
	rm -f "$out/stamp"
	fetch_kernel
}
if [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -f "$out/stamp"
	build_agent
	build_initrd
	echo "$stamp" >"$out/stamp"
fi
echo "$(cat "$out/kernel/package") in $out"
