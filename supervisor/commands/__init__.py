"""The verbs of the command line that talk to a running daemon.

`shape` is what all verbs have in common; `questions` change nothing (status, why, check-now), `past` asks what was (history, events),
`orders` change real servers (drain, disable, enable, weight), `rollout` is about configurations (plan, reload, confirm).
Each module has `add(verbs)`, which puts its verbs into the parser of `cli`. They parse, ask, print, and return an exit status: what an
answer looks like is `admin.words`, what a request means is the daemon's business. Nothing here imports trio: a command line must answer
in a moment.
"""
