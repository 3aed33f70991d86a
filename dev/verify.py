"""What `make verify` adds to `make test`: real components, the contract on each platform."""

import subprocess
import sys
import time

PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
# Each a module of tests/support/targets. Hand-made bytes would test their stand-in for the gateway.
TARGETS = ("offline", "lambda_runtime", "vercel_runtime")
# The emulator cannot pass everything: what, and why, is listed beside it, and must fail.
DEVIATING = {"offline": ["-p", "tests.support.targets.deviations", "-rfE"]}
STAGES = {
    f"contract on {name}": [*f"tests/contract --target {name} -m".split(), "not raw", *known]
    for name in TARGETS
    for known in [DEVIATING.get(name, [])]
}
# They wait much, so that one worker more than processors is worth it. The last, so that its closing
# line is the last as well.
STAGES |= {"real components": ["-m", "verify", "-n", "3"]}


def main() -> None:
    failed = []
    for name, arguments in STAGES.items():
        print(f"\n{name} ...", flush=True)
        began = time.monotonic()
        if subprocess.run([*PYTEST, *arguments], check=False).returncode:
            failed.append(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
