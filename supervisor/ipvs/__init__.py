"""Rules of the room `ipvs`: the kernel, and nothing but the kernel.

What lives here knows how to say a `Table` to the kernel and how to read one back. It decides nothing: which server is healthy,
who gets a weight, when a sorry server steps in were all decided in `core` before a table came in here.

* `wire`     pure: operations and dumps, to and from the bytes of generic netlink (`shape`: many like records at one stroke);
* `netlink`  the only netlink socket of the data path: synchronous, non-blocking, one exchange at a time;
* `kernel`, `memory`  the two tables behind the `backend.Backend` interface; they pass the same contract suite;
* `settingswire`  pure: the same for time-outs and sync daemons;
* `writer`   the one task that changes a table; whatever else wants a change hands it a desired table (`inspection`: what a reading
             shows, `rounds`: when to look, `tally`: what it counts, `settings`: its duty beside the table, `notices`: what it
             tells the log);
* `sole`     the mark that keeps a second writer of ours away from the same table;
* `paths`    to which targets this host has no way any more (`routewire`, pure: how the kernel is asked);
* `vip`      addresses on interfaces and how they are announced (frames in `neighbours`, pure). pyroute2's only home.

May import: `core`, `model`, trio. May not: any other room, a logger, prometheus_client. Results leave as events and notices.
One owner: the writer's task alone touches the backend. An exchange with the kernel has no `await` in it, so cancellation
cannot fall into one; and nothing here ever cleans up on the way out of an exception: a crash leaves the kernel forwarding.
"""
