/* haar reset: forgets everything. */
#include "cli/command.h"

static const char help[] = "Usage: haar reset [FLAG…]\n\n"
                           "Removes every resource and every machine, and returns when they are gone.\n\n"
                           "  --account N      of this account only\n" ENDPOINT_HELP;

static bool is_number(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.len > 0;
}

int reset_main(int argc, char **argv)
{
    struct remote_options where = {0};
    struct str account = {0};
    const struct option options[] = {{"--account", NULL, &account}, {"--endpoint", NULL, &where.endpoint}, {0}};
    struct remote_ask ask = {.method = "POST", .path = S("/_haar/reset"), .privileged = true};
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct remote remote;
    struct words words;
    struct err err = ERR_INIT;
    int status = 0, r;

    if (command_words(argc, argv, options, help, 0, 0, &words, &status))
        return status;
    if (account.p && !is_number(account)) {
        err_plain(&err, "--account takes an account id of 12 digits");
        return tell(EXIT_USAGE, &err);
    }
    remote_open(&remote, &where);
    if (account.p)
        ask.path = arena_printf(&remote.arena, "/_haar/reset?account=" STR_FMT, STR_ARG(account));
    r = remote_ask(&remote, &ask, &reply, &err);
    remote_close(&remote);
    return r < 0 ? tell(1, &err) : 0;
}
