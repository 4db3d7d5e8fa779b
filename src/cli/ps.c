/* haar ps: the machines, a line each. */
#include "base/fd.h"
#include "base/time.h"
#include "cli/command.h"
#include "cli/text_table.h"

#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

static const char help[] = "Usage: haar ps [FLAG…]\n\n"
                           "Lists the machines of all accounts and regions. BOOTS is the image that really runs; so "
                           "far it is a built-in one,\n"
                           "whatever the AMI. Terminated machines stay listed for an hour.\n\n" ENDPOINT_HELP;

static struct str text(const json_t *instance, const char *name)
{
    const char *value = json_string_value(json_object_get(instance, name));

    return str_of(value && *value ? value : "-");
}

/* 12s, 3m12s, 2h05m, 4d03h */
static struct str duration(struct arena *arena, int64_t s)
{
    if (s < 60)
        return arena_printf(arena, "%" PRId64 "s", s < 0 ? 0 : s);
    if (s < 3600)
        return arena_printf(arena, "%" PRId64 "m%02ds", s / 60, (int)(s % 60));
    if (s < 86400)
        return arena_printf(arena, "%" PRId64 "h%02dm", s / 3600, (int)(s / 60 % 60));
    return arena_printf(arena, "%" PRId64 "d%02dh", s / 86400, (int)(s / 3600 % 24));
}

static struct str uptime(struct arena *arena, const json_t *instance)
{
    int64_t launched;

    if (!str_equal(text(instance, "state"), S("running")) || !time_parse(text(instance, "launchTime"), &launched))
        return S("-");
    return duration(arena, (time_now_ms() - launched) / 1000);
}

static void add_row(struct text_table *table, struct arena *arena, const json_t *instance)
{
    static const char *const members[] = {"instanceId", "name", "instanceType", "state", "privateIp"};

    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        text_table_add(table, text(instance, members[i]));
    text_table_add(table,
                   json_is_string(json_object_get(instance, "rootImage")) ? text(instance, "rootImage") : S("nothing"));
    text_table_add(table, uptime(arena, instance));
}

static void print(struct arena *arena, const json_t *instances)
{
    static const char *const heads[] = {"ID", "NAME", "TYPE", "STATE", "ADDRESS", "BOOTS", "UPTIME"};
    struct text_table table = {.columns = sizeof heads / sizeof *heads, .flexible = 1};
    AUTO_BUF out = BUF_INIT;
    const json_t *instance;
    size_t i;

    for (i = 0; i < table.columns; i++)
        text_table_add(&table, str_of(heads[i]));
    json_array_foreach(instances, i, instance) add_row(&table, arena, instance);
    text_table_print(&table, terminal_width(STDOUT_FILENO), &out);
    fd_write_all(STDOUT_FILENO, out.p, out.len);
    text_table_free(&table);
}

int ps_main(int argc, char **argv)
{
    struct remote_options where = {0};
    const struct option options[] = {{"--endpoint", NULL, &where.endpoint}, {0}};
    struct remote_ask ask = {.method = "GET", .path = S("/_haar/ec2/instances"), .privileged = false};
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct remote remote;
    struct words words;
    struct err err = ERR_INIT;
    json_t *json;
    int status = 0, r;

    if (command_words(argc, argv, options, help, 0, 0, &words, &status))
        return status;
    remote_open(&remote, &where);
    ask.privileged = getenv("HAAR_TOKEN") != NULL; /* beyond loopback it is asked for */
    r = remote_ask(&remote, &ask, &reply, &err);
    json = r == 0 ? json_loadb(reply.body.p ? reply.body.p : "", reply.body.len, 0, NULL) : NULL;
    if (r == 0 && !json)
        r = err_plain(&err, "the server's answer is no JSON: is it haar?");
    if (r == 0)
        print(&remote.arena, json_object_get(json, "instances"));
    json_decref(json);
    remote_close(&remote);
    return r < 0 ? tell(1, &err) : 0;
}
