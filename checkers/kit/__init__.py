"""Machinery around every check, written once.

`api` what a checker type is · `options` how keywords are declared · `schedule` when a check runs and what its verdicts
mean (pure) · `wire` frames between worker and supervisor (pure) · `link` what carries them · `timer` one timer for all
tasks · `dial` the only connections, `sockets` what they are made of · `tls` TLS over a connection · `values` what may go into
a request · `worker` one isolated task for each job · `cage` giving up privileges.

What may not live here: anything about one particular protocol. The supervisor imports `api`, `options`, `wire`, `link` and
`cage`; nothing here imports the supervisor.
"""
