/* What the agent, the launcher and the inits say to one another. The agent's side of it is
 * protocol.py; numbers are native, as both ends are on one machine. */
#ifndef ALLOCATOR_PROTOCOL_H
#define ALLOCATOR_PROTOCOL_H

#include <stdint.h>

/* Agent -> launcher: one packet each. The first is GREET, with the init's program and the folder of
 * the agent's cgroups in each hierarchy, as descriptors; and what each hierarchy is, NUL-terminated:
 * `memory` for that of v1 which has it, `unified` for that of v2, else anything. */
enum { LAUNCH = 1, ADOPT = 2, SIGNAL = 3, DESTROY = 4, ENTER = 5, GREET = 6 };

enum { BY_RUNTIME = 1 };

struct request {
	uint32_t kind;
	uint32_t handle; /* the agent's number for the container, its own again when that is gone */
	uint32_t number; /* LAUNCH, ADOPT: the namespaces, as clone(2) has them, and BY_RUNTIME;
			  * SIGNAL: the signal; ENTER: the handle of the container that is entered */
	uint32_t n_writes;
	/* LAUNCH, ADOPT: the name of its cgroups, NUL-terminated; then for each write the index of
	 * the hierarchy as one letter from 'a', the file, NUL, what is written, NUL. With BY_RUNTIME
	 * then the file where an OCI runtime writes the pid of what it has started, NUL, and the
	 * words of the command by which it removes what it keeps, each with a NUL.
	 * LAUNCH and ENTER come with two descriptors: the plan, the record. ADOPT with the pidfd
	 * of the init, or none: then only cgroups are left of it. */
};

/* Launcher -> agent. */
enum { STARTED = 1, FAILED = 2, OUT_OF_MEMORY = 3, ENDED = 4, GONE = 5 };

struct reply {
	uint32_t kind;
	uint32_t handle;
	uint32_t step; /* FAILED: at what */
	int32_t error; /* FAILED: errno; STARTED: the pid of the init */
	/* FAILED: which file of the cgroups it was, or nothing */
};

/* Init -> launcher, by a pipe that all share: one write of this each. */
struct report {
	uint32_t handle;
	uint32_t step; /* 0: the program runs */
	int32_t error; /* errno; where the program runs, the pid of the init, as the host has it */
};

/* What can fail. */
enum {
	STEP_NONE,
	STEP_CGROUP_CREATE,
	STEP_CGROUP_WRITE,
	STEP_CGROUP_WATCH,
	STEP_CLONE,
	STEP_CGROUP_JOIN,
	STEP_INIT, /* the init could not be started, or ended early */
	STEP_PLAN,
	STEP_RECORD,
	STEP_MOUNTS,
	STEP_PROC,
	STEP_HOSTNAME,
	STEP_OUTPUT,
	STEP_FORK,
	STEP_SESSION,
	STEP_LIMITS,
	STEP_GROUPS,
	STEP_USER,
	STEP_DIRECTORY,
	STEP_EXEC,
	STEP_ENTER,
	STEP_RUNTIME, /* the OCI runtime; its exit status as a negative number instead of errno */
};

/* Descriptors that an init is born with. */
enum { FD_PLAN = 3, FD_RECORD = 4, FD_REPORT = 5, FD_FIRST_FREE = 6 };

/* The plan: what an init does before the program runs. */
enum { PLAN_MAGIC = 0x416c6c31 };
enum {
	PLAN_NAMESPACES = 1, /* it is pid 1 of a namespace, and has mounts of its own */
	PLAN_IDENTITY = 2,   /* become uid, gid and groups */
	PLAN_GUEST = 4,      /* the program joins a container; its init ends with the launcher */
	PLAN_REAPER = 8,     /* nobody else ends what the program leaves running */
	PLAN_RUNTIME = 16,   /* the program is an OCI runtime, which is to start another init */
	PLAN_INSIDE = 32,    /* that one: all but the program has been done; in no plan */
};

struct plan {
	uint32_t magic;
	uint32_t flags;
	uint32_t uid, gid;
	uint32_t n_limits, n_groups, n_arguments, n_variables;
	/* n_limits × struct limit; n_groups × uint32_t; then texts, NUL-terminated: hostname (or
	 * none), directory, stdout, stderr, program, the arguments, the variables. */
};

struct limit {
	uint32_t resource, unused;
	uint64_t soft, hard;
};

/* The record: one line in the checkpoint folder, always of this length, so that writing it needs no
 * place on a disk that may be full: "starting|running|ended PID STARTTIME STATUS". */
enum { RECORD_BYTES = 64 };

/* How the init ends that is told nothing, of which whoever tries a runtime knows that it ran. */
#define TRIAL_STATUS 86

/* The signal by which an init is told to send the one that it carries; 9 ends all in it. */
#define CONTROL_SIGNAL SIGRTMIN

#endif
