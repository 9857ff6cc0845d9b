"""Vipervisor's privileged half: supervises children, decides, and keeps the kernel's IPVS table equal to what it decided.

    keepalived.conf ─text→ config ─Config→ core.jobs ─Assign→ checker workers (`checkers`, no privilege at all)
      ─Report→ children.checkers ─event→ inbox (bounded) → core.Director.handle(event, now)
        LEVEL  desired() → mailbox of one → ipvs.writer: dump → diff → ops → wire → netlink → kernel
        EDGES  transitions → log (JSON lines) · counters · notify sinks (a bounded queue each) ─Run→ runner ─→ scripts
        LATER  memories → remembering → state file ─→ the next start
        PAST   the log's events, results → recording → history (bounded) → journal ─→ the next start
        VIEW   snapshot → exporter process → /metrics, status page   admin socket → `vipervisor status`, `why`, `history`, `events`

The whole flow is one file, `wiring`, and it is the only one that knows more than one room.

| process        | started as                      | privilege                                  | if it dies                        |
| -------------- | ------------------------------- | ------------------------------------------ | --------------------------------- |
| supervisor     | `vipervisor run`                | CAP_NET_ADMIN, CAP_NET_RAW and             | the kernel goes on forwarding;    |
|                |                                 | CAP_NET_BIND_SERVICE; started by root also | the next start adopts the table   |
|                |                                 | what children as another user need         |                                   |
| checker worker | `python -m checkers`            | none                                       | its verdicts freeze, it is back   |
|                |                                 |                                            | within two seconds; others do its |
|                |                                 |                                            | checks if not                     |
| exporter       | `python -m supervisor.exporter` | none                                       | a scrape fails, nothing else      |
| runner         | `python -m supervisor.runner`   | CAP_SETUID, CAP_SETGID, CAP_KILL if root   | scripts fail loudly, it is back   |
|                |                                 | started us; only with scripts in the file  | at once                           |

What each may still call, once it has locked itself up, is one page: `checkers.kit.policies`.

Levels go to the kernel, edges go to humans: the table is computed whole, compared with the kernel's and made equal, so a failed write,
a lost worker, a table flushed by hand and our own crash all have the same answer.

Reading order: `model`, `core.director`, `core.diff`, `wiring`, `ipvs.writer`, then `checkers.tcp`.
"""

__version__ = "0.1.0"
