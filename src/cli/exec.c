/* haar exec: a command inside a machine. */
#include "cli/command.h"
#include "cli/machine_shell.h"

#include <limits.h>
#include <string.h>

static const char help[] =
    "Usage: haar exec [FLAG…] ID -- COMMAND…\n\n"
    "Runs a command inside a running machine. Its exit status is the command's; 125 says that it could not be run at\n"
    "all. Needs the server's token: run it as root where the server runs, or set HAAR_TOKEN.\n\n"
    "  -i               pass standard input on\n"
    "  -t               give the command a terminal; -it for a shell\n" ENDPOINT_HELP "\n"
    "  haar exec -it i-0123456789abcdef0 -- sh\n"
    "  tar c . | haar exec -i i-0123456789abcdef0 -- tar x -C /srv\n";

int exec_main(int argc, char **argv)
{
    struct remote_options where = {0};
    struct shell shell = {0};
    const struct option options[] = {
        {"-i", &shell.input}, {"-t", &shell.tty}, {"--endpoint", NULL, &where.endpoint}, {0}};
    struct remote remote;
    struct words words;
    struct err err = ERR_INIT;
    int status = 0, r;

    if (command_words(argc, argv, options, help, 2, INT_MAX, &words, &status))
        return status;
    shell.id = str_of(words.items[0]);
    shell.words = words.items + 1;
    shell.count = words.count - 1;
    if (strcmp(shell.words[0], "--") == 0) {
        shell.words++;
        shell.count--;
    }
    if (!shell.count)
        err_plain(&err, "which command? --help says what to write");
    if (!shell.count || !is_instance_id(shell.id, &err))
        return tell(EXIT_USAGE, &err);
    remote_open(&remote, &where);
    r = shell_run(&remote, &shell, &status, &err);
    remote_close(&remote);
    return r < 0 ? tell(EXIT_OURS, &err) : status;
}
