"""What the boards have in common: the choices at their top, and the events that are marked in every panel."""

from __future__ import annotations

from grafana.panels import BLUE, ORANGE, RED, Query, Variable

DIRECTORS = (
    # real servers may have a job of their own, which is scraped more rarely
    Variable("job", '{__name__=~"lvs_build_info|lvs_real_server_info"}', "job", "Job"),
    Variable("instance", "lvs_build_info", "instance", "Director"),
)

SERVERS = (
    Variable("virtual_server", "lvs_virtual_server_quorum_up", "virtual_server", "Virtual server"),
    Variable("real_server", "lvs_real_server_up", "real_server", "Real server"),
)

MARKS = (
    (
        "Configuration loaded",
        BLUE,
        Query("changes(lvs_config_last_reload_success_timestamp_seconds{@}[1m]) > 0", "{{instance}}"),
    ),
    (
        "Reload refused",
        ORANGE,
        Query('increase(lvs_config_reloads_total{@,result="rejected"}[1m]) > 0', "{{instance}}"),
    ),
    (
        "Vipervisor started",
        RED,
        Query("changes(lvs_start_timestamp_seconds{@}[1m]) > 0", "{{instance}}"),
    ),
)
