"""Saying what was heard: tokens of the target drawn behind a source.

Axes: T tokens drawn.
"""

import numpy as np
import torch

from models.translator import Heard, Translator
from translation.hearing import Sound, stack_sounds
from unit_lm.generation import Sampling, draw_tokens
from unit_lm.vocabulary import Vocabulary, language_token


@torch.inference_mode()
def translate_sound(
    model: Translator,
    vocabulary: Vocabulary,
    sound: Sound,
    sampling: Sampling,
    *,
    sample: int,
    longest: int,
    least: int = 1,
) -> np.ndarray:
    """(T,) int64 tokens of the target for one source, at least ``least`` and at most ``longest``, without <end>.

    A function of the seed and the number of the ``sample``, whatever else is drawn.
    """
    device = model.log_sharpness.device
    heard = Heard(*(tensor.to(device) for tensor in stack_sounds([sound])))
    language = vocabulary.languages[0]
    first = torch.tensor([[language_token(vocabulary, language)]], device=device)
    said = model.decoder.get_input_embeddings()(first)
    inputs = torch.cat([model.prompt(model.encode(heard)).to(said.dtype), said], dim=1)
    return draw_tokens(
        model.decoder, vocabulary, language, sampling, (sample,), longest=longest, least=least, inputs_embeds=inputs
    )
