#include "cli/cli.h"

#include "cli/command.h"
#include "cli/serve.h"

#include <stdio.h>
#include <string.h>

static int version_main(int argc, char **argv)
{
    if (argc) {
        printf("Usage: haar version\n\nPrints this program's version.\n");
        return strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 ? 0 : 2;
    }
    printf("haar %s\n", HAAR_VERSION);
    return 0;
}

static const struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", serve_main, "answer the AWS API, and run the machines"},
    {"run", run_main, "start a machine; with -it, and a shell in it"},
    {"ps", ps_main, "list the machines"},
    {"logs", logs_main, "print a machine's console"},
    {"exec", exec_main, "run a command in a machine"},
    {"reset", reset_main, "remove every resource and machine"},
    {"version", version_main, "print this program's version"},
};

static void print_help(FILE *out)
{
    fprintf(out, "Usage: haar COMMAND [ARGUMENT…]\n\nA local cloud: answers the AWS API for compute, and runs the "
                 "machines it is asked for.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nhaar COMMAND --help says more.\n");
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 2, argv + 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    fprintf(stderr, "haar: there is no command '%s'; see haar --help\n", argv[1]);
    return 2;
}
