#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds the fuzz targets with clang and sanitizers and runs each for SECONDS, one
# after the other: tests/fuzz.sh SECONDS [TARGET...]. Prints executions and crashes per
# target; what crashed stays in build-fuzz/found. Fails if anything did.

set -euo pipefail

seconds=${1:?usage: tests/fuzz.sh SECONDS [TARGET...]}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build-fuzz
found=$build/found
failed=0

[ -f "$build/build.ninja" ] ||
	CC=clang meson setup "$build" "$root" -Dfuzz=true -Db_sanitize=address,undefined \
		-Db_lundef=false >/dev/null
ninja -C "$build" >/dev/null
mkdir -p "$found"
[ $# -gt 0 ] || set -- $(cd "$root/fuzz" && printf '%s\n' fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for name; do
	mkdir -p "$build/corpus/$name"
	log=$found/$name.log
	crashes=0
	"$build/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
		-print_final_stats=1 -artifact_prefix="$found/$name-" \
		"$build/corpus/$name" "$root/fuzz/corpus/$name" >"$log" 2>&1 || crashes=1
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	covered=$(sed -n 's/^#.*cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
	printf '%-10s %10s executions %6s edges %2s crashes\n' \
		"$name" "${runs:-?}" "${covered:-?}" "$crashes"
	failed=$((failed + crashes))
done
exit $((failed > 0))
