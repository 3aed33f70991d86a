"""`make audit`: runs pip-audit on every package that may be deployed.

Fails if a package has a known vulnerability, or if the vulnerability service does not respond for
every package. `python -m dev.audit` accepts pip-audit's options, such as
`--vulnerability-service osv`.
"""

import subprocess
import sys
import tempfile

from dev.lock import ASYMMETRIC, VERCEL


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "pip_audit", "--strict"]
        command += ["--requirement", str(ASYMMETRIC), "--requirement", str(VERCEL)]
        # Only the pinned versions, and without cached responses of an earlier run.
        command += ["--require-hashes", "--disable-pip", "--cache-dir", cache]
        command += ["--desc", "off", "--progress-spinner", "off", *sys.argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    message = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
    result = message.removeprefix("ERROR:pip_audit._cli:")
    if not done.returncode:
        print(result)
    elif done.stdout.strip():
        sys.exit(
            f"{done.stdout}{result}: update these packages in pyproject.toml and run make lock."
        )
    else:
        sys.exit(f"The audit is incomplete. Run it where the package index is reachable: {result}")


if __name__ == "__main__":
    main()
