"""One named reason for each pair that is dropped and each record that is damaged.

The same word stands in a shard's manifest, the statistics, the CLI, and Discord.
"""

from enum import StrEnum


class DropReason(StrEnum):
    """Why a pair did not become a row of the shard. Kept + dropped = seen."""

    # screened before anything is fetched
    URL_INVALID = "url_invalid"  #: not an http(s) URL with a host
    URL_TOO_LONG = "url_too_long"
    URL_BLOCKED = "url_blocked"  #: a kind of file that is never a photograph: .svg, .ico …
    TEXT_TOO_SHORT = "text_too_short"
    LANGUAGE = "language"  #: not one of the recipe's languages
    DUPLICATE_PAIR = "duplicate_pair"  #: same URL and text as an earlier pair of this shard
    KNOWN_PAIR = "known_pair"  #: another shard of the project has, or is about to have, this pair
    # met while downloading
    ADDRESS_REFUSED = (
        "address_refused"  #: private, loopback, link-local, metadata … or a port but 80/443
    )
    DNS = "dns"
    CONNECT = "connect"  #: refused, reset or unreachable
    TLS = "tls"
    TIMEOUT = "timeout"  #: the deadline of the whole transfer, or too slow for too long
    TOO_MANY_REDIRECTS = "too_many_redirects"
    HTTP_STATUS = "http_status"  #: any answer but 200
    OPTED_OUT = "opted_out"  #: X-Robots-Tag: noai, noimageai, noindex or noimageindex
    NOT_AN_IMAGE = (
        "not_an_image"  #: the answer calls itself something else, or its bytes are no image
    )
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_FEW_BYTES = "too_few_bytes"
    # met while decoding
    FORMAT_REFUSED = "format_refused"  #: an image, of a format outside the recipe's list
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"  #: a side shorter than the recipe's least
    BROKEN_IMAGE = "broken_image"  #: truncated or corrupt
    DECODE_LIMIT = "decode_limit"  #: the confined decoder ran out of its time or memory
    # after scoring
    SIMILARITY = "similarity"  #: CLIP finds that image and text do not belong together
    UNSAFE = "unsafe"  #: the recipe's safety rule


class Damage(StrEnum):
    """What was wrong with a record or file that could not be read whole. Counted, never fatal."""

    RECORD_BROKEN = "record_broken"  #: no parsable WARC or HTTP header
    RECORD_TRUNCATED = "record_truncated"  #: the file ends inside a record
    ENCODING_BROKEN = "encoding_broken"  #: Content-Encoding or chunking that does not decode
    JSON_BROKEN = "json_broken"  #: a WAT record that is not the JSON it should be
    PAGE_BROKEN = "page_broken"  #: a page that the parser refused
