"""--engine_args for sbatch: every spelling, GPUs by --gres, what is refused and what a site's own yields to."""

import pytest

from core.errors import UserError
from launching.slurm_args import additional_parameters, read_options, read_slurm_args, split_gres

NONE = frozenset()


def test_every_spelling_of_an_option_is_read() -> None:
    found = read_options(
        "--qos=long --exclude n3 -w n1 -Llicence@server --exclusive --comment='a b' --hint=nomultithread"
    )
    assert found == {
        "qos": "long",
        "exclude": "n3",
        "nodelist": "n1",
        "licenses": "licence@server",
        "exclusive": None,
        "comment": "a b",
        "hint": "nomultithread",
    }


def test_gpus_by_gres_are_those_of_the_job() -> None:
    read = read_slurm_args("--qos=long --exclude=n3 --mail-type=END --gres=gpu:a100:2,tmp:50G", "", NONE)
    assert (read.gpus, read.gpu_type) == (2, "a100")
    assert read.options == ("--qos=long", "--exclude=n3", "--mail-type=END", "--gres=tmp:50G")
    wanted = {"qos": "long", "exclude": "n3", "mail-type": "END", "gres": "tmp:50G"}
    assert additional_parameters([*read.options, "--exclusive"]) == wanted | {"exclusive": True}
    assert split_gres("gpu") == (None, 1, []) and split_gres("") == (None, None, [])


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("--time=3:00:00", "", "--engine_args --time: give --hours instead"),
        ("-c 4", "", "--engine_args --cpus-per-task: give --cpus instead"),
        ("--gpus-per-node=2", "", "give --gpus instead"),
        ("--output=x.log", "", "--engine_args --output: the launcher sets it"),
        ("--partition=gpu", "partition", "--engine_args --partition and --partition: both say the same"),
        ("--mem-per-cpu=2G", "memory", "--mem-per-cpu and --memory: both"),
        ("--gres=gpu:2", "gpus", "--gres=gpu and --gpus: both"),
        ("--gres=gpu:a:1,gpu:b:1", "", "expected one kind of GPU"),
        ("long", "", "expected an option of sbatch"),
        ("--qos=long short", "", "short: expected an option of sbatch"),
        ("-Z 3", "", "-Z: expected the long form"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(text: str, typed: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_slurm_args(text, "", frozenset(typed.split()))


def test_what_the_site_says_yields_to_what_was_typed() -> None:
    site = "--qos=normal --partition=batch --mem-per-cpu=4G --mail-type=FAIL"
    assert read_slurm_args("", site, NONE).flags == {"partition", "memory"}
    read = read_slurm_args("--qos=long --mem=8G", site, frozenset({"partition"}))
    assert read.options == ("--mail-type=FAIL", "--qos=long", "--mem=8G") and read.flags == {"memory"}
