#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Children are killed by SIGKILL at random while they hold memory of the limit
# that they share: it comes back. The survivors' pages stay as they were, the
# sum is kept all the time, and when all are gone one may have nearly all.
source "$(dirname "$0")/functions.sh"
requires /usr/bin/python3
rounds=$([ "$size" = full ] && echo 300 || echo 25)
limit=64  # MiB

cat >"$work/tree.py" <<'PY'
import mmap, os, random, select, signal, sys, time
PAGE = 4096
rounds, limit, peak = int(sys.argv[1]), int(sys.argv[2]) << 20, sys.argv[3]
random.seed(7)
words = [random.randbytes(16) for _ in range(500)]

class Memory:
    """Pages that each know what they must hold; they compress by half."""
    def __init__(self, size):
        self.map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.pages = size // PAGE
        for i in range(self.pages):
            self.map[i * PAGE:(i + 1) * PAGE] = self.page(i)
    def page(self, i):
        return b"%016d" % i + words[i % 500] * 127 + os.urandom(2048)
    def check(self, i):
        at = i * PAGE
        assert self.map[at:at + 32] == b"%016d" % i + words[i % 500], i
    def walk(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(500):
                self.check(random.randrange(self.pages))

def child(size):
    r, w = os.pipe()
    pid = os.fork()
    if pid:
        os.close(w)
        return pid, r
    os.close(r)
    try:
        memory = Memory(size)
        os.write(w, b"filled")
        memory.walk(3600)
    except BaseException as error:
        os.write(2, b"child: %r\n" % error)
    os._exit(1)

def pss():
    with open("/proc/self/smaps_rollup") as f:
        return sum(int(line.split()[1]) << 10 for line in f
                   if line.startswith(("Pss_Anon", "Pss_Shmem")))

own = Memory(limit // 4)
running = []
for number in range(rounds):
    while len(running) < 3:
        running.append(child(limit * random.randrange(1, 4) // 4))
    # Filling, full or working.
    select.select([running[-1][1]], [], [], random.random() / 3)
    own.walk(0.02)
    pid, r = running.pop(random.randrange(len(running)))
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.close(r)
for i in range(own.pages):
    own.check(i)
# A child that dies is told from the others; those that live must still do.
for pid, r in running:
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a child died by itself"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print("survived", flush=True)
last = Memory(2 * limit)
last.walk(0.3)
with open(peak, "w") as f:
    print(pss() >> 10, file=f)
PY
run_as_user "$sampler" --tree "$work/peak" -- "$uzswap" run --memory ${limit}M \
  --backing "$work" -- /usr/bin/python3 "$work/tree.py" $rounds $limit \
  "$work/last" >"$work/out" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
cat "$work/stderr"
grep -qx survived "$work/out" || fail "it did not get to its end"
echo "the tree had $(share "$work/peak") KiB at most, the last process alone" \
  "$(cat "$work/last") KiB"
expect_share "$work/peak" $((limit * 1024)) 110
[ "$(cat "$work/last")" -ge $((limit * 1024 * 7 / 10)) ] ||
  fail "the last process is allowed $(cat "$work/last") KiB only"
