# SPDX-License-Identifier: Apache-2.0
"""Pages of real programs: each is started, given work that fills its memory,
and its private anonymous pages are copied to a file. They are read through
/proc/PID/mem, which the parent of a process may do. Pages of one repeated word
are left out, since zswap never stores them."""
import contextlib
import glob
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAMS = os.path.join(HERE, "contents")
PAGE = 4096
PATIENCE = 300  # seconds for a program to get ready


class Skipped(Exception):
    """Why there are no pages of that program."""


def texts():
    """Files that everybody has who can run this: python's own sources."""
    return sorted(glob.glob(sysconfig.get_path("stdlib") + "/**/*.py",
                            recursive=True))


def find(*names):
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise Skipped(f"{names[0]} is not installed")


# ---- memory of a process


def anonymous(pid):
    """Address ranges of the private anonymous writable memory."""
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            fields = line.split()
            named = len(fields) > 5 and fields[5] not in ("[heap]", "[stack]") \
                and not fields[5].startswith("[anon")
            if fields[1].startswith("rw-p") and not named:
                yield tuple(int(x, 16) for x in fields[0].split("-"))


def present(pagemap, begin, end):
    """Addresses of the pages that are there, in the order of addresses."""
    pagemap.seek(begin // PAGE * 8)
    words = memoryview(pagemap.read((end - begin) // PAGE * 8)).cast("Q")
    for number, word in enumerate(words):
        if word >> 62:  # in memory, or swapped out
            yield begin + number * PAGE


def is_same_filled(page):
    return page[8:] == page[:-8]


def copy_memory(pid, out, most):
    """Writes at most `most` bytes; returns how many."""
    written = 0
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap, \
            open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for begin, end in anonymous(pid):
            for at in present(pagemap, begin, end):
                page = os.pread(mem.fileno(), PAGE, at)
                if len(page) == PAGE and not is_same_filled(page):
                    out.write(page)
                    written += PAGE
                if written >= most:
                    return written
    return written


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    return 0


# ---- the programs: context managers that give a pid with its memory filled


@contextlib.contextmanager
def speaking(command, text=""):
    """A program that says "ready" and stays until its input ends."""
    p = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, errors="replace")
    try:
        if text:
            p.stdin.write(text)
            p.stdin.flush()
        line = p.stdout.readline()
        if line.strip() != "ready":
            p.kill()
            raise Skipped(f"{command[0]} said: {line}{p.stderr.read()[-300:]}")
        yield p.pid
    finally:
        p.kill()
        p.communicate()


def python(size):
    return speaking([sys.executable, os.path.join(PROGRAMS, "collections.py"),
                     str(size)])


def java(size):
    return speaking([find("java"), "-XX:+UseSerialGC",
                     f"-Xmx{(size >> 20) * 2}m",
                     os.path.join(PROGRAMS, "Collections.java"),
                     str(size // 16)] + texts())


def node(size):
    return speaking([find("node", "nodejs"),
                     os.path.join(PROGRAMS, "objects.js"),
                     str(size // 24)] + texts())


def quote(text):
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def sqlite(size):
    """Files, their lines, and indexes on them, all in memory; queried."""
    sql = ["create table file(id integer primary key, path text, bytes int);",
           "create table line(file int, number int, indent int, text text);",
           "begin;"]
    left = size // 2
    for number, path in enumerate(texts()):
        with open(path, errors="replace") as f:
            text = f.read()
        left -= len(text)
        if left < 0:
            break
        sql.append(f"insert into file values({number}, {quote(path)}, "
                   f"{len(text)});")
        sql += [f"insert into line values({number}, {n}, "
                f"{len(line) - len(line.lstrip())}, {quote(line.strip())});"
                for n, line in enumerate(text.splitlines())]
    sql += ["commit;", "create index by_text on line(text);",
            "create index by_place on line(file, number);",
            ".output /dev/null",
            "select path, count(*), max(length(text)) from file join line on "
            "file.id = line.file group by path order by 2;",
            "select text, count(*) from line group by text order by 2 desc;",
            ".output stdout", ".print ready", ""]
    return speaking([find("sqlite3"), ":memory:"], "\n".join(sql))


def redis_command(*words):
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        word = str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def redis_commands(count):
    """Users with their sessions, posts, followers and scores."""
    chance = random.Random(5)
    words = [word for path in texts()[:40] for word in
             open(path, errors="replace").read().split() if word.isalpha()]
    for i in range(count):
        name = chance.choice(words).lower() + str(i)
        yield redis_command(
            "HSET", f"user:{i}", "name", name, "mail", name + "@example.org",
            "born", chance.randrange(1940, 2010), "karma",
            int(chance.paretovariate(1.2)))
        session = {"user": i, "token": "%032x" % chance.getrandbits(128),
                   "agent": "Mozilla/5.0 (X11; Linux x86_64)",
                   "seen": 1700000000 + chance.randrange(10 ** 7),
                   "cart": [chance.randrange(5000) for _ in range(i % 5)]}
        yield redis_command("SET", f"session:{i}", json.dumps(session))
        yield redis_command("SET", f"post:{i}", " ".join(
            chance.choices(words, k=chance.randrange(5, 120))))
        yield redis_command("RPUSH", f"followers:{i}", *[
            chance.randrange(count) for _ in range(1 + i % 9)])
        yield redis_command("ZADD", f"scores:{i % 50}", chance.random(), name)


@contextlib.contextmanager
def redis(size):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        p = subprocess.Popen(
            [find("redis-server"), "--port", "0", "--unixsocket", path,
             "--save", "", "--appendonly", "no", "--dir", folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.time() + PATIENCE
            with socket.socket(socket.AF_UNIX) as s:
                while s.connect_ex(path) != 0:
                    if p.poll() is not None or time.time() > deadline:
                        raise Skipped("redis-server does not start")
                    time.sleep(0.05)
                s.settimeout(PATIENCE)
                commands = list(redis_commands(size // 1500))
                answers = s.makefile("rb")
                for i in range(0, len(commands), 1000):
                    some = commands[i:i + 1000]
                    s.sendall(b"".join(some))
                    for _ in some:  # each answer is one line
                        answers.readline()
                yield p.pid
        finally:
            p.kill()
            p.wait()


@contextlib.contextmanager
def gcc(size):
    """cc1plus at work on a large file of this project."""
    find("g++")
    compiler = subprocess.run(["g++", "-print-prog-name=cc1plus"], text=True,
                              stdout=subprocess.PIPE, check=True).stdout.strip()
    p = subprocess.Popen(
        [compiler, "-quiet", "-std=gnu++20", "-O2", "-Iinclude", "-Isrc",
         "-imultiarch", "x86_64-linux-gnu", "-D_GNU_SOURCE",
         "src/cli/control_reply.cc", "-o", "/dev/null"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while anonymous_bytes(p.pid) < size:
            if p.poll() is not None:
                raise Skipped("cc1plus ended before it was large: "
                              + p.stderr.read().decode()[-300:])
            time.sleep(0.02)
        os.kill(p.pid, 19)  # SIGSTOP: it holds still while it is read
        yield p.pid
    finally:
        p.kill()
        p.communicate()


CONTENTS = {"python": python, "redis": redis, "node": node, "java": java,
            "gcc": gcc, "sqlite": sqlite}


def make(name, folder, megabytes):
    """The path of a file of the program's pages, made if it is not there."""
    path = os.path.join(folder, f"{name}-{megabytes}.pages")
    if os.path.exists(path):
        return path
    os.makedirs(folder, exist_ok=True)
    size = megabytes << 20
    part = f"{path}.{os.getpid()}"
    try:
        with CONTENTS[name](size) as pid, open(part, "wb") as out:
            if copy_memory(pid, out, size) < size // 8:
                raise Skipped("its memory stayed small")
        os.rename(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return path


def main():
    """contents.py FOLDER MEGABYTES [NAME...]: make them all."""
    folder, megabytes = sys.argv[1], int(sys.argv[2])
    for name in sys.argv[3:] or CONTENTS:
        try:
            path = make(name, folder, megabytes)
            print(f"{path}: {os.path.getsize(path) >> 20} MB")
        except Skipped as why:
            print(f"{name}: skipped: {why}")


if __name__ == "__main__":
    main()
