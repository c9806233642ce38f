"""Words of SPI transfers: what lies in a client's buffer, and what a device gets and gives.

A word of up to 8 bits takes a byte of the buffer, of up to 16 bits two, of up to 32 four, in the
machine's order (linux/spi/spi.h: struct spi_transfer)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TypeAlias

Words: TypeAlias = "bytes | Sequence[int]"
"""bytes where no word has more than 8 bits, else ints."""

_CODE = {1: "B", 2: "H", 4: "I"}  # of array


def word_bytes(bits: int) -> int:
    """Bytes that a word of `bits` takes."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def unpack(data: bytes, bits: int) -> Words:
    """The words in a buffer whose length is a multiple of theirs."""
    if bits == 8:
        return data
    mask = (1 << bits) - 1
    words = [word & mask for word in array(_CODE[word_bytes(bits)], data)]
    return bytes(words) if bits < 8 else words


def pack(words: Words, bits: int) -> bytes:
    """The other way round. ValueError for a word that is not one of `bits` bits."""
    if isinstance(words, bytes) and bits == 8:
        return words
    if any(not isinstance(word, int) or not 0 <= word < 1 << bits for word in words):
        raise ValueError(f"transfer() gave what are no words of {bits} bits")
    return array(_CODE[word_bytes(bits)], words).tobytes()


def join(parts: Sequence[Words]) -> Words:
    """Words of several transfers, one after the other."""
    if all(isinstance(part, bytes) for part in parts):
        return b"".join(part for part in parts if isinstance(part, bytes))
    return tuple(word for part in parts for word in part)
