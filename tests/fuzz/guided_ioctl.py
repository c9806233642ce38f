"""guided_ioctl: the ioctl table, led by what it reaches.

    python tests/fuzz/guided_ioctl.py [-max_total_time=SECONDS] [CORPUS…]

What the table says of a request has to be an answer that the kernel would take and that leaves the
parameters such as they can be, an action, or an errno that the manual has. Needs atheris.
"""

from __future__ import annotations

import errno
import sys

import atheris

with atheris.instrument_imports(include=["cuse_scullv.ioctl", "cuse_scullv.params"]):
    from cuse_scullv import ioctl
    from cuse_scullv.params import PRESETS, Params

REFUSALS = {errno.ENOTTY, errno.EPERM, errno.EINVAL, errno.EFBIG}
COMMANDS = sorted(ioctl.NUMBERS.values())
PARAMS = [
    Params(preset.geometry, preset, ldd3) for preset in PRESETS.values() for ldd3 in (False, True)
]


def size_given(cmd: int) -> int:
    """Bytes that the kernel copies in."""
    return cmd >> 16 & 0x3FFF if cmd >> 30 & 1 else 0


def request_of(data: atheris.FuzzedDataProvider) -> ioctl.Request:
    cmd = data.ConsumeUInt(4)
    if data.ConsumeBool():
        cmd = COMMANDS[cmd % len(COMMANDS)]
    arg, writable, admin = data.ConsumeUInt(8), data.ConsumeBool(), data.ConsumeBool()
    size = size_given(cmd) if data.ConsumeBool() else data.ConsumeIntInRange(0, 2000)
    given = data.ConsumeBytes(size)
    if data.ConsumeBool():
        given = given.ljust(size, b"\0")
    return ioctl.Request(cmd, arg, given, writable, lambda: admin)


def check(request: ioctl.Request, params: Params, verdict: ioctl.Answer | ioctl.Action) -> Params:
    """The parameters that are in force next."""
    if not isinstance(verdict, ioctl.Answer):
        return params
    assert 0 <= verdict.result < 1 << 31
    assert len(verdict.data) == (request.cmd >> 16 & 0x3FFF if request.cmd >> 31 else 0)
    pending = verdict.params.pending
    type(pending)(pending.quantum, pending.qset)  # raises where it cannot be
    assert (verdict.params.preset, verdict.params.ldd3) == (params.preset, params.ldd3)
    return verdict.params


def one_input(given: bytes) -> None:
    data = atheris.FuzzedDataProvider(given)
    params = PARAMS[data.ConsumeIntInRange(0, len(PARAMS) - 1)]
    while data.remaining_bytes():
        request = request_of(data)
        try:
            verdict = ioctl.decide(request, params)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
        else:
            params = check(request, params, verdict)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
