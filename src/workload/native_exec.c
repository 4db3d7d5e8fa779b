/*
 * A command inside a machine: its monitor gets one end of a stream, the caller the other. Nobody counts on a monitor
 * that has not said that it serves the stream: one that stands still is an error after some seconds. Who waits is a
 * worker, without a lock; and a monitor's queue takes ten messages (net.unix.max_dgram_qlen), so not all workers wait
 * for the same one: whoever comes then hears it at once.
 */
#include "workload/exec.h"
#include "base/buf.h"
#include "base/fd.h"
#include "workload/machine.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { TAKEN_LIMIT_S = 5 }; /* hosts under load are slow */

static void put_command(struct buf *frame, const struct workload_exec *exec)
{
    buf_byte(frame, exec->tty);
    buf_byte(frame, (char)exec->rows);
    buf_byte(frame, (char)(exec->rows >> 8));
    buf_byte(frame, (char)exec->columns);
    buf_byte(frame, (char)(exec->columns >> 8));
    for (size_t i = 0; i < exec->count; i++) {
        buf_append(frame, exec->command[i]);
        buf_byte(frame, '\0');
    }
}

static int check_command(const struct workload_exec *exec, struct err *err)
{
    size_t size = EXEC_HEAD;

    for (size_t i = 0; i < exec->count; i++) {
        if (exec->command[i].len && memchr(exec->command[i].p, '\0', exec->command[i].len))
            return err_plain(err, "a word of the command holds a NUL byte");
        size += exec->command[i].len + 1;
    }
    if (exec->count == 0 || exec->count >= EXEC_WORDS_MAX || size > EXEC_COMMAND_MAX)
        return err_plain(err, "a command has 1 to %d words, together under %d bytes", EXEC_WORDS_MAX - 1,
                         EXEC_COMMAND_MAX);
    return 0;
}

static int send_command(int fd, const struct workload_exec *exec, struct err *err)
{
    AUTO_BUF frame = BUF_INIT, body = BUF_INIT;
    int r;

    put_command(&body, exec);
    buf_byte(&frame, EXEC_COMMAND);
    for (int i = 0; i < 4; i++)
        buf_byte(&frame, (char)(body.len >> (8 * i)));
    buf_append(&frame, buf_str(&body));
    r = fd_write_all(fd, frame.p, frame.len);
    return r < 0 ? err_os(err, -r, "send the command") : 0;
}

/* No send or receive on it waits longer. */
static void limit_waits(int fd)
{
    struct timeval limit = {.tv_sec = TAKEN_LIMIT_S};

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* The first frame. */
static int await_taken(int fd, struct str id, struct err *err)
{
    unsigned char head[EXEC_HEAD];
    char why[200];
    size_t size;
    ssize_t n = recv(fd, head, sizeof head, MSG_WAITALL);

    if (n < 0 && errno == EAGAIN)
        return err_plain(err, "the monitor of " STR_FMT " has not answered within %d s", STR_ARG(id), TAKEN_LIMIT_S);
    if (n != sizeof head)
        return err_plain(err, STR_FMT " has ended", STR_ARG(id));
    size = head[1] | (size_t)head[2] << 8;
    if (head[0] == EXEC_TAKEN && size == 0)
        return 0;
    if (head[0] != EXEC_ERROR || size > sizeof why || recv(fd, why, size, MSG_WAITALL) != (ssize_t)size)
        return err_plain(err, "the monitor of " STR_FMT " has answered what is no frame", STR_ARG(id));
    return err_plain(err, STR_FMT ": %.*s", STR_ARG(id), (int)size, why);
}

/* Does not wait. */
static int ask_monitor(struct native *native, struct str id, int theirs, struct err *err)
{
    struct machine *machine;
    int r;

    pthread_mutex_lock(&native->lock);
    machine = map_get(&native->machines, id);
    if (machine && machine->state == MACHINE_RUNNING && machine->control >= 0)
        r = machine_say(machine, MONITOR_EXEC, 0, theirs, err);
    else
        r = err_plain(err, STR_FMT " does not run", STR_ARG(id));
    pthread_mutex_unlock(&native->lock);
    return r;
}

int native_exec(void *cookie, struct str id, const struct workload_exec *exec, struct workload_process *ret,
                struct err *err)
{
    AUTO_FD ours = -1;
    AUTO_FD theirs = -1;
    int pair[2], r = check_command(exec, err);

    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_os(err, errno, "make a socket");
    ours = pair[0];
    theirs = pair[1];
    limit_waits(ours);
    r = ask_monitor(cookie, id, theirs, err);
    fd_close(&theirs); /* the monitor's alone: should it end, so does the stream */
    if (r == 0)
        r = await_taken(ours, id, err);
    if (r == 0)
        r = send_command(ours, exec, err);
    if (r < 0)
        return r;
    ret->fd = ours;
    ours = -1;
    return 0;
}
