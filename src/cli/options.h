/* Flags of a command, ahead of its other words: --name value, --name=value, -f, and single letters together (-it). */
#pragma once

#include "base/err.h"

struct option {
    const char *name; /* "--type", or "-f" */
    bool *flag;       /* set when it is there; NULL: it takes a value */
    struct str *value;
};

struct words {
    char **items;
    int count;
};

/*
 * Takes the flags off *words, up to the first word that is none or behind "--". `options` ends with name NULL.
 *
 * Positive: --help is asked for.
 */
int options_parse(struct words *words, const struct option *options, struct err *err);
