#!/usr/bin/env python3
"""Makes the frozen vectors beside it, without a line of the code that they test.

    python3 -m venv venv && venv/bin/pip install cryptography==48.0.0 kyber-py==1.2.0
    venv/bin/python generate.py

HMAC and SHA-256 are the standard library's, X25519, AES-CTR and AES-GCM those of `cryptography`
(OpenSSL), ML-KEM-768 that of `kyber-py` (pure Python). BLAKE3, Shamir over GF(2^16), Merkle trees,
the quantiser, graphs and their parameters are written out below from their papers; BLAKE3 is checked against the published
vectors before it is used. Running the script again must leave the files as they are.
"""

import hmac
import json
import math
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kyber_py.ml_kem import ML_KEM_768

HERE = pathlib.Path(__file__).parent


def prefixed(label, parts):
    """Label and parts, each behind its length as u64 little endian."""
    return b"".join(struct.pack("<Q", len(p)) + p for p in [label.encode(), *parts])


def pattern(tag, length):
    """Bytes without meaning that anybody can make again: SHA-256 of a name and a counter."""
    out, block = b"", 0
    while len(out) < length:
        out += hmac.digest(b"roundelay test vectors", f"{tag}/{block}".encode(), "sha256")
        block += 1
    return out[:length]


def hexes(parts):
    return [p.hex() for p in parts]


# --- HKDF-SHA256, RFC 5869 ------------------------------------------------------------------


def hkdf(material, info, length):
    key = hmac.digest(bytes(32), material, "sha256")
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


def kdf():
    contexts = [[], [b""], [b"", b""], [b"a", b"bc"], [b"ab", b"c"], [pattern("long", 300)]]
    for label in ["roundelay/test", ""]:
        for context in contexts:
            key = pattern(f"kdf/{label}", 32)
            outputs = {n: hkdf(key, prefixed(label, context), n).hex() for n in (32, 64)}
            yield {"key": key.hex(), "label": label, "context": hexes(context), **{
                "output_32": outputs[32], "output_64": outputs[64]}}


# --- BLAKE3, hash mode (specification, section 2) -------------------------------------------

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
MASK = 0xFFFFFFFF


def rotate(x, n):
    return ((x >> n) | (x << (32 - n))) & MASK


def quarter(s, a, b, c, d, x, y):
    s[a] = (s[a] + s[b] + x) & MASK
    s[d] = rotate(s[d] ^ s[a], 16)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 12)
    s[a] = (s[a] + s[b] + y) & MASK
    s[d] = rotate(s[d] ^ s[a], 8)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 7)


def compress(chaining, block, counter, flags):
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    s = chaining + IV[:4] + [counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for i in range(4):
            quarter(s, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[p] for p in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)]


def chunk_value(chunk, counter, root):
    blocks = [chunk[i : i + 64] for i in range(0, len(chunk), 64)] or [b""]
    value = IV
    for i, block in enumerate(blocks):
        flags = (CHUNK_START if i == 0 else 0) | (CHUNK_END | root if i == len(blocks) - 1 else 0)
        value = compress(value, block, counter, flags)
    return value


def subtree_value(data, first, root):
    if len(data) <= 1024:
        return chunk_value(data, first, root)
    left = 1 << ((len(data) - 1) // 1024).bit_length() - 1
    values = subtree_value(data[: left * 1024], first, 0) + subtree_value(data[left * 1024 :], first + left, 0)
    return compress(IV, struct.pack("<16I", *values), 0, PARENT | root)


def blake3(data):
    return struct.pack("<8I", *subtree_value(data, 0, ROOT))


def check_blake3():
    for case in json.loads((HERE / "published/blake3.json").read_text())["cases"]:
        data = bytes(i % 251 for i in range(case["input_bytes"]))
        assert blake3(data).hex() == case["hash"], case


def digest_of(label, parts):
    return blake3(prefixed(label, parts))


def digest():
    for parts in [[], [b""], [b"a", b"bc"], [b"ab", b"c"], [pattern("digest", 3000)]]:
        yield {"label": "roundelay/test", "parts": hexes(parts), "digest": digest_of("roundelay/test", parts).hex()}


# --- Merkle trees, RFC 6962, section 2.1 ----------------------------------------------------


def node(left, right):
    return digest_of("roundelay/tree/node", [left, right])


def tree_root(leaves):
    if not leaves:
        return digest_of("roundelay/tree/empty", [])
    if len(leaves) == 1:
        return digest_of("roundelay/tree/leaf", [leaves[0]])
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return node(tree_root(leaves[:left]), tree_root(leaves[left:]))


def tree_path(leaves, index):
    if len(leaves) <= 1:
        return []
    left = 1 << (len(leaves) - 1).bit_length() - 1
    if index < left:
        return tree_path(leaves[:left], index) + [tree_root(leaves[left:])]
    return tree_path(leaves[left:], index - left) + [tree_root(leaves[:left])]


def tree():
    for count in [0, 1, 2, 3, 4, 5, 7, 8, 11]:
        leaves = [pattern(f"leaf/{i}", 32) for i in range(count)]
        yield {"leaves": hexes(leaves), "root": tree_root(leaves).hex(),
               "paths": [hexes(tree_path(leaves, i)) for i in range(count)]}


def chunks():
    for lengths in [[], [0], [5], [1000, 1000, 7], [64, 64, 64, 64, 64, 1]]:
        data = [pattern(f"chunk/{i}", n) for i, n in enumerate(lengths)]
        digests = [digest_of("roundelay/chunk", [d]) for d in data]
        yield {"chunks": hexes(data), "root": tree_root(digests).hex()}


# --- X25519 + ML-KEM-768 --------------------------------------------------------------------


class Agreement:
    def __init__(self, seed, label):
        context = [label.encode()]
        scalar = hkdf(seed, prefixed("roundelay/agreement/x25519", context), 32)
        dz = hkdf(seed, prefixed("roundelay/agreement/ml-kem-768", context), 64)
        self.x25519 = X25519PrivateKey.from_private_bytes(scalar)
        self.ek, self.dk = ML_KEM_768._keygen_internal(dz[:32], dz[32:])
        self.public = self.x25519.public_key().public_bytes_raw() + self.ek

    def shared(self, public):
        return self.x25519.exchange(X25519PublicKey.from_public_bytes(public[:32]))


def pair_seed(x25519, kem, label, context):
    return hkdf(x25519 + kem, prefixed(label, context), 32).hex()


def agreement():
    for i in range(3):
        seeds = [pattern(f"agreement/{i}/{side}", 32) for side in ("low", "high")]
        low, high = (Agreement(seed, "mask") for seed in seeds)
        message = pattern(f"agreement/{i}/message", 32)
        kem, ciphertext = ML_KEM_768._encaps_internal(high.ek, message)
        assert ML_KEM_768._decaps_internal(high.dk, ciphertext) == kem
        altered = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
        rejected = ML_KEM_768._decaps_internal(high.dk, altered)
        x25519 = low.shared(high.public)
        assert x25519 == high.shared(low.public)
        context = [b"federation", struct.pack("<Q", i)]
        yield {"seeds": hexes(seeds), "key_label": "mask", "publics": hexes([low.public, high.public]),
               "message": message.hex(), "ciphertext": ciphertext.hex(),
               "pair_label": "roundelay/test/pair", "context": hexes(context),
               "pair_seed": pair_seed(x25519, kem, "roundelay/test/pair", context),
               "pair_seed_of_altered_ciphertext": pair_seed(x25519, rejected, "roundelay/test/pair", context)}


# --- AES-256-GCM ----------------------------------------------------------------------------


def gcm(key, nonce, aad, plaintext):
    return AESGCM(key).encrypt(nonce, plaintext, prefixed("roundelay/sealed", aad))


def sealed():
    for i, (aad, length) in enumerate([([], 0), ([b"a", b"bc"], 1), ([b"ab", b"c"], 1), ([b""], 70)]):
        key, nonce, plaintext = pattern(f"seal/{i}", 32), pattern(f"nonce/{i}", 12), pattern(f"box/{i}", length)
        yield {"key": key.hex(), "nonce": nonce.hex(), "aad": hexes(aad), "plaintext": plaintext.hex(),
               "sealed": gcm(key, nonce, aad, plaintext).hex(),
               "sealed_once": gcm(key, bytes(12), aad, plaintext).hex()}


def envelope():
    place = [b"tenant 1", b"models", b"row 7", b"bytes", struct.pack("<Q", 3)]
    wrapping, data_key = pattern("kek", 32), pattern("data key", 32)
    nonces = [pattern(f"envelope nonce/{i}", 12) for i in range(2)]
    value = pattern("value", 50)
    wrapped = nonces[0] + gcm(wrapping, nonces[0], [b"data key", *place], data_key)
    sealed_value = nonces[1] + gcm(data_key, nonces[1], [b"value", *place], value)
    yield {"key_encryption_key": wrapping.hex(), "tenant": "tenant 1", "table": "models", "row": "row 7",
           "column": "bytes", "version": 3, "value": value.hex(), "wrapped": wrapped.hex(), "sealed": sealed_value.hex(),
           "randomness": (data_key + nonces[0] + nonces[1]).hex()}


# --- Masks ----------------------------------------------------------------------------------


def keystream(key, block, length):
    counter = block.to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(length))


def add(words, stream, width, sign):
    out = b""
    for i in range(0, len(words), width):
        a, b = (int.from_bytes(x[i : i + width], "little") for x in (words, stream))
        out += ((a + sign * b) % (1 << 8 * width)).to_bytes(width, "little")
    return out


def mask():
    offsets = [0, 16, 4096, ((1 << 32) - 2) * 16, (1 << 64) - 16]
    for width in (2, 4, 8):
        for offset in offsets:
            words = pattern(f"words/{width}", 72)
            keys = [(pattern(f"mask/{offset}/{i}", 32), sign) for i, sign in enumerate((1, -1, 1))]
            masked = words
            for key, sign in keys:
                masked = add(masked, keystream(key, offset // 16, len(words)), width, sign)
            yield {"ring_bytes": width, "offset": str(offset), "words": words.hex(),
                   "keys": [{"seed": k.hex(), "sign": s} for k, s in keys], "masked": masked.hex()}


# --- Shamir over GF(2^16) modulo x^16 + x^12 + x^3 + x + 1 ----------------------------------

EXPONENT = [1]
for _ in range(65534):
    a = EXPONENT[-1] << 1
    EXPONENT.append(a ^ 0x1100B if a >> 16 else a)
LOGARITHM = {a: i for i, a in enumerate(EXPONENT)}
assert len(LOGARITHM) == 65535, "x generates the field"


def times(a, b):
    return EXPONENT[(LOGARITHM[a] + LOGARITHM[b]) % 65535] if a and b else 0


def elements(row):
    return struct.unpack("<16H", row)


def share(secret, coefficients, x):
    out = []
    for i in range(16):
        value, power = elements(secret)[i], 1
        for row in coefficients:
            power = times(power, x)
            value ^= times(elements(row)[i], power)
        out.append(value)
    return struct.pack("<16H", *out)


def shamir():
    for needed, shares in [(2, 2), (3, 5), (7, 10), (2, 300)]:
        secret = pattern(f"secret/{needed}", 32)
        coefficients = [pattern(f"coefficient/{needed}/{i}", 32) for i in range(1, needed)]
        points = range(1, shares + 1) if shares < 20 else [1, 255, 256, 257, 300]
        # Random bytes are drawn for the highest coefficient first.
        yield {"needed": needed, "shares": shares, "secret": secret.hex(),
               "randomness": b"".join(reversed(coefficients)).hex(),
               "points": [{"index": x, "value": share(secret, coefficients, x).hex()} for x in points]}


def products():
    yield {"products": [[a, b, times(a, b)] for i in range(200)
                        for a, b in [struct.unpack("<2H", pattern(f"product/{i}", 4))]]}


# --- Quantiser ------------------------------------------------------------------------------


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def quantize():
    values = [0.0, -0.0, 0.3, -0.3, 1.0, -1.0, 0.25, 1e-9, 1e30, -1e30, 0.7071, -0.1234]
    values += [struct.unpack("<i", pattern(f"value/{i}", 4))[0] / 2**31 for i in range(20)]
    for bits, clip, contributors, weight_max, weight in [
        (16, 1.0, 10, 1, 1), (16, 0.5, 3, 7, 5), (32, 1.0, 10, 1, 1), (32, 2.5, 100, 1000, 999),
        (64, 1.0, 10, 60000, 60000), (16, 1.0, 1, 1, 1), (16, 1.0, 32767, 1, 1),
    ]:
        clip = single(clip)
        levels = min((2**bits - 1) // (2 * contributors * weight_max), 2**31 - 1)
        assert 2 * contributors * levels * weight_max + 1 <= 2**bits
        step = clip / levels
        xs = [single(x) for x in values]
        xs += [single((k + 0.5) * step) for k in (0, 1, 2, -1, -2)]
        q = [round(min(max(x, -clip), clip) / step) for x in xs]
        out = b"".join((weight * v % 2**bits).to_bytes(bits // 8, "little") for v in q)
        yield {"ring_bytes": bits // 8, "clip": clip, "contributors_max": contributors,
               "weight_max": weight_max, "weight": weight, "levels": levels,
               "values": [struct.pack("<f", x).hex() for x in xs], "words": out.hex(),
               "mean": [struct.pack("<f", v * weight / weight * step).hex() for v in q]}


# --- Sparse graphs, SecAgg+ (Bell et al. 2020) ----------------------------------------------


def graph():
    """A circle in an order by Fisher and Yates; neighbours are the k / 2 next on either side."""
    for seed, clients, degree in [(pattern("graph/a", 32), 9, 4), (pattern("graph/b", 32), 65, 6),
                                  (bytes(32), 3, 2), (bytes(32), 20, 18)]:
        words, block = [], 0
        order = list(range(clients))
        for last in range(clients - 1, 0, -1):
            while True:
                if not words:
                    words = list(struct.unpack("<8I", digest_of("roundelay/graph", [seed, struct.pack("<I", block)])))
                    block += 1
                word = words.pop(0)
                if word < 2**32 // (last + 1) * (last + 1):
                    break
            chosen = word % (last + 1)
            order[last], order[chosen] = order[chosen], order[last]
        neighbours = [[]] * clients
        for place, client in enumerate(order):
            steps = [s for s in range(-degree // 2, degree // 2 + 1) if s]
            neighbours[client] = sorted(order[(place + s) % clients] for s in steps)
        yield {"seed": seed.hex(), "clients": clients, "degree": degree, "neighbours": neighbours}


def tail(population, marked, draws, at_least):
    """P[Hyp >= at_least] as a numerator over C(population, draws)."""
    return sum(math.comb(marked, i) * math.comb(population - marked, draws - i)
               for i in range(at_least, min(draws, marked) + 1))


def exceeded_rarely(n, marked, k, bits):
    """The least x with n P[Hyp(n - 1, marked, k) > x] <= 2^-bits."""
    whole, x = math.comb(n - 1, k), k
    while n * tail(n - 1, marked, k, x) << bits <= whole:
        x -= 1
    return x


def parameters():
    """The least even degree, by exact integers; no degree at all is `degree` 0."""
    for n, corrupt, permille in [(513, 25, 50), (513, 128, 100), (600, 0, 100), (600, 60, 0), (777, 77, 133),
                                 (1000, 100, 100), (1000, 249, 100), (1000, 50, 50), (1000, 300, 100),
                                 (1000, 500, 250), (2500, 250, 200), (10000, 1000, 100), (10000, 500, 50)]:
        dropped = -(-n * permille // 1000)
        case = {"clients": n, "corrupt": corrupt, "dropout_per_mille": permille, "degree": 0}
        for k in range(2, min(n, 1025), 2) if corrupt + 2 * dropped < n else []:
            if n * (corrupt + dropped) ** (k // 2) << 40 > n ** (k // 2):
                continue
            c = exceeded_rarely(n, corrupt, k, 40)
            t = (k + c) // 2 + 1
            if t <= k and n * tail(n - 1, dropped, k, k - t + 1) << 20 <= math.comb(n - 1, k):
                case |= {"degree": k, "threshold": t, "corrupt_neighbours": c, "quorum": (n + corrupt) // 2 + 1}
                break
        yield case


def main():
    check_blake3()
    for make in (kdf, digest, tree, chunks, agreement, sealed, envelope, mask, shamir, products, quantize, graph, parameters):
        text = json.dumps({"source": "generate.py", "cases": list(make())}, indent=1)
        (HERE / "frozen" / f"{make.__name__}.json").write_text(text + "\n")


main()
