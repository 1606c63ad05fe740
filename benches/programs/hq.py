"""HyperQueue as a peer: a server and one worker of two cores in this process, through its Python interface.

hq.py rate COUNT FOLDER -- PROG ARG...     prints {"rate": tasks a second, "cpu_us": CPU a task, "bytes": of all outputs}
hq.py latency COUNT FOLDER                 prints {"ms": [...]}

Its wait polls once a second, which is not its scheduler's fault. So a rate ends when a last task, which
depends on all others, writes to a pipe; and a latency is the time until the program has done so, which leaves out that
its status is collected.
"""
import json
import os
import resource
import select
import sys
import time

os.environ.setdefault("TQDM_DISABLE", "1")
from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig


def cpu():
    return sum(u.ru_utime + u.ru_stime for u in (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def rate(client, count, folder, argv, keep):
    """One job of COUNT tasks; its last task, which depends on all others, says when it is over."""
    fifo = os.path.join(folder, "over")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    job = Job(default_workdir=folder)
    tasks = []
    for at in range(count):
        out = os.path.join(folder, "out", str(at)) if keep else None
        tasks.append(job.program(argv, stdout=out, stderr=None))
    job.program(["/bin/sh", "-c", "echo > " + fifo], stdout=None, stderr=None, deps=tasks)
    before, begun = cpu(), time.monotonic()
    submitted = client.submit(job)
    select.select([reader], [], [])
    ran = time.monotonic()
    read = 0
    if keep:
        for at in range(count):
            with open(os.path.join(folder, "out", str(at)), "rb") as file:
                read += len(file.read())
    over = time.monotonic()
    client.wait_for_jobs([submitted])
    after = cpu()
    os.close(reader)
    os.unlink(fifo)
    print(json.dumps({"rate": count / (over - begun), "cpu_us": (after - before) / count * 1e6, "bytes": read}), flush=True)


def latency(client, count, folder):
    times = []
    before = cpu()
    submitted = []
    for at in range(count):
        # A pipe each: the end of one program must not be taken for the next one's word.
        fifo = os.path.join(folder, "over" + str(at))
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        job = Job(default_workdir=folder)
        job.program(["/bin/sh", "-c", "echo > " + fifo], stdout=None, stderr=None)
        begun = time.monotonic()
        submitted.append(client.submit(job))
        select.select([reader], [], [])
        times.append((time.monotonic() - begun) * 1e3)
        os.close(reader)
    client.wait_for_jobs(submitted)
    print(json.dumps({"ms": times, "cpu_us": (cpu() - before) / count * 1e6}), flush=True)


def main():
    what, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.makedirs(os.path.join(folder, "out"), exist_ok=True)
    with LocalCluster(server_dir=os.path.join(folder, "server")) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        if what == "latency":
            latency(client, count, folder)
        else:
            rate(client, count, folder, sys.argv[5:], what == "keep")


main()
