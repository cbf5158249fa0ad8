"""Objects of S3 as https addresses: public ones as they are, others signed by obstore with the user's credentials."""

from __future__ import annotations

import os
from datetime import timedelta
from urllib.parse import quote

from satae.errors import ConfigError, SceneError
from satae.fetch import links

VALID = timedelta(hours=6)  # of a signature: a file and all tries to fetch it
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


def endpoint() -> str:
    """The server that the user's environment names in place of Amazon's; nothing where it names none."""
    return os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")


def address(link: str) -> str:
    """The https address of s3://BUCKET/KEY, signed where the environment has credentials of AWS."""
    parts = links.split(link)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    if any(os.environ.get(name) for name in CREDENTIALS):
        return _signed(bucket, key)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    server = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    if endpoint():
        place = f"{endpoint()}/{bucket}"
    elif "." in bucket:  # for which certificates do not hold
        place = f"https://{server}/{bucket}"
    else:
        place = f"https://{bucket}.{server}"
    return f"{place}/{quote(key)}"


def _signed(bucket: str, key: str) -> str:
    try:
        import obstore
        from obstore.store import S3Store
    except ImportError as error:
        raise ConfigError(
            "s3:// with credentials needs obstore: pip install 'satae[net]', or unset them for public files"
        ) from error
    try:
        # it reads the environment itself
        store = S3Store(bucket, client_options={"allow_http": endpoint().startswith("http://")})
        return obstore.sign(store, "GET", key, VALID)
    except (obstore.exceptions.BaseError, ValueError) as error:  # its text may hold what is secret
        raise SceneError(
            f"s3://{bucket}/{key} cannot be signed ({type(error).__name__}); check the variables AWS_ACCESS_KEY_ID, ..."
        ) from None
