#include "cli/backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "cli/settings.h"
#include "workload/native.h"
#include "workload/owner.h"

/* What a driver is made of. */
struct ground {
    const struct settings *settings;
    const struct owner *owner;
    const struct workload_sink *sink;
    struct arena *arena;
};

static void fill_network(const struct ground *ground, struct workload_native_config *config)
{
    static const enum fabric_internet internet[] = {[INTERNET_AUTO] = FABRIC_INTERNET_AUTO,
                                                    [INTERNET_ON] = FABRIC_INTERNET_ON,
                                                    [INTERNET_OFF] = FABRIC_INTERNET_OFF};
    const struct settings *settings = ground->settings;
    struct fabric_cidr *allowed = arena_array(ground->arena, struct fabric_cidr, settings->allow_hosts.count);

    for (size_t i = 0; i < settings->allow_hosts.count; i++)
        allowed[i] = (struct fabric_cidr){settings->allow_hosts.items[i].network,
                                          settings->allow_hosts.items[i].prefix};
    config->allowed_hosts = allowed;
    config->allowed_host_count = settings->allow_hosts.count;
    config->internet = internet[settings->internet];
    if (settings->public_pool.set)
        config->public_pool = (struct fabric_cidr){settings->public_pool.value.network,
                                                   settings->public_pool.value.prefix};
}

static int open_native(const struct ground *ground, struct workload_backend *ret, struct err *err)
{
    struct workload_native_config config = {.durable = ground->settings->data.p != NULL, .sink = *ground->sink};
    int r = workload_native_probe(err);

    if (r < 0)
        return r;
    if (!ground->owner)
        return err_plain(err, "/run/haar cannot be written");
    config.owner = str_of(ground->owner->id);
    config.state_dir = str_of(ground->owner->state);
    config.run_dir = str_of(ground->owner->run);
    fill_network(ground, &config);
    return workload_native_new(&config, ret, err);
}

/* err says what is missing. */
static int open_driver(enum backend_name name, const struct ground *ground, struct workload_backend *ret,
                       struct err *err)
{
    *ret = (struct workload_backend){0};
    switch (name) {
    case BACKEND_NATIVE:
        return open_native(ground, ret, err);
    case BACKEND_DOCKER:
    case BACKEND_PODMAN:
    case BACKEND_KUBERNETES:
        return err_plain(err, "the %s driver is not built yet", backend_word(name));
    case BACKEND_NONE:
    case BACKEND_AUTO:
        break;
    }
    return 0;
}

static int choose_auto(const struct ground *ground, struct backend_choice *ret)
{
    static const enum backend_name order[] = {BACKEND_NATIVE, BACKEND_DOCKER, BACKEND_PODMAN};
    struct str why = S("");

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct err err = ERR_INIT;

        if (open_driver(order[i], ground, &ret->backend, &err) == 0) {
            log_info("backend %s: the first of native, docker, podman that can run here%s" STR_FMT "%s",
                     backend_word(order[i]), why.len ? " (" : "", STR_ARG(why), why.len ? ")" : "");
            return 0;
        }
        why = arena_printf(ground->arena, STR_FMT "%s%s: %s", STR_ARG(why), why.len ? "; " : "", backend_word(order[i]),
                           err.text);
    }
    ret->backend = (struct workload_backend){0};
    ret->reason = arena_printf(ground->arena, "no backend can run here (" STR_FMT ")", STR_ARG(why));
    return 0;
}

/* Functions are not built: what would run them may only be left open. */
static int check_lambda(const struct settings *settings, struct err *err)
{
    enum backend_name name = settings->lambda_backend.value;

    if (!settings->lambda_backend.set || name == BACKEND_AUTO || name == BACKEND_NONE)
        return 0;
    return err_plain(err, "--lambda-backend %s (HAAR_LAMBDA_BACKEND): functions are not built yet; auto or none start",
                     backend_word(name));
}

/* Images beside the two built-in ones are not built yet. */
static struct str choose_image(const struct settings *settings)
{
    if (!settings->ec2_image.p || str_equal(settings->ec2_image, S("host")))
        return S("host");
    if (str_equal(settings->ec2_image, S("tiny")))
        return S("tiny");
    log_warning(
        "HAAR_EC2_IMAGE: only the built-in images host and tiny can boot so far; host boots in place of " STR_FMT,
        STR_ARG(settings->ec2_image));
    return S("host");
}

static const char *asked_by(const struct settings *settings)
{
    return settings->ec2_backend.set ? "--ec2-backend (HAAR_EC2_BACKEND)" : "--backend (HAAR_CONTAINER_BACKEND)";
}

int backend_choose(const struct settings *settings, const struct owner *owner, const struct workload_sink *sink,
                   struct arena *arena, struct backend_choice *ret, struct err *err)
{
    const struct ground ground = {settings, owner, sink, arena};
    enum backend_name name = settings_ec2_backend(settings);
    int r = check_lambda(settings, err);

    if (r < 0)
        return r;
    *ret = (struct backend_choice){.image = choose_image(settings)};
    if (name == BACKEND_AUTO)
        return choose_auto(&ground, ret);
    r = open_driver(name, &ground, &ret->backend, err);
    if (r < 0)
        return err_wrap(err, "%s %s", asked_by(settings), backend_word(name));
    if (name == BACKEND_NONE)
        ret->reason = S("backend none was asked for; leave it out, and haar looks for one that can run");
    return 0;
}
