import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laion_protocol import ModelSpec
from tests.late import Late
from tests.worker_client.tiny_clip import CONFIG, make_tiny_clip, sha256, spec_of
from worker_client.pipeline.model_files import ModelFiles, ModelUnavailable, ModelUnusable

PIPELINE = "worker_client.pipeline"
torch = Late("torch")
open_clip = Late("open_clip")
score_model = Late(f"{PIPELINE}.score_model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, ModelFiles]:
    return make_tiny_clip(tmp_path_factory.mktemp("tiny"))


def test_a_model_from_files_is_the_one_open_clip_loads(
    tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path
) -> None:
    spec, files = tiny
    model = score_model.load(spec, files, device="cpu")

    (tmp_path / "open_clip_config.json").write_bytes(files.config.read_bytes())
    (tmp_path / "open_clip_model.safetensors").write_bytes(files.weights.read_bytes())
    theirs, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{tmp_path}", require_pretrained=True
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    tensor = preprocess(picture).unsqueeze(0)
    with torch.inference_mode():
        assert torch.allclose(
            model.clip.encode_image(tensor), theirs.eval().encode_image(tensor), atol=1e-6
        )
    assert model.weights_sha256 == sha256(files.weights)
    assert (model.image_size, model.mean, model.std) == (32, (0.5,) * 3, (0.25,) * 3)
    assert model.dtype == torch.float32


def test_a_config_without_a_wrapper_is_taken_with_open_clips_usual_preparation(
    tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path
) -> None:
    plain = ModelFiles(tmp_path / "plain.json", tiny[1].weights)
    plain.config.write_text(json.dumps(CONFIG["model_cfg"]))
    model = score_model.load(spec_of(plain), plain, device="cpu")
    assert model.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_files_that_are_not_the_recipes_are_refused(
    tiny: tuple[ModelSpec, ModelFiles],
) -> None:
    spec, files = tiny
    for field, path in (("config_sha256", files.config), ("weights_sha256", files.weights)):
        other = spec.model_copy(update={field: "0" * 64})
        with pytest.raises(ModelUnusable, match=f"{path.name} has the SHA-256 .* fetch it again"):
            score_model.load(other, files)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x00\xff", "not an open_clip model config"),
        (b"[]", "not an open_clip model config"),
        (b'{"model_cfg": {"vision_cfg": 3}}', "not an open_clip model config"),
        (b"[" * 60_000, "not an open_clip model config"),
        (b" " * 70_000, "too long"),
        (
            b'{"embed_dim": 1, "vision_cfg": {"timm_model_name": "x"}, "text_cfg": {}}',
            "names vision_cfg.timm_model_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {},'
            b' "text_cfg": {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}}',
            "names text_cfg.tokenizer_kwargs",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {"layers": [1, 9999999]}, "text_cfg": {}}',
            "more than any model has",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {"hf_model_name": "evil/code"}}',
            "names text_cfg.hf_model_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": "a/b"}}',
            "names text_cfg.hf_tokenizer_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {"timm_model_name": null}, "text_cfg": {}}',
            "names vision_cfg.timm_model_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {"hf_model_name": 0}}',
            "names text_cfg.hf_model_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {"tokenizer_kwargs": null}}',
            "names text_cfg.tokenizer_kwargs",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {},'
            b' "multimodal_cfg": {"hf_model_name": "evil/code"}}',
            "names multimodal_cfg.hf_model_name",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {"layers": 501}, "text_cfg": {}}',
            "more than any model has",
        ),
        (
            b'{"embed_dim": 1, "vision_cfg": {"nonsense": 1}, "text_cfg": {}}',
            "does not fit the model",
        ),
    ],
)
def test_a_config_that_is_no_model_is_refused_in_words(
    tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path, content: bytes, complaint: str
) -> None:
    files = ModelFiles(tmp_path / "c.json", tiny[1].weights)
    files.config.write_bytes(content)
    with pytest.raises(ModelUnusable, match=complaint):
        score_model.load(spec_of(files), files, device="cpu")


@pytest.mark.parametrize(
    "vision",
    [
        {"image_size": 224, "layers": 40, "width": 12_800, "patch_size": 14},
        {"image_size": 200_000, "layers": 1, "width": 64, "patch_size": 1},
        {
            "image_size": 200_000,
            "layers": 1,
            "width": 64,
            "patch_size": 1,
            "pos_embed_type": "sin_cos_2d",
        },
        {"image_size": 32, "layers": 1, "width": 1024, "patch_size": 16},
    ],
)
def test_a_config_cannot_ask_for_memory_that_its_weights_do_not_fill(
    tiny: tuple[ModelSpec, ModelFiles],
    tmp_path: Path,
    vision: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(*args: object) -> None:
        raise AssertionError("memory is taken")

    monkeypatch.setattr(f"{PIPELINE}.score_model._build", build)
    files = ModelFiles(tmp_path / "c.json", tiny[1].weights)
    files.config.write_text(json.dumps({**CONFIG["model_cfg"], "vision_cfg": vision}))
    with pytest.raises(ModelUnusable, match=r"that takes \d{8,} bytes of memory"):
        score_model.load(spec_of(files), files, device="cpu")


def test_weights_of_half_precision_are_taken(
    tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    files = ModelFiles(tiny[1].config, tmp_path / "half.safetensors")
    save_file({k: v.half() for k, v in load_file(tiny[1].weights).items()}, files.weights)
    assert score_model.load(spec_of(files), files, device="cpu").dtype == torch.float32


def test_weights_are_never_unpickled(tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    files = ModelFiles(tiny[1].config, tmp_path / "w.safetensors")
    files.weights.write_bytes(pickle.dumps(Trap()).ljust(2**22, b"\0"))
    with pytest.raises(ModelUnusable, match="does not fit the model"):
        score_model.load(spec_of(files), files, device="cpu")
    assert not (tmp_path / "sprung").exists()


def test_a_preparation_that_the_decoder_does_not_do_is_refused(
    tiny: tuple[ModelSpec, ModelFiles], tmp_path: Path
) -> None:
    files = ModelFiles(tmp_path / "c.json", tiny[1].weights)
    squash = {**CONFIG, "preprocess_cfg": {"resize_mode": "squash"}}
    files.config.write_text(json.dumps(squash))
    with pytest.raises(ModelUnusable, match="update laion-worker"):
        score_model.load(spec_of(files), files, device="cpu")


@pytest.mark.parametrize("name", ["no-such-weights", "/etc/hostname", "../../x.safetensors"])
def test_a_name_that_open_clip_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ModelUnusable, match="knows no weights"):
        score_model.load(ModelSpec(architecture="ViT-B-32", pretrained=name))


def test_weights_that_cannot_be_downloaded_are_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*args: object, **options: object) -> str:
        raise FileNotFoundError("Failed to download file")

    monkeypatch.setattr(f"{PIPELINE}.score_model.download_pretrained_from_hf", offline)
    with pytest.raises(ModelUnavailable, match="could not be downloaded; check the network"):
        score_model.load(ModelSpec(architecture="ViT-B-32", pretrained="laion2b_s34b_b79k"))


def test_only_a_large_model_on_a_cpu_that_can_is_rounded_to_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{PIPELINE}.score_model._cpu_multiplies_bf16", lambda: True)
    assert score_model.precision(torch.device("cpu"), 150_000_000) == "bf16"
    assert score_model.precision(torch.device("cpu"), 100_000) == "fp32"
    monkeypatch.setattr(f"{PIPELINE}.score_model._cpu_multiplies_bf16", lambda: False)
    assert score_model.precision(torch.device("cpu"), 150_000_000) == "fp32"
    assert score_model.precision(torch.device("mps"), 150_000_000) == "fp32"
