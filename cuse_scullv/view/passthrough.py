"""Passthrough: the kernel does the I/O of a view's files by itself (Linux 6.9,
Documentation/filesystems/fuse/fuse-passthrough.rst)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from cuse_scullv._native import lib
from cuse_scullv.backing import FILE, MEMFD
from cuse_scullv.capability import no_passthrough
from cuse_scullv.device import ScullDevice


def hand_over(fd: int, files: list[int]) -> list[int]:
    """Has the kernel do the I/O of `files`, of the view whose requests come by `fd`: its numbers
    for them; -errno: it does not."""
    return [lib.fileview_hand_over(fd, file) for file in files]


def is_passed(numbers: Sequence[int]) -> bool:
    """Whether the kernel does the I/O of the files, by hand_over(). Empty: it was not asked."""
    return bool(numbers) and min(numbers) > 0


def why_no_passthrough(devices: Sequence[ScullDevice], is_admin: bool, error: int) -> str:
    """In words, with what to type. `error`: errno of the kernel's refusal; 0: it was not asked."""
    ground = devices[0].shared.ground
    if ground.backing.kind not in (MEMFD, FILE):
        return "the devices are no files: type --backing memfd, or --backing FILE"
    if ground.backing.kind == FILE and ground.limit:
        return "the kernel would not keep --max-bytes: leave it out, or type --view direct"
    return (
        no_passthrough(is_admin)
        or _REFUSED.get(error)
        or "this kernel has none (FUSE_PASSTHROUGH): type --view direct"
    )


# Of fs/fuse/passthrough.c: fuse_backing_open
_REFUSED = {
    errno.ELOOP: "the file is on a file system that is stacked on others, as overlayfs is: put it"
    " on another, or type --view direct",
    errno.EPERM: "passthrough takes CAP_SYS_ADMIN in the first user namespace: serve outside of"
    " this one, or type --view direct",
}
