"""A case, which is what is measured, and a sample, which is what came of it once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Unit = Literal["B/s", "1/s", "s", "B/B", "%"]
LESS_IS_BETTER: frozenset[Unit] = frozenset({"s", "B/B", "%"})

FRESH, OVERWRITE, READ = "fresh write", "overwrite", "read"
FAULT = "page fault"
"""Of a shared mapping: a load and a store to a page that the file has."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, whoever is measured by it."""

    figure: str
    """What a client does, in a word or two."""
    block: int = 0
    """Bytes of one system call; 0 where that says nothing."""
    clients: int = 1
    """Processes that do it at once."""
    layout: Literal["one", "each"] = "one"
    """All clients on one device (each in its own part of it), or a device each."""
    beside: Literal["", "hogs"] = ""
    """What else runs: a busy loop on every CPU."""
    unit: Unit = "B/s"

    @property
    def block_text(self) -> str:
        """The block size as dd takes it: 512, 4K, 1M."""
        for shift, letter in ((20, "M"), (10, "K")):
            if self.block and self.block % (1 << shift) == 0:
                return f"{self.block >> shift}{letter}"
        return str(self.block) if self.block else ""

    @property
    def clients_text(self) -> str:
        """How many clients, and what is special about them: own, a device each."""
        return f"{self.clients}{self._special}"

    @property
    def _special(self) -> str:
        own = ", own" if self.layout == "each" else ""
        return f"{own}, {self.beside}" if self.beside else own

    def describe(self) -> str:
        """The case on one line."""
        plural = "" if self.clients == 1 else "s"
        words = (self.figure, self.block_text, f"{self.clients} client{plural}{self._special}")
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `value` is in the case's unit; clients are summed."""

    suite: str
    server: str
    case: Case
    round: int
    value: float

    def as_dict(self) -> dict[str, Any]:
        """The sample as one flat object of the JSON report."""
        return {
            "suite": self.suite,
            "server": self.server,
            **asdict(self.case),
            "round": self.round,
            "value": self.value,
        }
