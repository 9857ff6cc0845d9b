"""`vipervisor table` beside the kernel: what it prints can be restored by ipvsadm, and is what ipvsadm then saves."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.lab import ARTICLE

MANY_KINDS = """\
virtual_server 203.0.113.100 443 {
  delay_loop 5
  lb_algo sh
  lb_kind DR
  protocol TCP
  sh-port
  persistence_timeout 50
  persistence_granularity 255.255.255.0
  real_server 192.168.100.21 443 {
    weight 7
  }
}
virtual_server 203.0.113.100 53 {
  delay_loop 5
  lb_algo wlc
  lb_kind DR
  protocol UDP
  ops
  real_server 192.168.100.21 53 {
  }
}
virtual_server fwmark 7 {
  delay_loop 5
  lb_algo rr
  lb_kind TUN type gue port 5555 csum
  real_server 192.168.100.22 0 {
  }
}
virtual_server 2001:db8::100 80 {
  delay_loop 5
  lb_algo wrr
  lb_kind NAT
  protocol TCP
  sorry_server 2001:db8:1::20 80
  sorry_server_inhibit
  real_server 2001:db8:1::21 8080 {
    weight 3
  }
}
"""


@pytest.mark.parametrize("text", [ARTICLE.read_text(), MANY_KINDS], ids=["article", "many kinds"])
def test_a_table_can_be_restored_by_ipvsadm_and_is_what_it_saves(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keepalived.conf"
    path.write_text(text)
    table = f"{shlex.quote(sys.executable)} -m supervisor table -f {shlex.quote(str(path))}"
    printed = subprocess.run(["sh", "-c", table], capture_output=True, text=True, check=True).stdout
    addresses = "ip link set lo up; ip address add 192.0.2.1/24 dev lo; ip address add 2001:db8::1/64 dev lo"
    script = f"{addresses}; {table} | ipvsadm -R && ipvsadm -Sn"
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == printed
    assert printed.count("-a ") == text.count("real_server ") + text.count("sorry_server_inhibit")
