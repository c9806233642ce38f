"""What the kernel's headers say, by a small C program: numbers, sizes, offsets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

WIDTHS = ["-m64", "-m32"]


def evaluate(headers: str, expressions: Iterable[str], width: str, folder: Path) -> dict[str, int]:
    """The integer values of C expressions (`WDIOC_GETSUPPORT`, `sizeof(struct rtc_time)`) in a
    program that includes `headers`, with spaces between, for processors of that `width`."""
    listed = list(expressions)
    includes = "".join(f"#include <{header}>\n" for header in headers.split())
    values = ", ".join(f"(unsigned long long)({expression})" for expression in listed)
    source, program = folder / "values.c", folder / "values"
    source.write_text(
        f"#include <stddef.h>\n#include <stdio.h>\n{includes}"
        f"int main(void) {{ unsigned long long all[] = {{ {values} }};\n"
        "for (size_t i = 0; i < sizeof all / sizeof *all; i++) printf(\"%llu\\n\", all[i]);\n"
        "return 0; }\n"
    )  # fmt: skip
    subprocess.run(["gcc", width, "-o", program, source], check=True)
    printed = subprocess.run([program], check=True, capture_output=True).stdout
    return dict(zip(listed, map(int, printed.split()), strict=True))
