#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# sort in memory: the same order in a quarter of the memory.
source "$(dirname "$0")/jobs.sh"
requires sort
compare sort "$(choose 40 1100)"
