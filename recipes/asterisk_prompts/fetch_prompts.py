"""Fetch the recorded telephone prompts of one language: real, transcribed, single-speaker speech at 16 kHz.

They are Debian's packages ``asterisk-core-sounds-XX-g722`` (audio) and ``asterisk-core-sounds-XX`` (transcripts and
licence), fetched with ``apt-get download`` and unpacked with ``dpkg -x``: no root, nothing installed. Where apt or the
packages are not at hand, the Asterisk project's own download site serves the same release.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.files import unpack_tar, write_json
from core.locks import only_run
from debian_packages import CONNECT_SECONDS, download_packages, unpack_package
from languages import add_language_flags, language_paths

PROMPT_LANGUAGES = {"spanish": "es", "english": "en", "italian": "it", "russian_prompts": "ru"}
RELEASE = "1.6.1"
ASTERISK_SITE = "https://downloads.asterisk.org/pub/telephony/sounds/releases"
ATTRIBUTION = """The recordings in this folder are the Asterisk core sounds {release} ({code}), {licence}.
They were recorded by the people named in LICENSE_SOURCE.txt (the text that came with them), for the Asterisk project
(https://www.asterisk.org). They were joined into long sessions with pauses and a faint noise floor between them, and
compressed to MP3. {terms}
"""
SHARE_ALIKE = (
    "CC-BY-SA 3.0",
    "Whatever is derived from them and shared falls under the same licence:\n"
    "https://creativecommons.org/licenses/by-sa/3.0/",
)
NAMED = "Whoever shares them, or what is derived from them, names {}:\nhttps://creativecommons.org/licenses/by/3.0/"
LICENCES = {  # of the languages that need not be shared alike
    "it": ("CC-BY 3.0", NAMED.format("Carlo Flora (http://www.carloflora.com)")),
    "ru": ("CC-BY 3.0", NAMED.format("Maxim Topal (http://www.ivrvoice.ru)")),
}


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
    group = parser.add_argument_group("source")
    group.add_argument(
        "--source",
        choices=("auto", "apt", "site", "folder"),
        default="auto",
        help="where to fetch from: Debian's packages, the Asterisk site, or --folder; auto tries them in turn",
    )
    group.add_argument("--site", default=ASTERISK_SITE, help="address of the folder that holds the release's archives")
    group.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="a folder that holds the two .deb files or the .tar.gz already, for a machine without a network",
    )
    return parse_flags(parser, argv)


def prompts_folder(language: str) -> Path:
    """Where the fetched prompts of ``language`` lie: sounds/, transcripts.txt, LICENSE_SOURCE.txt, prompts.json."""
    return language_paths(language)["cache"] / "prompts"


def package_names(code: str) -> tuple[str, str]:
    return f"asterisk-core-sounds-{code}-g722", f"asterisk-core-sounds-{code}"


def fetch_from_apt(code: str, folder: Path) -> None:
    download_packages(package_names(code), folder)


def fetch_from_site(code: str, folder: Path, site: str) -> None:
    """Download the release's archive and compare it with the SHA-1 published beside it."""
    name = f"asterisk-core-sounds-{code}-g722-{RELEASE}.tar.gz"
    if not site.startswith(("https://", "http://", "file://")):
        raise UserError(f"--site {site}: expected an address, as in https://example.org; correct it")
    try:
        with urllib.request.urlopen(f"{site}/{name}.sha1", timeout=CONNECT_SECONDS) as answer:  # noqa: S310 (checked)
            expected = answer.read().decode().split()[0]
        with urllib.request.urlopen(f"{site}/{name}", timeout=CONNECT_SECONDS) as answer:  # noqa: S310 (checked)
            archive = answer.read()
    except (OSError, ValueError) as error:
        raise UserError(f"{site}/{name}: {error}") from error
    if hashlib.sha1(archive).hexdigest() != expected:  # noqa: S324 (no other sum is published)
        raise UserError(f"{site}/{name}: the download does not match its published SHA-1")
    (folder / name).write_bytes(archive)


def fetch_from_folder(code: str, folder: Path, source: Path | None) -> None:
    """Copy what fits ``code`` from ``source``."""
    wanted = [f"{name}_*.deb" for name in package_names(code)] + [f"asterisk-core-sounds-{code}-g722-*.tar.gz"]
    found = [path for pattern in wanted for path in sorted((source or folder).glob(pattern))] if source else []
    if not found:
        raise UserError(f"--folder {source}: expected {' and '.join(wanted[:2])} or {wanted[2]}, found neither")
    for path in found:
        shutil.copy(path, folder)


def unpack(folder: Path) -> Path:
    """Unpack every .deb and .tar.gz in ``folder`` without running anything they carry; returns where."""
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    for package in sorted(folder.glob("*.deb")):
        unpack_package(package, unpacked)
    for archive in sorted(folder.glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            unpack_tar(tar, unpacked)
    return unpacked


def lay_out(code: str, unpacked: Path, target: Path) -> int:
    """Move sounds, transcripts and licence into ``target`` under plain names; returns the number of sounds."""
    sounds = sorted(unpacked.rglob("*.g722"))
    transcripts = sorted(unpacked.rglob(f"core-sounds-{code}.txt*"))
    licences = sorted(unpacked.rglob("copyright")) or sorted(
        [*unpacked.rglob("CREDITS-*"), *unpacked.rglob("LICENSE-*")]
    )
    if not sounds or not transcripts:
        raise UserError(f"the archives hold {len(sounds)} sounds and {len(transcripts)} transcripts")
    root = _common_folder(sounds)
    for sound in sounds:
        place = target / "sounds" / sound.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(sound, place)
    raw = transcripts[0].read_bytes()
    (target / "transcripts.txt").write_bytes(gzip.decompress(raw) if transcripts[0].suffix == ".gz" else raw)
    licence_texts = dict.fromkeys(path.read_text(encoding="utf-8", errors="replace") for path in licences)
    (target / "LICENSE_SOURCE.txt").write_text("\n".join(licence_texts), encoding="utf-8")
    return len(sounds)


def _common_folder(paths: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def fetch(code: str, target: Path, args: argparse.Namespace) -> int:
    """Try the sources in turn until one gives the prompts; the last error of each is told when none does."""
    ways: dict[str, Callable[[Path], None]] = {
        "folder": lambda folder: fetch_from_folder(code, folder, args.folder),
        "apt": lambda folder: fetch_from_apt(code, folder),
        "site": lambda folder: fetch_from_site(code, folder, args.site),
    }
    names = [args.source] if args.source != "auto" else [name for name in ways if name != "folder" or args.folder]
    failures = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="prompts_") as temporary:
            try:
                ways[name](Path(temporary))
                return lay_out(code, unpack(Path(temporary)), target)
            except UserError as error:
                failures.append(f"{name}: {error}")
    raise UserError(
        f"could not fetch the prompts ({'; '.join(failures)}); connect to a network, or put the packages "
        f"{' and '.join(package_names(code))} into a folder and give --folder"
    )


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language)
    if args.language not in PROMPT_LANGUAGES:
        raise UserError(f"no recorded prompts for '{args.language}': expected one of {', '.join(PROMPT_LANGUAGES)}")
    code, target = PROMPT_LANGUAGES[args.language], prompts_folder(args.language)
    with only_run(target):
        return fetch_once(args, code, target, paths["data"])


def fetch_once(args: argparse.Namespace, code: str, target: Path, data: Path) -> int:
    """The prompts and what says whom they owe, unless they are there."""
    if (target / "prompts.json").exists():
        return 0
    print(f"fetching the recorded prompts of {args.language} (about 15 MB)", file=sys.stderr)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    n_sounds = fetch(code, target, args)
    shutil.copy(target / "LICENSE_SOURCE.txt", data / "LICENSE_SOURCE.txt")
    licence, terms = LICENCES.get(code, SHARE_ALIKE)
    attribution = ATTRIBUTION.format(release=RELEASE, code=code, licence=licence, terms=terms)
    (data / "ATTRIBUTION.txt").write_text(attribution, encoding="utf-8")
    write_json(target / "prompts.json", {"language": args.language, "release": RELEASE, "n_sounds": n_sounds})
    return 0


if __name__ == "__main__":
    run_main(main)
