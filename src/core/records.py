"""The plain dicts that travel through the project, by name: which keys each one has, and in what unit.

They describe, and check nothing while the program runs. On disk they are objects of JSON (docs/data_formats.md).
Axes: B batch, F frames (50 Hz), N unit streams, S samples.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "test")


# The table of languages (src/languages.py).


class LanguageConfig(TypedDict):
    """What differs between languages. Folders: ``segmented_dir`` is under DATA_ROOT, the others are under EXP_ROOT."""

    name: str  # as people write it
    segmented_dir: str
    output_dir: str
    bpe_dir: str
    vocoder_dir: str
    prosody_dir: str
    encoder: str  # a name of encoders/table.py, or a model's hub id or folder
    layer: int | None  # of the encoder, counted from 1; None where it has none
    n_units: int
    vocab_size: int  # motifs
    asr_language: str | None  # Whisper's code, for judging; None where it knows none


# Recordings and segments.


class SegmentPart(TypedDict):
    """A clip in a segment that short clips were joined to."""

    source: str  # relative path of the recording
    start: float  # s, in the recording
    end: float  # s
    offset: float  # s, in the segment: where the clip begins
    text: NotRequired[str]


class Segment(TypedDict):
    """A line of ``segments.jsonl``: one stretch of a recording, as a file of its own."""

    id: str
    audio: str  # relative to DATA_ROOT
    source: str  # relative path of the recording it was cut from
    start: float  # s, in the recording
    end: float  # s
    duration: float  # s
    speaker: str | None
    split: str  # train, val or test
    text: NotRequired[str]
    flags: NotRequired[list[str]]  # noise_or_music, overlapping_speech
    levelled_db: NotRequired[float]  # by so much its recording was raised, or lowered, to the usual level of speech
    detector: NotRequired[str]  # what found the speech, energy or silero, where --vad was given
    parts: NotRequired[list[SegmentPart]]  # of joined clips; ``source`` is then the first, times are the segment's own


class CutSegment(TypedDict):
    """A segment as its recording's result holds it, with how speech-like it is (segmentation.pauses.measure_piece)."""

    start: float  # s, in the recording
    end: float  # s
    modulation: float
    flatness_db: float
    speaker: NotRequired[str | None]  # these three: by an annotation file
    text: NotRequired[str]
    is_overlapped: NotRequired[bool]  # somebody else speaks at the same time


class CutResult(TypedDict):
    """``cache/segments/<stem>.json``: how one recording was cut. Written last, so that it says the cut is whole."""

    depends_on: dict[str, object]
    n_samples: int
    pieces: list[tuple[int, int]]  # steps of 10 ms
    threshold: dict[str, float]  # dB of full scale
    dropped: dict[str, float]  # s left out: silence, clicks, too_short, not_annotated
    segments: list[CutSegment]
    texts_lost: NotRequired[dict[str, int]]  # of an annotation file, by reason
    detector: NotRequired[str]  # energy or silero, where --vad was given
    loud_without_speech: NotRequired[float]  # --vad auto: share of what is loud in which no speech is heard
    lowered_db: NotRequired[float]  # a file of float that went over full scale
    levelled_db: NotRequired[float]  # by so much the recording was raised, or lowered, to the usual level of speech
    n_tracks: NotRequired[int]  # of sound, where there are several; the first is cut


# Scores of voices (exp/<name>/scores.json).


class MetricScore(TypedDict):
    """One metric of a system, or the difference of two systems, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int  # utterances on which the metric is defined
    unit: str


class UtteranceScore(TypedDict, total=False):
    """A row of ``utterances``: a number, or None, under each name of ``evaluation.metrics.METRICS``, and these keys.

    Error rates come with ``<name>_counts``: edits by kind, and the length of the reference.
    """

    id: str
    duration: float  # s, of the original
    length_difference_samples: int  # resynthesis minus original
    asr_original: str  # what the recogniser reads
    asr_resynthesis: str
    text: str  # the transcript


# Jobs (launching/): what lies in exp/<name>/jobs/<number>/, and what a job on Modal is given.


class JobResources(TypedDict):
    """What a job asks of its engine (launching/job.py: Resources holds the defaults)."""

    gpus: int  # per node
    nodes: int
    processes: int  # per node; torchrun starts them where there are several, or several nodes
    cpus: int  # cores per node
    memory_gb: float | None  # per node; None: the engine's own
    hours: float | None  # limit of one attempt; None (this machine only): no limit
    partition: str | None  # Slurm's partition, Grid Engine's queue
    account: str | None  # Slurm's account, Grid Engine's project
    constraint: str | None  # Slurm's features, Grid Engine's complexes, on Modal the name of the GPU
    requeues: int  # time-outs that are followed by another attempt
    gpu_type: str | None  # the site's name of the GPU, as in "a100"
    engine_args: list[str]  # options handed on to sbatch or qsub, one each


class Job(TypedDict):
    """``job.json``: a job as it was submitted; never changed afterwards."""

    name: str  # the experiment it belongs to
    number: int  # 1, 2, … within the name
    folder: str  # exp/<name>/jobs/<number>, absolute
    backend: str  # "local", "slurm", "sge" or "modal"
    commands: list[list[str]]  # as typed, each from the script on; several make an array, its tasks numbered from 0
    array_parallelism: int  # tasks of an array that may run at once; 0: as many as the engine likes
    resources: JobResources
    site: dict[str, object]  # what cluster.toml said (launching/site.py: Site)
    after: list["JobRecord"]  # jobs that must have finished with code 0 before this one starts
    environment: dict[str, str]  # variables of the command, besides those that the engine sets
    submitted: str  # ISO 8601, UTC
    git_commit: str | None  # of the code at submission


class JobRecord(Job):
    """``record.json``: a job, and what its engine called it."""

    ids: list[str]  # the engine's, one for the job or one for each task; empty: the submission was cut short
    started: NotRequired[str | None]  # this machine: when the background process started, local time
    cancelled: NotRequired[str]  # ISO 8601, UTC: when launch.py cancelled it
    app_id: NotRequired[str | None]  # Modal: the app that its calls run in
    n_stages: NotRequired[int]  # Modal: stages whose calls its own call makes; 0: it does the work itself


class AttemptRow(TypedDict):
    """A line of ``attempts.jsonl``: one event of one task."""

    task: int  # from 0
    event: str  # "started", "ended" or "skipped"
    at: str  # ISO 8601, UTC
    attempt: NotRequired[int]  # started: 1, 2, …
    host: NotRequired[str]  # started
    command: NotRequired[list[str]]  # started: the words that were executed
    engine_id: NotRequired[str | None]  # started: the engine's number of the job
    exit_code: NotRequired[int]  # ended
    stopped: NotRequired[bool]  # ended: a signal of the engine came first
    reason: NotRequired[str]  # skipped: why it was never started; ended, on Modal: why


class ModalSpec(TypedDict):
    """What the job function on Modal gets: one command and where it writes."""

    words: list[str]  # the command as typed, from the script on
    processes: int  # over 1: by torchrun
    folder: str  # what it writes to below EXP_ROOT; one writer at a time
    limit_seconds: float  # of one attempt, short of the engine's own limit
    environment: dict[str, str]
    volume: NotRequired[str]  # name of the volume that is mounted
    staged_language: NotRequired[str]  # whose segments are first copied to the container's own disk
    retries: int  # further attempts that Modal makes where one fails
    owner: NotRequired[str]  # the call that writes, where it is not the function's own


class ModalStage(TypedDict):
    """Jobs on Modal that may run at once."""

    options: dict[str, object]  # arguments of Function.with_options, volume and hf_secret by name
    specs: list[ModalSpec]


class LockNote(TypedDict):
    """Who holds a folder on a disk: beside its lock, for the message of whoever comes second (core/locks.py)."""

    user: str
    host: str
    pid: int
    since: float  # s since the epoch
    command: str


class WriterClaim(TypedDict):
    """Who writes to a folder on Modal's volume: an entry of the Modal Dict, by the folder's name."""

    owner: str  # the call's id
    until: float  # s since the epoch: without a sign of life by then, the folder is free; 0: given back
    attempt: int  # from 0
    call: NotRequired[str]  # the call that does the work, where its owner is one that called it
    rows: NotRequired[list[AttemptRow]]  # of the call's attempts so far
    mark: NotRequired[str]  # what the last attempt found to go on from (launching/modal_progress.py)
    silent: NotRequired[int]  # attempts in a row that ended without a word and had gained nothing


class ModalOutcome(TypedDict):
    """What a call on Modal returns: how its last attempt ended."""

    exit_code: int
    message: str  # the last line that the script printed as an error; empty where it ended well
    rows: list[AttemptRow]


# Encoders and units


class AudioItem(TypedDict):
    """Some audio to encode, and what identifies it."""

    id: str
    hash: str  # of the audio
    duration: float  # s
    load: Callable[[], "np.ndarray"]  # -> (S,) float32 at 16 kHz


class FailedItem(TypedDict):
    """What could not be read or encoded."""

    id: str
    reason: str


class FeatureSettings(TypedDict):
    """``settings.json`` of a feature cache: what features depend on besides the audio and its speed."""

    encoder_hash: str
    layer: int | None
    dim: int  # features of a frame
    padding: str  # full or short
    precision: str  # fp32 or bf16
    version: int


class Utterance(TypedDict):
    """A line of ``corpus_timestamped.json``: one segment and its units."""

    id: str
    audio: str  # relative to DATA_ROOT
    duration: float  # s
    split: str  # train, val or test
    source: NotRequired[str]  # relative path of the recording it was cut from
    start: NotRequired[float]  # s, in the recording
    end: NotRequired[float]  # s
    speaker: NotRequired[str]
    text: NotRequired[str]
    flags: NotRequired[list[str]]  # of the segment, where it has any
    parts: NotRequired[list[SegmentPart]]  # where clips were joined
    unit_rate: int  # frames a second: 50
    units: list[int]  # deduplicated
    durations: list[int]  # frames, of each unit
    residual_units: NotRequired[list[list[int]]]  # (N - 1, F), not deduplicated


class UnitTotals(TypedDict):
    """What a corpus amounts to."""

    n_utterances: int
    hours: float
    units_used: list[int]  # of each stream
    units_per_second: float  # deduplicated
    bits_per_second: float  # of all streams; entropy of a unit times units a second


class ExtractionSummary(UnitTotals):
    """``finished.json`` of phase 1."""

    n_failed: int
    failed: list[FailedItem]


class EncoderOrigin(TypedDict):
    """The description in ``kmeans.npz``: the encoder and options that the clusters belong to."""

    encoder: str
    layer: int | None
    options: dict[str, object]  # of encoders.encode.load_encoder
    duration_penalty: NotRequired[float]  # in neighbour distances (units.assignment); 0 where it is missing


class SweepRow(TypedDict, total=False):
    """A setting of ``sweep.json`` and ``sweep.csv``; a score that has an interval has ``…_low`` and ``…_high`` too."""

    encoder: str
    layer: int | None
    cmn: bool
    context: int  # frames on either side
    normalize: str
    n_units: int
    duration_penalty: float
    seconds: float  # of speech scored
    units_per_second: float  # deduplicated
    bits_per_second: float  # of frames
    bits_per_second_deduplicated: float
    bits_per_second_timed: float  # deduplicated, with durations
    one_frame_runs_percent: float
    mean_run_frames: float
    pnmi: float
    phone_error_rate: float
    unit_boundary_precision: float
    unit_boundary_recall: float
    unit_boundary_f1: float  # where the unit changes
    unit_boundary_r_value: float
    phone_boundary_f1: float  # where the phone that units are read as changes
    phone_boundary_r_value: float
    random_boundary_f1: float  # as many cuts at random
    abx_within: float  # errors; 0.5 by chance
    abx_across: float
    unit_error_rate_shift_5ms: float
    unit_error_rate_shift_10ms: float
    unit_error_rate_noise_20db: float
    unit_error_rate_noise_10db: float
    unit_error_rate_telephone: float
    unit_error_rate_mp3: float
    unit_error_rate_opus: float


class TokenBits(TypedDict):
    """Entropy of the symbols times symbols a second; all but ``deduplicated_timed`` leave the timing out."""

    frames: float  # units at 50 Hz
    deduplicated: float
    deduplicated_timed: float
    tokens: float


class TokenRates(TypedDict):
    """What phase 2 made of one split."""

    n_utterances: int
    seconds: float
    units: int  # deduplicated
    tokens: int
    units_per_token: float
    units_per_second: float
    tokens_per_second: float
    bits_per_second: TokenBits


class BpeSummary(TypedDict):
    """``finished.json`` of phase 2."""

    vocab_size: int
    n_units: int
    n_merges: int
    longest_units: int  # of the token that stands for most
    tokens_used: int  # in train
    train_share: float  # of the train split's units that were fitted on
    splits: dict[str, TokenRates]


class MotifExample(TypedDict):
    """One place where a motif can be heard."""

    utterance: str  # id
    audio: str  # relative to DATA_ROOT
    start: float  # s, in the audio
    end: float  # s


class Motif(TypedDict):
    """A line of ``motifs.json``: one BPE token."""

    token: int
    units: list[int]
    count: int  # occurrences in the train split
    mean_duration: float | None  # s; None where it never occurs
    examples: list[MotifExample]


# Synthesis


class UnitsRow(TypedDict):
    """One utterance of a file that ``synthesize.py`` reads: ``units`` or ``tokens``, and what else is known."""

    id: str
    units: NotRequired[list[int]]
    tokens: NotRequired[list[int] | list[str] | str]  # BPE tokens: ids, token strings, or both joined by spaces
    durations: NotRequired[list[int]]  # frames
    residual_units: NotRequired[list[list[int]]]
    f0: NotRequired[list[float]]  # Hz a frame, 0 = unvoiced
    audio: NotRequired[str]  # relative to DATA_ROOT
    speaker: NotRequired[str | None]
    split: NotRequired[str]
    duration: NotRequired[float]  # s
    unit_rate: NotRequired[int]  # Hz


class PageExample(TypedDict):
    """The utterance that voice.html opens with."""

    units: str  # "12:4 45:3": ids with their frames, as the page's field takes them
    f0: list[float]  # Hz a frame, 0 = unvoiced; [] where it is not known
    speaker_row: int  # 0: the unknown speaker


class Phase1Origin(TypedDict):
    """Where an experiment's inputs lay when it was made: part of ``derived`` of its config.json."""

    language: str
    corpus: str  # path of corpus_timestamped.json
    units_exp: str  # phase 1's folder
    data_root: str
    cache: str  # folder of F0 and of what a recogniser heard


class VoiceOrigin(TypedDict, total=False):
    """What a saved voice tells of its experiment and its units: ``derived`` of its config.json."""

    language: str
    generator: str  # v1 to v4
    n_units: int
    n_streams: int
    encoder: str
    layer: int | None
    units_hash: str  # of phase 1's kmeans.npz, or of its config.json where the units were made elsewhere
    made_elsewhere: bool  # only then: there are no clusters
    started_from: str  # the name of the voice whose weights the training began with (--init); only then
    speaker_encoder: str  # only of a voice that knows speakers by vectors: what computes them


class VoiceConfig(TypedDict):
    """config.json of a saved voice, or of the prosody predictor in it."""

    format: str
    format_version: int
    derived: VoiceOrigin
    sizes: dict[str, object]  # the constructor's arguments
    speakers: list[str]  # rows 1, 2, … of the speaker embedding
    step: int  # of training
    environment: dict[str, object]  # git commit and packages
    sample_rate_hz: NotRequired[int]  # of a voice
    hop_samples: NotRequired[int]  # of a voice: samples a unit frame
    statistics: NotRequired[dict[str, list[float]]]  # of a predictor: mean and deviation of log F0 by speaker


class VocoderScores(TypedDict):
    """scores.json of ``vocoder_test.py``: one experiment, or two folders (then ``original`` and ``resynthesis``)."""

    exp: NotRequired[str]
    checkpoint: NotRequired[str]  # best or latest
    step: NotRequired[int]
    split: NotRequired[str]
    original: NotRequired[str]  # folder
    resynthesis: NotRequired[str]  # folder
    n_utterances: int
    seconds: float
    metrics: dict[str, MetricScore]
    problems: list[str]  # why a score above says nothing
    asr: dict[str, str | int | None] | None  # the recogniser's name, language, dtype and n_unread_originals
    skipped: list[str]  # what was left out, and why
    identity: NotRequired[dict[str, object]]  # what the scores depend on
    utterances: list[UtteranceScore]


# Speech to text


class TranscribedItem(AudioItem):
    """Some audio and what is said in it (speech_llm.transcribed_items); in memory only. Without audio, no hash: ""."""

    text: str  # one line, single spaces
    speaker: str | None
    failure: NotRequired[str]  # why the audio cannot be read
    dataset: NotRequired[int]  # its place among several data sets
    heard: NotRequired["TranscribedItem"]  # whose audio goes with this text, in controls
    noisy: NotRequired[list["TranscribedItem"]]  # the same in noise (speech_llm.noisy_copies), to train on


class Candidate(TypedDict):
    """One text a model wrote for an utterance."""

    text: str
    score: NotRequired[float]  # nats, where there are several


class Prediction(TypedDict):
    """A row of ``<split>_predictions.json``."""

    id: str
    reference: str
    hypothesis: str
    prompt: str
    duration: float  # s
    n_best: NotRequired[list[Candidate]]  # likeliest first
    # Of wrong hypotheses, where an LLM searched: nats by what the search looks for the best of.
    score: NotRequired[float]  # of the hypothesis
    reference_score: NotRequired[float]
    search_error: NotRequired[bool]  # the reference scores better: the search has missed it


class TimedWord(TypedDict):
    """A word with its time and how sure the recogniser is of it."""

    text: str
    start: float  # s
    end: float  # s
    confidence: float  # 0 to 1


class HeardPiece(TypedDict):
    """What was heard in a piece of a recording, with times from the piece's beginning."""

    text: str
    confidence: NotRequired[float]  # 0 to 1
    words: NotRequired[list[TimedWord]]


class TranscriptLine(TypedDict):
    """A piece of a recording with what was said in it; a row of ``transcripts.tsv``."""

    source: str  # the recording
    start: float  # s
    end: float  # s
    text: str
    confidence: NotRequired[float]  # 0 to 1
    words: NotRequired[list[TimedWord]]  # with times of the recording
    rank: NotRequired[int]  # in the queue of what to correct, from 1 on; 0: not in it
    speaker: NotRequired[str]  # of a text that was there before (--corrected)


class AlignedLine(TypedDict):
    """A line or verse of a known text, where it is said."""

    name: str  # "MAT 3:12", or the number of the line
    text: str
    start: float | None  # s; None: nobody says it
    end: float | None  # s
    confidence: float  # 0 to 1, of the least sure second of it
    words: list[TimedWord]
    missing: list[str]  # words that nobody says
    heading: NotRequired[str]  # what stands above it


class UnknownSpeech(TypedDict):
    """Sound that is not in the text."""

    start: float  # s
    end: float  # s
    after: str | None  # name of the line before; None: before the first


class ReadWindow(TypedDict):
    """What Whisper reads in a window of a recording, with times of the recording."""

    start: float  # s
    end: float  # s
    text: str
    starts: list[float]  # s at which each letter of the text begins
    ends: list[float]  # s


class AlignmentSummary(TypedDict):
    """How much of a text is said in a recording."""

    n_lines: int
    sure_lines: int  # with a confidence of at least the recogniser's threshold
    unsaid_lines: list[str]  # names of those of which no word is said
    unsure_lines: list[str]  # names of those below the threshold
    said_share: float  # of the words, in sure lines
    not_in_text_seconds: float
    wrong_page: bool  # so little is said that this is not the recording's text


class Alignment(TypedDict):
    """A recording of ``alignment.json``: where its text is said."""

    source: str
    seconds: float
    lines: list[AlignedLine]
    not_in_text: list[UnknownSpeech]
    summary: AlignmentSummary
    notes: list[str]  # what the user should know
    text_file: NotRequired[str]
    recogniser: NotRequired[str]


class ConnectorConfig(TypedDict):
    """Arguments of ``models.connector.Connector``."""

    kind: str
    factor: int  # frames a position
    width: int
    n_layers: int
    n_heads: NotRequired[int | None]  # None: one for 64 channels
    feedforward: NotRequired[int | None]  # None: four times the width
    norm: NotRequired[str]
    final_norm: NotRequired[bool]
    positions: NotRequired[bool]
    dropout: float
    merge: NotRequired[int]  # frames averaged before the encoder's own layers; absent: 1


class LoraConfig(TypedDict):
    """The low-rank adaptation of an LLM."""

    r: int
    alpha: float
    dropout: float
    targets: list[str]  # names of projections, or all-linear


class SpeechLLMConfig(TypedDict):
    """The plain values a ``SpeechLLMBase`` is built with; ``model`` in the config.json of a saved one."""

    front_end: NotRequired[str]  # features, units or bpe
    speech_enc_id: NotRequired[str]
    speech_enc_layer: NotRequired[int | None]  # None: the last
    padding: NotRequired[str]  # full or short
    llm_id: NotRequired[str]
    llm_revision: NotRequired[str | None]
    llm_bits: NotRequired[int | None]  # of its frozen weights; None: those of the precision
    prompt: str
    pieces: NotRequired[list[list[int]] | None]  # tokens around audio and answer; None: by the LLM's chat template
    in_dim: int  # of a frame of features, or of a unit's embedding
    n_units: NotRequired[int]  # 0: continuous features
    units_hash: NotRequired[str]  # of the units that are read
    connector: ConnectorConfig
    characters: NotRequired[str]  # of the CTC head; "": no head
    text_form: NotRequired[str]  # NFC or NFD, of the transcripts; the LLM itself writes NFC
    apostrophe: NotRequired[str]  # the mark of the transcripts: what the CTC head alone writes
    ctc_compress: NotRequired[bool]
    ctc_embedding: NotRequired[bool]
    ctc_draft: NotRequired[bool]
    ctc_tokens: NotRequired[bool]  # the LLM reads its own tokens as the head spells them
    draft_noise: NotRequired[float]  # nats
    text_only: NotRequired[bool]  # the LLM reads no audio
    lora: NotRequired[LoraConfig | None]
    tokens_per_second: float  # that no answer exceeds


class SavedSpeechLLM(TypedDict):
    """The config.json beside a saved speech LLM's weights."""

    format: str
    format_version: int
    model: SpeechLLMConfig
    notes: dict[str, object]  # step, scores, decoding


class InspectedRecording(TypedDict, total=False):
    """A recording as ``scripts/inspect_recordings.py --json`` describes it; levels in dB of full scale (dBFS)."""

    source: str  # relative path
    container: str
    codec: str
    audio_streams: int
    lowered_db: float  # by so much a file of float went over full scale, and is lowered
    video: bool
    seconds: float  # of decoded samples
    rate_hz: int
    channels: int
    changes: bool  # of rate or channels on the way
    peak_dbfs: float
    clipped_share: float  # of the samples
    offset: float  # largest mean of a channel, of full scale
    dead_channels: list[int]  # from 1
    opposed_channels: bool  # left and right cancel each other
    level_dbfs: float  # of speech
    noise_dbfs: float | None  # None: the pauses are digital silence
    snr_db: float | None
    speech_seconds: float  # between pauses of 0.4 s
    noise_seconds: float  # of its segments, noise or music
    treble_db: float | None  # 4.5 to 7.5 kHz over 0.3 to 3.4 kHz
    curve_dbfs: list[float]  # at most 240 points over the recording
    fingerprint: str  # equal where the sound is
    note: str
    flags: list[str]


# Listening tests.


class ListeningChoice(TypedDict):
    """An answer that may be given to "what did you hear?": one of its keys beside ``id``."""

    id: str
    text: NotRequired[str]
    picture: NotRequired[str]  # in the page a data: address, in the key the file's name
    clip: NotRequired[str]  # the id of a clip to listen to


class ListeningTrial(TypedDict):
    """What one screen asks. The page has everything but ``right``."""

    id: str
    kind: str  # "preference", "abx", "mos" or "words"
    clips: list[str]  # ids: two for preference; A, B and X for abx; one for mos and words
    group: str  # trials of one group are alternatives: a listener gets one of them
    choices: NotRequired[list[ListeningChoice]]  # words
    right: NotRequired[str]  # abx: the clip that X is; words: the choice


class ListeningClip(TypedDict):
    """Whose voice a clip is; only the key says it."""

    system: str
    utterance: str
    seconds: float


class ListeningKey(TypedDict):
    """``listening_test.key.json``: what the page does not tell its listeners."""

    format: str
    format_version: int
    test: str  # as in the answers
    title: str
    seed: int
    systems: list[str]
    clips: dict[str, ListeningClip]
    trials: list[ListeningTrial]


class ListeningAnswer(TypedDict):
    """One screen, answered."""

    trial: str
    shown: list[str]  # clips from left to right
    answer: str  # preference, abx: a clip, or "same"; mos: "1" to "5"; words: a choice
    seconds: float  # from the moment when everything had been heard to the answer
    plays: list[int]  # of each clip, to its end
    repeat: bool  # the same question asked again


class ListeningAnswers(TypedDict):
    """What one listener saves."""

    format: str
    format_version: int
    test: str
    listener: str  # a name
    listener_id: str  # of the session: two people may have one name
    started: str  # ISO 8601, UTC
    finished: str | None  # None: broken off
    answers: list[ListeningAnswer]


# Spoken search.


class SearchFeatures(TypedDict):
    """What the features of a search index depend on besides the audio."""

    encoder: str
    encoder_hash: str
    layer: int | None
    padding: str  # full or short
    n_features: int  # axes of equal variance that are kept; 0: features stay as they are
    n_centroids: int
    seed: int


class SearchIndex(TypedDict):
    """``index.json`` of a search index; written last, so that it says the index is whole."""

    format: str
    format_version: int
    features: SearchFeatures
    segments: str  # digest of the list of segments
    n_segments: int
    n_frames: int
    failed: list[FailedItem]


class ClipPlace(TypedDict):
    """A stretch of speech, in its recording and in its segment."""

    id: str  # of the segment
    source: str  # the recording
    start: float  # s, in the recording
    end: float  # s
    audio: str  # of the segment, relative to DATA_ROOT
    audio_start: float  # s, in the segment
    audio_end: float  # s
    speaker: str | None
    text: NotRequired[str]  # of the segment


class Hit(ClipPlace):
    """A row of ``hits`` in hits.json: one place where the query may be said."""

    rank: int  # from 1
    cost: float  # mean distance a frame of the query
    score: float  # deviations below the middle cost of the corpus
    probability: float  # that it is right
    decision: NotRequired[str]  # accepted or rejected, where somebody has listened


class SearchResult(TypedDict):
    """hits.json."""

    format: str
    format_version: int
    language: str
    word: str  # what the query is called, or ""
    queries: list[str]
    index: str  # digest of the list of segments that was searched
    encoder: str
    layer: int | None
    seconds_searched: float
    hits: list[Hit]


class HitDecision(TypedDict):
    """What somebody who listened says of one hit."""

    id: str  # of the segment
    audio_start: float  # s, in the segment
    audio_end: float  # s
    decision: str  # accepted or rejected


class SearchDecisions(TypedDict):
    """The file that the page of hits saves."""

    format: str
    format_version: int
    language: str
    word: str
    decisions: list[HitDecision]


# The dictionary of what is said often.


class PhraseOccurrence(ClipPlace):
    """One place where a phrase is said."""

    score: float  # share of the phrase's other occurrences that it was paired with


class Phrase(TypedDict):
    """A row of ``phrases`` in phrases.json: a stretch of speech that comes back."""

    rank: int  # from 1
    label: str  # s001 and so on
    name: str  # what somebody who listened calls it, or ""
    gloss: str  # what it means, or ""
    gloss_audio: NotRequired[str]  # where the meaning was said: its file in phrases.json, a data: address before
    n_speakers: int
    n_recordings: int
    n_occurrences: int
    seconds: float  # of the middle occurrence
    tightness: float  # share of all pairs of occurrences that were found
    occurrences: list[PhraseOccurrence]  # the most typical first
    rejected: NotRequired[list["NamedPlace"]]  # what somebody who listened took out


class PhraseResult(TypedDict):
    """phrases.json."""

    format: str
    format_version: int
    language: str
    index: str  # digest of the list of segments
    encoder: str
    layer: int | None
    min_seconds: float
    n_pairs: int
    expected_false_share: float  # of the pairs, by recordings that are shuffled
    seconds_searched: float
    phrases: list[Phrase]


class NamedPlace(TypedDict):
    """What somebody who listened says of one occurrence."""

    id: str  # of the segment
    audio_start: float  # s, in the segment
    audio_end: float  # s
    decision: str  # accepted or rejected


class NamedPhrase(TypedDict):
    """A row of ``phrases`` in the file that the dictionary's page saves."""

    name: str
    gloss: str
    gloss_audio: NotRequired[str]  # the meaning as it was said: a data: address of audio, in base64
    occurrences: list[NamedPlace]


class PhraseNames(TypedDict):
    """The file that the dictionary's page saves."""

    format: str
    format_version: int
    language: str
    phrases: list[NamedPhrase]


# The language model of units (unit_lm/).


class UnitVocabulary(TypedDict):
    """What each token id of a language model of units stands for (unit_lm/vocabulary.py)."""

    kind: str  # units, frames or bpe
    languages: list[str]
    digests: list[str]  # of each block of symbols
    sizes: list[int]  # symbols of each block
    block_of: list[int]  # of each language
    tokenizers: list[str]  # of each block, as tokenizer.json has it; empty unless kind is bpe


class UnitLoop(TypedDict):
    """A stretch of a continuation that says the same several times in a row."""

    start: float  # s, from the end of the prompt
    end: float  # s
    n_units: int  # that are said again and again


class Continuation(TypedDict):
    """A row of ``samples`` in continuations.json: one way in which the model goes on."""

    number: int  # from 1
    audio: str  # beside the file: prompt and continuation
    prompt_seconds: float
    seconds: float  # of the continuation
    ended: bool  # by itself; else it was cut
    units: list[int]  # of the continuation, deduplicated
    durations: list[int]  # frames
    loops: list[UnitLoop]


class ContinuationResult(TypedDict):
    """continuations.json."""

    format: str
    format_version: int
    recording: str  # name of the file
    language: str
    model: str  # name of the experiment
    step: int
    voice: str
    seed: int
    temperature: float
    top_p: float
    longest_seconds: float  # as asked
    n_with_loops: int
    samples: list[Continuation]


# Translation (translation/).


class Translation(TypedDict):
    """A row of translations.json: a recording, spoken in another language."""

    recording: str  # as it was named
    audio: str  # beside the file
    seconds: float  # of the translation
    units: list[int]  # that were said, deduplicated
