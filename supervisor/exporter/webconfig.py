"""The web configuration file of Prometheus's exporters (exporter-toolkit): text to `WebPolicy`, or every mistake with its place and remedy.

    read(text, load) -> Read     `load` returns the text of a file that it names

What the toolkit knows and we do not need (`http2`, `rate_limit`, `curve_preferences`) is warned of; what it does not know is refused.
Source: github.com/prometheus/exporter-toolkit, docs/web-configuration.md.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from supervisor.exporter.webpolicy import TlsPolicy, WebPolicy
from supervisor.exporter.webtls import to_context

FILE_MAX_BYTES = 1 << 20
"""Longest file that is read: the authorities of a whole system are a quarter of it."""

COSTS = range(4, 15)
"""Costs of bcrypt that are taken: at 14 one guess takes about a second, and nobody waits longer (toolkit: "10 … about 70 ms")."""

_HASH = re.compile(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}")
_HEADERS = {
    "Content-Security-Policy": None,
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": None,
    "Strict-Transport-Security": None,
}
_VERSIONS = {"TLS10": "TLSv1", "TLS11": "TLSv1_1", "TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
_CLIENTS = {"": None, "NoClientCert": None, "VerifyClientCertIfGiven": False, "RequireAndVerifyClientCert": True}
"""Client policies → whether a certificate is required; None: it is not asked for."""
_UNVERIFIED = ("RequestClientCert", "RequireClientCert", "RequireAnyClientCert")
_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_TLS_KEYS = (
    *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type", "client_allowed_sans"),
    *("min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
)
_CIPHER = re.compile(r"TLS_(ECDHE_)?(RSA|ECDSA)_WITH_(AES_(128|256)_(GCM|CBC)|CHACHA20_POLY1305)(_SHA(256|384)?)")


@dataclass(slots=True)
class Read:
    """What a file says. With `mistakes` the policy is worth nothing; both lists hold "LINE:COLUMN: what; remedy"."""

    policy: WebPolicy = field(default_factory=WebPolicy)
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


Load = Callable[[str], str]
"""Returns the text of a file by the name in the configuration. Raises OSError, or ValueError with words for the operator."""


def read(text: str, load: Load) -> Read:
    """Read the text of a web configuration file."""
    return _Reader(load).read(text)


class _Reader:
    """Walks one document."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._read = Read()

    def read(self, text: str) -> Read:
        """Return what it says."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            self._read.mistakes.append(f"{_place(mark)}: no YAML: {error.problem}; see the toolkit's example")
            return self._read
        except (yaml.YAMLError, RecursionError) as error:
            self._read.mistakes.append(f"1:1: no YAML: {error}; see the toolkit's example")
            return self._read
        if root is None:
            return self._read
        tls, users, headers = None, dict[str, str](), dict[str, str]()
        for name, key, value in self._members(root, _SECTIONS):
            match name:
                case "tls_server_config":
                    tls = self._tls(key, value)
                case "basic_auth_users":
                    users = self._users(value)
                case "http_server_config":
                    headers = self._http(value)
                case _:
                    self._warn(key, "rate_limit does nothing here: scrapes within a second share one answer already")
        self._read.policy = WebPolicy(tls, users, headers)
        return self._read

    # -- sections --------------------------------------------------------------------------------------------------

    def _tls(self, section: yaml.Node, node: yaml.Node) -> TlsPolicy | None:
        found = {name: (key, value) for name, key, value in self._members(node, _TLS_KEYS)}
        before = len(self._read.mistakes)
        pem = {name: self._pem(found, name) for name in ("cert", "key", "client_ca")}
        for name in ("cert", "key"):
            if not pem[name] and not self._read.mistakes[before:]:
                self._complain(section, f"tls_server_config without {name}_file", f"name the PEM file with {name}_file")
        required = self._client_policy(found, pem["client_ca"])
        versions = [self._version(found, *each) for each in (("min_version", "TLS12"), ("max_version", "TLS13"))]
        ciphers = [self._cipher(each) for each in self._list(found, "cipher_suites")]
        own_preference = self._flag(found, "prefer_server_cipher_suites")
        if "curve_preferences" in found:
            self._warn(found["curve_preferences"][0], "curve_preferences does nothing here: OpenSSL chooses the curve")
        if self._read.mistakes[before:]:
            return None
        names = tuple(self._text(each) for each in self._list(found, "client_allowed_sans"))
        tls = TlsPolicy(
            certificate=pem["cert"],
            key=pem["key"],
            client_ca=pem["client_ca"],
            client_required=bool(required),
            client_names=names,
            version_min=versions[0],
            version_max=versions[1],
            ciphers=":".join(ciphers),
            own_preference=own_preference,
        )
        try:
            to_context(tls)
        except ValueError as error:
            self._complain(section, str(error), "give a certificate chain and its key as PEM")
        return tls

    def _client_policy(self, found: dict[str, tuple[yaml.Node, yaml.Node]], client_ca: str) -> bool | None:
        key, value = found.get("client_auth_type", (None, None))
        word = self._text(value) if value is not None else ""
        if word not in _CLIENTS:
            insecure = " (a certificate that nobody verifies proves nothing)" if word in _UNVERIFIED else ""
            self._complain(
                value,
                f"client_auth_type {word!r} cannot be had{insecure}",
                f"one of {', '.join(filter(None, _CLIENTS))}",
            )
            return None
        required = _CLIENTS[word]
        if required is not None and not client_ca:
            self._complain(key, f"{word} without client_ca_file", "name the authorities with client_ca_file")
        if required is None and client_ca:
            place = found.get("client_ca_file", found.get("client_ca", (None, None)))[0]
            self._complain(
                place, "client_ca without a client_auth_type", "client_auth_type: RequireAndVerifyClientCert"
            )
        if required is not True and "client_allowed_sans" in found:
            place = found["client_allowed_sans"][0]
            self._complain(
                place,
                "client_allowed_sans without a required certificate",
                "client_auth_type: RequireAndVerifyClientCert",
            )
        return required

    def _users(self, node: yaml.Node) -> dict[str, str]:
        users = {}
        for name, key, value in self._members(node, None):
            text = self._text(value)
            hashed = _HASH.fullmatch(text)
            if ":" in name:
                self._complain(key, "a user's name with a colon cannot be sent", "another name (RFC 7617, section 2)")
            elif hashed is None:
                self._complain(value, f"the password of {name!r} is no bcrypt hash", "make one: htpasswd -nBC 10 USER")
            elif int(hashed[1]) not in COSTS:
                self._complain(
                    value, f"bcrypt cost {hashed[1]} of {name!r}", f"a cost of {COSTS[0]} to {COSTS[-1]}; 10 is usual"
                )
            users[name] = text
        return users

    def _http(self, node: yaml.Node) -> dict[str, str]:
        headers = {}
        for name, key, value in self._members(node, ("http2", "headers")):
            if name == "http2":
                if self._boolean(value):
                    self._warn(key, "http2 does nothing here: HTTP/1.1 is spoken")
                continue
            for header, header_key, header_value in self._members(value, tuple(_HEADERS)):
                del header_key
                text, allowed = self._text(header_value), _HEADERS[header]
                if allowed is not None and text.lower() not in ("", *allowed):
                    self._complain(header_value, f"{header}: {text!r}", f"one of {', '.join(allowed)}")
                elif not text.isprintable() or not text.isascii():
                    self._complain(header_value, f"{header} with characters that no header has", "printable ASCII")
                elif text:
                    headers[header] = text
        return headers

    # -- values ----------------------------------------------------------------------------------------------------

    def _members(self, node: yaml.Node, known: tuple[str, ...] | None) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield name, key and value of a mapping, each name once, those of `known` only (None: any)."""
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, "expected names with values", "see the toolkit's example")
            return
        seen = set()
        for key, value in node.value:
            name = self._text(key)
            if name in seen:
                self._complain(key, f"{name} stands here twice", "keep one")
            elif known is not None and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                self._complain(
                    key,
                    f"unknown key {name!r}",
                    f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}",
                )
            else:
                yield name, key, value
            seen.add(name)

    def _pem(self, found: dict[str, tuple[yaml.Node, yaml.Node]], name: str) -> str:
        """Return the text of `name`, inline or of the file `name`_file; empty when there is neither."""
        inline, file = found.get(name), found.get(f"{name}_file")
        if inline and file:
            self._complain(file[0], f"{name} and {name}_file", "keep one of them")
        if file is None:
            return self._text(inline[1]) if inline else ""
        path = self._text(file[1])
        try:
            return self._load(path)
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            self._complain(
                file[1], f"cannot read {path}: {reason}", "the user that vipervisor runs as must be able to read it"
            )
        except ValueError as error:
            self._complain(file[1], f"{path}: {error}", "a PEM file")
        return ""

    def _version(self, found: dict[str, tuple[yaml.Node, yaml.Node]], name: str, default: str) -> str:
        value = found.get(name, (None, None))[1]
        word = self._text(value) if value is not None else default
        if word not in _VERSIONS:
            self._complain(value, f"{name} {word!r}", f"one of {', '.join(_VERSIONS)}")
        return _VERSIONS.get(word, "")

    def _cipher(self, node: yaml.Node) -> str:
        """Return OpenSSL's name of a cipher suite that has Go's."""
        name = self._text(node)
        if not _CIPHER.fullmatch(name):
            self._complain(
                node, f"unknown cipher suite {name!r}", "names as in Go: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            )
            return ""
        exchange, cipher = name.removeprefix("TLS_").split("_WITH_")
        cipher = cipher.replace("AES_", "AES").replace("CBC_", "").replace("POLY1305_SHA256", "POLY1305")
        return f"{exchange}-{cipher}".replace("_", "-").removeprefix("RSA-")

    def _list(self, found: dict[str, tuple[yaml.Node, yaml.Node]], name: str) -> list[yaml.Node]:
        value = found.get(name, (None, None))[1]
        if value is None:
            return []
        if not isinstance(value, yaml.SequenceNode):
            self._complain(value, f"{name}: expected a list", f"{name}: [ONE, ANOTHER]")
            return []
        return list(value.value)

    def _flag(self, found: dict[str, tuple[yaml.Node, yaml.Node]], name: str) -> bool:
        return self._boolean(found[name][1]) if name in found else True

    def _boolean(self, node: yaml.Node) -> bool:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
            self._complain(node, "expected true or false", "true or false")
            return False
        return bool(node.value.lower() in {"true", "yes", "on"})

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._complain(node, "expected a word", "one word or text in quotes")
            return ""
        return str(node.value)

    def _complain(self, node: yaml.Node | None, what: str, remedy: str) -> None:
        self._read.mistakes.append(f"{_place(node.start_mark if node is not None else None)}: {what}; {remedy}")

    def _warn(self, node: yaml.Node, what: str) -> None:
        self._read.warnings.append(f"{_place(node.start_mark)}: {what}")


def _place(mark: yaml.Mark | None) -> str:
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
