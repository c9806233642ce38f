"""What doctor says of machines of all kinds: each a tree of files as the kernel and distributions
have them."""

from __future__ import annotations

import errno
import gzip
import json
import os
import platform
import signal
import subprocess
from pathlib import Path

import pytest

from cuse_scullv import cuse
from cuse_scullv.cli.doctor import described
from cuse_scullv.cuse.host import Status, explain
from cuse_scullv.distribution import distribution, module_commands, update_commands
from cuse_scullv.doctor import kernel, machine, stuck, surroundings
from cuse_scullv.doctor.finding import Finding
from nodes import NAME, RealServer, until
from shell import inside, refused, sh

RELEASE = platform.release()
OS_RELEASE = {
    "debian": 'PRETTY_NAME="Debian 13"\nID=debian\n',
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "mint": 'ID=linuxmint\nID_LIKE="ubuntu debian"\n',
    "fedora": "ID=fedora\n",
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "arch": "ID=arch\n",
    "tumbleweed": 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n',
    "alpine": "ID=alpine\n",
    "other": "ID=other\n",
}


def plant(root: Path, **files: str | bytes) -> Path:
    """Files by path, __ for /."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


# --- distributions


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("debian", ("apt install linux-image-$(dpkg --print-architecture)", "reboot")),
        ("ubuntu", (f"apt install linux-modules-extra-{RELEASE}", "modprobe cuse")),
        ("mint", (f"apt install linux-modules-extra-{RELEASE}", "modprobe cuse")),
        ("fedora", (f"dnf install kernel-modules-extra-{RELEASE}", "modprobe cuse")),
        ("rocky", (f"dnf install kernel-modules-extra-{RELEASE}", "modprobe cuse")),
        ("arch", ("pacman -Syu linux", "reboot")),
        ("tumbleweed", ("zypper install kernel-default", "reboot")),
        ("alpine", ("apk add linux-lts", "reboot")),
        ("other", ()),
    ],
)
def test_each_distribution_has_its_package(
    name: str, commands: tuple[str, ...], tmp_path: Path
) -> None:
    plant(tmp_path, **{"etc__os-release": OS_RELEASE[name]})
    assert module_commands(tmp_path) == commands
    assert bool(update_commands(tmp_path)) == bool(commands)
    said = explain(errno.ENOENT, tmp_path)
    assert said.status is Status.NO_MODULE
    assert all(command in said.fix for command in commands)
    found = machine.find_nodes(tmp_path)
    assert (found.status, found.commands) == ("no", commands)
    assert found.notes or found.commands


def test_a_kernel_whose_modules_an_update_took_away_asks_for_a_boot(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/9.9.9").mkdir(parents=True)
    assert module_commands(tmp_path) == ("reboot",)


def test_no_distribution_is_no_failure(tmp_path: Path) -> None:
    assert distribution(tmp_path) is None
    assert update_commands(tmp_path) == ()


# --- the kernel


def test_the_configuration_is_found_where_kernels_put_it(tmp_path: Path) -> None:
    assert kernel.find_config(tmp_path).status == "note"
    folder = tmp_path / "boot"
    folder.mkdir()
    (folder / f"config-{RELEASE}").write_text("# CONFIG_CUSE is not set\nCONFIG_FUSE_FS=y\n")
    found = kernel.find_config(tmp_path)
    assert found.status == "no"
    assert "CONFIG_CUSE is not set" in found.detail
    plant(tmp_path, **{"proc__config.gz": gzip.compress(b"CONFIG_CUSE=m\n")})
    found = kernel.find_config(tmp_path)
    assert found.status == "yes"
    assert found.detail.startswith("CONFIG_CUSE=m (")
    (tmp_path / "proc/config.gz").write_bytes(b"rubbish")
    assert kernel.find_config(tmp_path).status == "no"  # the other is asked


def test_a_kernel_with_faults_is_to_be_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, **{"etc__os-release": OS_RELEASE["debian"]})
    monkeypatch.setattr(kernel, "running", lambda: (6, 1, 176))
    found = kernel.find_version(tmp_path)
    assert found.status == "note"
    assert any("CVE-2026-90140" in note for note in found.notes)
    assert found.commands == ("apt update && apt full-upgrade", "reboot")
    plant(tmp_path, **{".dockerenv": ""})
    found = kernel.find_version(tmp_path)
    assert found.commands == ()
    assert found.notes[-1] == "the kernel is the host's: type 'cuse-scullv doctor' there"


# --- nodes


@pytest.mark.parametrize(
    ("planted", "status", "commands"),
    [
        ({"proc__misc": "203 cuse\n"}, "NO_NODE", ("mknod -m 600 /dev/cuse c 10 203",)),
        (
            {f"lib__modules__{RELEASE}__modules.dep": "kernel/fs/fuse/cuse.ko.xz:\n"},
            "NOT_LOADED",
            ("modprobe cuse", "echo cuse >/etc/modules-load.d/cuse.conf"),
        ),
        (
            {"proc__misc": "203 cuse\n", "run__.containerenv": ""},
            "NO_NODE",
            ("podman run --device /dev/cuse IMAGE",),
        ),
    ],
)
def test_what_keeps_nodes_away_comes_with_the_command(
    planted: dict[str, str], status: str, commands: tuple[str, ...], tmp_path: Path
) -> None:
    root = plant(tmp_path, **planted)
    assert cuse.availability(root).status.name == status
    assert machine.find_nodes(root).commands == commands


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_who_may_not_open_cuse_is_told_how_he_may(tmp_path: Path) -> None:
    root = plant(tmp_path, dev__cuse="")
    (root / "dev/cuse").chmod(0o600)
    for folder in (root, *root.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    before = os.geteuid()
    os.seteuid(65534)
    try:
        found = machine.find_nodes(root)
    finally:
        os.seteuid(before)
    assert found.commands == ("setfacl -m u:nobody:rw /dev/cuse",)


# --- surroundings


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ({}, ""),
        ({".dockerenv": ""}, "docker"),
        ({"run__.containerenv": ""}, "podman"),
        ({"run__systemd__container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc__1__environ": "A=b\0container=lxc\0"}, "lxc"),
        ({"proc__1__cgroup": "0::/kubepods/besteffort\n"}, "kubernetes"),
    ],
)
def test_containers_are_told_apart(planted: dict[str, str], kind: str, tmp_path: Path) -> None:
    root = plant(tmp_path, **planted)
    assert surroundings.container(root) == kind
    found = surroundings.find_container(root)
    assert found.status == ("note" if kind else "yes")
    assert kind in found.detail


def test_a_user_namespace_is_told(tmp_path: Path) -> None:
    root = plant(tmp_path, proc__self__uid_map="         0       1000          1\n")
    found = surroundings.find_container(root)
    assert (found.status, found.detail) == ("note", "none")
    assert "user namespace" in found.notes[0]


def test_denials_of_apparmor_are_found_in_the_kernel_s_log(tmp_path: Path) -> None:
    said = (
        '6,1,2,-;audit: type=1400 apparmor="DENIED" operation="open" profile="docker-default"'
        ' name="/dev/cuse" comm="python3"\n'
    )
    root = plant(tmp_path, dev__kmsg=said, sys__kernel__security__lsm="lockdown,apparmor")
    found = surroundings.find_security(root)
    assert found.status == "no"
    assert found.commands == ("aa-complain docker-default",)
    assert "1 times denied" in found.detail


def test_denials_of_selinux_are_found_in_the_audit_log(tmp_path: Path) -> None:
    said = 'type=AVC msg=audit(1:2): avc:  denied  { open } for comm="cuse-scullv" path="/dev/x"\n'
    root = plant(tmp_path, **{"var__log__audit__audit.log": "noise\n" * 10 + said})
    plant(root, sys__fs__selinux__enforce="1")
    found = surroundings.find_security(root)
    assert found.status == "no"
    assert found.commands[1] == "semodule -i cuse-scullv.pp"
    assert surroundings.find_security(plant(tmp_path / "other", x="")).status == "yes"


# --- clients that wait


def test_nodes_whose_clients_wait_can_be_aborted(tmp_path: Path) -> None:
    root = plant(
        tmp_path, sys__class__cuse__quiet__waiting="0\n", sys__class__cuse__busy__waiting="3\n"
    )
    found = stuck.find_channels(root)
    assert (found.status, found.notes) == ("note", ("busy: 3 requests",))
    assert found.commands == ("echo 1 >/sys/class/cuse/busy/abort",)
    (root / "sys/class/cuse/busy/waiting").write_text("0\n")
    assert stuck.find_channels(root).detail == "2 of CUSE, and nobody waits"


def test_mounts_whose_clients_wait_can_be_aborted(tmp_path: Path) -> None:
    mountinfo = (
        "36 35 0:42 / /mnt/my\\040files rw,nosuid - fuse.cuse-scullv cuse-scullv rw\n"
        "37 35 0:43 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n"
        "38 35 0:44 / /mnt/quiet rw - fuse.sshfs host: rw\n"
    )
    root = plant(tmp_path, proc__self__mountinfo=mountinfo)
    plant(root, sys__fs__fuse__connections__42__waiting="1\n")
    plant(root, sys__fs__fuse__connections__44__waiting="0\n")
    found = stuck.find_mounts(root)
    assert found.notes == ("/mnt/my\\040files: 1 request",)
    assert found.commands == ("echo 1 >/sys/fs/fuse/connections/42/abort",)
    (root / "sys/fs/fuse/connections/42/waiting").write_text("0\n")
    assert stuck.find_mounts(root).detail == "2 of FUSE, and nobody waits"


@pytest.mark.real
def test_the_client_of_a_stopped_server_is_found_and_freed() -> None:
    server = RealServer()
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        with subprocess.Popen(["cat", server.paths[0]], stderr=subprocess.PIPE) as client:
            until(lambda: stuck.find_channels().status != "yes")
            found = stuck.find_channels()
            assert found.status == "no"
            assert found.notes[0] == f"{NAME}: 1 request, and its server is stopped"
            sh(found.commands[0])
            assert client.wait(60) == 1
    finally:
        os.kill(worker, signal.SIGCONT)
    assert server.process.wait(60) == 1
    server.stop()


# --- how it is shown


def test_commands_are_never_broken_and_the_rest_is() -> None:
    command = "echo " + "x" * 100
    finding = Finding("nodes", "no", "word " * 30, ("note " * 30,), (command,))
    lines = list(described(finding, 80))
    assert lines[-1] == " " * 18 + "# " + command
    assert max(map(len, lines[:-1])) <= 80 + len("\x1b[31m\x1b[0m")


@pytest.mark.parametrize("columns", [80, 200])
def test_doctor_has_no_colours_in_a_file(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = inside("doctor")
    lines = done.stdout.decode().splitlines()
    assert "\x1b" not in done.stdout.decode()
    text = [line for line in lines if "# " not in line and "guest" not in line]
    assert max(map(len, text)) <= columns


def test_doctor_says_it_as_json() -> None:
    done = inside("doctor", "--json")
    said = json.loads(done.stdout)
    assert [finding["what"] for finding in said["findings"]] == [
        *("nodes", "file view", "passthrough", "libfuse", "memory", "container", "security"),
        *("channels", "mounts", "config", "kernel"),
    ]
    assert done.returncode == (0 if said["nodes"] else 1)
    assert {finding["status"] for finding in said["findings"]} <= {"yes", "no", "note"}


def test_doctor_takes_no_arguments() -> None:
    assert "unexpected extra argument" in refused("doctor", "/dev/scullv", run=inside)
