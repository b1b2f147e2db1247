#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The Linux kernel's vsock_test, of the version that the guest runs: tests/vm/vsock_test.sh
# OUTDIR, where image.sh has left the guest.
#
# Leaves in OUTDIR/vsock_test: guest, a static program; host, which can be preloaded; and
# version. The source is fetched from the distribution, the few files that are needed are
# unpacked, and nothing of it is kept. What is there and up to date is kept, so a second call
# costs nothing and needs no network; calls at the same time wait for each other.
#
# VM_KERNEL as for image.sh. Exit status 77, with the reason on the last line, when something
# is missing.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:?usage: vsock_test.sh OUTDIR}" && pwd)
# shellcheck disable=SC2034
flavour=${VM_KERNEL:-default}
work=$out/vsock_test.new

missing() {
	rm -rf "$out/apt" "$work"
	echo "vsock_test.sh: $*" >&2
	exit 77
}

# shellcheck source=tests/lib/apt.sh
. "$here/../lib/apt.sh"

exec 9>"$out/.lock"
flock 9

kernel=$(cat "$out/kernel/package")
version=$(sed -nE 's/^linux-image-([0-9]+\.[0-9]+).*/\1/p' <<<"$kernel")
[ -n "$version" ] || missing "no version in the name $kernel"
stamp=$(cat "$0" "$out/kernel/package" | sha256sum | cut -d' ' -f1)
[ "$(cat "$out/vsock_test/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

package=linux-source-$version
command -v xz >/dev/null || missing "no xz to unpack the kernel's source with"
rm -rf "$work"
mkdir -p "$work/tree" "$work/built"
download "$package" "$work" || missing "$package cannot be fetched: no vsock_test"
tar -xJf "$work/usr/src/$package.tar.xz" -C "$work/tree" --strip-components=1 --wildcards \
	'*/tools/testing/vsock/*' '*/tools/include/*' '*/include/uapi/linux/vm_sockets*.h'

# As its Makefile has it. What a newer libc or compiler warns of is not ours.
build() {	# NAME OPTION...
	local name=$1

	shift
	(cd "$work/tree/tools/testing/vsock" &&
		sources=$(ls vsock_test.c vsock_test_zerocopy.c msg_zerocopy_common.c \
			timeout.c control.c util.c 2>/dev/null || true)
		# shellcheck disable=SC2086
		${CC:-cc} -O2 -w -D_GNU_SOURCE -I. -I../../include -I../../../include/uapi \
			-fno-strict-overflow -fno-strict-aliasing -fno-common "$@" \
			-o "$work/built/$name" $sources -lpthread 2>"$work/errors") || {
		cat "$work/errors" >&2
		missing "the vsock_test of $package does not build here"
	}
}
build guest -static
build host

gzip -dc "$work/usr/share/doc/$package"/changelog.Debian.gz | sed -nE '1s/.*\((.*)\).*/\1/p' \
	>"$work/built/version" || true
echo "$stamp" >"$work/built/stamp"
rm -rf "$out/vsock_test"
mv "$work/built" "$out/vsock_test"
rm -rf "$work" "$out/apt"
