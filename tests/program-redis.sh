#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Redis: load, read back, BGSAVE (fork), in a quarter of the memory.
source "$(dirname "$0")/jobs.sh"
requires redis-server redis-cli
compare redis "$(choose 100 1100)"
