"""voice.html: a page that speaks units in any browser, with no server, no network and no other file.

A V4 generator and, where there is one, its prosody predictor lie in the page as base64. ``templates/voice.js`` and
``templates/prosody.js`` compute in plain JavaScript what the modules here compute.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import jinja2
from markupsafe import Markup

from core.frames import F0_CEILING, F0_FLOOR, HOP_SAMPLES, SAMPLE_RATE
from core.hashing import hash_script
from core.records import PageExample
from models.generator_v3 import MAX_LOG_GAIN, MIN_LOG_GAIN
from models.generator_v4 import N_NOISE_ROWS, NOISE_TABLE_KEY, GeneratorV4
from models.pitch_embedding import REFERENCE_F0
from models.prosody_predictor import ProsodyPredictor

TEMPLATES = Path(__file__).resolve().parent / "templates"
SCRIPTS = ("voice.js", "prosody.js", "page.js")
EXAMPLE_UNITS = 12  # shown in the field where nothing better is known


def build_voice_page(
    generator: GeneratorV4,
    speakers: Sequence[str],
    *,
    title: str,
    licence: str,
    speaker_vectors: torch.Tensor | None = None,
    prosody: ProsodyPredictor | None = None,
    prosody_speakers: Sequence[str] = (),
    statistics: torch.Tensor | None = None,
    example: PageExample | None = None,
) -> str:
    """The page as one string of HTML.

    generator: of one stream of units; speakers: names of rows 1, 2, … of its table, or of speaker_vectors (n + 1, D) of
    a voice that knows speakers by vectors; statistics: (n + 1, 2), mean and
    deviation of log F0 of the unknown speaker and of ``prosody_speakers``; example: what it opens with.
    """
    tensors = generator_tensors(generator, speaker_vectors) | (prosody_tensors(prosody) if prosody else {})
    n_units = generator.unit_embedding[0].num_embeddings
    described = describe_voice(generator) | {"n_units": n_units, "speakers": list(speakers), "prosody": None}
    described["example"] = example
    if prosody is not None:
        described["prosody"] = describe_prosody(prosody, prosody_speakers, statistics)
    described["tensors"], weights = pack(tensors)
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    pitch = np.exp(statistics[0, 0].item()) if statistics is not None else REFERENCE_F0
    return environment.get_template("voice.html").render(
        title=title,
        licence=licence,
        n_units=n_units,
        example=example["units"] if example else " ".join(map(str, range(min(EXAMPLE_UNITS, n_units)))),
        has_example=example is not None,
        has_melody=bool(example and example["f0"]),
        pitch=round(float(pitch)),
        has_prosody=prosody is not None,
        # A name of a speaker must not end the block that it stands in.
        voice=Markup(json.dumps(described).replace("<", "\\u003c")),
        weights=Markup(weights),
        script=Markup(script),
        script_hash=Markup(hash_script(script)),
    )


def describe_voice(generator: GeneratorV4) -> dict[str, Any]:
    """What the script needs to know of a generator besides its weights."""
    bands, noise_bands = generator.n_bands
    return {
        "sample_rate_hz": SAMPLE_RATE,
        "hop_samples": HOP_SAMPLES,
        "reference_f0": REFERENCE_F0,
        "log_gain_range": [MIN_LOG_GAIN, MAX_LOG_GAIN],
        "noise_rows": N_NOISE_ROWS,
        "noise_table_key": NOISE_TABLE_KEY,
        "sizes": {
            "n_blocks": len(generator.blocks),
            "bands": bands,
            "noise_bands": noise_bands,
            "minimum_phase": generator.minimum_phase,
        },
    }


def generator_tensors(generator: GeneratorV4, speaker_vectors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The weights by name, and the tables that are not computed in the page; matrices as (outputs, inputs)."""
    tables = {name: getattr(generator, name).T for name in ("interpolation", "phase_of_gain", "noise_interpolation")}
    if speaker_vectors is not None:
        tables["speaker_embedding.weight"] = generator.speaker_embedding(speaker_vectors)
    return generator.state_dict() | tables | {"window": generator.window}


def describe_prosody(
    prosody: ProsodyPredictor, speakers: Sequence[str], statistics: torch.Tensor | None
) -> dict[str, Any]:
    """What the script needs to know of a predictor besides its weights."""
    return {
        "unit_dilations": [block.dilation for block in prosody.unit_blocks],
        "frame_dilations": [block.dilation for block in prosody.frame_blocks],
        "speakers": list(speakers),
        "statistics": statistics.tolist(),
        "f0_range_hz": [F0_FLOOR, F0_CEILING],
    }


def prosody_tensors(prosody: ProsodyPredictor) -> dict[str, torch.Tensor]:
    return {f"prosody.{name}": tensor for name, tensor in prosody.state_dict().items()}


def pack(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, list[int]], str]:
    """Where each tensor lies, [first value, number of values], and all values as little-endian float32 in base64."""
    places, arrays, start = {}, [], 0
    for name, tensor in tensors.items():
        arrays.append(tensor.detach().float().contiguous().numpy().astype("<f4").ravel())
        places[name] = [start, arrays[-1].size]
        start += arrays[-1].size
    return places, base64.b64encode(np.concatenate(arrays).tobytes()).decode()
