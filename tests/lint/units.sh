#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# systemd has nothing to complain about in the units, they start the program, and none has its
# folder in another's.
# tests/lint/units.sh BINARY DAEMON UNIT...; TAP.

set -euo pipefail

binary=$1
daemon=$(realpath "$2")
shift 2

if ! command -v systemd-analyze >/dev/null; then
	echo "1..0 # SKIP systemd-analyze is not installed"
	exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

n=0
failed=0

result() {	# ok|"not ok" NAME
	n=$((n + 1))
	echo "$1 $n - $2"
	[ "$1" = ok ] || failed=1
}

# Prints what is said of a copy of UNIT, in which the program is where it was built.
complaints() {
	local name=${1##*/}

	name=${name/@./@test.}
	sed "s|$binary|$daemon|" "$1" >"$scratch/$name"
	[ -e "$scratch/${name%.*}.service" ] || : >"$scratch/${name%.*}.service"
	SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$scratch/$name" 2>&1 |
		grep -F "$scratch/$name" || true
}

for unit; do
	if [ -z "$(complaints "$unit")" ] && { [[ $unit = *.socket ]] || grep -q "^ExecStart=$binary " "$unit"; }; then
		result ok "${unit##*/}"
	else
		result "not ok" "${unit##*/}"
		complaints "$unit" >&2
	fi
done

# Prints the RuntimeDirectory= of UNITs that are in the folder of another: its end removes them.
nested() {
	local folders folder

	folders=$(sed -n 's/^RuntimeDirectory=//p' "$@" | sort)
	for folder in $folders; do
		grep "^$folder/" <<<"$folders" || true
	done
}

if [ -z "$(nested "$@")" ]; then
	result ok "no unit's folder is in another's"
else
	result "not ok" "no unit's folder is in another's"
	nested "$@" >&2
fi

# What nothing can fail proves nothing.
mkdir "$scratch/planted"
sed 's/^Type=.*/Type=nothing/' "$1" >"$scratch/planted/planted.service"
sed 's,^RuntimeDirectory=.*,&/nested,' "$1" >"$scratch/planted/nested.service"
if [ -n "$(complaints "$scratch/planted/planted.service")" ] &&
	[ -n "$(nested "$1" "$scratch/planted/nested.service")" ]; then
	result ok "a wrong line is found"
else
	result "not ok" "a wrong line is found"
fi
echo "1..$n"
exit $failed
