"""cuse-scullv seek-copy: what dd's skip= and seek= cannot do on a CUSE node.

The kernel answers lseek on the node with 0 and does nothing, so dd copies from and to the wrong
place and says that all went well. Here a node is sought by the SEEK ioctl. Numbers mean what they
mean to dd: counts of blocks.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import click

from cuse_scullv import client
from cuse_scullv.cli._types import Served, Size
from cuse_scullv.transfer import write_all

STDIN, STDOUT = 0, 1
BLOCK_MAX = 1 << 30


class Blocks(Size):
    """A number of blocks."""

    name = "blocks"


@click.command("seek-copy")
@click.option("--if", "source", metavar="FILE", help="Read from FILE instead of standard input.")
@click.option("--of", "target", metavar="FILE", help="Write to FILE instead of standard output.")
@click.option("--bs", type=Size(least=1), default="512", help="Bytes of a block; 512 unless given.")
@click.option("--count", type=Blocks(), help="Copy so many blocks; all there are unless given.")
@click.option("--skip", type=Blocks(), default="0", help="Skip so many blocks of what is read.")
@click.option("--seek", type=Blocks(), help="Skip so many blocks of what is written.")
@click.option("--notrunc", is_flag=True, help="Do not cut a regular output file at the seek.")
@click.argument("device", type=Served(), required=False)
@click.pass_context
def command(
    context: click.Context,
    source: str | None,
    target: str | None,
    bs: int,
    count: int | None,
    skip: int,
    seek: int | None,
    notrunc: bool,
    device: str | None,
) -> None:
    """Copy blocks as dd does, from and to any place of a node.

    DEVICE is what --if or --of does not name: it is read with --of, written with --if; with
    neither, it is written from standard input if --seek is given, else read to standard output.
    A node that is written is not trimmed.
    """
    if device is not None and source is not None and target is not None:
        raise click.UsageError("--if and --of leave nothing for DEVICE: leave out one", context)
    if device is not None:
        if source is not None or (target is None and seek is not None):
            target = device
        else:
            source = device
    if bs > BLOCK_MAX:
        raise click.UsageError(f"--bs {bs} is too large: type at most 1G", context)
    if max(skip, seek or 0) * bs >= 1 << 63:
        raise click.UsageError("a place past 2^63-1: type a smaller --skip or --seek", context)
    with _source(source) as reader, _target(target) as writer:
        _skip(reader, skip * bs, bs)
        _seek(writer, (seek or 0) * bs, cut=target is not None and not notrunc)
        copied = copy(reader, writer, bs, count)
    click.echo(f"{copied} bytes copied", err=True)


def copy(reader: io.RawIOBase, writer: io.RawIOBase, bs: int, count: int | None) -> int:
    """Copies `count` blocks of `bs` bytes, or all there are. The bytes copied."""
    copied = 0
    block = memoryview(bytearray(bs))
    while count is None or count > 0:
        filled = _fill(reader, block)
        copied += write_all(writer, block[:filled])
        if filled < bs:
            break
        count = None if count is None else count - 1
    return copied


def _fill(reader: io.RawIOBase, block: memoryview) -> int:
    """Reads until the block is full or the data ends: pipes, and a device by the book's rules,
    read short."""
    filled = 0
    while filled < len(block):
        got = reader.readinto(block[filled:])
        if not got:
            break
        filled += got
    return filled


def _source(path: str | None) -> client.Scullv:
    """The input: also standard input may be a node, so it gets the same treatment."""
    if path is None:
        return client.Scullv(os.dup(STDIN), "standard input")
    return client.open(path)


def _target(path: str | None) -> client.Scullv:
    """The output. A node is opened for reading too: opening it for writing alone trims it."""
    if path is None:
        return client.Scullv(os.dup(STDOUT), "standard output")
    flags = os.O_RDWR if Path(path).is_char_device() else os.O_WRONLY | os.O_CREAT
    return client.Scullv(os.open(path, flags | os.O_CLOEXEC, 0o666), path)


def _skip(reader: client.Scullv, offset: int, bs: int) -> None:
    """Moves what is read on by `offset` bytes, by reading them where it cannot seek."""
    try:
        _move(reader, offset)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
        block = memoryview(bytearray(bs))
        while offset and (got := _fill(reader, block[: min(bs, offset)])):
            offset -= got


def _seek(writer: client.Scullv, offset: int, cut: bool) -> None:
    """Moves what is written on by `offset` bytes, and cuts a regular file there, as dd does."""
    _move(writer, offset)
    if cut and stat.S_ISREG(os.fstat(writer.fileno()).st_mode):
        os.ftruncate(writer.fileno(), offset)


def _move(file: client.Scullv, offset: int) -> None:
    """Moves the position on. OSError ESPIPE where there is none."""
    if offset == 0:
        return
    try:
        file.seek(offset, os.SEEK_CUR)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        # A character device, but not one of ours. Some do have lseek; some only say so.
        if os.lseek(file.fileno(), offset, os.SEEK_CUR) < offset:
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE), file.name) from None
