#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Perl: strings, a hash, a regular expression in a quarter of the memory.
source "$(dirname "$0")/jobs.sh"
requires perl
compare perl "$(choose 70 1100)"
