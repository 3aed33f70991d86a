"""`make audit`: runs pip-audit on every package that may be deployed, and fails unless the
vulnerability service responds for each of them.

Options of pip-audit may follow, for example `--vulnerability-service osv`.
"""

import subprocess
import sys
import tempfile

from dev.lock import ASYMMETRIC


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "pip_audit", "--strict", "--requirement", str(ASYMMETRIC)]
        # Exactly the pinned versions, and no response from an earlier run.
        command += ["--require-hashes", "--disable-pip", "--cache-dir", cache]
        command += ["--desc", "off", "--progress-spinner", "off", *sys.argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    message = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
    result = message.removeprefix("ERROR:pip_audit._cli:")
    if not done.returncode:
        print(result)
    elif done.stdout.strip():
        sys.exit(
            f"{done.stdout}{result}: raise these versions in pyproject.toml, then run make lock."
        )
    else:
        sys.exit(f"The audit is incomplete, run it where pypi.org can be reached: {result}")


if __name__ == "__main__":
    main()
