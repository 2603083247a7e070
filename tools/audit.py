"""Look the installed dependencies up in a database of known vulnerabilities: ``python -m tools.audit``.

``pip-audit`` does it where it is installed and its database can be reached; otherwise one line says that nothing was
checked, and the exit code is 0.
"""

import importlib.util
import subprocess
import sys

TIMEOUT_S = 120
_UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "Max retries",
    "ServiceError",
    "ProxyError",
    "HTTPError",
)


def main() -> int:
    """Run the audit.

    Returns:
        0 if nothing is known against the dependencies or they cannot be checked, else 1.
    """
    if importlib.util.find_spec("pip_audit") is None:
        sys.stdout.write("dependencies are not audited: pip-audit is not installed (pip install pip-audit)\n")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"dependencies are not audited: pip-audit had no answer within {TIMEOUT_S} s\n")
        return 0
    if done.returncode != 0 and any(word in done.stderr for word in _UNREACHABLE):
        sys.stdout.write("dependencies are not audited: the database of vulnerabilities cannot be reached\n")
        return 0
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
