"""The unprivileged half: checks real servers and says what it found.

Every public module of this package *is* a checker type: `ls checkers` is the list. To add one, write one module with

1. `KEYWORD` and `OPTIONS`: the block's name in keepalived.conf and the table of its own keywords;
2. `prepare(options)`: the block's values → whatever `check` needs; ValueError with a sentence for the operator;
3. `async check(target, prepared, dial)`: one probe → one `Verdict`;

and name it in `checkers.kit.api.TYPES`. Timing, retries, deadlines, isolation and counting happen once, around every check,
in `checkers.kit`. Read `checkers/tcp.py` first: it is the shortest.

What may live here: checker types, and their machinery in `kit`. What may not: anything that decides about a virtual
server, any privilege, any import of `supervisor`. Code of this package parses bytes from the network, so it runs as its
own user without a single capability (`checkers.kit.cage`).
"""
