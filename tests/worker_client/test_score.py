from collections.abc import Iterator

import numpy as np
import pytest

from laion_protocol import DropReason, ModelSpec, Recipe
from tests.late import Late
from tests.worker_client.tiny_clip import make_tiny_clip
from worker_client.pipeline.model_files import OutOfMemory
from worker_client.pipeline.safety import PROMPTS
from worker_client.samples import Decoded, Dropped, Pair, Sample

PIPELINE = "worker_client.pipeline"
torch = Late("torch")
score = Late(f"{PIPELINE}.score")
score_model = Late(f"{PIPELINE}.score_model")
score_text = Late(f"{PIPELINE}.score_text")

TEXTS = [
    "a red chair", "", "x", "a photo of two dogs on the beach, running after a ball",
    "naïve café — 東京タワー 🙂", "word " * 200, "z" * 2000, "<end_of_text> odd", "A RED chair",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    spec, files = make_tiny_clip(tmp_path_factory.mktemp("tiny"))
    return score_model.load(spec, files, device="cpu")


def text_encoder(model):
    return score_text.TextEncoder(model.clip, model.tokenizer, model.device)


def recipe(**settings: object) -> Recipe:
    spec = ModelSpec(config_sha256="0" * 64, weights_sha256="0" * 64)
    return Recipe(kind="warc", model=spec, **{"safety": False, "min_similarity": -1, **settings})


def picture(number: int, text: str | None = None) -> Decoded:
    pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
    pair = Pair(f"https://h/{number}", f"text {number}" if text is None else text, "https://p/")
    return Decoded(pair, pixels, 64, 64, "image/png", 6000, "0" * 32, "0" * 64)


def plain_similarity(model, item: Decoded) -> float:
    """By open_clip's own calls, one picture at a time."""
    pixels = torch.from_numpy(item.pixels).permute(2, 0, 1).float() / 255
    pixels = (pixels - 0.5) / 0.25
    with torch.inference_mode():
        image = model.clip.encode_image(pixels.unsqueeze(0), normalize=True)
        text = model.clip.encode_text(model.tokenizer([item.pair.text]), normalize=True)
    return float((image * text).sum())


def test_texts_cut_to_their_length_embed_as_open_clip_embeds_them(model) -> None:
    ours = text_encoder(model).encode(TEXTS)
    with torch.inference_mode():
        theirs = model.clip.encode_text(model.tokenizer(TEXTS), normalize=True)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours[0], ours[3], atol=1e-2)


def test_a_tower_that_pools_at_a_named_end_token_is_cut_there(
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.clip, "text_pool_type", "eos")
    monkeypatch.setattr(model.clip, "text_eos_id", 49407)
    ours = text_encoder(model).encode(TEXTS)
    with torch.inference_mode():
        theirs = model.clip.encode_text(model.tokenizer(TEXTS), normalize=True)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("change", ["both ways", "last", "another class"])
def test_a_tower_that_reads_its_padding_gets_all_of_it(
    model, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "both ways":
        monkeypatch.setitem(model.clip._buffers, "attn_mask", None)
    elif change == "last":
        monkeypatch.setattr(model.clip, "text_pool_type", "last")
    else:
        monkeypatch.setattr(f"{PIPELINE}.score_text.can_be_cut", lambda _: False)
    ours = text_encoder(model).encode(TEXTS)
    with torch.inference_mode():
        theirs = model.clip.encode_text(model.tokenizer(TEXTS), normalize=True)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_each_distinct_text_is_computed_once(model) -> None:
    seen: list[str] = []

    def tokenizer(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return model.tokenizer(texts)

    encoder = score_text.TextEncoder(model.clip, tokenizer, model.device)
    first = encoder.encode(["a", "b", "a"])
    second = encoder.encode(["b", "c"])
    assert seen == ["a", "b", "c"]
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[1], second[0])


def test_the_text_cache_is_bounded(model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PIPELINE}.score_text._CACHE_TEXTS", 3)
    encoder = text_encoder(model)
    rows = encoder.encode(["a", "b", "c", "d", "e"])
    assert len(rows) == 5
    assert list(encoder._cache) == ["c", "d", "e"]
    # "c" is thrown out by the very call that uses it
    assert torch.allclose(encoder.encode(["f", "g", "c"])[2], rows[2])


def test_samples_have_the_cosine_that_open_clip_gives_and_keep_their_order(
    model,
) -> None:
    dropped = Dropped(picture(99).pair, DropReason.DNS)
    items = [picture(0), dropped, *(picture(n) for n in range(1, 7))]
    results = list(score.Scorer(model, recipe(), batch_size=3).score(items))
    assert dropped in results
    samples = [r for r in results if isinstance(r, Sample)]
    assert [s.decoded.pair.url for s in samples] == [f"https://h/{n}" for n in range(7)]
    for sample in samples:
        wanted = plain_similarity(model, sample.decoded)
        assert sample.similarity == pytest.approx(wanted, abs=1e-5)
        assert (sample.nsfw, sample.embedding) == ("UNTAGGED", None)


def test_pairs_under_the_threshold_are_dropped_with_their_reason(model) -> None:
    items = [picture(n) for n in range(12)]
    wanted = [plain_similarity(model, item) for item in items]
    middle = float(np.float32(sorted(wanted)[6]))
    results = list(score.Scorer(model, recipe(min_similarity=middle - 1e-6)).score(items))
    kept = [r.decoded.pair.url for r in results if isinstance(r, Sample)]
    assert kept == [i.pair.url for i, s in zip(items, wanted, strict=True) if s >= middle - 1e-6]
    reasons = [r.reason for r in results if isinstance(r, Dropped)]
    assert reasons == [DropReason.SIMILARITY] * (12 - len(kept))
    everything = score.Scorer(model, recipe(min_similarity=1), keep_all=True).score(items)
    assert all(isinstance(r, Sample) for r in everything)


def test_a_similarity_that_is_no_number_is_dropped(model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        model.clip, "encode_image", lambda pixels: torch.full((len(pixels), 16), float("nan"))
    )
    (result,) = score.Scorer(model, recipe()).score([picture(1)])
    assert result == Dropped(picture(1).pair, DropReason.SIMILARITY)


@pytest.mark.parametrize(("text", "drop"), [("a chair", False), ("a Child", True)])
def test_the_safety_stage_tags_and_drops(
    model, monkeypatch: pytest.MonkeyPatch, text: str, drop: bool
) -> None:
    seen = []

    def judge(scores: np.ndarray, words: str) -> score.Verdict:
        seen.append((scores.shape, words))
        return score.Verdict(score.Tag.UNSURE, drop="Child" in words)

    monkeypatch.setattr(f"{PIPELINE}.score.judge", judge)
    scorer = score.Scorer(model, recipe(safety=True, embeddings=True))
    (result,) = scorer.score([picture(1, text)])
    assert seen == [((len(PROMPTS),), text)]
    if drop:
        assert result == Dropped(picture(1, text).pair, DropReason.UNSAFE)
        (kept,) = score.Scorer(model, recipe(safety=True), keep_all=True).score([picture(1, text)])
        assert isinstance(kept, Sample)
    else:
        assert isinstance(result, Sample)
        assert result.nsfw == "UNSURE"
        assert result.embedding is not None
        assert result.embedding.dtype == np.float16
        assert np.linalg.norm(result.embedding.astype(np.float32)) == pytest.approx(1, abs=1e-2)


def test_the_scores_that_are_judged_are_cosines_with_the_prompts_in_their_order(
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = text_encoder(model).encode([PROMPTS[25].text])
    monkeypatch.setattr(model.clip, "encode_image", lambda pixels: prompt * 7)
    seen = []
    monkeypatch.setattr(
        f"{PIPELINE}.score.judge",
        lambda scores, words: seen.append(scores) or score.Verdict(score.Tag.NSFW, drop=False),
    )
    list(score.Scorer(model, recipe(safety=True)).score([picture(1)]))
    assert int(seen[0].argmax()) == 25
    assert seen[0][25] == pytest.approx(1, abs=1e-5)


@pytest.fixture
def small_memory(model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device on which at most `room[0]` pictures fit; then the sizes that were tried."""
    room = [3]
    encode = model.clip.encode_image

    def tight(pixels: torch.Tensor) -> torch.Tensor:
        room.append(len(pixels))
        if len(pixels) > room[0]:
            raise torch.OutOfMemoryError("out of memory")
        return encode(pixels)

    monkeypatch.setattr(model.clip, "encode_image", tight)
    return room


def test_a_batch_that_does_not_fit_shrinks_and_nothing_is_lost(
    model, small_memory: list[int]
) -> None:
    items = [picture(n) for n in range(11)]
    results = list(score.Scorer(model, recipe(), batch_size=8).score(items))
    assert [r.decoded.pair.url for r in results if isinstance(r, Sample)] == [
        i.pair.url for i in items
    ]
    assert small_memory[1:] == [8, 4, 2, 2, 2, 2, 2, 1]


def test_a_shrunken_batch_grows_back(
    model, small_memory: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{PIPELINE}.score._GROW_AFTER", 2)

    def items() -> Iterator[Decoded]:
        for number in range(16):
            if number == 8:
                small_memory[0] = 100
            yield picture(number)

    assert len(list(score.Scorer(model, recipe(), batch_size=4).score(items()))) == 16
    assert small_memory[1:] == [4, 2, 2, 4, 2, 2, 4, 4]


def test_a_device_without_room_for_one_picture_is_told_in_words(
    model, small_memory: list[int]
) -> None:
    small_memory[0] = 0
    with pytest.raises(OutOfMemory, match="free some memory"):
        list(score.Scorer(model, recipe(), batch_size=4).score([picture(1)]))


def test_any_other_fault_of_the_model_is_not_taken_for_a_lack_of_memory(
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pixels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(model.clip, "encode_image", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(score.Scorer(model, recipe()).score([picture(1)]))


def test_a_long_word_does_not_hold_up_the_tokenizer(model) -> None:
    import time

    start = time.process_time()
    text_encoder(model).encode(["ж" * 2000, "字" * 2000])
    assert time.process_time() - start < 10
