"""Nodes: several devices' channels and nodes, held for workers that serve them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from .device import Device
from .host import open_cuse
from .node import Node


class Nodes:
    """Context manager: from entry to exit the channels are open. With its last descriptor the
    kernel takes a node away."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.held: list[tuple[Device, int]] = []
        """Devices with their channels, in order."""
        self._nodes = [Node(device) for device in devices]

    @classmethod
    def opened(cls, devices: Sequence[Device]) -> Nodes:
        """New ones. Raises DeviceError: no CUSE here, a name is taken."""
        nodes = cls(devices)
        try:
            for device, node in zip(devices, nodes._nodes, strict=True):
                node.check_free()
                nodes.held.append((device, open_cuse()))
        except BaseException:
            nodes.close()
            raise
        return nodes

    @classmethod
    def adopted(
        cls, devices: Sequence[Device], descriptors: Sequence[int], made: Sequence[bool]
    ) -> Nodes:
        """Those that a keeper before has left, with what it said of `made`."""
        nodes = cls(devices)
        nodes.held = list(zip(devices, descriptors, strict=True))
        for node, is_made in zip(nodes._nodes, made, strict=True):
            node.adopt(is_made)
        return nodes

    @classmethod
    def none(cls, devices: Sequence[Device], descriptors: Sequence[int]) -> Nodes:
        """Channels that make no node: SEQPACKET sockets, as of Channel."""
        nodes = cls([])
        nodes.held = list(zip(devices, descriptors, strict=True))
        return nodes

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    @property
    def paths(self) -> list[Path]:
        return [node.path for node in self._nodes]

    @property
    def descriptors(self) -> list[int]:
        """Of the channels."""
        return [fd for _, fd in self.held]

    @property
    def made(self) -> list[bool]:
        """Whether we made the node, for `adopted`."""
        return [node.is_made for node in self._nodes]

    def appear(self, seconds: float) -> None:
        """Once a worker answers: waits until they are there. Raises DeviceError."""
        deadline = time.monotonic() + seconds
        for node in self._nodes:
            node.appear(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        """The last one first."""
        while self.held:
            _, fd = self.held.pop()
            os.close(fd)
            if self._nodes:
                self._nodes.pop().remove()
