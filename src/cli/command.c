#include "cli/command.h"

#include "base/mem.h"

#include <stdio.h>
#include <unistd.h>

int tell(int status, const struct err *err)
{
    fprintf(stderr, "haar: %s\n", err->text);
    return status;
}

int command_words(int argc, char **argv, const struct option *options, const char *help, int least, int most,
                  struct words *ret, int *ret_status)
{
    struct words words = {argv, argc};
    struct err err = ERR_INIT;
    int r = options_parse(&words, options, &err);

    if (r > 0) {
        fputs(help, stdout);
        *ret_status = 0;
        return 1;
    }
    if (r == 0 && words.count < least)
        r = err_plain(&err, "something is missing; --help says what to write");
    if (r == 0 && words.count > most)
        r = err_plain(&err, "'%s' is one word too many; --help says what to write", words.items[most]);
    if (r < 0) {
        *ret_status = tell(EXIT_USAGE, &err);
        return 1;
    }
    *ret = words;
    return 0;
}

bool is_instance_id(struct str id, struct err *err)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            err_plain(err, "'" STR_FMT "' is no instance's id; haar ps lists them", STR_ARG(id));
            return false;
        }
    }
    return id.len > 0;
}
