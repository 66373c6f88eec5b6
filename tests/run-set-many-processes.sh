#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Switches while processes come and go: a server that forks for each request, and
# make -j2. What they produce stays the same. Full form: longer, and everything
# evicted every 2 ms as well.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/switching.sh"
requires /usr/bin/python3 make gcc
times=$([ "$size" = full ] && echo 5 || echo 1)

cat >"$work/server.py" <<'PY'
import hashlib, os, sys
table = {i: "value %d %s" % (i, "x" * (i % 50)) for i in range(120000)}
running = {}
def answer(request):
    digest = hashlib.sha256()
    for i in range(request, len(table), 7):
        table[i] += "!"
        digest.update(table[i].encode())
    return digest.hexdigest()
for request in range(int(sys.argv[1])):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(w, answer(request % 5).encode())
        os._exit(0)
    os.close(w)
    running[request] = (pid, r)
    if len(running) == 2:
        pid, r = running.pop(request - 1)
        print(request - 1, os.read(r, 64).decode(), os.waitpid(pid, 0)[1])
        os.close(r)
PY
mkdir "$work/tree"
for i in 1 2 3 4 5 6; do
  {
    echo '#include <stdio.h>'
    echo '#include <stdlib.h>'
    awk -v i=$i 'BEGIN { for (n = 0; n < 400; ++n)
      printf "int f%d_%d(int x) { return x * %d + %d; }\n", i, n, n, i }'
  } >"$work/tree/file$i.c"
done
cat >"$work/tree/Makefile" <<'MAKE'
all: $(addprefix $(OUT)/,file1.o file2.o file3.o file4.o file5.o file6.o)
$(OUT)/%.o: %.c
	gcc -O1 -c -o $@ $<
MAKE

job_server() { "$@" /usr/bin/python3 "$work/server.py" $((8 * times)); }
job_make() {
  local out round
  for ((round = 0; round < times; ++round)); do
    out=$(mktemp -d "$work/out-XXXXXX")
    chmod 777 "$out"
    "$@" make -s -j2 -C "$work/tree" OUT="$out"
    (cd "$out" && sha256sum ./*.o)
  done
}

# while_switching NAME LIMIT [CHAOS]
while_switching() {
  local name=$1
  "job_$name" run_as_user >"$work/native"
  begin_switching 0.1 "${all_settings[@]}"
  UZSWAP_CHAOS=${3-} "job_$name" run_as_user "${switched[@]}" -m "$2" \
    --backing "$work" -- >"$work/got" 2>"$work/stderr" ||
    fail "$name: $(cat "$work/stderr")"
  end_switching 2
  cat "$work/stderr"
  cmp "$work/native" "$work/got" || fail "$name: other results"
  ! grep -q 'could not be decompressed' "$work/stderr" || fail "$name: bad data"
}

while_switching server 16M
while_switching make 16M
if [ "$size" = full ]; then
  while_switching server 16M 2
  while_switching make 16M 2
fi
