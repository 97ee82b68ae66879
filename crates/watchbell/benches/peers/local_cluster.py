"""A HyperQueue server and one worker in this process. Each line of standard input is a number of tasks; the answer is a
line when all have ended. `local_cluster.py DIRECTORY CORES PROGRAM`."""

import contextlib
import os
import sys

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

directory, cores, program = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.chdir(directory)
answers = os.fdopen(os.dup(1), "w", buffering=1)
# The library prints tables and progress.
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)
with LocalCluster(directory, WorkerConfig(cores=cores)) as cluster, contextlib.suppress(BrokenPipeError):
    client = cluster.client()
    print("ready", file=answers)
    for line in sys.stdin:
        job = Job(default_workdir=directory)
        for _ in range(int(line)):
            job.program([program], stdout=None, stderr=None)
        submitted = client.submit(job)
        done = client.wait_for_jobs([submitted], raise_on_error=False)
        print("done" if done else "a task failed", file=answers)
    # The bench is gone: nothing is to be kept.
    os._exit(0)
