#!/usr/bin/env python3
"""Writes grid.txt: the epsilon of many rounds as dp-accounting computes it. Needs dp-accounting
0.6.0 (pip install dp-accounting==0.6.0); no test runs it, they read the grid."""
import importlib.metadata
import math
import pathlib

from dp_accounting import dp_event
from dp_accounting.rdp import rdp_privacy_accountant as rdp

MULTIPLIERS = [0.3, 0.7, 1.0, 1.5, 3.0, 8.0, 30.0]
ROUNDS = [1, 3, 10, 100, 1000, 30000]
DELTAS = [1e-3, 1e-5, 1e-6, 1e-9]
# L2 sensitivity in integers and number of words.
SHAPES = [(64.0, 16), (4096.0, 1024), (65536.0, 2**20)]


def gaussian(z, rounds, delta):
    accountant = rdp.RdpAccountant()
    accountant.compose(dp_event.GaussianDpEvent(z), rounds)
    return accountant.get_epsilon(delta)


def skellam(z, l2, words, rounds, delta):
    """Agarwal, Kairouz, Liu 2021, theorem 3.5, which is for whole orders: the next one bounds a
    fractional one. dp-accounting has no Skellam event, but converts."""
    variance = (z * l2) ** 2
    l1 = min(math.sqrt(words) * l2, l2 * l2)
    orders = rdp.DEFAULT_RDP_ORDERS
    divergences = []
    for order in map(math.ceil, orders):
        near = ((2 * order - 1) * l2**2 + 6 * l1) / (4 * variance**2)
        far = 3 * l1 / (2 * variance)
        divergences.append(rounds * (order * l2**2 / (2 * variance) + min(near, far)))
    return rdp.compute_epsilon(orders, divergences, delta)[0]


lines = [f"# dp-accounting {importlib.metadata.version('dp-accounting')}, by generate.py",
         "# gaussian: z rounds delta epsilon; skellam: z l2 words rounds delta epsilon"]
for z in MULTIPLIERS:
    for rounds in ROUNDS:
        for delta in DELTAS:
            lines.append(f"gaussian {z} {rounds} {delta} {gaussian(z, rounds, delta)!r}")
for z in [0.3, 1.0, 3.0, 30.0]:
    for l2, words in SHAPES:
        for rounds in [1, 10, 1000]:
            for delta in DELTAS:
                lines.append(f"skellam {z} {l2} {words} {rounds} {delta} "
                             f"{float(skellam(z, l2, words, rounds, delta))!r}")
path = pathlib.Path(__file__).parent / "grid.txt"
path.write_text("\n".join(line.replace("np.float64(", "").replace(")", "") for line in lines) + "\n")
