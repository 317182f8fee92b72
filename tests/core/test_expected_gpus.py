"""A job that asked for GPUs and finds none stops at once; without a job's word, the processor will do."""

import torch

import pytest

from core.device import choose_device
from core.errors import UserError
from core.expected_gpus import EXPECTED_GPUS, refuse_lost_gpus
from training.processes import start_accelerator


def test_a_job_without_its_gpus_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(EXPECTED_GPUS, raising=False)
    assert choose_device("auto") == "cpu"
    monkeypatch.setenv(EXPECTED_GPUS, "1")
    for start in (lambda: choose_device("auto"), start_accelerator):
        with pytest.raises(UserError, match="expected 1 GPU, as the job asked for, found 0"):
            start()
    assert choose_device("cpu") == "cpu"
    assert start_accelerator(cpu=True).device.type == "cpu"
    monkeypatch.setenv(EXPECTED_GPUS, "2")
    with pytest.raises(UserError, match="expected 2 GPUs, as the job asked for, found 1"):
        refuse_lost_gpus(1)
