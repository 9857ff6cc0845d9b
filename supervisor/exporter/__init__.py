"""PROCESS exporter: the only network listener of the program, without any privilege.

`families` turns a Snapshot into metrics (pure), `server` answers HTTP, `__main__` is the process: it hears snapshots over one
inherited socket and ends when that closes. Nothing here may reach the kernel table, decide, or hold a state that matters:
when it dies, a scrape fails and nothing else.
"""
