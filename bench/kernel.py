# SPDX-License-Identifier: Apache-2.0
"""The kernel's own zswap and zram as rivals: set up, limited, put back.

Everything that is changed is undone in reverse order by `Undo`, also on an
exception, on Ctrl-C and on SIGTERM.
"""
import os
import signal
import subprocess
import tempfile
import time

ZSWAP = "/sys/module/zswap/parameters/"
V1 = "/sys/fs/cgroup/memory"


def read(path):
    with open(path) as f:
        return f.read().strip()


def write(path, value):
    with open(path, "w") as f:
        f.write(str(value))


class Undo:
    def __init__(self):
        self.steps = []

    def add(self, step, *args):
        self.steps.append((step, args))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not stop the putting back.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for step, args in reversed(self.steps):
            try:
                step(*args)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"bench: could not undo {step.__name__}: {error}")


class Cgroup:
    """A memory cgroup (v1 or v2) with a limit that can be set."""

    def __init__(self, undo):
        self.v1 = os.path.exists(V1 + "/memory.limit_in_bytes")
        root = V1 if self.v1 else "/sys/fs/cgroup"
        self.path = f"{root}/uzswap-bench-{os.getpid()}"
        os.mkdir(self.path)
        undo.add(self.remove)

    def remove(self):
        for pid in read(f"{self.path}/cgroup.procs").split():
            os.kill(int(pid), signal.SIGKILL)
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)
        os.rmdir(self.path)

    def limit(self, size):
        name = "memory.limit_in_bytes" if self.v1 else "memory.high"
        write(f"{self.path}/{name}", size)

    def usage(self):
        name = "memory.usage_in_bytes" if self.v1 else "memory.current"
        return int(read(f"{self.path}/{name}"))

    def enter(self):
        """For a child process, before exec."""
        write(f"{self.path}/cgroup.procs", os.getpid())


def swap_off(path):
    with open("/proc/swaps") as f:
        active = [line.split()[0] for line in f]
    if path in active:
        subprocess.run(["swapoff", path], check=True)


def restore_parameter(name, value):
    write(ZSWAP + name, value)


def make_file(undo, megabytes):
    """The path of a file of that size, allocated, that goes with `undo`."""
    path = tempfile.mktemp(prefix="uzswap-bench-", dir="/var/tmp")
    undo.add(lambda: os.path.exists(path) and os.unlink(path))
    with open(path, "wb") as f:
        os.fchmod(f.fileno(), 0o600)
        os.posix_fallocate(f.fileno(), 0, megabytes << 20)
    return path


class LoopDisk:
    """A block device over a file, past the page cache, that counts."""

    def __init__(self, undo, megabytes):
        self.path = subprocess.run(
            ["losetup", "--find", "--show", "--direct-io=on",
             make_file(undo, megabytes)],
            check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        undo.add(subprocess.check_call, ["losetup", "--detach", self.path])
        undo.add(swap_off, self.path)
        self.stat = f"/sys/block/{os.path.basename(self.path)}/stat"

    def counts(self):
        """Reads, bytes written."""
        fields = [int(x) for x in read(self.stat).split()]
        return fields[0], fields[6] * 512


class PageCluster:
    """How much the kernel reads ahead from swap: 2 to the power of it."""

    PATH = "/proc/sys/vm/page-cluster"

    def __init__(self, undo, value):
        undo.add(write, self.PATH, read(self.PATH))
        write(self.PATH, value)


class Zswap:
    """zswap in front of a swap file that is large enough for everything, or of
    the block device `swap`. `settings` are more parameters of zswap."""

    name = "zswap"

    def __init__(self, undo, megabytes, compressor, swap=None, **settings):
        for parameter in ("enabled", "compressor", "max_pool_percent",
                          "shrinker_enabled"):
            undo.add(restore_parameter, parameter, read(ZSWAP + parameter))
        self.file = swap or make_file(undo, megabytes)
        self.settings = {"compressor": compressor, "max_pool_percent": 90,
                         "shrinker_enabled": "N"} | settings
        subprocess.run(["mkswap", "-q", self.file], check=True)
        undo.add(swap_off, self.file)

    def start(self):
        for name, value in self.settings.items():
            write(ZSWAP + name, value)
        write(ZSWAP + "enabled", "Y")
        subprocess.run(["swapon", "-p", "32767", self.file], check=True)

    def stop(self):
        subprocess.run(["swapoff", self.file], check=True)
        write(ZSWAP + "enabled", "N")

    def pool(self):
        for line in open("/proc/meminfo"):
            if line.startswith("Zswap:"):
                return int(line.split()[1]) * 1024
        return 0


def add_zram(undo):
    """The number of a new zram device."""
    number = read("/sys/class/zram-control/hot_add")
    undo.add(lambda: write("/sys/class/zram-control/hot_remove", number))
    undo.add(write, f"/sys/block/zram{number}/reset", 1)
    return number


class ZramDisk:
    """A zram device that is used as a disk, not for swap."""

    def __init__(self, undo, compressor):
        self.name = "zram" + add_zram(undo)
        self.sys = f"/sys/block/{self.name}/"
        self.compressor = compressor

    def start(self, size):
        write(self.sys + "reset", 1)
        # A reset forgets it.
        write(self.sys + "comp_algorithm", self.compressor)
        write(self.sys + "disksize", size)

    def cost(self, content):
        """Bytes of memory for a byte of that file."""
        size = os.path.getsize(content)
        self.start(size)
        subprocess.run(["dd", f"if={content}", f"of=/dev/{self.name}",
                        "bs=1M", "oflag=direct", "status=none"], check=True)
        cost = int(read(self.sys + "mm_stat").split()[2]) / size
        write(self.sys + "reset", 1)
        return cost


class Zram:
    """zram for swap, and once it is full the block device `disk`, if any."""

    name = "zram"

    def __init__(self, undo, megabytes, compressor, disk=None):
        self.disk = disk
        self.id = add_zram(undo)
        self.sys = f"/sys/block/zram{self.id}/"
        undo.add(swap_off, f"/dev/zram{self.id}")
        self.size = megabytes << 20
        self.compressor = compressor

    def start(self):
        write(self.sys + "comp_algorithm", self.compressor)
        write(self.sys + "disksize", self.size)
        subprocess.run(["mkswap", "-q", f"/dev/zram{self.id}"], check=True,
                       stderr=subprocess.DEVNULL)
        subprocess.run(["swapon", "-p", "32767", f"/dev/zram{self.id}"],
                       check=True)
        if self.disk:
            subprocess.run(["mkswap", "-q", self.disk], check=True)
            subprocess.run(["swapon", "-p", "1", self.disk], check=True)

    def stop(self):
        if self.disk:
            subprocess.run(["swapoff", self.disk], check=True)
        subprocess.run(["swapoff", f"/dev/zram{self.id}"], check=True)
        write(self.sys + "reset", 1)

    def pool(self):
        return int(read(self.sys + "mm_stat").split()[2])

