"""Carries out a plan in this process, or in the processes that torchrun started: one job after the other.

Of several processes all train and run the benchmarks that are computed together; only the first runs the
others, for which the rest do not wait. A fault in one of them ends all.
"""

from __future__ import annotations

import shutil

import torch

from pretrain.base import dist
from zoo.engines.engine import Orders
from zoo.engines.together import lease
from zoo.jobs import benchmark, pretrain
from zoo.jobs.place import Place
from zoo.jobs.record import recording
from zoo.plan.job import Plan
from zoo.plan.planner import Planner, ended
from zoo.show.progress import Display


def run(plan: Plan, planner: Planner, orders: Orders, display: Display) -> Plan:
    """The plan as it ended."""
    request = plan.request
    with dist.group("cuda" if torch.cuda.is_available() else "cpu") as device:
        place = Place(request.suite, request.store, planner.datasets, device, display.report)
        for waiting in plan.trainings_first() if dist.grouped() else plan.jobs:
            job = plan.current(waiting)
            if job.protocol is not None and not job.protocol.together:
                if dist.rank() > 0:
                    break
                dist.stop()  # alone from here on: nobody is left to answer
            if not job.runs(orders.again):
                display.passed(job)
                continue
            lock = request.store.lock(job.key)
            with lease(lock, orders.wait, display.waiting):
                job = planner.judged_again(job, plan) if not orders.again else job
                if dist.agreed(job.runs(orders.again)):
                    assert job.folder is not None
                    if orders.again and dist.rank() == 0:
                        shutil.rmtree(job.folder, ignore_errors=True)
                    dist.barrier()  # nobody looks for a state to go on from before it is gone
                    with display.job(job), recording(job, request.suite.name) as found:
                        work = pretrain if job.protocol is None else benchmark
                        found.outcome = work.run(job, place)
                    job = ended(job, found.record)
                display.ended(job)
            plan = planner.after(job, plan)
            if dist.rank() == 0:
                orders.kept()
    return plan
