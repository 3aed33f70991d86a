"""Secrets kept by AWS (SSM parameters, Secrets Manager), through Powertools; knows no use of them.

Importing it imports boto3: settings does so only where a variable names such a secret.
"""

import logging

from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider, clear_caches
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Seconds: botocore would wait for a minute, four times. A slow AWS must not cost a request's life.
_PATIENCE = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})

# At DEBUG, to which a platform may set every logger, it writes each answer, and so the secrets.
logging.getLogger("botocore").setLevel(logging.INFO)


class SecretUnavailable(Exception):
    """AWS did not give a secret; the text names it and never holds it."""


def read_parameter(name: str) -> str:
    """The decrypted SSM parameter, as it is now. Raises SecretUnavailable."""
    try:
        provider = SSMProvider(boto_config=_PATIENCE)
        return str(provider.get(name, decrypt=True, force_fetch=True))
    except (GetParameterError, BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the SSM parameter {name} cannot be read") from error


def read_secret(arn: str) -> str:
    """The text of a Secrets Manager secret, as it is now. Raises SecretUnavailable."""
    try:
        return str(SecretsProvider(boto_config=_PATIENCE).get(arn, force_fetch=True))
    except (GetParameterError, BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the secret {arn} cannot be read") from error


def forget() -> None:
    """Drop what Powertools keeps of the secrets: a snapshot must not hold them."""
    clear_caches()
