#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Installs what is missing, builds, and runs every suite: tests/run.sh [RUN...]
#
#	plain	gcc, warnings are errors; all suites
#	clang	clang, warnings are errors; unit, fuzz, e2e, bench
#	asan	gcc, address and undefined-behaviour sanitizers; all suites but the mutants
#	tsan	gcc, thread sanitizer; unit, e2e
#
# Without arguments, all of them. The last line has what `meson test` counted, over all
# runs; a build that fails counts as one failure. The builds are kept in build-tests.

set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${BUILD_ROOT:-$root/build-tests}
runs=("$@")
[ $# -gt 0 ] || runs=(plain clang asan tsan)

# shellcheck source=tests/packages.sh
. "$root/tests/packages.sh"
need pkg-config
need cc meson ninja python3 lib:check lib:yaml-0.1 lib:libseccomp \
	qemu-system-x86_64 busybox cpio xz socat strace patch
case " ${runs[*]} " in
*" clang "*) need clang ;;
esac

mkdir -p "$out"
export VM_CACHE=$out/vm-image		# one guest image for all builds
total_passed=0 total_failed=0 total_skipped=0
summary=()

# build NAME OPTION...
build() {
	local dir=$out/$1

	shift
	if [ -e "$dir/build.ninja" ]; then
		meson configure "$dir" "$@"
	else
		rm -rf "$dir"
		meson setup "$dir" "$root" "$@"
	fi && meson compile -C "$dir"
}

# Reads what meson wrote: "passed failed skipped subtests", then the names that failed.
count() {
	python3 - "$1/meson-logs" <<-'EOP'
		import json, sys
		import xml.etree.ElementTree as xml
		kinds = {"OK": 0, "EXPECTEDFAIL": 0, "SKIP": 2}
		n, bad, subtests = [0, 0, 0], [], 0
		try:
		    with open(sys.argv[1] + "/testlog.json") as f:
		        for line in f:
		            test = json.loads(line)
		            kind = kinds.get(test["result"], 1)
		            n[kind] += 1
		            if kind:
		                bad.append(f"{test['result']}: {test['name']}")
		    for suite in xml.parse(sys.argv[1] + "/testlog.junit.xml").getroot():
		        subtests += len(suite.findall("testcase"))
		except (OSError, ValueError, xml.ParseError) as e:
		    print("0 1 0 0")
		    print(f"no test log: {e}")
		    sys.exit()
		print(*n, subtests)
		print(*bad, sep="\n")
	EOP
}

# run NAME SUITES MULTIPLIER OPTION...
run() {
	local name=$1 suites=$2 multiplier=$3 dir=$out/$1 args=() wrap=() suite
	local passed failed skipped subtests bad status

	shift 3
	echo "== $name: $*"
	if ! build "$name" "$@" </dev/null; then
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
	CK_TIMEOUT_MULTIPLIER=$multiplier "${wrap[@]}" meson test -C "$dir" --no-rebuild --print-errorlogs \
		--timeout-multiplier "$multiplier" "${args[@]}" </dev/null
	status=$?
	{ read -r passed failed skipped subtests; bad=$(cat); } < <(count "$dir")
	[ $status = 0 ] || [ "$failed" -gt 0 ] || failed=1	# meson knows better
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + skipped))
	summary+=("$name: $passed passed, $failed failed, $skipped skipped ($subtests cases in them)")
	[ -z "$bad" ] || summary+=("$(sed 's/^/	/' <<<"$bad")")
}

export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:abort_on_error=0:print_summary=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

started=$SECONDS
for name in "${runs[@]}"; do
	case $name in
	plain)
		CC=gcc run plain "unit fuzz e2e faults vm bench mutants" 1 -Dwerror=true ;;
	clang)
		CC=clang run clang "unit fuzz e2e bench" 1 -Dwerror=true ;;
	asan)
		CC=gcc VM_SCALE=3 run asan "unit fuzz e2e faults vm bench" 4 \
			-Db_sanitize=address,undefined -Db_lundef=false ;;
	tsan)
		CC=gcc run tsan "unit e2e" 4 -Db_sanitize=thread -Db_lundef=false ;;
	*)
		echo "usage: tests/run.sh [plain|clang|asan|tsan]..." >&2
		exit 2 ;;
	esac
done

echo
echo "what meson test counted, in $((SECONDS - started)) s:"
printf '%s\n' "${summary[@]}"
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
[ $total_failed = 0 ] && [ $total_passed -gt 0 ]
