"""PROCESS exporter: the only network listener of the program, without any privilege.

`families` turns a Snapshot into metrics (pure), `server` answers HTTP, `__main__` is the process: it hears snapshots over one
inherited socket and ends when that closes. The status page: `standing` and `notices` find the words, `picture` is all of them at one
instant, `pages` and `twins` are its forms (all pure), `statuspage` is which path shows what, `live` tells browsers that stay.
Nothing here may reach the kernel table, decide, or hold a state that matters: when it dies, a scrape fails and nothing else.
"""
