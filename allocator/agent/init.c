/* The init of a task: starts it, outlives the agent, and writes down how the task ended.
 *
 *   allocator-init NOTES SANDBOX OWNER NOFILE PROGRAM ARGV0 [ARGUMENT...]
 *
 * NOTES is a folder of the agent; SANDBOX the task's working directory; OWNER is "-" or
 * "UID:GID:GROUP,..." of who runs the task; NOFILE its soft limit of open files.
 *
 * Started by the agent as the leader of a session of its own, with the task's environment, descriptors
 * 0, 1 and 2 as the task has them, and 3 a pipe: "R" is written there once the task runs, or
 * "F STEP ERRNO" if it cannot. In NOTES it makes
 *   init    before all else: "PID STARTTIME BOOT", by which a later agent knows it again. If there is
 *           one already, the launch was given up, and nothing is started.
 *   status  after all else: the wait(2) status of the task, or "F STEP ERRNO".
 *
 * SIGTERM goes on to the task's process group. SIGUSR1 ends the task and whatever it left behind.
 * When the task ends, so does all that it left behind, even in other sessions: orphans come to us.
 * When we end otherwise, the task is killed by the kernel.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT = 3, MAX_FILES = 4096, MAX_GROUPS = 1024, TEXT = 512 };

static int notes = -1;

/* Write a file into the notes in one step: it is there whole, or not. 0, or -1 if there is one. */
static int note(const char *name, const char *text) {
    char temporary[TEXT];
    snprintf(temporary, sizeof temporary, ".%s.%d", name, (int)getpid());
    int file = openat(notes, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    size_t length = strlen(text);
    int result = write(file, text, length) == (ssize_t)length ? 0 : -1;
    close(file);
    if (result == 0)
        result = linkat(notes, temporary, notes, name, 0);
    unlinkat(notes, temporary, 0);
    return result;
}

static void report(const char *text) {
    ssize_t ignored = write(REPORT, text, strlen(text));
    (void)ignored; /* the agent may be away */
    close(REPORT);
}

/* Tell that the task cannot be run, and why. */
static void fail(const char *step, int error) {
    char text[TEXT];
    snprintf(text, sizeof text, "F %s %d", step, error);
    note("status", text);
    report(text);
    _exit(1);
}

static size_t slurp(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, size - 1);
    if (file >= 0)
        close(file);
    text[length > 0 ? length : 0] = '\0';
    return strlen(text);
}

/* When we were started, in ticks since the machine was: the 22nd field. */
static unsigned long long start_time(void) {
    char text[2048];
    slurp("/proc/self/stat", text, sizeof text);
    char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field + 1, NULL, 10);
}

static void make_known(void) {
    char boot[64], text[TEXT];
    slurp("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[strcspn(boot, "\n")] = '\0';
    snprintf(text, sizeof text, "%d %llu %s", (int)getpid(), start_time(), boot);
    if (note("init", text) != 0)
        _exit(0); /* given up, or forgotten */
}

/* Become the owner; 0, or the error. */
static int become(const char *owner) {
    if (strcmp(owner, "-") == 0)
        return 0;
    gid_t groups[MAX_GROUPS];
    size_t n_groups = 0;
    char *rest;
    uid_t uid = (uid_t)strtoul(owner, &rest, 10);
    gid_t gid = (gid_t)strtoul(rest + (*rest == ':'), &rest, 10);
    while ((*rest == ':' || *rest == ',') && n_groups < MAX_GROUPS)
        groups[n_groups++] = (gid_t)strtoul(rest + 1, &rest, 10);
    if (setgroups(n_groups, groups) != 0 || setresgid(gid, gid, gid) != 0
        || setresuid(uid, uid, uid) != 0)
        return errno;
    return 0;
}

static void limit_files(const char *text) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        rlim_t soft = (rlim_t)strtoull(text, NULL, 10);
        limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void reset_signals(void) {
    sigset_t none;
    static const unsigned long by_default[8]; /* the kernel's struct sigaction; libc hides 32, 33 */
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, by_default, NULL, (size_t)8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

struct failure {
    char step[16];
    int error;
};

/* The child: become the task. Tells through `pipe` what failed; returns never. */
static void become_task(int pipe, pid_t parent, char **arguments) {
    struct failure failure = {"user", 0};
    close(REPORT);
    setsid();
    failure.error = become(arguments[2]);
    if (failure.error == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        limit_files(arguments[3]);
        reset_signals();
        execvp(arguments[4], arguments + 5);
        strcpy(failure.step, "exec");
        failure.error = errno;
    }
    ssize_t ignored = write(pipe, &failure, sizeof failure);
    (void)ignored;
    _exit(127);
}

/* Start the task, and return its process once it runs. */
static pid_t start(char **arguments) {
    int ends[2];
    struct failure failure;
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail("pipe", errno);
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        fail("fork", errno);
    if (child == 0)
        become_task(ends[1], parent, arguments);
    close(ends[1]);
    ssize_t length;
    do
        length = read(ends[0], &failure, sizeof failure);
    while (length < 0 && errno == EINTR);
    close(ends[0]);
    if (length == (ssize_t)sizeof failure) {
        waitpid(child, NULL, 0);
        fail(failure.step, failure.error);
    }
    report("R");
    return child;
}

/* Kill our children as /proc lists them; how many there were, or -1 where it has no such list. */
static int kill_listed(void) {
    char path[64], text[65536];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (access(path, R_OK) != 0)
        return -1;
    slurp(path, text, sizeof text);
    int n_killed = 0;
    char *rest = text, *next;
    for (;; rest = next, n_killed++) {
        long pid = strtol(rest, &next, 10);
        if (next == rest)
            return n_killed;
        kill((pid_t)pid, SIGKILL);
    }
}

/* The same where the kernel has no such list: look at all processes. */
static void kill_found(void) {
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        char path[300], text[2048], *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (*end != '\0' || pid <= 0)
            continue;
        snprintf(path, sizeof path, "/proc/%ld/stat", pid);
        slurp(path, text, sizeof text);
        char *state = strrchr(text, ')');
        if (state != NULL && strtol(state + 4, NULL, 10) == (long)getpid())
            kill((pid_t)pid, SIGKILL);
    }
    if (processes != NULL)
        closedir(processes);
}

/* End whatever the task left behind: what we kill leaves its own children to us. */
static void end_rest(void) {
    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno == EINTR) {
        if (kill_listed() < 0)
            kill_found();
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
            return;
    }
}

/* Wait for the task to end, and hand signals on; its wait status. */
static int watch(pid_t task, const sigset_t *awaited) {
    for (;;) {
        int number = sigwaitinfo(awaited, NULL), status;
        pid_t ended;
        if (number == SIGTERM) {
            kill(-task, SIGTERM);
        } else if (number == SIGUSR1) {
            kill(-task, SIGKILL);
            kill(task, SIGKILL);
        }
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == task)
                return status;
    }
}

int main(int count, char **arguments) {
    char text[TEXT];
    sigset_t all;
    if (count < 7)
        return 2;
    arguments++;
    if (syscall(SYS_close_range, REPORT + 1, ~0U, 0) != 0)
        for (int file = REPORT + 1; file < MAX_FILES; file++)
            close(file); /* before Linux 5.9 */
    fcntl(REPORT, F_SETFD, FD_CLOEXEC);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    umask(022);
    notes = open(arguments[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (notes < 0)
        return 0; /* forgotten */
    make_known();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (chdir(arguments[1]) != 0)
        fail("sandbox", errno);
    pid_t task = start(arguments);
    int status = watch(task, &all);
    end_rest();
    snprintf(text, sizeof text, "%d", status);
    note("status", text);
    return 0;
}
