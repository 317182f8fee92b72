"""How much of a translation a listener understands: BLEU and chrF of what a recogniser reads, by sacrebleu.

K. Papineni et al. (2002); M. Popović (2015); M. Post (2018), "A Call for Clarity in Reporting BLEU Scores". Readings
and references are compared in lower case and without punctuation. Axes: U utterances.
"""

from collections.abc import Sequence

import numpy as np

from core.errors import UserError
from core.records import MetricScore
from core.text_normalisation import normalise_text
from evaluation.bootstrap import COVERAGE, SEED

N_RESAMPLES = 500


def score_readings(readings: Sequence[str], references: Sequence[str]) -> dict[str, MetricScore]:
    """BLEU and chrF (0 to 100) over U utterances, each with its interval over resamples of them.

    Raises UserError without sacrebleu.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise UserError("--asr: BLEU needs sacrebleu; install it with: pip install sacrebleu") from error
    pairs = [(normalise_text(read), normalise_text(wanted)) for read, wanted in zip(readings, references, strict=True)]
    rng = np.random.default_rng(SEED)
    draws = [rng.integers(len(pairs), size=len(pairs)) for _ in range(N_RESAMPLES)]
    tail = (1 - COVERAGE) / 2
    found = {}
    for name, metric in (("bleu", BLEU(tokenize="13a", effective_order=True)), ("chrf", CHRF())):
        resampled = [_score(metric, [pairs[place] for place in draw]) for draw in draws]
        low, high = np.quantile(resampled, [tail, 1 - tail])
        score = {"mean": _score(metric, pairs), "low": float(low), "high": float(high)}
        found[name] = score | {"n": len(pairs), "unit": ""}
    return found


def _score(metric: object, pairs: Sequence[tuple[str, str]]) -> float:
    readings, references = zip(*pairs)
    return metric.corpus_score(list(readings), [list(references)]).score
