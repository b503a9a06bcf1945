"""Replaces Slurm in tests: sbatch, srun, sacct and scontrol, which run jobs as processes of this machine.

Usage: slurm_stub.py COMMAND ARGUMENTS. It keeps the batch file and a log in the folder $SLURM_STUB.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

JOB = "99"
STUB = Path(os.environ["SLURM_STUB"])


def start(task: str, after: float = 0.0) -> None:
    """Start one task of the array in a new session."""
    of_task = {"SLURM_ARRAY_JOB_ID": JOB, "SLURM_ARRAY_TASK_ID": task, "SLURM_JOB_ID": f"10{task}"}
    of_one = dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID"), "0")
    sizes = dict.fromkeys(("SLURM_NTASKS", "SLURM_JOB_NUM_NODES"), "1")
    with (STUB / "log").open("a") as log:
        subprocess.Popen(
            ["bash", "-c", f"sleep {after}; exec bash {STUB / 'batch.sh'}"],
            env=os.environ | of_task | of_one | sizes,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def sbatch(path: str) -> None:
    shutil.copy(path, STUB / "batch.sh")
    [last] = re.findall(r"--array=0-(\d+)%", Path(path).read_text())
    for task in range(int(last) + 1):
        start(str(task))
    print(f"Submitted batch job {JOB}")


def srun(*words: str) -> None:
    command = list(words[words.index(sys.executable) :])
    os.execv(command[0], command)


def sacct(*_: str) -> None:
    print("JobID|State|NodeList")


def scontrol(verb: str, job: str) -> None:
    assert verb == "requeue"
    with (STUB / "requeued").open("a") as out:
        print(job, time.time(), file=out)
    start(job.partition("_")[2], after=1.0)


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scontrol": scontrol}[sys.argv[1]](*sys.argv[2:])
