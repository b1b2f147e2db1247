#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is written about vsockctl is what it does: each command and option of --help, which is
# printed from the rows that are obeyed, is in the man page and in the completions of three
# shells, and none that it does not have; so is each exit status and each cause of the doctor;
# mandoc has nothing to complain about, and the shells take their files.
# tests/lint/companion.sh VSOCKCTL [ROOT]; TAP.

set -euo pipefail

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

ctl=$1
root=$(cd "${2:-$(dirname "$0")/../..}" && pwd)
man=$root/src/data/vsockctl.1
completions=$root/src/data/completions
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

same() {	# NAME WANTED GOT
	if [ "$2" = "$3" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		diff <(echo "$2") <(echo "$3") >&2 || true
	fi
}

section() {	# FILE NAME
	sed -n "/^\.SH $2\$/,/^\.SH /p" "$1" | sed 's/\\-/-/g'
}

# ---- commands, options, statuses, one a line ----

commands_of_help() {
	"$ctl" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | sort
}

options_of_help() {
	"$ctl" --help | sed -nE 's/^  (-., |    )(--[a-z]+).*/\2/p' | sort
}

statuses_of_help() {
	"$ctl" --help | tr '\n' ' ' | sed 's/.*Exit status://' | grep -oE '\b[0-9]\b' | sort
}

commands_of_man() {
	section "$1" COMMANDS | sed -nE '/^\.TP/{n;s/^\.[A-Z]+ ([a-z-]+).*/\1/p}' | sort
}

options_of_man() {
	section "$1" OPTIONS | sed -nE '/^\.TP/{n;s/.*(--[a-z]+).*/\1/p}' | sort
}

statuses_of_man() {
	section "$1" 'EXIT STATUS' | sed -nE 's/^\.B ([0-9])$/\1/p' | sort
}

causes_of_man() {
	section "$1" DIAGNOSES | sed -nE '/^\.TP/{n;s/^\.B //p}' | tr -d , | tr ' ' '\n' | sort
}

causes_of_source() {
	grep -ohE '(DOCTOR_PROBLEM|DOCTOR_NOTE|severity), "[a-z-]+"|has_features \? "[a-z-]+" : "[a-z-]+"|\.(absent|stale|denied) = "[a-z-]+"' \
		"$root"/src/vsockctl/doctor{,_socket}.c | grep -oE '"[a-z-]+"' | tr -d '"' | sort -u
}

commands_of_bash() {
	sed -nE "s/^	local commands='(.*)'/\1/p" "$1" | tr ' ' '\n' | sort
}

options_of_bash() {
	sed -nE "s/^	''\) options='(.*)' ;;/\1/p" "$1" | tr ' ' '\n' | sort
}

commands_of_zsh() {
	sed -n "/commands=(/,/)/s/^		'\([a-z-]*\):.*/\1/p" "$1" | sort
}

options_of_zsh() {
	sed -n '/_arguments/,/command/p' "$1" | grep -oE -- "(\{-.,|')--[a-z]+" | sed "s/.*--/--/" | sort
}

commands_of_fish() {
	sed -nE 's/.*__fish_use_subcommand -a ([a-z-]+) .*/\1/p' "$1" | sort
}

options_of_fish() {
	sed -nE 's/^complete -c vsockctl .*-l ([a-z]+) .*/--\1/p' "$1" | sort
}

commands=$(commands_of_help)
options=$(options_of_help)
statuses=$(statuses_of_help)
causes=$(causes_of_source)
same "the man page has every command" "$commands" "$(commands_of_man "$man")"
same "the man page has every option" "$options" "$(options_of_man "$man")"
same "the man page has every exit status" "$statuses" "$(statuses_of_man "$man")"
same "the man page has every cause" "$causes" "$(causes_of_man "$man")"
same "the man page is of this version" "$("$ctl" --version | sed 's/.* //')" \
	"$(sed -nE 's/^\.TH .* "vhost-device-vsock ([^"]*)".*/\1/p' "$man")"
same "bash completes every command" "$commands" "$(commands_of_bash "$completions/vsockctl.bash")"
same "bash completes every option" "$options" "$(options_of_bash "$completions/vsockctl.bash")"
same "zsh completes every command" "$commands" "$(commands_of_zsh "$completions/_vsockctl")"
same "zsh completes every option" "$options" "$(options_of_zsh "$completions/_vsockctl")"
same "fish completes every command" "$commands" "$(commands_of_fish "$completions/vsockctl.fish")"
same "fish completes every option" "$options" "$(options_of_fish "$completions/vsockctl.fish")"

# ---- the shells themselves ----

# What bash offers behind WORD..., the last of which is begun.
offered() {
	bash -c '. "$0" && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _vsockctl && printf "%s\n" "${COMPREPLY[@]}"' \
		"$completions/vsockctl.bash" "$@"
}

same "bash offers commands" $'list\nlisten' "$(offered vsockctl lis | sort)"
same "bash offers options of the command" $'--seqpacket' "$(offered vsockctl connect --s)"
same "bash offers none of another's" "" "$(offered vsockctl list --keep)"
cat >"$scratch/vsockctl" <<'EOT'
#!/bin/bash
[ "$*" = "--api /x y list" ] || [ "$*" = "--api=/x list" ] || exit 5
printf '%s\n' "       CID" "         7"
EOT
chmod +x "$scratch/vsockctl"
asked() {
	PATH=$scratch:$PATH offered vsockctl "$@" ''
}
same "bash asks the daemon that was said" "7" "$(asked --api '/x y' show)"
same "bash asks it, said behind a command" "7" "$(asked capture --api = '/x y')"
same "bash asks it, said in one word" "7" "$(asked --api=/x show)"
same "bash offers files for an option's value" "$scratch/vsockctl" "$(offered vsockctl list --api = "$scratch/vs")"
same "bash offers levels" "warn" "$(offered vsockctl --api x log-level w)"
for shell in zsh fish; do
	file=$completions/vsockctl.fish
	[ $shell = fish ] || file=$completions/_vsockctl
	if ! command -v $shell >/dev/null; then
		result ok "$shell takes its file # SKIP $shell is not installed"
	else
		same "$shell takes its file" "" "$($shell -n "$file" 2>&1 || echo it does not)"
	fi
done

if command -v mandoc >/dev/null; then
	same "mandoc finds nothing wrong" "" "$(mandoc -T lint "$man" 2>&1 || true)"
else
	result ok "mandoc finds nothing wrong # SKIP mandoc is not installed"
fi

# A rule that nothing can break proves nothing.
sed '/^\.B list$/d; /^\.B \\-\\-json/d; /^\.B 4$/d; /^\.B stalled/d' "$man" >"$scratch/man"
sed 's/ top / /; s/ --keep / /' "$completions/vsockctl.bash" >"$scratch/bash"
sed "/'top:/d; /--json/d" "$completions/_vsockctl" >"$scratch/zsh"
sed '/-a top /d; /-l json /d' "$completions/vsockctl.fish" >"$scratch/fish"
if [ "$(commands_of_man "$scratch/man")" != "$commands" ] &&
	[ "$(options_of_man "$scratch/man")" != "$options" ] &&
	[ "$(statuses_of_man "$scratch/man")" != "$statuses" ] &&
	[ "$(causes_of_man "$scratch/man")" != "$causes" ] && [ "$causes" ] &&
	[ "$(commands_of_bash "$scratch/bash")" != "$commands" ] &&
	[ "$(options_of_bash "$scratch/bash")" != "$options" ] &&
	[ "$(commands_of_zsh "$scratch/zsh")" != "$commands" ] &&
	[ "$(options_of_zsh "$scratch/zsh")" != "$options" ] &&
	[ "$(commands_of_fish "$scratch/fish")" != "$commands" ] &&
	[ "$(options_of_fish "$scratch/fish")" != "$options" ]; then
	result ok "what is missing is found"
else
	result "not ok" "what is missing is found"
fi
end_tests
