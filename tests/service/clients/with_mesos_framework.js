// A framework by mesos-framework (npm), unmodified: three tasks from offers to their end, then torn
// down. `node with_mesos_framework.js HOST PORT`, with NODE_PATH at the folder that has it. Prints
// what happens, one JSON object a line.
"use strict";

const { Scheduler, Mesos } = require("mesos-framework");
const mesos = Mesos.getMesos();

const N_TASKS = 3;

function say(event, fields) {
  console.log(JSON.stringify({ event, ...fields }));
}

const scheduler = new Scheduler({
  masterUrl: process.argv[2],
  port: process.argv[3],
  frameworkName: "mesos-framework",
  frameworkFailoverTimeout: 1,
  logging: { path: process.argv[4], level: "error" },
  tasks: {
    t: {
      priority: 1,
      instances: N_TASKS,
      commandInfo: new mesos.CommandInfo(null, new mesos.Environment([]), true, "true", [], null),
      resources: { cpus: 0.1, mem: 32, ports: 0, disk: 0 },
    },
  },
});

const finished = new Set();

scheduler.on("subscribed", (told) => say("subscribed", { framework_id: told.frameworkId }));
scheduler.on("error", (error) => say("error", { message: error.message }));
scheduler.on("update", (told) => {
  const { task_id, state } = told.status;
  say("update", { task: task_id.value, state });
  if (state === "TASK_FINISHED") {
    finished.add(task_id.value);
  }
  if (finished.size === N_TASKS) {
    scheduler.teardown();
  }
});
scheduler.on("sent_teardown", () => {
  say("stopped", {});
  setTimeout(() => process.exit(0), 200);
});
scheduler.on("ready", () => scheduler.subscribe());
setTimeout(() => process.exit(1), 60000).unref();
