# SPDX-License-Identifier: Apache-2.0
# Real programs with a result that can be compared. job_NAME MIB LAUNCHER...
# runs the program behind LAUNCHER with a working set of about MIB MiB and
# prints what must be the same with and without uzswap. Inputs are made once,
# without uzswap.
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

# input NAME COMMAND...: makes $work/NAME once.
input() {
  local file=$work/$1
  shift
  [ -e "$file" ] || "$@" >"$file"
}

text_lines() {  # N: lines in no order, about 50 bytes each
  awk -v n="$1" 'BEGIN {
    x = 12345
    for (i = 0; i < n; ++i) {
      x = (x * 1103515245 + 12345) % 2147483648
      printf "%010d the quick brown fox %d jumps\n", x, i % 977
    }
  }'
}

# sort keeps about 3.4 bytes for each byte of input.
job_sort() {
  local mib=$1
  shift
  input sort.txt text_lines $((mib * 12000))
  "$@" sort -S $((mib * 2))M --parallel=1 "$work/sort.txt" | sha256sum
}

job_python() {
  local mib=$1
  shift
  "$@" /usr/bin/python3 - "$mib" <<'EOF'
import hashlib, json, os, subprocess, sys, threading
n = int(sys.argv[1]) * 3000
# Out of order, but not so much that every comparison is a fault.
rows = [{"id": i, "name": "user %08d" % (i - i % 2000 + i * 7919 % 2000),
         "tags": [i % 7, i % 11]} for i in range(n)]
by_name = sorted(rows, key=lambda r: r["name"])
digest = hashlib.sha256()
for r in by_name[::17]:
    digest.update(json.dumps(r, sort_keys=True).encode())
print("rows", len(rows), digest.hexdigest())
x = 1
for i in range(3000):
    x = x * 1103515245 + 12345 & 0x7fffffff
    rows[x % n]["tags"].append(i)
print("tags", sum(len(r["tags"]) for r in rows))
out = subprocess.run(["tr", "a-z", "A-Z"], input=b"shout\n" * 100000,
                     stdout=subprocess.PIPE).stdout
print("pipe", hashlib.sha256(out).hexdigest())
pid = os.fork()
if pid == 0:
    ok = sum(r["id"] for r in rows) == n * (n - 1) // 2
    os._exit(0 if ok else 1)
print("child", os.waitpid(pid, 0)[1])
total = []
def work(k):
    total.append(sum(r["id"] for r in rows[k::4]))
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print("threads", sum(total) == n * (n - 1) // 2)
EOF
}

job_perl() {
  local mib=$1
  shift
  "$@" perl -e '
    use Digest::SHA qw(sha256_hex);
    my $n = $ARGV[0] * 4000; my (@all, %seen);
    for my $i (0 .. $n - 1) {
      my $line = sprintf("line %08d of text %s",
        $i - $i % 2000 + $i * 7919 % 2000, "x" x ($i % 40));
      push @all, $line;
      $seen{$i % 5000} .= substr($line, 5, 4);
    }
    my $joined = join("\n", sort @all);
    $joined =~ s/text (x+)/length($1)/ge;
    print sha256_hex($joined), "\n";
    print sha256_hex(join(",", map { "$_=$seen{$_}" } sort keys %seen)), "\n";
    open(my $p, "-|", "printf abc; printf def") or die; print <$p>, "\n";
  ' "$mib"
}

# Few large files: packing them is what takes memory.
make_sources() {  # LINES of each
  mkdir -p "$work/tree"
  awk -v dir="$work/tree" -v n="$1" 'BEGIN {
    x = 1
    for (f = 0; f < 8; ++f) {
      name = dir "/file" f ".txt"
      for (i = 0; i < n; ++i) {
        x = (x * 1103515245 + 12345) % 2147483648
        print f, x, "some text that repeats", i % 100 > name
      }
      close(name)
    }
  }'
}

job_git() {
  local mib=$1
  shift
  input tree.made make_sources $((mib * 3000))
  local repo
  repo=$(mktemp -d "$work/repo-XXXXXX")
  chmod 777 "$repo"
  cp -r "$work/tree/." "$repo"
  [ ${#as_user[@]} = 0 ] || chown -R 65534:65534 "$repo"
  # Each git is a process of its own under the limit.
  "$@" bash -eu -c '
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a
    export GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE="2001-01-01 00:00:00 +0000"
    export GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE" GIT_CONFIG_NOSYSTEM=1
    cd "$1"
    git init -q .
    git add .
    git commit -q -m one
    for f in file?.txt; do sed -i "s/repeats/returns/" "$f"; done
    git commit -q -a -m two
    git repack -q -a -d -f --depth=20 --window=8 --window-memory=128m
    git fsck --full --strict
    git rev-parse HEAD
    git log -p --stat | sha256sum
    git rev-list --objects --all | sort | sha256sum
  ' - "$repo"
  rm -rf "$repo"
}

make_cxx() {  # N: templates, with half of the library; 0: little
  if [ "$1" = 0 ]; then
    printf '%s\n' '#include <string>' '#include <vector>' \
      'std::vector<std::string> All(int n, const char* s) {' \
      '  return std::vector<std::string>(n, std::string(s) + "!");' '}'
    return
  fi
  cat <<'EOF'
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Node {
  std::map<std::string, std::variant<int, std::string, std::vector<double>>> m;
  std::regex r{"([a-z]+)([0-9]*)"};
  int Run(const std::string& s) {
    std::smatch x;
    std::vector<std::tuple<int, std::string>> v;
    if (std::regex_match(s, x, r)) v.emplace_back(N, x[1]);
    std::sort(v.begin(), v.end());
    std::function<int(int)> f = [&](int i) { return i + N + (int)v.size(); };
    return f((int)m.size()) + Node<N - 1>().Run(s);
  }
};
template <> struct Node<0> { int Run(const std::string&) { return 0; } };
EOF
  echo "int main(int argc, char** argv) { return Node<$1>().Run(argv[argc - 1]); }"
}

job_gxx() {
  local mib=$1
  shift
  input heavy.cc make_cxx $((mib / 8))
  "$@" g++ -std=c++17 -O1 -S -o - "$work/heavy.cc" | sha256sum
}

# redis: load, change, read back, fork and dump, load the dump elsewhere.
redis() { redis-cli -s "$1/socket" "${@:2}"; }
redis_ready() { [ "$(redis "$1" ping 2>/dev/null)" = PONG ]; }
redis_saved() {
  redis "$1" info persistence | tr -d '\r' >"$1/info"
  grep -qx rdb_bgsave_in_progress:0 "$1/info"
}
redis_start() {  # DIRECTORY LAUNCHER...
  local folder=$1
  shift
  "$@" redis-server --port 0 --unixsocket "$folder/socket" --unixsocketperm 777 \
    --dir "$folder" --save '' --enable-debug-command yes --daemonize no \
    --rdbcompression no >"$folder/log" &
  redis_pid=$!
  cleanup_fn kill -9 $redis_pid 2\>/dev/null
  wait_until 30 redis_ready "$folder"
}
redis_commands() {  # N: SET of 1000 byte values, then some changes
  awk -v n="$1" 'BEGIN {
    filler = "abcdefghij klmnopqrst uvwxyz 0123456789 "
    while (length(filler) < 960) filler = filler filler
    filler = substr(filler, 1, 960)
    gsub(" ", "_", filler)
    for (i = 0; i < n; ++i) printf "SET key:%d %d:%s:%d\r\n", i, i, filler, i * 7
    for (i = 0; i < n; i += 97) printf "APPEND key:%d tail%d\r\n", i, i
    for (i = 0; i < n; i += 31) printf "LPUSH list:%d %d:%s\r\n", i % 101, i, filler
    for (i = 5; i < n; i += 1013) printf "DEL key:%d\r\n", i
  }'
}

job_redis() {
  local mib=$1 folder n
  shift
  n=$((mib * 850))
  folder=$(mktemp -d "$work/redis-XXXXXX")
  chmod 777 "$folder"
  input redis.load redis_commands "$n"
  redis_start "$folder" "$@"
  redis "$folder" --pipe <"$work/redis.load" | tail -1
  redis "$folder" debug digest
  awk -v n="$n" 'BEGIN { for (i = 0; i < n; i += 211) print "GET key:" i }' |
    redis "$folder" | sha256sum
  redis "$folder" bgsave >/dev/null
  redis "$folder" set after-fork 1
  wait_until 120 redis_saved "$folder"
  grep -x rdb_last_bgsave_status:ok "$folder/info"
  redis "$folder" shutdown nosave || true
  wait $redis_pid || fail "redis-server ended with $?: $(tail -5 "$folder/log")"
  # Order and times differ from dump to dump; the content must not.
  redis_start "$folder" env
  redis "$folder" debug digest
  redis "$folder" shutdown nosave || true
  wait $redis_pid || fail "the dump cannot be loaded"
  rm -rf "$folder"
}

# compare NAME MIB: natively, then under uzswap with a quarter of the memory
# that it took natively; same result, and the limit kept.
compare() {
  local name=$1 mib=$2 native limit
  "job_$name" "$mib" run_as_user "$sampler" "$work/native.peak" -- \
    >"$work/native.out"
  native=$(peak "$work/native.peak")
  limit=$((native / 4 > 16384 ? native / 4 : 16384))
  local begin=$SECONDS
  "job_$name" "$mib" run_as_user "$sampler" "$work/peak" -- "$uzswap" run \
    --memory ${limit}K --backing "$work" -- \
    >"$work/out" 2>"$work/stderr" || fail "$name: $(cat "$work/stderr")"
  cat "$work/stderr"
  echo "$name: native peak $native KiB, limit $limit KiB, peak" \
    "$(peak "$work/peak") KiB, $((SECONDS - begin)) s"
  cmp "$work/native.out" "$work/out" ||
    fail "$name: other results under uzswap: $(diff "$work/native.out" \
      "$work/out" | head -20)"
  grep -q '^uzswap: ' "$work/stderr" || fail "$name: no summary"
  expect_peak "$work/peak" "$limit"
}

# compare_chaos NAME MIB: everything is evicted every 2 ms.
compare_chaos() {
  local name=$1 mib=$2
  "job_$name" "$mib" run_as_user >"$work/native.out"
  UZSWAP_CHAOS=2 "job_$name" "$mib" run_as_user "$uzswap" run \
    --memory 256M --process-memory 64M \
    --backing "$work" -- >"$work/out" 2>"$work/stderr" ||
    fail "$name with chaos: $(cat "$work/stderr")"
  cat "$work/stderr"
  cmp "$work/native.out" "$work/out" ||
    fail "$name: other results with chaos: $(diff "$work/native.out" \
      "$work/out" | head -20)"
}

# quick MIB full MIB: the one that was asked for.
choose() { [ "$size" = full ] && echo "$2" || echo "$1"; }
