/*
 * haar run: a machine, without an AWS client. RunInstances, then wait until it runs; with -it a shell in it, and
 * TerminateInstances when that ends, however it ends.
 */
#include "aws/base64.h"
#include "base/fd.h"
#include "base/time.h"
#include "cli/command.h"
#include "cli/machine_shell.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <unistd.h>

enum { WAIT_MS = 120 * 1000, POLL_MS = 50, USER_DATA_MAX = 1024 * 1024 };

static const char help[] =
    "Usage: haar run [FLAG…]\n\n"
    "Starts a machine, prints its id, and returns when it runs. With -it: opens a shell in it, and terminates it\n"
    "when the shell ends.\n\n"
    "  --type TYPE      the instance type (t3.micro)\n"
    "  --image ID       the AMI (the newest Amazon Linux 2023 for that type)\n"
    "  --user-data FILE what it runs at its first boot, a script that begins with #!; - for standard input\n"
    "  -it              a shell; its exit status is that of haar run\n"
    "  --region REGION  where (HAAR_REGION; us-east-1)\n" ENDPOINT_HELP;

struct order {
    struct str type, image, user_data; /* user_data: a file's name */
    bool input, tty;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = number;
}

/* From now on it is ours to end: a signal is noticed, not fatal. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static int read_user_data(struct arena *arena, struct str name, struct str *ret, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    char path[4096];
    int r;

    if (str_equal(name, S("-"))) {
        r = fd_read_to_end(STDIN_FILENO, &text, USER_DATA_MAX);
        if (r < 0)
            return err_os(err, -r, "read user data");
    } else {
        if (!str_to_z(name, path, sizeof path))
            return err_plain(err, "--user-data takes a file's name");
        r = file_read(AT_FDCWD, path, &text, USER_DATA_MAX, err);
        if (r < 0)
            return r;
    }
    *ret = base64_encode(arena, buf_str(&text));
    return 0;
}

/* Graviton's types (t4g, m7gd, c8gn …): a g behind the generation. */
static bool is_arm(struct str type)
{
    struct str family = str_cut(&type, '.');
    size_t i = 0;

    if (str_equal(family, S("a1")))
        return true;
    while (i < family.len && (family.p[i] < '0' || family.p[i] > '9'))
        i++;
    while (i < family.len && family.p[i] >= '0' && family.p[i] <= '9')
        i++;
    return i < family.len && family.p[i] == 'g';
}

static int write_form(struct arena *arena, const struct order *order, struct buf *form, struct err *err)
{
    struct str user_data;

    form_add(form, "Action", S("RunInstances"));
    form_add(form, "MinCount", S("1"));
    form_add(form, "MaxCount", S("1"));
    form_add(form, "InstanceType", order->type);
    if (order->image.p)
        form_add(form, "ImageId", order->image);
    else
        form_add(form, "ImageId",
                 arena_printf(arena, "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-%s",
                              is_arm(order->type) ? "arm64" : "x86_64"));
    if (!order->user_data.p)
        return 0;
    if (read_user_data(arena, order->user_data, &user_data, err) < 0)
        return -1;
    form_add(form, "UserData", user_data);
    return 0;
}

static int launch(struct remote *remote, const struct order *order, struct str *ret_id, struct err *err)
{
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    AUTO_BUF form = BUF_INIT;
    struct str id;
    int r = write_form(&remote->arena, order, &form, err);

    if (r == 0)
        r = remote_ec2(remote, buf_str(&form), &reply, err);
    if (r < 0)
        return r;
    id = xml_text(&remote->arena, buf_str(&reply.body), "instanceId");
    if (!id.len || !is_instance_id(id, err))
        return err_plain(err, "the server's answer names no instance");
    *ret_id = id;
    return 0;
}

static int terminate(struct remote *remote, struct str id, struct err *err)
{
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    AUTO_BUF form = BUF_INIT;

    form_add(&form, "Action", S("TerminateInstances"));
    form_add(&form, "InstanceId.1", id);
    return remote_ec2(remote, buf_str(&form), &reply, err);
}

/* Positive: it runs. 0: not yet. */
static int look(struct remote *remote, struct str id, struct err *err)
{
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct remote_ask ask = {.method = "GET"};
    const char *state, *reason;
    json_t *json, *instance;
    int r;

    ask.path = arena_printf(&remote->arena, "/_haar/ec2/instances?id=" STR_FMT, STR_ARG(id));
    ask.privileged = getenv("HAAR_TOKEN") != NULL;
    r = remote_ask(remote, &ask, &reply, err);
    if (r < 0)
        return r;
    json = json_loadb(reply.body.p ? reply.body.p : "", reply.body.len, 0, NULL);
    instance = json_array_get(json_object_get(json, "instances"), 0);
    state = json_string_value(json_object_get(instance, "state"));
    reason = json_string_value(json_object_get(instance, "stateReason"));
    if (state && strcmp(state, "running") == 0)
        r = 1;
    else if (!state || strcmp(state, "pending") != 0)
        r = err_plain(err, STR_FMT " did not start: it is %s%s%s", STR_ARG(id), state ? state : "gone",
                      reason ? ". " : "", reason ? reason : "");
    json_decref(json);
    return r;
}

static int wait_running(struct remote *remote, struct str id, struct err *err)
{
    int64_t end = time_monotonic_us() + WAIT_MS * 1000LL;
    int r;

    while ((r = look(remote, id, err)) == 0) {
        if (interrupted)
            return err_plain(err, "interrupted");
        if (time_monotonic_us() > end)
            return err_plain(err, STR_FMT " still does not run after %d s", STR_ARG(id), WAIT_MS / 1000);
        usleep(POLL_MS * 1000);
    }
    return r < 0 ? r : 0;
}

static int open_shell(struct remote *remote, const struct order *order, struct str id, int *ret_status, struct err *err)
{
    char *words[] = {"/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash -l; fi; exec sh -l"};
    struct shell shell = {.id = id, .words = words, .count = 3, .input = order->input, .tty = order->tty};
    int r = wait_running(remote, id, err);

    if (r == 0)
        r = shell_run(remote, &shell, ret_status, err);
    return r;
}

static int run_with_shell(struct remote *remote, const struct order *order)
{
    struct err err = ERR_INIT, end = ERR_INIT;
    struct str id;
    int status = 0, r;

    catch_interrupts();
    r = launch(remote, order, &id, &err);
    if (r < 0)
        return tell(EXIT_OURS, &err);
    r = open_shell(remote, order, id, &status, &err);
    if (r < 0)
        status = tell(EXIT_OURS, &err);
    if (terminate(remote, id, &end) < 0)
        fprintf(stderr, "haar: " STR_FMT " is still there: %s\n", STR_ARG(id), end.text);
    return status;
}

static int run_and_print(struct remote *remote, const struct order *order)
{
    struct err err = ERR_INIT;
    struct str id;

    if (launch(remote, order, &id, &err) < 0)
        return tell(1, &err);
    printf(STR_FMT "\n", STR_ARG(id));
    fflush(stdout);
    return wait_running(remote, id, &err) < 0 ? tell(1, &err) : 0;
}

int run_main(int argc, char **argv)
{
    struct remote_options where = {0};
    struct order order = {.type = S("t3.micro")};
    const struct option options[] = {{"--type", NULL, &order.type},
                                     {"--image", NULL, &order.image},
                                     {"--user-data", NULL, &order.user_data},
                                     {"--region", NULL, &where.region},
                                     {"--endpoint", NULL, &where.endpoint},
                                     {"-i", &order.input},
                                     {"-t", &order.tty},
                                     {0}};
    struct remote remote;
    struct words words;
    int status = 0;

    if (command_words(argc, argv, options, help, 0, 0, &words, &status))
        return status;
    remote_open(&remote, &where);
    status = order.input || order.tty ? run_with_shell(&remote, &order) : run_and_print(&remote, &order);
    remote_close(&remote);
    return status;
}
