#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds daemon and benchmark optimised and without sanitizers, and measures:
# tests/bench.sh [OPTION OF THE BENCHMARK]..., see tests/bench.sh --help.
#
# --peer alone is the Rust daemon of Debian unstable, which is fetched into the build and not
# installed. Exit status 77, with the reason, when it cannot be had; --peer 'PROGRAM [OPTION]...'
# is any other.
#
# --guest measures inside a virtual machine whose time is counted in instructions, so that other
# work of this one changes nothing: tests/bench/in_guest.py says what that is good for, and what
# not. With --against OTHER-DAEMON a row and round of 0.1 s take two seconds. Exit status 77, with
# the reason, when there can be no guest.
#
# --kernel measures there, too, beside the kernel's own vhost-vsock.
#
# --svg FILE measures what tests/bench/picture.py draws, beside the limits and beside that Rust
# daemon if it can be had, and draws it; the two results stay in the build, picture-*.json.
#
# The build is kept in build-bench; BENCH_BUILD names another place.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BENCH_BUILD:-$root/build-bench}
args=()
peer=
fetches=
svg=
in_guest=

while [ $# -gt 0 ]; do
	case $1 in
	--peer=*) peer=${1#*=} ;;
	--peer)
		if [ $# -gt 1 ] && [[ $2 != --* ]]; then
			peer=$2
			shift
		else
			fetches=yes
		fi ;;
	--guest) in_guest=yes ;;
	--kernel)
		in_guest=yes
		args+=(--kernel) ;;
	--svg=*) svg=${1#*=} ;;
	--svg)
		[ $# -gt 1 ] || { echo "tests/bench.sh: --svg wants the name of a file" >&2; exit 2; }
		svg=$2
		shift ;;
	*) args+=("$1") ;;
	esac
	shift
done

# What is drawn, and the picture.
draw() {
	local picture=$root/tests/bench/picture.py results=("$out/picture-limits.json")
	local rows bench=$out/tests/bench/bench

	rows=$("$picture" --rows)
	"$bench" --only "$rows" --json "${results[0]}" "${args[@]}"
	if [ -z "$peer" ] && "$root/tests/lib/sid.sh" "$out/peer" vhost-device-vsock; then
		peer="$out/peer/run usr/bin/vhost-device-vsock"
	fi
	if [ -n "$peer" ]; then
		results+=("$out/picture-peer.json")
		"$bench" --only "$rows" --json "${results[1]}" --peer "$peer" "${args[@]}"
	fi
	"$picture" "${results[@]}" >"$svg.new"
	mv "$svg.new" "$svg"
}

# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
if [ -z "${BENCH_BUILD:-}" ] || [ ! -e "$out/build.ninja" ]; then
	set_up "$out" --buildtype=release -Db_sanitize=none >&2
fi
if [ -n "$fetches" ]; then
	"$root/tests/lib/sid.sh" "$out/peer" vhost-device-vsock || exit
	peer="$out/peer/run usr/bin/vhost-device-vsock"
fi
meson compile -C "$out" >&2
export VHOST_DEVICE_VSOCK=${VHOST_DEVICE_VSOCK:-$out/src/vhost-device-vsock}
if [ -n "$in_guest" ]; then
	[ -z "$peer$svg" ] || { echo "tests/bench.sh: neither --peer nor --svg in a guest" >&2; exit 2; }
	export VM_BUILD=$out
	exec "$root/tests/bench/in_guest.py" "$out/tests/bench/bench" "$VHOST_DEVICE_VSOCK" "${args[@]}"
fi
if [ -n "$svg" ]; then
	draw
	exit
fi
if [ -n "$peer" ]; then
	# shellcheck disable=SC2086
	version=$($peer --version 2>/dev/null | head -n 1) || :
	echo "peer: ${version:-$peer}"
	args+=(--peer "$peer")
fi
exec "$out/tests/bench/bench" "${args[@]}"
