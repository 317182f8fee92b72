"""What scripts/bench/check_interruption.py interrupts: each script that writes, with small sizes, and its inputs."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from languages import REPOSITORY

sys.path.append(str(REPOSITORY / "tests"))  # whose tiny models and made-up languages these are

from pair_examples import write_pairs
from synthetic import save_tiny_encoder, write_segments
from tiny_llm import save_tiny_llm


class Stage(NamedTuple):
    """A script as every run starts it."""

    command: list[str]  # the script and its flags
    writes: list[str]  # folders below the root, by {language}
    below: str = ""  # the folder below the root that holds its data/ and exp/, where it has its own
    prepare: Callable[[Path], object] | None = None  # writes its inputs into that folder


OFTEN = ["--log_every", "2", "--save_every", "3", "--eval_every", "4", "--resume", "auto", "--cpu"]
SMALL = ["--steps", "10", "--batch_size", "4", *OFTEN]
VOICE = ["--channels", "32", "--crop_frames", "24", "--sample_every", "5", "--num_samples", "1", "--init", "none"]
VOICE += ["--validation_seconds", "5", "--adversarial_after", "5", "--discriminator_width", "16"]
HEARD = [
    "--data",
    "{data}/spanish",
    "--speech_enc_id",
    "{root}/whisper",
    "--llm_id",
    "{root}/llm",
    "--padding",
    "short",
]
HEARD += ["--factor", "6", "--width", "32", "--n_layers", "1", "--warmup", "2", "--mixed_precision", "no"]
HEARD += ["--num_beams", "2", "--n_best", "2", "--ctc_warmup_steps", "4", "--ctc_compress", "--ctc_embedding"]
HEARD += ["--ctc_draft", "--draft_noise", "1", "--lora_r", "2", "--frame_dropout", "0.2"]
# What cross_validate.py gives its trainings, which it starts by itself.
FOLD_FLAGS = ["--steps", "4", "--batch_size", "4", "--log_every", "2", "--save_every", "2"]
FOLD_FLAGS += ["--eval_every", "4", "--cpu"]
TINY_TRANSLATOR = ["--lr", "1e-2", "--warmup", "3", "--width", "16", "--layers", "1", "--encoder_layers", "1"]
TINY_TRANSLATOR += ["--heads", "2"]
SPOKEN = ("bad cab", "dead head", "a cage", "be a hag", "face", "gab", "had", "egg", "decade", "bee")


def write_texts(root: Path) -> None:
    """Ten short utterances with texts of few letters, a tiny Whisper and a tiny LLM below ``root``."""
    rows = write_segments(root / "data", "spanish")
    rows = [row | {"text": text} for row, text in zip(rows, SPOKEN, strict=True)]
    manifest = root / "data" / "spanish" / "segments.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    save_tiny_encoder(root / "whisper", "whisper")
    save_tiny_llm(root / "llm")
    (root / "text.txt").write_text("\n".join(SPOKEN[:3]) + "\n", encoding="utf-8")


# In the order of the chain: each reads what those before have written.
STAGES = {
    "segments": Stage(["scripts/segment_audio.py", "--quiet", "--num_workers", "2"], ["data/{language}"]),
    "F0": Stage(["scripts/fill_f0_cache.py", "--num_workers", "2"], ["data/{language}/cache"]),
    "units": Stage(
        ["src/extract_units.py", "--encoder", "mfcc", "--n_units", "40", "--n_shard_utterances", "5", "--quiet"]
        + ["--num_workers", "1", "--resume", "auto"],
        ["exp/{language}_units"],
    ),
    "unit report": Stage(["src/validate_units.py"], ["exp/{language}_units"]),
    "motifs": Stage(["src/train_bpe.py", "--resume", "auto", "--examples_audio", "5"], ["exp/{language}_bpe"]),
    "voice": Stage(["src/trainer_vocoder.py", *SMALL, *VOICE], ["exp/{language}_vocoder_v4", "data/{language}/cache"]),
    "prosody": Stage(
        ["src/trainer_prosody.py", *SMALL, "--channels", "32", "--init", "none"],
        ["exp/{language}_prosody", "data/{language}/cache"],
    ),
    "unit LM": Stage(
        ["src/trainer_unit_lm.py", *SMALL, "--layers", "1", "--width", "32", "--heads", "2", "--context", "64"],
        ["exp/{language}_unit_lm"],
    ),
    "scores": Stage(["src/vocoder_test.py", "--exp", "{exp}/{language}_vocoder_v4"], ["exp/{language}_vocoder_v4"]),
    "report": Stage(["src/build_report.py", "{exp}/{language}_vocoder_v4"], ["exp/{language}_vocoder_v4"]),
    "listening test": Stage(
        ["src/build_listening_test.py", "{exp}/{language}_vocoder_v4", "--n_utterances", "2", "--max_seconds", "30"]
        + ["--out", "{out}/listening/test.html", "--overwrite"],
        ["out/listening"],
    ),
    "speech": Stage(
        ["src/synthesize.py", "--exp", "{exp}/{language}_vocoder_v4", "--split", "test", "--out", "{out}/spoken"]
        + ["--units", "{exp}/{language}_units/corpus_timestamped.json"],
        ["out/spoken"],
    ),
    "saved voice": Stage(
        ["src/export_vocoder.py", "--exp", "{exp}/{language}_vocoder_v4", "--out", "{out}/voice", "--overwrite"],
        ["out/voice"],
    ),
    "annotations": Stage(["src/export_annotations.py", "--format", "eaf", "--out", "{out}/eaf"], ["out/eaf"]),
    "exchange": Stage(
        ["src/export_units.py", "--format", "csv", "--out", "{out}/exchange", "--overwrite"], ["out/exchange"]
    ),
    "index": Stage(["src/index_speech.py"], ["exp/{language}_index"]),
    "phrases": Stage(["src/find_phrases.py", "--out", "{out}/dictionary"], ["out/dictionary"]),
    "search": Stage(
        ["src/search.py", "--query", "{recording}@3-5", "--n_hits", "5", "--quiet", "--num_workers", "1"]
        + ["--device", "cpu", "--out", "{out}/found"],
        ["out/found"],
    ),
    "sweep": Stage(
        ["src/sweep_units.py", "--encoders", "mfcc", "--n_units", "20", "40", "--n_resamples", "20", "--resume", "auto"]
        + ["--kmeans_frames", "5000"],
        ["exp/{language}_sweep"],
    ),
    "unit LM scores": Stage(["src/unit_lm_test.py", "--exp", "{exp}/{language}_unit_lm"], ["exp/{language}_unit_lm"]),
    "speaking on": Stage(
        ["src/continue_speech.py", "{recording}", "--prompt_seconds", "2", "--exp", "{exp}/{language}_unit_lm"]
        + ["--voice", "{exp}/{language}_vocoder_v4", "--prosody", "{exp}/{language}_prosody"]
        + ["--n_samples", "2", "--seconds", "1", "--out", "{out}/continued"],
        ["out/continued"],
    ),
    "tars": Stage(["scripts/pack_audio.py", "--shard_clips", "5"], ["data/{language}"]),
    # On worlds of their own: ten short made-up utterances with texts and tiny models; pairs of three languages.
    "speech to text": Stage(
        ["src/trainer_base.py", "--do_train", "--do_generate", "--exp", "{exp}/heard", *HEARD, *SMALL],
        ["texts/exp", "texts/data/spanish"],
        "texts",
        write_texts,
    ),
    "transcription": Stage(
        ["src/transcribe.py", "{data}/spanish/segments", "--model", "{exp}/heard", "--out", "{out}/transcripts.tsv"]
        + ["--num_beams", "2", "--batch_size", "2", "--device", "cpu", "--overwrite"],
        ["texts/out"],
        "texts",
    ),
    "alignment": Stage(
        ["src/align_text.py", "{data}/spanish/segments/tale_000_0000.wav", "--text", "{root}/text.txt"]
        + ["--model", "{exp}/heard", "--out", "{out}/aligned", "--device", "cpu", "--precision", "fp32", "--overwrite"],
        ["texts/out/aligned"],
        "texts",
    ),
    "cross-validation": Stage(
        ["src/cross_validate.py", "--exp", "{exp}/folds", "--folds", "2", "--", *HEARD, *FOLD_FLAGS],
        ["texts/exp/folds"],
        "texts",
    ),
    "translation": Stage(
        ["src/trainer_translation.py", "--source", "english", "--source", "italian", "--target", "spanish"]
        + ["--features", "mfcc", "--text_weight", "0.3", *TINY_TRANSLATOR, *SMALL],
        ["pairs/exp/english_italian_spanish_translation"],
        "pairs",
        write_pairs,
    ),
    "translation scores": Stage(
        ["src/translation_test.py", "--exp", "{exp}/english_italian_spanish_translation"],
        ["pairs/exp/english_italian_spanish_translation"],
        "pairs",
    ),
    "voice of pairs": Stage(
        ["src/trainer_vocoder.py", "--language", "spanish", *SMALL, *VOICE],
        ["pairs/exp/spanish_vocoder_v4", "pairs/data/spanish/cache"],
        "pairs",
    ),
    "melody of pairs": Stage(
        ["src/trainer_prosody.py", "--language", "spanish", *SMALL, "--channels", "16", "--init", "none"],
        ["pairs/exp/spanish_prosody"],
        "pairs",
    ),
    "translated speech": Stage(
        ["src/translate_speech.py", "{data}/italian/segments", "--exp", "{exp}/english_italian_spanish_translation"]
        + ["--source", "italian", "--voice", "{exp}/spanish_vocoder_v4", "--prosody", "{exp}/spanish_prosody"]
        + ["--temperature", "1", "--out", "{out}/translated"],
        ["pairs/out/translated"],
        "pairs",
    ),
}
# These take --language.
WITH_LANGUAGE = ("segment_audio.py", "fill_f0_cache.py", "extract_units.py", "validate_units.py", "train_bpe.py")
WITH_LANGUAGE += ("trainer_vocoder.py", "trainer_prosody.py", "trainer_unit_lm.py", "export_annotations.py")
WITH_LANGUAGE += ("export_units.py", "index_speech.py", "find_phrases.py", "pack_audio.py", "search.py")
WITH_LANGUAGE += ("sweep_units.py",)


def words_of(stage: Stage, language: str, root: Path) -> list[str]:
    """The command of a stage below ``root``."""
    script = Path(stage.command[0]).name
    asked = ["--language", language] if script in WITH_LANGUAGE and "--language" not in stage.command else []
    return fill_in(stage.command, language, root / stage.below) + asked


def fill_in(words: Sequence[str], language: str, root: Path) -> list[str]:
    places = {"language": language, "data": root / "data", "exp": root / "exp", "out": root / "out"}
    recording = next(root.parent.glob("recording.*"), "")  # beside the roots, so that its name is the same for all
    return [word.format(**places, root=root, recording=recording) for word in words]


def prepare(stage: Stage, roots: Sequence[Path]) -> None:
    """Write a stage's own inputs below each root, the same."""
    if stage.prepare is None:
        return
    stage.prepare(roots[0] / stage.below)
    (roots[0] / stage.below / "out").mkdir()
    for root in roots[1:]:
        shutil.copytree(roots[0] / stage.below, root / stage.below)
