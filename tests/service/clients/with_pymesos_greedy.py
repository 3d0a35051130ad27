"""A framework by pymesos, unmodified, that takes whatever it is offered and declines nothing.

Run by the Python that has pymesos: `with_pymesos_greedy.py HOST:PORT ROLE COMMAND CPUS`. Each offer
gets one task more; what is left of it is offered again. It begins when a line comes on stdin, and
is torn down when that ends. Prints what happens, one JSON object a line.
"""

import json
import sys
import threading

import pymesos


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Scheduler(pymesos.Scheduler):
    def __init__(self, role, command, cpus):
        self.role, self.command, self.cpus = role, command, cpus
        self.lock = threading.Lock()
        self.held = []
        self.has_begun = False
        self.n_launched = 0

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id=framework_id["value"])

    def resourceOffers(self, driver, offers):  # noqa: N802
        with self.lock:
            self.held += offers
            if self.has_begun:
                self.take(driver)

    def begin(self, driver):
        with self.lock:
            self.has_begun = True
            self.take(driver)

    def take(self, driver):
        held, self.held = self.held, []
        for offer in held:
            self.n_launched += 1
            id = f"{self.role}-{self.n_launched}"
            task = {
                "name": id,
                "task_id": {"value": id},
                "agent_id": {"value": offer["agent_id"]["value"]},
                "command": {"value": self.command},
                "resources": [
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": self.cpus}},
                    {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
                ],
            }
            driver.launchTasks(offer["id"], [task], {"refuse_seconds": 0})

    def statusUpdate(self, driver, update):  # noqa: N802
        container = (update.get("container_status") or {}).get("container_id", {}).get("value")
        say("update", task=update["task_id"]["value"], state=update["state"], container=container)

    def error(self, driver, message):
        say("error", message=message)


def main():
    address, role, command, cpus = sys.argv[1:]
    framework = {"user": "root", "name": role, "hostname": "localhost", "roles": [role]}
    framework["capabilities"] = [{"type": "MULTI_ROLE"}]
    scheduler = Scheduler(role, command, float(cpus))
    driver = pymesos.MesosSchedulerDriver(scheduler, framework, address)
    driver.start()
    if sys.stdin.readline():
        scheduler.begin(driver)
    sys.stdin.read()
    driver.stop()
    driver.join()
    say("stopped")


main()
