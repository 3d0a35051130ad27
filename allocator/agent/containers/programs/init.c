/* The first process of a container: starts the program, passes signals on, reaps, and writes down
 * how the program ended. The container ends with the program, whatever else runs in it.
 *
 * It outlives the agent. It has no environment, and after the start no descriptor but its record.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

struct texts {
	char *hostname, *directory, *out, *err, *program;
	char **arguments, **variables;
};

static uint32_t handle;
static int self_pid;
static unsigned long long self_start;

static void fail(uint32_t step, int error)
{
	struct report report = {handle, step, error};
	ssize_t n = write(FD_REPORT, &report, sizeof report);
	_exit(n == sizeof report ? 1 : 2);
}

static void check(int result, uint32_t step)
{
	if (result < 0)
		fail(step, errno);
}

static int write_record(const char *state, int status)
{
	char line[RECORD_BYTES + 1];
	int n = snprintf(line, sizeof line, "%s %d %llu %d", state, self_pid, self_start, status);
	memset(line + n, ' ', RECORD_BYTES - n);
	line[RECORD_BYTES - 1] = '\n';
	return pwrite(FD_RECORD, line, RECORD_BYTES, 0) == RECORD_BYTES ? 0 : -1;
}

/* Learn who it is for the host, whose /proc this still is. */
static void find_self(void)
{
	char text[1024];
	int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	check(file, STEP_RECORD);
	ssize_t n = read(file, text, sizeof text - 1);
	close(file);
	text[n > 0 ? n : 0] = 0;
	char *field = strrchr(text, ')'); /* the name before it may have anything in it */
	self_pid = atoi(text);
	for (int i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (!field)
		fail(STEP_RECORD, EIO);
	self_start = strtoull(field + 1, NULL, 10);
}

/* Return the next text, or fail where the plan ends before it does. */
static char *next_text(char **at, char *end)
{
	char *text = *at, *nul = text < end ? memchr(text, 0, end - text) : NULL;
	if (!nul)
		fail(STEP_PLAN, EINVAL);
	*at = nul + 1;
	return text;
}

static char **next_texts(char **at, char *end, uint32_t n, char **into)
{
	for (uint32_t i = 0; i < n; i++)
		into[i] = next_text(at, end);
	into[n] = NULL;
	return into;
}

/* Map the plan, with room behind it for the tables of pointers that exec needs. */
static struct plan *read_plan(size_t *bytes, struct texts *texts)
{
	struct stat stat;
	check(fstat(FD_PLAN, &stat), STEP_PLAN);
	size_t length = stat.st_size, page = sysconf(_SC_PAGESIZE);
	struct plan head;
	if (pread(FD_PLAN, &head, sizeof head, 0) != sizeof head || head.magic != PLAN_MAGIC)
		fail(STEP_PLAN, EINVAL);
	size_t n = (size_t)head.n_arguments + head.n_variables + 2;
	size_t fixed = sizeof head + head.n_limits * sizeof(struct limit) + head.n_groups * 4;
	size_t tables = (length + page - 1) / page * page;
	if (n > length || fixed > length)
		fail(STEP_PLAN, EINVAL);
	*bytes = tables + n * sizeof(char *);
	char *base = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED || pread(FD_PLAN, base, length, 0) != (ssize_t)length)
		fail(STEP_PLAN, base == MAP_FAILED ? errno : EIO);
	char **table = (char **)(base + tables), *at = base + fixed, *end = base + length;
	texts->hostname = next_text(&at, end);
	texts->directory = next_text(&at, end);
	texts->out = next_text(&at, end);
	texts->err = next_text(&at, end);
	texts->program = next_text(&at, end);
	texts->arguments = next_texts(&at, end, head.n_arguments, table);
	texts->variables = next_texts(&at, end, head.n_variables, table + head.n_arguments + 1);
	return (struct plan *)base;
}

static void enter_namespaces(const char *hostname)
{
	/* Mounts of the host come in, none goes out. */
	check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), STEP_MOUNTS);
	check(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), STEP_PROC);
	if (*hostname)
		check(sethostname(hostname, strlen(hostname)), STEP_HOSTNAME);
}

static int open_output(const struct plan *plan, const char *path)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY;
	int file = open(path, flags, 0644);
	check(file, STEP_OUTPUT);
	if (plan->flags & PLAN_IDENTITY)
		check(fchown(file, plan->uid, plan->gid), STEP_OUTPUT);
	return file;
}

/* Set what a failed child tells: it shares this memory. */
static volatile uint32_t child_step;
static volatile int child_error;

static void child_check(int result, uint32_t step)
{
	if (result >= 0)
		return;
	child_error = errno;
	child_step = step;
	_exit(127);
}

static void set_limits(const struct plan *plan)
{
	const struct limit *limits = (const struct limit *)(plan + 1);
	for (uint32_t i = 0; i < plan->n_limits; i++) {
		struct rlimit limit = {limits[i].soft, limits[i].hard};
		child_check(setrlimit(limits[i].resource, &limit), STEP_LIMITS);
	}
}

/* By bare system calls: those of the library would speak to threads that are not there. */
static void become_user(const struct plan *plan)
{
	const struct limit *limits = (const struct limit *)(plan + 1);
	const gid_t *groups = (const gid_t *)(limits + plan->n_limits);
	child_check(syscall(SYS_setgroups, plan->n_groups, groups), STEP_GROUPS);
	child_check(syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid), STEP_GROUPS);
	child_check(syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid), STEP_USER);
}

static void run_program(const struct plan *plan, const struct texts *texts, const int outputs[3])
{
	child_check(setsid(), STEP_SESSION);
	if (!(plan->flags & PLAN_INSIDE)) {
		for (int i = 0; i < 3; i++)
			child_check(dup2(outputs[i], i), STEP_OUTPUT);
		set_limits(plan);
		if (plan->flags & PLAN_IDENTITY)
			become_user(plan);
		umask(022);
		child_check(chdir(texts->directory), STEP_DIRECTORY);
	}
	if (!(plan->flags & PLAN_NAMESPACES))
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(texts->program, texts->arguments);
	child_check(-1, STEP_EXEC);
}

static void open_outputs(const struct plan *plan, const struct texts *texts, int outputs[3])
{
	outputs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	check(outputs[0], STEP_OUTPUT);
	outputs[1] = open_output(plan, texts->out);
	outputs[2] = open_output(plan, texts->err);
}

/* Become an OCI runtime, whose container gets our record and report. */
static void become_runtime(const struct plan *plan, const struct texts *texts)
{
	int outputs[3];
	open_outputs(plan, texts, outputs);
	for (int i = 0; i < 3; i++)
		check(dup2(outputs[i], i), STEP_OUTPUT);
	dup2(outputs[0], FD_PLAN); /* not for others; those before the others have to be there */
	fcntl(FD_RECORD, F_SETFD, 0);
	fcntl(FD_REPORT, F_SETFD, 0);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	environ = texts->variables;
	execvp(texts->program, texts->arguments);
	int error = errno;
	fcntl(FD_REPORT, F_SETFD, FD_CLOEXEC);
	fail(STEP_RUNTIME, error);
}

static pid_t start_program(const struct plan *plan, const struct texts *texts)
{
	int outputs[3] = {-1, -1, -1};
	if (!(plan->flags & PLAN_INSIDE))
		open_outputs(plan, texts, outputs);
	environ = texts->variables; /* where execvp looks for PATH, too */
	pid_t pid = vfork();
	if (pid == 0)
		run_program(plan, texts, outputs);
	int error = errno;
	static char *nothing[] = {NULL};
	environ = nothing;
	for (int i = 0; i < 3; i++)
		close(outputs[i]);
	if (pid < 0)
		fail(STEP_FORK, error);
	if (child_step)
		fail(child_step, child_error);
	return pid;
}

/* Kill its children; what they leave behind comes to it, the subreaper. */
static void kill_children(void)
{
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return;
	ssize_t n, kept = 0;
	while ((n = read(file, text + kept, sizeof text - 1 - kept)) > 0) {
		n += kept;
		text[n] = 0;
		char *at = text, *space;
		for (; (space = strchr(at, ' ')); at = space + 1)
			kill(atoi(at), SIGKILL);
		kept = text + n - at;
		memmove(text, at, kept); /* a number that goes on in the next piece */
	}
	close(file);
}

/* Without a pid namespace of its own nobody else ends what the program left running. */
static void end_descendants(void)
{
	do
		kill_children();
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

static void end(uint32_t flags, int status)
{
	write_record("ended", status);
	if (flags & PLAN_REAPER)
		end_descendants();
	_exit(0); /* else the kernel ends all in the namespace; what a guest left is the container's */
}

/* Reap all that has ended; end when the program has. */
static void reap(uint32_t flags, pid_t program)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == program)
			end(flags, status);
}

static void pass_on(const siginfo_t *signal, uint32_t flags, pid_t program)
{
	int number = signal->si_signo;
	if (number == CONTROL_SIGNAL && signal->si_code == SI_QUEUE)
		number = signal->si_value.sival_int;
	if (number == SIGKILL && flags & PLAN_REAPER)
		kill_children(); /* the program is one of them */
	else
		kill(program, number);
}

/* Learn what to do: of the plan, or of our arguments where an OCI runtime has started us:
 * ID HANDLE PROGRAM ARGUMENT... */
static struct plan *find_plan(int argc, char **argv, size_t *bytes, struct texts *texts)
{
	static struct plan inside;
	if (argc <= 4)
		return read_plan(bytes, texts);
	inside.flags = PLAN_INSIDE | (getpid() == 1 ? PLAN_NAMESPACES : PLAN_REAPER);
	*texts = (struct texts){.program = argv[3], .arguments = argv + 4, .variables = environ};
	return &inside;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return TRIAL_STATUS;
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	handle = strtoul(argv[2], NULL, 10);
	for (int fd = FD_PLAN; fd < FD_FIRST_FREE; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	setsid();

	size_t bytes = 0;
	struct texts texts;
	struct plan *plan = find_plan(argc, argv, &bytes, &texts);
	uint32_t flags = plan->flags;
	if (!(flags & PLAN_GUEST))
		find_self();
	check(write_record("starting", 0), STEP_RECORD);
	if (flags & PLAN_RUNTIME)
		become_runtime(plan, &texts);
	if (flags & PLAN_NAMESPACES && !(flags & PLAN_INSIDE))
		enter_namespaces(texts.hostname);
	if (flags & PLAN_GUEST)
		check(prctl(PR_SET_PDEATHSIG, SIGKILL), STEP_ENTER);
	if (flags & PLAN_REAPER)
		check(prctl(PR_SET_CHILD_SUBREAPER, 1), STEP_FORK);
	pid_t program = start_program(plan, &texts);
	if (!(flags & PLAN_INSIDE))
		munmap(plan, bytes);
	close(FD_PLAN);
	if (write_record("running", 0) < 0) {
		int error = errno;
		if (flags & PLAN_REAPER)
			end_descendants();
		fail(STEP_RECORD, error);
	}
	struct report report = {handle, STEP_NONE, self_pid};
	if (write(FD_REPORT, &report, sizeof report) < 0) {
		/* The launcher is gone; who comes after it reads the record. The signal that says
		 * so is not for the program. */
		sigset_t broken_pipe;
		sigemptyset(&broken_pipe);
		sigaddset(&broken_pipe, SIGPIPE);
		sigtimedwait(&broken_pipe, NULL, &(struct timespec){0, 0});
	}
	close(FD_REPORT);

	for (;;) {
		siginfo_t signal;
		if (sigwaitinfo(&all, &signal) < 0)
			continue;
		if (signal.si_signo == SIGCHLD)
			reap(flags, program);
		else
			pass_on(&signal, flags, program);
	}
}
