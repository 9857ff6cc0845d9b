"""Snapshot in, metrics out: names, labels and values that operators build boards on."""

import os
import pathlib
import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from supervisor.core.snapshot import OverrideView, Snapshot
from supervisor.exporter.extent import SERIES_EACH, Extent
from supervisor.exporter.families import SCOPES, Served, families, render_duration, served_families
from tests.fakes import snapshots

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "metrics.txt"
NOW = 1_800_000_000.0
EVERYTHING = Extent(detail=True, node_ipvs=True)
SERVED = Served({200: 41, 503: 1}, refused=2, snapshot_s=0.125)


class Rendered(Collector):
    def __init__(self, told: list[Metric]) -> None:
        self.told = told

    def collect(self) -> list[Metric]:
        return self.told


def everything(snapshot: Snapshot) -> Collector:
    told = families(snapshot, NOW, extent=EVERYTHING)
    return Rendered([*told, *served_families(SERVED), render_duration({"process": 0.001})])


def text(snapshot: Snapshot) -> str:
    return generate_latest(everything(snapshot)).decode()


def values(snapshot: Snapshot) -> dict[str, float]:
    """Each sample as name{label values} → value."""
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in everything(snapshot).collect()
        for sample in family.samples
    }


def test_the_exposition_is_the_golden_one() -> None:
    assert text(snapshots.snapshot()) == GOLDEN.read_text(), "names and labels are API: changed on purpose?"


def test_both_formats_can_be_parsed_and_no_series_comes_twice() -> None:
    collector = everything(snapshots.snapshot())
    for parsed in (
        text_string_to_metric_families(generate_latest(collector).decode()),
        parse_openmetrics(openmetrics.generate_latest(collector).decode()),  # type: ignore[no-untyped-call]  # has no types
    ):
        series = Counter((s.name, tuple(sorted(s.labels.items()))) for family in parsed for s in family.samples)
        assert len(series) > 150
        assert max(series.values()) == 1


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "promtool is missing (Debian package prometheus); in CI that is an error"
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text(snapshots.snapshot()), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_histograms_are_cumulative_and_end_in_their_count() -> None:
    told = values(snapshots.snapshot())
    name = "lvs_check_duration_seconds"
    assert told[f"{name}_bucket{{HTTP_GET,0.0025}}"] == 0
    assert told[f"{name}_bucket{{HTTP_GET,0.005}}"] == 1200
    assert told[f"{name}_bucket{{HTTP_GET,0.25}}"] == 1200
    assert told[f"{name}_bucket{{HTTP_GET,0.5}}"] == 1207
    assert told[f"{name}_bucket{{HTTP_GET,+Inf}}"] == 1207
    assert told[f"{name}_count{{HTTP_GET}}"] == 1207
    assert told[f"{name}_sum{{HTTP_GET}}"] == 6.25


def test_ages_become_timestamps() -> None:
    told = values(snapshots.snapshot())
    assert told["lvs_start_timestamp_seconds{}"] == NOW - 3600.5
    assert told["lvs_kernel_last_sync_timestamp_seconds{}"] == NOW - 1.5
    assert told["lvs_real_server_state_change_timestamp_seconds{203.0.113.1:80/tcp,192.168.100.22:80}"] == NOW - 12.5


def test_what_is_not_there_has_no_sample() -> None:
    told = values(snapshots.snapshot())
    unknown = "fwm:10/ipv6,[2001:db8::22]:80"
    assert f"lvs_real_server_up{{{unknown}}}" in told
    assert f"lvs_real_server_weight{{{unknown}}}" not in told
    assert f"lvs_real_server_target_weight{{{unknown}}}" not in told
    assert told["lvs_real_server_weight{203.0.113.1:80/tcp,192.168.100.22:80}"] == 0
    unsynced = replace(snapshots.process(), writer=replace(snapshots.process().writer, sync_age_s=None))
    assert "lvs_kernel_last_sync_timestamp_seconds{}" not in values(Snapshot(unsynced, ()))
    plain = replace(snapshots.article(), sorry=None)
    assert "lvs_virtual_server_sorry_active{203.0.113.1:80/tcp}" not in values(Snapshot(snapshots.process(), (plain,)))


def test_a_disabled_server_is_neither_up_nor_down_in_the_sums_but_its_checks_speak_on() -> None:
    told = values(snapshots.snapshot())
    states = {
        state: told[f"lvs_virtual_server_real_servers{{fwm:10/ipv6,{state}}}"]
        for state in ("up", "down", "unknown", "draining", "disabled")
    }
    assert states == {"up": 0, "down": 0, "unknown": 1, "draining": 0, "disabled": 1}
    assert told["lvs_real_server_up{fwm:10/ipv6,[2001:db8::21]:80}"] == 1
    assert told["lvs_real_server_enabled{fwm:10/ipv6,[2001:db8::21]:80}"] == 0


def test_what_operators_want_is_counted_by_kind() -> None:
    wish = OverrideView("enabled", 7, "", "alice", 1.0, None)
    weighted = replace(snapshots.real_server("192.168.100.21"), override=wish)
    drained = replace(weighted, enabled=False, admin="draining", override=replace(wish, admin="draining", weight=None))
    one = replace(
        snapshots.article(), real_servers=(weighted, drained, drained, snapshots.real_server("192.168.100.22"))
    )
    told = values(Snapshot(snapshots.process(), (one, snapshots.marked())))
    kinds = {kind: told[f"lvs_admin_overrides{{{kind}}}"] for kind in ("draining", "disabled", "weight")}
    assert kinds == {"draining": 2, "disabled": 1, "weight": 1}
    assert told["lvs_virtual_server_real_servers{203.0.113.1:80/tcp,draining}"] == 2


def test_down_with_a_weight_in_the_kernel_is_counted() -> None:
    dead = replace(snapshots.real_server("192.168.100.22", up=False), weight_kernel=1)
    one = replace(snapshots.article(), real_servers=(dead, snapshots.real_server("192.168.100.21")))
    assert values(Snapshot(snapshots.process(), (one,)))["lvs_virtual_server_pooled_down{203.0.113.1:80/tcp}"] == 1


def test_info_carries_the_labels_of_node_exporter() -> None:
    told = values(snapshots.snapshot())
    assert told["lvs_virtual_server_info{203.0.113.1:80/tcp,,lc,nat,203.0.113.1,80,TCP,}"] == 1
    assert told["lvs_virtual_server_info{fwm:10/ipv6,mail,wrr,dr,,0,FWM,0000000A}"] == 1
    assert told["lvs_real_server_info{fwm:10/ipv6,[2001:db8::21]:80,2001:db8::21,80,nat}"] == 1


def test_a_failures_text_never_becomes_a_label() -> None:
    process = replace(snapshots.process(), addresses={"203.0.113.9": "failed no interface fits, see 10.0.0.0/8"})
    assert values(Snapshot(process, ()))["lvs_virtual_address_info{203.0.113.9,failed,}"] == 1


def test_label_values_are_escaped() -> None:
    process = replace(snapshots.process(), version='1"\\\n2')
    (build,) = [f for f in text_string_to_metric_families(text(Snapshot(process, ()))) if f.name == "lvs_build_info"]
    assert build.samples[0].labels["version"] == '1"\\\n2'


@pytest.mark.parametrize("scope", SCOPES)
def test_each_scope_has_its_own_families_and_all_together_are_everything(scope: str) -> None:
    names = [family.name for family in families(snapshots.snapshot(), NOW, (scope,), EVERYTHING)]
    others = [f.name for s in SCOPES if s != scope for f in families(snapshots.snapshot(), NOW, (s,), EVERYTHING)]
    assert names
    assert not set(names) & set(others)
    assert sorted(names + others) == sorted(f.name for f in families(snapshots.snapshot(), NOW, extent=EVERYTHING))


def test_without_any_virtual_server_everything_still_renders() -> None:
    told = values(Snapshot(snapshots.process(), ()))
    assert told["lvs_virtual_servers{}"] == 0
    assert not [name for name in told if name.startswith("lvs_real_server_")]


def test_no_label_of_a_real_server_changes_with_its_state() -> None:
    """A label that follows the state would start a new series at each change (and break rate())."""

    def labels(up: bool) -> set[str]:
        view = replace(snapshots.article(), real_servers=(snapshots.real_server("192.168.100.22", up=up),))
        return {name for name in values(Snapshot(snapshots.process(), (view,))) if "real_server_" in name}

    assert labels(up=True) == labels(up=False)


def names(extent: Extent, snapshot: Snapshot | None = None) -> set[str]:
    return {family.name for family in families(snapshot or snapshots.snapshot(), NOW, extent=extent)}


def test_what_costs_much_is_told_only_when_asked_for() -> None:
    usual = names(Extent())
    assert "lvs_real_server_up" in usual
    detail = names(Extent(detail=True)) - usual
    assert detail == {
        *(f"lvs_real_server_{word}" for word in ("connections", "incoming_packets", "outgoing_packets")),
        *(f"lvs_real_server_{word}" for word in ("incoming_bytes", "outgoing_bytes", "check_last_duration_seconds")),
    }
    node = names(Extent(node_ipvs=True)) - usual
    assert len(node) == 8
    assert all(name.startswith("node_ipvs_") for name in node)


def test_a_real_server_makes_as_many_series_as_the_limit_reckons_with() -> None:
    """The one that has every optional series; one more and the limit would be a lie."""
    one = replace(snapshots.article(), real_servers=(snapshots.real_server("192.168.100.21"),))
    told = families(Snapshot(snapshots.process(), (one,)), NOW, ("real_server",))
    assert sum(len(family.samples) for family in told) == SERIES_EACH


@pytest.mark.parametrize(("limit", "omitted"), [(0, 0), (4 * SERIES_EACH, 0), (4 * SERIES_EACH - 1, 1), (1, 1)])
def test_beyond_the_limit_real_servers_are_left_out_whole_and_it_is_said(limit: int, omitted: int) -> None:
    extent = Extent(series_max=limit, detail=True, node_ipvs=True)
    told = {family.name: family for family in families(snapshots.snapshot(), NOW, extent=extent)}
    assert told["lvs_metrics_real_servers_omitted"].samples[0].value == omitted
    assert told["lvs_metrics_real_server_series"].samples[0].value == 4 * SERIES_EACH
    assert told["lvs_metrics_real_server_series_limit"].samples[0].value == limit
    assert any(name.startswith(("lvs_real_server_", "node_ipvs_backend")) for name in told) is not bool(omitted)
    assert "lvs_virtual_server_real_servers" in told, "the sums stay"


def test_checks_that_share_type_and_target_are_one_series() -> None:
    server = snapshots.real_server("192.168.100.21")
    twice = replace(server, checks=(server.checks[0], replace(server.checks[0], duration_s=0.5)))
    one = replace(snapshots.article(), real_servers=(twice,))
    (family,) = (
        family
        for family in families(Snapshot(snapshots.process(), (one,)), NOW, extent=EVERYTHING)
        if family.name == "lvs_real_server_check_last_duration_seconds"
    )
    assert [sample.value for sample in family.samples] == [0.5]


def test_node_exporters_names_show_what_the_kernel_has_each_once() -> None:
    told = values(snapshots.snapshot())
    assert told["node_ipvs_backend_weight{203.0.113.1,80,192.168.100.21,80,TCP,}"] == 1
    assert told["node_ipvs_backend_weight{,0,2001:db8::20,80,FWM,0000000A}"] == 1, "the sorry server, while it serves"
    assert "node_ipvs_backend_weight{,0,2001:db8::22,80,FWM,0000000A}" not in told, "it is not in the kernel"
    serving = replace(snapshots.article(), sorry=replace(snapshots.sorry(), real_server="192.168.100.21:80"))
    again = text(Snapshot(snapshots.process(), (serving,)))
    assert again.count('node_ipvs_backend_weight{local_address="203.0.113.1"') == 2
