"""Save a trained voice as a folder that speaks elsewhere: config.json, safetensors, TorchScript, a page, a card.

Reads a trained voice and, with --prosody, a trained prosody predictor; writes the folder --out.

    python src/export_vocoder.py --exp exp/spanish_vocoder_v4 --out voices/spanish
    python src/export_vocoder.py --exp exp/spanish_vocoder_v4 --prosody exp/spanish_prosody --out voices/spanish

More: docs/phase3.md.
"""

import core.quiet_start

import argparse
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from core.cli import HELP_FORMATTER, configure_log, parse_flags, run_main
from core.commands import as_typed
from core.errors import UserError
from core.files import read_json, write_atomically
from core.frames import F0_CEILING, F0_FLOOR
from core.locks import only_run
from core.records import VocoderScores
from languages import data_root
from models.discriminator_v3 import FURTHER_WEIGHTS
from prosody.batches import CORPUS
from prosody.prediction import Prosody
from training.checkpoints import require_keys
from training.initial_weights import BASE_VOICES
from units.kmeans import UnitClusters, read_description
from vocoder.generators import Vocoder
from vocoder.onnx_export import export_onnx, require_onnx
from vocoder.page_example import find_example
from vocoder.saved_voice import (
    load_clusters,
    load_discriminator,
    load_voice,
    load_voice_prosody,
    save_voice,
    save_voice_prosody,
    units_hash,
)
from vocoder.torchscript import export_generator, export_prosody
from vocoder.voice_card import UNNAMED_LICENCE, licence_texts, read_licence, say_licence, write_card
from vocoder.voice_page import build_voice_page

log = logging.getLogger("oral_units")

VOICE_FILE, PROSODY_FILE, SPEAK_FILE = "voice.torchscript", "prosody.torchscript", "speak.py"
PAGE_FILE, ONNX_FILE = "voice.html", "voice.onnx"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    what = parser.add_argument_group("what to save")
    what.add_argument("--exp", type=Path, required=True, help="experiment folder of the vocoder")
    what.add_argument("--checkpoint", default="best", help="best, latest, or the path of a checkpoint")
    what.add_argument(
        "--prosody",
        type=Path,
        default=None,
        help="experiment folder of a prosody predictor to bring along, so that the voice speaks from bare units",
    )
    what.add_argument(
        "--discriminator",
        action="store_true",
        help="bring the discriminator along, so that a training with --init goes on with it",
    )
    out = parser.add_argument_group("output")
    out.add_argument("--out", type=Path, required=True, help="folder of the saved voice")
    out.add_argument("--overwrite", action="store_true", help="replace a voice saved there before")
    out.add_argument("--onnx", action="store_true", help="write voice.onnx too; v4 only, needs the package onnx")
    out.add_argument(
        "--half", action="store_true", help="save the weights in half precision: half the size, float32 when loaded"
    )
    out.add_argument(
        "--no_torchscript", action="store_true", help=f"leave out {SPEAK_FILE} and what it runs without this repository"
    )
    out.add_argument("--no_page", action="store_true", help=f"leave out {PAGE_FILE}, which speaks in a browser")
    out.add_argument(
        "--about", type=Path, default=None, help="a Markdown file whose text goes to the card, e.g. on the recordings"
    )
    out.add_argument(
        "--license",
        default=UNNAMED_LICENCE,
        help="licence of the weights as it stands on the card, e.g. cc-by-sa-3.0; the recordings' licence binds you",
    )
    out.add_argument(
        "--encoder",
        default=None,
        help="hub id of the encoder, where the units were made with a local folder that nobody else has",
    )
    return parse_flags(parser, argv)


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write over anything but, with ``overwrite``, a voice."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(f"{out}: exists already; give --overwrite, or another --out")
    if not (out / "model.safetensors").is_file():
        raise UserError(f"{out}: expected a saved voice to overwrite, found something else; give another --out")


def check_onnx(wanted: bool, vocoder: Vocoder) -> None:
    """Refuse --onnx where it cannot be obeyed."""
    if wanted and vocoder.version != "v4":
        raise UserError(
            f"--onnx: is written for v4; this voice is {vocoder.version}. Its TorchScript runs where torch is"
        )
    if wanted:
        require_onnx()


def name_encoder(kmeans: UnitClusters | None, encoder: str | None) -> UnitClusters | None:
    """The clusters, with the encoder under the name that others know it by; None where they are not known here."""
    if kmeans is None and encoder:
        raise UserError(f"--encoder {encoder}: these units were made elsewhere, without their clusters; leave it out")
    description = read_description(kmeans) if kmeans else None
    if description is None or not encoder:
        return kmeans
    return kmeans._replace(description=description | {"encoder": encoder})


def read_prosody(folder: Path, exp: Path, n_streams: int) -> Prosody:
    """The prosody predictor to bring along; refused where it speaks of other units than the vocoder ``exp``."""
    if n_streams > 1:
        raise UserError(f"{exp}: speaks {n_streams} streams of units, whose durations no predictor gives")
    prosody = load_voice_prosody(folder)
    if prosody.config["derived"]["units_hash"] != units_hash(exp):
        raise UserError(f"{folder}: was trained on other units than {exp}; train both on one phase 1")
    return prosody


def statistics_by_row(prosody: Prosody) -> torch.Tensor:
    """(n_speakers + 1, 2) float64 mean and deviation of log F0; those of the corpus for speakers without their own.

    A predictor without a table of speakers still knows their pitch: rows are then in the order of their names.
    """
    statistics = prosody.statistics
    names = prosody.speakers or sorted(name for name in statistics if name != CORPUS)
    rows = [statistics.get(name, statistics[CORPUS]) for name in (CORPUS, *names)]
    return torch.tensor(rows, dtype=torch.float64)


def save_torchscript(folder: Path, vocoder: Vocoder, prosody: Prosody | None) -> list[str]:
    """Write what runs without this repository; returns the files, none for V1 and V2."""
    if vocoder.version not in ("v3", "v4"):
        log.info("TorchScript is written for V3 and V4; this voice is %s", vocoder.version)
        return []
    write_atomically(
        folder / VOICE_FILE, lambda path: export_generator(vocoder.generator, path, vocoder.speaker_vectors)
    )
    shutil.copyfile(Path(__file__).with_name("speak_exported.py"), folder / SPEAK_FILE)
    if prosody is None:
        return [VOICE_FILE, SPEAK_FILE]
    exported = prosody.predictor, statistics_by_row(prosody), (F0_FLOOR, F0_CEILING)
    write_atomically(folder / "prosody" / PROSODY_FILE, lambda path: export_prosody(*exported, path))
    return [VOICE_FILE, f"prosody/{PROSODY_FILE}", SPEAK_FILE]


def reload_saved(folder: Path, prosody: Prosody | None) -> tuple[Vocoder, Prosody | None]:
    """The voice and its predictor as they were saved, whose weights may be rounded."""
    return load_voice(folder), load_voice_prosody(folder / "prosody") if prosody else None


def read_discriminator(exp: Path, checkpoint: str) -> dict[str, torch.Tensor]:
    """The weights of the discriminator to bring along, of a large one its small part; refused where there is none."""
    weights = load_discriminator(exp, checkpoint)
    if weights is None:
        raise UserError(f"--discriminator: {exp} was trained without one (--adversarial_after); leave the flag out")
    return {name: value for name, value in weights.items() if not name.startswith(FURTHER_WEIGHTS)}


def read_about(path: Path | None) -> str:
    if path is not None and not path.is_file():
        raise UserError(f"--about {path}: expected a text in Markdown, found none")
    return path.read_text(encoding="utf-8").strip() if path else ""


def licence_of_base(started_from: str | None) -> str | None:
    """The licence on the card of the base voice that the training started from, if it did."""
    cards = [base / "README.md" for base in BASE_VOICES.values() if base.name == started_from]
    return read_licence(cards[0]) if cards else None


def copy_licences(folder: Path, language: str, started_from: str | None) -> None:
    """What came with the recordings; and with those of the base voice, where the training started from it."""
    for text in licence_texts(data_root() / language):
        shutil.copyfile(text, folder / text.name)
    for base in BASE_VOICES.values():
        for text in licence_texts(base) if started_from == base.name else []:
            shutil.copyfile(text, folder / f"{text.stem}_{base.name}{text.suffix}")


def save_page(folder: Path, vocoder: Vocoder, prosody: Prosody | None, exp: Path, licence: str) -> bool:
    """Write voice.html, which speaks in a browser, for a V4 of one stream of units; returns whether it did.

    exp: whose recordings it opens with, where they are at hand; licence: a sentence on that of the weights.
    """
    if vocoder.version != "v4" or vocoder.generator.n_streams > 1:
        log.info("no %s: it is written for V4 voices of one stream of units", PAGE_FILE)
        return False
    known = {"speaker_vectors": vocoder.speaker_vectors, "example": find_example(exp, vocoder.speakers)}
    if prosody is not None:
        names = prosody.speakers or sorted(filter(None, prosody.statistics))
        known |= {"prosody": prosody.predictor, "prosody_speakers": names, "statistics": statistics_by_row(prosody)}
    title = f"A voice for units of {vocoder.config['derived']['language']}"
    text = f"{licence} What the speaker agreed to holds for what this page speaks."
    page = build_voice_page(vocoder.generator, vocoder.speakers, title=title, licence=text, **known)
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    return True


def read_scores(path: Path, step: int) -> VocoderScores | None:
    """scores.json of the experiment, if it is of this checkpoint on the test split."""
    scores = read_json(path) if path.is_file() else None
    if scores and (scores["step"], scores["split"]) != (step, "test"):
        found = f"step {scores['step']} on the {scores['split']} split"
        log.warning("%s: scores of %s, not of these weights on the test split; left out of the card", path, found)
        return None
    return scores


def main() -> int:
    args = parse_args()
    configure_log()
    with only_run(args.out):
        check_out(args.out, args.overwrite)
        vocoder = load_voice(args.exp, args.checkpoint)
        check_onnx(args.onnx, vocoder)
        derived = vocoder.config.get("derived") or {}
        require_keys(args.exp / "config.json", derived, "language", "n_streams")
        language, n_streams = derived["language"], derived["n_streams"]
        kmeans = name_encoder(load_clusters(args.exp), args.encoder)
        prosody = read_prosody(args.prosody, args.exp, n_streams) if args.prosody else None
        discriminator = read_discriminator(args.exp, args.checkpoint) if args.discriminator else None
        about = read_about(args.about)
        # Written whole beside its place, then renamed: half a voice is never mistaken for one.
        unfinished = args.out.with_name(f".{args.out.name}.{os.getpid()}.tmp")
        save_voice(unfinished, vocoder, kmeans, units_hash(args.exp), half=args.half, discriminator=discriminator)
        if prosody:
            save_voice_prosody(unfinished / "prosody", prosody, half=args.half)
        saved = reload_saved(unfinished, prosody)
        exported = [] if args.no_torchscript else save_torchscript(unfinished, *saved)
        started_from = derived.get("started_from")
        base_licence = licence_of_base(started_from)
        licence = say_licence(args.license, started_from, base_licence)
        has_page = not args.no_page and save_page(unfinished, *saved, args.exp, licence)
        if args.onnx:
            export_onnx(saved[0].generator, unfinished / ONNX_FILE, saved[0].speaker_vectors)
        scores = read_scores(args.exp / "scores.json", vocoder.step)
        config, encoder = read_json(unfinished / "config.json"), read_description(kmeans) if kmeans else None
        card = write_card(
            config, encoder, scores, args.license, exported, about=about, page=has_page, base_licence=base_licence
        )
        (unfinished / "README.md").write_text(card, encoding="utf-8")
        copy_licences(unfinished, language, started_from)
        if args.out.exists():
            shutil.rmtree(args.out)
        os.replace(unfinished, args.out)
        size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file()) / 1e6
        spoken = ["recording.mp3"] if kmeans else ["--units", "units.json"]
        command = as_typed("python", "src/synthesize.py", "--exp", args.out, *spoken)
        log.info("saved %s (%.0f MB): %s", args.out, size, command)
        return 0


if __name__ == "__main__":
    run_main(main)
