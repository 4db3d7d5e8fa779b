/*
 * A machine's monitor: parent of its init, outside the machine, outliving the server. It copies the console into
 * a ring file, answers stop and exec on a socket that only root may open, and when init has ended writes how into
 * the file "exit" before it leaves itself.
 *
 * One thread, one poll loop, no allocation. What takes a process of its own (exec) is forked: this program is so
 * small that a fork costs nothing.
 */
#include "guest/kernel.h"
#include "guest/launch.h"
#include "workload/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 8, KILL_SLACK_MS = 500 };

static struct monitor machine;
static int clients[CLIENTS]; /* -1: free; [0] is at first the server that started us */
static int listener = -1;
static int ring = -1;
static uint64_t ring_total;
static char ring_last = '\n'; /* byte that was written */
static int sessions;
static uint32_t flags;
static bool told_go;
static bool ended;
static int end_status;
static int64_t kill_at;                                           /* monotonic ms; 0: not asked to stop */
static char last_line[sizeof((struct monitor_message *)0)->text]; /* of the console: why we ended it */

static int64_t now_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the console ---- */

static void ring_open(void)
{
    struct monitor_ring head;

    ring = open(machine.config.console, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ring < 0)
        return;
    if (pread(ring, &head, sizeof head, 0) == sizeof head && memcmp(head.magic, "haarcons", 8) == 0)
        ring_total = head.total;
}

static void ring_write(const char *p, size_t size)
{
    struct monitor_ring head = {.magic = "haarcons"};

    while (size && ring >= 0) {
        size_t at = ring_total % MONITOR_RING;
        size_t n = size < MONITOR_RING - at ? size : MONITOR_RING - at;

        if (pwrite(ring, p, n, (off_t)(sizeof head + at)) != (ssize_t)n)
            return; /* a full disk loses console output, not the machine */
        ring_total += n;
        p += n;
        ring_last = p[-1];
        size -= n;
    }
    memcpy(head.magic, "haarcons", 8);
    head.total = ring_total;
    if (ring >= 0 && pwrite(ring, &head, sizeof head, 0) < 0)
        return;
}

static void console_read(void)
{
    char bytes[4096];
    ssize_t n = read(machine.console, bytes, sizeof bytes);

    if (n > 0)
        ring_write(bytes, (size_t)n);
}

static void console_drain(void)
{
    struct pollfd p = {machine.console, POLLIN, 0};

    for (int i = 0; i < 256 && machine.console > 0 && poll(&p, 1, 0) > 0 && p.revents & POLLIN; i++)
        console_read();
}

/* ---- telling ---- */

static void tell(uint32_t kind, int number)
{
    struct monitor_message message = {.kind = kind, .number = number, .flags = flags, .version = MONITOR_VERSION};

    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] >= 0)
            send(clients[i], &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static _Noreturn void give_up(void)
{
    if (machine.pid > 0) {
        kill(machine.pid, SIGKILL); /* our own child, not reaped yet */
        waitpid(machine.pid, NULL, 0);
    }
    send(machine.control, &launch_failure, sizeof launch_failure, MSG_NOSIGNAL);
    _exit(1);
}

/* ---- on whose account it works ---- */

static void enter_group(const char *file)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "0", 1) < 0)
        ring_write("haar: the monitor's work is not on the machine's account\n", 57);
    if (fd >= 0)
        close(fd);
}

/* After READY, as it takes a moment. */
static void open_account(void)
{
    char folder[MONITOR_PATH];
    char *slash;

    memcpy(folder, machine.config.account, sizeof folder);
    slash = strrchr(folder, '/');
    if (!slash)
        return;
    *slash = '\0';
    mkdir(folder, 0755);
    enter_group(machine.config.account);
}

/* The group can be removed as soon as the end has been told, though the kernel may still unmount our disks. */
static void close_account(void)
{
    if (machine.config.home[0] && flags & MONITOR_IS_READY)
        enter_group(machine.config.home);
}

/* ---- what the machine's init says ---- */

static void init_report(void)
{
    char report[256];
    ssize_t n = recv(machine.child, report, sizeof report, MSG_DONTWAIT);

    if (n == 0) { /* init has closed it, or ended: SIGCHLD tells */
        close(machine.child);
        machine.child = -1;
    }
    if (n <= 0)
        return;
    switch (report[0]) {
    case INIT_READY:
        if (flags & MONITOR_IS_READY)
            break;
        flags |= MONITOR_IS_READY;
        tell(MONITOR_READY, machine.pid);
        launch_leave(&machine);
        open_account();
        break;
    case INIT_BOOTED:
        if (flags & MONITOR_IS_BOOTED)
            break;
        flags |= MONITOR_IS_BOOTED;
        tell(MONITOR_BOOTED, 0);
        break;
    case INIT_POWER_OFF:
        flags |= MONITOR_POWER_OFF;
        break;
    case INIT_REBOOT:
        flags |= MONITOR_REBOOT;
        break;
    case INIT_ERROR:
        if (told_go && flags & MONITOR_IS_READY)
            break; /* only its first steps speak of errors */
        launch_failure = (struct monitor_message){.kind = MONITOR_FAILED, .version = MONITOR_VERSION};
        if (n > 5) {
            memcpy(&launch_failure.number, report + 1, 4);
            memcpy(launch_failure.text, report + 5,
                   (size_t)n - 5 < sizeof launch_failure.text - 1 ? (size_t)n - 5 : sizeof launch_failure.text - 1);
        }
        give_up();
    }
}

/* ---- what a server asks ---- */

static void stop(int grace_ms)
{
    char order[5] = {INIT_STOP};

    flags |= MONITOR_ASKED;
    if (grace_ms <= 0) {
        syscall(SYS_pidfd_send_signal, machine.init, SIGKILL, NULL, 0);
        return;
    }
    memcpy(order + 1, &grace_ms, 4);
    if (machine.child >= 0)
        send(machine.child, order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!kill_at)
        kill_at = now_ms(CLOCK_MONOTONIC) + grace_ms + KILL_SLACK_MS;
}

/* Not as asked for: who comes later reads in "exit" that it ended so. */
static void end_over_allowance(const struct monitor_message *message)
{
    flags |= MONITOR_OVER_ALLOWANCE;
    memcpy(last_line, message->text, sizeof last_line - 1);
    syscall(SYS_pidfd_send_signal, machine.init, SIGKILL, NULL, 0);
}

static void start_session(int stream)
{
    char why[80];
    sigset_t none;
    pid_t pid = sessions < EXEC_SESSIONS_MAX ? fork() : -1;

    if (pid > 0)
        sessions++;
    if (pid < 0 && sessions < EXEC_SESSIONS_MAX)
        snprintf(why, sizeof why, "fork: %s", strerror(errno));
    else
        snprintf(why, sizeof why, "%d commands run in it already, as many as may at once", EXEC_SESSIONS_MAX);
    if (pid < 0)
        session_refuse(stream, why);
    if (pid != 0)
        return;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL);
    session_run(&machine, stream);
}

static void go(void)
{
    char byte = INIT_GO;

    told_go = true;
    send(machine.child, &byte, 1, MSG_NOSIGNAL);
}

static void client_gone(int *client)
{
    close(*client);
    *client = -1;
    if (!told_go)
        give_up();
}

static void client_message(int *client)
{
    struct monitor_message message = {0};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space = {0};
    struct iovec part = {&message, sizeof message};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    ssize_t n = recvmsg(*client, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    int fd = -1;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_gone(client);
        return;
    }
    if (rights && rights->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    if (message.kind == MONITOR_GO && !told_go)
        go();
    else if (message.kind == MONITOR_STOP)
        stop(message.number);
    else if (message.kind == MONITOR_OVER)
        end_over_allowance(&message);
    else if (message.kind == MONITOR_EXEC && fd >= 0)
        start_session(fd);
    if (fd >= 0)
        close(fd);
}

static void client_accept(void)
{
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct monitor_message message = {
        .kind = MONITOR_STATE, .number = machine.pid, .flags = flags, .version = MONITOR_VERSION};

    for (int i = 0; client >= 0 && i < CLIENTS; i++) {
        if (clients[i] < 0) {
            clients[i] = client;
            send(client, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
            return;
        }
    }
    if (client >= 0)
        close(client);
}

static int listen_at(const char *run)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/sock", run);

    if (n >= (int)sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return launch_fail("name the socket");
    }
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    umask(0177);
    unlink(address.sun_path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0)
        return launch_fail("listen");
    umask(022);
    return 0;
}

/* ---- its end ---- */

static bool killed_for_memory(void)
{
    char text[1024];
    int fd = machine.config.oom[0] ? open(machine.config.oom, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    const char *at;

    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    at = strstr(text, "oom_kill ");
    return at && atoi(at + strlen("oom_kill ")) > 0;
}

static void note_end(void)
{
    if (WIFSIGNALED(end_status) && !(flags & (MONITOR_ASKED | MONITOR_OVER_ALLOWANCE))) {
        /* reboot(2) inside a PID namespace ends its init with one of these two. */
        if (WTERMSIG(end_status) == SIGINT)
            flags |= MONITOR_POWER_OFF;
        else if (WTERMSIG(end_status) == SIGHUP)
            flags |= MONITOR_REBOOT;
        else if (WTERMSIG(end_status) == SIGKILL && killed_for_memory())
            flags |= MONITOR_OUT_OF_MEMORY;
    }
}

/* "status flags time-in-ms": whoever comes later reads how it ended. */
static void write_exit(void)
{
    char from[MONITOR_PATH + 16], to[MONITOR_PATH + 16], text[80];
    int n = snprintf(text, sizeof text, "%d %u %lld\n", end_status, flags, (long long)now_ms(CLOCK_REALTIME)), fd;

    snprintf(from, sizeof from, "%s/exit.new", machine.config.run);
    snprintf(to, sizeof to, "%s/exit", machine.config.run);
    fd = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, (size_t)n) != n || rename(from, to) < 0)
        return;
    close(fd);
}

static _Noreturn void finish(void)
{
    console_drain();
    if (last_line[0] && ring_last != '\n')
        ring_write("\n", 1);
    ring_write(last_line, strlen(last_line));
    note_end();
    write_exit();
    close_account();
    close(MONITOR_DISK); /* its lock: who hears of the end may use the disk */
    tell(MONITOR_EXITED, end_status);
    _exit(0);
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == machine.pid) {
            ended = true;
            end_status = status;
        } else {
            sessions--;
        }
    }
}

/* ---- the loop ---- */

static struct timespec *until_kill(struct timespec *t)
{
    int64_t left = kill_at - now_ms(CLOCK_MONOTONIC);

    if (!kill_at)
        return NULL;
    left = left < 0 ? 0 : left;
    *t = (struct timespec){left / 1000, left % 1000 * 1000000};
    return t;
}

static void turn(const sigset_t *waiting)
{
    struct pollfd polled[3 + CLIENTS] = {
        {listener, POLLIN, 0}, {machine.console, POLLIN, 0}, {machine.child, POLLIN, 0}};
    struct timespec t;

    for (int i = 0; i < CLIENTS; i++)
        polled[3 + i] = (struct pollfd){clients[i], POLLIN, 0};
    if (ppoll(polled, 3 + CLIENTS, until_kill(&t), waiting) < 0 && errno != EINTR)
        give_up();
    reap();
    if (polled[1].revents & POLLIN)
        console_read();
    if (polled[2].revents)
        init_report();
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] >= 0 && polled[3 + i].revents)
            client_message(&clients[i]);
    }
    if (polled[0].revents & POLLIN)
        client_accept();
    if (kill_at && now_ms(CLOCK_MONOTONIC) >= kill_at) {
        syscall(SYS_pidfd_send_signal, machine.init, SIGKILL, NULL, 0);
        kill_at = 0;
    }
}

static void on_child(int number)
{
}

/* What init reported before it ended still counts. */
static void last_reports(void)
{
    struct pollfd p = {machine.child, POLLIN, 0};

    while (machine.child >= 0 && poll(&p, 1, 0) > 0 && p.revents & POLLIN) {
        init_report();
        p.fd = machine.child;
    }
}

static void serve(const sigset_t *waiting)
{
    while (!ended)
        turn(waiting);
    last_reports();
    if (!told_go) {
        errno = ECHILD;
        launch_fail("the machine's first process ended early");
        give_up();
    }
    finish();
}

/* An overlay of Linux 5.10 opens what its mounter owns, and no other file; who mounts a view owns nothing. */
static int try_view(void)
{
    int fd = open(LAYERS_POINT(&machine.config, "root/usr/bin/bash"), O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno != ENOENT) {
        launch_fail("open a file of /usr as nobody");
        launch_failure.flags |= MONITOR_NO_VIEW;
        return -1;
    }
    if (fd >= 0)
        close(fd);
    return 0;
}

static _Noreturn void end_trial(void)
{
    if (machine.config.usr_is_viewed && try_view() < 0)
        give_up();
    kill(machine.pid, SIGKILL);
    waitpid(machine.pid, NULL, 0);
    tell(MONITOR_STATE, 0);
    _exit(0);
}

static void start(void)
{
    char byte = INIT_MOUNTED;

    if (recv(machine.control, &machine.config, sizeof machine.config, 0) != sizeof machine.config ||
        machine.config.version != MONITOR_VERSION) {
        errno = EPROTO;
        launch_fail("read the monitor's orders");
        give_up();
    }
    if (launch_birth(&machine) < 0 || launch_mounts(&machine) < 0)
        give_up();
    if (machine.config.trial)
        end_trial();
    if (listen_at(machine.config.run) < 0)
        give_up();
    send(machine.child, &byte, 1, MSG_NOSIGNAL);
    ring_open();
    ring_write(machine.config.note, strlen(machine.config.note));
}

int main(void)
{
    sigset_t child, waiting;
    struct sigaction action = {.sa_handler = on_child};

    machine.control = MONITOR_CONTROL;
    machine.child = machine.home = machine.home_root = -1;
    for (int i = 1; i < CLIENTS; i++)
        clients[i] = -1;
    clients[0] = machine.control;
    close_range(MONITOR_DISK + 1, ~0u, 0);
    fcntl(MONITOR_CONTROL, F_SETFD, FD_CLOEXEC);
    fcntl(MONITOR_INIT, F_SETFD, FD_CLOEXEC);
    fcntl(MONITOR_DISK, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NAME, "haar-monitor");
    sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &waiting);
    sigdelset(&waiting, SIGCHLD);
    start();
    serve(&waiting);
}
