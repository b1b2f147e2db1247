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
# with a line for each test that has to notice. Each must pass without a fault and fail, or hang,
# with it. Builds once, with sanitizers, only what is asked for, and tries in copies of that:
# $MUTANTS_JOBS of them at once, since most of the time goes into waiting for what does not come.

set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS=detect_leaks=1
unset CK_TIMEOUT_MULTIPLIER		# what hangs is noticed soon

# ---- one of them, in the place that is free: mutants.sh --in DIR 'fault FAULT TEST' | 'test TEST' ----

# What has to be built for it, one in each line.
programs_of() {	# KIND NAME [CASE]
	case $1 in
	unit)
		echo "tests/unit/test_$2" ;;
	fuzz)
		echo "fuzz/fuzz_$2" ;;
	e2e)
		printf '%s\n' "tests/e2e/test_$2" src/vhost-device-vsock
		case $2 in
		intruder) printf '%s\n' tests/e2e/intruder.so tests/e2e/halt.so ;;
		upgrade_ahead) echo tests/e2e/halt.so ;;
		vsockctl* | doctor) echo src/vsockctl ;;
		esac ;;
	esac
}

# One thread: as many as there are jobs build at once.
build() {	# KIND NAME [CASE]
	# shellcheck disable=SC2046
	ninja -C "$place/build" -j 1 $(programs_of "$@") >"$place/log" 2>&1
}

# run KIND NAME [CASE]: 0 it passes; 1 it fails, or takes more than $seconds; 2 it cannot be
# built. In a session of its own: Check hands the signal that ends it on to its whole process
# group.
seconds=60
late='Test timeout expired'		# says Check
has_time=				# all that it needs
ended=0 has_failed=			# how the last one that failed did, and whether in a case

run() {
	local kind=$1 name=$2 limit=$seconds command

	build "$@" || return 2
	case $kind in
	unit)
		command=("$place/build/tests/unit/test_$name") ;;
	e2e)
		command=(env ${3:+CK_RUN_CASE="$3"}
			VHOST_DEVICE_VSOCK="$place/build/src/vhost-device-vsock"
			INTRUDER="$place/build/tests/e2e/intruder.so"
			HALT="$place/build/tests/e2e/halt.so"
			VSOCKCTL="$place/build/src/vsockctl"
			"$place/build/tests/e2e/test_$name") ;;
	fuzz)
		limit=$((seconds / 4))
		command=("$place/build/fuzz/fuzz_$name" "$place/tree/fuzz/corpus/$name") ;;
	*)
		echo "no such kind of test: $kind" >"$place/log"
		return 2 ;;
	esac
	watch timeout --foreground -k 5 "$limit" setsid "${command[@]}" >"$place/output" ||
		{ ended=$?; return 1; }
}

# Shows what it prints, and ends it at the first case that fails: one is enough. Not one that was
# too late, unless it had all the time that it needs.
watch() {	# COMMAND...
	local line pid

	has_failed=
	exec {lines}< <(exec "$@" 2>&1 </dev/null)
	pid=$!
	while IFS= read -r line; do
		printf '%s\n' "$line"
		if [[ $line == "not ok"* ]] && { [ "$has_time" ] || [[ $line != *"$late"* ]]; }; then
			has_failed=1
			kill "$pid" 2>/dev/null
		fi
	done <&"$lines"
	exec {lines}<&-
	wait "$pid"
	return $((has_failed ? 1 : $?))
}

# As run(), on a machine that is busy, not least with the other ones.
run_with_time() {
	CK_TIMEOUT_MULTIPLIER=4 seconds=240 has_time=1 run "$@"
}

# By timeout, or by Check's.
has_ended_by_time() {
	[ ! "$has_failed" ] &&
		{ [ "$ended" = 124 ] || [ "$ended" = 137 ] || grep -q "$late" "$place/output"; }
}

caught_by() {	# PATCH
	sed -n 's/^caught by: //p' "$1"
}

# As run(), but most faults are noticed without a look for leaks, which takes as long as the
# rest of a unit test. One that has only taken too long has as much time as without a fault.
looks_for_leaks=			# the last one did

run_with_fault() {
	local status=0

	looks_for_leaks=
	ASAN_OPTIONS=detect_leaks=0 run "$@" && { looks_for_leaks=1; run "$@"; } || status=$?
	if [ $status = 1 ] && has_ended_by_time; then
		status=0
		run_with_time "$@" || status=$?
	fi
	return $status
}

# Says how it ends; 0: as it has to.
try_fault() {	# FAULT KIND NAME [CASE]
	local fault=$1 patch=$root/tests/mutants/$1.patch status=0 began=$EPOCHREALTIME outcome

	shift
	if ! patch -d "$place/tree" -p1 -F0 -s -i "$patch" >"$place/log" 2>&1; then
		status=3
	else
		run_with_fault "$@" || status=$?
		patch -d "$place/tree" -p1 -s -R -i "$patch" || exit 255
		# Without a fault no test looks for leaks, but such a one.
		[ $status != 1 ] || [ ! "$looks_for_leaks" ] || run_with_time "$@" || status=4
	fi
	case $status in
	0) outcome=SURVIVED ;;
	1) outcome=$(awk "BEGIN { printf \"%6.1f s\", $EPOCHREALTIME - $began }") ;;
	2) outcome="does not build: $(tail -5 "$place/log" | tr '\n' '|')" ;;
	4) outcome="fails without it, too: $(tail -5 "$place/output" | tr '\n' '|')" ;;
	3) outcome="does not apply: $(tail -5 "$place/log" | tr '\n' '|')" ;;
	esac
	[ $status = 1 ] && printf ok || printf 'not ok'
	printf ' - %-28s %-20s %s\n' "$fault" "$*" "$outcome"
	[ $status = 1 ]
}

# Only asks whether it can pass, beside all the others: that it always does is its own suite's
# matter.
try_test() {	# KIND NAME [CASE]
	local began=$EPOCHREALTIME ASAN_OPTIONS=detect_leaks=0

	if run_with_time "$@" || run_with_time "$@"; then
		printf 'ok - no fault: %-37s %s\n' "$*" \
			"$(awk "BEGIN { printf \"%6.1f s\", $EPOCHREALTIME - $began }")"
		return
	fi
	printf '%s\n' "not ok - no fault: $*" "$(sed 's/^/# /' "$place/log" "$place/output" | tail -20)"
	return 1
}

if [ "${1:-}" = --in ]; then
	place=$2/$MUTANTS_SLOT
	fault=
	read -r what rest <<<"$3"
	[ "$what" = test ] || read -r fault rest <<<"$rest"
	read -r kind name rest <<<"$rest"
	# Whole lines: others write as well.
	said=$("try_$what" ${fault:+"$fault"} "$kind" "$name" "$rest")
	status=$?
	printf '%s\n' "$said"
	exit $status
fi

# ---- all of them ----

for tool in meson ninja patch setsid xargs; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
pkg-config --exists check || { echo "1..0 # SKIP no Check"; exit 0; }

jobs=${MUTANTS_JOBS:-$((4 * $(nproc)))}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if [ $# = 0 ]; then
	mapfile -t names < <(cd "$root/tests/mutants" && printf '%s\n' *.patch | sed 's/\.patch$//')
	set -- "${names[@]}"
fi
# Those that wait the longest, of e2e, first: at the end there is something to do for all.
mapfile -t faults < <(for name; do
	caught_by "$root/tests/mutants/$name.patch" | sed "s/^/$name /"
done | sort -s -k 2,2)
mapfile -t tests < <(for name; do caught_by "$root/tests/mutants/$name.patch"; done | sort -u)
echo "1..$((${#tests[@]} + ${#faults[@]}))"

mkdir -p "$tmp/0/tree"
cp -a "$root"/{meson.build,meson_options.txt,src,protocol,tests,fuzz} "$tmp/0/tree"
meson setup "$tmp/0/build" "$tmp/0/tree" --buildtype=debug -Db_sanitize=address \
	-Db_lundef=false >"$tmp/log" || { cat "$tmp/log"; exit 1; }
mapfile -t programs < <(for i in "${tests[@]}"; do
	# shellcheck disable=SC2086
	programs_of $i
done | sort -u)
# What cannot be built, each test that needs it says.
ninja -C "$tmp/0/build" -k 0 "${programs[@]}" >"$tmp/log" 2>&1
for ((i = 1; i < jobs; i++)); do
	cp -a "$tmp/0" "$tmp/$i"		# all names in it are relative
done

{ printf 'test %s\n' "${tests[@]}"; printf 'fault %s\n' "${faults[@]}"; } |
	xargs -d '\n' -P "$jobs" -n 1 --process-slot-var=MUTANTS_SLOT "$0" --in "$tmp" || exit 1
echo "# $# faults in $SECONDS s"
