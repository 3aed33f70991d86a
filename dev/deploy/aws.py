"""`make deploy-aws STAGE=...`: builds, checks, migrates, deploys, tests a stack; needs an account.

Whatever can be found wrong is found before the first change, and the database is changed before the
functions: so the new code never meets an old table.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from psycopg.conninfo import conninfo_to_dict

from dev.deploy import package

ROOT = Path(__file__).parents[2]
SERVERLESS = ROOT / "node_modules" / ".bin" / "serverless"
SERVICE = "task-api"
PACKAGE = ROOT / "build" / "deployment"
TEMPLATE = "cloudformation-template-update-stack.json"
# Each version that SnapStart keeps is billed: the current one, and one to go back to.
KEPT_VERSIONS = 2


class CannotDeploy(Exception):
    """One sentence that says what to do. Nothing was changed, unless it says so."""


def main() -> int:
    """Deploy the stage that STAGE names. Gives the exit status."""
    try:
        deploy(os.environ.get("STAGE", ""), os.environ.get("AWS_REGION", "eu-central-1"))
    except (CannotDeploy, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except NoCredentialsError:
        print(
            "There are no AWS credentials: set AWS_PROFILE, or sign in with aws sso login.",
            file=sys.stderr,
        )
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"AWS refused: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(stage: str, region: str) -> None:
    """All steps, in order. Raises CannotDeploy at the first that fails."""
    check_environment(stage)
    account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
    print(f"Deploying {SERVICE}-{stage} to account {account}, region {region}.", flush=True)

    options = ["--stage", stage, "--region", region]
    if domain := os.environ.get("SMOKE_BASE_URL"):
        options += ["--param", f"smokeBaseUrl={domain}"]
    check_parameters(read_stack(options), stage, region)

    print("Building the zip ...", flush=True)
    extra = "asymmetric" if algorithm() != "HS256" else None
    artifact = package.build("arm64", ROOT / "build" / "lambda.zip", extra=extra)
    print(f"{package.describe(artifact)}, sha256 {artifact.sha256}", flush=True)

    if run(SERVERLESS, "package", *options, "--package", PACKAGE):
        raise CannotDeploy("The template could not be made: see the message above.")
    if run(sys.executable, "-m", "migrations"):
        raise CannotDeploy("The migrations failed, and nothing was deployed: see above.")
    if run(SERVERLESS, "deploy", *options, "--package", PACKAGE):
        raise CannotDeploy(
            "The deployment failed: see above. The database is migrated, the functions are as they"
            " were; old code works with it."
        )
    url = domain or stack_output(stage, region, "HttpApiUrl")
    print(f"\nTesting {url} ...", flush=True)
    if run(sys.executable, "-m", "dev.smoke", url):
        raise CannotDeploy(
            f"The smoke test of {url} failed: the new code serves it. To go back, list what was "
            f"deployed\n  {SERVERLESS.relative_to(ROOT)} deploy list --stage {stage} --region "
            f"{region}\nand return to one\n  {SERVERLESS.relative_to(ROOT)} rollback --stage "
            f"{stage} --region {region} --timestamp ..."
        )
    for name in prune_versions(region):
        print(f"Deleted {name}, which SnapStart still billed.")
    print(f"{url} serves the new version.")


def check_environment(stage: str) -> None:
    """Raise CannotDeploy unless the shell says all that a deployment needs."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", stage) or stage == "local":
        raise CannotDeploy("Name the stage: make deploy-aws STAGE=prod (local is the emulator's).")
    if not SERVERLESS.exists():
        raise CannotDeploy("The deploy tool is not installed: run make deploy-aws, or npm ci.")
    direct = os.environ.get("DATABASE_URL_UNPOOLED")
    if not direct:
        raise CannotDeploy("Set DATABASE_URL_UNPOOLED to the direct URL of the stage's database.")
    if not os.environ.get("CORS_ORIGINS"):
        raise CannotDeploy(
            "Set CORS_ORIGINS to the exact origins of the frontends, as in https://app.example.com."
        )
    if algorithm() == "HS256" and not os.environ.get("BETTER_AUTH_SECRET"):
        raise CannotDeploy("Set BETTER_AUTH_SECRET: the smoke test signs its tokens with it.")


def algorithm() -> str:
    """Of the tokens, as the functions will understand it: what is empty counts as unset."""
    return os.environ.get("JWT_ALGORITHM") or "HS256"


def read_stack(options: list[str]) -> dict[str, Any]:
    """serverless.yml as the deploy tool understands it, for one stage."""
    done = subprocess.run(
        [SERVERLESS, "print", *options, "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotDeploy(f"serverless.yml cannot be read:\n{done.stderr or done.stdout}")
    return json.loads(done.stdout)


def check_parameters(stack: dict[str, Any], stage: str, region: str) -> None:
    """Raise CannotDeploy unless every SSM parameter that the functions will read is there.

    Its value is compared where the shell has one too: two databases or two secrets that should be
    one are the mistake that no later step could explain.
    """
    ssm = boto3.client("ssm", region_name=region)
    for variable, name in named_parameters(stack):
        try:
            found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            raise CannotDeploy(
                f"The SSM parameter {name} does not exist. Make it with\n"
                f"  aws ssm put-parameter --region {region} --type SecureString --name {name} "
                "--value ..."
            ) from None
        if found["Type"] != "SecureString":
            raise CannotDeploy(f"The SSM parameter {name} is not encrypted: make it SecureString.")
        expected = os.environ.get(variable)
        if expected and found["Value"] != expected:
            raise CannotDeploy(
                f"{variable} of this shell is not what the SSM parameter {name} holds: is this the "
                f"environment of {stage}?"
            )
        if variable == "DATABASE_URL":
            check_same_database(found["Value"], os.environ["DATABASE_URL_UNPOOLED"], name)


def named_parameters(stack: dict[str, Any]) -> list[tuple[str, str]]:
    """Each variable that a function finds in SSM, with the name of its parameter."""
    return sorted(
        {
            (variable.removesuffix("_PARAMETER"), value)
            for function in stack["functions"].values()
            for variable, value in function.get("environment", {}).items()
            if variable.endswith("_PARAMETER") and value
        }
    )


def check_same_database(pooled: str, direct: str, name: str) -> None:
    """Raise CannotDeploy where migrations would go to another database than the functions'."""

    def place(url: str) -> tuple[str, str]:
        given = conninfo_to_dict(re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url))
        host = str(given.get("host", ""))
        return host.replace("-pooler.", ".", 1), str(given.get("dbname", ""))

    if place(pooled) != place(direct):
        raise CannotDeploy(
            f"DATABASE_URL_UNPOOLED and the SSM parameter {name} name different databases."
        )


def stack_output(stage: str, region: str, name: str) -> str:
    stacks = boto3.client("cloudformation", region_name=region).describe_stacks(
        StackName=f"{SERVICE}-{stage}"
    )["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stacks[0].get("Outputs") or []}
    if name not in outputs:
        raise CannotDeploy(f"The stack has no output {name}: set SMOKE_BASE_URL to the API's URL.")
    return outputs[name]


def prune_versions(region: str) -> Iterator[str]:
    """Delete the published versions that nobody needs any more; give their names."""
    client = boto3.client("lambda", region_name=region)
    template = json.loads((PACKAGE / TEMPLATE).read_text())
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] != "AWS::Lambda::Function" or "SnapStart" not in properties:
            continue
        function = properties["FunctionName"]
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=function)
        versions = [item["Version"] for page in pages for item in page["Versions"]]
        numbers = sorted(int(version) for version in versions if version.isdecimal())
        for number in numbers[:-KEPT_VERSIONS]:
            client.delete_function(FunctionName=function, Qualifier=str(number))
            yield f"{function}:{number}"


def run(*command: str | Path) -> int:
    return subprocess.run(list(map(str, command)), cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
