"""`clean_text`: one line of text from what a page says."""

import re

#: C0 and C1 controls, and halves of surrogate pairs, which no file of ours could hold.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")


def clean_text(text: str) -> str:
    """White space folded to single blanks, none at the ends, control characters taken out."""
    folded = " ".join(text.split())
    if _CONTROL.search(folded):
        folded = " ".join(_CONTROL.sub("", folded).split())
    return folded
