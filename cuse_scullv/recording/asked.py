"""What an ioctl asks, fetched from the client's memory: for the proxy and the replay alike."""

from __future__ import annotations

from cuse_scullv.cuse import IoctlRequest

from .arguments import Argument
from .requests import Ioctl


def asked_by(request: IoctlRequest, argument: Argument) -> Ioctl:
    """With room reserved for what it gives. As IoctlRequest.fetch, this may end the method."""
    taken, *_ = request.exchange([(request.arg, argument.takes)], [(request.arg, argument.gives)])
    if argument.takes:
        return Ioctl(request.cmd, taken)
    return Ioctl(request.cmd, request.arg if argument.is_value else None)
