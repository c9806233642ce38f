"""How far a run is: a progress bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

LINES = 10  # of a run whose progress goes to a file, or out of a guest


class Meter:
    """Context manager; `total` steps make a run."""

    def __init__(self, total: int, console: Console) -> None:
        self._total = max(total, 1)
        self._console = console
        self._done = 0
        self._line = -1
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn(
                "{task.description}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=self._total)

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def doing(self, description: str) -> None:
        """Shows what is being done now."""
        self._bar.update(self._task, description=description)
        line = self._done * LINES // self._total
        if not self._console.is_terminal and line > self._line:
            self._line = line
            seconds = time.monotonic() - self._began
            done = f"{self._done} of {self._total} after {seconds:.0f} s"
            text = f"cuse-scullv bench: {done}: {description}"
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def did(self) -> None:
        """A step is done."""
        self._done += 1
        self._bar.update(self._task, advance=1)
