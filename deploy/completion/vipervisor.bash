# bash completion of vipervisor: source it, or put it into /usr/share/bash-completion/completions as "vipervisor".
# The words come from the program itself, names of servers from the daemon within half a second.

_vipervisor() {
    local line=${COMP_LINE:0:COMP_POINT} words current prefix
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    mapfile -t COMPREPLY < <("${words[0]}" complete -- "${words[@]:1}" 2> /dev/null)
    # bash takes a colon for the end of a word: leave out what stands before the last one already
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        prefix=${current%"${current##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}

complete -o default -F _vipervisor vipervisor
