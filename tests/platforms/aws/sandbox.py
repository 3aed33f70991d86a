"""Runs the built zip in Lambda execution environments: AWS's runtime client under AWS's emulator.

Events go in and results come out; gateway.py adds HTTP.
"""

import http.client
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.platforms.aws.artifact import emulator_binary, lambda_runtime, unpacked_artifact
from tests.support.targets.local import free_port

INVOKE = "/2015-03-31/functions/function/invocations"


class FunctionError(Exception):
    """The function crashed, timed out or returned a result that Lambda cannot encode."""


@dataclass(frozen=True)
class Function:
    """A function of serverless.yml; `timeout` in seconds, `memory` in MB."""

    name: str
    handler: str
    timeout: int = 29
    memory: int = 1024


class Sandbox:
    """One execution environment, which handles one event at a time until `close`."""

    def __init__(self, function: Function, environment: Mapping[str, str], content: Path) -> None:
        self.port, runtime_port = free_port(), free_port()
        log, name = tempfile.mkstemp(prefix=f"sandbox-{function.name}-", suffix=".log")
        self.log = Path(name)
        command: list[str | Path] = [emulator_binary(), "--log-level", "error"]
        command += ["--runtime-interface-emulator-address", f"127.0.0.1:{self.port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{runtime_port}"]
        self.process = subprocess.Popen(
            [*command, *interpreter(), "-m", "awslambdaric", function.handler],
            cwd=content,
            env={**lambda_environment(function, content), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        os.close(log)
        self.timeout = function.timeout

    def invoke(self, event: object) -> object:
        """Return the function's result. Raises FunctionError with Lambda's message."""
        body = json.dumps(event).encode()
        connection = self.connect()
        try:
            connection.request("POST", INVOKE, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            result = json.loads(text)
        except json.JSONDecodeError:
            raise FunctionError(text) from None
        # The emulator sends no X-Amz-Function-Error header: an error is recognized by its keys.
        if response.status != 200 or (isinstance(result, dict) and "errorType" in result):
            raise FunctionError(text)
        return result

    def connect(self) -> http.client.HTTPConnection:
        deadline = time.monotonic() + 10
        while True:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=self.timeout + 30
            )
            try:
                connection.connect()
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"The emulator did not start: {self.output()}") from None
                time.sleep(0.01)
            else:
                return connection

    def output(self) -> str:
        """Return everything that the function and the emulator have printed so far."""
        return self.log.read_text(errors="replace")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.unlink()


class Fleet:
    """Up to `size` sandboxes of one function; as on Lambda, one is started if all are busy."""

    def __init__(self, function: Function, environment: Mapping[str, str], size: int) -> None:
        self.function = function
        self.environment = environment
        self.content = artifact_for(environment)
        lambda_runtime(), emulator_binary()
        self.idle: queue.LifoQueue[Sandbox] = queue.LifoQueue()
        self.slots = threading.Semaphore(size)
        self.started: list[Sandbox] = []

    def invoke(self, event: object) -> object:
        with self.slots:
            try:
                sandbox = self.idle.get_nowait()
            except queue.Empty:
                sandbox = Sandbox(self.function, self.environment, self.content)
                self.started.append(sandbox)
            try:
                return sandbox.invoke(event)
            finally:
                self.idle.put(sandbox)

    def close(self) -> None:
        for sandbox in self.started:
            sandbox.close()


@contextmanager
def running_sandbox(
    function: Function, environment: Mapping[str, str], content: Path | None = None
) -> Generator[Sandbox]:
    sandbox = Sandbox(function, environment, content or artifact_for(environment))
    try:
        yield sandbox
    finally:
        sandbox.close()


def artifact_for(environment: Mapping[str, str]) -> Path:
    """Return the zip that `make deploy-aws` builds for these settings, unpacked."""
    return unpacked_artifact(
        "http" if environment.get("DATABASE_TRANSPORT") == "http" else "postgres",
        # Empty in a stack whose operator left it out.
        None if (environment.get("JWT_ALGORITHM") or "HS256") == "HS256" else "asymmetric",
    )


def interpreter() -> list[str | Path]:
    """Return the command of Python without site-packages, where an unshipped package may be."""
    return [Path(sys.base_prefix) / "bin" / "python3.13", "-S"]


def lambda_environment(function: Function, content: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": f"{content}{os.pathsep}{lambda_runtime()}",
        # The task root is read-only on Lambda.
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(content),
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
