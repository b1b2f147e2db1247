# SPDX-License-Identifier: BSD-3-Clause
# bash completion for vsockctl(1)

_vsockctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' i n=0 options option
	local -a api=()
	local commands='list show top connect listen wait doctor events capture log-level metrics reload upgrade shutdown'

	COMPREPLY=()
	# --api=PATH is three words, as "=" parts them.
	if [ "$cur" = = ]; then
		option=$prev cur=''
	elif [ "$prev" = = ] && ((COMP_CWORD > 2)); then
		option=${COMP_WORDS[COMP_CWORD-2]}
	else
		option=$prev
	fi
	case $option in
	--api)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	--timeout | -t | --mode | -m | --port | -p | --snaplen | -s | --size | --files)
		return ;;
	esac
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--api | --timeout | -t | --mode | -m | --port | -p | --snaplen | -s | --size | --files)
			option=${COMP_WORDS[i]}
			i=$((i + 1))
			if [ "${COMP_WORDS[i]}" = = ]; then i=$((i + 1)); fi
			if [ "$option" = --api ]; then api=(--api "${COMP_WORDS[i]/#\~\//$HOME/}"); fi ;;
		--api=*) api=("${COMP_WORDS[i]}") ;;
		-*) ;;
		*)
			if [ -z "$command" ]; then command=${COMP_WORDS[i]}; else n=$((n + 1)); fi ;;
		esac
	done
	case $command in
	list | show | doctor) options='--api --json' ;;
	connect) options='--seqpacket --fdpass --timeout' ;;
	listen) options='--seqpacket --keep --mode' ;;
	wait) options='--seqpacket --timeout' ;;
	shutdown) options='--api --timeout' ;;
	capture) options='--api --port --snaplen --size --files' ;;
	'') options='--api --json --seqpacket --fdpass --keep --timeout --mode --port --snaplen --size --files --help --version' ;;
	*) options='--api' ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case $command:$n in
	:*)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	connect:0 | listen:0 | wait:0 | doctor:0 | capture:1)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	show:0 | capture:0)
		mapfile -t COMPREPLY < <(compgen -W "$(vsockctl "${api[@]}" list 2>/dev/null |
			awk 'NR > 1 && $1 ~ /^[0-9]+$/ { print $1 }')" -- "$cur") ;;
	log-level:0)
		mapfile -t COMPREPLY < <(compgen -W 'error warn info debug trace' -- "$cur") ;;
	esac
}

complete -F _vsockctl vsockctl
