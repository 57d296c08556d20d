"""How files are damaged and mutated, seeded; without the libraries that write good ones."""

from __future__ import annotations

import io
import random
import zipfile


def damaged(data: bytes, dice: random.Random) -> bytes:
    """One to four bytes anywhere become others."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(len(changed))] ^= dice.randint(1, 255)
    return bytes(changed)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Bytes changed, cut out, doubled or moved; now and then the end is missing."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(8):
            case 0 | 1 | 2:
                changed[at : at + 1] = bytes([dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))])
            case 3:
                changed[at : at + 4] = dice.randbytes(4)
            case 4:
                del changed[at : at + dice.randint(1, 9)]
            case 5:
                changed[at:at] = changed[at : at + dice.randint(1, 30)]
            case 6:
                source = dice.randrange(len(changed) + 1)
                changed[at : at + 8] = changed[source : source + 8]
            case 7 if dice.randrange(4) == 0:
                del changed[at:]
    return bytes(changed)


def mutated_inside(data: bytes, dice: random.Random) -> bytes:
    """A zip with a member mutated and its checksum right, so that what is behind it is reached. Or plain `mutated`."""
    if not data.startswith(b"PK") or dice.randrange(4) == 0:
        return mutated(data, dice)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        members = old.infolist()
        chosen = dice.choice([entry for entry in members if entry.file_size > 1])
        for entry in members:
            content = old.read(entry)
            new.writestr(entry, mutated(content, dice) if entry is chosen else content)
    return stream.getvalue()
