#!/usr/bin/env bash
# List every experiment with its first comment line and its measured cost: list_experiments.sh [name that was not found]
if [ -n "${1:-}" ]; then echo "There is no experiment '$1'. Known experiments:" >&2; else echo "EXP is not set. Known experiments:" >&2; fi
cd "$(dirname "$0")/.." || exit 1
for file in experiments/[!_]*.yaml; do
    printf '  %-22s %s\n' "$(basename "$file" .yaml)" "$(sed -n '1s/^# *//p' "$file")" >&2
    measured=$(sed -n 's/^# measured: *//p' "$file")
    [ -z "$measured" ] || printf '  %-22s   %s\n' "" "$measured" >&2
done
