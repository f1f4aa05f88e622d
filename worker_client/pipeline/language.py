"""`language_of`: the language of a short text, by Google's Compact Language Detector 2."""

import pycld2

#: Told when CLD2 is not sure. Most alt texts are names and numbers of no language.
UNDETERMINED = "un"
#: What LAION gave its detector at most, bytes of UTF-8.
MAX_BYTES = 2000

#: CLD2 has kept some codes that ISO 639-1 replaced, and writes Chinese by script.
_RENAMED = {"iw": "he", "jw": "jv", "in": "id", "ji": "yi", "mo": "ro", "zh-Hant": "zh"}


def language_of(text: str) -> str:
    """An ISO 639-1 code (639-2 where the language has none), or `UNDETERMINED`."""
    clipped = text.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore")
    try:
        reliable, _, details = pycld2.detect(clipped)
    except pycld2.error:  # refuses some code points that are no characters
        return UNDETERMINED
    code: str = details[0][1]
    return _RENAMED.get(code, code) if reliable else UNDETERMINED
