"""How long `supervisor.config.load` takes for a large file: 660 virtual servers with 20 real servers each, about 205,000 lines.

    python -m bench.config_load [--virtual-servers N] [--real-servers N] [--distinct] [--rounds N]

`--distinct` gives every real server its own weight and path, so that hardly any line or block is like another: the worst case for the
reader's memory of lines and checks. Prints the time of each round in seconds and the peak resident size. The target is
one and a half seconds (issue 3; keepalived's own parser in C takes 0.34 to 0.42 s, observability.md, section 5.3).
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import tempfile
import time

from supervisor.config import load, render


def text(virtual_servers: int, real_servers: int, *, distinct: bool) -> str:
    """A configuration of that many virtual servers, in the style that most files are written in."""
    lines = ["global_defs {", "  router_id bench", "}", ""]
    for number in range(virtual_servers):
        lines += [
            f"virtual_server 10.{number // 250}.{number % 250}.1 80 {{",
            "  delay_loop 6",
            "  lb_algo wlc",
            "  lb_kind NAT",
            "  protocol TCP",
            "  quorum 2",
            "",
        ]
        for server in range(real_servers):
            weight = (number * real_servers + server) % 60000 if distinct else 100
            path = f"/health/{number}/{server}" if distinct else "/health"
            lines += [
                f"  real_server 172.{16 + number // 250}.{number % 250}.{server + 1} 8080 {{",
                f"    weight {weight}",
                "    inhibit_on_failure",
                "    HTTP_GET {",
                "      url {",
                f"        path {path}",
                "        status_code 200",
                "      }",
                "      connect_timeout 3",
                "      retry 3",
                "      delay_before_retry 2",
                "    }",
                "    # one of many",
                "  }",
                "",
            ]
        lines += ["}", "", "# next", ""]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file to a temporary place, load it some times, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virtual-servers", type=int, default=660)
    parser.add_argument("--real-servers", type=int, default=20)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    content = text(arguments.virtual_servers, arguments.real_servers, distinct=arguments.distinct)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "large.conf")
        path.write_text(content)
        print(f"{content.count(chr(10))} lines, {len(content)} bytes")
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            cpu = time.process_time()
            outcome = load(path)
            taken, busy = time.perf_counter() - start, time.process_time() - cpu
            print(f"{taken:.3f} s ({busy:.3f} s of CPU): {render(outcome).splitlines()[-1]}")
            del outcome
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
