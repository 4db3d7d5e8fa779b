#include "cli/settings.h"

#include "base/mem.h"
#include "cli/setting_value.h"

#include <stdlib.h>

enum {
    SETTING_SWITCH = 1, /* a flag without value */
    SETTING_LATER = 2,  /* what it is for is not built yet: said in help, and when it is set */
};

struct setting {
    const char *flag, *variable, *alias; /* NULL: none */
    const char *value;                   /* in help: "ADDR:PORT" */
    setting_parser *parse;
    size_t offset;
    unsigned how;
    const char *right; /* what a value should be: ends "'x' is not …" */
    const char *help;  /* NULL: grouped with the one before it */
};

#define AT(member) offsetof(struct settings, member)

#define BACKENDS "auto, native, docker, podman, kubernetes (k8s) or none"
#define MAP "key=value pairs between commas, or a JSON object of strings"
#define TOLERATIONS "a JSON list of tolerations"

#define PLACING(prefix, member)                                                                                 \
    {NULL,                                                                                                      \
     "HAAR_" prefix "K8S_NODE_SELECTOR",                                                                        \
     "FAKECLOUD_" prefix "K8S_NODE_SELECTOR",                                                                   \
     "MAP",                                                                                                     \
     value_string_map,                                                                                          \
     AT(member.node_selector),                                                                                  \
     SETTING_LATER,                                                                                             \
     MAP,                                                                                                       \
     "nodes that may run its Pods"},                                                                            \
        {NULL,                                                                                                  \
         "HAAR_" prefix "K8S_TOLERATIONS",                                                                      \
         "FAKECLOUD_" prefix "K8S_TOLERATIONS",                                                                 \
         "JSON",                                                                                                \
         value_tolerations,                                                                                     \
         AT(member.tolerations),                                                                                \
         SETTING_LATER,                                                                                         \
         TOLERATIONS,                                                                                           \
         "its Pods' tolerations"},                                                                              \
    {                                                                                                           \
        NULL, "HAAR_" prefix "K8S_ANNOTATIONS", "FAKECLOUD_" prefix "K8S_ANNOTATIONS", "MAP", value_string_map, \
            AT(member.annotations), SETTING_LATER, MAP, "its Pods' annotations"                                 \
    }

static const struct setting table[] = {
    {"--listen", "HAAR_LISTEN", NULL, "ADDR:PORT", value_listen, AT(listen), 0,
     "an address and port such as 127.0.0.1:4566 or [::1]:4566", "where to answer (127.0.0.1:4566; port 0: any free)"},
    {"--data", "HAAR_DATA", NULL, "DIR", value_path, AT(data), 0, "a folder's path",
     "keep state in DIR, and find it and the machines again at the next start (in memory)"},
    {"--backend", "HAAR_CONTAINER_BACKEND", "FAKECLOUD_CONTAINER_BACKEND", "NAME", value_backend, AT(backend), 0,
     BACKENDS, "what machines and functions run on: auto, native, docker, podman, kubernetes, none (auto)"},
    {"--ec2-backend", "HAAR_EC2_BACKEND", "FAKECLOUD_EC2_BACKEND", "NAME", value_opt_backend, AT(ec2_backend), 0,
     BACKENDS, "the same, for machines only"},
    {"--lambda-backend", "HAAR_LAMBDA_BACKEND", "FAKECLOUD_LAMBDA_BACKEND", "NAME", value_opt_backend,
     AT(lambda_backend), 0, BACKENDS, "the same, for functions only"},
    {"--account-id", "HAAR_ACCOUNT_ID", "FAKECLOUD_ACCOUNT_ID", "N", value_account, AT(account_id), 0,
     "an account id of 12 digits", "the account of a caller whose access key is not an account id (000000000000)"},
    {"--region", "HAAR_REGION", "FAKECLOUD_REGION", "REGION", value_region, AT(region), 0,
     "a region of AWS such as us-east-1", "the region of a caller that names none (us-east-1)"},
    {"--internet", "HAAR_INTERNET", NULL, "WHEN", value_internet, AT(internet), 0, "auto, on or off",
     "may machines reach beyond this host: auto (where it forwards already), on, off"},
    {"--allow-host", "HAAR_ALLOW_HOST", NULL, "CIDR", value_cidr_list, AT(allow_hosts), 0,
     "an IPv4 network such as 10.1.0.0/16", "let machines reach this network of the host's; may be repeated"},
    {"--log-level", "HAAR_LOG_LEVEL", NULL, "LEVEL", value_log_level, AT(log_level), 0, "error, warning, info or debug",
     "how much to tell on standard error: error, warning, info, debug (info)"},
    {"--remove-on-exit", "HAAR_REMOVE_ON_EXIT", NULL, NULL, value_switch, AT(remove_on_exit), SETTING_SWITCH,
     "true or false", "remove every machine at the end, with --data too (without it they always are)"},
    {NULL, "HAAR_EC2_IMAGE", "FAKECLOUD_EC2_DEFAULT_IMAGE", "IMAGE", value_text, AT(ec2_image), 0,
     "an image's name, without blanks",
     "what machines boot, of unknown AMIs too: host or tiny (host; unknown AMIs refused)"},
    {NULL, "HAAR_HOST_IMAGE_LOCAL", NULL, "WHETHER", value_switch, AT(host_image_local), 0, "true or false",
     "whether the image host shows this host's /usr/local, the administrator's own (false)"},
    {NULL, "HAAR_PUBLIC_POOL", NULL, "CIDR", value_opt_cidr, AT(public_pool), 0,
     "an IPv4 network such as 198.18.0.0/20", "where public addresses come from (a free /20 of 198.18.0.0/15)"},
    {NULL, "HAAR_ALLOWED_HOSTS", NULL, "NAMES", value_host_list, AT(allowed_hosts), 0,
     "host names between commas, such as haar.internal,*.example.org", "names that requests may call this server by"},
    {NULL, "HAAR_ALLOWED_ORIGINS", NULL, "ORIGINS", value_origin_list, AT(allowed_origins), 0,
     "origins between commas, such as https://app.example.org", "web pages that may call this server"},
    {NULL, "HAAR_TOKEN", NULL, "TOKEN", value_token, AT(token), 0,
     "a token of 8 to 256 printable characters without blanks", "what exec and logs must show (a random one)"},
    {NULL, "HAAR_PRETEND_MISSING", NULL, "FEATURES", value_host_features, AT(pretend_missing), 0,
     "names between commas, as \"lacks\" of /_haar/health has them",
     "for tests: what of this host to do without (packet-filter …)"},
    {NULL, "HAAR_K8S_SELF_URL", "FAKECLOUD_K8S_SELF_URL", "URL", value_url, AT(k8s_self_url), SETTING_LATER,
     "a URL such as http://haar.tools:4566", "how Pods reach this server"},
    {NULL, "HAAR_K8S_NAMESPACE", "FAKECLOUD_K8S_NAMESPACE", "NAME", value_dns_label, AT(k8s_namespace), SETTING_LATER,
     "a namespace's name (lower-case letters, digits, -)", "the namespace of its Pods"},
    {NULL, "HAAR_K8S_ECR_URL", "FAKECLOUD_K8S_ECR_URL", "URL", value_registry, AT(k8s_ecr_url), SETTING_LATER,
     "a registry such as registry.tools:5000 or https://registry.tools", "where nodes pull images of ECR from"},
    {NULL, "HAAR_K8S_PULL_SECRET", "FAKECLOUD_K8S_PULL_SECRET", "NAME", value_dns_name, AT(k8s_pull_secret),
     SETTING_LATER, "a secret's name (lower-case letters, digits, - and .)", "the secret that they pull with"},
    PLACING("", k8s),
    PLACING("EC2_", ec2_k8s),
    PLACING("LAMBDA_", lambda_k8s),
};

static struct str variable(char *const *environment, const char *name)
{
    size_t len = strlen(name);

    for (; *environment; environment++)
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return str_of(*environment + len + 1);
    return (struct str){0};
}

/* What it says has been refused: with its name, and never a secret. */
static int refuse(const struct setting *setting, const char *name, struct str text, struct err *err)
{
    if (setting->parse == value_token)
        return err_plain(err, "%s is not %s", name, setting->right);
    return err_plain(err, "%s: '" STR_FMT "' is not %s", name, STR_ARG(str_first(text, 200)), setting->right);
}

static int set(const struct setting *setting, const char *name, struct str text, struct settings *settings,
               struct err *err)
{
    if (!setting->parse(text, (char *)settings + setting->offset))
        return refuse(setting, name, text, err);
    if (setting->how & SETTING_LATER)
        log_warning("%s is accepted, but what it is for is not built yet", name);
    return 0;
}

static int read_environment(char *const *environment, const bool *from_flag, struct settings *settings, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *names[] = {table[i].variable, table[i].alias};

        for (size_t n = 0; n < ARRAY_LEN(names) && !from_flag[i] && names[n]; n++) {
            struct str text = variable(environment, names[n]);

            if (!text.len)
                continue;
            if (set(&table[i], names[n], text, settings, err) < 0)
                return -1;
            break;
        }
    }
    return 0;
}

static const struct setting *find_flag(struct str flag)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].flag && str_equal(str_of(table[i].flag), flag))
            return &table[i];
    return NULL;
}

/* One flag, maybe with its value in the next word: --name value, or --name=value. Returns words taken. */
static int read_flag(char *const *argv, int left, bool *from_flag, struct settings *settings, struct err *err)
{
    struct str value = str_of(argv[0]), flag = str_cut(&value, '=');
    const struct setting *setting = find_flag(flag);

    if (!str_starts(flag, S("-")))
        return err_plain(err, "serve takes no '" STR_FMT "'; see haar serve --help", STR_ARG(flag));
    if (!setting)
        return err_plain(err, "there is no flag " STR_FMT "; see haar serve --help", STR_ARG(flag));
    from_flag[setting - table] = true;
    if (setting->how & SETTING_SWITCH)
        return set(setting, setting->flag, value.p ? value : S("true"), settings, err) < 0 ? -1 : 1;
    if (!value.p && left < 2)
        return err_plain(err, "%s needs a value: %s", setting->flag, setting->right);
    if (value.p)
        return set(setting, setting->flag, value, settings, err) < 0 ? -1 : 1;
    return set(setting, setting->flag, str_of(argv[1]), settings, err) < 0 ? -1 : 2;
}

static void set_defaults(struct settings *settings)
{
    *settings = (struct settings){.listen = S("127.0.0.1:4566"),
                                  .account_id = S("000000000000"),
                                  .region = S("us-east-1"),
                                  .log_level = LOG_INFO};
}

int settings_read(int argc, char *const *argv, char *const *environment, struct settings *settings, struct err *err)
{
    bool from_flag[ARRAY_LEN(table)] = {false};

    set_defaults(settings);
    for (int i = 0; i < argc;) {
        int taken = read_flag(argv + i, argc - i, from_flag, settings, err);

        if (taken < 0)
            return taken;
        i += taken;
    }
    return read_environment(environment, from_flag, settings, err);
}

void settings_free(struct settings *settings)
{
    free(settings->allow_hosts.items);
    free(settings->allowed_hosts.items);
    free(settings->allowed_origins.items);
}

static bool is_known(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_equal(name, str_of(table[i].variable)))
            return true;
    return str_equal(name, S("HAAR_ENDPOINT")); /* the other commands' */
}

void settings_warn_unknown(char *const *environment)
{
    for (; *environment; environment++) {
        struct str rest = str_of(*environment), name = str_cut(&rest, '=');

        if (str_starts(name, S("HAAR_")) && !is_known(name))
            log_warning(STR_FMT " is set, but there is no such setting; see haar serve --help", STR_ARG(name));
    }
}

static const char *later(const struct setting *setting)
{
    return setting->how & SETTING_LATER ? " [not built yet]" : "";
}

void settings_help(struct buf *out)
{
    char left[64];

    buf_printf(out,
               "Flags, each with the environment variable that stands for it; in parentheses what holds without:\n");
    for (size_t i = 0; i < ARRAY_LEN(table) && table[i].flag; i++) {
        snprintf(left, sizeof left, "%s%s%s", table[i].flag, table[i].value ? " " : "",
                 table[i].value ? table[i].value : "");
        buf_printf(out, "  %-23s %s%s\n  %-23s %s\n", left, table[i].help, later(&table[i]), "", table[i].variable);
    }
    buf_printf(out, "\nVariables only:\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (!table[i].flag)
            buf_printf(out, "  %-30s %s%s\n", table[i].variable, table[i].help, later(&table[i]));
}

enum backend_name settings_ec2_backend(const struct settings *settings)
{
    return settings->ec2_backend.set ? settings->ec2_backend.value : settings->backend;
}

enum backend_name settings_lambda_backend(const struct settings *settings)
{
    return settings->lambda_backend.set ? settings->lambda_backend.value : settings->backend;
}
