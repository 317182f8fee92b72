"""Voices of many speakers, speaker by speaker: CER where each speaker's language is known.

    python scripts/bench/mix_speakers.py --out mixed --speaker en=english --speaker es=spanish …
    bash recipes/mp3_folder/prepare.sh mixed mixed
    python src/trainer_vocoder.py --language mixed --exp exp/one --init none …
    python src/trainer_vocoder.py --language mixed --exp exp/many --speaker_vectors …
    python src/vocoder_test.py --exp exp/one exp/many
    python scripts/bench/score_speakers.py --exp exp/one exp/many --truth mixed/truth.tsv --languages en=en es=es \\
        --asr FOLDER

Reads the audio that src/vocoder_test.py left in each experiment, and who speaks in truth.tsv. Whisper hears every
speaker in that speaker's language, as one language for all would make its readings worthless. Writes speakers.json to
the first experiment and prints a table: CER of each voice by speaker, and each minus the first, paired by utterance.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.commands import as_typed
from core.errors import UserError
from core.files import read_json, write_json
from core.records import MetricScore, UtteranceScore
from evaluation.asr import load_asr
from evaluation.judges import add_readings
from evaluation.scores import compare, summarise
from segmentation.tables import read_speakers

ALL = "all"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("what to score")
    group.add_argument(
        "--exp", nargs="+", type=Path, required=True, help="experiments; each is compared with the first"
    )
    group.add_argument(
        "--truth", type=Path, required=True, help="table of source and speaker, as mix_speakers.py writes it"
    )
    group.add_argument(
        "--languages", nargs="+", required=True, metavar="SPEAKER=LANGUAGE", help="Whisper's language for each speaker"
    )
    group.add_argument("--asr", required=True, metavar="FOLDER_OR_ID", help="a Whisper")
    args = parse_flags(parser, argv)
    pairs = [word.partition("=") for word in args.languages]
    if not all(speaker and language for speaker, _, language in pairs):
        raise UserError(f"--languages {' '.join(args.languages)}: expected SPEAKER=LANGUAGE for each speaker")
    args.languages = {speaker: language for speaker, _, language in pairs}
    return args


def choose_speakers(truth: Path, languages: Mapping[str, str]) -> dict[str, str]:
    """Name of a clip without its suffix -> who speaks, for the speakers whose language is given."""
    speakers = read_speakers(truth)
    missing = languages.keys() - set(speakers.values())
    if missing:
        raise UserError(f"{truth}: expected clips of {', '.join(sorted(missing))}, found none")
    return {Path(clip).stem: speaker for clip, speaker in speakers.items() if speaker in languages}


def read_rows(exp: Path, speakers: Mapping[str, str]) -> dict[str, list[UtteranceScore]]:
    """Speaker -> what is known of their utterances; a segment is named after its clip and a number."""
    scores = exp / "scores.json"
    if not scores.is_file():
        command = as_typed("python", "src/vocoder_test.py", "--exp", exp)
        raise UserError(f"{scores}: expected scores, found none; run: {command}")
    rows: dict[str, list[UtteranceScore]] = {}
    for row in read_json(scores)["utterances"]:
        speaker = speakers.get(row["id"]) or speakers.get(row["id"].rpartition("_")[0])
        if speaker is not None:
            rows.setdefault(speaker, []).append(row)
    return dict(sorted(rows.items()))


def listen(exp: Path, rows: Mapping[str, list[UtteranceScore]], languages: Mapping[str, str], asr_name: str) -> None:
    """Add to every row what Whisper hears on both sides, each speaker in the own language."""
    test = exp / "test"
    for language in sorted(set(languages.values())):
        asr = load_asr(asr_name, language=language)
        spoken = [row for speaker, found in rows.items() if languages[speaker] == language for row in found]
        files = [
            (row["id"], test / "original" / f"{row['id']}.wav", test / "resynthesis" / f"{row['id']}.wav")
            for row in spoken
        ]
        add_readings(asr, spoken, files, texts=[None] * len(spoken), caches=(test, test))


def describe(metrics: Mapping[str, MetricScore], name: str, *, signed: bool = False) -> str:
    if name not in metrics:
        return "–"
    score = metrics[name]
    shape = "{:+.3f}" if signed else "{:.3f}"
    mean, low, high = (shape.format(score[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def print_table(voices: Sequence[Mapping[str, list[UtteranceScore]]], exps: Sequence[Path]) -> None:
    heads = [exp.name for exp in exps] + [f"{exp.name} − {exps[0].name}" for exp in exps[1:]]
    print(f"| speaker | n | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
    for speaker in [*voices[0], ALL]:
        sides = [pick(voice, speaker) for voice in voices]
        cells = [describe(summarise(side), "cer") for side in sides]
        cells += [describe(compare(side, sides[0]), "cer", signed=True) for side in sides[1:]]
        print(f"| {speaker} | {len(sides[0])} | {' | '.join(cells)} |")


def pick(voice: Mapping[str, list[UtteranceScore]], speaker: str) -> list[UtteranceScore]:
    return sum(voice.values(), []) if speaker == ALL else voice.get(speaker, [])


def main() -> int:
    args = parse_args()
    speakers = choose_speakers(args.truth, args.languages)
    voices = [read_rows(exp, speakers) for exp in args.exp]
    for exp, rows in zip(args.exp, voices):
        listen(exp, rows, args.languages, args.asr)
    print_table(voices, args.exp)
    path = args.exp[0] / "speakers.json"
    write_json(path, {str(exp): rows for exp, rows in zip(args.exp, voices)})
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    run_main(main)
