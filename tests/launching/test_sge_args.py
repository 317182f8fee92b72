"""--engine_args for qsub: options and requests, what is refused and what a site's own yields to."""

import pytest

from core.errors import UserError
from launching.sge_args import read_options, read_sge_args
from launching.site import PLAIN_SITE

NONE = frozenset()


def test_options_keep_their_words_and_requests_come_together() -> None:
    options, requests = read_options("-l h_vmem=4G,exclusive -M 'me@x,you@x' -m be -p -10 -R y -l scratch=2")
    assert options == {"-M": ["me@x,you@x"], "-m": ["be"], "-p": ["-10"], "-R": ["y"]}
    assert requests == {"h_vmem": "4G", "exclusive": "", "scratch": "2"}
    read = read_sge_args("-l h_vmem=4G,exclusive -R y -v 'NOTE=a b'", "", PLAIN_SITE, NONE)
    assert read.options == ("-R y", "-v 'NOTE=a b'", "-l h_vmem=4G,exclusive") and read.flags == NONE


def test_requests_of_gpus_and_memory_stand_for_the_launchers_flags() -> None:
    read = read_sge_args("-l gpu=2,mem_free=8G -q long.q", "", PLAIN_SITE, NONE)
    assert (read.gpus, read.flags) == (2, {"memory", "partition"})
    assert read.options == ("-q long.q", "-l mem_free=8G")
    site = PLAIN_SITE._replace(gpu_complex="cuda", memory_complex="h_vmem")
    assert read_sge_args("-l cuda=1,gpu=3,h_vmem=9G", "", site, NONE) == (
        (("-l gpu=3,h_vmem=9G"),),
        {"memory"},
        1,
        None,
    )


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("-N mine", "", "--engine_args -N: give --name instead"),
        ("-pe smp 8", "", "-pe: give --cpus, and parallel_environment in cluster.toml instead"),
        ("-l h_rt=3600", "", "-l h_rt: give --hours instead"),
        ("-o x.log", "", "-o: the launcher sets it"),
        ("-q long.q", "partition", "-q and --partition: both"),
        ("-l gpu=1", "gpus", "-l gpu and --gpus: both"),
        ("-l mem_free=1G", "memory", "-l mem_free and --memory: both"),
        ("-l gpu=x", "", "expected a whole number"),
        ("long.q", "", "expected an option of qsub"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(text: str, typed: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_sge_args(text, "", PLAIN_SITE, frozenset(typed.split()))


def test_what_the_site_says_yields_to_what_was_typed() -> None:
    site = "-q all.q -P speech -l mem_free=2G,arch=lx -m e"
    read = read_sge_args("-m n -l arch=arm", site, PLAIN_SITE, frozenset({"partition", "memory"}))
    assert read.options == ("-P speech", "-m n", "-l arch=arm") and read.flags == {"account"}
