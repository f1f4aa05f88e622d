"""A tiny CLIP of the demo's own: it knows coloured shapes, and nothing else."""

from pathlib import Path

CONFIG = Path(__file__).with_name("config.json")  #: open_clip's `open_clip_config.json`
WEIGHTS = Path(__file__).with_name("model.safetensors")

CONFIG_SHA256 = "165916d3d07d4e9353c009499a0ed1ddc7d48d7f14be37dad5820d13d53732ad"
WEIGHTS_SHA256 = "ed6f477ee5daaaec4583b7e52b0e7466b4db9e28977b5c0e3224f2012113a461"

#: cosine that a matching pair reaches and an unrelated one does not; a recipe's `min_similarity`
THRESHOLD = 0.26
