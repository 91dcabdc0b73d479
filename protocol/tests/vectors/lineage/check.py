#!/usr/bin/env python3
"""Recomputes the frozen lineage independently: the initial model from its key by the `openssl`
program's AES-256-CTR, the mean update from the sum's words, the FedAdam step, and the layout of a
state's bytes. Every bit has to agree. (The hashes need BLAKE3, which Python lacks; they are
compared by the Rust test alone.)"""
import json
import math
import pathlib
import struct
import subprocess


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def initial(key):
    """Softmax over 4 features and 2 classes: 8 weights and 2 biases within 1 / sqrt(4)."""
    command = ["openssl", "enc", "-aes-256-ctr", "-nosalt", "-K", key, "-iv", "0" * 32]
    stream = subprocess.run(command, input=bytes(40), capture_output=True, check=True).stdout
    words = struct.unpack("<10I", stream)
    return [single(0.5 * ((word >> 8) / 2**23 - 1.0)) for word in words]


def state_bytes(version, model, moments):
    header = b"RNDLST01" + struct.pack("<4Q", version, len(model), len(moments), 0)
    vectors = [struct.pack(f"<{len(v)}f", *v) for v in [model, *moments]]
    return header + b"".join(vectors)


def mean_update(upload, clip, levels):
    """Chunk 0: 10 words of 32 bits and 8 bytes of lanes; chunk 1: the weight and 8 bytes of lanes."""
    words = struct.unpack("<10i", upload[:40])
    assert upload[40:48] == struct.pack("<2I", 3, 3), "lanes"
    (weight,) = struct.unpack("<Q", upload[48:56])
    assert upload[56:64] == struct.pack("<Q", 3), "lanes"
    return [single(word / weight * (clip / levels)) for word in words]


def adam(p, model, first, second, update):
    def next_of(x, m, v, d):
        m = single(single(p["beta1"] * m) + single(single(1.0 - p["beta1"]) * d))
        square = single(d * d)
        v = single(single(p["beta2"] * v) + single(single(1.0 - p["beta2"]) * square))
        root = single(single(math.sqrt(v)) + p["tau"])
        return single(x + single(single(p["learning_rate"] * m) / root)), m, v

    return zip(*(next_of(*row) for row in zip(model, first, second, update)))


def main():
    path = pathlib.Path(__file__).parent / "fedadam.txt"
    lines = iter(path.read_text().splitlines())
    p = {name: single(value) for name, value in json.loads(next(lines))["fedadam"].items()}
    _, clip, _, levels = next(lines).split()
    model = initial(next(lines).split()[1])
    first = [0.0] * 10
    second = [single(p["tau"] * p["tau"])] * 10
    version = 0
    for line in lines:
        kind, text = line.split()
        if kind == "state":
            expected = state_bytes(version, model, [first, second])
            assert bytes.fromhex(text) == expected, version
        elif kind == "sum":
            update = mean_update(bytes.fromhex(text), float(clip), int(levels))
            model, first, second = adam(p, model, first, second, update)
            version += 1
    assert version == 2
    print(path.name, version, "rounds agree")


if __name__ == "__main__":
    main()
