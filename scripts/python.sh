#!/usr/bin/env bash
# Prints the first interpreter that runs and is new enough; `python3` when there is none (system.sh then says why).
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$name"
        exit
    fi
done
echo python3
