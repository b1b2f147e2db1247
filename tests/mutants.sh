#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Plants faults, one at a time, and demands that the tests notice: tests/mutants.sh [NAME...]
#
# A fault is a patch, tests/mutants/NAME.patch. Above it stand what is wrong then, and
#
#	caught by: unit TEST 		a test program of tests/unit
#	caught by: e2e TEST [CASE]	one of tests/e2e, all of it or one case
#	caught by: fuzz TARGET		its committed corpus, replayed
#
# Each test must pass without a fault and fail, or hang, with it. Builds in copies of the tree,
# with sanitizers, only what is asked for: $MUTANTS_JOBS of them at once, since most of the
# time goes into waiting for what does not come.

set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS=detect_leaks=1

# ---- one of them, in the place that is free: mutants.sh --in DIR (fault NAME | test KIND...) ----

# build PROGRAM...
build() {
	ninja -C "$place/build" "$@" >"$place/log" 2>&1
}

# run KIND NAME [CASE]: 0 it passes; 1 it fails; 2 it cannot be built. In a session of its
# own: Check hands the signal that ends it on to its whole process group.
run() {
	local kind=$1 name=$2 limit=(timeout --foreground -k 5 60 setsid)
	local needs=(src/vhost-device-vsock)

	case $kind in
	unit)
		build "tests/unit/test_$name" || return 2
		"${limit[@]}" "$place/build/tests/unit/test_$name" ;;
	e2e)
		[ "$name" = intruder ] && needs+=("tests/e2e/intruder.so")
		case $name in
		vsockctl* | doctor) needs+=("src/vsockctl") ;;
		esac
		build "tests/e2e/test_$name" "${needs[@]}" || return 2
		env ${3:+CK_RUN_CASE="$3"} VHOST_DEVICE_VSOCK="$place/build/src/vhost-device-vsock" \
			INTRUDER="$place/build/tests/e2e/intruder.so" \
			VSOCKCTL="$place/build/src/vsockctl" \
			"${limit[@]}" "$place/build/tests/e2e/test_$name" ;;
	fuzz)
		build "fuzz/fuzz_$name" || return 2
		timeout --foreground -k 5 15 "$place/build/fuzz/fuzz_$name" \
			"$place/tree/fuzz/corpus/$name" ;;
	*)
		echo "no such kind of test: $kind"
		return 2 ;;
	esac >"$place/output" 2>&1 </dev/null || return 1
}

caught_by() {	# PATCH
	sed -n 's/^caught by: //p' "$1"
}

# As run(), but most faults are noticed without a look for leaks, which takes as long as the
# rest of a unit test.
run_with_fault() {
	ASAN_OPTIONS=detect_leaks=0 run "$@" && run "$@"
}

# Says how it ends; 0: as it has to.
try_fault() {	# NAME
	local patch=$root/tests/mutants/$1.patch kind name rest status=0 began=$EPOCHREALTIME outcome

	read -r kind name rest < <(caught_by "$patch")
	if ! patch -d "$place/tree" -p1 -F0 -s -i "$patch" >"$place/log" 2>&1; then
		status=3
	else
		run_with_fault "$kind" "$name" "$rest" || status=$?
		patch -d "$place/tree" -p1 -s -R -i "$patch" || exit 255
	fi
	case $status in
	0) outcome=SURVIVED ;;
	1) outcome=$(awk "BEGIN { printf \"%6.1f s\", $EPOCHREALTIME - $began }") ;;
	2) outcome="does not build: $(tail -5 "$place/log" | tr '\n' '|')" ;;
	3) outcome="does not apply: $(tail -5 "$place/log" | tr '\n' '|')" ;;
	esac
	[ $status = 1 ] && printf ok || printf 'not ok'
	printf ' - %-28s %-20s %s\n' "$1" "$(caught_by "$patch")" "$outcome"
	[ $status = 1 ]
}

try_test() {	# KIND NAME [CASE]
	if run "$@"; then
		echo "ok - no fault: $*"
		return
	fi
	printf '%s\n' "not ok - no fault: $*" "$(sed 's/^/# /' "$place/log" "$place/output" | tail -20)"
	return 1
}

if [ "${1:-}" = --in ]; then
	place=$2/$MUTANTS_SLOT
	read -r what rest <<<"$3"
	# Whole lines: others write as well.
	if [ "$what" = fault ]; then
		said=$(try_fault "$rest")
	else
		read -r kind name rest <<<"$rest"
		said=$(try_test "$kind" "$name" "$rest")
	fi
	status=$?
	printf '%s\n' "$said"
	exit $status
fi

# ---- all of them ----

for tool in meson ninja patch setsid xargs; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
pkg-config --exists check || { echo "1..0 # SKIP no Check"; exit 0; }

jobs=${MUTANTS_JOBS:-$((2 * $(nproc)))}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for ((i = 0; i < jobs; i++)); do
	mkdir -p "$tmp/$i/tree"
	cp -a "$root"/{meson.build,meson_options.txt,src,protocol,tests,fuzz} "$tmp/$i/tree"
	meson setup "$tmp/$i/build" "$tmp/$i/tree" --buildtype=debug -Db_sanitize=address \
		-Db_lundef=false >"$tmp/log" || { cat "$tmp/log"; exit 1; }
done
if [ $# = 0 ]; then
	mapfile -t names < <(cd "$root/tests/mutants" && printf '%s\n' *.patch | sed 's/\.patch$//')
	set -- "${names[@]}"
fi
mapfile -t tests < <(for name; do caught_by "$root/tests/mutants/$name.patch"; done | sort -u)
echo "1..$((${#tests[@]} + $#))"
{ printf 'test %s\n' "${tests[@]}"; printf 'fault %s\n' "$@"; } |
	xargs -d '\n' -P "$jobs" -n 1 --process-slot-var=MUTANTS_SLOT "$0" --in "$tmp" || exit 1
echo "# $# faults in $SECONDS s"
