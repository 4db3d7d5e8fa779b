/* Requests wait in a list; the fabric's thread takes one at a time and has network.c do it. */
#include "fabric/fabric.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "fabric/hub.h"
#include "fabric/link.h"
#include "fabric/namespace.h"
#include "fabric/network.h"
#include "fabric/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum request_kind {
    OPEN,
    DESCRIBE,
    ATTACH,
    ADOPT,
    DETACH,
    SET_VPC,
    SET_GROUP,
    SET_INTERFACE,
    REMOVE_VPC,
    CLOSE,
    CLOSE_AND_REMOVE
};

struct request {
    enum request_kind kind;
    const struct fabric_config *config;
    const struct fabric_interface *interface;
    const struct fabric_vpc *vpc;
    const struct fabric_group *groups;
    size_t group_count;
    struct str id;
    int guest;
    struct err *err;
    int result;
    bool done;
    struct request *next;
};

struct fabric {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    struct request *first, **last;

    struct network network; /* the thread's own; network.home is where it rests, so that it pins no namespace */
    struct fabric_status status;
};

/* ---- whether rules can be ---- */

static void start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(thread, NULL, run, arg) != 0)
        abort(); /* at the start, as when memory is out */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct probe {
    struct err rules, arp; /* empty: they can be */
};

/* All that a VPC's rules are made of, tried in a namespace that ends with this thread. */
static void *probe_main(void *arg)
{
    struct probe *probe = arg;
    AUTO_NFT batch = NFT_BATCH_INIT;

    if (unshare(CLONE_NEWNET) < 0) {
        err_os(&probe->rules, errno, "make a network namespace");
        return NULL;
    }
    nft_begin(&batch, NFPROTO_INET, "haar_probe");
    nft_table_add(&batch);
    plan_base(&batch, (struct fabric_cidr){0xc6120000, 20});
    if (nft_send(&batch, &probe->rules) < 0)
        err_wrap(&probe->rules, "nf_tables");
    nft_begin(&batch, NFPROTO_ARP, "haar_probe");
    nft_table_add(&batch);
    plan_arp(&batch);
    if (nft_send(&batch, &probe->arp) < 0)
        err_wrap(&probe->arp, "nf_tables for ARP");
    return NULL;
}

static struct probe probe(void)
{
    struct probe found = {ERR_INIT, ERR_INIT};
    pthread_t thread;

    start_thread(&thread, probe_main, &found);
    pthread_join(thread, NULL);
    return found;
}

int fabric_probe(struct err *err)
{
    struct probe found = probe();

    if (!found.rules.text[0])
        return 0;
    *err = found.rules;
    return err->number ? -err->number : -1;
}

static int open_network(struct fabric *fabric, const struct fabric_config *config)
{
    struct network *network = &fabric->network;
    struct probe found = probe();

    network->rules = !config->no_rules && !found.rules.text[0];
    network->no_arp = found.arp.text[0];
    if (network->rules && network->no_arp)
        log_warning("a machine can fill the host's ARP table: %s", found.arp.text);
    if (network->rules) {
        network->hub = hub_new(config, network->home, network->reaper);
        hub_status(network->hub, &fabric->status);
    } else {
        snprintf(fabric->status.reason, sizeof fabric->status.reason, "%.250s",
                 config->no_rules ? config->no_rules : found.rules.text);
        snprintf(fabric->status.internet_reason, sizeof fabric->status.internet_reason, "%s", fabric->status.reason);
    }
    fabric->status.enforced = network->rules;
    return 0;
}

static int close_network(struct fabric *fabric, bool remove, struct err *err)
{
    struct network *network = &fabric->network;

    if (network->hub)
        hub_free(network->hub, remove, network->interfaces.count > 0);
    network->hub = NULL;
    network_free(network);
    return remove ? fabric_remove_owner(str_of(network->owner), err) : 0;
}

/* ---- the threads ---- */

static int serve(struct fabric *fabric, struct request *request)
{
    struct network *network = &fabric->network;

    switch (request->kind) {
    case OPEN:
        return open_network(fabric, request->config);
    case DESCRIBE:
        return network_describe(network, request->vpc, request->groups, request->group_count, request->err);
    case ATTACH:
        return network_attach(network, request->interface, request->guest, request->err);
    case ADOPT:
        return network_adopt(network, request->interface, request->err);
    case DETACH:
        return network_detach(network, request->id, request->err);
    case SET_VPC:
        return network_set_vpc(network, request->vpc, request->err);
    case SET_GROUP:
        return network_set_group(network, request->id, request->groups, request->err);
    case SET_INTERFACE:
        return network_set_interface(network, request->interface, request->err);
    case REMOVE_VPC:
        return network_remove_vpc(network, request->id, request->err);
    case CLOSE:
    case CLOSE_AND_REMOVE:
        return close_network(fabric, request->kind == CLOSE_AND_REMOVE, request->err);
    }
    return 0;
}

static void *fabric_main(void *arg)
{
    struct fabric *fabric = arg;
    bool closing = false;

    pthread_mutex_lock(&fabric->lock);
    while (!closing) {
        struct request *request;

        while (!fabric->first)
            pthread_cond_wait(&fabric->asked, &fabric->lock);
        request = fabric->first;
        fabric->first = request->next;
        if (!fabric->first)
            fabric->last = &fabric->first;
        closing = request->kind == CLOSE || request->kind == CLOSE_AND_REMOVE;
        pthread_mutex_unlock(&fabric->lock);
        request->result = serve(fabric, request);
        setns(fabric->network.home, CLONE_NEWNET);
        pthread_mutex_lock(&fabric->lock);
        request->done = true;
        pthread_cond_broadcast(&fabric->answered);
    }
    pthread_mutex_unlock(&fabric->lock);
    return NULL;
}

static int ask(struct fabric *fabric, struct request *request)
{
    pthread_mutex_lock(&fabric->lock);
    *fabric->last = request;
    fabric->last = &request->next;
    pthread_cond_signal(&fabric->asked);
    while (!request->done)
        pthread_cond_wait(&fabric->answered, &fabric->lock);
    pthread_mutex_unlock(&fabric->lock);
    return request->result;
}

static void fabric_free(struct fabric *fabric)
{
    pthread_join(fabric->thread, NULL);
    reaper_free(fabric->network.reaper);
    fd_close(&fabric->network.home);
    free(fabric);
}

struct fabric *fabric_new(const struct fabric_config *config)
{
    struct fabric *fabric = mem_alloc(sizeof *fabric);
    struct network *network = &fabric->network;

    if (!str_to_z(config->owner, network->owner, sizeof network->owner))
        abort(); /* owner ids are ours: 8 characters */
    snprintf(network->table, sizeof network->table, "haar_%s", network->owner);
    network->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    network->reaper = reaper_new();
    fabric->last = &fabric->first;
    pthread_mutex_init(&fabric->lock, NULL);
    pthread_cond_init(&fabric->asked, NULL);
    pthread_cond_init(&fabric->answered, NULL);
    start_thread(&fabric->thread, fabric_main, fabric);
    ask(fabric, &(struct request){.kind = OPEN, .config = config});
    return fabric;
}

void fabric_status(struct fabric *fabric, struct fabric_status *ret)
{
    *ret = fabric->status; /* as it was at the start: nothing changes it */
}

struct fabric_cidr fabric_public_pool(struct fabric *fabric)
{
    return fabric->status.public_pool;
}

int fabric_describe(struct fabric *fabric, const struct fabric_vpc *vpc, const struct fabric_group *groups,
                    size_t group_count, struct err *err)
{
    return ask(fabric, &(struct request){
                           .kind = DESCRIBE, .vpc = vpc, .groups = groups, .group_count = group_count, .err = err});
}

int fabric_set_vpc(struct fabric *fabric, const struct fabric_vpc *vpc, struct err *err)
{
    return ask(fabric, &(struct request){.kind = SET_VPC, .vpc = vpc, .err = err});
}

int fabric_set_group(struct fabric *fabric, struct str vpc_id, const struct fabric_group *group, struct err *err)
{
    return ask(fabric, &(struct request){.kind = SET_GROUP, .id = vpc_id, .groups = group, .err = err});
}

int fabric_set_interface(struct fabric *fabric, const struct fabric_interface *interface, struct err *err)
{
    return ask(fabric, &(struct request){.kind = SET_INTERFACE, .interface = interface, .err = err});
}

int fabric_attach(struct fabric *fabric, const struct fabric_interface *interface, int guest, struct err *err)
{
    return ask(fabric, &(struct request){.kind = ATTACH, .interface = interface, .guest = guest, .err = err});
}

int fabric_adopt(struct fabric *fabric, const struct fabric_interface *interface, struct err *err)
{
    return ask(fabric, &(struct request){.kind = ADOPT, .interface = interface, .err = err});
}

int fabric_detach(struct fabric *fabric, struct str interface_id, struct err *err)
{
    return ask(fabric, &(struct request){.kind = DETACH, .id = interface_id, .err = err});
}

int fabric_vpc_remove(struct fabric *fabric, struct str vpc_id, struct err *err)
{
    return ask(fabric, &(struct request){.kind = REMOVE_VPC, .id = vpc_id, .err = err});
}

int fabric_remove_owner(struct str owner, struct err *err)
{
    char prefix[64], name[16];
    int r;

    if (!str_to_z(owner, name, sizeof name))
        return err_plain(err, "'" STR_FMT "' is no owner", STR_ARG(str_first(owner, 32)));
    r = hub_remove_owner(name, err);
    snprintf(prefix, sizeof prefix, "haar-%s-", name);
    return namespace_remove_all(str_of(prefix), err) < 0 ? -1 : r;
}

int fabric_close(struct fabric *fabric, bool remove_all, struct err *err)
{
    int r = ask(fabric, &(struct request){.kind = remove_all ? CLOSE_AND_REMOVE : CLOSE, .err = err});

    fabric_free(fabric);
    return r;
}
