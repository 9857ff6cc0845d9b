"""ARP and neighbour discovery frames, byte for byte, and what other people's frames tell us."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ipvs.neighbours import announcement, claimant, ethertype, mac_text, probe
from supervisor.model import IPAddress

MINE, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("02000000000a")
V4, V6 = IPv4Address("203.0.113.100"), IPv6Address("2001:db8::1234:5678")

ARP_HEAD = "ffffffffffff 020000000001 0806  0001 0800 06 04 0001"  # to all, from us; Ethernet, IPv4, request
V6_TEXT = "20010db8000000000000000012345678"


def test_an_arp_probe_names_no_sender_address() -> None:
    assert probe(MINE, V4) == bytes.fromhex(f"{ARP_HEAD} 020000000001 00000000 000000000000 cb007164")


def test_an_arp_announcement_is_a_request_for_ones_own_address() -> None:
    assert announcement(MINE, V4) == bytes.fromhex(f"{ARP_HEAD} 020000000001 cb007164 000000000000 cb007164")


def test_a_solicitation_for_detection_comes_from_nobody_and_goes_to_the_solicited_node_group() -> None:
    assert probe(MINE, V6) == bytes.fromhex(
        "3333ff345678 020000000001 86dd"
        "60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff345678"
        f"87 00 8d96 00000000 {V6_TEXT}"
    )


def test_an_advertisement_overrides_names_its_mac_and_goes_to_all_nodes() -> None:
    assert announcement(MINE, V6) == bytes.fromhex(
        "333300000001 020000000001 86dd"
        f"60000000 0020 3a ff {V6_TEXT} ff020000000000000000000000000001"
        f"88 00 27d4 20000000 {V6_TEXT} 02 01 020000000001"
    )


@pytest.mark.parametrize("frame", [probe(MINE, V6), announcement(MINE, V6)])
def test_the_checksum_adds_up_as_rfc_4443_says(frame: bytes) -> None:
    message = frame[14 + 40 :]
    covered = frame[22:54] + len(message).to_bytes(4, "big") + bytes([0, 0, 0, 58]) + message
    total = sum(int.from_bytes(covered[at : at + 2], "big") for at in range(0, len(covered), 2))
    assert (total & 0xFFFF) + (total >> 16) in {0xFFFF, 0x1FFFE}


def arp_reply(sender: IPv4Address, mac: bytes = THEIRS, operation: int = 2) -> bytes:
    head = MINE + mac + bytes.fromhex("0806 0001 0800 06 04") + operation.to_bytes(2, "big")
    return head + mac + sender.packed + MINE + bytes(4)


@pytest.mark.parametrize("address", [V4, V6])
def test_whoever_announces_or_probes_for_our_address_is_a_claimant(address: IPAddress) -> None:
    assert claimant(announcement(THEIRS, address), address, MINE) == THEIRS
    assert claimant(probe(THEIRS, address), address, MINE) == THEIRS
    assert claimant(announcement(MINE, address), address, MINE) is None
    assert claimant(probe(MINE, address), address, MINE) is None


def test_whoever_answers_for_our_address_is_a_claimant() -> None:
    assert claimant(arp_reply(V4), V4, MINE) == THEIRS
    assert claimant(arp_reply(V4) + bytes(18), V4, MINE) == THEIRS  # padded to the least Ethernet frame
    solicited = announcement(THEIRS, V6)[:-8]  # an advertisement without the option: the frame's sender counts
    assert claimant(solicited, V6, MINE) == THEIRS


def test_who_asks_with_an_address_of_his_own_is_not_a_claimant() -> None:
    other = IPv4Address("203.0.113.7")
    asks = bytearray(announcement(THEIRS, other))
    asks[38:42] = V4.packed
    assert claimant(bytes(asks), V4, MINE) is None
    resolves = bytearray(probe(THEIRS, V6))
    resolves[22:38] = IPv6Address("2001:db8::7").packed
    assert claimant(bytes(resolves), V6, MINE) is None


def test_claims_to_other_addresses_and_other_operations_say_nothing() -> None:
    assert claimant(arp_reply(IPv4Address("203.0.113.7")), V4, MINE) is None
    assert claimant(arp_reply(V4, operation=8), V4, MINE) is None
    assert claimant(announcement(THEIRS, IPv6Address("2001:db8::1")), V6, MINE) is None
    assert claimant(announcement(THEIRS, V6), V4, MINE) is None
    routed = bytearray(announcement(THEIRS, V6))
    routed[21] = 64
    assert claimant(bytes(routed), V6, MINE) is None


@given(st.sampled_from([V4, V6]), st.binary(max_size=120), st.integers(0, 120))
def test_no_frame_is_an_error(address: IPAddress, noise: bytes, cut: int) -> None:
    head = THEIRS + THEIRS + ethertype(address).to_bytes(2, "big")
    assert claimant(head + noise, address, MINE) is None or len(noise) >= 28
    assert claimant(announcement(THEIRS, address)[:cut], address, MINE) in {None, THEIRS}


def test_a_mac_is_written_as_operators_write_it() -> None:
    assert mac_text(THEIRS) == "02:00:00:00:00:0a"
