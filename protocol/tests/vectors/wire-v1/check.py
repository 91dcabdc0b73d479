#!/usr/bin/env python3
"""Builds some messages of wire version 1 from the rules of codec.rs alone (little endian, fixed
widths, u64 lengths, u32 variants, one byte for options and bools) and compares them with the frozen
bytes. Values that are hashes or signatures are taken from the file by their place, the rest is
spelt out. Standard library only."""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
FEDERATION = bytes([7]) * 16
ROUND = struct.pack("<Q", 0x0102030405060708)


def u16(x):
    return struct.pack("<H", x)


def u32(x):
    return struct.pack("<I", x)


def u64(x):
    return struct.pack("<Q", x)


def text(x):
    return u64(len(x.encode())) + x.encode()


def frozen(kind):
    lines = (HERE / f"{kind}.txt").read_text().splitlines()
    return {name: bytes.fromhex(value) for name, value in (line.split(" ") for line in lines)}


def quantised_segment(words):
    # name, ring (Z32), words, encoding 0 {clip f32, weight_max u32}
    return text("update") + u32(1) + u64(words) + u32(0) + struct.pack("<f", 1.0) + u32(100)


def count_segment(name, bound):
    return text(name) + u32(2) + u64(1) + u32(1) + u64(bound)


def training_plan(bytes_):
    digest = bytes_[16:48]
    hyperparameters = u32(1) + u32(32) + struct.pack("<3f", 0.1, 0.0, 0.0)
    rows = 1 << 28
    loss = text("evaluation_loss") + u32(2) + u64(1) + u32(2) + bytes([16]) + u64(rows << 22)
    segments = [
        quantised_segment(4 * 2 + 2),
        count_segment("weight", 100),
        count_segment("evaluation_rows", rows),
        count_segment("evaluation_correct", rows),
        loss,
    ]
    layout = u64(len(segments)) + b"".join(segments) + u32(2)
    active = u64(2) + u16(0) + u16(1)
    opened = u64(2) + u16(0) + bytes([9]) * 64 + u16(1) + bytes([9]) * 64
    # enum variant 3, then kind (Train = 1), version, model, ..., previous transcript
    head = u32(3) + u32(1) + u64(3) + digest
    return head + hyperparameters + layout + active + opened + bytes_[-32:]


def standing(bytes_):
    """Round and version as built here; the digests of state and transcript as they are."""
    return ROUND + u64(3) + bytes_[16:80]


def main():
    checked = 0

    def check(kind, name, build):
        nonlocal checked
        bytes_ = frozen(kind)[name]
        expected = build(bytes_)
        assert bytes_ == expected, (kind, name, bytes_.hex(), expected.hex())
        checked += 1

    check("to_coordinator", "hello", lambda b: u32(0) + u64(2) + u16(2) + u16(1) + text("roundelay 0.1.0"))
    check("to_coordinator", "list_federations", lambda b: u32(1))
    check(
        "to_coordinator",
        "sign_manifest",
        lambda b: u32(2) + FEDERATION + b[20:52] + bytes([9]) * 64,
    )
    check(
        "to_coordinator",
        "join",
        lambda b: u32(3) + FEDERATION + b[20:52] + ROUND + u64(2) + ROUND
        + u64(0x0102030405060709) + standing(b[84:]) + bytes([1]) + bytes([10]) * 64 + b[-32:],
    )
    check(
        "to_coordinator",
        "attest",
        lambda b: u32(9) + FEDERATION + standing(b[20:]) + bytes([11]) * 64,
    )
    check(
        "to_client",
        "attested",
        lambda b: u32(11) + FEDERATION + standing(b[20:]) + u64(2)
        + b[108:140] + bytes([12]) * 64 + b[108:140] + bytes([13]) * 64,
    )
    check("to_client", "welcome", lambda b: u32(0) + u16(1) + u64(1_700_000_000_000))
    check(
        "to_client",
        "refused",
        lambda b: u32(1) + text("unknown_federation") + text("ask its owner")
        + bytes([1]) + FEDERATION,
    )
    check(
        "to_client",
        "redirect",
        lambda b: u32(2) + u32(0) + text("b.org:1") + u64(1_700_000_000_000) + b[-64:],
    )
    summary = lambda b: FEDERATION + text("digits") + b[42:74] + bytes([1])
    check("to_client", "federations", lambda b: u32(4) + u64(2) + summary(b) + summary(b))
    check("stream", "roster", lambda b: u32(0) + FEDERATION + ROUND + u32(0) + u32(512))
    check("stream", "state", lambda b: u32(1) + FEDERATION + u32(2) + u64(3) + u64(1 << 33))
    check(
        "round_from_client",
        "reveal",
        lambda b: u32(4) + bytes([1]) + bytes([4]) * 32
        + u64(2) + bytes([1]) * 32 + bytes([2]) * 32 + u64(1) + bytes([3]) * 32,
    )
    check(
        "round_from_client",
        "shares",
        lambda b: u32(1) + b[4:36] + bytes([8]) * 64 + u64(2)
        + u16(2) + bytes([1]) + bytes([4]) * 1088 + bytes([5]) * 1088 + u64(80) + bytes([6]) * 80
        + b[-64 - 8:-8] + u64(9)
        + u16(2) + bytes([0]) + bytes([5]) * 1088 + u64(80) + bytes([6]) * 80
        + b[-64 - 8:-8] + u64(9),
    )
    check("round_from_client", "opened", lambda b: u32(7) + bytes([8]) * 64)
    check("round_from_client", "nonce", lambda b: u32(8) + bytes([6]) * 32)
    listed = lambda b, at: b[at : at + 64]
    check(
        "round_to_client",
        "listing",
        lambda b: u32(10) + u64(2) + u16(0) + listed(b, 14) + u16(300) + listed(b, 80),
    )
    check(
        "round_to_client",
        "beacon",
        lambda b: u32(11) + u64(2) + u16(0) + bytes([7]) * 32 + u16(300) + bytes([8]) * 32,
    )
    check("round_to_client", "training_plan", training_plan)
    print(checked, "messages agree")


if __name__ == "__main__":
    main()
