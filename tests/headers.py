"""What the kernel's headers say, compared by a C compiler with what is written in Python."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

WIDTHS = ("-m64", "-m32")


def check(headers: Sequence[str], values: Mapping[str, int], width: str = "-m64") -> None:
    """Asserts that each C expression of `values` has its value, for programs of that width. One
    that begins with #NAME is left out where the header has no such macro yet."""
    lines = ["#include <stddef.h>", *(f"#include <{header}>" for header in headers)]
    for expression, value in values.items():
        text = f'_Static_assert(({expression}) == {value:#x}u, "not {value:#x}: {expression}");'
        if expression.startswith("#"):
            name = expression[1:]
            text = f"#ifdef {name}\n{text.replace(expression, name)}\n#endif"
        lines.append(text)
    done = subprocess.run(
        ["gcc", width, "-std=gnu11", "-fsyntax-only", "-x", "c", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
