"""What a job on Modal may cost, in GPU-hours: prices change and are the user's to look up."""

from launching.modal_flags import ModalJob


def describe_cost(job: ModalJob, n_containers: int = 1) -> str:
    """One line: the most that the job can use, hours × GPUs."""
    attempts = job.retries + 1
    if not job.n_gpus:
        hours = job.hours * job.cpus * n_containers
        return (
            f"cost: at most {hours:g} CPU-core-hours an attempt, {attempts} attempts; no GPU; prices: modal.com/pricing"
        )
    hours = job.hours * job.n_gpus * n_containers
    return (
        f"cost: at most {hours:g} GPU-hours of {job.gpu_name} an attempt ({job.hours:g} h × {job.n_gpus} GPU"
        f"{'s' if job.n_gpus > 1 else ''}{f' × {n_containers} containers' if n_containers > 1 else ''}), "
        f"{attempts} attempts; it ends when the script ends; price of a GPU-hour: modal.com/pricing"
    )
