"""What Whisper reads in a recording of any length, each letter with its time: by attention to the sound.

Windows are cut at quiet places. In each, the decoder's cross-attention says which frame a token listens to; heads that
follow the speech are named in the model's own settings. The best order-keeping path through it gives each token its
time (Radford et al. 2022; Giorgino 2009 for the path).

Axes: S samples at 16 kHz, F frames of 20 ms, K tokens of a reading, A attention heads.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from core.frames import SAMPLE_RATE, UNIT_RATE
from core.records import ReadWindow
from evaluation.asr import MAX_TOKENS, SPARE_TOKENS, TOKENS_PER_SECOND, WINDOW_SAMPLES, Recogniser, find_windows

SMOOTHING = 7  # frames of the median filter over attention, as in Whisper's own timing
SHORTEST_SAMPLES = SAMPLE_RATE // 10  # of a window: less holds no word


def quiet_windows(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, samples) of windows of at most 30 s that cover a recording, cut where it is quietest."""
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > 2 * WINDOW_SAMPLES:
            end = find_windows(held[: WINDOW_SAMPLES + SAMPLE_RATE])[0][1]
            yield start, held[:end]
            held, start = held[end:], start + end
    for first, last in find_windows(held):
        if last > first:
            yield start + first, held[first:last]


def listen_eagerly(asr: Recogniser) -> Recogniser:
    """The recogniser with attention that can be looked at."""
    asr.model.set_attn_implementation("eager")
    return asr


@torch.inference_mode()
def read_window(asr: Recogniser, waveform: np.ndarray) -> tuple[str, list[float], list[float]]:
    """(text, seconds at which each of its letters begins, at which it ends) of (S,) samples of at most 30 s."""
    if len(waveform) < SHORTEST_SAMPLES or not np.any(waveform):
        return "", [], []
    model = asr.model
    inputs = asr.extractor([waveform], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    features = inputs.input_features.to(model.device, model.dtype)
    encoded = model.get_encoder()(features)
    limit = min(MAX_TOKENS, SPARE_TOKENS + TOKENS_PER_SECOND * len(waveform) // SAMPLE_RATE)
    tokens = read_tokens(asr, encoded, limit)
    if not tokens:
        return "", [], []
    attention = _attend(asr, encoded, tokens, len(waveform))
    bounds = token_bounds(attention, len(waveform) / SAMPLE_RATE)
    return letter_times(asr.tokenizer, tokens, bounds)


def read_tokens(asr: Recogniser, encoded, limit: int) -> list[int]:
    """The text tokens of a greedy reading, without timestamps and other marks.

    With timestamps, ``generate`` would go on from where the last one ends, and read the same window again from the
    encoder's output that it was given.
    """
    model, options = asr.model, {}
    if getattr(model.generation_config, "is_multilingual", False):
        options = {"language": asr.language, "task": "transcribe"}
    if hasattr(model.generation_config, "no_timestamps_token_id"):
        options["return_timestamps"] = False
    found = model.generate(encoder_outputs=encoded, do_sample=False, num_beams=1, max_new_tokens=limit, **options)
    special = set(asr.tokenizer.all_special_ids)
    beyond = getattr(model.generation_config, "no_timestamps_token_id", None)
    return [token for token in found[0].tolist() if token not in special and (beyond is None or token < beyond)]


def prompt_tokens(asr: Recogniser) -> list[int]:
    """What the decoder reads before a text without timestamps."""
    settings = asr.model.generation_config
    prompt = [settings.decoder_start_token_id]
    if getattr(settings, "is_multilingual", False):
        prompt += [settings.lang_to_id[f"<|{asr.language}|>"], settings.task_to_id["transcribe"]]
    if hasattr(settings, "no_timestamps_token_id"):
        prompt.append(settings.no_timestamps_token_id)
    return prompt


def _attend(asr: Recogniser, encoded, tokens: Sequence[int], n_samples: int) -> np.ndarray:
    """(K + 1, F): how much each token, and the end behind them, listens to each frame."""
    model, prompt = asr.model, prompt_tokens(asr)
    ids = torch.tensor([[*prompt, *tokens]], device=model.device)
    found = model(encoder_outputs=encoded, decoder_input_ids=ids, output_attentions=True)
    layers = found.cross_attentions
    heads = getattr(model.generation_config, "alignment_heads", None)
    if not heads:
        half = len(layers) // 2
        heads = [(layer, head) for layer in range(half, len(layers)) for head in range(layers[0].shape[1])]
    n_frames = max(1, min(layers[0].shape[-1], -(-n_samples * UNIT_RATE // SAMPLE_RATE)))
    weights = torch.stack([layers[layer][0, head, :, :n_frames] for layer, head in heads]).float().cpu().numpy()
    weights = weights[:, len(prompt) - 1 :]
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-6)
    return _median_filter(weights).mean(axis=0)


def _median_filter(weights: np.ndarray) -> np.ndarray:
    """(A, K, F) smoothed over frames."""
    if weights.shape[-1] < SMOOTHING:
        return weights
    padded = np.pad(weights, ((0, 0), (0, 0), (SMOOTHING // 2, SMOOTHING // 2)), mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=-1), axis=-1)


def token_bounds(attention: np.ndarray, seconds: float) -> np.ndarray:
    """(K + 1,) seconds at which each token begins, and the last ends: the best path that keeps the order.

    attention: (K + 1, F), the last row that of the end of the text.
    """
    n_rows, n_frames = attention.shape
    if n_frames < n_rows:
        return np.linspace(0, seconds, n_rows)
    scores = np.full(n_rows, -np.inf)
    scores[0] = 0.0
    moved = np.zeros((n_frames, n_rows), bool)
    for frame in range(n_frames):
        if frame:
            before = np.concatenate([[-np.inf], scores[:-1]])
            moved[frame] = before > scores
            scores = np.maximum(scores, before)
        scores = scores + attention[:, frame]
    row, bounds = n_rows - 1, np.zeros(n_rows)
    for frame in range(n_frames - 1, 0, -1):
        if moved[frame, row]:
            bounds[row] = frame / UNIT_RATE
            row -= 1
    return np.minimum(bounds, seconds)


def letter_times(tokenizer, tokens: Sequence[int], bounds: np.ndarray) -> tuple[str, list[float], list[float]]:
    """Letters share the time of the token, or of the tokens, that spell them. bounds: (K + 1,) of ``token_bounds``."""
    text, starts, ends, first, done = "", [], [], 0, ""
    for number in range(1, len(tokens) + 1):
        so_far = tokenizer.decode(tokens[:number], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if so_far.endswith("\ufffd") and number < len(tokens):
            continue
        new = so_far[len(done) :]
        edges = np.linspace(bounds[first], bounds[number], len(new) + 1)
        text += new
        starts += edges[:-1].tolist()
        ends += edges[1:].tolist()
        first, done = number, so_far
    return text, starts, ends


def read_recording(
    asr: Recogniser,
    blocks: Iterable[np.ndarray],
    journal: Path,
    identity: dict[str, object],
    *,
    stopped: Sequence[int] = (),
) -> Iterator[ReadWindow]:
    """Every window of a recording as it is read, those from the ``journal`` of the same ``identity`` at once.

    Ends early once ``stopped`` is not empty.
    """
    known = {row["start"]: row for row in read_journal(journal, identity)}
    for first, waveform in quiet_windows(blocks):
        if stopped:
            return
        start = first / SAMPLE_RATE
        if start in known:
            yield known[start]
            continue
        text, starts, ends = read_window(asr, waveform)
        row: ReadWindow = {
            "start": start,
            "end": (first + len(waveform)) / SAMPLE_RATE,
            "text": text,
            "starts": [round(start + second, 3) for second in starts],
            "ends": [round(start + second, 3) for second in ends],
        }
        with open(journal, "a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        yield row


def read_journal(path: Path, identity: dict[str, object]) -> list[ReadWindow]:
    """The windows that ``path`` holds of the same ``identity``; of another one, a new journal is begun."""
    wanted = json.loads(json.dumps(identity, default=str))
    if path.exists():
        whole = path.read_bytes().rpartition(b"\n")[0]
        rows = [json.loads(line) for line in whole.decode("utf-8").splitlines() if line]
        if rows and rows[0] == wanted:
            with open(path, "r+b") as journal:
                journal.truncate(len(whole) + 1)
            return rows[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, ensure_ascii=False) + "\n", encoding="utf-8")
    return []
