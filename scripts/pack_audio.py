"""Put a language's segments into tar files: a thousand files where there were a million, read without unpacking.

Reads data/<language>/segments.jsonl and the segments. Writes data/<language>/packed/segments-000000.tar, … in
webdataset's form (a clip's <id>.wav and <id>.json follow each other) and an index beside each. At the end it writes a
new segments.jsonl, which names the audio in the tars. The old list stays as segments.unpacked.jsonl; the segments stay
too, and may be deleted. Every later command works as before; only a training that has not ended cannot go on, since its
list has changed. Stopped at any moment and started again, it keeps the tars that are whole. Tars of an earlier cut,
which nothing names any more, are deleted.

    python scripts/pack_audio.py --language satere
    python scripts/pack_audio.py --language satere --units exp/satere_units   # their units as well, in the .json
    python scripts/pack_audio.py --language satere --remote s3://bucket/satere/packed   # read from there, once copied

More: docs/data_formats.md.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

import numpy as np

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.files import write_atomically, write_text
from core.locks import only_run
from core.packed_files import (
    REMOTE,
    end_of,
    index_file,
    is_packed,
    name_key,
    read_index,
    scan_tar,
    stored_in,
    write_index,
)
from languages import data_root, language_help, language_paths, resolve_in
from segmentation.manifest import check_manifest, read_manifest
from units.unit_table import map_units, open_table, read_column

FOLDER, OLD_LIST = "packed", "segments.unpacked.jsonl"


class Shard(NamedTuple):
    """A tar to be: its number, and the rows of segments.jsonl that go into it."""

    number: int
    rows: list[dict]


class UnitSpans(NamedTuple):
    """The units of a corpus, and where each utterance's lie."""

    units: np.ndarray  # (F, N) of all utterances
    spans: dict[int, slice]  # key of an id -> its frames


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument(
        "--language", default=os.environ.get("TRAINING_LANGUAGE"), help=language_help("language of the segments")
    )
    parser.add_argument(
        "--shard_mb", type=float, default=512, help="largest size of a tar (MB); a longer clip has its own"
    )
    parser.add_argument("--shard_clips", type=int, default=10_000, help="most clips of a tar")
    parser.add_argument("--units", type=Path, metavar="EXP", help="put the units of this phase 1 into the .json too")
    parser.add_argument(
        "--remote",
        metavar="ADDRESS",
        help="where you will copy packed/*.tar to: an address of fsspec, as in s3://bucket/folder; tars that are then "
        "deleted here are read from there",
    )
    args = parse_flags(parser, argv)
    require_positive(args, "shard_mb", "shard_clips")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    paths = language_paths(args.language)
    manifest, folder = paths["manifest"], paths["data"] / FOLDER
    check_manifest(manifest, data_root(), needs_train=False)
    folder.mkdir(exist_ok=True)
    with only_run(paths["data"]):
        if args.remote:
            write_text(folder / REMOTE, args.remote + "\n")
        # An earlier start may have been killed after its last file.
        first = next(read_manifest(manifest))
        if is_packed(first["audio"]):
            print(f"{manifest}: names packed audio already ({first['audio']}); nothing to pack")
            return
        units = open_units(args.units, paths["cache"]) if args.units else None
        tars = pack(manifest, folder, units, largest=round(args.shard_mb * 1e6), most=args.shard_clips)
        n_clips = replace_manifest(manifest, tars)
        n_old = delete_unnamed(folder, manifest)
    if n_old:
        print(f"{folder}: {n_old} tars of an earlier cut are deleted; nothing names them")
    print(f"{folder}: {n_clips} clips in tar files; {manifest} names them, {OLD_LIST} is the list of before")
    print(f"{paths['segments']} is no longer read and may be deleted, after a look at docs/data_formats.md")


def pack(manifest: Path, folder: Path, units: UnitSpans | None, *, largest: int, most: int) -> Iterator[dict]:
    """Write every tar that is not there yet; gives the rows with their new places, tar after tar."""
    n_bytes = sum(os.stat(resolve_in(data_root(), row["audio"])).st_size for row in read_manifest(manifest))
    with tqdm(total=n_bytes, unit="B", unit_scale=True, desc="packing", disable=None) as progress:
        for shard in cut_tars(read_manifest(manifest), largest=largest, most=most):
            tar = folder / f"segments-{shard.number:06d}.tar"
            members = name_members(shard.rows)
            if not is_whole(tar, members):
                write_tar(tar, shard.rows, members, units)
            place = tar.relative_to(data_root()).as_posix()
            progress.update(sum(row_bytes(row) for row in shard.rows))
            yield from (row | {"audio": f"{place}/{wav}"} for row, (wav, _) in zip(shard.rows, members))


def delete_unnamed(folder: Path, manifest: Path) -> int:
    """Delete the tars, with their indexes, of which the manifest names no clip; returns how many."""
    named = {Path(stored_in(row["audio"])).name for row in read_manifest(manifest)}
    old = [tar for tar in sorted(folder.glob("segments-*.tar")) if tar.name not in named]
    for tar in old:
        index_file(tar).unlink(missing_ok=True)
        tar.unlink()
    return len(old)


def row_bytes(row: Mapping[str, object]) -> int:
    return os.stat(resolve_in(data_root(), row["audio"])).st_size


def cut_tars(rows: Iterable[dict], *, largest: int, most: int) -> Iterator[Shard]:
    """Consecutive rows, at most ``largest`` bytes and ``most`` of them together."""
    held, n_bytes, number = [], 0, 0
    for row in rows:
        size = row_bytes(row)
        if held and (n_bytes + size > largest or len(held) == most):
            yield Shard(number, held)
            held, n_bytes, number = [], 0, number + 1
        held.append(row)
        n_bytes += size
    if held:
        yield Shard(number, held)


def name_members(rows: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """(audio, description) of each row. webdataset ends a name at its first dot, and takes "/" for a folder."""
    stems = [str(row["id"]).replace(".", "_").replace("/", "_") for row in rows]
    if len(set(stems)) < len(stems):
        stems = [f"{stem}-{number}" for number, stem in enumerate(stems)]
    return [(f"{stem}{Path(str(row['audio'])).suffix}", f"{stem}.json") for stem, row in zip(stems, rows)]


def is_whole(tar: Path, members: Sequence[tuple[str, str]]) -> bool:
    """Whether an earlier start has written just this tar; the index is written last."""
    if not (tar.exists() and index_file(tar).exists()):
        return False
    index = read_index(index_file(tar))
    wanted = sorted(name_key(name) for pair in members for name in pair)
    return index is not None and index["key"].tolist() == wanted and end_of(index) <= tar.stat().st_size


def write_tar(tar: Path, rows: Sequence[dict], members: Sequence[tuple[str, str]], units: UnitSpans | None) -> None:
    """A tar and its index; the same rows give the same bytes."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as opened:
            for row, (wav, description) in zip(rows, members):
                audio = resolve_in(data_root(), row["audio"]).read_bytes()
                for name, content in ((wav, audio), (description, describe(row, units))):
                    member = tarfile.TarInfo(name)
                    member.size, member.mode = len(content), 0o644
                    opened.addfile(member, io.BytesIO(content))

    index_file(tar).unlink(missing_ok=True)
    write_atomically(tar, write)
    write_index(tar, scan_tar(tar))


def describe(row: Mapping[str, object], units: UnitSpans | None) -> bytes:
    """The row as JSON, without the place of its audio; with the units of phase 1 where they are asked for."""
    kept = {key: value for key, value in row.items() if key != "audio"}
    span = units.spans.get(name_key(str(row["id"]))) if units else None
    if span is not None:
        kept["frame_units"] = units.units[span].tolist()
    return json.dumps(kept, ensure_ascii=False).encode("utf-8")


def open_units(exp: Path, cache: Path) -> UnitSpans:
    """The units of a phase 1, by id."""
    table = open_table(exp / "corpus_timestamped.json", cache)
    columns = (read_column(table, name).tolist() for name in ("key", "first_frame", "n_frames"))
    spans = {key: slice(first, first + n_frames) for key, first, n_frames in zip(*columns)}
    return UnitSpans(map_units(table), spans)


def replace_manifest(manifest: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """segments.jsonl with the packed places; the list of before is kept beside it. Returns the number of clips."""
    n_clips = 0

    def write(temporary: Path) -> None:
        nonlocal n_clips
        with open(temporary, "w", encoding="utf-8") as out:
            for n_clips, row in enumerate(rows, 1):  # noqa: B007 - the last number is the count
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
        kept = manifest.with_name(OLD_LIST)
        write_atomically(kept, lambda copy: shutil.copyfile(manifest, copy))

    write_atomically(manifest, write)
    return n_clips


if __name__ == "__main__":
    run_main(main)
