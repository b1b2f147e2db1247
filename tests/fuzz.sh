#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds the fuzz targets with clang and sanitizers and runs each for SECONDS, as many at
# a time as there are CPUs: tests/fuzz.sh SECONDS [TARGET...]
#
# Prints per target how often it ran, the regions of its layer that the corpus reaches (by
# a second build, with coverage, that replays it) and the crashes; each of them stays in
# build-fuzz/found with its log, and is to become a file in fuzz/corpus. Fails if there
# was one.

set -euo pipefail

seconds=${1:?usage: tests/fuzz.sh SECONDS [TARGET...]}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build-fuzz
coverage=$root/build-fuzz-coverage
found=$build/found

# shellcheck source=tests/lib/jobs.sh
. "$root/tests/lib/jobs.sh"
# shellcheck source=tests/lib/build.sh
. "$root/tests/lib/build.sh"
# shellcheck source=tests/lib/packages.sh
. "$root/tests/lib/packages.sh"
# shellcheck source=tests/lib/llvm.sh
. "$root/tests/lib/llvm.sh"
begin_work
need pkg-config cc meson ninja python3 lib:yaml-0.1 lib:libseccomp lib:libmicrohttpd lib:jansson
llvm_need

# The files that a target is about.
layer_of() {
	case $1 in
	api) echo control/api_body.c control/api_head.c control/api_query.c control/api_routes.c config/api.c ;;
	conn)
		echo vsock/conn.c vsock/conn_to_guest.c vsock/conn_to_host.c \
			vsock/conn_messages.c vsock/credit.h ;;
	ctl) echo vsockctl/pcap_split.c vsockctl/text.c ;;
	hybrid) echo backend/hybrid.c backend/handshake.c backend/uds_stream.c ;;
	messages)
		echo vsock/conn_messages.c backend/spsc_pipe.c backend/sibling_state.c ;;
	msg) echo vhost/msg.c vhost/request.c ;;
	mux)
		echo vsock/mux.c vsock/mux_output.c vsock/mux_connect.c vsock/mux_ends.c vsock/gather.c \
			vsock/replies.c vsock/shares.c vsock/conn_table.c backend/sibling.c \
			backend/sibling_dir.c backend/sibling_conn.c \
			backend/sibling_transfer.c backend/spsc_pipe.c ;;
	options)
		echo config/options.c config/keys.c config/number.c config/check.c \
			config/finish.c config/place.c config/plan.c config/level.c ;;
	pkt) echo vsock/pkt.c util/iov.c ;;
	session)
		echo vhost/session.c vhost/session_memory.c vhost/session_rings.c vhost/vring.c \
			vhost/request.c vhost/msg.c vhost/gmem.c ;;
	state)
		echo vsock/conn_save.c vsock/mux_save.c vsock/mux_names.c vsock/conn_names.c \
			vsock/replies.c util/blob.c ;;
	supervise)
		echo daemon/channel.c daemon/held_vm.c daemon/supervisor_engine.c daemon/supervisor_hear.c \
			daemon/supervisor_front_ends.c daemon/supervisor_orders.c ;;
	virtq) echo vhost/virtq.c vhost/virtq_chain.c ;;
	yaml)
		echo config/yaml.c config/keys.c config/number.c config/check.c config/finish.c \
			config/place.c config/plan.c ;;
	*) echo "$1: no such target" >&2; exit 2 ;;
	esac
}

programs() {
	printf 'fuzz/fuzz_%s\n' "$@"
}

# Exit status and output are left in $found.
# shellcheck disable=SC2317
fuzz() {
	local name=$1 status=0

	mkdir -p "$build/corpus/$name"
	"$build/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
		-print_final_stats=1 -artifact_prefix="$found/$name-" \
		"$build/corpus/$name" "$root/fuzz/corpus/$name" \
		>"$found/$name.log" 2>&1 || status=1
	echo "$status" >"$found/$name.status"
}

# Regions that the corpus reaches, of all in the layer: "N of M".
reached() {
	local name=$1 profile=$found/$1.profile exe=$coverage/fuzz/fuzz_$1

	LLVM_PROFILE_FILE=$profile.raw "$exe" "$build/corpus/$name" "$root/fuzz/corpus/$name" \
		>/dev/null
	llvm_profdata merge -o "$profile" "$profile.raw"
	# shellcheck disable=SC2046
	llvm_cov export "$exe" -instr-profile="$profile" -summary-only |
		python3 -c 'import json, os, sys
files = {os.path.normpath(f["filename"]): f["summary"]["regions"]
         for f in json.load(sys.stdin)["data"][0]["files"]}
n = [files[name] for name in sys.argv[1:]]
print(sum(f["covered"] for f in n), "of", sum(f["count"] for f in n))' \
			$(printf "$root/src/%s\n" $(layer_of "$name"))
	rm -f "$profile" "$profile.raw"
}

if [ $# = 0 ]; then
	mapfile -t names < <(cd "$root/fuzz" && printf '%s\n' fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
	set -- "${names[@]}"
fi
for name; do
	layer_of "$name" >/dev/null
done
CC=clang set_up "$build" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
llvm_build "$coverage"
for dir in "$build" "$coverage"; do
	# shellcheck disable=SC2046
	attend ninja -C "$dir" $(programs "$@") >"$dir/ninja.log" || { cat "$dir/ninja.log"; exit 1; }
done
mkdir -p "$found"

export ASAN_OPTIONS=quarantine_size_mb=64
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
fuzzers=()
for name; do
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n || true
	done
	start fuzz "$name"
	fuzzers+=($!)
done
wait "${fuzzers[@]}"

failed=0
for name; do
	crashes=$(cat "$found/$name.status")
	failed=$((failed + crashes))
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/$name.log")
	if [ "$crashes" = 0 ]; then
		regions=$(reached "$name")
	else
		regions="-"		# the replay would crash too
	fi
	printf '%-10s %10s executions  %11s regions (%s)  %s crashes\n' "$name" "${runs:-?}" \
		"$regions" "$(layer_of "$name")" "$crashes"
	[ "$crashes" = 0 ] || grep -m 3 -E 'ERROR|Assertion|runtime error' "$found/$name.log" || true
done
exit $((failed > 0))
