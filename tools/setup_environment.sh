#!/usr/bin/env bash
# Create or update the environment: setup_environment.sh <folder> [python]. uv is used where it is present, else pip.
# The environment holds the hash of its requirements, so a second clone that shares it installs nothing. Every command is
# run as python -m from the clone's own folder, which comes first on the module path.
set -euo pipefail
venv=$1 wanted=${2:-}
has_uv() { command -v uv >/dev/null 2>&1; }
stop() { echo "$1" >&2; exit 2; }
suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }
# Debian ships Python without ensurepip; venv fails without it, but only after creating half of the folder.
makes_environments() { has_uv || "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }

# Set $python to the first usable Python of those given; if there is none, stop with a sentence about the best candidate.
choose_python() {
    local candidate without_venv=""
    for candidate in "$@"; do
        suits "$candidate" || continue
        if makes_environments "$candidate"; then python=$candidate; return; fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then
        stop "$without_venv lacks the module venv, which creates the environment: install uv, or on Debian and Ubuntu the package $(basename "$without_venv")-venv."
    fi
    local found
    found=$("$1" --version 2>&1) || found="not there"
    [ -n "$wanted" ] || stop "Plumbline needs Python 3.11 or 3.12, and none of $* is one: install it, or make setup PYTHON=/path/to/python3.11."
    stop "Plumbline needs Python 3.11 or 3.12, but $wanted is ${found##*$'\n'}: make setup PYTHON=/path/to/python3.11."
}

stamp=$venv/.plumbline
requirements=$(cat pyproject.toml constraints.txt | sha256sum)
# A marker beside the folder means that it is being made. A folder with a marker is incomplete and is made again.
marker=${venv%/}.partial
if [ ! -e "$marker" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$requirements" ] && suits "$venv/bin/python"; then exit 0; fi
drop_half() { if [ -e "$marker" ]; then rm -rf "$venv" "$marker"; fi; }
trap drop_half EXIT
drop_half

if [ ! -x "$venv/bin/python" ]; then
    if [ -e "$venv" ] && { [ ! -d "$venv" ] || [ -n "$(ls -A "$venv")" ]; }; then
        stop "$venv exists and is no Python environment: choose another folder with VENV=."
    fi
    if [ -n "$wanted" ]; then choose_python "$wanted"; else choose_python python3.12 python3.11 python3; fi
    mkdir -p "$(dirname "$venv")"
    : >"$marker"
    if has_uv; then make_it=(uv venv --quiet --python "$(command -v "$python")"); else make_it=("$python" -m venv); fi
    "${make_it[@]}" "$venv" || stop "The environment in $venv could not be made (see above) and was removed."
    rm "$marker"
fi
suits "$venv/bin/python" || stop "The Python in $venv is not 3.11 or 3.12 or does not run: choose a new folder with VENV=."

if has_uv; then
    installer=(uv pip install --python "$venv/bin/python")
else
    # An environment that uv made has no pip.
    "$venv/bin/python" -c 'import pip' 2>/dev/null || "$venv/bin/python" -m ensurepip >/dev/null 2>&1 ||
        stop "The environment in $venv has no pip: choose a new folder with VENV=."
    installer=("$venv/bin/python" -m pip install --disable-pip-version-check)
fi
"${installer[@]}" --quiet --constraint constraints.txt --editable '.[dev]' ||
    stop "Not all packages could be installed (see above); run make setup again to continue."
echo "$requirements" >"$stamp"
echo "environment ready in $venv"
