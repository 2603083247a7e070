#!/usr/bin/env bash
# List every experiment with its first comment line and its measured cost: list_experiments.sh [unknown name]
cd "$(dirname "$0")/.." || exit 1
if [ -n "${1:-}" ]; then
    known=$(cd experiments && for file in [!_]*.yaml; do echo "${file%.yaml}"; done)
    # shellcheck disable=SC2086  # one word a name
    echo "There is no experiment '$1'$(tools/did_you_mean.sh "$1" $known) Known experiments:" >&2
else
    echo "EXP is not set. Known experiments:" >&2
fi
for file in experiments/[!_]*.yaml; do
    printf '  %-22s %s\n' "$(basename "$file" .yaml)" "$(sed -n '1s/^# *//p' "$file")" >&2
    measured=$(sed -n 's/^# measured: *//p' "$file")
    [ -z "$measured" ] || printf '  %-22s   %s\n' "" "$measured" >&2
done
