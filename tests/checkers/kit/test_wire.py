"""Frames: both sides agree, and nothing malformed gets through."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkers.kit import wire
from checkers.kit.api import DETAIL_MAX_BYTES, Ending, Favour, Health, Reason
from checkers.kit.job import WEIGHT_MAX
from supervisor.core.snapshot import DURATION_BUCKETS_S

uint32 = st.integers(0, 2**32 - 1)
uint64 = st.integers(0, 2**64 - 1)
seconds = st.floats(0, 1e9, allow_nan=False)
health = st.sampled_from(Health)
reasons = st.sampled_from(Reason)
texts = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=DETAIL_MAX_BYTES // 4)

weights = st.none() | st.integers(-WEIGHT_MAX, WEIGHT_MAX)
results = st.builds(wire.ReportResult, uint64, reasons, seconds, texts, texts, texts, seconds)
reports = st.builds(wire.Report, uint32, uint32, uint64, uint32, health, uint32, uint32, st.none() | results, weights)
entries = st.builds(wire.StateEntry, uint32, health, uint32, uint32, weights, uint32)
asks = st.builds(wire.Ask, uint32, uint32, uint64, uint32, uint32, st.sampled_from(Favour))
states = st.builds(wire.State, uint32, uint32, uint64, st.lists(entries, max_size=50).map(tuple), st.booleans())
histograms = st.builds(wire.Histogram, st.tuples(*[uint64] * 14), seconds)
beats = st.builds(
    wire.Beat,
    uint32,
    uint32,
    uint64,
    seconds,
    uint32,
    uint32,
    st.lists(st.tuples(texts, reasons, uint64), max_size=20).map(tuple),
    st.lists(st.tuples(texts, histograms), max_size=5).map(tuple),
    histograms,
    seconds,
    uint32,
    st.integers(1, 255),
    st.lists(st.tuples(texts, uint64), max_size=wire.FAULTS_MAX).map(tuple),
    uint32,
    uint64,
    uint32,
    uint32,
)
sentinels = st.builds(wire.SentinelTold, uint32, uint32, uint64, uint32, st.sampled_from(wire.SentinelState), seconds)
hellos = st.builds(wire.Hello, uint32, texts)
lines = st.lists(texts, max_size=3).map("\n".join)
steps = st.builds(wire.Step, st.sampled_from(wire.StepKind), seconds, lines, uint32)
several_steps = st.lists(steps, max_size=5).map(tuple)
probed = st.builds(wire.Probed, uint32, uint32, uint64, uint32, uint32, st.none() | results, weights, several_steps)
from_worker = hellos | reports | states | beats | asks | probed | sentinels

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
jobs = st.builds(
    wire.Job,
    id=uint32,
    type=texts,
    address=texts,
    port=st.integers(0, 65535),
    delay_loop=seconds,
    retry=uint32,
    delay_before_retry=seconds,
    connect_timeout=seconds,
    warmup=seconds,
    options=st.dictionaries(texts, json_values, max_size=3),
    bind_address=texts,
    bind_port=st.integers(0, 65535),
    bind_interface=texts,
    alpha=st.booleans(),
    log_all_failures=st.booleans(),
    mark=uint32,
    rise=uint32,
    fast_interval=st.none() | seconds,
    down_interval=st.none() | seconds,
    idle_interval=st.none() | seconds,
    health=health,
    weight=weights,
    definition=texts,
)
parts = st.integers(1, 65535).flatmap(lambda count: st.tuples(st.integers(0, count - 1), st.just(count)))
assigns = st.builds(
    lambda epoch, generation, part, some, most: wire.Assign(epoch, generation, part[0], part[1], tuple(some), most),
    uint32,
    uint32,
    parts,
    st.lists(jobs, max_size=4),
    st.integers(0, 65535),
)
grants = st.builds(wire.Grant, uint32, st.sampled_from(Ending), st.integers(0, 255), texts)
probes = st.builds(wire.Probe, uint32, uint32)
idles = st.builds(wire.Idle, st.booleans(), st.lists(uint32, max_size=50).map(tuple))
looks = st.builds(wire.Look, st.lists(uint32, max_size=50).map(tuple))
from_supervisor = assigns | grants | probes | idles | looks | st.just(wire.AskState()) | st.just(wire.Stop())


PROBED = wire.Probed(1, 1, 1, 1, 1, None, None, (wire.Step(wire.StepKind.SENT, 0.5, "GET", 3),))


def job(number: int = 1, **changes: object) -> wire.Job:
    values: dict[str, object] = {
        "id": number,
        "type": "TCP_CHECK",
        "address": "192.168.100.20",
        "port": 80,
        "delay_loop": 6.0,
        "retry": 3,
        "delay_before_retry": 2.0,
        "connect_timeout": 3.0,
        "warmup": 6.0,
    }
    return wire.Job(**{**values, **changes})  # type: ignore[arg-type]  # a test's short hand


@given(from_worker)
def test_what_a_worker_says_is_what_the_supervisor_hears(frame: wire.FromWorker) -> None:
    assert wire.decode_from_worker(wire.encode(frame)) == frame


@given(from_supervisor)
def test_what_the_supervisor_says_is_what_a_worker_hears(frame: wire.FromSupervisor) -> None:
    assert wire.decode_from_supervisor(wire.encode(frame)) == frame


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: bytes([wire.VERSION]) + tail))
@example(b"")
@example(bytes([wire.VERSION, 2]))
def test_any_bytes_of_a_worker_are_refused_or_mean_exactly_one_frame(data: bytes) -> None:
    try:
        frame = wire.decode_from_worker(data)
    except wire.WireError:
        return
    assert wire.encode(frame) == data


@given(from_worker, st.data())
def test_a_damaged_frame_of_a_worker_is_refused_or_means_exactly_one_frame(
    frame: wire.FromWorker, data: st.DataObject
) -> None:
    octets = bytearray(wire.encode(frame))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = wire.decode_from_worker(bytes(octets))
    except wire.WireError:
        return
    assert wire.encode(read) == octets


@given(from_worker, st.data())
def test_a_frame_of_a_worker_that_is_cut_off_or_has_more_is_refused(
    frame: wire.FromWorker, data: st.DataObject
) -> None:
    whole = wire.encode(frame)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(wire.WireError):
        wire.decode_from_worker(cut)
    with pytest.raises(wire.WireError):
        wire.decode_from_worker(whole + b"\x00")


@given(st.binary(max_size=200).map(lambda tail: bytes([wire.VERSION]) + tail))
@example(bytes([wire.VERSION, 5]) + struct.pack(">IIHHH", 1, 1, 0, 1, 0) + b"[" * 5000)
@example(bytes([wire.VERSION, 5]) + struct.pack(">IIHHH", 1, 1, 0, 1, 0) + b'[{"retry":NaN}]')
@example(bytes([wire.VERSION, 5]) + struct.pack(">IIHHH", 1, 1, 1, 1, 0) + b"[]")
def test_any_bytes_of_the_supervisor_are_refused_or_can_be_said_again(data: bytes) -> None:
    try:
        frame = wire.decode_from_supervisor(data)
    except wire.WireError:
        return
    assert wire.decode_from_supervisor(wire.encode(frame)) == frame


@pytest.mark.parametrize(
    ("frame", "offset", "octet"),
    [
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None), 22, 3, id="health out of range"),
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None), 40, 2, id="flag out of range"),
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None), 0, 9, id="unknown version"),
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None), 1, 5, id="a type only the supervisor may say"),
        pytest.param(wire.State(1, 1, 1, (), last=True), 18, 7, id="last out of range"),
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None, 5), 31, 0, id="a weight that is not given"),
        pytest.param(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, None, 5), 32, 0x7F, id="weight out of range"),
        pytest.param(wire.Ask(1, 1, 1, 1, 1, Favour.FILE), 26, 9, id="unknown favour"),
        pytest.param(PROBED, 26, 2, id="has result out of range"),
        pytest.param(PROBED, 38, 0, id="unknown step"),
        pytest.param(PROBED, 53, 0x1B, id="a step that steers the terminal"),
        pytest.param(PROBED, 51, 0xFF, id="a step longer than the frame"),
        pytest.param(wire.Hello(1, "ab"), 8, 0x1B, id="text not printable"),
        pytest.param(wire.Hello(1, "ab"), 9, 0xFF, id="text not UTF-8"),
    ],
)
def test_a_value_out_of_its_range_is_refused(frame: wire.FromWorker, offset: int, octet: int) -> None:
    data = bytearray(wire.encode(frame))
    data[offset] = octet
    with pytest.raises(wire.WireError):
        wire.decode_from_worker(bytes(data))


@pytest.mark.parametrize("duration_s", [float("nan"), float("inf"), -1.0])
def test_a_duration_that_is_no_length_of_time_is_refused_on_both_sides(duration_s: float) -> None:
    frame = wire.Report(1, 1, 1, 1, Health.UP, 0, 0, wire.ReportResult(1, Reason.L7OK, duration_s))
    with pytest.raises(wire.WireError):
        wire.encode(frame)
    good = bytearray(wire.encode(wire.Report(1, 1, 1, 1, Health.UP, 0, 0, wire.ReportResult(1, Reason.L7OK, 1.0))))
    at = good.index(struct.pack(">d", 1.0))
    good[at : at + 8] = struct.pack(">d", duration_s)
    with pytest.raises(wire.WireError):
        wire.decode_from_worker(bytes(good))


def test_a_transcript_longer_than_its_limits_is_refused() -> None:
    step = wire.Step(wire.StepKind.RECEIVED, 0.0, "x" * 2000, 2000)
    for steps in ((step,) * 40, (wire.Step(wire.StepKind.SENT, 0.0, "", 0),) * 65):
        with pytest.raises(wire.WireError, match="too many"):
            wire.encode(wire.Probed(1, 1, 1, 1, 1, None, None, steps))


def test_a_text_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(wire.WireError, match="at most 200"):
        wire.encode(wire.Hello(1, "x" * (DETAIL_MAX_BYTES + 1)))


def test_a_full_state_is_cut_into_numbered_frames_and_only_the_last_says_so() -> None:
    entries = [wire.StateEntry(number, Health.UP, 0, 0) for number in range(10_000)]
    frames = wire.state_frames(3, 4, 17, entries)
    assert [frame.seq for frame in frames] == list(range(17, 17 + len(frames)))
    assert [frame.last for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert [entry for frame in frames for entry in frame.entries] == entries
    assert max(len(wire.encode(frame)) for frame in frames) <= wire.STATE_FRAME_MAX_BYTES


def test_a_full_state_of_nothing_is_one_frame() -> None:
    assert wire.state_frames(1, 1, 5, []) == [wire.State(1, 1, 5, (), last=True)]


def test_jobs_of_one_frame_share_what_is_equal_in_them() -> None:
    (frame,) = wire.assign_frames(1, 1, [job(1), job(2), job(3, options={"url": [{"path": "/other"}]})])
    assign = wire.decode_from_supervisor(frame)
    assert isinstance(assign, wire.Assign)
    one, two, other = assign.jobs
    assert one.options is two.options
    assert one.type is two.type
    assert other.options == {"url": [{"path": "/other"}]}


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_an_assignment_is_cut_into_frames_that_together_hold_every_job(count: int) -> None:
    wanted = [job(number, delay_loop=6) for number in range(count)]
    frames = wire.assign_frames(1, 2, wanted)
    read = [wire.decode_from_supervisor(data) for data in frames]
    assert max(map(len, frames)) <= wire.ASSIGN_FRAME_MAX_BYTES
    assert [(frame.part, frame.parts) for frame in read if isinstance(frame, wire.Assign)] == [
        (part, len(frames)) for part in range(len(frames))
    ]
    assert [item for frame in read if isinstance(frame, wire.Assign) for item in frame.jobs] == wanted


def test_a_job_that_does_not_fit_a_frame_is_refused_by_name() -> None:
    with pytest.raises(wire.WireError, match="job 7"):
        wire.assign_frames(1, 1, [job(7, options={"regex": "x" * 70_000})])


def test_jobs_that_differ_only_in_number_and_health_are_the_same_check() -> None:
    assert job(1).identity() == job(2, health=Health.DOWN).identity()
    assert job(1).identity() != job(1, delay_loop=7.0).identity()
    assert job(1, options={"a": 1, "b": 2}).identity() == job(1, options={"b": 2, "a": 1}).identity()


@pytest.mark.parametrize(
    "change",
    [
        {"port": 65_536},
        {"retry": -1},
        {"retry": True},
        {"delay_loop": -1.0},
        {"address": 5},
        {"alpha": 1},
        {"options": []},
    ],
    ids=str,
)
def test_a_job_with_a_field_out_of_its_range_is_refused_and_the_field_is_named(change: dict[str, object]) -> None:
    (name,) = change
    with pytest.raises(wire.WireError, match=name):
        wire.decode_from_supervisor(wire.encode(wire.Assign(1, 1, 0, 1, (job(1, **change),))))


def test_histograms_have_the_same_buckets_on_both_sides() -> None:
    assert wire.DURATION_BUCKETS_S == DURATION_BUCKETS_S


@pytest.mark.parametrize(("state", "age_s"), [(9, 1.0), (1, -1.0), (1, float("nan")), (1, float("inf"))])
def test_a_sentinel_of_no_state_or_no_age_is_refused(state: int, age_s: float) -> None:
    good = wire.encode(wire.SentinelTold(1, 2, 3, 4, wire.SentinelState.CLOSED, 5.0))
    bad = good[: -struct.calcsize(">Bd")] + struct.pack(">Bd", state, age_s)
    with pytest.raises(wire.WireError, match="sentinel"):
        wire.decode_from_worker(bad)
