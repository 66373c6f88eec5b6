#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Python: objects, sort, subprocess, fork and threads in a quarter of the memory.
source "$(dirname "$0")/jobs.sh"
requires /usr/bin/python3
compare python "$(choose 40 1100)"
