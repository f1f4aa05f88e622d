"""`open_store`: the store that the operator chose."""

from .settings import Settings
from .shard_store import ShardStore
from .storage import LocalStore


class NoStore(Exception):
    """There cannot be such a store; the message says why."""


def open_store(settings: Settings) -> ShardStore:
    """The data directory, or a bucket if one is named.

    Raises:
        NoStore: what is named is no bucket, or there is no key for it.
    """
    if not settings.store_url:
        return LocalStore(settings.data, quota=settings.max_store_bytes)
    # Only here: the libraries take a third of a second to load.
    from .s3_signer import BadStoreURL, NoCredentials, S3Place, find_credentials
    from .s3_store import S3Store

    try:
        place = S3Place.parse(settings.store_url, settings.s3_endpoint)
        credentials = find_credentials()
    except (BadStoreURL, NoCredentials) as error:
        raise NoStore(str(error)) from error
    # Where model files arrive too: one sweep is for both.
    return S3Store(place, credentials, settings.data / "incoming", quota=settings.max_store_bytes)
