#!/usr/bin/env python3
"""Recomputes the frozen optimiser vectors independently, from the formulas of Reddi et al. 2021
(Algorithm 2) and Hsu et al. 2019, and compares every bit. Needs the standard library alone: a
Python float is a double, and rounding the double result of one +, -, *, / or sqrt of two singles
to single gives the correctly rounded single (Figueroa 1995: 53 >= 2 * 24 + 2)."""
import json
import math
import pathlib
import struct


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def from_bits(text):
    return [struct.unpack("<f", struct.pack("<I", int(word, 16)))[0] for word in text.split()]


def add(a, b):
    return single(a + b)


def sub(a, b):
    return single(a - b)


def mul(a, b):
    return single(a * b)


def div(a, b):
    return single(a / b)


def step(kind, p, x, moments, d):
    eta = p["learning_rate"]
    if kind == "fedavg":
        return add(x, mul(eta, d)), []
    if kind == "fedavgm":
        v = add(mul(p["momentum"], moments[0]), d)
        return add(x, mul(eta, v)), [v]
    m, v = moments
    m = add(mul(p["beta1"], m), mul(sub(1.0, p["beta1"]), d))
    square = mul(d, d)
    if kind == "fedadagrad":
        v = add(v, square)
    elif kind == "fedadam":
        v = add(mul(p["beta2"], v), mul(sub(1.0, p["beta2"]), square))
    else:
        grow = mul(sub(1.0, p["beta2"]), square)
        difference = sub(v, square)
        sign = (difference > 0) - (difference < 0)
        v = sub(v, mul(grow, sign))
    x = add(x, div(mul(eta, m), add(single(math.sqrt(v)), p["tau"])))
    return x, [m, v]


def check(path):
    lines = path.read_text().splitlines()
    ((kind, parameters),) = json.loads(lines[0]).items()
    p = {name: single(value) for name, value in parameters.items()}
    words = [line.split(" ", 1) for line in lines[1:]]
    model = from_bits(words[0][1])
    count = {"fedavg": 0, "fedavgm": 1}.get(kind, 2)
    start = [0.0, mul(p.get("tau", 0.0), p.get("tau", 0.0))][:count]
    moments = [[value] * len(model) for value in start]
    position = 1
    while position < len(words):
        update = from_bits(words[position][1])
        results = [
            step(kind, p, x, [moment[i] for moment in moments], d)
            for i, (x, d) in enumerate(zip(model, update))
        ]
        model = [x for x, _ in results]
        moments = [[values[j] for _, values in results] for j in range(count)]
        assert model == from_bits(words[position + 1][1]), (path.name, position)
        for j in range(count):
            assert moments[j] == from_bits(words[position + 2 + j][1]), (path.name, position, j)
        position += 2 + count
    return position


if __name__ == "__main__":
    files = sorted(pathlib.Path(__file__).parent.glob("*.txt"))
    assert len(files) == 5, files
    for file in files:
        print(file.name, check(file), "lines agree")
