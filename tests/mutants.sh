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
# Each test must pass without a fault and fail, or hang, with it. Builds in a copy of the
# tree, with sanitizers, only what is asked for.

set -uo pipefail

for tool in meson ninja patch setsid; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
pkg-config --exists check || { echo "1..0 # SKIP no Check"; exit 0; }

root=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
tree=$tmp/tree
trap 'rm -rf "$tmp"' EXIT

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS=detect_leaks=1

mkdir "$tree"
cp -a "$root"/{meson.build,meson_options.txt,src,protocol,tests,fuzz} "$tree"
meson setup "$tmp/build" "$tree" --buildtype=debug -Db_sanitize=address -Db_lundef=false \
	>"$tmp/log" || { cat "$tmp/log"; exit 1; }

# build DIR PROGRAM...
build() {
	ninja -C "$@" >"$tmp/log" 2>&1
}

# run KIND NAME [CASE]: 0 it passes; 1 it fails; 2 it cannot be built. In a session of its
# own: Check hands the signal that ends it on to its whole process group.
run() {
	local kind=$1 name=$2 limit=(timeout --foreground -k 5 60 setsid)
	local needs=(src/vhost-device-vsock)

	case $kind in
	unit)
		build "$tmp/build" "tests/unit/test_$name" || return 2
		"${limit[@]}" "$tmp/build/tests/unit/test_$name" ;;
	e2e)
		[ "$name" = intruder ] && needs+=("tests/e2e/intruder.so")
		build "$tmp/build" "tests/e2e/test_$name" "${needs[@]}" || return 2
		env ${3:+CK_RUN_CASE="$3"} VHOST_DEVICE_VSOCK="$tmp/build/src/vhost-device-vsock" \
			INTRUDER="$tmp/build/tests/e2e/intruder.so" \
			"${limit[@]}" "$tmp/build/tests/e2e/test_$name" ;;
	fuzz)
		build "$tmp/build" "fuzz/fuzz_$name" || return 2
		timeout --foreground -k 5 15 "$tmp/build/fuzz/fuzz_$name" "$tree/fuzz/corpus/$name" ;;
	*)
		echo "no such kind of test: $kind"
		return 2 ;;
	esac >"$tmp/output" 2>&1 </dev/null || return 1
}

# How it ends; the seconds it took are in $took.
try() {
	local patch=$1 kind name rest status=0 began

	read -r kind name rest < <(sed -n 's/^caught by: //p' "$patch")
	if ! patch -d "$tree" -p1 -F0 -s -i "$patch" >"$tmp/log" 2>&1; then
		echo "does not apply"
		return 1
	fi
	began=$EPOCHREALTIME
	run "$kind" "$name" "$rest" || status=$?
	took=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }")
	patch -d "$tree" -p1 -s -R -i "$patch" || exit 1
	case $status in
	0) outcome=SURVIVED ;;
	1) outcome=caught ;;
	*) outcome="does not build" ;;
	esac
	[ $status = 1 ]
}

if [ $# = 0 ]; then
	mapfile -t names < <(cd "$root/tests/mutants" && printf '%s\n' *.patch | sed 's/\.patch$//')
	set -- "${names[@]}"
fi
began=$SECONDS failed=0 n=0
echo "1..$(($# + 1))"

# Without a fault all of them pass.
while read -r kind name rest; do
	if ! run "$kind" "$name" "$rest"; then
		echo "# $kind $name fails without any fault:"
		sed 's/^/# /' "$tmp/log" "$tmp/output" | tail -20
		failed=1
	fi
done < <(for name; do sed -n 's/^caught by: //p' "$root/tests/mutants/$name.patch"; done | sort -u)
n=$((n + 1))
if [ $failed = 0 ]; then
	echo "ok $n no fault"
else
	echo "not ok $n no fault"
fi

for name; do
	n=$((n + 1)) outcome="does not apply" took=-
	patch=$root/tests/mutants/$name.patch
	if try "$patch" >/dev/null; then
		printf 'ok %d %-28s %-20s %6s s\n' $n "$name" "$(sed -n 's/^caught by: //p' "$patch")" "$took"
	else
		printf 'not ok %d %-28s %-20s %s\n' $n "$name" "$(sed -n 's/^caught by: //p' "$patch")" "$outcome"
		sed 's/^/# /' "$tmp/log" | tail -5
		failed=1
	fi
done
echo "# $# faults in $((SECONDS - began)) s"
exit $failed
