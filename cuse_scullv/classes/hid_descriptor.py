"""The report descriptor of a HID device: which reports it numbers (HID 1.11, 6.2.2)."""

from __future__ import annotations

DESCRIPTOR_MAX = 4096  # HID_MAX_DESCRIPTOR_SIZE of linux/hidraw.h
_LONG_ITEM, _REPORT_ID = 0xFE, 0x84  # the latter without its size


def report_ids(descriptor: bytes) -> frozenset[int]:
    """The numbers of the reports; none where they are not numbered.

    ValueError, with what is wrong, for a descriptor that is empty, too long, or ends in an item."""
    if not 1 <= len(descriptor) <= DESCRIPTOR_MAX:
        raise ValueError(f"it has {len(descriptor)} bytes, not 1 to {DESCRIPTOR_MAX}")
    ids, at = set(), 0
    while at < len(descriptor):
        tag = descriptor[at]
        start = at + (3 if tag == _LONG_ITEM else 1)
        size = (0, 1, 2, 4)[tag & 3]
        if tag == _LONG_ITEM and start <= len(descriptor):
            size = descriptor[at + 1]
        if start + size > len(descriptor):
            raise ValueError(f"it ends in the item that begins at byte {at}")
        if tag & ~3 == _REPORT_ID:
            ids.add(int.from_bytes(descriptor[start : start + size], "little"))
        at = start + size
    return frozenset(ids)
