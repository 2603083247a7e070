#!/usr/bin/env bash
# List every experiment with its first comment line: list_experiments.sh [name that was not found]
if [ -n "${1:-}" ]; then echo "There is no experiment '$1'. Known experiments:" >&2; else echo "EXP is not set. Known experiments:" >&2; fi
cd "$(dirname "$0")/.." || exit 1
for file in experiments/[!_]*.yaml; do
    name=$(basename "$file" .yaml)
    printf '  %-26s %s\n' "$name" "$(head -n 1 "$file" | sed 's/^# *//')" >&2
done
