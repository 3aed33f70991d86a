"""Secrets kept by AWS (SSM parameters, Secrets Manager), through Powertools; knows no use of them.

Importing it imports boto3: settings does so only where a variable names such a secret.
"""

from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError


class SecretUnavailable(Exception):
    """AWS did not give a secret; the text names it and never holds it."""


def read_parameter(name: str, lifetime: float) -> str:
    """The decrypted SSM parameter. Raises SecretUnavailable. `lifetime` is in seconds."""
    try:
        return str(parameters.get_parameter(name, decrypt=True, max_age=int(lifetime)))
    except GetParameterError as error:
        raise SecretUnavailable(f"the SSM parameter {name} cannot be read") from error


def read_secret(arn: str, lifetime: float) -> str:
    """The text of a Secrets Manager secret. Raises SecretUnavailable. `lifetime` is in seconds."""
    try:
        return str(parameters.get_secret(arn, max_age=int(lifetime)))
    except GetParameterError as error:
        raise SecretUnavailable(f"the secret {arn} cannot be read") from error
