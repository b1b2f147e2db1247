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

# Does process $1 have our folder in its environment? Or is it a daemon with a socket there:
# into a sandbox only root may look. Who hangs in a page fault can hold up who reads this.
# (A bare return, in a trap, returns what was before the trap.)
is_stray() {
	local word=

	timeout -s KILL 1 grep -qsaF -- "$work" "/proc/$1/environ" && return 0
	timeout -s KILL 1 grep -qsaF -- "$work/" "/proc/$1/cmdline" || return 1
	read -rd '' word <"/proc/$1/cmdline"
	case $word in
	*/vhost-device-vsock*) ;;
	*) return 1 ;;
	esac
}

# Sets $born to when process $1 was, in ticks since the machine was; 0: it is gone.
find_born() {
	local stat=

	IFS= read -rd '' stat <"/proc/$1/stat"
	# shellcheck disable=SC2086
	set -- ${stat##*) }
	born=${20:-0}
}

kill_strays() {
	local file pid try born ours

	find_born $$
	ours=$born
	for try in 1 2 3 4 5 6 7 8 9; do
		set --
		for file in /proc/[0-9]*; do
			pid=${file#/proc/}
			find_born "$pid"
			if [ "$born" -lt "$ours" ] || [ "$pid" = $$ ] || ! is_stray "$pid"; then
				continue
			fi
			kill -KILL "$pid" && set -- "$@" "$pid"
		done 2>/dev/null
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
