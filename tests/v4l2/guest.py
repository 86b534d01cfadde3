"""Runs the tests of the V4L2 source in a virtual machine whose kernel has a virtual camera (vivid).

    guest.py --test TEST_BINARY --tool VJEPA_PLANNER --work DIR

Debian's kernel is fetched with apt and unpacked into DIR, not installed. The guest's whole file system is an
initramfs of busybox, the modules, the binaries and their libraries.
What it says comes over its serial console.
"""

import argparse
import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

SUCCESS = "GUEST: all passed"
PACKAGES = "qemu-system-x86 busybox-static"
REPOSITORY = Path(__file__).resolve().parents[2]


def stop(message: str) -> None:
    print(f"test-v4l2: {message}", file=sys.stderr)
    sys.exit(1)


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=True, text=True, capture_output=True, **options)


def kernel(work: Path) -> Path:
    """Debian's newest kernel package, unpacked."""
    unpacked = work / "kernel"
    if not list(unpacked.glob("boot/vmlinuz-*")):
        try:
            depends = run("apt-cache", "depends", "linux-image-amd64").stdout
            packages = re.findall(r"Depends: (linux-image-\S+)", depends)
            if not packages:
                raise RuntimeError("apt knows no linux-image-amd64 (Debian's kernel)")
            debs = list(work.glob("linux-image-*.deb"))
            if not debs:
                print(f"test-v4l2: fetching {packages[0]}", flush=True)
                run("apt-get", "download", packages[0], cwd=work)
                debs = list(work.glob("linux-image-*.deb"))
            run("dpkg-deb", "--extract", str(debs[0]), str(unpacked))
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", None) or error
            stop(f"no kernel: {detail} (run apt-get update; linux-image-amd64 is fetched, not installed)")
    return unpacked


def modules(unpacked: Path) -> list[tuple[str, bytes]]:
    """vivid and what it needs, in the order of loading."""
    files = {}
    for path in unpacked.glob("lib/modules/*/kernel/drivers/**/*.ko*"):
        files[path.name.split(".ko")[0].replace("-", "_")] = path
    if "vivid" not in files:
        stop(f"the kernel in {unpacked} has no vivid (a cloud kernel has not)")
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded or name not in files:
            return
        path = files[name]
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        elif path.suffix == ".zst":
            content = subprocess.run(["zstd", "-dc"], input=content, check=True, capture_output=True).stdout
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends.group(1).decode().split(",") if depends else []:
            load(other.replace("-", "_"))
        loaded[name] = content

    load("vivid")
    return list(loaded.items())


def libraries(binary: Path) -> set[Path]:
    listed = run("ldd", str(binary)).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", listed)}


class Archive:
    """An initramfs: a cpio archive in the format newc."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.number = 0
        self.folders: set[str] = set()

    def entry(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self.number += 1
        encoded = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        self.content += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.content += b"\0" * (-len(self.content) % 4)
        self.content += content
        self.content += b"\0" * (-len(self.content) % 4)

    def folder(self, name: str) -> None:
        parts = name.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder and folder not in self.folders:
                self.folders.add(folder)
                self.entry(folder, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int = 0o755) -> None:
        self.folder(str(Path(name).parent).lstrip("."))
        self.entry(name.strip("/"), stat.S_IFREG | mode, content)

    def finish(self) -> bytes:
        self.entry("TRAILER!!!", 0)
        return gzip.compress(bytes(self.content), 1)


def stripped(binary: Path, work: Path) -> bytes:
    copy = work / f"{binary.name}.stripped"
    shutil.copyfile(binary, copy)
    if shutil.which("strip"):
        run("strip", str(copy))
    content = copy.read_bytes()
    copy.unlink()
    return content


def initramfs(test: Path, tool: Path | None, unpacked: Path, work: Path) -> bytes:
    archive = Archive()
    for folder in ("proc", "sys", "dev", "tmp", "bin", "etc", "modules"):
        archive.folder(folder)
    # The kernel opens this one for init, before anything is mounted.
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.file("init", Path(__file__).with_name("init.sh").read_bytes())
    archive.file("bin/busybox", Path(shutil.which("busybox")).read_bytes())
    archive.file("bin/test-v4l2", stripped(test, work))
    if tool:
        archive.file("bin/vjepa-planner", stripped(tool, work))
        # Parameters without a default, which a robot would give.
        archive.file("planner.yaml", (REPOSITORY / "config/planner.yaml").read_bytes(), 0o644)
    archive.file("etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n", 0o644)
    archive.file("etc/group", b"root:x:0:\nvideo:x:44:\nnogroup:x:65534:\n", 0o644)
    for library in sorted(libraries(test) | (libraries(tool) if tool else set())):
        archive.file(str(library), library.read_bytes())
    names = []
    for name, content in modules(unpacked):
        archive.file(f"modules/{name}.ko", content, 0o644)
        names.append(name)
    archive.file("modules/order", " ".join(names).encode(), 0o644)
    return archive.finish()


def heard(line: str) -> bool:
    """Whether it is the guest that speaks."""
    return line.startswith("GUEST:")


def guest(unpacked: Path, image: Path, accelerator: str, deadline: float) -> list[str]:
    """Boots it, and prints and gives what it says until it is switched off."""
    command = [
        "qemu-system-x86_64",
        *f"-accel {accelerator} -cpu qemu64 -machine q35 -smp 2 -m 1024".split(),
        *[
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-vga",
            "none",
            "-serial",
            "stdio",
        ],
        *("-kernel", str(next(unpacked.glob("boot/vmlinuz-*")))),
        *("-initrd", str(image)),
        *("-append", "console=ttyS0 panic=-1 loglevel=4 no_timer_check rdinit=/init"),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said: list[str] = []
    # Some machines have the device but cannot run a guest with it.
    silent = time.monotonic() + 60.0
    try:
        os.set_blocking(process.stdout.fileno(), False)
        rest = b""
        while True:
            ended = process.poll() is not None
            rest += process.stdout.read() or b""
            *lines, rest = rest.split(b"\n")
            for line in lines:
                said.append(line.decode(errors="replace").strip())
                print(said[-1], flush=True)
            if ended:
                return said
            if time.monotonic() > deadline:
                stop("the guest does not come to an end")
            if accelerator == "kvm" and time.monotonic() > silent and not any(map(heard, said)):
                return said
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--test", type=Path, required=True, help="the test binary `v4l2`, built with the feature v4l"
    )
    parser.add_argument("--tool", type=Path, help="vjepa-planner; its commands are tried too")
    parser.add_argument("--work", type=Path, required=True, help="folder for kernel and initramfs")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that the guest may take")
    arguments = parser.parse_args()

    missing = [name for name in ("qemu-system-x86_64", "busybox") if not shutil.which(name)]
    if missing:
        stop(f"{', '.join(missing)} missing: sudo apt-get install --no-install-recommends {PACKAGES}")
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    unpacked = kernel(work)
    image = work / "initramfs.gz"
    image.write_bytes(initramfs(arguments.test, arguments.tool, unpacked, work))
    print(f"test-v4l2: guest of {image.stat().st_size >> 20} MiB", flush=True)
    started = time.monotonic()
    passed = False
    # Where the machine cannot virtualize, as in many containers, the guest is emulated.
    for accelerator in ("kvm", "tcg,thread=multi"):
        if accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            continue
        lines = guest(unpacked, image, accelerator, started + arguments.limit)
        passed = any(SUCCESS in line for line in lines)
        if any(map(heard, lines)):
            break
        print(f"test-v4l2: no guest with {accelerator.split(',')[0]}", flush=True)
    if not passed:
        stop("failed; what the guest said is above")
    print(f"test-v4l2: all passed, in {time.monotonic() - started:.0f} s ({accelerator.split(',')[0]})")


if __name__ == "__main__":
    main()
