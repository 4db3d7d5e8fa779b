/*
 * The server's settings: one table of them all, each with its flag, its environment variable, the names under
 * which it is accepted too, how its value parses, and its line of help.
 *
 * A flag beats its variable, the variable beats an alias, an alias beats the default. An empty variable counts as not
 * set. A value that does not parse stops the start: the error names the flag or the variable.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

enum backend_name {
    BACKEND_AUTO,
    BACKEND_NATIVE,
    BACKEND_DOCKER,
    BACKEND_PODMAN,
    BACKEND_KUBERNETES,
    BACKEND_NONE,
};

enum internet { INTERNET_AUTO, INTERNET_ON, INTERNET_OFF };

struct str_list {
    struct str *items;
    size_t count;
};

struct cidr { /* IPv4, host order; no bits beyond the prefix */
    uint32_t network;
    unsigned prefix;
};

struct cidr_list {
    struct cidr *items;
    size_t count;
};

struct opt_cidr {
    struct cidr value;
    bool set;
};

struct opt_backend {
    enum backend_name value;
    bool set;
};

/* As given; their form has been checked. */
struct kubernetes_placing {
    struct str node_selector, tolerations, annotations;
};

/* Absent strings were not set. Views of argv and of the environment: both outlive the settings. */
struct settings {
    struct str listen;
    struct str data; /* as given: maybe relative */
    enum backend_name backend;
    struct opt_backend ec2_backend, lambda_backend;
    struct str account_id, region;
    enum internet internet;
    struct cidr_list allow_hosts;
    enum log_level log_level;
    bool remove_on_exit;
    struct opt_cidr public_pool;
    struct str ec2_image;
    bool host_image_local;
    struct str_list allowed_hosts, allowed_origins;
    struct str token;
    unsigned pretend_missing; /* a bit a feature: workload/host.h */
    struct str k8s_self_url, k8s_namespace, k8s_ecr_url, k8s_pull_secret;
    struct kubernetes_placing k8s, ec2_k8s, lambda_k8s;
};

/*
 * Reads flags (argv without the program and command; ends with argc) over `environment` ("NAME=value", ends in
 * NULL) over defaults. *settings is to be freed in any case.
 */
int settings_read(int argc, char *const *argv, char *const *environment, struct settings *settings, struct err *err);
void settings_free(struct settings *settings);

/* Variables that begin with HAAR_ but name no setting: a warning each. */
void settings_warn_unknown(char *const *environment);

/* The table as text, for `haar serve --help`. */
void settings_help(struct buf *out);

enum backend_name settings_ec2_backend(const struct settings *settings);
enum backend_name settings_lambda_backend(const struct settings *settings);
const char *backend_word(enum backend_name name);
