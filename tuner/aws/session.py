"""The connection to AWS, and what is wrong with it in one sentence each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tuner.aws.limits import INSTALL, is_installed
from tuner.errors import TunerError
from tuner.sagemaker_block import SageMakerBlock

ATTEMPTS = 8
GONE = ("404", "NoSuchBucket", "NotFound")
THROTTLED = ("ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded")


class AwsError(TunerError):
    """AWS is not set up, refuses, or does not answer."""


class AwsUnreachable(AwsError):
    """No answer, or too many requests: worth another try later."""

    exit_status = 1


@dataclass(frozen=True)
class Aws:
    """The clients that a sweep needs, for one region of one account."""

    region: str
    account: str
    sagemaker: Any
    s3: Any
    logs: Any
    scheduler: Any


def connect(region: str | None = None) -> Aws:
    """The clients; AwsError says which of region and credentials is missing and how to set it.

    One request (sts:GetCallerIdentity) tells whether AWS accepts the credentials.
    """
    if not is_installed():
        raise AwsError(f"SageMaker needs packages that are not installed: {INSTALL}")
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
        if session.region_name is None:
            raise AwsError(
                "no AWS region is set: add region: to the sagemaker block, "
                "or set AWS_DEFAULT_REGION, or run `aws configure`"
            )
        if session.get_credentials() is None:
            raise AwsError(
                "no AWS credentials were found: run `aws configure` (or `aws sso login`), or set "
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        # Adaptive retries slow down by themselves when AWS says that requests come too fast.
        config = Config(retries={"mode": "adaptive", "max_attempts": ATTEMPTS})
        with speaking("sts:GetCallerIdentity"):
            account = session.client("sts", config=config).get_caller_identity()["Account"]
        return Aws(
            session.region_name, account,
            session.client("sagemaker", config=config),
            session.client("s3", config=config),
            session.client("logs", config=config),
            session.client("scheduler", config=config),
        )  # fmt: skip
    except BotoCoreError as exc:  # an unknown profile, a broken configuration file
        raise AwsError(f"AWS cannot be used: {_sentence(exc)}") from exc


@contextmanager
def speaking(action: str) -> Iterator[None]:
    """Turns boto3's errors within into one sentence each; `action` is what IAM calls the request."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
    )

    try:
        yield
    except ClientError as exc:
        raise _client_error(exc, action) from exc
    except NoCredentialsError as exc:
        raise AwsError(f"no AWS credentials for {action}: run `aws configure`") from exc
    except (ConnectionError, HTTPClientError) as exc:
        raise AwsUnreachable(f"AWS does not answer ({action}): {_sentence(exc)}") from exc
    except (BotoCoreError, Boto3Error) as exc:  # the latter: S3's transfers
        raise AwsError(f"{action} failed: {_sentence(exc)}") from exc


def code_of(exc: BaseException | None) -> str:
    """AWS's code of the error behind one of ours; empty where there is none."""
    response = getattr(exc, "response", None) or getattr(
        getattr(exc, "__cause__", None), "response", {}
    )
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _client_error(exc: Any, action: str) -> AwsError:
    code, message = code_of(exc), str(exc.response.get("Error", {}).get("Message", "")).strip()
    if (
        code in THROTTLED
        or exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    ):
        return AwsUnreachable(f"AWS is busy ({action}: {code})")
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        return AwsError("the AWS credentials have expired: renew them and run the command again")
    if code in ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"):
        return AwsError(f"AWS does not accept the credentials ({code}): check `aws configure`")
    if code in ("AccessDenied", "AccessDeniedException", "403"):
        said = f": {message}" if message and message != "Forbidden" else ""
        return AwsError(
            f"these AWS credentials may not {action}{said} (docs/sagemaker.md has the policy)"
        )
    if code in ("ResourceLimitExceeded", "ServiceQuotaExceededException"):
        return AwsError(f"a quota of the AWS account is used up ({action}): {message}")
    return AwsError(f"AWS refused {action}: {message or code}")


def _sentence(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def choose_bucket(aws: Aws, block: SageMakerBlock) -> str:
    """The bucket of the block, or SageMaker's usual one; AwsError where it cannot be used."""
    name = block.bucket or f"sagemaker-{aws.region}-{aws.account}"
    # Anybody can guess the usual name, and have made that bucket first.
    owner = {} if block.bucket else {"ExpectedBucketOwner": aws.account}
    try:
        with speaking("s3:ListBucket"):
            said = aws.s3.head_bucket(Bucket=name, **owner)
    except AwsUnreachable:
        raise
    except AwsError as exc:
        code = code_of(exc)
        if code in GONE:
            raise AwsError(
                f"the bucket {name} does not exist: make it with `aws s3 mb s3://{name} "
                f"--region {aws.region}`, or name another with sagemaker.bucket"
            ) from exc
        raise
    # botocore follows the bucket to its own region by itself; training jobs do not.
    region = said.get("BucketRegion") or said["ResponseMetadata"]["HTTPHeaders"].get(
        "x-amz-bucket-region", aws.region
    )
    if region != aws.region:
        raise AwsError(
            f"the bucket {name} is in {region}, the jobs are to run in {aws.region}; training jobs "
            "need a bucket in their own region: name it with sagemaker.bucket"
        )
    return name


def training_image(block: SageMakerBlock, region: str) -> str:
    """The block's own image, or AWS's PyTorch training container for its first instance type."""
    if block.image:
        return block.image
    import logging

    logging.getLogger("sagemaker").setLevel(logging.ERROR)
    try:
        from sagemaker.core import image_uris
    except ImportError as exc:
        raise AwsError(f"sagemaker.image is not set, and finding one needs: {INSTALL}") from exc
    try:
        uri: str = image_uris.retrieve(
            framework="pytorch", region=region, version=block.pytorch,
            instance_type=block.instance_types[0], image_scope="training",
        )  # fmt: skip
    except ValueError as exc:
        raise AwsError(
            f"sagemaker.pytorch {block.pytorch}: {_sentence(exc)[:300]}; "
            "name another version, or a whole address with sagemaker.image"
        ) from exc
    return uri
