"""A framework by pymesos, unmodified: three tasks from offers to their end, then torn down.

Run by the Python that has pymesos: `with_pymesos.py HOST:PORT`. Prints what happens, one JSON
object a line.
"""

import json
import sys
import threading

import pymesos

N_TASKS = 3


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Scheduler(pymesos.Scheduler):
    def __init__(self):
        self.n_launched = 0
        self.finished = set()
        self.done = threading.Event()

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id=framework_id["value"])

    def resourceOffers(self, driver, offers):  # noqa: N802
        for offer in offers:
            tasks = []
            while self.n_launched < N_TASKS:
                self.n_launched += 1
                tasks.append(
                    {
                        "name": "t",
                        "task_id": {"value": f"t{self.n_launched}"},
                        "agent_id": {"value": offer["agent_id"]["value"]},
                        "command": {"value": "true"},
                        "resources": [
                            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
                            {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
                        ],
                    }
                )
            driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 3600})

    def statusUpdate(self, driver, update):  # noqa: N802
        # The driver acknowledges by itself.
        say("update", task=update["task_id"]["value"], state=update["state"])
        if update["state"] == "TASK_FINISHED":
            self.finished.add(update["task_id"]["value"])
        if len(self.finished) == N_TASKS:
            self.done.set()

    def error(self, driver, message):
        say("error", message=message)
        self.done.set()


def main():
    framework = {"user": "root", "name": "pymesos", "hostname": "localhost"}
    scheduler = Scheduler()
    driver = pymesos.MesosSchedulerDriver(scheduler, framework, sys.argv[1])
    driver.start()
    scheduler.done.wait(60)
    driver.stop()
    driver.join()
    say("stopped")


main()
