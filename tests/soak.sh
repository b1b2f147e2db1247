#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Random traffic of eight VMs with an oracle for every byte (tests/soak/main.c):
#
#	tests/soak.sh [--seconds N] [--seed S] [--build plain|asan|tsan]
#
# In pieces of at most a minute, each with a daemon and a seed of its own: S, S + 1 ...
# (S is made up unless it is given). Stops at the first that fails, prints what it said,
# and how to run it again. 600 seconds, the plain build. Builds where tests/run.sh does.

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BUILD_ROOT:-$root/build-tests}
seconds=600
seed=$((RANDOM * 32768 + RANDOM))
build=plain

while [ $# -gt 0 ]; do
	case $1 in
	--seconds) seconds=${2:?} ;;
	--seed) seed=${2:?} ;;
	--build) build=${2:?} ;;
	*)
		sed -n '4,10s/^# \{0,1\}//p' "$0" >&2
		exit 2 ;;
	esac
	shift 2
done

case $build in
plain) options=(-Dwerror=true) ;;
asan) options=("-Db_sanitize=address,undefined" -Db_lundef=false) ;;
tsan) options=(-Db_sanitize=thread -Db_lundef=false) ;;
*)
	echo "soak.sh: there is no build '$build'" >&2
	exit 2 ;;
esac

# shellcheck source=tests/lib/jobs.sh
. "$root/tests/lib/jobs.sh"
# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
begin_work
mkdir -p "$out"
dir=$out/$build
CC=gcc set_up "$dir" "${options[@]}" >/dev/null
attend ninja -C "$dir" tests/soak/soak src/vhost-device-vsock >/dev/null

export VHOST_DEVICE_VSOCK=$dir/src/vhost-device-vsock
export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
wrap=()
# The thread sanitizer cannot live with every address layout.
[ "$build" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null && wrap=(setarch "$(uname -m)" -R)

log=$work/log
deadline=$((SECONDS + seconds))
while [ $SECONDS -lt $deadline ]; do
	piece=$((deadline - SECONDS < 60 ? deadline - SECONDS : 60))
	if ! attend "${wrap[@]}" "$dir/tests/soak/soak" --seconds "$piece" --seed "$seed" >"$log" 2>&1; then
		cat "$log"
		echo "again: tests/soak.sh --build $build --seed $seed --seconds $piece"
		exit 1
	fi
	echo "seed $seed: $(sed -n 's/^# \(.* steps in\)/\1/p; s/^# MiB/MiB/p' "$log" | paste -sd' ')"
	seed=$((seed + 1))
done
