"""csrc/scullv_ioctl.h, as compilers see it: alone, as C and C++, for 32 and 64 bits."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cuse_scullv import ioctl
from nodes import RealPool
from shell import out

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "scullv_ioctl.h"
CLIENT = ROOT / "tests" / "programs" / "client.c"
STRICT = "-Wall -Wextra -Werror -pedantic"
LANGUAGES = ["-x c -std=c99", "-x c -std=c11", "-x c++ -std=c++98", "-x c++ -std=c++17"]
WIDTHS = ["-m32", "-m64"]
STRUCTS = {
    "scullv_seek": (ioctl.SEEK, ["offset", "whence", "reserved"]),
    "scullv_range": (ioctl.PUNCH, ["offset", "length"]),
    "scullv_info": (ioctl.INFO, [field.name for field in dataclasses.fields(ioctl.Information)]),
    "scullv_statistics": (ioctl.STATISTICS, ["under_way", "placement", "count"]),
    "scullv_text": (ioctl.TEXT, ["offset", "length", "data"]),
}

every_compiler = [
    pytest.param(language, width, id=f"{language.split('=')[-1]}{width}")
    for language in LANGUAGES
    for width in WIDTHS
]


def compile_c(source: Path, output: Path | None, language: str, width: str) -> None:
    """Compiles with every warning an error; only checks the syntax where there is no output."""
    ending = ["-fsyntax-only"] if output is None else ["-o", str(output)]
    options = shlex.split(f"{STRICT} {language} {width}")
    done = subprocess.run(
        ["gcc", *options, f"-I{HEADER.parent}", source, *ending],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def output_of(program: Path) -> dict[str, int]:
    """The NAME VALUE lines that a program prints."""
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize(("language", "width"), every_compiler)
def test_the_header_compiles_alone(language: str, width: str) -> None:
    compile_c(HEADER, None, language, width)


@pytest.mark.parametrize(
    ("language", "width"),
    [("-x c -std=gnu11", "-m64"), ("-x c -std=gnu11", "-m32"), ("-x c++ -std=gnu++17", "-m64")],
)
def test_the_client_that_names_every_command_compiles(
    language: str, width: str, tmp_path: Path
) -> None:
    source = CLIENT.read_text()
    assert [name for name in ioctl.NUMBERS if name not in source] == []
    compile_c(CLIENT, tmp_path / "client", language, width)


@pytest.mark.real
@pytest.mark.parametrize(
    ("language", "width"),
    [
        pytest.param("-x c -std=gnu11", "-m64", id="c"),
        pytest.param("-x c++ -std=gnu++17", "-m64", id="c++"),
        # user-mode-linux runs no 32-bit programs.
        pytest.param("-x c -std=gnu11", "-m32", id="c-32bit", marks=pytest.mark.smp),
    ],
)
def test_the_client_gets_the_results_it_expects(
    language: str, width: str, tmp_path: Path, real_pool: RealPool
) -> None:
    client = str(tmp_path / "client")
    compile_c(CLIENT, Path(client), language, width)
    out(client, str(real_pool.get().path), "scullv", "scull", "extensions")
    out(client, str(real_pool.get(ldd3=True).path), "scullv", "extensions")
    out(client, str(real_pool.get(ldd3=True, preset="scull").path), "scull", "extensions")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_numbers_are_those_of_the_python_side(width: str, tmp_path: Path) -> None:
    prints = "\n".join(f'printf("{name} %lu\\n", (unsigned long){name});' for name in ioctl.NUMBERS)
    source = tmp_path / "numbers.c"
    source.write_text(
        f'#include <stdio.h>\n#include "scullv_ioctl.h"\nint main(void) {{ {prints} return 0; }}\n'
    )
    compile_c(source, tmp_path / "numbers", "-x c", width)
    assert output_of(tmp_path / "numbers") == ioctl.NUMBERS


@pytest.mark.parametrize("width", WIDTHS)
def test_structures_have_one_layout_and_no_padding(width: str, tmp_path: Path) -> None:
    prints = []
    for struct, (_, fields) in STRUCTS.items():
        prints.append(f'printf("{struct} %zu\\n", sizeof(struct {struct}));')
        for field in fields:
            where = f"offsetof(struct {struct}, {field})"
            prints.append(f'printf("{struct}.{field} %zu\\n", {where});')
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "scullv_ioctl.h"\n'
        f"int main(void) {{ {' '.join(prints)} return 0; }}\n"
    )
    compile_c(source, tmp_path / "layout", "-x c", width)
    layout = output_of(tmp_path / "layout")

    for struct, (number, _) in STRUCTS.items():
        assert layout[struct] == number >> 16 & 0x3FFF
    names = STRUCTS["scullv_info"][1]
    for place, name in enumerate(names):
        data = ioctl.Information(*(1 if i == place else 0 for i in range(len(names)))).pack()
        width_of_field = 8 if place < 9 else 4
        start = layout[f"scullv_info.{name}"]
        assert int.from_bytes(data[start : start + width_of_field], sys.byteorder) == 1
        assert sum(data) == 1
    assert layout["scullv_seek.whence"] == 8
    assert layout["scullv_range.length"] == 8
    assert layout["scullv_text.data"] == 8
    assert ioctl.pack_text(1, 2)[:8] == (1).to_bytes(4, sys.byteorder) + (2).to_bytes(
        4, sys.byteorder
    )


def test_every_command_of_the_header_is_served() -> None:
    assert re.findall(r"^#define (\w+) _IO\w*\(", HEADER.read_text(), re.M) == list(ioctl.NUMBERS)


def test_the_header_acknowledges_the_book() -> None:
    text = " ".join(HEADER.read_text().replace("*", " ").split())
    for words in ('"Linux Device Drivers"', "Alessandro Rubini", "Jonathan Corbet", "O'Reilly"):
        assert words in text
