"""The keyword tables: what may stand in each block of keepalived.conf, and what it must look like.

One row for each keyword, in the vocabulary of `checkers.kit.options`. A checker's own keywords are declared in its module and
come here through `checkers.kit.api`. Keywords that keepalived knows and this version does not act on have `handled=False`: they are
read with their whole block and told of in a warning. Declarations only. Sources: keepalived.md, sections 2.1 to 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from checkers.kit import api
from checkers.kit.options import Keyword, Kind
from supervisor.model import DRIFT_GRACE_DEFAULT_S, PROBE_RATE_DEFAULT, DriftPolicy


class Table(dict[str, Keyword]):
    """The keywords of one block by name, and what is asked for every statement of every block, worked out once."""

    def __init__(self, *keywords: Keyword) -> None:
        super().__init__((keyword.name, keyword) for keyword in keywords)
        self.required = tuple(keyword for keyword in keywords if keyword.required)
        self.inner = {keyword.name: Table(*keyword.block) for keyword in keywords if keyword.block}


WEIGHT_MAX = 65535
"""The kernel takes more, but ipvsadm and keepalived's own kernel interface do not (ipvs.md, section 4)."""

TIMER_MAX_S = 4294.967295
"""What keepalived's timers hold: 32 bits of microseconds."""

PERSISTENCE_DEFAULT_S = 360
PERSISTENCE_MAX_S = 2678400
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos")
PROTOCOLS = ("TCP", "UDP", "SCTP")

SCHEDULER_FLAGS: Mapping[str, tuple[int, frozenset[str]]] = {
    "flag-1": (0x8, frozenset({"sh", "mh"})),
    "flag-2": (0x10, frozenset({"sh", "mh"})),
    "flag-3": (0x20, frozenset({"sh", "mh"})),
    "sh-fallback": (0x8, frozenset({"sh"})),
    "sh-port": (0x10, frozenset({"sh"})),
    "mh-fallback": (0x8, frozenset({"mh"})),
    "mh-port": (0x10, frozenset({"mh"})),
}
"""Keyword → bit of the service flags, and the schedulers that it means something to (keepalived.md, section 2.2)."""

RANGE_REASONS: Mapping[str, str] = {
    "weight": "ipvsadm takes no other",
    "fwmark": "0 means no mark",
}
"""Why a range is what it is, where that is not plain."""

CHECK_DEFAULTS: Mapping[str, tuple[int, float | None]] = {
    "HTTP_GET": (1, 3.0),
    "SSL_GET": (1, 3.0),
    "TCP_CHECK": (1, 1.0),
    "SMTP_CHECK": (1, 1.0),
    "DNS_CHECK": (3, None),
    "UDP_CHECK": (1, 1.0),
    "MISC_CHECK": (0, 1.0),
    "PING_CHECK": (1, 1.0),
    "FILE_CHECK": (0, 1.0),
}
"""Checker type → retry, delay_before_retry in seconds (None: the delay_loop), when nobody set them (keepalived.md, section 2.5)."""

DELAY_LOOP_DEFAULT_S = 60.0
CONNECT_TIMEOUT_DEFAULT_S = 5.0


def _unhandled(names: str, kind: Kind = Kind.TEXTS) -> tuple[Keyword, ...]:
    return tuple(Keyword(name, kind, "known to keepalived; not handled here", handled=False) for name in names.split())


def _anything(names: str) -> tuple[Keyword, ...]:
    """Keywords of other subsystems: whatever follows them is none of our business."""
    return tuple(
        Keyword(name, Kind.TEXTS, "known to keepalived; not handled here", handled=False, optional_value=True)
        for name in names.split()
    )


def _numbers(names: str, low: int, high: int) -> tuple[Keyword, ...]:
    return tuple(replace(keyword, low=low, high=high) for keyword in _unhandled(names, Kind.INTEGER))


_PROCESS_WIDE = (
    *_unhandled(
        "smtp_alert_vrrp no_email_faults nftables_counters "
        "checker_no_swap bfd_no_swap vrrp_no_swap process_names enable_traps enable_snmp_checker enable_dbus "
        "data_use_instance use_symlink_paths set_supplementary_groups lvs_netlink_cmd_rcv_bufs_force "
        "lvs_netlink_monitor_rcv_bufs_force vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs_force "
        "process_monitor_rcv_bufs_force",
        Kind.FLAG,
    ),
    *_numbers("checker_priority bfd_priority vrrp_priority", -20, 19),
    *_numbers("checker_rt_priority bfd_rt_priority vrrp_rt_priority", 1, 99),
    *_numbers(
        "checker_rlimit_rttime checker_rlimit_rtime bfd_rlimit_rttime bfd_rlimit_rtime "
        "vrrp_rlimit_rttime vrrp_rlimit_rtime min_auto_priority_delay lvs_netlink_cmd_rcv_bufs "
        "lvs_netlink_monitor_rcv_bufs vrrp_netlink_cmd_rcv_bufs vrrp_netlink_monitor_rcv_bufs "
        "process_monitor_rcv_bufs",
        1,
        4294967295,
    ),
    *_numbers("nftables_ipvs_priority", -2147483648, 2147483647),
    *_numbers("nftables_ipvs_start_fwmark", 1, 4294967295),
    *_numbers("json_version", 1, 2),
    *_numbers("child_wait_time", 0, 4294967295),
    *(
        replace(keyword, low=0.001, high=30)
        for keyword in _unhandled("snmp_vs_stats_update_interval snmp_rs_stats_update_interval", Kind.TIMER)
    ),
    *_unhandled("checker_cpu_affinity bfd_cpu_affinity vrrp_cpu_affinity"),
    *_unhandled(
        "process_name checker_process_name lvs_process_name vrrp_process_name bfd_process_name snmp_socket reload_time_file "
        "config_save_dir state_dump_file stats_dump_file json_dump_file tmp_config_directory umask",
        Kind.TEXT,
    ),
    *(
        replace(keyword, optional_value=True)
        for keyword in _unhandled(
            "nftables_ipvs max_auto_priority reload_check_config reload_repeat reload_file", Kind.TEXT
        )
    ),
)
"""What tunes keepalived's processes and its outside; checked like everything else, though not acted on."""

_FLUSH_ON_STOP = Keyword(
    "lvs_flush_on_stop",
    Kind.CHOICE,
    "every service goes at a clean stop, whoever put it there; VS: only ours do, as ever",
    choices=("VS",),
    optional_value=True,
    default="",
)

_KERNEL = (
    Keyword("lvs_timeouts", Kind.TEXTS, "the kernel forgets silent connections after so long: tcp N, tcpfin N, udp N"),
    Keyword("lvs_flush", Kind.FLAG, "services that are not in the file go at the start, whoever put them there"),
    _FLUSH_ON_STOP,
    replace(_FLUSH_ON_STOP, name="lvs_flush_onstop", alias_of="lvs_flush_on_stop"),
    Keyword(
        "lvs_sync_daemon",
        Kind.TEXTS,
        "share connections with other directors: INTERFACE [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]",
    ),
)
"""What is asked of the kernel's IPVS as a whole; read in `kernelsettings`."""

_SCRIPTS = (
    Keyword("script_user", Kind.TEXTS, "user, and group, that scripts run as when they name nobody"),
    Keyword("enable_script_security", Kind.FLAG, "no script as root that somebody else can change"),
    Keyword("startup_script", Kind.COMMAND, "runs before the first virtual server is served"),
    Keyword("startup_script_timeout", Kind.INTEGER, "its limit", unit="s", low=1, high=1000, default=10),
    Keyword("shutdown_script", Kind.COMMAND, "runs at the end of a clean stop"),
    Keyword("shutdown_script_timeout", Kind.INTEGER, "its limit", unit="s", low=1, high=1000, default=10),
    Keyword(
        "notify_timeout", Kind.INTEGER, "limit of each notification", unit="s", low=1, high=3600, default=60, own=True
    ),
    Keyword("notify_fifo", Kind.TEXTS, "named pipe for a line about every change: path, and its owner and group"),
    Keyword("notify_fifo_script", Kind.COMMAND, "started beside notify_fifo, with its path as last argument"),
    Keyword("lvs_notify_fifo", Kind.TEXTS, "the same for virtual and real servers only, which is all there is here"),
    Keyword("lvs_notify_fifo_script", Kind.COMMAND, "started beside lvs_notify_fifo"),
    Keyword("rs_init_notifies", Kind.FLAG, "tell the real servers that are UP at start, too"),
)
"""Programs of the operator's, and the named pipes (keepalived.md, sections 2.1 and 3.9); notify_timeout is our own."""

_TIMING = (
    Keyword("delay_loop", Kind.TIMER, "pause between two probes", unit="s", low=0.000001, high=TIMER_MAX_S),
    Keyword("connect_timeout", Kind.TIMER, "time limit of one probe", unit="s", low=0.000001, high=TIMER_MAX_S),
    Keyword("retry", Kind.INTEGER, "failed probes to repeat before a server is down", low=1, high=4294967295),
    Keyword(
        "rise", Kind.INTEGER, "successes in a row before a server that is down is up", low=1, high=4294967295, own=True
    ),
    Keyword("delay_before_retry", Kind.TIMER, "pause before such a repetition", unit="s", low=0, high=TIMER_MAX_S),
    Keyword(
        "warmup", Kind.TIMER, "the first probe comes at a random time within this", unit="s", low=0, high=TIMER_MAX_S
    ),
    *api.INTERVAL_OPTIONS,
)

UNHANDLED_CHECKS = _unhandled("BFD_CHECK", Kind.BLOCK)

_SENTINEL = (
    Keyword(
        "sentinel",
        Kind.FLAG,
        "hold an idle connection to each real server that has a place for one, whose end brings its next probe forward (yes for TCP_CHECK, "
        "HTTP_GET and SSL_GET unless uthreshold is below 100, else no); never with fwmark or bind_port",
        own=True,
    ),
    Keyword(
        "fast_retry",
        Kind.FLAG,
        "make the retries of these checks at once while the port refuses connections (as sentinel)",
        own=True,
    ),
)
"""Of a check, a real server, a virtual server, or in global_defs of all that do not say otherwise."""

_OUR_MAIL = (
    Keyword(
        "smtp_tls",
        Kind.CHOICE,
        "whether mail travels encrypted",
        choices=("starttls", "tls", "off"),
        default="off",
        own=True,
    ),
    Keyword("smtp_tls_verify", Kind.FLAG, "look at the mail server's certificate", default=True, own=True),
    Keyword(
        "smtp_ca", Kind.CERTIFICATES, "file of the authorities for that certificate (those of the system)", own=True
    ),
    Keyword("smtp_user", Kind.TEXT, "user name at the mail server; over TLS only", own=True),
    Keyword(
        "smtp_password_file", Kind.TEXT, "absolute path of a file whose first line is that user's password", own=True
    ),
    Keyword(
        "smtp_group_within",
        Kind.TIMER,
        "changes that come so close together may be one mail; 0: each is its own, at once",
        unit="s",
        low=0,
        high=60,
        default=1.0,
        own=True,
    ),
)
"""Keywords that keepalived passes over with a warning, so that one file serves both."""

DRAIN_TIMEOUT_DEFAULT_S = 300.0
"""Ours: longer than nearly every request and download, short enough for a host that shall be switched off."""

_DRAIN_TIMEOUT = Keyword(
    "drain_timeout",
    Kind.TIMER,
    "a real server that left the file keeps its connections for so long at most; 0: they are cut off at once",
    unit="s",
    low=0,
    high=TIMER_MAX_S,
    default=DRAIN_TIMEOUT_DEFAULT_S,
    own=True,
)
_DRIFT = (
    Keyword(
        "drift_policy",
        Kind.CHOICE,
        "what becomes of changes that somebody else makes in the kernel's table: undone; weights adopted; only told of",
        choices=tuple(policy.value for policy in DriftPolicy),
        default="repair",
        own=True,
    ),
    Keyword(
        "drift_grace",
        Kind.INTEGER,
        "with drift_policy repair, how long a weight of 0 that somebody set by hand stands",
        unit="s",
        low=0,
        high=604800,
        default=DRIFT_GRACE_DEFAULT_S,
        own=True,
    ),
)
"""Of a virtual server, or in global_defs of all that do not say otherwise; a grace is at most a week."""

_MIN_HEALTHY = Keyword(
    "min_healthy",
    Kind.TEXTS,
    "the least bad servers stay in service when fewer are up: 50% (of the weight), 2 (servers), weight 100, or off",
    own=True,
)

GLOBAL_DEFS = (
    Keyword("notification_email", Kind.RAW_BLOCK, "who is told by mail; every word is an address"),
    Keyword("notification_email_from", Kind.TEXT, "sender of the mails"),
    Keyword(
        "smtp_server",
        Kind.TEXTS,
        "host name or address of the mail server, and its port (25, or 465 with smtp_tls tls)",
    ),
    Keyword(
        "smtp_connect_timeout",
        Kind.INTEGER,
        "limit for reaching the mail server",
        unit="s",
        low=0,
        high=86400,
        default=30,
    ),
    Keyword("smtp_helo_name", Kind.TEXT, "our name towards the mail server (the host's name)"),
    *_OUR_MAIL,
    Keyword("router_id", Kind.TEXT, "name of this director in mails (the host's name)"),
    Keyword("smtp_alert", Kind.FLAG, "mail for everything that has no smtp_alert of its own"),
    Keyword("smtp_alert_checker", Kind.FLAG, "the same for real and virtual servers only; goes before smtp_alert"),
    Keyword("no_checker_emails", Kind.FLAG, "mail only when a real server changes, not for each of its checks"),
    Keyword("checker_log_all_failures", Kind.FLAG, "log failed probes also while retries remain"),
    Keyword(
        "check_before_add", Kind.FLAG, "alpha for every check that does not say otherwise", default=False, own=True
    ),
    *api.INTERVAL_OPTIONS,
    Keyword(
        "probe_rate_max",
        Kind.INTEGER,
        "most probes a second of one address and port, whatever asks for more waits; 0: no limit",
        low=0,
        high=1000,
        default=PROBE_RATE_DEFAULT,
        own=True,
    ),
    _DRAIN_TIMEOUT,
    Keyword("default_interface", Kind.TEXT, "interface for addresses that fit no network", default="eth0", own=True),
    Keyword("include_check", Kind.TEXTS, "what includes insist on; acts while the files are read", optional_value=True),
    Keyword(
        "random_seed",
        Kind.INTEGER,
        "makes ${_RANDOM} repeatable; acts while the files are read",
        low=0,
        high=4294967295,
    ),
    Keyword("compat", Kind.TEXTS, "what to do as keepalived does it: urls_one_by_one", own=True),
    Keyword(
        "self_blame",
        Kind.FLAG,
        "hold removals when this director's own network is gone, or when nearly no host answers any more",
        default=True,
        own=True,
    ),
    Keyword(
        "self_blame_hold",
        Kind.TIMER,
        "how long at most while there is no path to any server of a virtual server: longer than a switch takes to restart",
        unit="s",
        low=1,
        high=86400,
        default=600.0,
        own=True,
    ),
    replace(_MIN_HEALTHY, help="min_healthy of every virtual server that has none of its own (off)"),
    Keyword(
        "virtual_server_addresses", Kind.FLAG, "give this host the virtual servers' addresses", default=True, own=True
    ),
    *_SENTINEL,
    *_DRIFT,
    *_KERNEL,
    *_SCRIPTS,
    *_PROCESS_WIDE,
    *_anything(
        "nftables nftables_priority nftables_ifindex vrrp_notify_fifo vrrp_notify_fifo_script "
        "vrrp_notify_priority_changes fifo_write_vrrp_states_on_reload "
        "enable_snmp_vrrp enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 "
        "dbus_service_name dbus_no_interface_name linkbeat_use_polling instance "
        "net_namespace net_namespace_ipvs namespace_with_ipsets use_pid_dir "
        "vrrp_mcast_group4 vrrp_mcast_group6 vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh "
        "vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat vrrp_garp_interval vrrp_vmac_garp_intvl "
        "vrrp_gna_interval vrrp_garp_extra_if vrrp_min_garp vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert "
        "vrrp_version vrrp_iptables vrrp_ipsets vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_strict "
        "vrrp_startup_delay vrrp_delay_after_boot vrrp_log_unknown_vrids vrrp_owner_ignore_adverts "
        "vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier vrrp_down_timer_adverts disable_local_igmp "
        "allow_if_changes dynamic_interfaces vmac_prefix vmac_addr_prefix nat_mask lvs_id lvs_sync_daemon_inteface"
    ),
)

VIRTUAL_SERVER = (
    Keyword("lb_algo", Kind.CHOICE, "scheduler", choices=SCHEDULERS, default="wlc"),
    Keyword("lvs_sched", Kind.CHOICE, "another spelling of lb_algo", choices=SCHEDULERS, alias_of="lb_algo"),
    Keyword("lb_kind", Kind.FORWARDING, "forwarding method", default="NAT"),
    Keyword("lvs_method", Kind.FORWARDING, "another spelling of lb_kind", alias_of="lb_kind"),
    Keyword("protocol", Kind.CHOICE, "transport protocol", choices=PROTOCOLS, case_sensitive=False, default="UDP"),
    Keyword("ip_family", Kind.CHOICE, "address family of a firewall mark", choices=("inet", "inet6")),
    *_TIMING,
    Keyword(
        "weight", Kind.INTEGER, "weight of real servers without one of their own", low=1, high=WEIGHT_MAX, default=1
    ),
    *_SENTINEL,
    Keyword("alpha", Kind.FLAG, "start DOWN until the first success"),
    Keyword("omega", Kind.FLAG, "run the down notifications at the stop, too"),
    Keyword("quorum", Kind.INTEGER, "least sum of live weights", low=0, high=4294967295, default=1),
    Keyword("hysteresis", Kind.INTEGER, "margin around the quorum", low=0, high=4294967295, default=0),
    _MIN_HEALTHY,
    Keyword("sorry_server", Kind.ENDPOINT, "where clients go while the quorum is lost"),
    Keyword("sorry_server_inhibit", Kind.FLAG, "keep the sorry server in the table with weight 0"),
    Keyword("sorry_server_lvs_method", Kind.FORWARDING, "forwarding method of the sorry server"),
    Keyword("inhibit_on_failure", Kind.FLAG, "weight 0 instead of removal, for all real servers"),
    Keyword(
        "persistence_timeout",
        Kind.INTEGER,
        "same client, same real server, for so long",
        unit="s",
        low=1,
        high=PERSISTENCE_MAX_S,
        default=PERSISTENCE_DEFAULT_S,
        optional_value=True,
    ),
    Keyword("persistence_granularity", Kind.TEXT, "IPv4 mask, or IPv6 prefix length, that makes clients the same"),
    Keyword("persistence_engine", Kind.TEXT, "kernel module that tells clients apart (sip)"),
    Keyword("ops", Kind.FLAG, "schedule each packet by itself; UDP and firewall marks only"),
    Keyword("hashed", Kind.FLAG, "accepted; means nothing to the kernel"),
    *(
        Keyword(name, Kind.FLAG, f"service flag {bit:#x} of the scheduler")
        for name, (bit, _) in SCHEDULER_FLAGS.items()
    ),
    Keyword("virtualhost", Kind.TEXT, "Host of HTTP checks"),
    Keyword("smtp_alert", Kind.FLAG, "mail about this virtual server"),
    Keyword("real_server", Kind.BLOCK, "one real server: address and port", repeat=True),
    Keyword("quorum_up", Kind.COMMAND, "runs when the quorum is gained: command, user, group"),
    Keyword("quorum_down", Kind.COMMAND, "runs when the quorum is lost"),
    _DRAIN_TIMEOUT,
    Keyword("ha_suspend", Kind.FLAG, "check it only while its address is on this host"),
    *_DRIFT,
    *_unhandled("snmp_name nat_mask"),
)

REAL_SERVER = (
    Keyword("weight", Kind.INTEGER, "weight; 0 takes no new connections", low=0, high=WEIGHT_MAX),
    Keyword("lvs_method", Kind.FORWARDING, "forwarding method of this real server"),
    Keyword(
        "uthreshold",
        Kind.INTEGER,
        "no new connections from so many on (0: no limit)",
        low=0,
        high=4294967295,
        default=0,
    ),
    Keyword("lthreshold", Kind.INTEGER, "new ones again below so many", low=0, high=4294967295, default=0),
    Keyword("inhibit_on_failure", Kind.FLAG, "weight 0 instead of removal"),
    Keyword("alpha", Kind.FLAG, "start DOWN until the first success"),
    *_TIMING,
    *_SENTINEL,
    Keyword("smtp_alert", Kind.FLAG, "mail about this real server"),
    Keyword("virtualhost", Kind.TEXT, "Host of HTTP checks"),
    *(Keyword(name, Kind.BLOCK, "a check of this real server", repeat=True) for name in api.TYPES),
    *UNHANDLED_CHECKS,
    Keyword("notify_up", Kind.COMMAND, "runs when this real server goes UP: command, user, group"),
    Keyword("notify_down", Kind.COMMAND, "runs when this real server goes DOWN or leaves"),
    *_unhandled("snmp_name"),
)

TRACK_FILE = (
    Keyword("file", Kind.TEXT, "path of the file", required=True),
    Keyword("weight", Kind.TEXTS, "-254 to 254, what the value is multiplied with (1); 0: a switch; and reverse"),
    Keyword(
        "init_file", Kind.TEXTS, "write a value (0) when there is no such file, or overwrite it", optional_value=True
    ),
)

SSL = (
    Keyword("certificate", Kind.CERTIFICATES, "file of the client certificate and its chain"),
    Keyword("key", Kind.PRIVATE_KEY, "file of its key"),
    Keyword("password", Kind.CONCEALED, "opens the key"),
    Keyword("ca", Kind.CERTIFICATES, "file of the authorities that SSL_GET trusts where it says verify and names none"),
)

ROOT = (
    *(
        Keyword(name, Kind.BLOCK, "a file with a number in it, for FILE_CHECK", repeat=True)
        for name in ("track_file", "vrrp_track_file")
    ),
    Keyword("virtual_server_group", Kind.BLOCK, "addresses and marks that virtual servers share", repeat=True),
    Keyword("global_defs", Kind.BLOCK, "settings of the whole program", repeat=True),
    Keyword("virtual_server", Kind.BLOCK, "one virtual server: address and port, or fwmark and mark", repeat=True),
    Keyword("SSL", Kind.BLOCK, "the client certificate of all SSL_GET checks", block=SSL),
    *_unhandled(
        "bfd_instance vrrp_instance vrrp_sync_group vrrp_script "
        "vrrp_track_process track_process garp_group track_group static_ipaddress static_routes static_rules "
        "interface_up_down_delays linkbeat_interfaces",
        Kind.BLOCK,
    ),
    *_anything("net_namespace net_namespace_ipvs namespace_with_ipsets use_pid_dir instance linkbeat_use_polling"),
    *_numbers("child_wait_time", 0, 4294967295),
)

OUTERMOST = frozenset(keyword.name for keyword in ROOT if keyword.kind is Kind.BLOCK)
"""Blocks that stand in no other one."""

INSIDE: Mapping[str, str] = {
    "real_server": "virtual_server",
    "url": "HTTP_GET",
    **dict.fromkeys((*api.TYPES, *(keyword.name for keyword in UNHANDLED_CHECKS)), "real_server"),
}
"""Blocks that stand in one kind of block only, as far as a brace that was forgotten is to be found by it."""


ROOT_TABLE = Table(*ROOT)
TRACK_FILE_TABLE = Table(*TRACK_FILE)
GLOBAL_DEFS_TABLE = Table(*GLOBAL_DEFS)
VIRTUAL_SERVER_TABLE = Table(*VIRTUAL_SERVER)
REAL_SERVER_TABLE = Table(*REAL_SERVER)


@cache
def check_table(keyword: str) -> Table:
    """What may stand in the block of a checker type such as "HTTP_GET": what all share, and its own."""
    return Table(*api.common_options(keyword), *api.load(keyword).OPTIONS)


@cache
def goes_out(keyword: str) -> bool:
    """Whether a checker type probes an address over the network; a script and a file are checked on this host."""
    return "connect_ip" in check_table(keyword)


@cache
def own_names(keyword: str) -> frozenset[str]:
    """The keywords that only this checker type knows, without other spellings of common ones."""
    return frozenset(option.name for option in api.load(keyword).OPTIONS if not option.alias_of)


@cache
def homes() -> Mapping[str, str]:
    """Keyword → the block it belongs in, for those that somebody may put into the wrong one."""
    found: dict[str, str] = {}
    for name in api.TYPES:
        for keyword in check_table(name).values():
            found.setdefault(keyword.name, name)
            for inner in keyword.block:
                found.setdefault(inner.name, f"{keyword.name} of {name}")
    for block, keywords in (
        ("global_defs", GLOBAL_DEFS),
        ("real_server", REAL_SERVER),
        ("virtual_server", VIRTUAL_SERVER),
    ):
        found.update({keyword.name: block for keyword in keywords})
    found.update({keyword.name: "the file itself, outside all blocks" for keyword in ROOT})
    return MappingProxyType(found)
