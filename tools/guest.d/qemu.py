"""A guest in QEMU: one of Debian's kernels, two CPUs, emulated."""

from __future__ import annotations

import argparse
import contextlib
import lzma
import os
from pathlib import Path

from cache import compiled, kernel, need
from initramfs import initramfs
from plan import write_plan

QEMU_MIB = 4096


def bare_kernel(image: Path) -> Path:
    """The ELF file inside a bzImage, which QEMU enters by PVH. The bzImage unpacks itself, which
    takes half of the boot under emulation: 11 s become 5."""
    bare = image.with_name(image.name.replace("vmlinuz", "vmlinux"))
    if bare.exists():
        return bare
    data = image.read_bytes()
    with contextlib.suppress(lzma.LZMAError, OSError, ValueError):
        elf = lzma.LZMADecompressor().decompress(data[data.index(b"\xfd7zXZ\0") :])
        fresh = bare.with_name(f"{bare.name}.{os.getpid()}")
        fresh.write_bytes(elf)
        fresh.replace(bare)
        return bare
    return image


def qemu_command(options: argparse.Namespace, work: Path) -> list[str]:
    image, tree = kernel(options.kernel)
    init = compiled("init", ["-static"], work)
    (work / "initramfs").write_bytes(initramfs(tree, init))
    tags = {path: f"share{number}" for number, path in enumerate(options.share)}
    control = work / "control"
    write_plan(options, control, tags)
    exports = [("root", Path("/"), ",readonly=on"), ("control", control, "")]
    exports += [(tag, path, "") for path, tag in tags.items()]
    words = [
        "console=ttyS0",
        "panic=-1",
        "mitigations=off",
        "nokaslr",
        "quiet",
        "guest_control=control",
    ]
    command = [need("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-machine", "q35", "-no-reboot", "-smp", "2", "-m", f"{QEMU_MIB}M"]
    # Emulation unless asked: a /dev/kvm inside a virtual machine may open, and hang the guest.
    kvm = os.environ.get("CUSE_SCULLV_GUEST_KVM") == "1"
    # With ERMS the kernel copies by `rep movsb`, which is emulated byte by byte; FSRM without it
    # (QEMU 10 has it) hangs Linux 6.1.
    accel, cpu = ("kvm", "host") if kvm else ("tcg,thread=multi", "max,-erms,-fsrm")
    command += ["-accel", accel, "-cpu", cpu]
    command += ["-kernel", str(bare_kernel(image)), "-initrd", f"{work}/initramfs"]
    command += ["-append", " ".join(words), "-serial", f"file:{work}/console"]
    if options.terminal:
        command += ["-chardev", "stdio,id=terminal,signal=off", "-serial", "chardev:terminal"]
    command += ["-device", "virtio-rng-pci"]
    for tag, path, more in exports:
        quoted = str(path).replace(",", ",,")
        folder = f"local,id={tag},path={quoted},security_model=none,multidevs=remap{more}"
        command += ["-fsdev", folder, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return command
