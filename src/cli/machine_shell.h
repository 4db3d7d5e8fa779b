/* A command in a machine, joined to this terminal: `haar exec`, and `haar run -it`. */
#pragma once

#include "cli/remote.h"

struct shell {
    struct str id;
    char *const *words; /* of the command */
    int count;
    bool input, tty;
};

/* *ret_status: the command's exit status, 128 + n when signal n ended it. */
int shell_run(struct remote *remote, const struct shell *shell, int *ret_status, struct err *err);
