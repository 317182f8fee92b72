#!/usr/bin/env bash
# Real music and noises to mix under speech (bench_segmentation.py --under): FOLDER/music, rain_wind, engines, crowd
# and rubbing.
# They come from Debian's packages of games, 380 MB, by apt-get download: no root, nothing installed. Needs ffmpeg.
# Each package's licence comes along as FOLDER/licences/<package>.txt. Nothing of it belongs into this repository.
# Usage: bash scripts/bench/fetch_noises.sh FOLDER
set -euo pipefail
folder="${1:?usage: bash scripts/bench/fetch_noises.sh FOLDER}"
case "$folder" in -h | --help) sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
for program in apt-get dpkg ffmpeg; do
  command -v "$program" >/dev/null || { echo "error: $program is not on this machine" >&2; exit 2; }
done
mkdir -p "$folder/packages" "$folder/licences"
folder="$(cd "$folder" && pwd)"
cd "$folder/packages"
# Music on hold (CC-BY-SA 3.0); rain and wind (CC-BY-SA 3.0); running water (CC-BY-SA 3.0); engines (GPL 2);
# markets, streets, crowds (GPL 2); sliding over leaves, grass and gravel (GPL 2).
for package in asterisk-moh-opsound-g722 megaglest-data minetest-data searchandrescue-data lincity-ng-data extremetuxracer-data; do
  ls "$package"_*.deb >/dev/null 2>&1 || apt-get download "$package"
  dpkg -x "$package"_*.deb unpacked
  cp "unpacked/usr/share/doc/$package/copyright" "$folder/licences/$package.txt"
done

# convert KIND FLAGS FILE…: every file as FOLDER/KIND/<its name>.wav; the same sound under two names counts once
convert() {
  local kind="$1" flags="$2" file name seen=""
  mkdir -p "$folder/$kind"
  for file in "${@:3}"; do
    name="$(sha256sum <"$file" | cut -c1-12)"
    case "$seen" in *"$name"*) continue ;; esac
    seen="$seen $name"
    # shellcheck disable=SC2086
    ffmpeg -nostdin -loglevel error -y $flags -i "$file" -ac 1 -ar 16000 "$folder/$kind/$(basename "${file%.*}")_$name.wav"
  done
}

cd unpacked/usr/share
convert music "-f g722" asterisk/moh/*.g722
cd games
convert rain_wind "" megaglest/tilesets/*/sounds/{rain,wind}.* minetest/games/minetest_game/mods/env_sounds/sounds/env_sounds_water*.ogg
convert engines "" searchandrescue/sounds/{,hh60/,hh65/}*engine_{start,inside,shutdown}*.wav
convert crowd "" lincity-ng/sounds/{MarketFull,MarketMed,MarketLow,SportsCroud,TraficHigh}*.wav
convert rubbing "" etr/sounds/{leaves,grass,mud,rock,snow}_slide.wav
rm -r "$folder/packages/unpacked"
for kind in music rain_wind engines crowd rubbing; do
  sounds=("$folder/$kind"/*.wav)
  echo "$folder/$kind: ${#sounds[@]} sounds"
done
