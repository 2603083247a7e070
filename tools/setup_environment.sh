#!/usr/bin/env bash
# Create or update the environment: setup_environment.sh <folder> <python>. uv is used where it is present, else pip.
set -euo pipefail
venv=$1 python=$2

if [ ! -x "$venv/bin/python" ]; then
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || {
        echo "Plumbline needs Python 3.11 or 3.12, but $python is $("$python" --version 2>&1): make setup PYTHON=python3.11" >&2
        exit 2
    }
    "$python" -m venv "$venv"
fi
if command -v uv >/dev/null 2>&1; then
    installer=(uv pip install --python "$venv/bin/python")
else
    installer=("$venv/bin/python" -m pip install --disable-pip-version-check)
fi
"${installer[@]}" --quiet --constraint constraints.txt --editable '.[dev]'
echo "environment ready in $venv"
