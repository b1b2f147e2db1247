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
# The build is kept in build-bench; BENCH_BUILD names another place.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BENCH_BUILD:-$root/build-bench}
args=()
peer=
fetches=

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
	*) args+=("$1") ;;
	esac
	shift
done

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
if [ -n "$peer" ]; then
	# shellcheck disable=SC2086
	version=$($peer --version 2>/dev/null | head -n 1) || :
	echo "peer: ${version:-$peer}"
	args+=(--peer "$peer")
fi
exec "$out/tests/bench/bench" "${args[@]}"
