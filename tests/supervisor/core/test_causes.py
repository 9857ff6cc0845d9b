"""Chains of causes: what is one link, and what is one for each."""

from __future__ import annotations

from supervisor.core.causes import ALIKE_MAX, Chronicle, Kind


def test_what_happens_to_many_at_one_stroke_is_one_link_for_all() -> None:
    chronicle = Chronicle()
    first = chronicle.extend_together((), 1.0, Kind.START, "in the configuration", weight=1)
    second = chronicle.extend_together((), 1.0, Kind.START, "in the configuration", weight=1)
    assert first is second
    written = [chronicle.extend_together(chain, 2.0, Kind.KERNEL_WRITE, "taken in") for chain in (first, second)]
    assert written[0] is written[1]
    assert [(link.id, link.parent) for link in written[0]] == [(1, None), (2, 1)]
    assert chronicle.recent(2) is written[0]


def test_what_differs_in_moment_kind_words_facts_or_parent_is_not_shared() -> None:
    chronicle = Chronicle()
    begun = chronicle.extend_together((), 1.0, Kind.START, "in the configuration", weight=1)
    other = chronicle.begin(1.0, Kind.PROBE, "it failed")
    chains = [
        begun,
        chronicle.extend_together((), 1.0, Kind.ADOPTED, "in the configuration", weight=1),
        chronicle.extend_together((), 1.0, Kind.START, "in the configuration, too", weight=1),
        chronicle.extend_together((), 1.0, Kind.START, "in the configuration", weight=2),
        chronicle.extend_together((), 1.0, Kind.START, "in the configuration", weight=1.0),
        chronicle.extend_together(begun, 1.0, Kind.START, "in the configuration", weight=1),
        chronicle.extend_together(other, 1.0, Kind.START, "in the configuration", weight=1),
        chronicle.extend_together((), 2.0, Kind.START, "in the configuration", weight=1),
    ]
    assert len({chain[-1].id for chain in chains}) == len(chains)


def test_two_probes_are_never_one_link_though_they_say_the_same() -> None:
    chronicle = Chronicle()
    first, second = (chronicle.begin(1.0, Kind.PROBE, "refused") for _ in range(2))
    assert first[-1].id != second[-1].id


def test_a_moment_in_which_everything_differs_is_not_kept_whole() -> None:
    chronicle = Chronicle()
    chains = [chronicle.extend_together((), 1.0, Kind.START, f"text {number}") for number in range(3 * ALIKE_MAX)]
    assert len({chain[-1].id for chain in chains}) == len(chains)
    assert len(chronicle._together) <= ALIKE_MAX
