"""Reads secrets from AWS: SSM parameters and Secrets Manager, through Powertools Parameters.

Importing this module imports boto3.
"""

import logging

from aws_lambda_powertools.utilities.parameters import SecretsProvider, SSMProvider, clear_caches
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# By default botocore makes several attempts of a minute each, longer than any request may take.
_TIMEOUTS = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})

# A platform may set every logger to DEBUG, at which botocore logs responses with their secrets.
logging.getLogger("botocore").setLevel(logging.INFO)


class SecretUnavailable(Exception):
    """AWS did not return a secret. The message has AWS's reason, and no value."""

    def __init__(self, name: str, error: Exception) -> None:
        reason = " ".join(str(error).split()).rstrip(" .:")
        super().__init__(f"{name} cannot be read: {reason}")


def read_parameter(name: str) -> str:
    """Return the current, decrypted value of an SSM parameter. Raises SecretUnavailable."""
    try:
        provider = SSMProvider(boto_config=_TIMEOUTS)
        return str(provider.get(name, decrypt=True, force_fetch=True))
    except (GetParameterError, BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the SSM parameter {name}", error) from error


def read_secret(arn: str) -> str:
    """Return the current text of a Secrets Manager secret. Raises SecretUnavailable."""
    try:
        return str(SecretsProvider(boto_config=_TIMEOUTS).get(arn, force_fetch=True))
    except (GetParameterError, BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"the secret {arn}", error) from error


def forget() -> None:
    """Clear the cache of Powertools: a snapshot must not contain secrets."""
    clear_caches()
