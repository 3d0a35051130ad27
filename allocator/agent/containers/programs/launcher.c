/* Starts and ends containers for the agent: small, so that starting processes costs little, and
 * apart from the agent, which may grow.
 *
 *     allocator-launcher SOCKET LISTENER
 *
 * Both are numbers of descriptors: the socket to the agent (SOCK_SEQPACKET), and one that another
 * agent can connect to, or -1.
 *
 * Nothing here looks at mounts: names are below folders that are held open. What is decided is
 * decided by the agent, which is told all that happens. When the agent ends all of it is forgotten;
 * containers stay, and so does this process, their parent, to reap them: pid 1 of the machine may
 * not. The next agent takes it over. Without an agent and without children it ends.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)

enum {
	MAX_HIERARCHIES = 16,
	MAX_PACKET = 1 << 16,
	MAX_NAME = 255,
	OOM_LOOKS = 200, /* for a kill, a tick apart, after the kernel spoke of one */
	TICK_MS = 5,
	MAX_PAUSE = 5,     /* between tries to remove cgroups: at most 2^5 ticks */
	ZOMBIE_TRIES = 64, /* of some 10 s in all */
	MAX_DEPTH = 32,
	MAX_WORDS = 16, /* of the runtime's command */
	MAX_RUNTIMES = 4, /* at a time, of those that remove */
	SOCKET_BYTES = 1 << 20,
};

/* STARTING -> RUNNING -> OVER, or LEAVING from any; then it is gone. */
enum stage { FREE, STARTING, RUNNING, OVER, LEAVING };

struct container {
	char *name;
	int pidfd;      /* of its init, -1 once that is reaped or if there is none */
	int zombie;     /* its pidfd once it has ended, until whoever is its parent has reaped it */
	char *runtime;  /* if an OCI runtime starts it: where the pid is, its command to remove; or none */
	int oom_fd;     /* readable when the kernel ran out of the container's memory, or -1 */
	unsigned made;  /* the hierarchies that have a cgroup of it, as bits */
	uint32_t step;  /* at what its start failed, 0 if it did not */
	int32_t error;
	uint8_t stage;
	uint8_t has_namespaces, is_unwanted, was_out_of_memory;
	uint8_t runs_runtime; /* pidfd is not that of its init, but of the runtime */
	uint8_t has_reported; /* its init has, that the program runs */
	uint8_t is_removed;   /* by the runtime */
	uint16_t oom_looks; /* that are left */
	unsigned tries;     /* to remove its cgroups, after the first */
	uint64_t next_try;  /* in ticks */
};

static struct container *containers; /* by handle */
static uint32_t n_containers;
static struct {
	int folder;
} hierarchies[MAX_HIERARCHIES];
static unsigned n_hierarchies, n_leaving, n_looking;
static unsigned n_starting, n_removing; /* runtimes that do so */
static int memory = -1, unified = -1; /* their index, or -1 */
static int agent = -1, listener = -1, children, init_program = -1;
static int poller = -1, report_in = -1, report_out = -1; /* anew for each agent */
static int is_over; /* the agent has gone */

/* What an event of the poller is about, besides the handle. */
enum { ABOUT_AGENT, ABOUT_REPORTS, ABOUT_END, ABOUT_MEMORY, ABOUT_CHILDREN };

static void watch(int fd, uint32_t events, uint32_t about, uint32_t handle)
{
	struct epoll_event event = {events, {.u64 = (uint64_t)about << 32 | handle}};
	epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A child that is not yet an init has the same open file: closing alone would leave it watched. */
static void close_watched(int *fd)
{
	if (*fd >= 0)
		epoll_ctl(poller, EPOLL_CTL_DEL, *fd, NULL);
	close_fd(fd);
}

static void reply(uint32_t kind, uint32_t handle, uint32_t step, int32_t error, const char *where)
{
	struct {
		struct reply head;
		char where[512];
	} packet = {{kind, handle, step, error}, ""};
	size_t n = where ? strnlen(where, sizeof packet.where) : 0;
	memcpy(packet.where, where ? where : "", n);
	while (!is_over && send(agent, &packet, sizeof packet.head + n, MSG_NOSIGNAL) < 0)
		is_over = errno != EINTR;
}

/* Cgroups. */

static int open_in(int index, const char *name, const char *file, int flags)
{
	char path[MAX_NAME + 128];
	snprintf(path, sizeof path, "%s/%s", name, file);
	return openat(hierarchies[index].folder, path, flags | O_CLOEXEC);
}

/* Returns 0 or -1 with errno. */
static int write_in(int index, const char *name, const char *file, const char *text)
{
	int fd = open_in(index, name, file, O_WRONLY);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

/* Remove what a program made below its cgroup, whatever is in it. */
static void remove_below(int folder, int depth)
{
	int copy = depth < MAX_DEPTH ? openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	if (!entries)
		return;
	struct dirent *entry;
	while ((entry = readdir(entries))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		int below = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (below < 0)
			continue;
		remove_below(below, depth + 1);
		close(below);
		unlinkat(folder, entry->d_name, AT_REMOVEDIR);
	}
	closedir(entries);
}

/* Kill what the processes of the init's namespace have not taken with them: what came from outside,
 * or all where there is no init. */
static void kill_in(int index, int folder)
{
	if (index == unified) {
		int fd = openat(folder, "cgroup.kill", O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			ssize_t n = write(fd, "1", 1);
			close(fd);
			if (n == 1)
				return;
		}
	}
	int fd = openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *pids = fd < 0 ? NULL : fdopen(fd, "re");
	if (!pids)
		return;
	int pid;
	while (fscanf(pids, "%d", &pid) == 1)
		if (pid > 0 && pid != getpid())
			kill(pid, SIGKILL);
	fclose(pids);
}

static void remove_cgroups(struct container *c)
{
	for (unsigned i = 0; i < n_hierarchies; i++) {
		if (!(c->made & 1u << i))
			continue;
		int parent = hierarchies[i].folder;
		if (unlinkat(parent, c->name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
			c->made &= ~(1u << i);
			continue;
		}
		int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
		int folder = openat(parent, c->name, flags);
		if (folder < 0)
			continue;
		kill_in(i, folder);
		remove_below(folder, 0);
		close(folder);
	}
}

/* Have the kernel say when a program is killed because the container has no memory left. */
static int watch_memory(struct container *c, uint32_t handle)
{
	if (memory < 0) {
		if (unified < 0)
			return 0;
		c->oom_fd = open_in(unified, c->name, "memory.events", O_RDONLY);
		if (c->oom_fd < 0)
			return errno == ENOENT ? 0 : -1;
		watch(c->oom_fd, EPOLLPRI, ABOUT_MEMORY, handle);
		return 0;
	}
	int control = open_in(memory, c->name, "memory.oom_control", O_RDONLY);
	if (control < 0)
		return -1;
	c->oom_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	char text[32];
	snprintf(text, sizeof text, "%d %d", c->oom_fd, control);
	int result = c->oom_fd < 0 ? -1 : write_in(memory, c->name, "cgroup.event_control", text);
	if (result < 0 && errno == ENOENT) {
		close_fd(&c->oom_fd); /* a kernel without it: kills are seen at the end alone */
		close(control);
		return 0;
	}
	int error = errno;
	close(control);
	errno = error;
	if (result == 0)
		watch(c->oom_fd, EPOLLIN, ABOUT_MEMORY, handle);
	return result;
}

/* Tell whether the kernel has killed a process of it for want of memory. */
static int was_killed_for_memory(const struct container *c)
{
	char text[1024];
	int fd = memory >= 0 ? open_in(memory, c->name, "memory.oom_control", O_RDONLY)
			     : open_in(unified, c->name, "memory.events", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	const char *line = strstr(text, "\noom_kill ");
	return line && atoi(line + 10) > 0;
}

/* The life of a container. */

static struct container *find(uint32_t handle)
{
	int is_there = handle < n_containers && containers[handle].stage != FREE;
	return is_there ? &containers[handle] : NULL;
}

static struct container *add(uint32_t handle, const char *name)
{
	if (handle >= n_containers) {
		uint32_t n = (handle + 256) / 256 * 256;
		containers = handle > 1u << 24 ? NULL : realloc(containers, n * sizeof *containers);
		if (!containers)
			abort();
		memset(containers + n_containers, 0, (n - n_containers) * sizeof *containers);
		n_containers = n;
	}
	struct container *c = &containers[handle];
	*c = (struct container){.name = strdup(name), .pidfd = -1, .zombie = -1, .oom_fd = -1};
	c->stage = STARTING;
	if (!c->name)
		abort();
	return c;
}

static void stop_looking(struct container *c)
{
	n_looking -= c->oom_looks > 0;
	c->oom_looks = 0;
}

/* Tell whether an init that is no child of ours, but of a former launcher, is yet to be reaped.
 * Where nobody does that, it is not waited for for ever. */
static int is_zombie(struct container *c)
{
	if (c->zombie < 0)
		return 0;
	int is_there = syscall(SYS_pidfd_send_signal, c->zombie, 0, NULL, 0) == 0;
	if (is_there && c->tries < ZOMBIE_TRIES)
		return 1;
	close_fd(&c->zombie);
	return 0;
}

/* Kill what is in its cgroups; returns whether there was nothing. */
static int kill_rest(const struct container *c)
{
	int is_empty = 1;
	for (unsigned i = 0; i < n_hierarchies; i++) {
		int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
		int folder = openat(hierarchies[i].folder, c->name, flags);
		int pids = folder < 0 ? -1 : openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
		char any;
		if (pids >= 0 && read(pids, &any, 1) > 0) {
			is_empty = 0;
			kill_in(i, folder);
		}
		close_fd(&pids);
		close_fd(&folder);
	}
	return is_empty;
}

/* In a child: become the runtime's command. The first of the words is the file of the pid. */
static void become_removal(char *words)
{
	char *arguments[MAX_WORDS + 1], *nothing[] = {NULL};
	int n = 0;
	for (words += strlen(words) + 1; *words && n < MAX_WORDS; words += strlen(words) + 1)
		arguments[n++] = words;
	arguments[n] = NULL;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(arguments[0], arguments, nothing);
	_exit(127);
}

/* Have the runtime remove what it keeps; returns whether that is done. It is no loss if it cannot.
 * What runs is killed before: runc would wait until its first process is reaped. */
static int remove_by_runtime(struct container *c, uint32_t handle)
{
	if (!c->runtime || c->is_removed)
		return 1;
	if (c->pidfd >= 0 || n_removing >= MAX_RUNTIMES || !kill_rest(c))
		return 0;
	struct clone_args clone = {
		.flags = CLONE_PIDFD,
		.pidfd = (uintptr_t)&c->pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = syscall(SYS_clone3, &clone, sizeof clone);
	if (pid == 0)
		become_removal(c->runtime);
	c->is_removed = pid < 0;
	if (pid < 0) {
		c->pidfd = -1;
		return 1;
	}
	n_removing++;
	watch(c->pidfd, EPOLLIN, ABOUT_END, handle);
	return 0;
}

/* Remove its cgroups, now or at later ticks, and tell that it is gone. */
static void leave(struct container *c, uint32_t handle, const char *where)
{
	if (c->stage != LEAVING) {
		stop_looking(c);
		close_watched(&c->oom_fd);
		c->stage = LEAVING;
		n_leaving++;
	}
	if (!remove_by_runtime(c, handle))
		return;
	remove_cgroups(c);
	if (c->made || is_zombie(c))
		return;
	n_leaving--;
	reply(c->step ? FAILED : GONE, handle, c->step, c->error, where);
	free(c->name);
	free(c->runtime);
	c->stage = FREE;
}

static void fail(struct container *c, uint32_t handle, uint32_t step, const char *where)
{
	c->step = step;
	c->error = errno;
	leave(c, handle, where);
}

/* In the child, before it becomes the init. */
static void fail_in_child(uint32_t handle, uint32_t step)
{
	struct report report = {handle, step, errno};
	ssize_t n = write(report_out, &report, sizeof report);
	_exit(n == sizeof report ? 1 : 2);
}

/* A thread may move itself alone without stopping all others of the machine from starting or ending
 * meanwhile, which takes the kernel milliseconds: hence `tasks`, and not `cgroup.procs`. */
static void become_init(const struct container *c, uint32_t handle, int host, const int fds[2])
{
	for (unsigned i = 0; i < n_hierarchies && !c->runtime; i++)
		if ((int)i != unified && write_in(i, c->name, "tasks", "0") < 0)
			fail_in_child(handle, STEP_CGROUP_JOIN);
	if (host >= 0 && setns(host, NAMESPACES) < 0)
		fail_in_child(handle, STEP_ENTER);
	char text[16];
	snprintf(text, sizeof text, "%u", handle);
	char *arguments[] = {"allocator-init", c->name, text, NULL}, *nothing[] = {NULL};
	if (dup2(fds[0], FD_PLAN) >= 0 && dup2(fds[1], FD_RECORD) >= 0 &&
	    dup2(report_out, FD_REPORT) >= 0)
		syscall(SYS_execveat, init_program, "", arguments, nothing, AT_EMPTY_PATH);
	fail_in_child(handle, STEP_INIT);
}

/* Start an init in new namespaces, or in those of the container whose pidfd `host` is; or a runtime,
 * which makes namespaces and enters the cgroups that have limits for what it starts. */
static void start(struct container *c, uint32_t handle, uint32_t namespaces, int host,
		  const int fds[2])
{
	int into = -1;
	struct clone_args clone = {
		.flags = (c->runtime ? 0 : namespaces & NAMESPACES) | CLONE_PIDFD,
		.pidfd = (uintptr_t)&c->pidfd,
		.exit_signal = SIGCHLD,
	};
	if (unified >= 0 && (!c->runtime || memory >= 0)) {
		into = openat(hierarchies[unified].folder, c->name, O_PATH | O_CLOEXEC);
		clone.flags |= CLONE_INTO_CGROUP;
		clone.cgroup = into;
	}
	c->has_namespaces = (namespaces & CLONE_NEWPID) != 0;
	pid_t pid = syscall(SYS_clone3, &clone, sizeof clone);
	if (pid == 0)
		become_init(c, handle, host, fds);
	int error = errno;
	close_fd(&into);
	errno = error;
	if (pid < 0) {
		c->pidfd = -1;
		return fail(c, handle, STEP_CLONE, NULL);
	}
	c->runs_runtime = c->runtime != NULL;
	n_starting += c->runs_runtime;
	watch(c->pidfd, EPOLLIN, ABOUT_END, handle);
}

/* Keep what is told of the runtime. */
static int keep_runtime(struct container *c, const struct request *request, const char *text,
			const char *end)
{
	if (!(request->number & BY_RUNTIME))
		return 1;
	size_t n = end - text;
	c->runtime = calloc(n + 2, 1); /* an empty word ends it */
	if (!c->runtime)
		abort();
	memcpy(c->runtime, text, n);
	c->is_removed = n == 0;
	return n > 0;
}

static void launch(struct container *c, uint32_t handle, const struct request *request,
		   char *writes, const char *end, const int fds[2])
{
	for (unsigned i = 0; i < n_hierarchies; i++) {
		if (mkdirat(hierarchies[i].folder, c->name, 0755) < 0)
			return fail(c, handle, STEP_CGROUP_CREATE, NULL);
		c->made |= 1u << i;
	}
	for (uint32_t i = 0; i < request->n_writes; i++) {
		char *file = writes + 1, *text = file + strnlen(file, end - file) + 1;
		if (text >= end || (unsigned)(*writes - 'a') >= n_hierarchies) {
			errno = EPROTO;
			return fail(c, handle, STEP_CGROUP_WRITE, NULL);
		}
		if (write_in(*writes - 'a', c->name, file, text) < 0)
			return fail(c, handle, STEP_CGROUP_WRITE, file);
		writes = text + strnlen(text, end - text) + 1;
	}
	if (!keep_runtime(c, request, writes, end)) {
		errno = EPROTO;
		return fail(c, handle, STEP_PLAN, NULL);
	}
	if (n_hierarchies && watch_memory(c, handle) < 0)
		return fail(c, handle, STEP_CGROUP_WATCH, NULL);
	start(c, handle, request->number, -1, fds);
}

/* Start a program in a container that runs. Its cgroups are none of the guest's to remove. */
static void enter(uint32_t handle, uint32_t host_handle, const int fds[2])
{
	struct container *host = find(host_handle);
	if (!host || host->pidfd < 0 || host->runs_runtime)
		return reply(FAILED, handle, STEP_ENTER, ESRCH, NULL);
	int namespaces = host->has_namespaces || host->runtime ? host->pidfd : -1;
	start(add(handle, host->name), handle, 0, namespaces, fds);
}

static void send_signal(const struct container *c, int number)
{
	if (number == SIGKILL && (c->has_namespaces || c->runs_runtime)) {
		syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
		return;
	}
	siginfo_t carried = {0};
	carried.si_signo = CONTROL_SIGNAL;
	carried.si_code = SI_QUEUE;
	carried.si_value.sival_int = number;
	syscall(SYS_pidfd_send_signal, c->pidfd, CONTROL_SIGNAL, &carried, 0);
}

static void destroy(struct container *c, uint32_t handle)
{
	if (c->stage == LEAVING)
		return;
	c->is_unwanted = 1;
	if (c->pidfd >= 0)
		send_signal(c, SIGKILL);
	else
		leave(c, handle, NULL);
}

/* Return the pid of what a runtime has started, as the host has it; 0 if it is not known. */
static int read_pid(const struct container *c)
{
	char text[32] = "";
	int file = open(c->runtime, O_RDONLY | O_CLOEXEC);
	ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
	close_fd(&file);
	return n > 0 ? atoi(text) : 0;
}

static void reply_started(struct container *c, uint32_t handle)
{
	c->stage = RUNNING;
	reply(STARTED, handle, 0, read_pid(c), NULL);
}

static void take_reports(void)
{
	struct report reports[64];
	ssize_t n;
	while ((n = read(report_in, reports, sizeof reports)) > 0)
		for (size_t i = 0; i < n / sizeof *reports; i++) {
			const struct report *report = &reports[i];
			struct container *c = find(report->handle);
			if (!c || c->stage != STARTING)
				continue;
			if (report->step == STEP_NONE && c->runtime) {
				c->has_reported = 1;
				if (!c->runs_runtime)
					reply_started(c, report->handle);
			} else if (report->step == STEP_NONE) {
				c->stage = RUNNING;
				reply(STARTED, report->handle, 0, report->error, NULL);
			} else {
				c->step = report->step;
				c->error = report->error;
			}
		}
}

static void look_for_kill(struct container *c, uint32_t handle)
{
	if (!c->was_out_of_memory && was_killed_for_memory(c)) {
		stop_looking(c);
		close_watched(&c->oom_fd); /* once is enough */
		c->was_out_of_memory = 1;
		reply(OUT_OF_MEMORY, handle, 0, 0, NULL);
	} else if (c->oom_looks > 0 && --c->oom_looks == 0) {
		n_looking--;
	}
}

/* Reap all children that have ended, those of former agents, too. */
static void reap(void)
{
	struct signalfd_siginfo signal;
	while (read(children, &signal, sizeof signal) > 0)
		;
	if (n_starting > 0)
		return; /* how one ends counts, and the pid that it wrote is not to be another's */
	siginfo_t info;
	do
		info.si_pid = 0;
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid > 0);
}

/* The runtime has started the container, or could not. */
static void runtime_ended(struct container *c, uint32_t handle, const siginfo_t *info)
{
	int is_started = info->si_pid > 0 && info->si_code == CLD_EXITED && info->si_status == 0;
	int pid = is_started ? read_pid(c) : 0;
	c->runs_runtime = 0;
	n_starting--;
	c->pidfd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1;
	if (c->pidfd < 0) {
		if (!c->step) {
			c->step = STEP_RUNTIME;
			c->error = is_started ? ESRCH : -info->si_status;
		}
		return leave(c, handle, NULL);
	}
	watch(c->pidfd, EPOLLIN, ABOUT_END, handle);
	if (c->is_unwanted)
		send_signal(c, SIGKILL);
	else if (c->has_reported)
		reply_started(c, handle);
}

/* Have others removed that wait for a runtime to end. */
static void go_on_removing(void)
{
	for (uint32_t handle = 0; handle < n_containers && n_removing < MAX_RUNTIMES; handle++)
		if (containers[handle].stage == LEAVING && containers[handle].runtime)
			leave(&containers[handle], handle, NULL);
}

/* The runtime has removed what it kept. */
static void removal_ended(struct container *c, uint32_t handle)
{
	c->is_removed = 1;
	n_removing--;
	leave(c, handle, NULL);
	go_on_removing();
}

/* The init has ended, and with it all in its namespace. */
static void ended(uint32_t handle)
{
	take_reports(); /* what it said before */
	struct container *c = find(handle);
	if (!c || c->pidfd < 0)
		return;
	siginfo_t info = {0};
	if (waitid(P_PIDFD, c->pidfd, &info, WEXITED | WNOHANG) < 0)
		c->zombie = fcntl(c->pidfd, F_DUPFD_CLOEXEC, 0);
	else if (info.si_pid == 0)
		return;
	close_watched(&c->pidfd);
	if (c->stage == LEAVING || c->runs_runtime) {
		close_fd(&c->zombie);
		if (c->runs_runtime)
			runtime_ended(c, handle, &info);
		else
			removal_ended(c, handle);
		return reap();
	}
	if (c->stage == STARTING) {
		if (!c->step) {
			c->step = STEP_INIT;
			c->error = c->is_unwanted ? ECANCELED : ECHILD;
		}
		leave(c, handle, NULL);
		return;
	}
	c->stage = OVER;
	if (c->is_unwanted) {
		leave(c, handle, NULL);
		return;
	}
	if (c->made)
		look_for_kill(c, handle);
	reply(ENDED, handle, 0, 0, NULL);
}

/* The kernel says so before it kills: look now, and for some ticks. */
static void out_of_memory(uint32_t handle)
{
	struct container *c = find(handle);
	if (!c || c->oom_fd < 0)
		return;
	if (memory >= 0) {
		uint64_t n;
		if (read(c->oom_fd, &n, sizeof n) < 0)
			return;
	} else {
		char text[1024];
		if (pread(c->oom_fd, text, sizeof text, 0) < 0) /* or it would be told again */
			return;
	}
	n_looking += c->oom_looks == 0;
	c->oom_looks = OOM_LOOKS;
	look_for_kill(c, handle);
}

/* Look again at what the kernel had not done yet, some milliseconds later. */
static void tick(void)
{
	static uint64_t last;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t ticks = (now.tv_sec * 1000 + now.tv_nsec / 1000000) / TICK_MS;
	if (ticks == last)
		return;
	last = ticks;
	for (uint32_t handle = 0; handle < n_containers && (n_leaving || n_looking); handle++) {
		struct container *c = &containers[handle];
		if (c->stage == LEAVING && ticks >= c->next_try) {
			c->next_try = ticks + (1u << (c->tries < MAX_PAUSE ? c->tries : MAX_PAUSE));
			c->tries += !c->runtime || c->is_removed;
			leave(c, handle, NULL);
		} else if (c->stage != FREE && c->stage != LEAVING && c->oom_looks) {
			look_for_kill(c, handle);
		}
	}
}

/* What the agent says. */

static void adopt(struct container *c, const struct request *request, int pidfd, const char *text,
		  const char *end)
{
	uint32_t handle = request->handle;
	c->made = (1u << n_hierarchies) - 1;
	c->has_namespaces = (request->number & CLONE_NEWPID) != 0;
	keep_runtime(c, request, text, end);
	if (pidfd < 0) {
		c->stage = OVER;
		if (n_hierarchies)
			look_for_kill(c, handle);
		return reply(ENDED, handle, 0, 0, NULL);
	}
	c->stage = RUNNING;
	c->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
	if (n_hierarchies)
		watch_memory(c, handle); /* one that has none ends soon */
	watch(c->pidfd, EPOLLIN, ABOUT_END, handle);
	if (n_hierarchies)
		look_for_kill(c, handle); /* that nobody saw */
}

static void take(const struct request *request, char *text, const char *end, const int fds[])
{
	struct container *c = find(request->handle);
	switch (request->kind) {
	case LAUNCH:
	case ADOPT: {
		size_t n = strnlen(text, end - text);
		if (c || n == 0 || n > MAX_NAME || text + n >= end)
			return reply(FAILED, request->handle, STEP_PLAN, EPROTO, NULL);
		c = add(request->handle, text);
		if (request->kind == LAUNCH)
			launch(c, request->handle, request, text + n + 1, end, fds);
		else
			adopt(c, request, fds[0], text + n + 1, end);
		break;
	}
	case ENTER:
		if (c)
			return reply(FAILED, request->handle, STEP_PLAN, EPROTO, NULL);
		enter(request->handle, request->number, fds);
		break;
	case SIGNAL:
		if (c && c->pidfd >= 0)
			send_signal(c, request->number);
		break;
	case DESTROY:
		if (c)
			destroy(c, request->handle);
		break;
	}
}

/* Take up to as many descriptors as an agent has folders, and the init's. */
static int receive_into(char *bytes, ssize_t *n, int fds[MAX_HIERARCHIES + 1])
{
	struct pollfd hangup = {.fd = agent, .events = POLLRDHUP};
	is_over |= poll(&hangup, 1, 0) > 0; /* what is asked by one that has gone is nobody's wish */
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE((MAX_HIERARCHIES + 1) * sizeof(int))];
	} control;
	struct iovec part = {bytes, MAX_PACKET};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};
	if (is_over)
		return -1;
	*n = recvmsg(agent, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (*n < 0 && (errno == EAGAIN || errno == EINTR))
		return -1;
	struct cmsghdr *head = *n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	int n_fds = 0;
	if (head && head->cmsg_type == SCM_RIGHTS) {
		n_fds = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(head), n_fds * sizeof(int));
	}
	is_over |= *n < (ssize_t)sizeof(struct request);
	bytes[*n > 0 ? *n : 0] = 0;
	return n_fds;
}

/* The agent's first packet: which hierarchies there are, and the descriptors of all. */
static void greet(char *kinds, const char *end, int fds[MAX_HIERARCHIES + 1], int n_fds)
{
	init_program = fds[0];
	memory = unified = -1;
	for (n_hierarchies = 0; (int)n_hierarchies < n_fds - 1 && kinds < end; n_hierarchies++) {
		if (strcmp(kinds, "memory") == 0)
			memory = n_hierarchies;
		if (strcmp(kinds, "unified") == 0)
			unified = n_hierarchies;
		hierarchies[n_hierarchies].folder = fds[1 + n_hierarchies];
		kinds += strlen(kinds) + 1;
	}
}

/* Returns whether there was one. */
static int receive(void)
{
	static union {
		struct request request;
		char bytes[MAX_PACKET + 1];
	} packet;
	int fds[MAX_HIERARCHIES + 1] = {-1, -1};
	ssize_t n;
	int n_fds = receive_into(packet.bytes, &n, fds);
	if (n_fds < 0 || is_over)
		return 0;
	char *text = packet.bytes + sizeof packet.request, *end = packet.bytes + n;
	if (packet.request.kind == GREET && init_program < 0) {
		greet(text, end, fds, n_fds);
		return 1;
	}
	take(&packet.request, text, end, fds);
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
	return 1;
}

static void take_events(const struct epoll_event *events, int n)
{
	for (int i = 0; i < n && !is_over; i++) {
		uint32_t handle = events[i].data.u64;
		switch (events[i].data.u64 >> 32) {
		case ABOUT_AGENT:
			while (receive())
				;
			break;
		case ABOUT_REPORTS:
			take_reports();
			break;
		case ABOUT_END:
			ended(handle);
			break;
		case ABOUT_MEMORY:
			out_of_memory(handle);
			break;
		case ABOUT_CHILDREN:
			reap();
			break;
		}
	}
}

/* Take what it was started with out of the way of what inits are born with. */
static int keep(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 64);
}

static void close_all(unsigned first, unsigned last)
{
	if (first <= last)
		syscall(SYS_close_range, first, last, 0);
}

static void set_up(int socket, int other)
{
	agent = keep(socket);
	listener = keep(other);
	int low = listener < 0 || agent < listener ? agent : listener;
	int high = agent > listener ? agent : listener;
	close_all(3, low - 1); /* what the agent was born with, too */
	close_all(low + 1, high - 1);
	close_all(high + 1, ~0U);
	int nothing = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < FD_FIRST_FREE; fd++)
		dup2(nothing, fd);
	/* Only the end of the agent ends it. What the agent ignores, programs do not. */
	sigset_t all, child;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* The kernel's struct sigaction: libc hides 32 and 33, which make ignores. */
	static const unsigned long by_default[8];
	for (int number = 1; number < NSIG; number++)
		syscall(SYS_rt_sigaction, number, by_default, NULL, (size_t)8);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	umask(022);
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* of what an init leaves that was killed */
	if (nothing < 0 || agent < 0 || children < 0 || chdir("/") < 0)
		_exit(2);
	if (listener >= 0 && listen(listener, 1) < 0)
		close_fd(&listener);
}

/* Wait for another agent, and reap meanwhile; end when nothing is left to reap. */
static void await_agent(void)
{
	for (;;) {
		reap();
		siginfo_t any;
		int has_children = waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) == 0;
		if (!has_children || listener < 0)
			_exit(0);
		struct pollfd waits[] = {{.fd = children, .events = POLLIN},
					 {.fd = listener, .events = POLLIN}};
		if (poll(waits, 2, -1) <= 0 || !waits[1].revents)
			continue;
		struct ucred other = {0};
		socklen_t size = sizeof other;
		agent = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		getsockopt(agent, SOL_SOCKET, SO_PEERCRED, &other, &size);
		if (agent >= 0 && other.uid == geteuid())
			return;
		close_fd(&agent);
	}
}

static void serve(void)
{
	int pipe[2];
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || pipe2(pipe, O_CLOEXEC) < 0)
		_exit(2);
	report_in = pipe[0];
	report_out = pipe[1];
	fcntl(report_in, F_SETFL, O_NONBLOCK);
	int size = SOCKET_BYTES;
	setsockopt(agent, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	watch(agent, EPOLLIN, ABOUT_AGENT, 0);
	watch(report_in, EPOLLIN, ABOUT_REPORTS, 0);
	watch(children, EPOLLIN, ABOUT_CHILDREN, 0);
	while (!is_over) {
		struct epoll_event events[64];
		int n = epoll_wait(poller, events, 64, n_leaving || n_looking ? TICK_MS : -1);
		take_events(events, n);
		if (n_leaving || n_looking)
			tick();
	}
}

/* Keep nothing of an agent that has gone: the next one says anew what there is. What inits report
 * that it had started is for nobody: they write down the same. */
static void forget(void)
{
	for (uint32_t handle = 0; handle < n_containers; handle++) {
		struct container *c = &containers[handle];
		if (c->stage == FREE)
			continue;
		close_fd(&c->pidfd);
		close_fd(&c->zombie);
		close_fd(&c->oom_fd);
		free(c->name);
		free(c->runtime);
	}
	free(containers);
	containers = NULL;
	n_containers = n_leaving = n_looking = n_starting = n_removing = 0;
	while (n_hierarchies > 0)
		close_fd(&hierarchies[--n_hierarchies].folder);
	close_fd(&init_program);
	close_fd(&agent);
	close_fd(&poller);
	close_fd(&report_in);
	close_fd(&report_out);
	is_over = 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fputs("allocator-launcher: is started by `allocator agent` alone\n", stderr);
		return 2;
	}
	set_up(atoi(argv[1]), atoi(argv[2]));
	for (;;) {
		serve();
		forget();
		await_agent();
	}
}
