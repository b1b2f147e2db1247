#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Installs what is missing, builds, and runs every suite: tests/run.sh [RUN...]
#
#	plain	gcc, warnings are errors; all suites
#	user	gcc, optimised, as an ordinary user; unit, scripts, e2e, soak, vm_short
#	clang	clang, warnings are errors; unit, fuzz, soak, bench
#	asan	gcc, address and undefined-behaviour sanitizers; unit, fuzz, e2e, soak, faults, vm_short
#	tsan	gcc, thread sanitizer; unit, e2e, soak
#
# Without arguments, all of them. The last line has what `meson test` counted, over all
# runs; a build that fails counts as one failure, a run that cannot be had as one that is
# skipped. The builds are kept in build-tests. Ctrl-C ends it, and all that it started.

set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BUILD_ROOT:-$root/build-tests}
runs=("$@")
[ $# -gt 0 ] || runs=(plain user clang asan tsan)
for name in "${runs[@]}"; do
	case $name in
	plain | user | clang | asan | tsan) ;;
	*)
		echo "usage: tests/run.sh [plain|user|clang|asan|tsan]..." >&2
		exit 2 ;;
	esac
done

# shellcheck source=tests/lib/jobs.sh
. "$root/tests/lib/jobs.sh"
# shellcheck source=tests/lib/packages.sh
. "$root/tests/lib/packages.sh"
# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
begin_work
optional=()
case " ${runs[*]} " in
*" clang "*) optional=(clang) ;;
esac
need pkg-config cc meson ninja python3 lib:check lib:yaml-0.1 lib:libseccomp \
	lib:libmicrohttpd lib:jansson lib:libcurl qemu-system-x86_64 busybox cpio xz socat strace patch \
	setpriv setarch -- curl fish jq promtool tshark zsh "${optional[@]}"

mkdir -p "$out"
export VM_CACHE=$out/vm-image		# one guest image for all builds
total_passed=0 total_failed=0 total_skipped=0
summary=()

# Reads what meson wrote: "passed failed skipped subtests", then the names that did not pass,
# and those of failed cases.
count() {
	python3 - "$1/meson-logs" <<-'EOP'
		import json, sys
		import xml.etree.ElementTree as xml
		kinds = {"OK": 0, "EXPECTEDFAIL": 0, "SKIP": 2}
		n, bad, subtests = [0, 0, 0], [], 0

		def reason(test):
		    for line in test.get("stdout", "").splitlines():
		        _, is_skipped, why = line.partition("# SKIP ")
		        if is_skipped:
		            return ": " + why
		    return ""

		try:
		    with open(sys.argv[1] + "/testlog.json") as f:
		        for line in f:
		            test = json.loads(line)
		            kind = kinds.get(test["result"], 1)
		            n[kind] += 1
		            if kind:
		                bad.append(f"{test['result']}: {test['name']}{reason(test) if kind == 2 else ''}")
		    for suite in xml.parse(sys.argv[1] + "/testlog.junit.xml").getroot():
		        cases = suite.findall("testcase")
		        subtests += len(cases)
		        bad += [f"\t{case.get('name')[:300]}" for case in cases
		                if case.find("failure") is not None or case.find("error") is not None]
		except (OSError, ValueError, xml.ParseError) as e:
		    print("0 1 0 0")
		    print(f"no test log: {e}")
		    sys.exit()
		print(*n, subtests)
		print(*bad, sep="\n")
	EOP
}

skip() {	# NAME REASON
	echo "== $1: skipped: $2"
	summary+=("$1: skipped: $2")
	total_skipped=$((total_skipped + 1))
}

# run NAME SUITES MULTIPLIER OPTION...; $as is put before each command, $dir is the build.
# The multiplier is of time limits, which tell only what hangs: others may be on the machine.
# Most of the time tests wait (with half as many again as processors those were idle for half of
# it), so there are twice as many of them. How fast the daemon is, they judge by what it has had of the
# processors.
run() {
	local name=$1 suites=$2 multiplier=$3 args=() wrap=() suite began=$SECONDS
	local passed failed skipped subtests bad status processors tests

	processors=$(nproc)
	tests=$((2 * processors))

	shift 3
	echo "== $name: $*"
	if ! set_up "$dir" "$@" || ! attend "${as[@]}" meson compile -C "$dir"; then
		summary+=("$name: the build failed")
		total_failed=$((total_failed + 1))
		return
	fi
	for suite in $suites; do
		args+=(--suite "$suite")
	done
	# The thread sanitizer cannot live with every address layout.
	[ "$name" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null &&
		wrap=(setarch "$(uname -m)" -R)
	rm -f "$dir"/meson-logs/testlog*
	attend "${as[@]}" env CK_TIMEOUT_MULTIPLIER="$multiplier" "${wrap[@]}" meson test -C "$dir" \
		--no-rebuild --print-errorlogs --num-processes "$tests" \
		--timeout-multiplier "$multiplier" "${args[@]}"
	status=$?
	{ read -r passed failed skipped subtests; bad=$(cat); } < <(count "$dir")
	[ $status = 0 ] || [ "$failed" -gt 0 ] || failed=1	# meson knows better
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + skipped))
	summary+=("$name: $passed passed, $failed failed, $skipped skipped ($subtests cases in them), $((SECONDS - began)) s")
	[ -z "$bad" ] || summary+=("	${bad//$'\n'/$'\n\t'}")
}

# As nobody, if we are root; else all runs are an ordinary user's. In a copy of the tree, and
# in a place of its own, since ours may be closed to it.
run_as_user() {
	local dir place=$out/user as root=$root reach=(setpriv --reuid=65534 --regid=65534 --clear-groups --)

	if [ "$(id -u)" != 0 ]; then
		summary+=("user: not root's, like all of them")
		return
	fi
	if ! "${reach[@]}" true 2>"$work/why"; then
		skip user "$(cat "$work/why")"
		return
	fi
	mkdir -p "$place" "$work/u"
	"${reach[@]}" test -x "$place" || place=$work/user
	rm -rf "$place/tree"
	copy_tree "$place/tree"
	mkdir -p "$place/vm-image"
	# What only the plain run uses is large.
	[ ! -d "$VM_CACHE" ] ||
		find "$VM_CACHE" -mindepth 1 -maxdepth 1 ! -name 'sid*' -exec cp -a -t "$place/vm-image" {} +
	chown -R 65534:65534 "$place" "$work/u"
	root=$place/tree dir=$place/build
	as=("${reach[@]}" env HOME="$place" TMPDIR="$work/u" VM_CACHE="$place/vm-image")
	CC=gcc run user "unit scripts e2e soak vm_short" 3 --buildtype=release
}

export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:abort_on_error=0:print_summary=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# Else it sleeps for a second before each end, longer than some ends may take.
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0

began=$SECONDS
for name in "${runs[@]}"; do
	dir=$out/$name
	case $name in
	plain)
		CC=gcc run plain "unit scripts fuzz e2e soak faults vm clients bench mutants" 3 -Dwerror=true ;;
	user)
		run_as_user ;;
	clang)
		if is_there clang; then
			CC=clang run clang "unit fuzz soak bench" 3 -Dwerror=true
		else
			skip clang "clang is not installed"
		fi ;;
	asan)
		CC=gcc VM_SCALE=3 run asan "unit fuzz e2e soak faults vm_short" 6 \
			-Db_sanitize=address,undefined -Db_lundef=false ;;
	tsan)
		CC=gcc run tsan "unit e2e soak" 6 -Db_sanitize=thread -Db_lundef=false ;;
	esac
done

echo
echo "what meson test counted, in $((SECONDS - began)) s:"
printf '%s\n' "${summary[@]}"
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
[ $total_failed = 0 ] && [ $total_passed -gt 0 ]
