"""How X-Robots-Tag and tdm-reservation are read."""

import pytest

from worker_client.pipeline.optout import opted_out, product_token

BOT = "laion-worker"


@pytest.mark.parametrize(
    "tags",
    [
        ["noai"], ["noimageai"], ["noindex"], ["noimageindex"], ["none"], ["NoAI"],
        ["nofollow, noai"], ["noai,nofollow"], [" noai "], ["nofollow", "noimageai"],
        ["laion-worker: noai"], ["LAION-Worker:noindex, nofollow"], ["*: noai"],
        ["otherbot: nofollow, laion-worker: noindex"], ["otherbot: nofollow", "noai"],
        ["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], ["max-snippet:20, noimageindex"],
        ["noai:"],
    ],
)  # fmt: skip
def test_a_tag_that_means_everyone_or_us_opts_out(tags):
    assert opted_out(tags, None, BOT)


@pytest.mark.parametrize(
    "tags",
    [
        [], [""], ["all"], ["nofollow"], ["noarchive, nosnippet"], ["index, follow"],
        ["otherbot: noai"], ["otherbot: nofollow, noai"], ["laion-worker: all, otherbot: noindex"],
        ["googlebot: noindex", "bingbot: noimageindex"], ["xnoai"], ["noai-not"], ["no ai"],
        ["max-image-preview: none"],
    ],
)  # fmt: skip
def test_a_tag_that_means_others_or_something_else_does_not(tags):
    assert not opted_out(tags, None, BOT)


def test_a_reservation_of_text_and_data_mining_opts_out():
    assert opted_out([], "1", BOT)
    assert opted_out([], " 1 ", BOT)
    assert not opted_out([], "0", BOT)
    assert not opted_out([], "", BOT)


def test_sites_address_us_by_the_first_word_of_the_user_agent():
    assert product_token("Laion-Worker/0.1 (+https://example.org/bot)") == "laion-worker"
    assert product_token("laion-worker (+https://example.org/bot)") == "laion-worker"
