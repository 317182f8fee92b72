"""Russian sentences with their phones: 620 recordings of one male speaker, 99 minutes, from Debian's festvox-ru.

The package is a voice of Festival with the recordings that it was cut from. ``data/russian/`` gets ``raw/ru_0001.wav``
and so on, as they are; ``transcripts.tsv`` (one text a recording), ``speakers.tsv`` and ``phones.tsv`` (the package's
phone labels). It is fetched with ``apt-get download`` and unpacked with ``dpkg -x``: no root, nothing installed.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import soundfile

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.locks import only_run
from core.tables import write_table
from debian_packages import download_packages, unpack_package
from languages import language_paths

LANGUAGE, SPEAKER = "russian", "nsh"
PACKAGE = "festvox-ru"
MEGABYTES = 179
LAYOUT_VERSION = 1
STRESSED_VOWELS = {"aa", "ee", "ii", "oo", "uu", "yy"}  # msu_ru_nsh_phoneset.scm
OTHER_VOWELS = {"a", "e", "i", "y", "u", "ae", "ay", "ur"}
# Times of the labels end at the last whole 10 ms of a recording.
LABEL_TOLERANCE = 0.1  # s
ATTRIBUTION = """The recordings, texts and phone labels in this folder come from the Russian voice msu_ru_nsh_clunits of
Festival, Copyright (c) 2005 Nickolay V. Shmyrev, BSD-like licence (LICENSE_SOURCE.txt), as Debian's package festvox-ru.
Changed here: signs of stress (+) were taken out of the texts; the labels became one table, phones.tsv, in which the
vowels that the voice's phone set lists as stressed are marked.
"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("source")
    group.add_argument(
        "--folder",
        type=Path,
        default=None,
        help=f"a folder that holds {PACKAGE}_*.deb already, for a machine without a network",
    )
    return parse_flags(parser, argv)


def fetch_voice(folder: Path, source: Path | None) -> Path:
    """The unpacked package below ``folder``, from ``source`` or from Debian."""
    if source is None:
        print(f"fetching {PACKAGE} (about {MEGABYTES} MB)", file=sys.stderr)
        try:
            download_packages([PACKAGE], folder)
        except UserError as error:
            raise UserError(
                f"could not fetch {PACKAGE} ({error}); connect to a network, or put {PACKAGE}_*.deb from "
                "https://packages.debian.org/festvox-ru into a folder and give --folder"
            ) from error
    packages = sorted((source or folder).glob(f"{PACKAGE}_*.deb"))
    if not packages:
        raise UserError(f"--folder {source}: expected {PACKAGE}_*.deb, found none")
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    unpack_package(packages[-1], unpacked)
    return unpacked


def read_texts(path: Path) -> dict[str, str]:
    """Festival's ``( ru_0001 "text" )`` lines -> text by name, without signs of stress (вол+ос)."""
    rows = re.findall(r'^\( *(\S+) +"(.*)" *\)', path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: " ".join(text.replace("+", "").split()) for name, text in rows}


def read_labels(path: Path) -> list[tuple[float, float, str]]:
    """An xlabel file (after ``#``: end time, colour, phone) -> (start, end, phone) in seconds."""
    header, _, body = path.read_text(encoding="utf-8").partition("#\n")
    rows = [line.split() for line in (body or header).splitlines() if line.strip()]
    try:
        ends, phones = [float(row[0]) for row in rows], [row[2] for row in rows]
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: expected lines of end time, colour and phone, found {error}") from error
    starts = [0.0, *ends[:-1]]
    if any(end <= start for start, end in zip(starts, ends)):
        raise UserError(f"{path}: expected times that grow, found others; the package is damaged")
    return list(zip(starts, ends, phones))


def stress_of(phone: str) -> str:
    """``1`` for a stressed vowel, ``0`` for another one, nothing for a consonant or a pause."""
    if phone in STRESSED_VOWELS:
        return "1"
    return "0" if phone in OTHER_VOWELS else ""


def label_rows(source: str, labels: list[tuple[float, float, str]], seconds: float) -> list[tuple]:
    """Rows of phones.tsv. Raises UserError for labels of another length than the recording."""
    if not labels or abs(labels[-1][1] - seconds) > LABEL_TOLERANCE:
        raise UserError(f"{source}: expected labels to {seconds:.3f} s, found {labels[-1][1] if labels else 0:.3f} s")
    return [(source, f"{start:.4f}", f"{end:.4f}", phone, stress_of(phone)) for start, end, phone in labels]


def build(voice: Path, paths: dict[str, Path]) -> dict:
    """Copy the recordings, write the tables; returns what ``corpus.json`` shall say."""
    texts = read_texts(voice / "etc" / "txt.done.data")
    names = sorted(path.stem for path in (voice / "wav").glob("*.wav"))
    missing = [name for name in names if name not in texts or not (voice / "lab" / f"{name}.lab").is_file()]
    if not names or missing:
        raise UserError(f"{voice}: expected texts and labels of {len(names)} recordings, missing {missing[:5]}")
    paths["raw"].mkdir(parents=True, exist_ok=True)
    phones, seconds = [], 0.0
    for name in names:
        recording = voice / "wav" / f"{name}.wav"
        write_atomically(paths["raw"] / recording.name, lambda temporary, path=recording: shutil.copy(path, temporary))
        duration = soundfile.info(recording).duration
        phones += label_rows(recording.name, read_labels(voice / "lab" / f"{name}.lab"), duration)
        seconds += duration
    write_table(paths["phones"], ("source", "start", "end", "phone", "stress"), phones)
    write_table(paths["transcripts"], ("source", "text"), [(f"{name}.wav", texts[name]) for name in names])
    write_table(paths["speakers"], ("source", "speaker"), [(f"{name}.wav", SPEAKER) for name in names])
    return {"n_recordings": len(names), "minutes": round(seconds / 60, 2), "n_phones": len(phones)}


def main() -> int:
    args = parse_args()
    paths = language_paths(LANGUAGE)
    with only_run(paths["data"]):
        marker = paths["data"] / "corpus.json"
        if marker.exists() and read_json(marker)["version"] == LAYOUT_VERSION:
            return 0
        paths["data"].mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="festvox_") as temporary:
            unpacked = fetch_voice(Path(temporary), args.folder)
            voices, licences = sorted(unpacked.rglob("txt.done.data")), sorted(unpacked.rglob("copyright"))
            if not voices or not licences:
                raise UserError(f"{PACKAGE}: expected a voice and its licence, found {len(voices)} and {len(licences)}")
            summary = build(voices[0].parents[1], paths)
            shutil.copy(licences[0], paths["data"] / "LICENSE_SOURCE.txt")
        (paths["data"] / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")
        write_json(marker, {"version": LAYOUT_VERSION, "package": PACKAGE, **summary})
        print(
            f"{paths['raw']}: {summary['n_recordings']} recordings, {summary['minutes']} minutes, "
            f"{summary['n_phones']} phone labels"
        )
        return 0


if __name__ == "__main__":
    run_main(main)
