"""The kernel's IPVS table as a `Backend`: codec and socket put together.

It must never decide anything, retry on its own account or hide a refusal: the errno goes back to the writer.
Sources: ipvs.md, sections 2, 4 and 7.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from supervisor.core.kernelsettings import Change, KernelState
from supervisor.core.table import Counters, Destination, Load, Op, Reading, Service, ServiceSettings, Table
from supervisor.ipvs.backend import AnswerLost, BackendUnavailable
from supervisor.ipvs.netlink import Denied, FamilyMissing, GenericNetlink, NetlinkError, NoNetlink, error_word
from supervisor.ipvs.settingswire import (
    GET_CONFIG,
    GET_DAEMON,
    decode_sync_daemon,
    decode_timeouts,
    encode_change,
)
from supervisor.ipvs.wire import (
    GET_DEST,
    GET_SERVICE,
    ServiceRecord,
    WireError,
    decode_destination,
    decode_service,
    encode,
    service_key,
)
from supervisor.model import Endpoint, ServiceKey

PRELOAD_LIMIT_S = 10.0
"""Longest time that modprobe may take; loading a scheduler took 50 to 70 ms in User-Mode Linux (ipvs.md, section 4)."""

NAMED_MAX = 64
"""So many services are asked for one by one, some 20 us each (40 in User-Mode Linux); a dump of 1,000 takes 14 ms there."""

UNENCODABLE = "EINVAL"
"""What the kernel would say of a value that has no room in its field."""


def preload(schedulers: Iterable[str]) -> bool:
    """Load ip_vs and the modules of `schedulers` ahead of time; tell whether modprobe did it. Blocks: only for the start.

    Failure is fine: the kernel loads them itself when they are first used, only inside our `send`, where the loop waits.
    """
    modules = ["ip_vs", *sorted({f"ip_vs_{name}" for name in schedulers if name.isalnum()})]
    try:
        done = subprocess.run(
            ["modprobe", "--quiet", "--all", *modules],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PRELOAD_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


class KernelBackend:
    """The IPVS table of the network namespace in which this object was made.

    Raises BackendUnavailable, with a remedy, when there is none.
    """

    name = "kernel"

    def __init__(self) -> None:
        try:
            self._netlink = GenericNetlink("IPVS")
            self._netlink.dump(GET_SERVICE)  # the family answers anybody, the table only CAP_NET_ADMIN
        except (NetlinkError, AnswerLost, WireError) as error:
            if hasattr(self, "_netlink"):
                self._netlink.close()
            raise BackendUnavailable(_remedy(error)) from error

    def close(self) -> None:
        """Close the socket. The table stays."""
        self._netlink.close()

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Return the table, or only the services `keys`. Raises AnswerLost, BackendUnavailable.

        The kernel has no dump of everything: one of the services, then one of the destinations of each. The dump is not atomic
        and does not say so, but nobody here writes meanwhile. A few services are asked for by name, which is exact, and cheap
        however many others there are.
        """
        try:
            return self._read(keys)
        except WireError as error:
            raise AnswerLost(f"a dump that is not well formed: {error}") from error
        except NetlinkError as error:
            raise BackendUnavailable(_remedy(error)) from error

    def services(self) -> dict[ServiceKey, ServiceSettings]:
        """Return every service without its destinations. Raises AnswerLost, BackendUnavailable."""
        try:
            return {record.key: record.settings for record in self._all()}
        except WireError as error:
            raise AnswerLost(f"a dump that is not well formed: {error}") from error
        except NetlinkError as error:
            raise BackendUnavailable(_remedy(error)) from error

    def _read(self, keys: Collection[ServiceKey] | None) -> Reading:
        services: dict[ServiceKey, Service] = {}
        counters: dict[ServiceKey, Counters] = {}
        loads: dict[ServiceKey, Mapping[Endpoint, Load]] = {}
        named = keys is not None and len(keys) <= NAMED_MAX
        for record in self._named(keys or ()) if named else self._all():
            if keys is not None and record.key not in keys:
                continue
            services[record.key], loads[record.key] = self._service(record.key, record.settings)
            counters[record.key] = record.counters
        return Reading(Table(MappingProxyType(services)), MappingProxyType(loads), MappingProxyType(counters))

    def _all(self) -> Iterator[ServiceRecord]:
        for answer in self._netlink.dump(GET_SERVICE):
            record = decode_service(answer)
            if record is not None:
                yield record

    def _named(self, keys: Collection[ServiceKey]) -> Iterator[ServiceRecord]:
        """Ask for services one by one; those that are not there are left out."""
        for key in keys:
            try:
                answers = self._netlink.request(GET_SERVICE, service_key(key))
            except NetlinkError as error:
                if error.number != errno.ESRCH:
                    raise
                continue
            for answer in answers:
                record = decode_service(answer)
                if record is not None:
                    yield record

    def _service(self, key: ServiceKey, settings: ServiceSettings) -> tuple[Service, Mapping[Endpoint, Load]]:
        destinations: dict[Endpoint, Destination] = {}
        loads: dict[Endpoint, Load] = {}
        for answer in self._netlink.dump(GET_DEST, service_key(key)):
            record = decode_destination(answer, key.family)
            destinations[record.destination.endpoint] = record.destination
            loads[record.destination.endpoint] = record.load
        return Service(key, settings, MappingProxyType(destinations)), loads

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Carry out `ops` in order, at most 64; a failure does not stop the rest. Return one errno name ("" = done) for each.

        Raises AnswerLost, BackendUnavailable (the family is gone).
        """
        words = [""] * len(ops)
        requests: list[tuple[int, bytes]] = []
        sent: list[int] = []
        for index, op in enumerate(ops):
            try:
                requests.append(encode(op))
                sent.append(index)
            except WireError:
                words[index] = UNENCODABLE
        try:
            results = self._netlink.batch(requests)
        except WireError as error:
            raise AnswerLost(f"answers that are not well formed: {error}") from error
        except NetlinkError as error:
            raise BackendUnavailable(_remedy(error)) from error
        for index, number in zip(sent, results, strict=True):
            words[index] = error_word(number) if number else ""
        return words

    def settings(self) -> KernelState:
        """Return the time-outs and the sync daemons. Raises AnswerLost, BackendUnavailable."""
        try:
            timeouts = decode_timeouts(b"".join(self._netlink.request(GET_CONFIG)))
            daemons = tuple(decode_sync_daemon(answer) for answer in self._netlink.dump(GET_DAEMON))
        except WireError as error:
            raise AnswerLost(f"settings that are not well formed: {error}") from error
        except NetlinkError as error:
            raise BackendUnavailable(_remedy(error)) from error
        return KernelState(timeouts, daemons)

    def adjust(self, change: Change) -> str:
        """Carry out one change and return the errno's name ("" = done). Raises AnswerLost, BackendUnavailable.

        The kernel makes no answer at all where a daemon is stopped before its thread ever ran: it is gone, and AnswerLost raised.
        """
        try:
            self._netlink.request(*encode_change(change))
        except WireError:
            return UNENCODABLE
        except FamilyMissing as error:
            raise BackendUnavailable(_remedy(error)) from error
        except NetlinkError as error:
            return error.word
        return ""


def _remedy(error: Exception) -> str:
    """Say what is missing and what the operator can do about it."""
    match error:
        case FamilyMissing():
            return (
                "this kernel has no IPVS table: the module ip_vs is not loaded · run `modprobe ip_vs` as root "
                "(a kernel built without CONFIG_IP_VS needs another kernel), or try `--backend memory`"
            )
        case Denied():
            return (
                "the kernel does not let us at its IPVS table (EPERM): CAP_NET_ADMIN in the first user namespace is needed"
                " · run as root or with AmbientCapabilities=CAP_NET_ADMIN, or try `--backend memory`"
            )
        case NoNetlink():
            return (
                f"there is no netlink here ({error}) · allow AF_NETLINK (RestrictAddressFamilies= of the systemd unit,"
                " the container's seccomp profile), or try `--backend memory`"
            )
        case _:
            return f"the kernel's IPVS table does not answer as expected: {error} · or try `--backend memory`"
