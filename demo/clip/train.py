"""Trains the tiny CLIP: `python -m demo.clip.train --out demo/clip/model.safetensors`.

Pictures and captions come in batches with their labels: a caption is true of every picture that
agrees with all that it tells, not only of the one it was written for. Two losses are added: the
softmax one of CLIP, in which other true pairs do not count as false, and a sigmoid one, which
pulls true pairs over one fixed cosine and pushes false ones below it. The second is what makes a
fixed `min_similarity` work.
"""

import hashlib
import json
import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize, softplus

from demo.clip import CONFIG
from demo.clip.batches import Batches, Pool, render
from demo.clip.evaluate import Trial, auc, unlike
from demo.clip.model import TinyClip
from demo.clip.scenes import held_out_scene, training_scene
from demo.clip.words import Words
from worker_client.pipeline.score_text import encode_cut

SEED = 1
THREADS = 2
CHUNK = 500  #: pictures a rendering task
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARM_UP = 60  #: steps
MAX_SCALE = 20.0  #: of the softmax's cosines; CLIP allows 100, which lets the gap be narrow
CUT = 0.35  #: the cosine at which the sigmoid loss parts true from false
JUDGED = 500  #: scenes for the closing figures
STEEPNESS = 14.0  #: of the sigmoid at the cut


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--steps", default=900, show_default=True)
@click.option("--pictures", default=20_000, show_default=True)
@click.option("--batch", default=256, show_default=True)
def main(out: Path, steps: int, pictures: int, batch: int) -> None:
    """Train on synthetic pictures, on two processor cores, and write fp16 safetensors."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    began = time.monotonic()
    pool = _render(pictures)
    click.echo(f"{len(pool.scenes)} pictures in {time.monotonic() - began:.0f} s")
    words = Words.of_captions(Random(SEED))
    settings = json.loads(CONFIG.read_text())["model_cfg"]
    settings["text_cfg"]["vocab_size"] = len(words)
    model = CLIP(**settings)
    words.forget_the_unknown(model.token_embedding)
    train(model, Batches(pool, words, batch), steps)
    save(model, words, out)
    click.echo(f"{out}: {out.stat().st_size} bytes in {time.monotonic() - began:.0f} s")
    click.echo(f"SHA-256 {hashlib.sha256(out.read_bytes()).hexdigest()}")
    _judge(out)


def _render(count: int) -> Pool:
    # spawned, not forked: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(THREADS, mp_context=context) as processes:
        seeds = range(SEED * 10_000, SEED * 10_000 + count // CHUNK)
        return Pool.joined(list(processes.map(render, seeds, [CHUNK] * len(seeds))))


def train(model: CLIP, batches: Batches, steps: int) -> None:
    """Fit the model in place, on `steps` batches."""
    model.visual.to(memory_format=torch.channels_last)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    rng = np.random.default_rng(SEED)
    began = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps)
        batch = batches.draw(rng)
        with torch.autocast("cpu", torch.bfloat16):
            images = model.encode_image(batch.images)
        cosines = normalize(images.float(), dim=-1) @ encode_cut(model, batch.texts).T
        loss = loss_of(cosines, batch.true, batch.own, model.logit_scale.exp())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(MAX_SCALE))
        if step % 50 == 0 or step == steps - 1:
            right, wrong = cosines[batch.true], cosines[~batch.true]
            click.echo(
                f"step {step:4}  {time.monotonic() - began:3.0f} s  loss {loss.item():6.3f}  "
                f"cosine of true {right.mean():.3f}, false {wrong.mean():.3f}; over the cut "
                f"{(right > CUT).float().mean():.3f} and {(wrong > CUT).float().mean():.4f}"
            )


def _rate(step: int, steps: int) -> float:
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    return PEAK_RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def loss_of(
    cosines: torch.Tensor, true: torch.Tensor, own: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """The softmax loss in both directions, plus the sigmoid loss about the cut.

    `cosines` and `true` are pictures by texts; `own` are the rows with a caption of their own,
    which has the row's index.
    """
    logits = (cosines * scale).masked_fill(
        true & ~torch.eye(*true.shape, dtype=torch.bool), -math.inf
    )
    square = logits[:, : len(logits)]
    softmax = (cross_entropy(logits[own], own) + cross_entropy(square.T[own], own)) / 2
    miss = softplus(-STEEPNESS * (cosines - CUT))
    alarm = softplus(STEEPNESS * (cosines - CUT))
    hard = true.new_zeros(true.shape)
    hard[own, own + len(logits)] = True
    hard &= ~true
    sigmoid = miss[own, own].mean() + alarm[hard].mean() + 4 * alarm[~true].mean()
    return softmax + sigmoid


def save(model: CLIP, words: Words, out: Path) -> None:
    """Write the model as open_clip reads it: the full vocabulary, half precision."""
    weights = {
        name: value.detach().half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    weights["token_embedding.weight"] = words.full_table(weights["token_embedding.weight"])
    save_file({name: value.contiguous() for name, value in weights.items()}, out)


def _judge(out: Path) -> None:
    model, rng = TinyClip(out), Random(SEED)
    seen = Trial(model, [training_scene(rng) for _ in range(JUDGED)])
    threshold = seen.against(unlike).best_threshold
    click.echo(f"threshold {threshold}, from combinations seen in training")
    click.echo(f"held-out AUC {auc(model, [held_out_scene(rng) for _ in range(JUDGED)]):.4f}")


if __name__ == "__main__":
    main()
