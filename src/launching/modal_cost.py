"""What a job on Modal may cost: GPU-hours, since its client knows no prices; money where the user gives the price."""

from launching.modal_flags import ModalJob

PRICES = "price of a GPU-hour: modal.com/pricing (--gpu_price says it in money)"
SPENT = "what was spent: python -m modal billing report --for today"


def describe_cost(job: ModalJob, n_containers: int = 1) -> str:
    """One line: the most that the job can use, hours × GPUs."""
    attempts = f"{job.retries + 1} attempts"
    if not job.n_gpus:
        hours = job.hours * job.cpus * n_containers
        return (
            f"cost: at most {hours:g} CPU-core-hours an attempt, {attempts}; no GPU; prices: modal.com/pricing; {SPENT}"
        )
    hours = job.hours * job.n_gpus * n_containers
    money = f" = ${hours * job.gpu_price:,.2f}" if job.gpu_price else ""
    return (
        f"cost: at most {hours:g} GPU-hours of {job.gpu_name}{money} an attempt ({job.hours:g} h × {job.n_gpus} GPU"
        f"{'s' if job.n_gpus > 1 else ''}{f' × {n_containers} containers' if n_containers > 1 else ''}), "
        f"{attempts}; it ends when the script ends; {SPENT}{'' if money else f'; {PRICES}'}"
    )
