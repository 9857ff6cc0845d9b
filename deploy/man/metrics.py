"""The page of metrics, docs/metrics.md, made from the families that the exporter tells.

    python deploy/man/metrics.py            writes docs/metrics.md
    python deploy/man/metrics.py --check    exit 1, and a word, when it is not what it would be

Boards, alerts and the status page build on these names. A test runs the check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import Metric

from supervisor.exporter.extent import SERIES_EACH, SERIES_MAX_DEFAULT, Extent
from supervisor.exporter.families import SCOPES
from supervisor.exporter.names import told
from supervisor.exporter.shapes import labels_of

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

SERVERS_MAX = SERIES_MAX_DEFAULT // SERIES_EACH

HEAD = f"""\
# Metrics

Served at `/metrics` of the exporter process (`--exporter`, 127.0.0.1:9720 by default) as Prometheus text or OpenMetrics. This page is made
from the program (`python deploy/man/metrics.py`) and a test holds it true. Names, labels and types are an interface: they change only with
a word in the changelog.

A virtual server is named like `203.0.113.1:443/tcp`, `[2001:db8::1]:443/tcp` or `fwm:10/ipv4`, a real server like `192.168.100.21:80`.
Times are Unix timestamps, never ages: `time() - x` says for how long. No label follows a state. What the kernel does not have (a weight, a
connection) is absent, not 0.

| asked with | comes |
| --- | --- |
| `/metrics` | all scopes |
| `?scope=process` | tier 0 alone; also `scope=process,virtual_server` or `scope` several times |
| `?name[]=lvs_ready&name[]=lvs_real_server_up` | these families, whole; a sample's name (`…_bucket`, `…_sum`) chooses its family |

So the totals can be scraped every 5 s and the real servers every minute. What does not exist is refused with status 400 and the choice.

Real servers make {SERIES_EACH} series each. Where that would be more than {SERIES_MAX_DEFAULT:,} ({SERVERS_MAX:,} real servers;
`--metrics-series-max N`, 0: no limit) all of tier 2 and 3 is left out, `lvs_metrics_real_servers_omitted` is 1, and the log says so
(`metrics.omitted`).

## Scraping

```yaml
scrape_configs:
- job_name: vipervisor
  scrape_interval: 5s
  params: {{scope: ["process,virtual_server"]}}
  static_configs: [{{targets: ["127.0.0.1:9720"]}}]
- job_name: vipervisor-real-servers
  scrape_interval: 60s
  params: {{scope: [real_server]}}
  static_configs: [{{targets: ["127.0.0.1:9720"]}}]
```

Scrapes within a second share one answer, so two Prometheus servers cost as much as one. The exporter is a process of its own without any
privilege; when it dies, a scrape fails and nothing else.

With 10,000 real servers (140,000 series, 16 MB, 0.6 MB as gzip) a scrape takes 0.26 s of processor in the supervisor, in strokes of at most
3.4 ms between which decisions are taken (`python -m bench.scrape --alone`). In the exporter it takes 0.12 s to read that and 0.4 s to
write the answer; the first time 0.9 s as text and 1.3 s as OpenMetrics, for what has not changed is not written again
(`python -m bench.page`). As OpenMetrics, which Prometheus asks for, it is written once beforehand, twenty seconds after a start or when
everything was checked, unless somebody has asked by then.
Beside a daemon that checks them all, on two cores that had five times as much to do, a scrape took 0.84 s as text and 1.3 s as OpenMetrics
(medians; the first 2.1 and 2.3 s), and nothing kept the supervisor's loop for longer than 17 ms (`python -m bench.scrape`).

## TLS and passwords

The exporter listens on loopback, in the clear, unless told otherwise. For another address take `--web-config FILE`, the
[web configuration file](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md) of Prometheus's exporters
(`pip install 'vipervisor[web]'` brings the two libraries for it):

```yaml
tls_server_config:
  cert_file: server.crt        # beside this file, or a whole path; read by the user that vipervisor runs as
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert      # with client_ca_file: only who has a certificate
  client_ca_file: ca.crt
basic_auth_users:
  prometheus: $2y$10$ASHE3W2EGdCu7NiUeV1ksuLUpaV/bQLy/ZCYM/DyP38NNEFl1eTk2      # htpasswd -nBC 10 prometheus
```

It holds for every path. A mistake in it is refused with its place and remedy, at start with the daemon. Later a change of the file, a
certificate or a key is taken over within five seconds, whole; a bad one is told (`web_config.refused`,
`lvs_web_config_last_reload_successful` 0) and the last good one stays. Not to be had are client certificates that nobody verifies
(`RequestClientCert`, `RequireAnyClientCert`); `http2`, `rate_limit` and `curve_preferences` do nothing and are warned of.
"""

PARTS: tuple[tuple[str, str, str, Extent], ...] = (
    ("Tier 0: the program itself", "Always.", "process", Extent()),
    ("Tier 1: each virtual server", "Always.", "virtual_server", Extent()),
    ("Tier 2: each real server", "Up to the limit.", "real_server", Extent()),
    (
        "Tier 3: each real server in detail",
        "With `--metrics-detail`, up to the limit.",
        "real_server",
        Extent(detail=True),
    ),
    (
        "The names of node_exporter",
        "With `--metrics-node-ipvs`, for boards that exist; beside a node_exporter take `--no-collector.ipvs`, or sums double.",
        ",".join(SCOPES),
        Extent(node_ipvs=True),
    ),
)


def rows(found: Iterable[Metric], before: set[str]) -> Iterator[str]:
    """Yield a line for each family that was not told of before."""
    for family in found:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name not in before:
            before.add(name)
            labels = ", ".join(f"`{label}`" for label in labels_of(family))
            yield f"| `{name}` | {family.type} | {labels} | {family.documentation.replace('|', '/')} |"


def page() -> str:
    """Return the whole page."""
    text, before = HEAD, set[str]()
    for title, when, scope, extent in PARTS:
        lines = "\n".join(rows(told(tuple(scope.split(",")), extent), before))
        text += f"\n## {title}\n\n{when} Scope `{scope}`.\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |\n{lines}\n"
    return text


def main() -> int:
    """Write the page, or check it; return the exit status."""
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        print("docs/metrics.md is not what the program tells; run `python deploy/man/metrics.py`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
