"""A task on a node of Slurm: saves when it is told to, requeues itself, resumes.

Slurm asks a job to stop in two ways. USR2, at a time-out or from a site's preemption, reaches submitit's handler, which
calls ``checkpoint``. SIGTERM comes with preemption by the scheduler and with scancel: while Slurm still calls the job
RUNNING, it is the former and treated as USR2; otherwise the command is only told to stop.
"""

import os
import signal
import sys
import time

from core.exit_codes import EXIT_STOPPED
from launching.attempts import end_attempt, has_ended, start_attempt, wait_for
from launching.scheduler_queries import ask

EXIT_TERMINATED = 128 + signal.SIGTERM  # of a command that does not catch it
OWN_SIGNAL_SECONDS = 3


class ResumableTask:
    """What submitit pickles and calls on the node; it demands an object that has ``checkpoint``."""

    def __init__(self, folder: str, task: int) -> None:
        self.folder, self.task = folder, task
        self.child, self.told, self.ended = None, False, False

    def __call__(self) -> None:
        """Run the command and leave with its exit code, which thus becomes Slurm's."""
        signal.signal(signal.SIGTERM, self.on_sigterm)
        # In the group of this process, SIGTERM of Slurm reaches the command as well, and once.
        attempt, node = attempt_number(), node_number()
        self.child = start_attempt(self.folder, self.task, attempt=attempt, node=node, own_group=False)
        code = wait_for(self.child)
        if code in (EXIT_STOPPED, EXIT_TERMINATED):
            self.await_own_signal()
        sys.exit(self.stop())

    def await_own_signal(self) -> None:
        """The command was told and has ended already: what told it reaches this process within moments.

        ``on_sigterm`` then decides. Where none comes, a command that has saved (99) is requeued all the same.
        """
        give_up = time.monotonic() + OWN_SIGNAL_SECONDS
        while time.monotonic() < give_up and not self.told:
            time.sleep(0.05)
        if not self.told and wait_for(self.child) == EXIT_STOPPED:
            self.on_sigterm()

    def stop(self) -> int:
        """Tell the command to save and end, unless it knows or has ended; record the end; its exit code."""
        if not self.told and not has_ended(self.child):
            self.told = True
            os.kill(self.child.pid, signal.SIGTERM)
        code = wait_for(self.child)
        if not self.ended and node_number() == 0:
            end_attempt(self.folder, self.task, code, stopped=self.told)
        self.ended = True
        return code

    def checkpoint(self) -> object:
        """Called by submitit's handler of USR2: what to run after the requeue. A command that got done needs none."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None and self.stop() == 0:
            sys.exit(0)
        return DelayedSubmission(ResumableTask(self.folder, self.task))

    def on_sigterm(self, *_: object) -> None:
        if self.told:
            return
        self.told = self.child is not None
        if job_state() == "RUNNING":
            os.kill(os.getpid(), signal.SIGUSR2)
        elif self.child is not None:
            sys.exit(self.stop())


def attempt_number() -> int:
    """Which attempt of the job this is (from 1), as Slurm counts them."""
    return 1 + int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def node_number() -> int:
    """Which of the job's nodes this is (from 0)."""
    return int(os.environ.get("SLURM_NODEID") or 0)


def job_state() -> str:
    """Slurm's word for the state of the job that this process runs in; empty where it cannot be asked."""
    shown = ask("scontrol", "show", "job", "-o", os.environ["SLURM_JOB_ID"])
    return next((word.partition("=")[2] for word in shown.split() if word.startswith("JobState=")), "")
