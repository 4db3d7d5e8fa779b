/* haar logs: what a machine's console says. */
#include "base/fd.h"
#include "cli/command.h"

#include <unistd.h>

static const char help[] =
    "Usage: haar logs [FLAG…] ID\n\n"
    "Prints a machine's console: which image it boots, and what its user data has written. The last 1 MiB is\n"
    "kept. Needs the server's token, as exec does.\n\n"
    "  -f               go on as more is written, until the machine is terminated\n" ENDPOINT_HELP;

static bool print_piece(void *cookie, struct str piece)
{
    return fd_write_all(STDOUT_FILENO, piece.p, piece.len) == 0; /* a closed pipe ends it */
}

int logs_main(int argc, char **argv)
{
    struct remote_options where = {0};
    bool follow = false;
    const struct option options[] = {{"-f", &follow}, {"--endpoint", NULL, &where.endpoint}, {0}};
    struct remote_ask ask = {.method = "GET", .privileged = true, .on_body = print_piece};
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct remote remote;
    struct words words;
    struct err err = ERR_INIT;
    int status = 0, r;

    if (command_words(argc, argv, options, help, 1, 1, &words, &status))
        return status;
    if (!is_instance_id(str_of(words.items[0]), &err))
        return tell(EXIT_USAGE, &err);
    remote_open(&remote, &where);
    ask.path = arena_printf(&remote.arena, "/_haar/ec2/instances/%s/console?follow=%d", words.items[0], follow);
    r = remote_ask(&remote, &ask, &reply, &err);
    remote_close(&remote);
    return r < 0 ? tell(1, &err) : 0;
}
