"""The IPVS table of one namespace over time: which weights each service had, and since when."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

from tests.kernel import lab

EVERY_S = 0.02

Weights: TypeAlias = Mapping[str, int]

_DESTINATION = re.compile(r"^\s+-> ([0-9A-F]{8}):[0-9A-F]{4}\s+\w+\s+(-?\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Moment:
    """From `at_s` (monotonic) on, the destinations of a virtual address had these weights, by address; None: there was no service."""

    at_s: float
    weights: Weights | None


class Watch:
    """Reads the table fifty times a second until `close()`."""

    def __init__(self, namespace: str) -> None:
        self._descriptor = lab.inside(
            namespace, lambda: os.open("/proc/thread-self/net/ip_vs", os.O_RDONLY | os.O_CLOEXEC)
        )
        self._history: dict[str, list[Moment]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def now(self, address: str) -> Weights | None:
        """Return the weights of a virtual address; None while it has no service."""
        moments = self.moments(address)
        return moments[-1].weights if moments else None

    def moments(self, address: str) -> list[Moment]:
        """Return all that was seen of a virtual address, oldest first."""
        with self._lock:
            return list(self._history.get(address, ()))

    def last_change_s(self) -> float:
        """Return when anything changed last; 0 when nothing was ever seen."""
        with self._lock:
            return max((moments[-1].at_s for moments in self._history.values()), default=0.0)

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()
        os.close(self._descriptor)

    def _look(self) -> None:
        before = ""
        while not self._over.wait(EVERY_S):
            text = _whole(self._descriptor)
            if text == before:
                continue
            before, at_s, found = text, time.monotonic(), _parsed(text)
            with self._lock:
                for address in found.keys() | self._history.keys():
                    moments = self._history.setdefault(address, [])
                    weights = found.get(address)
                    if not moments or moments[-1].weights != weights:
                        moments.append(Moment(at_s, weights))


def _whole(descriptor: int) -> str:
    parts, offset = [], 0
    while part := os.pread(descriptor, 1 << 16, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts).decode()


def _parsed(text: str) -> dict[str, Weights]:
    """Return the weights by virtual address (its ports taken together) and by the address of the destination."""
    found: dict[str, dict[str, int]] = {}
    for service in re.split(r"^(?=\w+\s+[0-9A-F]{8}:)", text, flags=re.MULTILINE)[1:]:  # the first part is the title
        weights = found.setdefault(_address(service.split()[1].partition(":")[0]), {})
        for address, weight in _DESTINATION.findall(service):
            weights[_address(address)] = int(weight)
    return dict(found)


def _address(digits: str) -> str:
    return str(IPv4Address(int(digits, 16)))
