"""`make deploy-aws STAGE=...`: checks the settings, builds, migrates, deploys and tests a stack.

Everything that can be checked is checked before the first change. The database is migrated before
the functions are deployed, so that new code never runs on an old schema.
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

from dev.deploy import package
from dev.deploy.databases import INTERRUPTED, is_same_database

ROOT = Path(__file__).parents[2]
SERVERLESS = ROOT / "node_modules" / ".bin" / "serverless"
# For messages: npx runs it with the Node.js of node_modules.
NPX = "npx --no-install serverless"
SERVICE = "task-api"
PACKAGE = ROOT / "build" / "deployment"
TEMPLATE = "cloudformation-template-update-stack.json"
# SnapStart is billed for every published version. Keep the current one and one for a rollback.
KEPT_VERSIONS = 2


class CannotDeploy(Exception):
    """The deployment stopped. The text says what to do, and what has been changed, if anything."""


def main() -> int:
    """Deploy the stage that STAGE names. Return the exit status."""
    try:
        deploy(os.environ.get("STAGE", ""), os.environ.get("AWS_REGION", "eu-central-1"))
    except (CannotDeploy, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except NoCredentialsError:
        print(
            "No AWS credentials found: set AWS_PROFILE, or sign in with aws sso login.",
            file=sys.stderr,
        )
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"A request to AWS failed: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(stage: str, region: str) -> None:
    """Run all steps in order. Raises CannotDeploy, RuntimeError or botocore's errors."""
    check_environment(stage)
    account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
    print(f"Deploying {SERVICE}-{stage} to account {account}, region {region}.", flush=True)

    options = ["--stage", stage, "--region", region]
    if domain := os.environ.get("SMOKE_BASE_URL"):
        options += ["--param", f"smokeBaseUrl={domain}"]
    check_parameters(read_stack(options), stage, region)

    print("Building the zip ...", flush=True)
    extra = "asymmetric" if algorithm() != "HS256" else None
    over_http = os.environ.get("DATABASE_TRANSPORT", "").strip().lower() == "http"
    transport = "http" if over_http else "postgres"
    zipped = ROOT / "build" / "lambda.zip"
    artifact = package.build("arm64", zipped, extra=extra, transport=transport)
    print(f"{package.describe(artifact)}, sha256 {artifact.sha256}", flush=True)

    if run(SERVERLESS, "package", *options, "--package", PACKAGE):
        raise CannotDeploy("The CloudFormation template could not be generated: see above.")
    if run(sys.executable, "-m", "migrations"):
        raise CannotDeploy("The migrations failed; nothing was deployed: see above.")
    if run(SERVERLESS, "deploy", *options, "--package", PACKAGE):
        raise CannotDeploy(
            "The deployment failed: see above. The database is migrated and the functions are "
            "unchanged; they work with the migrated database."
        )
    url = domain or stack_output(stage, region, "HttpApiUrl")
    print(f"\nRunning the smoke test of {url} ...", flush=True)
    if run(sys.executable, "-m", "dev.smoke", url):
        raise CannotDeploy(
            f"The smoke test of {url} failed, and the new version is live. To roll back, list the "
            f"deployments\n  {NPX} deploy list --stage {stage} --region {region}\nand choose one "
            f"of them\n  {NPX} rollback --stage {stage} --region {region} --timestamp ..."
        )
    for name in prune_versions(region):
        print(f"Deleted the old version {name}.")
    print(f"{url} serves the new version.")


def check_environment(stage: str) -> None:
    """Raise CannotDeploy unless the environment has every variable that a deployment needs."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", stage) or stage == "local":
        raise CannotDeploy(
            "Name the stage: make deploy-aws STAGE=prod (letters, digits and hyphens, at most 20; "
            "local is the emulator's)."
        )
    if not SERVERLESS.exists():
        raise CannotDeploy("osls is not installed: run make deploy-aws, or npm ci.")
    direct = os.environ.get("DATABASE_URL_UNPOOLED")
    if not direct:
        raise CannotDeploy("Set DATABASE_URL_UNPOOLED to the direct URL of the stage's database.")
    if not os.environ.get("CORS_ORIGINS"):
        raise CannotDeploy(
            "Set CORS_ORIGINS to the origins of the frontends, for example https://app.example.com."
        )
    if algorithm() == "HS256" and not os.environ.get("BETTER_AUTH_SECRET"):
        raise CannotDeploy("Set BETTER_AUTH_SECRET: the smoke test signs its tokens with it.")


def algorithm() -> str:
    """Return the signature algorithm of the tokens. An empty variable counts as unset."""
    return os.environ.get("JWT_ALGORITHM") or "HS256"


def read_stack(options: list[str]) -> dict[str, Any]:
    """Return serverless.yml with its variables resolved. Raises CannotDeploy."""
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
    """Raise CannotDeploy unless the functions can read every SSM parameter that they name.

    If the environment has the same variable, the values must be equal. With two different databases
    or secrets, a later step would fail without naming the cause.
    """
    ssm = boto3.client("ssm", region_name=region)
    for variable, name in named_parameters(stack):
        # The roles append the name to "...:parameter", so a name without a slash matches no role.
        if not name.startswith("/"):
            raise CannotDeploy(
                f"The name of the SSM parameter {name} must begin with a slash, as in "
                f"/{SERVICE}/{stage}/{name}: change the params of serverless.yml."
            )
        try:
            found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            raise CannotDeploy(
                f"The SSM parameter {name} does not exist. Create it with\n"
                f"  aws ssm put-parameter --region {region} --type SecureString --name {name} "
                "--value ..."
            ) from None
        if found["Type"] != "SecureString":
            raise CannotDeploy(
                f"The SSM parameter {name} is not encrypted: change its type to SecureString."
            )
        expected = os.environ.get(variable)
        if expected and found["Value"] != expected:
            raise CannotDeploy(
                f"{variable} differs from the value of the SSM parameter {name}: check that the "
                f"environment is the one of {stage}."
            )
        if variable == "DATABASE_URL":
            check_same_database(found["Value"], os.environ["DATABASE_URL_UNPOOLED"], name)


def named_parameters(stack: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each variable that a function reads from SSM, with the name of its parameter."""
    return sorted(
        {
            (variable.removesuffix("_PARAMETER"), value)
            for function in stack["functions"].values()
            for variable, value in function.get("environment", {}).items()
            if variable.endswith("_PARAMETER") and value
        }
    )


def check_same_database(pooled: str, direct: str, name: str) -> None:
    """Raise CannotDeploy if the migrations and the functions would use different databases."""
    try:
        is_same = is_same_database(pooled, direct)
    except ValueError as error:
        raise CannotDeploy(f"DATABASE_URL_UNPOOLED or the SSM parameter {name} {error}.") from None
    if not is_same:
        raise CannotDeploy(
            f"DATABASE_URL_UNPOOLED and the SSM parameter {name} name different databases."
        )


def stack_output(stage: str, region: str, name: str) -> str:
    """Return one output of the deployed stack. Raises CannotDeploy if there is none."""
    stacks = boto3.client("cloudformation", region_name=region).describe_stacks(
        StackName=f"{SERVICE}-{stage}"
    )["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stacks[0].get("Outputs") or []}
    if name not in outputs:
        raise CannotDeploy(f"The stack has no output {name}: set SMOKE_BASE_URL to the API's URL.")
    return outputs[name]


def prune_versions(region: str) -> Iterator[str]:
    """Delete all published versions except the newest ones. Yield their names."""
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
