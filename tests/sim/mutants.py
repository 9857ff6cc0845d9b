"""Bugs to plant, one line each: if the simulation does not notice one of them, it is the simulation that has a bug.

Each `old` occurs exactly once in its file (test_mutants.py sees to that). A mutant that changes nothing anybody could notice is no
use here and is replaced by another.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One bug: in `file`, `new` stands in the place of `old`. `why` says what it would do to an operator."""

    file: str
    old: str
    new: str
    why: str
    quick: bool = False
    """Also tried by the unit tests: it is caught within the first seeds."""


def _health(old: str, new: str, why: str, **more: bool) -> Mutant:
    return Mutant("supervisor/core/health.py", old, new, why, **more)


def _core(name: str, old: str, new: str, why: str, **more: bool) -> Mutant:
    return Mutant(f"supervisor/core/{name}.py", old, new, why, **more)


def _writer(old: str, new: str, why: str, **more: bool) -> Mutant:
    return Mutant("supervisor/ipvs/writer.py", old, new, why, **more)


def _links(old: str, new: str, why: str, **more: bool) -> Mutant:
    return Mutant("supervisor/children/checkers.py", old, new, why, **more)


def _kit(name: str, old: str, new: str, why: str, **more: bool) -> Mutant:
    return Mutant(f"checkers/kit/{name}.py", old, new, why, **more)


MUTANTS: tuple[Mutant, ...] = (
    # -- sentinels -----------------------------------------------------------------------------------------------------
    _kit(
        "urgency",
        "if health is not Health.UP or self._doubtful:",
        "if health is not Health.DOWN:",
        "the end of a sentinel hastens nothing",
    ),
    _kit(
        "urgency",
        "        if health is Health.UP:\n            self.at_once = self._refusals <= AT_ONCE_MAX\n",
        "        if health is Health.UP:\n            self.at_once = False\n",
        "retries wait though the port refuses",
    ),
    _kit(
        "sentinel",
        "            runner.hasten(hint)\n",
        "            runner.hasten(Hint.NONE)\n",
        "nobody hears of the end of a sentinel",
    ),
    _kit(
        "schedule",
        "if self.retry_it < settings.retry:",
        "if self.retry_it < settings.retry and verdict.detail != 'connection refused':",
        "a refused port needs no retries at all",
    ),
    _kit(
        "sentinels",
        "        if not sentinel.room.proven:\n            self._try(sentinel)\n",
        "",
        "a server with a single place stands still under its sentinel",
    ),
    _kit(
        "trial",
        "        released, self._released = self._released, None\n        if released is not None:",
        "        released, self._released = self._released, None\n        if released is None:",
        "a sentinel is not closed though its server has no place for others",
    ),
    _kit(
        "trial",
        "self._crowded_s = min(2 * self._crowded_s, CROWDED_MAX_S)",
        "self._crowded_s = 0.0",
        "a server with a single place is tried again after each of its probes",
    ),
    # -- the kit: when a probe comes ----------------------------------------------------------------------------------
    _kit(
        "schedule",
        "return max(settings.delay_loop, settings.idle_interval)",
        "return 100 * settings.idle_interval",
        "a server without traffic is forgotten",
    ),
    _kit(
        "schedule",
        "now + _first_set(settings.down_interval, pause), verdict=verdict)",
        "now + 50 * _first_set(settings.down_interval, pause), verdict=verdict)",
        "who is down stays out long after it is well",
    ),
    # -- min_healthy ---------------------------------------------------------------------------------------------------
    _kit(
        "runner",
        "            and (verdict.reason is not Reason.L4CON or verdict.detail == self.last_connect_error)\n",
        "",
        "a server that nobody reached is held in service though it refuses by now",
    ),
    _core(
        "guard",
        "    return badness.of_server(server) < Badness.UNKNOWN\n",
        "    return badness.of_server(server) <= Badness.REFUSED\n",
        "a server that refuses is held in service",
    ),
    _core(
        "guard",
        "    return how_bad >= Badness.UNREACHABLE, newcomer, how_bad, -server.since, number\n",
        "    return how_bad >= Badness.UNREACHABLE, newcomer, -how_bad, -server.since, number\n",
        "the worst of those that fail are held in service",
    ),
    _core(
        "holds",
        "server.hold.by is HeldBy.GUARD and id(server) not in kept:\n",
        "server.hold.by is HeldBy.GUARD and server.live:\n",
        "who was held in service stays though others are well again",
    ),
    # -- the core: one check ------------------------------------------------------------------------------------------
    _health(
        "(self.health is Health.UNKNOWN and self.trusted)",
        "self.health is Health.UNKNOWN",
        "an alpha server serves untested",
    ),
    _health(
        "            self.weight = event.weight\n",
        "            pass\n",
        "what a script or a file says of the weight is ignored",
    ),
    _health(
        "return 0 if self.weight is None else self.weight - configured",
        "return 0 if self.weight is None else self.weight",
        "a dynamic weight is added to the configured one",
    ),
    _health(
        "return (self.passes, self.weight) != before",
        "return self.passes is not before[0]",
        "a changed weight is not followed up",
    ),
    _health(
        "            self.health = event.health\n",
        "            self.health = Health.UP\n",
        "nobody is ever down",
        quick=True,
    ),
    # -- the core: real servers, quorum, virtual servers ---------------------------------------------------------------
    _core(
        "realserver",
        "return all(check.passes for check in self.checks)",
        "return any(check.passes for check in self.checks)",
        "one passing check hides a failing one (haproxy #1176)",
    ),
    _core(
        "realserver",
        "added += check.added_weight(configured)",
        "added -= check.added_weight(configured)",
        "weights of files go the wrong way",
    ),
    _core(
        "quorum",
        "weight_up >= quorum - hysteresis",
        "weight_up > quorum - hysteresis",
        "a quorum is lost one too early",
    ),
    _core("quorum", "return weight_up >= quorum + hysteresis", "return weight_up >= quorum", "no hysteresis upwards"),
    _core(
        "virtualserver",
        "if sorry is None:",
        "if sorry != server.spec.endpoint:",
        "real servers serve beside the sorry server",
    ),
    _core(
        "virtualserver",
        "        return 0 if server.spec.inhibit_on_failure else None",
        "        return None",
        "inhibit_on_failure is forgotten",
        quick=True,
    ),
    _core(
        "virtualserver",
        "weight = SORRY_WEIGHT if self.sorry_active else 0",
        "weight = SORRY_WEIGHT",
        "an inhibited sorry server takes clients all the time",
    ),
    _core(
        "virtualserver",
        "if sorry is not None and (self.sorry_active or sorry.inhibit) and",
        "if sorry is not None and sorry.inhibit and",
        "a plain sorry server never steps in",
    ),
    _core(
        "virtualserver",
        "        self.weight_up += server.effective_weight - old_weight\n        self.servers_up",
        "        self.weight_up += server.effective_weight\n        self.servers_up",
        "the weight that is up only grows",
    ),
    _core(
        "virtualserver",
        "if server.live and server.admin is AdminState.DRAINING:",
        "if server.admin is AdminState.DRAINING:",
        "a drained server that is dead stays in the table",
    ),
    _core("judgement", "    server.weigh()\n", "", "a dynamic weight is heard and not used"),
    _core(
        "judgement",
        "    quorum_turned = virtual_server.judge(now)\n    if flipped:",
        "    quorum_turned = False\n    if flipped:",
        "no server's end ever costs the quorum",
    ),
    _core(
        "judgement",
        "    if wish == before:",
        "    if wish == before or not server.live:",
        "an order for a dead server is forgotten until it is back",
    ),
    _core(
        "judgement",
        "    virtual_server.count(server, was_live=server.live, old_weight=effective_old)\n",
        "",
        "a drain is no loss to the quorum",
    ),
    # -- the core: beginnings and reloads ------------------------------------------------------------------------------
    _core(
        "adoption",
        "            return Standing.KNOWN if found is None else Standing.OUT",
        "            return Standing.FRESH",
        "a restart revives the dead",
    ),
    _core(
        "adoption",
        "            return Standing.SERVING if known.health is Health.UP else Standing.PROVISIONAL",
        "            return Standing.OUT",
        "a restart takes out who serves",
    ),
    _core(
        "succession",
        "health=check.health, trusted=check.trusted",
        "health=type(check.health).UP, trusted=check.trusted",
        "an edited check revives its server",
    ),
    _core(
        "succession",
        "check = same.get(spec) or _successor(",
        "check = _successor(",
        "a reload forgets who is down",
    ),
    _core(
        "pools",
        "return known.pop() if len(known) == 1 else Health.UNKNOWN",
        "return Health.UP",
        "a new worker is told that everybody is up",
    ),
    _core(
        "pools",
        "            self._desired = None\n            if service is None:",
        "            if service is None:",
        "the table never changes after the start",
        quick=True,
    ),
    _core(
        "jobs",
        "for i in range(workers))",
        "for i in range(workers + 1))",
        "some checks belong to a worker that does not exist",
    ),
    _core(
        "jobs",
        "self._next if number is None else number",
        "len(jobs) + 1 if number is None else number",
        "a job's number is given again to another",
        quick=True,
    ),
    _core(
        "departures",
        "Departing(replace(destination, weight=0), now, now + timeout_s)",
        "Departing(destination, now, now + timeout_s)",
        "a removed server goes on taking clients",
    ),
    _core(
        "departures",
        "        return min((d.until for leaving in self._departing.values() for d in leaving.values()), default=math.inf)",
        "        return math.inf",
        "a removed server with a client that never ends stays for ever",
    ),
    _core(
        "director",
        "            self._overridden[key, endpoint] = wish.until",
        "            self._overridden[key, endpoint] = math.inf",
        "an order never ends",
    ),
    _core(
        "director",
        "self._mark(jobs, stale=isinstance(event, WorkerSilent))",
        "self._mark(jobs, stale=True)",
        "verdicts stay marked as old",
        quick=True,
    ),
    _core(
        "director",
        "                check.stale = stale",
        "                check.stale, check.health = stale, Health.DOWN if stale else check.health",
        "a dead worker is taken for dead servers",
        quick=True,
    ),
    _core("reconfiguring", "    known.recount()\n", "", "a reload leaves the old sum of weights"),
    _core(
        "reconfiguring",
        "pools.departures.come_back(spec.key, endpoints(spec))",
        "pass",
        "a server that comes back into the file is thrown out when its time is over",
    ),
    # -- the core: the difference ------------------------------------------------------------------------------------
    _core(
        "diff",
        "(lowering if destination.weight < was.weight else giving)",
        "giving",
        "the last server is taken out before another is in",
    ),
    _core(
        "diff",
        "return Plan(tuple(giving), tuple(lowering + deleting))",
        "return Plan(tuple(lowering + deleting), tuple(giving))",
        "taking comes before giving",
    ),
    _core(
        "diff",
        "for key in actual.services if key in owned and key not in desired.services)",
        "for key in actual.services if key not in desired.services)",
        "services of others are deleted",
    ),
    _core(
        "diff",
        "            if live[op.key] and not left:",
        "            if live[op.key] and not left and not op:",
        "a refused sorry server leaves the pool empty",
    ),
    # -- the writer -------------------------------------------------------------------------------------------------
    _writer(
        "            self._since = min(self._since, since)\n        self._wake.set()",
        "            self._since = min(self._since, since)",
        "a new table waits for the next audit (a lost wake-up)",
    ),
    _writer(
        "        whole = not refused and",
        "        whole = True or",
        "a refused change is believed to be done",
    ),
    _writer(
        "            inspection.believed = with_services(believed, reading.table, touched)",
        "            inspection.believed = target",
        "a lost answer is taken for success",
    ),
    _writer(
        "        self._owned.update(table.services)",
        "        self._owned = set(table.services)",
        "a virtual server that left is never deleted",
    ),
    _writer(
        "        if agrees and self._settled is not wanted:",
        "        if agrees and self._settled is None:",
        "nobody learns that a change is done",
    ),
    Mutant(
        "supervisor/ipvs/rounds.py",
        "        self.full_at, self.glance_at = now + pause_s, now + self._interval_s",
        "        self.full_at = self.glance_at = math.inf",
        "the table is never looked at again",
    ),
    _core(
        "suspicion",
        "            if now >= before.confirm_at or before.looks >= LOOKS_MAX:",
        "            if now >= before.confirm_at - 1 or before.looks >= LOOKS_MAX:",
        "one dump alone, which may miss half of the table, is believed (reliability.md, section 0, fact 3)",
    ),
    _writer(
        "            words = [LOST] * len(ops)",
        '            words = [""] * len(ops)',
        "answers that were lost count as good ones",
    ),
    # -- the frames, the supervisor's end ----------------------------------------------------------------------------
    _links(
        "            case wire.Report() if frame.generation == self._generation:",
        "            case wire.Report():",
        "a verdict of an older configuration counts",
    ),
    _links(
        "            case wire.State() if frame.generation == self._generation:",
        "            case wire.State():",
        "a state of an older configuration counts",
    ),
    _links(
        '                raise ProtocolBroken(f"spoke of job {job}, which it does not have")',
        "                pass",
        "a worker may speak of the jobs of others",
    ),
    _links(
        "            if frame.epoch != epoch or frame.seq != seq:",
        "            if frame.seq != seq:",
        "a frame of a dead worker counts",
    ),
    _links(
        "            if frame.epoch != epoch or frame.seq != seq:",
        "            if frame.epoch != epoch:",
        "a lost frame is not noticed",
    ),
    _links(
        "            if frame.generation > self._generation:",
        "            if frame.generation > self._generation + 9:",
        "a frame of a configuration that never was is passed over",
    ),
    _links(
        "        self._assign = True\n        self._given = self._unfit = False",
        "        self._given = self._unfit = False",
        "a new worker is given nothing to do",
    ),
    Mutant(
        "supervisor/children/translation.py",
        "        health=WireHealth[health.name],",
        "        health=WireHealth.UNKNOWN,",
        "a new worker knows of nobody, and one failure is enough",
    ),
    # -- the frames and the worker's end -----------------------------------------------------------------------------
    _kit(
        "schedule",
        "        self.retry_it = 0\n        self.failures = 0\n        self._successes += 1",
        "        self.failures = 0\n        self._successes += 1",
        "failures are counted over weeks instead of in a row (loxilb PR #1087)",
    ),
    _kit(
        "schedule",
        "        if self.retry_it < settings.retry:",
        "        if self.retry_it + 1 < settings.retry:",
        "one retry less than configured",
    ),
    _kit(
        "schedule",
        "        if self.retry_it < settings.retry:",
        "        if self.retry_it <= settings.retry + 3:",
        "a dead server is given retries that nobody allowed",
    ),
    _kit(
        "schedule",
        "self._successes >= self._settings.rise:",
        "self._successes > 0:",
        "rise is ignored",
    ),
    _kit(
        "schedule",
        "        self._successes = 0\n        if self.health",
        "        if self.health",
        "successes need not be in a row",
    ),
    _kit(
        "schedule",
        "        if not verdict.conclusive:",
        "        if not verdict.conclusive and verdict.ok:",
        "our own lack of descriptors is the servers' fault",
    ),
    _kit(
        "schedule",
        "        self.retry_it = 0 if self.has_run else settings.retry",
        "        self.retry_it = settings.retry",
        "after a restart one failure is enough",
    ),
    _kit(
        "worker",
        "        if changed or used_retry or",
        "        if used_retry or",
        "a change is told with the next full state at best",
    ),
    _kit(
        "worker",
        "        if verdict is None:\n            runner.wake()\n",
        "        if verdict is None:\n",
        "what a glance does not recognise is looked at by nobody",
    ),
    _kit(
        "answer",
        "        if not data.startswith(before):\n            return False\n",
        "",
        "every answer passes for the last one",
    ),
    _kit(
        "worker",
        "            gone.leave()\n",
        "",
        "checks that left the configuration run for ever",
    ),
    _kit(
        "worker",
        "            self._nursery.start_soon(self._beat)\n        self._state_wanted = True",
        "            self._nursery.start_soon(self._beat)",
        "a new configuration is not answered with the full state",
    ),
    _kit(
        "runner",
        "        self.job = job if job.id != self.job.id else self.job\n",
        "",
        "a job that stays speaks under its old number",
    ),
    _kit(
        "fields",
        "return (False, 0) if weight is None else (True, weight)",
        "return (False, 0) if not weight else (True, weight)",
        "a weight of 0 is lost on the way",
    ),
    _kit(
        "wire",
        "            last=start + STATE_ENTRIES_MAX >= len(entries),",
        "            last=False,",
        "a full state never ends",
    ),
)
