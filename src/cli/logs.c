/* haar logs: what machines' consoles say. Of several, each is asked by a process of its own, so none waits for another.
 */
#include "base/fd.h"
#include "cli/command.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "Usage: haar logs [FLAG…] ID…\n\n"
    "Prints a machine's console: which image it boots, and what its user data has written. The last 1 MiB is\n"
    "kept. Of several machines, each line begins with its machine's id. Needs the server's token, as exec does.\n\n"
    "  -f               go on as more is written, until the machine is terminated\n" ENDPOINT_HELP;

enum { MACHINES_MAX = 64, LINE_MAX_BYTES = 4000 /* with its id one write, which a pipe takes whole */ };

struct console {
    const char *id;
    bool named;
    struct buf line; /* named: what has come of the next one */
};

static bool print_line(struct console *console)
{
    AUTO_BUF text = BUF_INIT;

    buf_printf(&text, "%s: ", console->id);
    buf_append(&text, buf_str(&console->line));
    buf_byte(&text, '\n');
    console->line.len = 0;
    return fd_write_all(STDOUT_FILENO, text.p, text.len) == 0;
}

/* A closed pipe ends it. */
static bool print_piece(void *cookie, struct str piece)
{
    struct console *console = cookie;

    if (!console->named)
        return fd_write_all(STDOUT_FILENO, piece.p, piece.len) == 0;
    for (size_t i = 0; i < piece.len; i++) {
        if (piece.p[i] != '\n')
            buf_byte(&console->line, piece.p[i]);
        if ((piece.p[i] == '\n' || console->line.len >= LINE_MAX_BYTES) && !print_line(console))
            return false;
    }
    return true;
}

static int print_console(const struct remote_options *where, const char *id, bool follow, bool named)
{
    struct console console = {id, named, BUF_INIT};
    struct remote_ask ask = {.method = "GET", .privileged = true, .on_body = print_piece, .cookie = &console};
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct remote remote;
    struct err err = ERR_INIT;
    int r;

    remote_open(&remote, where);
    ask.path = arena_printf(&remote.arena, "/_haar/ec2/instances/%s/console?follow=%d", id, follow);
    r = remote_ask(&remote, &ask, &reply, &err);
    remote_close(&remote);
    if (console.line.len)
        print_line(&console);
    buf_free(&console.line);
    if (r < 0 && named)
        err_wrap(&err, "%s", id);
    return r < 0 ? tell(1, &err) : 0;
}

static int print_consoles(const struct remote_options *where, const struct words *ids, bool follow)
{
    int failed = 0, status;

    for (int i = 0; i < ids->count; i++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(print_console(where, ids->items[i], follow, true));
        failed |= pid < 0;
    }
    while (wait(&status) > 0 || errno == EINTR)
        failed |= status != 0;
    return failed;
}

int logs_main(int argc, char **argv)
{
    struct remote_options where = {0};
    bool follow = false;
    const struct option options[] = {{"-f", &follow}, {"--endpoint", NULL, &where.endpoint}, {0}};
    struct words words;
    struct err err = ERR_INIT;
    int status = 0;

    if (command_words(argc, argv, options, help, 1, MACHINES_MAX, &words, &status))
        return status;
    for (int i = 0; i < words.count; i++)
        if (!is_instance_id(str_of(words.items[i]), &err))
            return tell(EXIT_USAGE, &err);
    if (words.count == 1)
        return print_console(&where, words.items[0], follow, false);
    return print_consoles(&where, &words, follow);
}
