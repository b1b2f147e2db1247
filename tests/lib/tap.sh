# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# For scripts that are tests, to be sourced: results as TAP.
#
#	result ok|"not ok" NAME
#	none NAME FOUND		nothing may have been found; it is printed
#	some NAME FOUND		something must have been
#	end_tests		the plan, and the exit status

tap_n=0
tap_failed=0

result() {
	tap_n=$((tap_n + 1))
	echo "$1 $tap_n - $2"
	[ "$1" = ok ] || tap_failed=1
}

none() {
	if [ -z "$2" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		echo "$2" >&2
	fi
}

some() {
	none "$1" "$([ -n "$2" ] || echo "nothing was found")"
}

end_tests() {
	echo "1..$tap_n"
	exit $tap_failed
}
