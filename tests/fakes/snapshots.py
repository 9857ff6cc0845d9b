"""A hand-made snapshot: the article's virtual server with one dead real server, and a firewall mark whose sorry server stands in."""

from dataclasses import replace

from supervisor.core.snapshot import (
    CheckCount,
    CheckTiming,
    CheckView,
    ContestView,
    DriftView,
    Histogram,
    OperationCount,
    OverrideView,
    ProcessView,
    RealServerView,
    Snapshot,
    SorryView,
    StateView,
    TrafficView,
    VirtualServerView,
    WebView,
    WorkerView,
    WriterView,
)


def real_server(name: str, *, up: bool = True, port: int = 80) -> RealServerView:
    """One real server named like "192.168.100.21"."""
    return RealServerView(
        real_server=f"{name}:{port}",
        forward="nat",
        health="UP" if up else "DOWN",
        enabled=True,
        weight_configured=1,
        weight_wanted=1 if up else 0,
        weight_kernel=1 if up else 0,
        since_s=3600.0 if up else 12.5,
        transitions_up=0,
        transitions_down=0 if up else 1,
        stale=False,
        traffic=TrafficView(3, 17, 1200, 9000, 8000, 700_000, 9_000_000_000),
        checks=(
            CheckView(
                type="HTTP_GET",
                target=f"{name}:{port}",
                health="UP" if up else "DOWN",
                reason="L7OK" if up else "L4CON",
                detail="" if up else "connection refused",
                duration_s=0.0021,
                age_s=2.0,
                failures=0 if up else 7,
                since_s=3600.0 if up else 12.5,
                certificate_expires_at=1_900_000_000.0,
            ),
        ),
    )


def article() -> VirtualServerView:
    """203.0.113.1:80 with 192.168.100.21 up and .22 down."""
    return VirtualServerView(
        virtual_server="203.0.113.1:80/tcp",
        scheduler="lc",
        forward="nat",
        family=4,
        protocol="tcp",
        address="203.0.113.1",
        port=80,
        mark=0,
        quorate=True,
        quorum=1,
        hysteresis=0,
        weight_up=1,
        since_s=3600.0,
        transitions_up=1,
        transitions_down=0,
        sorry=SorryView("192.168.100.20:80", active=False, weight_kernel=None, traffic=TrafficView()),
        traffic=TrafficView(0, 0, 2400, 18_000, 16_000, 1_400_000, 18_000_000_000),
        real_servers=(real_server("192.168.100.21"), real_server("192.168.100.22", up=False)),
    )


def sorry() -> SorryView:
    """The sorry server that stands in for the firewall mark."""
    return SorryView("[2001:db8::20]:80", active=True, weight_kernel=1, traffic=TrafficView(1))


def marked() -> VirtualServerView:
    """Firewall mark 10 of IPv6: one real server disabled, one never checked and not in the kernel; the sorry server stands in."""
    disabled = replace(
        real_server("[2001:db8::21]"),
        enabled=False,
        admin="disabled",
        override=OverrideView("disabled", None, "CHG-17", "alice", 720.0, 6480.5),
        weight_wanted=0,
        weight_kernel=0,
    )
    unknown = replace(
        real_server("[2001:db8::22]"),
        health="UNKNOWN",
        weight_wanted=None,
        weight_kernel=None,
        stale=True,
        traffic=TrafficView(),
    )
    return VirtualServerView(
        virtual_server="fwm:10/ipv6",
        scheduler="wrr",
        forward="dr",
        family=6,
        protocol="",
        address="",
        port=0,
        mark=10,
        quorate=False,
        quorum=2,
        hysteresis=1,
        weight_up=0,
        since_s=60.0,
        transitions_up=3,
        transitions_down=4,
        sorry=sorry(),
        traffic=TrafficView(),
        real_servers=(disabled, unknown),
        min_healthy="50%",
        group="mail",
        removals_refused=2,
    )


def process() -> ProcessView:
    """A supervisor that has run for an hour; its pid is one that cannot exist."""
    return ProcessView(
        version="0.1.0",
        python="3.11.2",
        kernel="6.1.0",
        backend="kernel",
        pid=2**22 + 1,
        uptime_s=3600.5,
        ready=True,
        config_source="/etc/keepalived/keepalived.conf",
        config_digest="0123456789ab",
        config_warnings=2,
        config_age_s=600.25,
        reload_ok=False,
        reloads_ok=1,
        reloads_rejected=2,
        schedule_lag=Histogram((5, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), 11.0),
        checks=(
            CheckCount("HTTP_GET", "L7OK", 1200),
            CheckCount("HTTP_GET", "L4CON", 7),
            CheckCount("TCP_CHECK", "L4OK", 3),
        ),
        check_durations=(CheckTiming("HTTP_GET", Histogram((0, 0, 1200, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0), 6.25)),),
        writer=WriterView(
            operations=(OperationCount("new_service", "ok", 2), OperationCount("set_dest", "ENOENT", 1)),
            batch_durations=Histogram((4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0.002),
            verdict_to_kernel=Histogram((0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0.011),
            queue_length=1,
            queue_oldest_s=0.5,
            drift_missing=1,
            drift_weight=2,
            repairs=3,
            sync_age_s=1.5,
            drift_standing=1,
            adopted=2,
            standing=(
                DriftView("192.0.2.1:80/tcp", "192.168.100.21:80", "weight 7 by NAT instead of weight 1 by NAT"),
            ),
            contests=(ContestView("192.0.2.1:80/tcp", 42.5),),
            repaired={"missing": 2, "weight": 1},
            dump_durations=Histogram((0, 0, 0, 40, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0.31),
        ),
        workers=(
            WorkerView("supervisor", 4194303, 0, 0.0, 0.001, 0, 0, ""),
            WorkerView(
                "checker-0",
                4194301,
                1,
                0.75,
                0.002,
                4,
                1,
                "uid=65534 gid=65534 caps=0 nnp=1",
                checks=120,
                run_delay_s=12.5,
                naps=1,
                inconclusive=7,
                faults={"EMFILE": 5, "ENETUNREACH": 1},
                stretch=2,
                memory_bytes=40_000_000,
                sentinels=110,
                sentinels_ended=17,
                sentinels_given_up=3,
                sentinels_unaffordable=2,
            ),
            WorkerView("exporter", 0, 2, None, 0.0, 0, 0, ""),
        ),
        log_events={"debug": 0, "info": 12, "warning": 3, "error": 1},
        log_dropped=9,
        log_summed_up=900,
        mail_sent=5,
        mail_failed=1,
        mail_dropped=2,
        inbox_length=3,
        addresses={"203.0.113.1": "assigned eth0", "203.0.113.2": "conflict 02:00:00:00:00:01"},
        state=StateView(
            "/var/lib/vipervisor/state.json", 12.5, writes=40, failures=2, error="ENOSPC No space left on device"
        ),
        web=WebView("/etc/vipervisor/web.yml", 120.0, ok=False),
    )


def snapshot() -> Snapshot:
    """All of it."""
    return Snapshot(process(), (article(), marked()))
