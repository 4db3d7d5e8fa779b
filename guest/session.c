/*
 * One exec: a child of the monitor's that serves the frames of workload/exec.h on a socket, and the command, which
 * enters the machine first. The command is born in two steps, as a PID namespace takes effect for children only:
 * "entering" joins cgroups and namespaces and clones the command as its own sibling, then ends.
 *
 * What stands on the machine's side of the fence holds nothing of the host: no descriptor beyond 0–2, no memory
 * that the guest could read (not dumpable until exec), and only the rights of `confine`.
 */
#include "guest/kernel.h"
#include "guest/launch.h"
#include "workload/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int stream;
static int input = -1, output = -1, errors = -1; /* our ends; with a terminal all three are one */
static bool terminal;
static pid_t command_pid;
static pid_t entering_pid;
static int status = -1;

static char command[EXEC_COMMAND_MAX + 1];
static char *words[EXEC_WORDS_MAX + 1];
static struct winsize window;

static char pending[EXEC_DATA_MAX]; /* input that the command has not taken yet */
static size_t pending_at, pending_size;
static bool input_ends;

/* ---- frames ---- */

static int write_all(const char *p, size_t size)
{
    while (size) {
        ssize_t n = send(stream, p, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static int read_all(char *p, size_t size)
{
    while (size) {
        ssize_t n = recv(stream, p, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static int frame_write(char kind, const char *p, size_t size)
{
    uint32_t n = (uint32_t)size;
    char head[EXEC_HEAD] = {kind, (char)n, (char)(n >> 8), (char)(n >> 16), (char)(n >> 24)};

    return write_all(head, sizeof head) < 0 || write_all(p, size) < 0 ? -1 : 0;
}

static _Noreturn void session_fail(const char *what)
{
    char text[200];
    int n = snprintf(text, sizeof text, "%s: %s", what, strerror(errno));

    frame_write(EXEC_ERROR, text, (size_t)n);
    _exit(1);
}

void session_refuse(int client, const char *why)
{
    uint32_t n = (uint32_t)strlen(why);
    char frame[EXEC_HEAD + 200] = {EXEC_ERROR, (char)n, (char)(n >> 8)};

    snprintf(frame + EXEC_HEAD, sizeof frame - EXEC_HEAD, "%s", why);
    send(client, frame, EXEC_HEAD + n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static uint32_t little(const char *p, int bytes)
{
    uint32_t n = 0;

    for (int i = 0; i < bytes; i++)
        n |= (uint32_t)(unsigned char)p[i] << (8 * i);
    return n;
}

static void read_command(void)
{
    char head[EXEC_HEAD];
    size_t size, count = 0;

    errno = EPROTO;
    if (read_all(head, sizeof head) < 0)
        _exit(1);
    size = little(head + 1, 4);
    if (head[0] != EXEC_COMMAND || size < 6 || size > EXEC_COMMAND_MAX || read_all(command, size) < 0)
        session_fail("read the command");
    terminal = command[0];
    window.ws_row = (unsigned short)little(command + 1, 2);
    window.ws_col = (unsigned short)little(command + 3, 2);
    for (char *at = command + 5; at < command + size && count < EXEC_WORDS_MAX; at += strlen(at) + 1)
        words[count++] = at;
    if (count == EXEC_WORDS_MAX)
        session_fail("count the command's words");
}

/* ---- the command's side ---- */

static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                    "HOME=/root",
                                    "USER=root",
                                    "LOGNAME=root",
                                    "SHELL=/bin/sh",
                                    "LANG=C.UTF-8",
                                    "TERM=xterm-256color",
                                    NULL};

static _Noreturn void command_main(const struct monitor_config *config, int in, int out, int err)
{
    signal(SIGPIPE, SIG_DFL);
    setsid();
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (terminal)
        ioctl(0, TIOCSCTTY, 0);
    close_range(3, ~0u, 0);
    if (confine_become_root() < 0 || confine(config) < 0) {
        dprintf(2, "haar: %s: %s\n", launch_failure.text, strerror(launch_failure.number));
        _exit(126);
    }
    if (chdir("/root") < 0 && chdir("/") < 0)
        _exit(126);
    environ = (char **)(uintptr_t)environment; /* execvpe would search the monitor's own PATH */
    execvp(words[0], words);
    dprintf(2, "haar: %s: %s\n", words[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Its descriptors, moved to 10, 11, 12, survive; all others of the monitor's do not. */
static _Noreturn void entering_main(const struct monitor *m, const int *ends)
{
    struct clone_args args = {.flags = CLONE_PARENT, .exit_signal = 0};
    int spaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP |
                 (m->config.id_base ? CLONE_NEWUSER : 0);
    pid_t pid;

    prctl(PR_SET_DUMPABLE, 0);
    if (cgroups_join(&m->config) < 0)
        goto failed;
    if (setns(m->init, spaces) < 0) {
        launch_fail("enter the machine");
        goto failed;
    }
    pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        command_main(&m->config, ends[0], ends[1], ends[2]);
    if (pid > 0)
        _exit(0);
    launch_fail("start a process in the machine"); /* it has as many as it may */
failed:
    dprintf(ends[2], "haar: %s: %s\n", launch_failure.text, strerror(launch_failure.number));
    _exit(126);
}

/* ---- our side ---- */

static void open_terminal(const struct monitor *m, int *ends)
{
    int unlock = 0;

    input = openat(m->pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (input < 0 || ioctl(input, TIOCSPTLCK, &unlock) < 0)
        session_fail("open a terminal");
    output = input;
    ends[0] = ends[1] = ends[2] = ioctl(input, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    if (ends[0] < 0 || fchown(ends[0], m->config.id_base, m->config.id_base + 5) < 0)
        session_fail("open the terminal's guest end");
    ioctl(input, TIOCSWINSZ, &window);
}

static void open_pipes(const struct monitor *m, int *ends)
{
    int in[2], out[2], err[2];

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        session_fail("open pipes");
    ends[0] = in[0];
    ends[1] = out[1];
    ends[2] = err[1];
    input = in[1];
    output = out[0];
    errors = err[0];
    for (int i = 0; i < 3; i++) /* /dev/stdout reopens it */
        if (fchown(ends[i], m->config.id_base, m->config.id_base) < 0)
            session_fail("own pipes");
}

static void start_command(const struct monitor *m)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    int ends[3];

    if (terminal)
        open_terminal(m, ends);
    else
        open_pipes(m, ends);
    entering_pid = launch_clone(&m->config, &args);
    if (entering_pid < 0)
        session_fail("fork");
    if (entering_pid == 0)
        entering_main(m, ends);
    for (int i = 0; i < (terminal ? 1 : 3); i++)
        close(ends[i]);
    fcntl(input, F_SETFL, fcntl(input, F_GETFL) | O_NONBLOCK);
    fcntl(output, F_SETFL, fcntl(output, F_GETFL) | O_NONBLOCK);
    if (errors >= 0)
        fcntl(errors, F_SETFL, fcntl(errors, F_GETFL) | O_NONBLOCK);
}

/* The entering one ends first and well, or alone; the other child is the command. */
static void reap_command(void)
{
    int how;
    pid_t pid;

    while ((pid = waitpid(-1, &how, WNOHANG | __WALL)) > 0) {
        if (pid == entering_pid && WIFEXITED(how) && WEXITSTATUS(how) == 0)
            continue;
        status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
    }
}

static void end_input(void)
{
    if (input < 0)
        return;
    if (terminal) {
        char end = 4; /* what ^D sends */

        if (write(input, &end, 1) < 0)
            return;
        return;
    }
    close(input);
    input = -1;
}

static void feed_input(void)
{
    if (pending_size > pending_at && input >= 0) {
        ssize_t n = write(input, pending + pending_at, pending_size - pending_at);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            if (!terminal)
                end_input(); /* the command reads no more */
            pending_at = pending_size;
        } else if (n > 0) {
            pending_at += (size_t)n;
        }
    } else {
        pending_at = pending_size;
    }
    if (input_ends && pending_at == pending_size) {
        input_ends = false;
        end_input();
    }
}

/* The command's process group gets it, by the terminal's foreground where there is one. */
static void send_signal(int number)
{
    pid_t group = 0;

    if (number < 1 || number > 64)
        return;
    if (terminal && ioctl(input, TIOCGPGRP, &group) == 0 && group > 0)
        ioctl(input, TIOCSIG, number);
    else if (command_pid > 0)
        kill(-command_pid, number);
}

/* The command's pid is that of our one other child: it exists until reaped, so the number cannot be another's. */
static void find_command(void)
{
    char path[64], text[256];
    int fd;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    for (char *at = text, *end; *at; at = end) {
        long pid = 0;

        for (end = at; *end >= '0' && *end <= '9'; end++)
            pid = pid * 10 + (*end - '0');
        if (pid && pid != entering_pid)
            command_pid = (pid_t)pid;
        while (*end == ' ' || *end == '\n')
            end++;
    }
}

static _Noreturn void client_left(void)
{
    if (!command_pid)
        find_command();
    if (!terminal && command_pid > 0)
        kill(-command_pid, SIGHUP); /* as a lost line; closing a terminal's master does the same */
    _exit(1);
}

static void handle_frame(void)
{
    char head[EXEC_HEAD], small[4] = {0};
    size_t size;

    if (read_all(head, sizeof head) < 0)
        client_left();
    size = little(head + 1, 4);
    if (head[0] == EXEC_STDIN) {
        if (size > sizeof pending || read_all(pending, size) < 0)
            client_left();
        pending_at = 0;
        pending_size = size;
        feed_input();
        return;
    }
    if (size > sizeof small || read_all(small, size) < 0)
        client_left();
    if (head[0] == EXEC_STDIN_END) {
        input_ends = true;
        feed_input();
    } else if (head[0] == EXEC_WINDOW && terminal) {
        window.ws_row = (unsigned short)little(small, 2);
        window.ws_col = (unsigned short)little(small + 2, 2);
        ioctl(input, TIOCSWINSZ, &window);
    } else if (head[0] == EXEC_SIGNAL) {
        if (!command_pid)
            find_command();
        send_signal(small[0]);
    }
}

/* False when there is nothing more to read now. */
static bool relay(int *fd, char kind)
{
    char bytes[EXEC_DATA_MAX];
    ssize_t n = *fd < 0 ? 0 : read(*fd, bytes, sizeof bytes);

    if (n > 0) {
        if (frame_write(kind, bytes, (size_t)n) < 0)
            client_left();
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) { /* a terminal without openers says EIO */
        if (!terminal && *fd >= 0)
            close(*fd);
        *fd = -1;
    }
    return false;
}

static void serve_once(const sigset_t *waiting)
{
    bool hungry = pending_at == pending_size && !input_ends;
    struct pollfd polled[4] = {
        {hungry ? stream : -1, POLLIN, 0},
        {output, POLLIN, 0},
        {errors, POLLIN, 0},
        {hungry ? -1 : input, POLLOUT, 0},
    };

    if (ppoll(polled, 4, NULL, waiting) > 0) {
        if (polled[1].revents)
            relay(&output, EXEC_STDOUT);
        if (polled[2].revents)
            relay(&errors, EXEC_STDERR);
        if (polled[3].revents)
            feed_input();
        if (polled[0].revents)
            handle_frame();
    }
    reap_command();
}

static void on_child(int number)
{
}

/* Keeps the stream, the machine and its terminals; lets go of the monitor's sockets, whose end others watch for. */
static void keep_descriptors(struct monitor *m, int client)
{
    enum { HIGH = 64 };
    int *kept[] = {&stream, &m->init, &m->pts};

    stream = client;
    for (int i = 0; i < 3; i++)
        *kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, HIGH);
    close_range(3, HIGH - 1, 0);
    close_range(HIGH + 3, ~0u, 0);
}

_Noreturn void session_run(struct monitor *m, int client)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t child, waiting;
    char code;

    keep_descriptors(m, client);
    prctl(PR_SET_NAME, "haar-exec");
    if (frame_write(EXEC_TAKEN, "", 0) < 0)
        _exit(1); /* who asked has waited long enough */
    read_command();
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    start_command(m);
    sigprocmask(SIG_BLOCK, &child, &waiting);
    reap_command();
    while (status < 0)
        serve_once(&waiting);
    /* What it wrote before it ended; a child of its own that still holds the pipe is not waited for. */
    for (int i = 0; i < 4096 && relay(&output, EXEC_STDOUT); i++)
        ;
    for (int i = 0; i < 4096 && relay(&errors, EXEC_STDERR); i++)
        ;
    code = (char)status;
    frame_write(EXEC_STATUS, &code, 1);
    _exit(0);
}
