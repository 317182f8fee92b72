"""Where an experiment comes from: configuration, commit, machine, command."""

from report.data import Experiment


def origin_facts(experiment: Experiment) -> dict[str, object]:
    """What is known of the run, by label."""
    environment = experiment.environment
    dirty = " with uncommitted changes" if environment.get("git_dirty") else ""
    packages = (environment.get("packages") or {}).items()
    facts = {
        "Folder": experiment.path,
        "Command": environment.get("command"),
        "Commit": f"{environment.get('git_commit') or 'unknown'}{dirty}",
        "Started": environment.get("started"),
        "Machine": environment.get("machine"),
        "Accelerator": environment.get("cuda") or "none (CPU)",
        "Threads": environment.get("threads"),
        "Python": environment.get("python"),
        "Packages": ", ".join(f"{name} {version}" for name, version in packages),
        "Input (SHA-256)": experiment.input_hash,
    }
    return {label: value for label, value in facts.items() if value not in (None, "")}


def settings(experiment: Experiment) -> dict[str, object]:
    """Every argument and derived value that is set, by name."""
    values = {**experiment.arguments, **experiment.derived}
    return {name: value for name, value in sorted(values.items()) if value is not None}
