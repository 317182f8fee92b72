"""Units of disturbed recordings: a small network that takes features to where the clean recording's would be.

It learns from disturbed copies of the training split (units.denoising_copies). Each frame's target is the unit that the
k-means gives the clean one, and its score for a unit is the distance to that centroid. So it needs no labels and no
further vocabulary: it begins as the k-means itself, and learns what to correct. After augmentation-invariant units
(Gat et al. 2023, "Augmentation Invariant Discrete Representation for Generative Spoken Language Modeling") and NAST
(Messica and Adi 2024). Axes: F frames, D features, K units, T frames of a crop, B crops.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tqdm import trange

from models.feature_denoiser import FeatureDenoiser, describe_surroundings
from training.schedule import learning_rate
from units.assignment import assign, neighbour_distance

STEPS, BATCH_CROPS, CROP_FRAMES = 400, 16, 128
CLEAN_SHARE = 0.3  # of the crops: clean units shall stay
PEAK_RATE, WARMUP = 3e-3, 50
PREFIX = "denoiser."  # of its weights among the arrays of a k-means

Copies = Sequence[Sequence[np.ndarray]]  # of each utterance: the clean features (F, D) float32, then disturbed ones


def fit_denoiser(
    copies: Copies,
    centroids: np.ndarray,
    seed: int,
    *,
    steps: int = STEPS,
    n_crops: int = BATCH_CROPS,
    quiet: bool = True,
) -> FeatureDenoiser:
    """Train on scaled features (F, D), so that the nearest of the (K, D) ``centroids`` is that of the clean frame.

    Copies of an utterance have the same F. The same bits at the same number of threads.
    """
    torch_random = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = FeatureDenoiser(centroids.shape[1])
    torch.random.set_rng_state(torch_random)
    units = [torch.from_numpy(assign(clean, centroids)) for clean, *_ in copies]
    around = [[describe_surroundings(torch.from_numpy(one)) for one in utterance] for utterance in copies]
    scale = max(neighbour_distance(centroids), 1e-6)
    sharpness = torch.nn.Parameter(torch.tensor(2 / scale).log())
    optimiser = torch.optim.AdamW([*model.parameters(), sharpness], weight_decay=0.01)
    book = torch.from_numpy(centroids)
    with trange(steps, desc="learning noise", unit="step", disable=True if quiet else None) as bar:
        for step in bar:
            features, beside, targets, clean = _draw(
                copies, units, around, n_crops, np.random.default_rng([seed, step])
            )
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, PEAK_RATE, WARMUP)
            denoised = model(features, beside)
            scores = _closeness(denoised.flatten(0, 1), book) * sharpness.exp()
            loss = torch.nn.functional.cross_entropy(scores, targets.flatten(), ignore_index=-1)
            # Scores of 1000 near clusters alone would let clean frames wander to a neighbour.
            moved = (denoised - features).square().sum(dim=2).mean(dim=1)
            loss = loss + (moved * clean).sum() / clean.sum().clamp(min=1) / scale
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.2f}")
    return model.eval().requires_grad_(False)


def _draw(
    copies: Copies,
    units: Sequence[torch.Tensor],
    around: Sequence[Sequence[torch.Tensor]],
    n_crops: int,
    random: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crops (B, T, D), their surroundings (B, 2 D), units of the clean frames (B, T), and which are clean (B,) float32.

    Units are -1 beyond an utterance's end.
    """
    lengths = np.array([len(one) for one in units], np.float64)
    chosen = random.choice(len(copies), n_crops, p=lengths / lengths.sum())
    dim = copies[0][0].shape[1]
    features, targets = torch.zeros(n_crops, CROP_FRAMES, dim), torch.full((n_crops, CROP_FRAMES), -1)
    beside, numbers = [], []
    for row, index in enumerate(chosen):
        number = 0 if random.random() < CLEAN_SHARE else int(random.integers(1, len(copies[index])))
        start = int(random.integers(max(1, len(units[index]) - CROP_FRAMES + 1)))
        crop = torch.from_numpy(copies[index][number][start : start + CROP_FRAMES])
        features[row, : len(crop)] = crop
        targets[row, : len(crop)] = units[index][start : start + CROP_FRAMES]
        beside.append(around[index][number])
        numbers.append(number)
    return features, torch.stack(beside), targets, (torch.tensor(numbers) == 0).float()


def _closeness(denoised: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
    """(…, D) and (K, D) -> (…, K): half the negative squared distances, but for what is the same for every unit."""
    return denoised @ book.T - 0.5 * book.square().sum(dim=1)


def denoise(scaled: np.ndarray, model: FeatureDenoiser) -> np.ndarray:
    """(F, D) -> (F, D) float32 of one whole utterance."""
    if not len(scaled):
        return scaled
    features = torch.from_numpy(np.ascontiguousarray(scaled, np.float32))
    with torch.inference_mode():
        return model(features[None], describe_surroundings(features)[None])[0].numpy()


def denoiser_arrays(model: FeatureDenoiser | None) -> dict[str, np.ndarray]:
    """Its weights by name, to be saved among the arrays of a k-means; none where there is no denoiser."""
    return {PREFIX + name: value.numpy() for name, value in (model.state_dict() if model else {}).items()}


def read_denoiser(arrays: Mapping[str, np.ndarray]) -> FeatureDenoiser | None:
    """The network of ``denoiser_arrays`` among others. Raises ValueError where weights are missing or foreign."""
    weights = {
        name.removeprefix(PREFIX): torch.from_numpy(value) for name, value in arrays.items() if name.startswith(PREFIX)
    }
    if not weights:
        return None
    leave = weights.get("leave.weight")
    if leave is None or leave.ndim != 2:
        raise ValueError("no denoiser.leave.weight (D, C)")
    model = FeatureDenoiser(leave.shape[0], channels=leave.shape[1])
    wanted, found = ({name: tuple(value.shape) for name, value in one.items()} for one in (model.state_dict(), weights))
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        raise ValueError(f"other or no {PREFIX}{differing[0]}")
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
