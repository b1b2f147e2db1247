#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The daemon can be built without what it can do without, alone and together, and starts.
# tests/lint/without.sh [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

root=$(cd "${1:-$(dirname "$0")/../..}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints what went wrong.
build() {	# OPTION...
	local dir=$scratch/build

	rm -rf "$dir"
	if ! meson setup "$dir" "$root" -Dtests=disabled "$@" >"$scratch/log" 2>&1 ||
		! ninja -C "$dir" >"$scratch/log" 2>&1 ||
		! "$dir/src/vhost-device-vsock" --version >"$scratch/log" 2>&1; then
		tail -n 20 "$scratch/log"
	fi
}

none "without the system call filter" "$(build -Dseccomp=disabled)"
none "without AF_VSOCK" "$(build -Dafvsock=disabled)"
none "without the control API" "$(build -Dapi=disabled)"
none "... which says so" "$("$scratch/build/src/vhost-device-vsock" --api-socket /x 2>&1 |
	grep -v 'built without the control API')"
none "without any of them, not hardened, and without vsockctl" \
	"$(build -Dseccomp=disabled -Dafvsock=disabled -Dapi=disabled -Dhardening=false \
		-Dvsockctl=disabled)"
end_tests
