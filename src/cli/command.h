/* The commands beside serve. Each gets the words behind its name and returns the exit status. */
#pragma once

#include "cli/options.h"
#include "cli/remote.h"

int exec_main(int argc, char **argv);
int logs_main(int argc, char **argv);
int ps_main(int argc, char **argv);
int reset_main(int argc, char **argv);
int run_main(int argc, char **argv);

enum { EXIT_OURS = 125 /* exec, run -it: haar failed, not the command */, EXIT_USAGE = 2 };

/* "haar: text" on standard error; returns status. */
int tell(int status, const struct err *err);

/*
 * Takes the flags off argv. Positive: done, with exit status *ret_status (help was asked for, or they are wrong).
 * `least` to `most`: how many words are to follow.
 */
int command_words(int argc, char **argv, const struct option *options, const char *help, int least, int most,
                  struct words *ret, int *ret_status);

/* An instance's id becomes part of a path. */
bool is_instance_id(struct str id, struct err *err);

#define ENDPOINT_HELP "  --endpoint URL   the server (HAAR_ENDPOINT; http://127.0.0.1:4566)\n"
