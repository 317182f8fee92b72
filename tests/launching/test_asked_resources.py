"""From flags, --engine_args and a site's file to what a job asks of its engine."""

import pytest

from core.errors import UserError
from launching import sge_requests
from launching.asked_resources import ask_resources
from launching.job import Resources
from launching.site import PLAIN_SITE

BARE = Resources(cpus=0, processes=0, hours=None)
SITE = PLAIN_SITE._replace(partition="cpu", gpu_partition="gpu", account="speech")


def test_a_gpu_brings_cores_memory_and_its_partition() -> None:
    asked = ask_resources("slurm", SITE, BARE, gpus="a100:2")
    assert (asked.gpus, asked.gpu_type, asked.processes) == (2, "a100", 2)
    assert (asked.cpus, asked.memory_gb, asked.partition, asked.account) == (8, 32, "gpu", "speech")
    plain = ask_resources("slurm", SITE, BARE)
    assert (plain.cpus, plain.memory_gb, plain.partition, plain.hours) == (1, None, "cpu", 24)


def test_what_was_typed_comes_first() -> None:
    typed = BARE._replace(cpus=3, memory_gb=5.0, partition="mine", processes=1)
    asked = ask_resources("slurm", SITE, typed, gpus="2")
    assert asked[:6] == (2, 1, 1, 3, 5.0, 24) and asked.partition == "mine"


def test_what_is_handed_on_by_hand_leaves_no_default_beside_it() -> None:
    by_hand = "--gres=gpu:v100:1 --mem-per-cpu=2G --partition=old --qos=long"
    asked = ask_resources("slurm", SITE, BARE, engine_args=by_hand)
    assert (asked.gpus, asked.gpu_type, asked.memory_gb, asked.partition) == (1, "v100", None, None)
    assert asked.engine_args == ("--mem-per-cpu=2G", "--partition=old", "--qos=long") and asked.account == "speech"


def test_where_gpus_count_by_slots_each_has_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sge_requests, "consumable", lambda name: "YES")
    assert ask_resources("sge", PLAIN_SITE, BARE, gpus="2").cpus == 2
    monkeypatch.setattr(sge_requests, "consumable", lambda name: "JOB")
    assert ask_resources("sge", PLAIN_SITE, BARE, gpus="2").cpus == 8


def test_engines_without_a_scheduler() -> None:
    assert ask_resources("modal", PLAIN_SITE, BARE, gpus="H100:2")[:6] == (2, 1, 2, 8, None, 24)
    assert ask_resources("modal", PLAIN_SITE, BARE, gpus="H100:2").constraint == "H100"
    assert ask_resources("local", PLAIN_SITE, BARE) == Resources(hours=None)


@pytest.mark.parametrize(
    ("backend", "given", "said"),
    [
        ("local", {"gpus": "a100:1"}, "give the number alone"),
        ("local", {"engine_args": "--qos=long"}, "goes to Slurm or Grid Engine"),
        ("modal", {"engine_args": "--qos=long"}, "goes to Slurm or Grid Engine"),
        ("slurm", {"gpus": "1", "engine_args": "--gres=gpu:1"}, "leave one out"),
    ],
)
def test_what_an_engine_cannot_obey_is_refused(backend: str, given: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ask_resources(backend, PLAIN_SITE, BARE, **given)
    with pytest.raises(UserError, match="both name the GPU"):
        ask_resources("modal", PLAIN_SITE, BARE._replace(constraint="L4"), gpus="H100:2")
