"""The trainer, writing down the numbers of the items it draws: one file a process beside the folder of experiments."""

import os
from pathlib import Path

import trainer_vocoder

from vocoder.batches import CropDataset


def main() -> int:
    draw = CropDataset.__getitem__

    def draw_and_note(dataset: CropDataset, item: int) -> dict:
        with open(Path(os.environ["EXP_ROOT"]).parent / f"items_rank{os.environ.get('RANK', '')}.txt", "a") as out:
            out.write(f"{item}\n")
        return draw(dataset, item)

    CropDataset.__getitem__ = draw_and_note
    return trainer_vocoder.main()
