# SPDX-License-Identifier: BSD-3-Clause
# fish completion for vsockctl(1)

function __vsockctl_cids
	set -l words (commandline -opc)
	set -l i (contains -i -- --api $words)
	set -l api (string match -- '--api=*' $words)
	if test -n "$i"; and test $i -lt (count $words)
		set api --api $words[(math $i + 1)]
	end
	vsockctl $api list 2>/dev/null | awk 'NR > 1 && $1 ~ /^[0-9]+$/ { print $1 }'
end

complete -c vsockctl -f
complete -c vsockctl -n __fish_use_subcommand -a list -d 'the VMs that the daemon serves'
complete -c vsockctl -n __fish_use_subcommand -a show -d 'one VM'
complete -c vsockctl -n __fish_use_subcommand -a top -d 'VMs and connections, live'
complete -c vsockctl -n __fish_use_subcommand -a connect -d 'input and output to a port of the guest'
complete -c vsockctl -n __fish_use_subcommand -a listen -d 'the same for a connection of the guest'
complete -c vsockctl -n __fish_use_subcommand -a wait -d 'until somebody listens in the guest'
complete -c vsockctl -n __fish_use_subcommand -a doctor -d 'what is wrong, and what to do'
complete -c vsockctl -n __fish_use_subcommand -a events -d 'what happens from now on'
complete -c vsockctl -n __fish_use_subcommand -a capture -d 'the packets of a VM, as pcap'
complete -c vsockctl -n __fish_use_subcommand -a log-level -d 'what the daemon logs'
complete -c vsockctl -n __fish_use_subcommand -a metrics -d 'all counters, for Prometheus'
complete -c vsockctl -n __fish_use_subcommand -a reload -d 'the daemon reads its file again'
complete -c vsockctl -n __fish_use_subcommand -a upgrade -d 'what is installed now takes over'
complete -c vsockctl -n __fish_use_subcommand -a shutdown -d 'the daemon ends'
complete -c vsockctl -n '__fish_seen_subcommand_from connect listen wait doctor capture' -F
complete -c vsockctl -n '__fish_seen_subcommand_from show capture' -a '(__vsockctl_cids)'
complete -c vsockctl -n '__fish_seen_subcommand_from log-level' -a 'error warn info debug trace'
complete -c vsockctl -l api -r -F -d 'the --api-socket of the daemon'
complete -c vsockctl -l json -d 'for programs'
complete -c vsockctl -l seqpacket -d 'messages'
complete -c vsockctl -l fdpass -d 'hand the connection to ssh'
complete -c vsockctl -s k -l keep -d 'one connection after the other'
complete -c vsockctl -s t -l timeout -x -d 'seconds until the guest answers, or the daemon has ended'
complete -c vsockctl -s m -l mode -x -d 'mode of the socket'
complete -c vsockctl -s p -l port -x -d 'capture: only these ports'
complete -c vsockctl -s s -l snaplen -x -d 'capture: bytes of a packet'
complete -c vsockctl -l size -x -d 'capture: bytes of a file'
complete -c vsockctl -l files -x -d 'capture: how many files'
complete -c vsockctl -s h -l help -d 'print a summary'
complete -c vsockctl -s V -l version -d 'print the version'
