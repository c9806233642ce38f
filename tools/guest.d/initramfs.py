"""What a guest in QEMU starts from: guest.d/init, and the modules that its root takes."""

from __future__ import annotations

import lzma
import stat
from pathlib import Path

# What these need comes along.
QEMU_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "virtio_rng", "fuse", "cuse")


def module_closure(tree: Path) -> list[Path]:
    """QEMU_MODULES and all they need, in loading order, without what the kernel has built in."""
    needs: dict[str, tuple[Path, list[str]]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = (tree / path, rest.split())
    by_name = {Path(path).name.partition(".")[0]: path for path in needs}
    order: list[str] = []
    for name in QEMU_MODULES:
        if name in by_name:
            path = by_name[name]
            # modules.dep lists a module's needs so that the last is to be loaded first.
            order += [p for p in [*reversed(needs[path][1]), path] if p not in order]
    return [needs[path][0] for path in order]


def cpio(files: list[tuple[str, int, bytes]]) -> bytes:
    """A "newc" archive of (path, mode, content), as the kernel unpacks it."""
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*files, ("TRAILER!!!", 0, b"")], start=1):
        size = len(content)
        fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0]
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def initramfs(tree: Path, init: Path) -> bytes:
    modules = module_closure(tree)
    folder, plain = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
    names = []
    files = [(name, folder, b"") for name in ("dev", "root", "modules")]
    for module in modules:
        data = module.read_bytes()
        if module.suffix == ".xz":
            data = lzma.decompress(data)
        names.append(module.name)
        files.append((f"modules/{module.name}", plain, data))
    files += [
        ("modules/order", plain, "\n".join(names).encode()),
        ("init", stat.S_IFREG | 0o755, init.read_bytes()),
    ]
    return cpio(files)
