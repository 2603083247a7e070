#!/usr/bin/env bash
# Install the packages of an extra of pyproject.toml where they are missing: install_extra.sh <environment> <extra> <module>...
# The modules are those whose import shows that it is there. Only its packages are installed: the project itself stays
# installed from the clone that the environment was made for.
set -euo pipefail
venv=$1 extra=$2
shift 2
if "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))' "$@" >/dev/null 2>&1; then
    exit 0
fi

echo "installing the packages of the extra '$extra' into $venv" >&2
list=$("$venv/bin/python" - "$extra" <<'PYTHON'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["optional-dependencies"][sys.argv[1]]))
PYTHON
)
mapfile -t packages <<<"$list"
if command -v uv >/dev/null 2>&1; then
    installer=(uv pip install --python "$venv/bin/python")
else
    installer=("$venv/bin/python" -m pip install --disable-pip-version-check --retries 1)
fi
if ! "${installer[@]}" --quiet --constraint constraints.txt "${packages[@]}"; then
    echo "The packages of the extra '$extra' could not be installed (see above); they are needed once, from a network: ${packages[*]}." >&2
    exit 2
fi
