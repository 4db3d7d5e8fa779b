/*
 * Process 1 of a machine, and, by another name, its poweroff, reboot and halt. It brings the loopback up, reports
 * READY, runs the user data once a disk, reports BOOTED, reaps, and ends everything when asked: by the monitor, over
 * descriptor 3; by the guest, with the signals that busybox's and systemd's tools send to process 1.
 */
#include "guest/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define USER_DATA "/var/lib/cloud/instance/user-data.txt"
#define USER_DATA_RUN "/var/lib/cloud/instance/sem/config_scripts_user"

enum { GUEST_GRACE_MS = 5000 };

extern char **environ;

static volatile sig_atomic_t asked; /* INIT_POWER_OFF, INIT_REBOOT */
static pid_t user_data;

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        return; /* the console is gone: nobody to tell */
}

static void report(char what)
{
    send(MONITOR_CONTROL, &what, 1, MSG_NOSIGNAL);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- user data ---- */

/* True the first time on this disk. The mark is made before the run, as cloud-init's is: a machine stopped in the
 * middle does not run it again. */
static bool first_boot(void)
{
    int fd;

    mkdir("/var/lib/cloud/instance/sem", 0755);
    fd = open(USER_DATA_RUN, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* What the user data is, by its first bytes, in the console's words; NULL when it is a script. */
static const char *not_a_script(const char *head)
{
    if (starts(head, "#!"))
        return NULL;
    if (starts(head, "#cloud-config"))
        return "haar: user data is #cloud-config, which is not run yet\n";
    if (starts(head, "Content-Type:") || starts(head, "MIME-Version:"))
        return "haar: user data is a MIME multipart message, which is not run yet\n";
    return "haar: user data does not begin with #! and is not run\n";
}

static _Noreturn void exec_script(void)
{
    char *const argv[] = {USER_DATA, NULL};
    sigset_t none;
    char text[128];

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    close(MONITOR_CONTROL);
    close(STDIN_FILENO);
    open("/dev/null", O_RDONLY);
    execve(USER_DATA, argv, environ);
    snprintf(text, sizeof text, "haar: user data: %s (its interpreter is missing?)\n", strerror(errno));
    say(text);
    _exit(errno == ENOENT ? 127 : 126);
}

/* False when there is none to run. */
static bool start_user_data(void)
{
    char head[64] = "";
    int fd = open(USER_DATA, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head - 1);
    const char *refusal;

    if (fd >= 0)
        close(fd);
    if (n <= 0 || !first_boot())
        return false;
    refusal = not_a_script(head);
    if (refusal) {
        say(refusal);
        return false;
    }
    user_data = fork();
    if (user_data == 0)
        exec_script();
    return user_data > 0;
}

static void user_data_ended(int status)
{
    char text[96];

    if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "haar: user data was ended by signal %d\n", WTERMSIG(status));
    else
        snprintf(text, sizeof text, "haar: user data finished with status %d\n", WEXITSTATUS(status));
    say(text);
    user_data = 0;
    report(INIT_BOOTED);
}

/* ---- the end ---- */

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == user_data)
            user_data_ended(status);
    }
}

static _Noreturn void end_everything(int grace_ms)
{
    int64_t until = now_ms() + grace_ms;
    struct timespec nap = {.tv_nsec = 1000000};

    kill(-1, SIGTERM);
    kill(-1, SIGCONT);
    for (reap(); kill(-1, 0) == 0 && now_ms() < until; reap()) {
        nanosleep(&nap, NULL);
        if (nap.tv_nsec < 16000000)
            nap.tv_nsec *= 2;
    }
    kill(-1, SIGKILL);
    _exit(0);
}

static void on_signal(int number)
{
    if (number == SIGCHLD)
        return;
    asked = number == SIGTERM || number == SIGINT || number == SIGRTMIN + 5 ? INIT_REBOOT : INIT_POWER_OFF;
}

static void on_order(void)
{
    char order[8];
    ssize_t n = recv(MONITOR_CONTROL, order, sizeof order, MSG_DONTWAIT);
    int grace;

    if (n == 0)
        _exit(1); /* no monitor: nobody could stop this machine any more */
    if (n < 5 || order[0] != INIT_STOP)
        return;
    memcpy(&grace, order + 1, sizeof grace);
    end_everything(grace);
}

/* ---- the start ---- */

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        say("haar: the loopback interface could not be brought up\n");
    close(fd);
}

static void catch_signals(sigset_t *waiting)
{
    const int numbers[] = {SIGCHLD, SIGTERM,      SIGINT,       SIGUSR1,     SIGUSR2,
                           SIGPWR,  SIGRTMIN + 3, SIGRTMIN + 4, SIGRTMIN + 5};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t block;

    sigemptyset(&block);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaction(numbers[i], &action, NULL);
        sigaddset(&block, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &block, waiting);
}

static _Noreturn void serve(const sigset_t *waiting)
{
    struct pollfd polled = {MONITOR_CONTROL, POLLIN, 0};

    for (;;) {
        if (ppoll(&polled, 1, NULL, waiting) > 0)
            on_order();
        reap();
        if (asked) {
            say(asked == INIT_REBOOT ? "haar: rebooting\n" : "haar: powering off\n");
            report((char)asked);
            end_everything(GUEST_GRACE_MS);
        }
    }
}

/* poweroff, halt, reboot, shutdown: with the signals of busybox's init. */
static int applet(const char *name, int argc, char **argv)
{
    int number = starts(name, "reboot") ? SIGTERM : SIGUSR2;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-r") == 0 && starts(name, "shutdown"))
            number = SIGTERM;
    }
    if (kill(1, number) < 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc ? argv[0] : "";
    sigset_t waiting;

    if (getpid() != 1)
        return applet(name, argc, argv);
    fcntl(MONITOR_CONTROL, F_SETFD, FD_CLOEXEC);
    catch_signals(&waiting);
    loopback_up();
    report(INIT_READY);
    if (!start_user_data())
        report(INIT_BOOTED);
    serve(&waiting);
}
