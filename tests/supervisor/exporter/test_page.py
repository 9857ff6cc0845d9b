"""docs/metrics.md is what boards, alerts and readers go by: it says what the program tells, and nothing else."""

import pathlib
import runpy

from supervisor.exporter.families import families, render_duration, served_families
from supervisor.exporter.shapes import labels_of
from tests.fakes import snapshots
from tests.supervisor.exporter.test_families import EVERYTHING, NOW, SERVED

ROOT = pathlib.Path(__file__).parents[3]


def test_the_page_is_what_its_script_makes() -> None:
    made: str = runpy.run_path(str(ROOT / "deploy" / "man" / "metrics.py"))["page"]()
    assert (ROOT / "docs" / "metrics.md").read_text() == made, "run `python deploy/man/metrics.py`"


def test_every_family_that_can_be_told_is_on_the_page_with_its_labels() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    told = [*families(snapshots.snapshot(), NOW, extent=EVERYTHING), *served_families(SERVED), render_duration({})]
    for family in told:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in labels_of(family))
        assert f"| `{name}` | {family.type} | {labels} | " in page
        used = {label for sample in family.samples for label in sample.labels if label != "le"}
        assert used <= set(labels_of(family))
