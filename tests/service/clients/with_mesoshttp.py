"""A framework by mesoshttp, unmodified: three tasks from offers to their end, then torn down.

Run by the Python that has mesoshttp: `with_mesoshttp.py URL`. Prints what happens, one JSON object
a line.
"""

import json
import sys
import threading

from mesoshttp.client import MesosClient

N_TASKS = 3


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Framework:
    def __init__(self, url):
        self.n_launched = 0
        self.finished = set()
        self.done = threading.Event()
        self.driver = None
        self.client = MesosClient(mesos_urls=[url], frameworkName="mesoshttp", frameworkUser="root")
        self.client.on(MesosClient.SUBSCRIBED, self.subscribed)
        self.client.on(MesosClient.OFFERS, self.offers)
        self.client.on(MesosClient.UPDATE, self.update)
        self.client.on(MesosClient.ERROR, self.error)

    def subscribed(self, driver):
        self.driver = driver
        say("subscribed", framework_id=driver.frameworkId)

    def offers(self, offers):
        for offer in offers:
            tasks = []
            while self.n_launched < N_TASKS:
                self.n_launched += 1
                tasks.append(
                    {
                        "name": "t",
                        "task_id": {"value": f"t{self.n_launched}"},
                        "agent_id": {"value": offer.get_offer()["agent_id"]["value"]},
                        "command": {"value": "true"},
                        "resources": [
                            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
                            {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
                        ],
                    }
                )
            filters = {"filters": {"refuse_seconds": 3600}}
            if tasks:
                offer.accept(tasks, filters)
            else:
                offer.decline(filters)

    def update(self, update):
        status = update["status"]
        say("update", task=status["task_id"]["value"], state=status["state"])
        if status["state"] == "TASK_FINISHED":
            self.finished.add(status["task_id"]["value"])
        if len(self.finished) == N_TASKS:
            self.done.set()

    def error(self, message):
        say("error", message=str(message))
        self.done.set()


def main():
    framework = Framework(sys.argv[1])
    thread = threading.Thread(target=framework.client.register, daemon=True)
    thread.start()
    framework.done.wait(60)
    framework.driver.tearDown()
    thread.join(10)
    say("stopped")


main()
