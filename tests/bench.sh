#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds daemon and benchmark optimised and without sanitizers, and measures:
# tests/bench.sh [OPTION OF THE BENCHMARK]..., see tests/bench.sh --help.
#
# The build is kept in build-bench; BENCH_BUILD names another place.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BENCH_BUILD:-$root/build-bench}

# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
if [ -z "${BENCH_BUILD:-}" ] || [ ! -e "$out/build.ninja" ]; then
	set_up "$out" --buildtype=release -Db_sanitize=none >&2
fi
meson compile -C "$out" >&2
export VHOST_DEVICE_VSOCK=${VHOST_DEVICE_VSOCK:-$out/src/vhost-device-vsock}
exec "$out/tests/bench/bench" "$@"
