"""PROCESS runner: the only process that starts programs of the operator, and nothing of ours but that.

`protocol` is what it is told and answers (pure), `accounts` who a program may become, `executor` the life of every program from its
start to its end or its limit, `process` the one place that forks. Started with the first script of a configuration, as
`python -m supervisor.runner`; it keeps CAP_SETUID, CAP_SETGID and CAP_KILL when root started it, and nothing otherwise.

May live here: what runs programs and ends them. May not: the network, netlink, any decision about when a program runs.
It is the reaper of everything its programs leave behind, which is why it is a process of its own: its sweep kills every child that
has outlived its limit, and the supervisor's other children are not its children.
"""
