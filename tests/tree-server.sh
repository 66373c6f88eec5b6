#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Servers that fork, with all their processes under one limit, well below what
# they take natively: answers are the same, the sum is kept. redis dumps in a
# child while it is written to; in the full form, and where it is installed,
# postgresql has a process for each of its clients.
source "$(dirname "$0")/functions.sh"
requires redis-server redis-cli

# compare NAME PERCENT: job_NAME LAUNCHER... starts the server behind LAUNCHER,
# asks it, stops it, and prints what must be the same.
compare() {
  local name=$1 percent=$2 native limit begin=$SECONDS
  mkdir -m 777 "$work/$name"
  "job_$name" run_as_user "$sampler" --tree "$work/native.peak" -- \
    >"$work/native"
  native=$(share "$work/native.peak")
  limit=$((native * percent / 100))
  echo "$name natively: $((SECONDS - begin)) s, $native KiB"
  rm -rf "${work:?}/$name" && mkdir -m 777 "$work/$name"
  begin=$SECONDS
  "job_$name" run_as_user "$sampler" --tree "$work/peak" -- "$uzswap" run \
    --memory ${limit}K --backing "$work" -- >"$work/got"
  echo "$name under $limit KiB: $((SECONDS - begin)) s," \
    "$(share "$work/peak") KiB"
  grep -A 9 '^uzswap: ' "$work/$name/log" || fail "$name: no summary"
  cmp "$work/native" "$work/got" ||
    fail "$name: other answers: $(diff "$work/native" "$work/got" | head)"
  expect_share "$work/peak" "$limit" 110
}

redis() { redis-cli -s "$work/redis/socket" "$@"; }
redis_ready() { [ "$(redis ping 2>/dev/null)" = PONG ]; }
redis_saved() { redis info persistence | grep -q rdb_bgsave_in_progress:0; }
redis_load() {  # FROM: values that compress, by half
  awk -v from="$1" 'BEGIN {
    for (i = from; i < 30000; i += 2) {
      x = i + 1; text = ""
      for (k = 0; k < 60; ++k) {
        x = (x * 69069 + 1) % 4294967296
        text = text x
      }
      printf "SET key:%d %d:%s\r\n", i, i, text
    }
  }'
}
# All is changed while the child writes: the parent copies each page.
job_redis() {
  "$@" redis-server --port 0 --unixsocket "$work/redis/socket" \
    --unixsocketperm 777 --dir "$work/redis" --save '' --daemonize no \
    --enable-debug-command yes --rdbcompression no >"$work/redis/log" 2>&1 &
  local pid=$! dumps
  cleanup_fn kill -9 $pid 2\>/dev/null
  wait_until 20 redis_ready
  redis_load 0 | redis --pipe | tail -1
  for dumps in $(seq "$([ "$size" = full ] && echo 8 || echo 1)"); do
    redis bgsave >/dev/null
    redis_load 1 | redis --pipe | tail -1
    redis eval 'for i = 0, 29999, 2 do
      redis.call("APPEND", "key:" .. i, ARGV[1]) end' 0 "$dumps" >/dev/null
    wait_until 60 redis_saved
    redis info persistence | tr -d '\r' | grep -x rdb_last_bgsave_status:ok
  done
  redis debug digest
  redis shutdown nosave || true
  wait $pid || fail "redis-server ended with $?: $(tail -5 "$work/redis/log")"
}

for postgres in /usr/lib/postgresql/*/bin; do :; done
sql() { PGOPTIONS=-cclient_min_messages=error "$postgres/psql" -qAtX -U tester \
  -h "$work/postgres" -d postgres "$@"; }
postgres_ready() { sql -c 'select 1' >"$work/ignored" 2>&1; }
# Each client sorts, joins and groups in the memory of its own process.
postgres_client() {
  local round
  for round in 1 2 3; do
    sql -c "set work_mem = '96MB'; set jit = off;
      select count(*), md5(string_agg(t, ',' order by t)) from (
        select md5((i * 7919 + $1)::text) t
        from generate_series(1, 120000) i) x;
      select sum(a.i * b.n), count(distinct b.n) from
        (select i, i % 997 k from generate_series(1, 100000) i) a join
        (select k, count(*) n from (select i * $round % 997 k
          from generate_series(1, 100000) i) y group by k) b using (k)"
  done
}
job_postgres() {
  local data=$work/postgres/data pid client
  run_as_user "$postgres/initdb" -D "$data" -U tester -A trust -E UTF8 -N \
    --locale=C >"$work/ignored" 2>&1 || fail "initdb: $(cat "$work/ignored")"
  "$@" "$postgres/postgres" -D "$data" -k "$work/postgres" \
    -c listen_addresses= -c shared_buffers=2MB -c fsync=off \
    -c max_parallel_workers_per_gather=0 -c max_connections=12 \
    -c huge_pages=off >"$work/postgres/log" 2>&1 &
  pid=$!
  cleanup_fn kill -9 $pid 2\>/dev/null
  wait_until 60 postgres_ready
  local clients=()
  for client in 1 2 3 4 5 6; do
    postgres_client $client >"$work/postgres/answer$client" 2>&1 &
    clients+=($!)
  done
  for client in "${clients[@]}"; do
    wait "$client" || echo "a client failed"
  done
  cat "$work"/postgres/answer?
  kill -INT "$(head -1 "$data/postmaster.pid")"
  wait $pid || fail "postgres ended with $?: $(tail -5 "$work/postgres/log")"
}

compare redis 50
[ "$size" = full ] || exit 0
[ -x "$postgres/initdb" ] || { echo "skipped: no postgresql" && exit 77; }
compare postgres 50
