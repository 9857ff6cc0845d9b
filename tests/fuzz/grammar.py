"""Texts that look like a keepalived.conf, or nearly: what Hypothesis plays on the targets of the configuration.

A document is made of well-formed blocks, and then some of its lines are spoiled: a word is changed, a brace lost, a line repeated, put
under a condition, moved to another file or into a definition.
"""

from __future__ import annotations

from hypothesis import strategies as st

_ADDRESSES = ("10.0.0.1", "10.1.0.9", "192.0.2.77", "2001:db8::1", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:10.0.0.1")
_NUMBERS = (
    "0",
    "1",
    "3",
    "80",
    "253",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9" * 30,
    "0" * 30 + "7",
    "-1",
    "1.5",
    ".000001",
)
_ODD = (
    "{",
    "}",
    '"',
    "'",
    "\\",
    "#",
    "!",
    "\ufffd",
    "\u00a0",
    "é",
    "\0",
    "\r",
    "\t",
    "%",
    "=",
    "$",
    "${",
    "~SEQ(",
    "@",
    '"a b"',
    "\\!",
)
_NAMES = ("$A", "${A}", "${B}", "$I", "${I}", "${_RANDOM 1 9}", "${_INSTANCE}", "${_HASH}", "${NONE}")

_SERVER_LINES = (
    "lb_algo rr", "lb_algo sh", "sh-port", "lb_kind NAT", "lb_kind DR", "lb_kind TUN type gue port 6080 csum", "protocol TCP",
    "protocol UDP", "protocol SCTP", "delay_loop 2.5", "persistence_timeout 60", "persistence_granularity 255.255.255.0",
    "persistence_engine sip", "quorum 3", "hysteresis 2", "alpha", "omega", "ops", "inhibit_on_failure", "ip_family inet6",
    "sorry_server 10.1.0.9 80", "sorry_server_inhibit", "sorry_server_lvs_method DR", "virtualhost www.example.org", "retry 3",
    "quorum_up /bin/true", "ha_suspend", "smtp_alert", "weight 5", "warmup 0", "connect_timeout 1",
    "fast_interval 0.2", "down_interval 9", "idle_interval 60",
)  # fmt: skip
_REAL_SERVER_LINES = (
    "weight 0", "weight 253", "inhibit_on_failure", "uthreshold 5", "lthreshold 9", "lvs_method TUN", "delay_loop 1", "alpha",
    "notify_up \"/bin/x 'a b'\" nobody", "virtualhost a", "smtp_alert no",
)  # fmt: skip
_CHECKS = (
    ("TCP_CHECK", "connect_port 81", "connect_ip 10.3.0.1", "bindto 10.3.0.2", "bind_if eth0"),
    ("HTTP_GET", "url {\npath /\n}", 'url {\npath "/a"\nstatus_code 200-299 301\nregex "h(el+)o"\n}', "http_protocol 1.1"),
    ("SSL_GET", "url {\npath /\ndigest b1946ac92492d2347c6235b4d2611184\n}", "enable_sni", "verify", "sni_name a.b"),
    ("SMTP_CHECK", "helo_name x", "host {\nconnect_ip 10.3.0.1\n}"),
    ("DNS_CHECK", "type AAAA", "name example.org"),
    ("UDP_CHECK", "payload 00ff", "require_reply xx00", "min_reply_length 3"),
    ("MISC_CHECK", 'misc_path "/bin/true a"', "misc_dynamic"),
)  # fmt: skip
_GROUP_LINES = (
    "10.2.0.1 80", "10.2.0.1-9 80", "10.2.0.0/29", "10.0.0.0/8 80", "0.0.0.0/1", "2001:db8::1-ff 80", "::/1", "fwmark 7",
    "fwmark 7 inet6", "10.2.0.9-1 80",
)  # fmt: skip
_GLOBAL_LINES = (
    "router_id one", "notification_email {\na@example.org\n}", "smtp_server 192.0.2.1 25", "smtp_connect_timeout 0", "smtp_alert",
    "include_check match", "random_seed 5", "lvs_timeouts tcp 5", "lvs_sync_daemon eth0 id 3", "umask 022", "vrrp_version 3",
    "virtual_server_addresses off", "default_interface eth1", "notification_email_from a b",
)  # fmt: skip
_REPETITIONS = (
    "~SEQ(I, 3)", "~SEQ(I, 3, -2, -9)", "~SEQx(I, 0x0a, 0x0c)", "~SEQ(I, 1000000000)", "~SEQ(I, ${A})", "~LST(I, 1, 2)",
    "~LST({I, J}, {1, a}, {2})", "~LST({I,", "~SEQ(I, 2) ~SEQ(J, 2)", "~SEQ(I, 300) ~SEQ(J, 300) ~SEQ(K, 300) @other",
)  # fmt: skip
_DEFINITIONS = (
    "$A=5", "$A=${B}", "$B=${A}", "$B=${B}${B}", "$A=~SEQ(I,2)", "$A=@main", "$B=include a.conf", "$A=${A}x", "$$A=1",
    "$M= \\\n weight 1 \\\n $A", "$M=real_server 10.1.0.5 80 { \\\n $M \\\n }", "$A=} {", "$M", "${M}", "$A", "${B} 7",
)  # fmt: skip
_INCLUDES = (
    "include a.conf",
    "includem {a,b}.conf",
    "include *.conf",
    "includea [ab]?.conf",
    "include main.conf",
    "include {a,{b,c}}.conf",
)


def _block(head: str, lines: list[str]) -> list[str]:
    return [f"{head} {{", *(part for line in lines for part in line.split("\n")), "}"]


_port = st.sampled_from(("80", "443", "0", "", "8080"))
_address = st.sampled_from(_ADDRESSES)


@st.composite
def _check(draw: st.DrawFn) -> list[str]:
    name, *lines = draw(st.sampled_from(_CHECKS))
    return _block(name, draw(st.lists(st.sampled_from(lines), max_size=3)))


@st.composite
def _real_server(draw: st.DrawFn) -> list[str]:
    lines = draw(st.lists(st.sampled_from(_REAL_SERVER_LINES), max_size=3))
    for check in draw(st.lists(_check(), max_size=2)):
        lines += check
    number = draw(st.integers(1, 4))
    return _block(
        f"real_server {draw(st.sampled_from((f'10.1.0.{number}', f'2001:db8::{number}')))} {draw(_port)}", lines
    )


@st.composite
def _virtual_server(draw: st.DrawFn) -> list[str]:
    lines = draw(st.lists(st.sampled_from(_SERVER_LINES), max_size=8))
    for real_server in draw(st.lists(_real_server(), max_size=3)):
        lines += real_server
    head = draw(st.one_of(st.sampled_from(("group g", "fwmark 3")), st.builds("{} {}".format, _address, _port)))
    return _block(f"virtual_server {head}", lines)


_blocks = st.one_of(
    _virtual_server(),
    _virtual_server(),
    st.lists(st.sampled_from(_GLOBAL_LINES), max_size=4).map(lambda lines: _block("global_defs", lines)),
    st.lists(st.sampled_from(_GROUP_LINES), max_size=4).map(lambda lines: _block("virtual_server_group g", lines)),
    st.sampled_from(("vrrp_instance V", "vrrp_script s", "bfd_instance b", "static_routes", "track_file f")).map(
        lambda head: _block(head, ["state MASTER", "x {", "y 1", "}"])
    ),
)
_line = st.one_of(*map(st.sampled_from, (_DEFINITIONS, _INCLUDES, _GROUP_LINES, _SERVER_LINES, _GLOBAL_LINES)))
_word = st.one_of(
    *map(st.sampled_from, (_NUMBERS, _ADDRESSES, _ODD, _NAMES)),
    st.text(max_size=8),
    st.sampled_from(_SERVER_LINES).map(lambda line: line.split()[0]),
)


@st.composite
def _spoiled(draw: st.DrawFn, lines: list[str]) -> list[str]:
    """The lines with one thing changed."""
    index = draw(st.integers(0, max(0, len(lines) - 1)))
    line = lines[index] if lines else ""
    words = line.split(" ")
    place = draw(st.integers(0, len(words)))
    match draw(st.integers(0, 8)):
        case 0:
            changed = [" ".join([*words[:place], draw(_word), *words[place + 1 :]])]
        case 1:
            changed = [" ".join([*words[:place], draw(_word), *words[place:]])]
        case 2:
            changed = []
        case 3:
            changed = [line] * draw(st.sampled_from((2, 3, 40)))
        case 4:
            changed = [f"{draw(st.sampled_from(_REPETITIONS))} {line}"]
        case 5:
            changed = [f"{draw(st.sampled_from(('@main', '@^main', '@other', '@', '@$A')))} {line}"]
        case 6:
            changed = [draw(_line), line]
        case 7:
            changed = [f"$M={line} \\", *lines[index + 1 : index + 3], "", "$M"]
        case _:
            changed = [" ".join([line, *lines[index + 1 : index + 4]])]
            return [*lines[:index], *changed, *lines[index + 4 :]]
    return [*lines[:index], *changed, *lines[index + 1 :]]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A main file, and now and then two more that it may include."""
    lines = [line for block in draw(st.lists(_blocks, max_size=3)) for line in block]
    for _ in range(draw(st.integers(0, 5))):
        lines = draw(_spoiled(lines))
    text = "\n".join(lines) + draw(st.sampled_from(("\n", "")))
    for name in draw(st.sampled_from(((), ("a",), ("a", "b")))):
        inner = draw(st.one_of(_blocks, st.lists(_line, max_size=4), _real_server()))
        text += f"\n%% {name}.conf\n" + "\n".join(inner)
    return text.encode("utf-8", "surrogatepass")
