"""The embedded table keeps the contract that the kernel's keeps (tests/kernel/test_backend_kernel.py), and so does its faulty wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from supervisor.ipvs.backend import Backend
from supervisor.ipvs.memory import MemoryBackend
from tests.contract.backend_suite import BackendContract
from tests.fakes.backend import FaultyBackend


class TestMemoryBackend(BackendContract):
    @contextmanager
    def opened(self) -> Iterator[Backend]:
        yield MemoryBackend()


class TestFaultyBackendWithoutFaults(BackendContract):
    @contextmanager
    def opened(self) -> Iterator[Backend]:
        yield FaultyBackend()
