import copy

import torch

import pytest

from core.errors import UserError
from core.text_normalisation import normalise_text
from models.chat_template import chat_pieces
from models.ctc import view_differences
from models.speech_llm_model import SpeechBatch, SpeechLLMBase, check_llm
from speech_llm.characters import text_labels
from speech_llm.decoding import batch_alike, max_answer_tokens, token_rate, transcribe_features
from speech_llm.feature_sources import FeatureSource
from speech_llm.saved_model import build_speech_llm, from_pretrained, save_pretrained
from speech_llm.validation import is_looping, mean_losses, uses_audio, word_error_rate
from tiny_llm import DIM, FAMILIES, HELD_OUT, LETTERS, config, hearing, teach_to_copy, tiny_llm, tiny_tokenizer

TEXTS = ("abc", "hgfedcba", "bad cab", "d", "aa")


LORA = {"r": 2, "alpha": 4, "dropout": 0.1, "targets": ["all-linear"]}


def build(values: dict, family: str = "llama") -> SpeechLLMBase:
    torch.manual_seed(0)
    return SpeechLLMBase(tiny_llm(family), tiny_tokenizer(), values).eval()


def frames_of(text: str, *, seed: int = 0) -> torch.Tensor:
    """(F, DIM) features that spell ``text``: four noisy frames a character, a pause of two between them."""
    codes = torch.randn(128, DIM, generator=torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(seed)
    rows = [codes[ord(letter)].expand(4, -1) for letter in text for letter in (letter, "_")]
    rows = [row[:2] if place % 2 else row for place, row in enumerate(rows)]
    return torch.cat(rows) + 0.1 * torch.randn(sum(map(len, rows)), DIM, generator=noise)


def make_batch(model: SpeechLLMBase, texts, seed: int = 0, heard=None) -> SpeechBatch:
    rows = [frames_of(text, seed=seed + place) for place, text in enumerate(heard or texts)]
    return SpeechBatch(
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=7.0),
        torch.tensor(list(map(len, rows))),
        answers=[model.answer_ids(text) for text in texts],
        labels=[text_labels(text, model.characters) for text in texts],
    )


@pytest.fixture(scope="module")
def copying_llm():
    llm = tiny_llm("llama")
    teach_to_copy(llm, tiny_tokenizer())
    return llm


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("values", [config(), hearing(lora=LORA)], ids=["plain", "hearing"])
def test_loss_and_transcripts_do_not_depend_on_the_batch(family, values):
    model = build(values, family)
    together = model(make_batch(model, TEXTS))
    alone = [model(make_batch(model, [text], seed=place)) for place, text in enumerate(TEXTS)]
    for name, value in together._asdict().items():
        parts = [getattr(single, name) for single in alone]
        if value is None:
            assert parts == [None] * len(TEXTS)
            assert name == "difference" or (model.ctc is None and name in ("ctc", "n_characters"))
        else:
            torch.testing.assert_close(value, sum(parts), atol=2e-3, rtol=1e-4)
    rows = [frames_of(text, seed=place).numpy() for place, text in enumerate(TEXTS)]
    seconds = [len(row) / 50 for row in rows]
    for beams in (1, 3):
        whole = transcribe_features(model, rows, seconds, num_beams=beams)
        single = [transcribe_features(model, [row], [length], num_beams=beams)[0] for row, length in zip(rows, seconds)]
        assert whole == single


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_once_for_all_beams_are_read_as_once_a_beam(family, monkeypatch):
    model = build(config(), family)
    rows = [frames_of(text, seed=place).numpy() for place, text in enumerate(TEXTS)]
    once = transcribe_features(model, rows, [1.0] * len(rows), num_beams=4)
    monkeypatch.setattr(SpeechLLMBase, "_read_prompts", lambda *_: None)
    assert transcribe_features(model, rows, [1.0] * len(rows), num_beams=4) == once


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_computed_at_the_answers_alone(family):
    model, seen = build(config(), family), []
    model.llm.get_output_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    batch = make_batch(model, TEXTS)
    sums = model(batch)
    assert seen == [(sum(map(len, batch.answers)), 64)] and sums.n_tokens == seen[0][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_is_that_of_the_whole_conversation(family):
    """The same tokens through the LLM's own forward pass, in one row, without any padding."""
    model = build(config(), family)
    batch = make_batch(model, ["abc"])
    speech = model.encode_speech(batch.features, batch.lengths)
    prompt, answer = model.prompts(speech)[0], torch.tensor(batch.answers[0])
    whole = torch.cat([prompt, model.llm.get_input_embeddings()(answer)])[None]
    logits = model.llm(inputs_embeds=whole).logits[0, len(prompt) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
    torch.testing.assert_close(model(batch).ce, expected, atol=1e-3, rtol=1e-4)


def test_an_llm_of_texts_alone_reads_no_audio_and_leaves_the_head_alone():
    model = build(hearing(lora=LORA, text_only=True) | {"ctc_draft": False})
    first, second = (make_batch(model, TEXTS, seed=seed) for seed in (0, 90))
    losses = [model(batch) for batch in (first, second)]
    assert losses[0].ce == losses[1].ce and losses[0].ctc != losses[1].ctc
    sums = model.train()(first)
    sums.ce.backward()
    assert sums.ctc is None and all(value.grad is None for value in model.connector.parameters())
    assert any(value.grad is not None for name, value in model.named_parameters() if "lora_" in name)


def test_two_views_differ_by_what_each_hears_beside_padding():
    log_probs = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1).requires_grad_()
    lengths = torch.tensor([3, 3])
    found = view_differences(log_probs, lengths)
    one, other = log_probs.detach()[:, :3]
    expected = (one.exp() * (one - other)).sum() + (other.exp() * (other - one)).sum()
    torch.testing.assert_close(found.detach(), expected)
    found.backward()
    assert log_probs.grad[:, :3].any() and not log_probs.grad[:, 3:].any()
    assert view_differences(log_probs[:1].repeat(2, 1, 1), lengths) == 0


def test_an_answer_ends_as_the_chat_template_ends_it():
    model = build(config())
    tokenizer = model.tokenizer
    assert model.answer_ids("ab")[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id in model.stop_ids
    bare = tiny_tokenizer()
    bare.chat_template = None
    plain = SpeechLLMBase(tiny_llm("llama"), bare, config())
    assert plain.answer_ids("ab")[-1] == bare.eos_token_id


def test_the_prompt_is_the_users_and_stands_in_the_template():
    tokenizer = tiny_tokenizer()
    pieces = [tokenizer.decode(piece) for piece in chat_pieces(tokenizer, "Write it down.", draft=True)]
    assert pieces == ["<|im_start|>user\n", "\nWrite it down.\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"]


def test_frozen_models_stay_frozen_and_quiet():
    encoder = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    model = SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing(lora=LORA), encoder).train()
    assert not any(module.training for module in model.encoder.modules())
    in_training = {name for name, module in model.llm.named_modules() if module.training}
    assert in_training and all("lora_" in name for name in in_training)
    assert not any(value.requires_grad for value in model.encoder.parameters())
    before = {name: value.clone() for name, value in model.named_parameters()}
    sums = model(make_batch(model, TEXTS))
    (sums.ce + sums.ctc).backward()
    torch.optim.SGD([v for v in model.parameters() if v.requires_grad], lr=0.1).step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and moved <= set(model.trained_state())
    assert all(name.startswith(("connector", "ctc", "spelling")) or "lora_B" in name for name in moved)


def test_trained_weights_stay_float32_beside_a_bf16_llm():
    torch.manual_seed(0)
    model = SpeechLLMBase(tiny_llm("llama").bfloat16(), tiny_tokenizer(), hearing(lora=LORA)).train()
    assert {value.dtype for value in model.trained_state().values()} == {torch.float32}
    scale = model.connector.scale.weight
    before, optimizer = scale.detach().clone(), torch.optim.AdamW(model.trained_parameters(), lr=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(make_batch(model, TEXTS)).ce
    loss.backward()
    optimizer.step()
    assert (scale != before).float().mean() > 0.9  # a step of 1e-4 beside 1 would be lost in bf16


def test_generation_is_refused_in_training_mode():
    model = build(config()).train()
    with pytest.raises(AssertionError, match="eval"):
        transcribe_features(model, [frames_of("ab").numpy()], [0.2])


def test_every_utterance_ends_at_its_own_limit():
    model = build(config(tokens_per_second=20.0))
    rows = [frames_of(text).numpy() for text in ("a", "abcdefgh")]
    limits = [max_answer_tokens(20.0, seconds) for seconds in (0.1, 2.0)]
    assert limits[0] < limits[1]
    short, long = (found[0]["text"] for found in transcribe_features(model, rows, [0.1, 2.0]))
    # A random LLM hardly ever ends by itself: what it writes is as long as it may be.
    assert len(short) <= limits[0] < len(long) <= limits[1]


def test_n_best_is_sorted_and_scored():
    model = build(hearing())
    rows = [frames_of(text).numpy() for text in TEXTS]
    found = transcribe_features(model, rows, [1.0] * len(rows), decoder="joint", num_beams=4, n_best=3)
    for candidates in found:
        scores = [candidate["score"] for candidate in candidates]
        texts = [candidate["text"] for candidate in candidates]
        assert scores == sorted(scores, reverse=True) and len(set(texts)) == len(texts) <= 3


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_behind_one_prompt_score_as_each_by_itself(family):
    model = build(hearing(), family)
    prompt = torch.randn(9, model.llm.get_input_embeddings().embedding_dim, generator=torch.Generator().manual_seed(0))
    answers = [model.answer_ids(text) for text in ("abc", "", "hgfedcba", "d")]
    alone = [nats for answer in answers for nats in model.score([prompt], [answer])]
    assert model.score_alternatives(prompt, answers) == pytest.approx(alone, abs=1e-4)
    assert model.score_alternatives(prompt, answers[1:2]) == pytest.approx(alone[1:2], abs=1e-4)


@pytest.mark.parametrize(
    "options", [{"decoder": "joint"}, {"decoder": "ctc"}, {"n_best": 2}, {"decoder": "x"}, {"ctc_weight": 1.0}]
)
def test_impossible_decoding_is_refused(options):
    model = build(config())
    with pytest.raises(UserError):
        transcribe_features(model, [frames_of("ab").numpy()], [0.2], **options)


def test_long_utterances_do_not_hold_up_short_ones():
    assert list(batch_alike([4, 90, 5, 0, 6, 50, 3, 7], 3)) == [[1, 5], [7, 4, 2], [0, 6]]
    assert list(batch_alike([0, 0], 3)) == list(batch_alike([], 3)) == []


def test_no_frames_give_no_text():
    import numpy as np

    assert transcribe_features(build(config()), [np.zeros((0, DIM), np.float32)], [0.0]) == [[{"text": ""}]]


def test_saved_model_holds_only_what_was_trained_and_hears_the_same(tmp_path):
    from tiny_llm import save_tiny_llm

    folder = save_tiny_llm(tmp_path / "llm", "olmo2")
    values = hearing(lora=LORA, llm_id=str(folder), llm_revision=None)
    torch.manual_seed(0)
    model = build_speech_llm(values, torch.float32).eval()
    with torch.no_grad():
        for value in model.trained_parameters():
            value.add_(0.05 * torch.randn_like(value))
    save_pretrained(tmp_path / "saved", model, {"step": 7})
    again = from_pretrained(tmp_path / "saved")
    batch = make_batch(model, TEXTS)
    assert again(batch).ce.item() == model(batch).ce.item()
    size = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert size < 4.1 * sum(value.numel() for value in model.trained_parameters()) + 20_000
    damaged = values | {"connector": values["connector"] | {"width": 128}}
    with pytest.raises(ValueError, match="differ"):
        build_speech_llm(damaged, torch.float32).load_trained(model.trained_state())


def train(
    model: SpeechLLMBase, steps: int, *, ctc_only: bool = False, shuffled: bool = False, lr: float = 3e-3
) -> None:
    """Ever new texts, so that nothing can be learnt by heart."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.train().trained_parameters(), lr=lr)
    for step in range(steps):
        picked = torch.randint(len(LETTERS), (16, 6), generator=generator).tolist()
        texts = ["".join(LETTERS[index] for index in row) for row in picked]
        sums = model(
            make_batch(model, texts, seed=1000 * step, heard=texts[1:] + texts[:1] if shuffled else None),
            ctc_only=ctc_only,
        )
        (sums.ctc / 50 if ctc_only else sums.ce / 100).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def source_of(texts) -> tuple[FeatureSource, list[dict]]:
    items = [{"id": text, "text": text, "duration": len(text) * 6 / 50} for text in texts]
    read = lambda chosen, speeds: [frames_of(item["text"], seed=77).numpy() for item in chosen]  # noqa: E731
    return FeatureSource(read, count_frames=None, keep_known=None, in_dim=DIM), items


def test_a_connector_learns_to_speak_to_a_frozen_llm_that_copies(copying_llm):
    """Needs the frames in order, the masks, the scale and the chat template; held-out texts; the control is deaf."""
    from contextlib import nullcontext

    from speech_llm.batches import swap_neighbours

    found = {}
    for name in ("true", "shuffled"):
        torch.manual_seed(0)
        model = SpeechLLMBase(
            copy.deepcopy(copying_llm), tiny_tokenizer(), config(connector=config()["connector"] | {"factor": 6})
        )
        train(model, 120, shuffled=name == "shuffled")
        source, items = source_of(HELD_OUT)
        settings = {"ctc_only": False, "batch_size": 4, "autocast": nullcontext}
        losses = (
            mean_losses(model, source, items, **settings),
            mean_losses(model, source, swap_neighbours(items), **settings),
        )
        found[name] = {
            "validation_loss_nat": losses[0]["loss_nat"],
            "validation_shuffled_loss_nat": losses[1]["loss_nat"],
        }
    assert uses_audio(found["true"])
    assert found["true"]["validation_loss_nat"] < 0.6 * found["shuffled"]["validation_loss_nat"]


def test_characters_are_learnt_by_ctc_and_compressed():
    torch.manual_seed(0)
    model = SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing())
    train(model, 60, ctc_only=True)
    source, items = source_of(HELD_OUT)
    rows = source.read(items, None)
    texts = [found[0]["text"] for found in transcribe_features(model, rows, [1.0] * len(rows), decoder="ctc")]
    assert word_error_rate([" ".join(text) for text in HELD_OUT], [" ".join(text) for text in texts]) < 0.1
    batch = make_batch(model, HELD_OUT)
    positions = model.audio_embeddings(model.encode_speech(batch.features, batch.lengths))
    assert [abs(len(row) - len(text)) <= 1 for row, text in zip(positions, HELD_OUT)] == [True] * len(HELD_OUT)
    # Both together are held to what the head has heard, whatever the random LLM would rather write.
    joint = transcribe_features(model, rows, [1.0] * len(rows), decoder="joint", num_beams=4, ctc_weight=0.95)
    assert sum(normalise_text(found[0]["text"]) == text for found, text in zip(joint, HELD_OUT)) >= len(HELD_OUT) - 1


def test_a_shuffled_loss_that_is_no_worse_is_flagged():
    assert uses_audio({"validation_loss_nat": 1.0, "validation_shuffled_loss_nat": 2.0})
    assert not uses_audio({"validation_loss_nat": 1.0, "validation_shuffled_loss_nat": 1.0})
    assert not uses_audio({"validation_ctc_nat": 1.0, "validation_shuffled_ctc_nat": 0.9})


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("thank you thank you thank you thank you", True),
        ("one one one one", False),
        ("the the the the the the", True),
        ("press one for sales and press one for support", False),
        ("", False),
    ],
)
def test_looping_is_told_from_repetition(text, loops):
    assert is_looping(text) == loops


def test_a_language_model_that_reads_ahead_or_scales_its_logits_is_refused():
    llm = tiny_llm("llama")
    check_llm(llm)
    layer = llm.model.layers[0].register_forward_hook(lambda _, __, hidden: hidden + hidden.mean(1, keepdim=True))
    with pytest.raises(UserError, match="reads what follows a token"):
        check_llm(llm)
    layer.remove()
    llm.register_forward_hook(lambda _, __, found: type(found)(logits=2 * found.logits))
    with pytest.raises(UserError, match="does more to its logits"):
        check_llm(llm)


@pytest.mark.parametrize("kind", ["transformer", "qformer"])
def test_heads_and_feedforward_are_as_asked_for(kind):
    shape = {"kind": kind, "factor": 2, "width": 48, "n_layers": 1}
    layer = build(config(connector=shape | {"n_heads": 6, "feedforward": 40})).connector.body["layers"][0]
    assert layer.self_attn.num_heads == 6 and layer.linear1.out_features == 40
    layer = build(config(connector=shape)).connector.body["layers"][0]
    assert layer.self_attn.num_heads == 1 and layer.linear1.out_features == 4 * 48


def test_a_prompt_with_the_time_of_day_is_read_as_it_was_trained(tmp_path):
    """Llama-3.2's chat template writes today's date."""
    from transformers import AutoTokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%H:%M:%S.%f') }}" + tokenizer.chat_template
    folder = tmp_path / "llm"
    tiny_llm("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template == tokenizer.chat_template
    model = build_speech_llm(config(llm_id=str(folder)), torch.float32)
    assert build_speech_llm(config(llm_id=str(folder)), torch.float32).pieces != model.pieces
    save_pretrained(tmp_path / "saved", model)
    assert from_pretrained(tmp_path / "saved").pieces == model.pieces


@pytest.mark.parametrize("values", [config(), hearing()], ids=["llm", "joint"])
def test_the_first_of_many_hypotheses_is_the_one_written_alone(values):
    model = build(values)
    rows = [frames_of(text, seed=place).numpy() for place, text in enumerate(TEXTS)]
    options = {"num_beams": 4, "decoder": "joint" if model.ctc is not None else "llm", "length_penalty": 1.0}
    alone = transcribe_features(model, rows, [1.0] * len(rows), **options)
    many = transcribe_features(model, rows, [1.0] * len(rows), n_best=4, **options)
    assert [row[0]["text"] for row in many] == [row[0]["text"] for row in alone]
    assert any(len(row) > 1 for row in many)


def test_one_text_beside_the_wrong_audio_does_not_let_answers_run_on():
    items = [{"text": "abcdef", "duration": 2.0}] * 99
    rate = token_rate(tiny_tokenizer(), [*items, {"text": "a" * 600, "duration": 2.0}])
    assert rate == pytest.approx(1.5 * 3, rel=0.1)


def test_a_chat_template_that_changes_what_is_said_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    with pytest.raises(UserError, match="chat template changes what is said"):
        chat_pieces(tokenizer, "Write it down.", draft=False)
