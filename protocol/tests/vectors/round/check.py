#!/usr/bin/env python3
"""Recomputes a whole frozen round independently: from the seeds that the clients drew to every
signed message, box, masked vector and revealed share, the unmasked sum and the transcript.

    python3 -m venv venv && venv/bin/pip install cryptography==48.0.0 kyber-py==1.2.0
    venv/bin/python check.py

Primitives come from the generator of the crypto vectors (OpenSSL, kyber-py, and what it writes out
itself); the protocol is written out below from its description."""
import importlib.util
import json
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = pathlib.Path(__file__).parent
PRIMITIVES = HERE.parents[3] / "crypto/tests/vectors/generate.py"
spec = importlib.util.spec_from_file_location("primitives", PRIMITIVES)
p = importlib.util.module_from_spec(spec)
spec.loader.exec_module(p)

TRAIN = struct.pack("<I", 1)


# --- Canonical encoding: fixed-width little-endian integers, lengths as u64 -------------------


def u16(x):
    return struct.pack("<H", x)


def u64(x):
    return struct.pack("<Q", x)


def text(x):
    return u64(len(x)) + x.encode()


def items(parts):
    return u64(len(parts)) + b"".join(parts)


def derive(key, label, context, length=32):
    return p.hkdf(key, p.prefixed(label, context), length)


class Stream:
    """HKDF in counter mode: every draw of up to 64 bytes takes the start of a block of its own."""

    def __init__(self, seed):
        self.seed, self.block = seed, 0

    def draw(self):
        block = derive(self.seed, "roundelay/randomness", [u64(self.block)], 64)
        self.block += 1
        return block[:32]


class Client:
    """What a client holds before the first message."""

    def __init__(self, frozen):
        self.frozen = frozen
        self.sent = {name: value for name, value in frozen["sent"].items()}
        self.identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(frozen["identity"]))
        public = self.identity.public_key().public_bytes_raw()
        self.id = p.digest_of("roundelay/identity/fingerprint", [public])
        stream = Stream(bytes.fromhex(frozen["randomness"]))
        self.key, self.self_mask, boxes, noise = (stream.draw() for _ in range(4))
        self.noise = Stream(noise)
        self.masks = p.Agreement(self.key, "roundelay/round/mask")
        self.boxes = p.Agreement(boxes, "roundelay/round/box")

    def agrees(self, name, value):
        assert self.sent[name] == value.hex(), name

    def sign(self, round, kind, body):
        message = text("roundelay/1 round signature") + text(kind) + round.scope + body
        return self.identity.sign(message)


class Round:
    def __init__(self, frozen):
        self.frozen = frozen
        hexed = lambda name: bytes.fromhex(frozen[name])
        self.clients = [Client(client) for client in frozen["clients"]]
        assert [c.id for c in self.clients] == sorted(c.id for c in self.clients)
        self.threshold, self.dropout = frozen["threshold"], frozen["dropout"]
        self.scope = hexed("federation") + u64(frozen["round"]) + hexed("manifest")
        cohort = items([c.id for c in self.clients])
        self.cohort = p.digest_of("roundelay/transcript/cohort", [cohort])
        # Degree, threshold, quorum.
        limits = u16(len(self.clients) - 1) + u16(self.threshold) + u16(self.threshold)
        self.plan = p.digest_of("roundelay/transcript/plan", [self.scope + cohort + limits])

    def advertise(self):
        leaves = b""
        for index, c in enumerate(self.clients):
            commitment = p.digest_of(
                "roundelay/round/self-mask-commitment", [self.scope, c.id, c.self_mask])
            body = [c.masks.public, c.boxes.public, commitment, bytes(32)]
            # No commitment to a nonce: the graph is complete.
            signature = c.sign(self, "advert", self.plan + b"".join(body) + b"\0")
            c.agrees("advert", b"".join(body) + b"\0" + signature)
            leaves += p.digest_of(
                "roundelay/transcript/advert", [u16(index), *body, b"", signature])
        self.adverts = p.digest_of("roundelay/transcript/adverts", [self.plan, leaves])

    def split(self, c):
        """Shares of k and b for every index; coefficients are drawn from the highest down."""
        shares = []
        for secret in (c.key, c.self_mask):
            coefficients = [c.noise.draw() for _ in range(self.threshold - 1)][::-1]
            shares.append([p.share(secret, coefficients, i + 1) for i in range(len(self.clients))])
        return list(zip(*shares))

    def share(self):
        self.shares, self.leaves, self.secrets = [], {}, {}
        roots = b""
        for u, c in enumerate(self.clients):
            self.shares.append(self.split(c))
            leaves, digests = [], []
            for v, peer in enumerate(self.clients):
                if v == u:
                    continue
                mask = self.encapsulate_mask(u, v) if u < v else None
                kem, ciphertext = p.ML_KEM_768._encaps_internal(peer.boxes.ek, c.noise.draw())
                place = self.scope + self.adverts + u16(u) + c.id + u16(v) + peer.id
                secret = c.boxes.shared(peer.boxes.public) + kem
                key = derive(secret, "roundelay/round/box-key", [place])
                sealed = p.gcm(key, bytes(12), [place], b"".join(self.shares[u][v]))
                option = b"\1" + mask if mask else b"\0"
                names = ["key", "self-mask"]
                commitments = [
                    p.digest_of(f"roundelay/round/{name}-share-commitment", [place, share])
                    for name, share in zip(names, self.shares[u][v])]
                # Nobody has signed a set with anybody before.
                tail = [*commitments, u64(0)]
                box = items([sealed[i : i + 1] for i in range(len(sealed))])
                leaves.append(u16(v) + option + ciphertext + box + b"".join(tail))
                self.leaves[u, v] = p.digest_of(
                    "roundelay/transcript/share-leaf",
                    [u16(u), u16(v), mask or b"", ciphertext, sealed, *tail])
                digests.append(self.leaves[u, v])
            root = p.tree_root(digests)
            signature = c.sign(self, "shares", self.adverts + root)
            c.agrees("shares", p.digest_of("frozen/shares", [root + signature + items(leaves)]))
            roots += u16(u) + root
        self.share_root = p.digest_of("roundelay/transcript/shares", [self.adverts, roots])
        for c in self.clients:
            c.agrees("opened", c.sign(self, "opened", self.share_root))

    def encapsulate_mask(self, u, v):
        """The message is derived from k_u for this neighbour, so whoever rebuilds k_u has it."""
        low, high = self.clients[u], self.clients[v]
        message = derive(low.key, "roundelay/round/encapsulation", [high.id])
        kem, ciphertext = p.ML_KEM_768._encaps_internal(high.masks.ek, message)
        assert p.ML_KEM_768._decaps_internal(high.masks.dk, ciphertext) == kem
        self.secrets[u, v] = low.masks.shared(high.masks.public) + kem
        return ciphertext

    def context_of_training(self):
        plan = self.frozen["plan"]
        hexed = lambda name: bytes.fromhex(plan[name])
        config = p.digest_of(
            "roundelay/transcript/config", [hexed("hyperparameters") + hexed("layout")])
        everyone = [u16(i) for i in range(len(self.clients))]
        indices = lambda which: p.digest_of("roundelay/transcript/indices", [items(which)])
        self.active = plan["active"]
        self.context = b"".join([
            self.share_root, hexed("previous_transcript"), TRAIN, u64(plan["model_version"]),
            hexed("model"), config, self.cohort, indices(everyone),
            indices([u16(i) for i in self.active])])

    def mask_seeds(self, u):
        """The self mask of a client, and its pairwise masks with the signs that it gives them."""
        bound = self.scope + self.context
        own = derive(self.clients[u].self_mask, "roundelay/round/self-mask", [bound, u16(u)])
        yield own, 1
        for v in self.active:
            if v == u:
                continue
            low, high = min(u, v), max(u, v)
            edge = u16(low) + u16(high) + self.leaves[low, high] + self.leaves[high, low]
            seed = derive(self.secrets[low, high], "roundelay/round/pair-mask", [bound, edge])
            yield seed, 1 if u < v else -1

    def chunks(self, vector):
        for chunk in self.frozen["plan"]["chunks"]:
            yield chunk, vector[chunk["offset"] : chunk["offset"] + chunk["bytes"]]

    def add_keystream(self, vector, seed, sign):
        out = b""
        for chunk, words in self.chunks(vector):
            stream = p.keystream(seed, chunk["offset"] // 16, chunk["bytes"])
            out += p.add(words, stream, chunk["bits"] // 8, sign)
        return out

    def upload(self):
        self.survivors, inputs = [], b""
        for u, c in enumerate(self.clients):
            if u == self.dropout:
                continue
            vector = bytes.fromhex(c.frozen["contribution"])
            for seed, sign in self.mask_seeds(u):
                vector = self.add_keystream(vector, seed, sign)
            assert vector.hex() == c.frozen["masked"], u
            chunks = [p.digest_of("roundelay/chunk", [words]) for _, words in self.chunks(vector)]
            root = p.tree_root(chunks)
            c.agrees("commit", root + c.sign(self, "input", self.context + root))
            self.survivors.append(u)
            inputs += u16(u) + root
        context_root = p.digest_of("roundelay/transcript/training", [self.context])
        set_bytes = u64(len(self.survivors)) + inputs
        self.set = p.digest_of("roundelay/transcript/survivors", [context_root, set_bytes])

    def check(self):
        signatures = []
        for u in self.survivors:
            c = self.clients[u]
            signature = c.sign(self, "survivors", self.context + self.set)
            c.agrees("signature", signature)
            signatures.append(u16(u) + signature)
        quorum = items(signatures)
        assert quorum.hex() == self.frozen["quorum"]
        self.quorum = p.digest_of("roundelay/transcript/quorum", [self.set, quorum])

    def reveal(self):
        for v in self.survivors:
            keys = [self.shares[u][v][0] for u in self.active if u not in self.survivors]
            self_masks = [self.shares[u][v][1] for u in self.survivors]
            own = b"\1" + self.clients[v].self_mask
            self.clients[v].agrees("reveal", own + items(self_masks) + items(keys))

    def publish(self):
        """The sum of what was uploaded, less the masks that the revealed seeds give."""
        vectors = [bytes.fromhex(self.clients[u].frozen["masked"]) for u in self.survivors]
        total = vectors[0]
        for vector in vectors[1:]:
            total = b"".join(
                p.add(words, other, chunk["bits"] // 8, 1)
                for (chunk, words), (_, other) in zip(self.chunks(total), self.chunks(vector)))
        for u in self.survivors:
            seed, _ = next(self.mask_seeds(u))
            total = self.add_keystream(total, seed, -1)
        others = [v for v in self.active if v != self.dropout]
        for v, (seed, sign) in zip(others, list(self.mask_seeds(self.dropout))[1:]):
            total = self.add_keystream(total, seed, sign)
        assert total.hex() == self.frozen["aggregate"]
        aggregate = p.digest_of("roundelay/transcript/aggregate", [total])
        plan, state = self.frozen["plan"], bytes.fromhex(self.frozen["state"])
        result = TRAIN + u64(plan["model_version"]) + u16(len(self.survivors)) + aggregate + state
        transcript = p.digest_of("roundelay/transcript/round", [self.quorum, result])
        assert transcript.hex() == self.frozen["transcript"]


def main():
    p.check_blake3()
    path = HERE / "round.json"
    round = Round(json.loads(path.read_text()))
    round.advertise()
    round.share()
    round.context_of_training()
    round.upload()
    round.check()
    round.reveal()
    round.publish()
    print(path.name, "agrees")


if __name__ == "__main__":
    main()
