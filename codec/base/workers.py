"""Jobs over many processes of this machine, or over a Ray cluster; results come as they are finished.

    for job, result in BACKENDS["process"](jobs, work, workers):
        ...

`work` is a function of a module, `jobs` and results can be pickled. A job is started at most `2 * workers` ahead, so a
consumer that is slow, or ends early, wastes little.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from fvc.codec.base.errors import FvcError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def in_processes(
    jobs: Sequence[_Job], work: Callable[[_Job], _Result], workers: int, name: Callable[[_Job], str] = str
) -> Iterator[tuple[_Job, _Result]]:
    """Yields (job, result) in any order. Whatever a job raises ends all.

    Raises:
        FvcError: a worker died; it says the names of the jobs that may have been its.
    """
    waiting = list(reversed(jobs))
    running: dict[Future[_Result], _Job] = {}
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                job = waiting.pop()
                running[pool.submit(work, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running[future], future.result()
                del running[future]
    except BrokenProcessPool:
        names = ", ".join(name(job) for job in running.values())
        raise FvcError(f"a worker died while reading one of {names}; run again to go on with the rest") from None
    finally:
        pool.shutdown(cancel_futures=True)


def over_ray(
    jobs: Sequence[_Job], work: Callable[[_Job], _Result], workers: int, name: Callable[[_Job], str] = str
) -> Iterator[tuple[_Job, _Result]]:
    """The same over a Ray cluster (`RAY_ADDRESS`), or over a local one of `workers` CPUs if none is named.

    Each node must see the files under the same paths and have fvc installed.
    """
    import ray

    if not ray.is_initialized():
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        if not os.environ.get("RAY_ADDRESS"):  # local workers find modules where this process does
            options |= {"num_cpus": workers, "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}}
        ray.init(**options)
    remote = ray.remote(num_cpus=1)(work)
    waiting = list(reversed(jobs))
    running: dict[Any, _Job] = {}
    limit = 2 * max(workers, int(ray.cluster_resources().get("CPU", workers)))
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop()
                running[remote.remote(job)] = job
            for future in ray.wait(list(running))[0]:
                yield running.pop(future), ray.get(future)
    finally:
        ray.shutdown()


BACKENDS: dict[str, Callable[..., Iterator[tuple[Any, Any]]]] = {"process": in_processes, "ray": over_ray}
