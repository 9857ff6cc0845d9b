"""PROCESS exporter: the only network listener of the program, without any privilege.

`families` turns a Snapshot into metrics (pure), `rendering` those into text, `server` answers HTTP, `doorman` says who gets in, `__main__`
is the process: it hears snapshots over one inherited socket and ends when that closes. `webconfig` is read by the supervisor, for the
exporter can open nothing; `verifier` is a process of the exporter's own that compares passwords. The status page: `standing` and
`notices` find the words, `picture` is all of them at one instant, `pages` and `twins` are its forms (all pure), `statuspage` is which
path shows what, `live` tells browsers that stay.
Nothing here may reach the kernel table, decide, or hold a state that matters: when it dies, a scrape fails and nothing else.
"""
