"""One loudness for every recording's speech: units tell loud from soft, so a soft recording has other units.

Phones record at any level. A recording whose speech lies far from the usual level is raised or lowered as a whole, so
that what is loud and soft within it stays. Near it, nothing is touched.
"""

import numpy as np

from segmentation.pauses import INAUDIBLE_DB, find_active, find_threshold, measure_levels, to_decibels

SPEECH_DB = -17.0  # of full scale, the level that the base voice was trained at
TOLERATED_DB = 4.0  # so far from it, nothing is changed
THRESHOLD_DB = 10.0  # above the noise floor: speech, where nobody says otherwise
HEADROOM_DB = 9.0  # that the loudest steps of 10 ms keep to full scale: peaks lie so far above their mean
GATE = 0.1  # 10 dB below the mean


def speech_power(powers: np.ndarray) -> float:
    """Mean of the steps' powers (T,), those far below that mean left out, as in EBU R 128.

    How many soft steps pass as speech depends on the noise floor. In a very quiet recording that is hidden.
    """
    mean = float(np.mean(powers))
    return float(np.mean(powers[powers > GATE * mean]))


def level_gain_db(levels: np.ndarray, active: np.ndarray) -> float:
    """By how much to raise a recording of levels (T,), of which (T,) bool ``active`` are speech, dB; 0: leave it.

    Nothing is raised so far that its loudest steps would be clipped.
    """
    decibels = to_decibels(levels.astype(np.float64))
    heard = decibels[active & (decibels > INAUDIBLE_DB)]
    if not len(heard):
        return 0.0
    gain = SPEECH_DB - 10 * np.log10(speech_power(10 ** (heard / 10)))
    if abs(gain) <= TOLERATED_DB:
        return 0.0
    room = -HEADROOM_DB - float(np.quantile(heard, 0.995))
    return round(float(min(gain, max(room, 0.0))), 1)


def level_speech(waveform: np.ndarray) -> np.ndarray:
    """(S,) float32 at 16 kHz as a corpus would hold it: at the usual level, if its own is far from that."""
    levels, _, _ = measure_levels([waveform])
    gain = level_gain_db(levels, find_active(levels, find_threshold(levels, THRESHOLD_DB)))
    return amplify(waveform, gain)


def amplify(waveform: np.ndarray, gain_db: float) -> np.ndarray:
    """(S,) times ``gain_db``; the very samples where it is 0."""
    return waveform if gain_db == 0 else waveform * np.float32(10 ** (gain_db / 20))
