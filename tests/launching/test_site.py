"""cluster.toml: where it is looked for, what it may say, and what is refused."""

from pathlib import Path

import pytest

from core.errors import UserError
from launching.job import make_job
from launching.site import PLAIN_SITE, Site, read_site, site_of

TEXT = """
partition = "cpu"
gpu_partition = "gpu"
account = "speech"
setup = ["module load cuda/12.1", "export SCRATCH=/scratch"]
container = "apptainer exec --nv /shared/oral-units.sif"
memory_complex = "h_vmem"
memory_per_slot = true
memory_per_gpu = 32
"""


def write_site(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "cluster.toml"
    path.write_text(text)
    monkeypatch.setenv("ORAL_UNITS_SITE", str(path))
    return path


def test_the_file_says_what_a_site_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_site(tmp_path, TEXT, monkeypatch)
    site = read_site()
    assert (site.partition, site.gpu_partition, site.account) == ("cpu", "gpu", "speech")
    assert site.setup == ("module load cuda/12.1", "export SCRATCH=/scratch") and site.memory_per_slot is True
    assert (site.memory_per_gpu, site.parallel_environment) == (32, "smp")
    job = make_job("x", [["src/train_bpe.py"]], backend="slurm", site=site._asdict())
    assert site_of(job) == site and site_of({}) == Site()


def test_the_users_file_comes_before_that_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORAL_UNITS_SITE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("launching.site.REPOSITORY", tmp_path)
    assert read_site() == PLAIN_SITE
    (tmp_path / "cluster.toml").write_text('partition = "of the repository"')
    assert read_site().partition == "of the repository"
    (tmp_path / "config" / "oral-units").mkdir(parents=True)
    (tmp_path / "config" / "oral-units" / "cluster.toml").write_text('account = "mine"')
    assert read_site() == Site(account="mine")
    monkeypatch.setenv("ORAL_UNITS_SITE", "")
    assert read_site() == PLAIN_SITE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition = gpu", "expected TOML"),
        ('particion = "gpu"', "unknown setting particion; expected partition"),
        ("partition = 3", "partition = 3: expected a text"),
        ("cpus_per_gpu = 0", "expected a whole number"),
        ("cpus_per_gpu = true", "expected a whole number"),
        ("setup = [1]", "expected a list"),
        ('memory_per_slot = "no"', "expected true or false"),
        ("memory_per_gpu = -1", "expected a number"),
    ],
)
def test_what_the_file_cannot_say_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    path = write_site(tmp_path, text, monkeypatch)
    with pytest.raises(UserError, match=said) as caught:
        read_site()
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match="expected a file"):
        read_site()
