"""The stub of the C side says what the C side has."""

from __future__ import annotations

import ast
from pathlib import Path

from cuse_scullv import _native

STUB = Path(__file__).parent.parent / "cuse_scullv/_native.pyi"
CALL = "struct call"


def stubbed(name: str) -> dict[str, ast.stmt]:
    """The members of a class of the stub."""
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return {
                member.name if isinstance(member, ast.FunctionDef) else member.target.id: member
                for member in node.body
                if isinstance(member, ast.FunctionDef)
                or (isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name))
            }  # type: ignore[union-attr]
    raise AssertionError(f"{STUB} has no class {name}")


def test_the_stub_has_all_of_the_library_and_no_more() -> None:
    assert set(stubbed("_Lib")) == set(dir(_native.lib)) - {"python_call"}


def test_functions_take_as_many_arguments_as_in_c() -> None:
    for name, member in stubbed("_Lib").items():
        if isinstance(member, ast.FunctionDef):
            c_type = _native.ffi.typeof(getattr(_native.lib, name))  # type: ignore[attr-defined]
            assert len(member.args.args) - 1 == len(c_type.args), name


def test_the_stub_of_a_call_has_its_fields() -> None:
    fields = dict(_native.ffi.typeof(CALL).fields)  # type: ignore[attr-defined]
    assert set(stubbed("Call")) == set(fields)
