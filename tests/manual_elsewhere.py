"""What the pages show and tests/process/test_shown_commands.py does not type: who does, or why nobody can.

A test holds this list to the pages and to the tests: nothing in it is stale, and each test that it names is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.report import published

MACHINE = "tests/package/test_on_a_clean_debian.py"
TYPED_ON_A_MACHINE = f"{MACHINE}::test_what_the_manual_says_of_the_service_is_typed"
INSTALLED = "tests/package/test_installation.py::test_apt_installs_it_with_all_that_it_needs"
MIGRATION = "tests/kernel/test_migration.py::test_taking_over_from_keepalived_and_going_back_loses_no_request"
TUTORIAL = "tests/kernel/test_tutorial.py::test_a_reader_of_the_tutorial_sees_what_it_shows"
CI = ".ci/run"
NOBODY = "nobody: "
OBSERVED = (
    NOBODY + "`make observed` takes half an hour; tests/deploy/test_observed.py holds the page to what it recorded"
)

ELSEWHERE: Mapping[str, str] = {
    # what is made here, by make and Python: continuous integration says it, or a test calls the same
    "make test": CI,
    "make demo": CI,
    "make demo BACKEND=memory": CI,
    "make sim": CI,
    "make package": CI,
    "make process": "Makefile: test",
    "make kernel": "Makefile: test",
    "make deb": "tests/package/conftest.py::package",
    "make clean": NOBODY + "it would take away what the tests stand on",
    "make mutants": NOBODY + "it takes hours; tests/sim/test_mutants.py keeps the plants true",
    "make traffic": NOBODY + "it takes hours; tests/deploy/test_traffic_figures.py keeps the page true",
    "make boards": NOBODY + "it takes ten minutes; tests/process/test_boards.py plays a shorter run",
    "make observed": OBSERVED,
    "python -m bench.observed --rounds 7": OBSERVED,
    "keepalived --version 2>&1  grep -o SNMP_CHECKER": OBSERVED,
    "curl -s http://director:9720/down  grep -o -m1 'L7STS[^<]*'": OBSERVED,
    'keepalived -t -f keepalived.conf 2>&1; echo "status $?"': OBSERVED,
    'kill -0 "$(cat checkers.pid)" && echo "it is there"': OBSERVED,
    "make pictures": NOBODY + "tests/process/test_status_page.py plays the same scene",
    "python -m bench.traffic_under_faults --times 100": NOBODY + "as `make traffic`",
    "make bench": NOBODY + "it takes half an hour; tests/test_bench.py holds the runner to what it says",
    "make bench QUICK=1": NOBODY + "it takes five minutes; as `make bench`",
    **{section["command"]: NOBODY + "a measurement of minutes, run by hand" for section in published()},
    "python -m bench.report": "tests/test_performance.py::test_the_page_is_what_the_measurements_make",
    "python -m bench.scrape": NOBODY + "a measurement of minutes, run by hand",
    "python -m bench.scrape --alone": NOBODY + "a measurement of minutes, run by hand",
    "python -m bench.page": NOBODY + "a measurement of minutes, run by hand",
    "python -m bench.verbs": NOBODY + "a measurement of minutes, run by hand",
    "python -m grafana.boards": "tests/grafana/test_boards.py::test_the_file_is_what_the_program_writes",
    "python -m tests.grafana.published FILE": "tests/grafana/test_boards.py",
    "python deploy/man/metrics.py": "tests/supervisor/exporter/test_page.py",
    "pip install .": "tests/package/test_image.py::test_its_commands_make_an_image_whose_entry_point_answers",
    "pip install 'vipervisor[web]'": NOBODY
    + "not on an index yet; deploy/demo/setup installs the same extra with [dev]",
    "promtool test rules": "tests/grafana/test_alerts.py::test_every_alert_fires_in_its_time_and_only_then",
    "man -l deploy/man/vipervisor.conf.5": "tests/deploy/test_manual.py::test_mandoc_has_nothing_to_say_about_a_page",
    # the service: on a clean Debian that boots systemd
    "apt install ./dist/vipervisor_*.deb": INSTALLED,
    "chgrp -R vipervisor /etc/keepalived && chmod -R g+rX /etc/keepalived && systemctl enable --now vipervisor": TYPED_ON_A_MACHINE,
    "systemctl status vipervisor": TYPED_ON_A_MACHINE,
    "systemctl restart vipervisor": TYPED_ON_A_MACHINE,
    "systemctl start vipervisor": TYPED_ON_A_MACHINE,
    "systemctl reload vipervisor": TYPED_ON_A_MACHINE,
    "systemctl status systemd-journald rsyslog": TYPED_ON_A_MACHINE,
    "journalctl -u vipervisor -n 50": TYPED_ON_A_MACHINE,
    "journalctl -u vipervisor -n 5": TYPED_ON_A_MACHINE,
    "journalctl -u vipervisor -p warning": TYPED_ON_A_MACHINE,
    "journalctl -u vipervisor -o cat": TYPED_ON_A_MACHINE,
    "journalctl -u vipervisor | grep worker.exited": TYPED_ON_A_MACHINE,
    "systemd-analyze security": "tests/deploy/test_systemd.py::test_systemd_finds_the_unit_hardly_exposed",
    "install -D -m 644 deploy/systemd/vipervisor.service /etc/systemd/system/vipervisor.service": TYPED_ON_A_MACHINE,
    "install -D -m 644 deploy/systemd/vipervisor.sysusers /etc/sysusers.d/vipervisor.conf && systemd-sysusers": TYPED_ON_A_MACHINE,
    "install -D -m 644 deploy/systemd/vipervisor.modules-load /etc/modules-load.d/vipervisor.conf && modprobe ip_vs": TYPED_ON_A_MACHINE,
    # the kernel's table, and what writes it
    "vipervisor run --dry-run -f FILE": "tests/kernel/test_dry_run.py",
    "ipvsadm -e -t VIP:PORT -r SERVER:PORT -m -w 0": MIGRATION,
    "ipvsadm -R": NOBODY + "what bench/kernel_writer.py compares with",
    "ipvsadm -e": NOBODY + "what bench/kernel_writer.py compares with",
    "ipvsadm -Ln --stats": NOBODY + "what bench/kernel_writer.py compares with",
    "ipvsadm -Ln": TUTORIAL,
    "ipvsadm -Sn": TUTORIAL,
    "ipvsadm -C": "tests/kernel/test_drift_kernel.py::test_a_flushed_table_is_back_within_seconds_each_time",
    "ipvsadm -d": "tests/kernel/test_drift_kernel.py::test_a_destination_that_is_not_ours_goes_and_one_of_ours_comes_back",
    "ipvsadm -D": "tests/kernel/test_drift_kernel.py",
    "ipvsadm -e … -w 0": "tests/kernel/test_drift_kernel.py::test_an_emergency_by_hand_stands_for_its_grace_and_is_seen_as_a_drain",
    "ipvsadm -e … -w 5": "tests/kernel/test_drift_kernel.py::test_another_weight_is_repaired",
    "modprobe ip_vs": "tests/kernel/test_backend_kernel.py",
    "modprobe ip_vs_wlc": "tests/kernel/test_backend_kernel.py",
    "sysctl net.ipv4.ip_forward=1": "tests/kernel/test_kernel_settings.py",
    # signals: named, not typed
    "kill -HUP": "tests/process/test_daemon.py::test_sighup_takes_a_valid_file_and_refuses_an_invalid_one_whole",
    "kill -TERM": "tests/process/test_daemon.py::test_sigterm_ends_everything_with_status_0_and_leaves_no_socket_and_no_child",
    "kill -9": "tests/process/test_restart.py::test_a_killed_daemon_leaves_its_knowledge_and_the_next_one_starts_from_it",
    # other machines and other programs
    "ssh -L 9720:127.0.0.1:9720 director": NOBODY + "it takes a second machine with an account of the tester's",
    "keepalived -t": NOBODY + "keepalived's own, named for whoever knows it",
    "kill -USR1": NOBODY + "keepalived's own, named for whoever knows it",
}
