"""An executor that speaks Mesos' v1 executor API by hand, with nothing but the standard library.

It does what the data of a task says, in JSON: `tell` states of it, `eat` memory, `exit` with a
status. What its framework says it says back. It prints what it hears, one JSON object a line.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR")


class Executor:
    def __init__(self) -> None:
        self.ids = {
            "framework_id": {"value": os.environ["MESOS_FRAMEWORK_ID"]},
            "executor_id": {"value": os.environ["MESOS_EXECUTOR_ID"]},
        }
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        token = os.environ.get("MESOS_EXECUTOR_AUTHENTICATION_TOKEN")
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.tasks: dict[str, Json] = {}
        self.updates: dict[str, Json] = {}

    def post(self, type: str, content: Json) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(os.environ["MESOS_AGENT_ENDPOINT"], timeout=60)
        body = {"type": type, type.lower(): content, **self.ids}
        connection.request("POST", "/api/v1/executor", json.dumps(body), self.headers)
        return connection.getresponse()

    def tell(self, task_id: str, state: str) -> None:
        status: Json = {"task_id": {"value": task_id}, "state": state}
        status |= {"source": "SOURCE_EXECUTOR", "timestamp": time.time()}
        status["uuid"] = base64.b64encode(uuid.uuid4().bytes).decode()
        self.updates[status["uuid"]] = {"status": status}
        try:
            answer = self.post("UPDATE", {"status": status})
        except OSError:
            return  # it goes with the next SUBSCRIBE
        if answer.status != 202:
            print(json.dumps({"refused": answer.read().decode()}), flush=True)

    def events(self) -> Iterator[Json]:
        answer = self.post(
            "SUBSCRIBE",
            {
                "unacknowledged_tasks": list(self.tasks.values()),
                "unacknowledged_updates": list(self.updates.values()),
            },
        )
        if answer.status != 200:
            raise OSError(answer.status, answer.read().decode())
        while line := answer.readline():
            record = answer.read(int(line))
            if len(record) < int(line):
                return
            yield json.loads(record)

    def hear(self, event: Json) -> None:
        match event["type"]:
            case "LAUNCH":
                self.launch(event["launch"]["task"])
            case "LAUNCH_GROUP":
                for task in event["launch_group"]["task_group"]["tasks"]:
                    self.launch(task)
            case "KILL":
                self.tell(event["kill"]["task_id"]["value"], "TASK_KILLED")
            case "ACKNOWLEDGED":
                self.updates.pop(event["acknowledged"]["uuid"], None)
                self.tasks.pop(event["acknowledged"]["task_id"]["value"], None)
            case "MESSAGE":
                self.post("MESSAGE", {"data": event["message"]["data"]})
            case "SHUTDOWN":
                os._exit(0)

    def launch(self, task: Json) -> None:
        id = task["task_id"]["value"]
        self.tasks[id] = task
        todo = json.loads(base64.b64decode(task.get("data") or "e30="))
        for state in todo.get("tell", ["TASK_RUNNING"]):
            self.tell(id, state)
        if "eat" in todo:
            self.tasks["memory"] = {"task_id": {"value": "x" * todo["eat"]}}
        if "exit" in todo:
            os._exit(todo["exit"])

    def run(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                for event in self.events():
                    print(json.dumps(event), flush=True)
                    self.hear(event)
            except OSError as error:
                print(json.dumps({"lost": str(error)}), flush=True)
            print(json.dumps({"type": "DISCONNECTED"}), flush=True)
            time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1:] == ["silent"]:
        threading.Event().wait()
    Executor().run()
