/*
 * One loop over three descriptors: the connection (frames of workload/exec.h), standard input, and signals. What is to
 * be sent is queued, and standard input is read only while that queue is short: a command that does not read is no
 * reason to stop printing what it writes.
 */
#include "cli/machine_shell.h"

#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/text_table.h"
#include "workload/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { QUEUE_MAX = 64 * 1024, FRAME_MAX = 1024 * 1024 };

struct link {
    int fd, signals;
    bool tty, input_open, over;
    int status;
    struct buf in, out;
    struct err err; /* an EXEC_ERROR's text */
};

static void queue_frame(struct link *link, enum exec_frame kind, struct str bytes)
{
    unsigned char head[EXEC_HEAD] = {(unsigned char)kind, (unsigned char)bytes.len, (unsigned char)(bytes.len >> 8),
                                     (unsigned char)(bytes.len >> 16), (unsigned char)(bytes.len >> 24)};

    buf_append(&link->out, (struct str){(char *)head, sizeof head});
    buf_append(&link->out, bytes);
}

static void queue_window(struct link *link)
{
    struct winsize size;
    char bytes[4];

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    bytes[0] = (char)size.ws_row;
    bytes[1] = (char)(size.ws_row >> 8);
    bytes[2] = (char)size.ws_col;
    bytes[3] = (char)(size.ws_col >> 8);
    queue_frame(link, EXEC_WINDOW, (struct str){bytes, sizeof bytes});
}

static void take_signal(struct link *link)
{
    struct signalfd_siginfo info;
    char number;

    if (read(link->signals, &info, sizeof info) != sizeof info)
        return;
    number = (char)info.ssi_signo;
    if (number == SIGWINCH)
        queue_window(link);
    else
        queue_frame(link, EXEC_SIGNAL, (struct str){&number, 1});
}

static void take_input(struct link *link)
{
    char bytes[EXEC_DATA_MAX];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);

    if (n > 0) {
        queue_frame(link, EXEC_STDIN, (struct str){bytes, (size_t)n});
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        queue_frame(link, EXEC_STDIN_END, S(""));
        link->input_open = false;
    }
}

static void take_frame(struct link *link, unsigned char kind, struct str bytes)
{
    switch (kind) {
    case EXEC_STDOUT:
        fd_write_all(STDOUT_FILENO, bytes.p, bytes.len);
        break;
    case EXEC_STDERR:
        fd_write_all(STDERR_FILENO, bytes.p, bytes.len);
        break;
    case EXEC_STATUS:
        link->over = true;
        link->status = bytes.len ? (unsigned char)bytes.p[0] : 0;
        break;
    case EXEC_ERROR:
        link->over = true;
        err_plain(&link->err, STR_FMT, STR_ARG(bytes));
        break;
    }
}

static int take_frames(struct link *link, struct err *err)
{
    while (link->in.len >= EXEC_HEAD && !link->over) {
        const unsigned char *head = (const unsigned char *)link->in.p;
        size_t len = head[1] | (size_t)head[2] << 8 | (size_t)head[3] << 16 | (size_t)head[4] << 24;

        if (len > FRAME_MAX)
            return err_plain(err, "the server sent what is no frame");
        if (link->in.len < EXEC_HEAD + len)
            break;
        take_frame(link, head[0], (struct str){link->in.p + EXEC_HEAD, len});
        buf_drop(&link->in, EXEC_HEAD + len);
    }
    return 0;
}

static int take_connection(struct link *link, struct err *err)
{
    ssize_t n = read(link->fd, buf_reserve(&link->in, EXEC_DATA_MAX), EXEC_DATA_MAX);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return err_plain(err, "the connection ended before the command did");
    link->in.len += (size_t)n;
    return take_frames(link, err);
}

static int send_queue(struct link *link, struct err *err)
{
    ssize_t n = write(link->fd, link->out.p, link->out.len);

    if (n > 0)
        buf_drop(&link->out, (size_t)n);
    else if (errno != EAGAIN && errno != EINTR)
        return err_os(err, errno, "send to the server");
    return 0;
}

static int step(struct link *link, struct err *err)
{
    bool reads_input = link->input_open && link->out.len < QUEUE_MAX;
    struct pollfd fds[] = {{link->fd, (short)(POLLIN | (link->out.len ? POLLOUT : 0))},
                           {link->signals, POLLIN},
                           {reads_input ? STDIN_FILENO : -1, POLLIN}};
    int r = 0;

    if (poll(fds, ARRAY_LEN(fds), -1) < 0)
        return errno == EINTR ? 0 : err_os(err, errno, "poll");
    if (fds[1].revents)
        take_signal(link);
    if (fds[2].revents)
        take_input(link);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        r = take_connection(link, err);
    if (r == 0 && !link->over && link->out.len)
        r = send_queue(link, err);
    return r;
}

static int relay(struct link *link, struct err *err)
{
    int r = take_frames(link, err);

    while (r == 0 && !link->over)
        r = step(link, err);
    if (r == 0 && link->err.text[0])
        return err_plain(err, "%s", link->err.text);
    return r;
}

/* Signals come by descriptor; what was blocked before is put back at the end. */
static int catch_signals(sigset_t *ret_before)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, ret_before);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool make_raw(bool wanted, struct termios *ret_before)
{
    struct termios raw;

    if (!wanted || tcgetattr(STDIN_FILENO, ret_before) < 0)
        return false;
    raw = *ret_before;
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static int join(struct link *link, const struct shell *shell, struct err *err)
{
    struct termios terminal;
    sigset_t signals;
    bool raw;
    int r;

    link->signals = catch_signals(&signals);
    link->input_open = shell->input;
    if (!shell->input)
        queue_frame(link, EXEC_STDIN_END, S(""));
    fcntl(link->fd, F_SETFL, fcntl(link->fd, F_GETFL) | O_NONBLOCK);
    raw = make_raw(shell->tty && shell->input, &terminal);
    r = relay(link, err);
    if (raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
    fd_close(&link->signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    return r;
}

static void write_request(const struct shell *shell, struct buf *body)
{
    struct json_writer json = {body};
    struct winsize size = {.ws_row = 24, .ws_col = 80};

    ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    json_open_object(&json, NULL);
    json_open_list(&json, "command");
    for (int i = 0; i < shell->count; i++)
        json_put_str(&json, NULL, str_of(shell->words[i]));
    json_close_list(&json);
    json_put_bool(&json, "tty", shell->tty);
    json_put_int(&json, "rows", size.ws_row);
    json_put_int(&json, "columns", size.ws_col);
    json_close_object(&json);
}

int shell_run(struct remote *remote, const struct shell *shell, int *ret_status, struct err *err)
{
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    AUTO_BUF body = BUF_INIT;
    struct link link = {.fd = -1, .err = ERR_INIT};
    struct remote_ask ask = {.method = "POST", .upgrade = S("haar-exec"), .privileged = true};
    int r;

    write_request(shell, &body);
    ask.body = buf_str(&body);
    ask.path = arena_printf(&remote->arena, "/_haar/ec2/instances/" STR_FMT "/exec", STR_ARG(shell->id));
    r = remote_ask(remote, &ask, &reply, err);
    if (r < 0)
        return r;
    link.fd = reply.fd;
    buf_append(&link.in, buf_str(&reply.early));
    r = join(&link, shell, err);
    *ret_status = link.status;
    buf_free(&link.in);
    buf_free(&link.out);
    return r;
}
