"""A second implementation of what checks an audit log, with nothing but Python's standard library.

check_log.py log DIR VKEY               every tile, every entry and the checkpoint of the log in DIR
check_log.py proof FILE VKEY            that an entry is in a log (C2SP tlog-proof, the entry in its extra line)
check_log.py growth FILE OLD VKEY       that a log begins with what the checkpoint OLD stood for

It prints what it found and ends with 0, or ends with an error.
"""

import sys
from base64 import b64decode, b64encode
from hashlib import sha256, sha512
from pathlib import Path


def node(left, right):
    return sha256(b"\x01" + left + right).digest()


def leaf(entry):
    return sha256(b"\x00" + entry).digest()


def root(hashes):
    """RFC 6962, section 2.1."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else sha256(b"").digest()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root(hashes[:k]), root(hashes[k:]))


# Ed25519 (RFC 8032, section 5.1), for checking alone.
P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
L = 2**252 + 27742317777372353535851937790883648493


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(s, p):
    q = (0, 1, 1, 0)
    while s > 0:
        if s & 1:
            q = point_add(q, p)
        p = point_add(p, p)
        s >>= 1
    return q


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - x2) % P == 0 and y < P, "no point of the curve"
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(key, message, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    h = int.from_bytes(sha512(r + key + message).digest(), "little") % L
    left, right = point_mul(s, BASE), point_add(point(r), point_mul(h, point(key)))
    same = (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
    return s < L and len(signature) == 64 and same


def open_note(note, vkey):
    """The text of a signed note, once a signature by vkey has been checked."""
    name, number, material = vkey.split("+", 2)
    kind, key = b64decode(material)[:1], b64decode(material)[1:]
    expected = sha256(name.encode() + b"\n" + kind + key).digest()[:4]
    assert kind == b"\x01" and expected.hex() == number, "no Ed25519 vkey"
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4] == expected:
            assert is_signed(key, text.encode(), signature[4:]), "the signature is wrong"
            return text
    raise AssertionError(f"not signed by {name}")


def open_checkpoint(note, vkey):
    origin, size, tree = open_note(note, vkey).splitlines()
    assert origin == vkey.split("+")[0] and str(int(size)) == size
    return int(size), b64decode(tree, validate=True)


def name_of(index):
    name = f"{index % 1000:03}"
    while index >= 1000:
        index //= 1000
        name = f"x{index % 1000:03}/{name}"
    return name


def tile(directory, kind, index, width):
    partial = "" if width == 256 else f".p/{width}"
    return (Path(directory) / "tile" / kind / (name_of(index) + partial)).read_bytes()


def bundle(data):
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        assert len(data) >= 2 + length, "an entry is cut off"
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


def check_log(directory, vkey):
    size, tree = open_checkpoint((Path(directory) / "checkpoint").read_text(), vkey)
    leaves = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        entries = bundle(tile(directory, "entries", index, width))
        assert len(entries) == width, f"bundle {index} holds {len(entries)} entries, not {width}"
        leaves += map(leaf, entries)
    level, hashes = 0, leaves
    while hashes:
        for index in range((len(hashes) + 255) // 256):
            part = hashes[index * 256 : index * 256 + 256]
            assert tile(directory, str(level), index, len(part)) == b"".join(part), f"tile {level}/{index}"
        full = len(hashes) // 256
        hashes = [root(hashes[i * 256 : i * 256 + 256]) for i in range(full)]
        level += 1
    assert root(leaves) == tree, "the root is another"
    print(f"{size} entries, root {b64encode(tree).decode()}")


def check_proof(text, vkey):
    head, note = text.split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    entry = b64decode(lines[1].removeprefix("extra "), validate=True)
    index = int(lines[2].removeprefix("index "))
    size, tree = open_checkpoint(note, vkey)
    assert index < size
    value, at, last = leaf(entry), index, size - 1
    for line in lines[3:]:
        other = b64decode(line, validate=True)
        if at % 2 or at == last:
            value = node(other, value)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            value = node(value, other)
        at, last = at // 2, last // 2
    assert last == 0 and value == tree, "the proof leads to another root"
    print(f"entry {index} of {size}: {entry.decode()}")


def check_growth(text, old_note, vkey):
    head, note = text.split("\n\n", 1)
    lines = head.split("\n")
    old, old_tree = open_checkpoint(old_note, vkey)
    size, tree = open_checkpoint(note, vkey)
    assert lines[0] == f"old {old}"
    proof = [b64decode(line, validate=True) for line in lines[1:]]
    if old == size:
        assert tree == old_tree and not proof
    elif old == 0:
        assert old_tree == root([]) and not proof
    else:
        # RFC 9162, section 2.1.4.2.
        if old & (old - 1) == 0:
            proof.insert(0, old_tree)
        first = second = proof.pop(0)
        at, last = old - 1, size - 1
        while at % 2:
            at, last = at // 2, last // 2
        for other in proof:
            if at % 2 or at == last:
                first, second = node(other, first), node(other, second)
                while at % 2 == 0 and at:
                    at, last = at // 2, last // 2
            else:
                second = node(second, other)
            at, last = at // 2, last // 2
        assert last == 0 and first == old_tree and second == tree, "the new log does not begin with the old one"
    print(f"{old} entries grew to {size}")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "log":
        check_log(*rest)
    elif what == "proof":
        check_proof(Path(rest[0]).read_text(), rest[1])
    elif what == "growth":
        check_growth(Path(rest[0]).read_text(), Path(rest[1]).read_text(), rest[2])
    else:
        sys.exit(__doc__)
