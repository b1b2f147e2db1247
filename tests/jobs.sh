# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced: whatever ends a script, its own end, Ctrl-C, SIGTERM or a terminal that closes,
# ends all that it has started, at once, and leaves no file behind.
#
#	begin_work		makes $work, a folder that is TMPDIR from here on
#	start COMMAND...	runs it beside the script; its number is in $!
#	attend COMMAND...	runs it and waits; its exit status
#	start_gently, attend_gently	for what had better finish: it gets a SIGINT, and time
#
# Each command gets a process group of its own, so that Ctrl-C reaches only the script,
# which passes it on. Who leaves the group, as each test does under Meson, is found by
# the name of the folder.

our_jobs=() gentle_jobs=()

# The folder may be entered by others: tests run daemons as other users.
begin_work() {
	local signal

	work=$(mktemp -d /tmp/vhost-vsock-XXXXXX)
	chmod 711 "$work"
	export TMPDIR=$work PYTHONDONTWRITEBYTECODE=1
	trap 'end_all 7>&2 2>/dev/null' EXIT
	for signal in INT TERM HUP PIPE; do
		# shellcheck disable=SC2064
		trap "end_by $signal" $signal
	done
}

# A program ends even if we are killed.
start() {
	local leash=()

	[ "$(type -t "$1")" != file ] || ! command -v setpriv >/dev/null ||
		leash=(setpriv --pdeathsig TERM --)
	set -m
	"${leash[@]}" "$@" </dev/null &
	set +m
	our_jobs+=($!)
}

start_gently() {
	start "$@"
	gentle_jobs+=($!)
}

attend() {
	start "$@"
	wait $!
}

attend_gently() {
	start_gently "$@"
	wait $!
}

# until_gone SECONDS NUMBER...: of processes, or of groups if negative
until_gone() {
	local looks=$((20 * $1)) number

	shift
	for number; do
		while kill -0 -- "$number" 2>/dev/null; do
			((looks-- > 0)) || return 1
			sleep 0.05
		done
	done
}

# What has our folder in its environment; and daemons, by their sockets: into a sandbox only
# root may look.
find_strays() {
	local file word

	printf '%s' "$work" | env -i PATH="$PATH" grep -lsaF -f - /proc/[0-9]*/environ
	for file in $(printf '%s/' "$work" | env -i PATH="$PATH" grep -lsaF -f - /proc/[0-9]*/cmdline); do
		read -rd '' word <"$file"
		case $word in
		*/vhost-device-vsock*) echo "$file" ;;
		esac
	done 2>/dev/null
}

kill_strays() {
	local file pid try

	for try in 1 2 3 4 5 6 7 8 9; do
		set --
		for file in $(find_strays); do
			pid=${file#/proc/}
			pid=${pid%/*}
			kill -KILL "$pid" 2>/dev/null && set -- "$@" "$pid"
		done
		[ $# -gt 0 ] || break
		until_gone $try "$@"
	done
}

end_all() {
	local job

	set +e
	trap '' INT TERM HUP PIPE
	trap - EXIT
	for job in "${gentle_jobs[@]}"; do
		kill -INT "$job" 2>/dev/null || continue
		echo "waiting for the package manager" >&7
		until_gone 300 "$job"
	done
	for ((job = ${#our_jobs[@]} - 1; job >= 0; job--)); do	# the last first
		kill -TERM -- "-${our_jobs[job]}" 2>/dev/null || continue
		until_gone 2 "-${our_jobs[job]}" || kill -KILL -- "-${our_jobs[job]}" 2>/dev/null
	done
	kill_strays
	rm -rf "$work"
}

# As if the signal had ended us: who called us has to know.
end_by() {
	end_all 7>&2 2>/dev/null	# without the shell's notices
	trap - "$1"
	kill -"$1" $$
}
