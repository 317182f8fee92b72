"""The metrics of a voice, defined once: unit, decimals, and how each is called and read in a table or a report."""

from typing import NamedTuple


class Metric(NamedTuple):
    """How one metric is shown. It is computed in ``signal_scores``, ``mos`` or ``scores`` (error rates)."""

    unit: str
    decimals: int  # shown
    label: str
    meaning: str
    better: str = "lower"  # which way is better: "lower" or "higher"


# In the order of scores.json.
METRICS = {
    "cer": Metric(
        "", 3, "CER", "share of letters a speech recogniser writes otherwise than for the original (0 = same)"
    ),
    "wer": Metric("", 3, "WER", "share of words it writes otherwise than for the original"),
    "cer_text": Metric(
        "", 3, "CER, transcript", "share of letters wrong against the transcript, heard in the resynthesis"
    ),
    "wer_text": Metric(
        "", 3, "WER, transcript", "share of words wrong against the transcript, heard in the resynthesis"
    ),
    "cer_text_original": Metric(
        "", 3, "CER, transcript, originals", "the recogniser's own errors, heard in the originals"
    ),
    "wer_text_original": Metric(
        "", 3, "WER, transcript, originals", "the recogniser's own word errors on the originals"
    ),
    "mos": Metric(
        "1-5", 2, "MOS, predicted", "how natural a listener would find it, 1 to 5, as DistillMOS predicts", "higher"
    ),
    "mos_original": Metric(
        "1-5", 2, "MOS, originals", "the same judge on the originals: the most that can be reached", "higher"
    ),
    "mcd_db": Metric("dB", 2, "MCD", "distance of the timbre, frame by frame (c1–c23, α 0.42)"),
    "mcd_dtw_db": Metric("dB", 2, "MCD, DTW", "the same after warping time, as ESPnet measures it"),
    "mel_distance_nat": Metric(
        "nat", 3, "Log-mel distance", "how far the spectrograms lie apart (natural log of amplitude)"
    ),
    "f0_rmse_hz": Metric("Hz", 1, "F0 RMSE", "error of the pitch where both are voiced"),
    "f0_rmse_cents": Metric("cent", 0, "F0 RMSE", "the same on a musical scale: 100 cents are a semitone"),
    "gross_pitch_error_percent": Metric("%", 1, "Gross pitch error", "voiced frames whose pitch is over 20 % off"),
    "vuv_error_percent": Metric("%", 1, "V/UV error", "frames voiced in one and unvoiced in the other"),
    "ffe_percent": Metric("%", 1, "FFE", "frames with either fault (F0 frame error)"),
    "snr_db": Metric(
        "dB", 2, "SNR", "after the best gain and lag; a diagnostic only, a vocoder need not keep phase", "higher"
    ),
}
# Error rates are of the corpus: edits of all utterances over letters or words of all references.
RATES = {name: f"{name}_counts" for name in METRICS if name.startswith(("cer", "wer"))}
