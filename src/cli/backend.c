#include "cli/backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "cli/settings.h"
#include "workload/native.h"
#include "workload/owner.h"

/* 0, or err says what is missing. */
static int probe(enum backend_name name, const struct owner *owner, struct err *err)
{
    int r;

    switch (name) {
    case BACKEND_NATIVE:
        r = workload_native_probe(err);
        if (r == 0 && !owner)
            r = err_plain(err, "/run/haar cannot be written");
        return r;
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

static void choose_auto(const struct owner *owner, struct arena *arena, struct backend_choice *ret)
{
    static const enum backend_name order[] = {BACKEND_NATIVE, BACKEND_DOCKER, BACKEND_PODMAN};
    struct str why = S("");

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct err err = ERR_INIT;

        if (probe(order[i], owner, &err) == 0) {
            log_info("backend %s: the first of native, docker, podman that can run here%s" STR_FMT "%s",
                     backend_word(order[i]), why.len ? " (" : "", STR_ARG(why), why.len ? ")" : "");
            ret->name = backend_word(order[i]);
            return;
        }
        why = arena_printf(arena, STR_FMT "%s%s: %s", STR_ARG(why), why.len ? "; " : "", backend_word(order[i]),
                           err.text);
    }
    ret->name = backend_word(BACKEND_NONE);
    ret->reason = arena_printf(arena, "no backend can run here (" STR_FMT ")", STR_ARG(why));
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

int backend_choose(const struct settings *settings, const struct owner *owner, struct arena *arena,
                   struct backend_choice *ret, struct err *err)
{
    enum backend_name name = settings_ec2_backend(settings);
    int r = check_lambda(settings, err);

    if (r < 0)
        return r;
    *ret = (struct backend_choice){.name = backend_word(name), .asked = true, .image = choose_image(settings)};
    if (name == BACKEND_AUTO) {
        ret->asked = false;
        choose_auto(owner, arena, ret);
        return 0;
    }
    r = probe(name, owner, err);
    if (r < 0)
        return err_wrap(err, "%s %s", asked_by(settings), backend_word(name));
    if (name == BACKEND_NONE)
        ret->reason = S("backend none was asked for; leave it out, and haar looks for one that can run");
    return 0;
}

/* Native is the one driver that is built. */
/* What the settings say of the network. `allowed` has room for allow_hosts. */
static void fill_network(const struct settings *settings, struct fabric_cidr *allowed,
                         struct workload_native_config *config)
{
    static const enum fabric_internet internet[] = {[INTERNET_AUTO] = FABRIC_INTERNET_AUTO,
                                                    [INTERNET_ON] = FABRIC_INTERNET_ON,
                                                    [INTERNET_OFF] = FABRIC_INTERNET_OFF};

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

int backend_open(const struct backend_choice *choice, const struct settings *settings, const struct owner *owner,
                 const struct workload_sink *sink, struct workload_backend *ret, struct err *err)
{
    struct workload_native_config config = {.owner = str_of(owner->id),
                                            .state_dir = str_of(owner->state),
                                            .durable = settings->data.p != NULL,
                                            .pretend_missing = settings->pretend_missing,
                                            .host_local = settings->host_image_local,
                                            .sink = *sink};
    AUTO_FREE struct fabric_cidr *allowed = mem_alloc((settings->allow_hosts.count + 1) * sizeof *allowed);

    fill_network(settings, allowed, &config);
    return workload_native_new(&config, ret, err);
}
