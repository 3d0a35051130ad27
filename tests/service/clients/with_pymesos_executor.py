"""A framework by pymesos, unmodified, whose two tasks are run by an executor, to their end.

Run by the Python that has pymesos: `with_pymesos_executor.py HOST:PORT EXECUTOR`. Prints what
happens, one JSON object a line.
"""

import json
import sys
import threading

import pymesos

N_TASKS = 2


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def scalars(**amounts):
    return [
        {"name": name, "type": "SCALAR", "scalar": {"value": amount}}
        for name, amount in amounts.items()
    ]


class Scheduler(pymesos.Scheduler):
    def __init__(self, command):
        self.executor = {
            "executor_id": {"value": "MinimalExecutor"},
            "name": "MinimalExecutor",
            "command": {"value": command},
            "resources": scalars(mem=32, cpus=0.1),
        }
        self.n_launched = 0
        self.finished = set()
        self.done = threading.Event()

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id=framework_id["value"])

    def resourceOffers(self, driver, offers):  # noqa: N802
        for offer in offers:
            tasks = []
            if self.n_launched < N_TASKS:
                self.n_launched += 1
                id = f"t{self.n_launched}"
                tasks.append(
                    {
                        "name": id,
                        "task_id": {"value": id},
                        "agent_id": {"value": offer["agent_id"]["value"]},
                        "executor": self.executor,
                        "data": pymesos.encode_data(f"Hello from {id}!".encode()),
                        "resources": scalars(cpus=0.1, mem=32),
                    }
                )
            driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 0})

    def statusUpdate(self, driver, update):  # noqa: N802
        say("update", task=update["task_id"]["value"], state=update["state"])
        if update["state"] == "TASK_FINISHED":
            self.finished.add(update["task_id"]["value"])
        if len(self.finished) == N_TASKS:
            self.done.set()

    def error(self, driver, message):
        say("error", message=message)
        self.done.set()


def main():
    framework = {"user": "root", "name": "with executor", "hostname": "localhost"}
    scheduler = Scheduler(f"{sys.executable} {sys.argv[2]}")
    driver = pymesos.MesosSchedulerDriver(scheduler, framework, sys.argv[1])
    driver.start()
    scheduler.done.wait(120)
    driver.stop()
    driver.join()
    say("stopped")


main()
