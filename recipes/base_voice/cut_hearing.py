"""What hears a voice in training, cut out of a Whisper: its lowest layers, and the positions of a short crop.

    python scripts/fetch_models.py --model openai/whisper-tiny.en
    python recipes/base_voice/cut_hearing.py --whisper openai/whisper-tiny.en

Reads the weights of a Whisper. Writes voices/hearing/: config.json, model.safetensors in half precision, and a card.
src/trainer_vocoder.py --hearing own reads it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import torch

from safetensors.torch import save_file

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_atomically, write_json, write_text
from core.locks import only_run
from encoders.pretrained import read_pretrained_config
from encoders.whisper import load_layers
from vocoder.heard_features import OWN_HEARING

KEPT = (  # of its configuration: what the encoder is built from
    "activation_dropout",
    "activation_function",
    "attention_dropout",
    "d_model",
    "dropout",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "encoder_layerdrop",
    "model_type",
    "num_mel_bins",
    "scale_embedding",
)
CARD = """# What hears a voice in training

The convolutions and the lowest {layers} layers of the encoder of {whisper}, with {positions} positions, in half
precision. `src/trainer_vocoder.py` plays it the recording and what the voice says instead. What it tells apart is part
of the loss (docs/results/naturalness.md). It writes no text, and no voice holds it.

Made by

```
python recipes/base_voice/cut_hearing.py --whisper {whisper} --layers {layers} --positions {positions}
```

Whisper: Radford et al. 2022, "Robust speech recognition via large-scale weak supervision". Its weights are under the
MIT licence, which LICENSE_WHISPER.txt holds.
"""
LICENCE = """MIT License

Copyright (c) 2022 OpenAI

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--whisper", required=True, metavar="FOLDER_OR_ID", help="a Whisper, in a folder or the cache")
    parser.add_argument("--layers", type=int, default=2, help="how many of its layers, from the lowest on")
    parser.add_argument("--positions", type=int, default=100, help="the longest crop that it hears (frames of 20 ms)")
    parser.add_argument("--out", type=Path, default=OWN_HEARING, help="folder to write")
    args = parse_flags(parser, argv)
    require_positive(args, "layers", "positions")
    return args


def cut(whisper: str, layers: int, positions: int) -> tuple[dict[str, object], dict[str, torch.Tensor]]:
    """(configuration, weights in half precision) of the lowest ``layers``; UserError where it has fewer."""
    config = read_pretrained_config(whisper, ["whisper"])
    for name, asked, found in (
        ("layers", layers, config.num_hidden_layers),
        ("positions", positions, config.max_source_positions),
    ):
        if asked > found:
            raise UserError(f"--{name} {asked}: {whisper} has {found}; give at most so many")
    kept = {name: getattr(config, name) for name in KEPT}
    network = load_layers(whisper, config, layers)
    weights = {f"encoder.{name}": weight.half().contiguous() for name, weight in network.state_dict().items()}
    weights["encoder.embed_positions.weight"] = weights["encoder.embed_positions.weight"][:positions].clone()
    for name in ("weight", "bias"):  # transformers expects a norm behind the last layer; nobody reads its output
        weights.setdefault(f"encoder.layer_norm.{name}", torch.full((config.d_model,), float(name == "weight")).half())
    sizes = {"encoder_layers": layers, "num_hidden_layers": layers, "max_source_positions": positions}
    return kept | sizes, weights


def main() -> int:
    args = parse_args()
    config, weights = cut(args.whisper, args.layers, args.positions)
    with only_run(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(
            args.out / "model.safetensors", lambda path: save_file(weights, path, metadata={"format": "pt"})
        )
        write_json(args.out / "config.json", config)
        words = {"layers": args.layers, "positions": args.positions, "whisper": Path(args.whisper).name}
        write_text(args.out / "README.md", CARD.format(**words))
        write_text(args.out / "LICENSE_WHISPER.txt", LICENCE)
    size = (args.out / "model.safetensors").stat().st_size / 1e6
    print(f"wrote {args.out}: {args.layers} layers, {args.positions} positions, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    run_main(main)
