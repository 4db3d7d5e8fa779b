/*
 * Requests wait in a list; the fabric's thread takes one at a time. Two shapes are sent per interface: one batch in the
 * VPC's namespace (the pair itself, its routes), one in the guest's (address, default route).
 *
 * Deleting a link takes the kernel 17 ms, so a second thread does that, over a socket that was opened in the right
 * namespace.
 */
#include "fabric/fabric.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "fabric/link.h"
#include "fabric/namespace.h"
#include "fabric/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_INDEX = 16 };

struct vpc {
    char *id;
    int fd; /* its namespace */
    unsigned next_index;
    unsigned interfaces;
};

struct attached {
    char *id;
    struct vpc *vpc;
    char link[IFNAMSIZ];
};

enum request_kind { ATTACH, ADOPT, DETACH, REMOVE_VPC, CLOSE, CLOSE_AND_REMOVE };

struct request {
    enum request_kind kind;
    const struct fabric_interface *interface;
    struct str id;
    int guest;
    struct err *err;
    int result;
    bool done;
    struct request *next;
};

struct link_end {
    int fd; /* netlink socket in its namespace */
    char link[IFNAMSIZ];
    struct link_end *next;
};

struct fabric {
    char owner[16];
    pthread_t thread, reaper;
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    struct request *first, **last;

    int home;                    /* the namespace that the thread rests in, so that it pins none */
    struct map vpcs, interfaces; /* the thread's own */

    pthread_mutex_t reaper_lock;
    pthread_cond_t reaper_asked;
    struct link_end *ending;
    bool reaper_ends;
};

static void name_namespace(const struct fabric *fabric, struct str vpc_id, char name[64])
{
    snprintf(name, 64, "haar-%s-" STR_FMT, fabric->owner, STR_ARG(str_first(vpc_id, 32)));
}

static bool parse_cidr(struct str cidr, uint32_t *ret_address, unsigned *ret_prefix)
{
    struct str address = str_cut(&cidr, '/');
    struct in_addr in;
    int64_t prefix;
    char z[32];

    if (!str_to_z(address, z, sizeof z) || inet_pton(AF_INET, z, &in) != 1 || !cidr.p || !str_to_int(cidr, &prefix) ||
        prefix < 0 || prefix > 32)
        return false;
    *ret_address = ntohl(in.s_addr);
    *ret_prefix = (unsigned)prefix;
    return true;
}

/* ---- a VPC ---- */

/* Before any link is made: `default` is what links inherit. */
static const struct {
    const char *path, *value;
} settings[] = {
    {"ipv4/ip_forward", "1"},
    {"ipv6/conf/all/forwarding", "1"},
    {"ipv4/conf/all/rp_filter", "0"},
    {"ipv4/conf/default/rp_filter", "0"},
    {"ipv4/conf/all/send_redirects", "0"},
    {"ipv4/conf/default/send_redirects", "0"},
    {"ipv4/conf/default/proxy_arp", "1"},
    {"ipv6/conf/default/accept_dad", "0"},
    {"ipv6/conf/default/accept_ra", "0"},
    {"ipv6/conf/default/addr_gen_mode", "1"},
    {"netfilter/nf_conntrack_acct", "1"},
    {"netfilter/nf_conntrack_timestamp", "1"},
    {"netfilter/nf_conntrack_tcp_loose", "0"},
};

/* In the new namespace. What no interface has goes nowhere, silently, as in AWS. */
static int furnish(struct str cidr, struct err *err)
{
    struct netlink_route blackhole = {.type = RTN_BLACKHOLE};
    struct netlink nl;
    int r = 0;

    if (!parse_cidr(cidr, &blackhole.to, &blackhole.prefix))
        return err_plain(err, "'" STR_FMT "' is no CIDR", STR_ARG(cidr));
    for (size_t i = 0; i < ARRAY_LEN(settings) && r == 0; i++)
        r = namespace_set(settings[i].path, settings[i].value, err);
    if (r < 0)
        return r;
    netlink_begin(&nl);
    netlink_link_up(&nl, LINK_LOOPBACK, NULL, "bring the VPC's loopback up");
    netlink_route(&nl, &blackhole, 0);
    netlink_route(&nl, &(struct netlink_route){.type = RTN_BLACKHOLE}, EEXIST);
    return netlink_send(&nl, err);
}

/* Behind the highest index in use: an earlier server's links are in it. */
static unsigned first_free_index(void)
{
    struct if_nameindex *links = if_nameindex();
    unsigned next = FIRST_INDEX;

    for (struct if_nameindex *at = links; at && at->if_index; at++)
        next = at->if_index >= next ? at->if_index + 1 : next;
    if (links)
        if_freenameindex(links);
    return next;
}

static struct vpc *vpc_add(struct fabric *fabric, struct str id, int fd)
{
    struct vpc *vpc = mem_alloc(sizeof *vpc);

    vpc->id = mem_printf(STR_FMT, STR_ARG(id));
    vpc->fd = fd;
    vpc->next_index = first_free_index();
    map_put(&fabric->vpcs, str_of(vpc->id), vpc);
    return vpc;
}

/* Enters it, making it when there is none. */
static int vpc_enter(struct fabric *fabric, const struct fabric_interface *interface, struct vpc **ret_vpc,
                     struct err *err)
{
    struct vpc *vpc = map_get(&fabric->vpcs, interface->vpc_id);
    char name[64];
    int fd, r;

    if (vpc) {
        *ret_vpc = vpc;
        return namespace_enter(vpc->fd, err);
    }
    name_namespace(fabric, interface->vpc_id, name);
    fd = namespace_open(name, err);
    if (fd >= 0) {
        r = namespace_enter(fd, err);
    } else {
        fd = namespace_make(name, err);
        r = fd < 0 ? fd : furnish(interface->vpc_cidr, err);
        if (r < 0 && fd >= 0)
            namespace_remove(name, &ERR_INIT);
    }
    if (r < 0) {
        fd_close(&fd);
        return r;
    }
    *ret_vpc = vpc_add(fabric, interface->vpc_id, fd);
    return 0;
}

static int vpc_end(struct fabric *fabric, struct vpc *vpc, struct err *err)
{
    char name[64];

    name_namespace(fabric, str_of(vpc->id), name);
    map_remove(&fabric->vpcs, str_of(vpc->id));
    close(vpc->fd);
    free(vpc->id);
    free(vpc);
    return namespace_remove(name, err);
}

/* ---- an interface ---- */

static void link_delete_now(const char *link)
{
    AUTO_FD fd = link_socket();

    if (fd >= 0)
        link_delete(link, fd);
}

static void note_attached(struct fabric *fabric, const struct fabric_interface *interface, struct vpc *vpc)
{
    struct attached *attached;

    if (map_get(&fabric->interfaces, interface->id))
        return;
    attached = mem_alloc(sizeof *attached);
    attached->id = mem_printf(STR_FMT, STR_ARG(interface->id));
    attached->vpc = vpc;
    link_name(interface->id, attached->link);
    vpc->interfaces++;
    map_put(&fabric->interfaces, str_of(attached->id), attached);
}

static int attach(struct fabric *fabric, const struct fabric_interface *interface, int guest, struct err *err)
{
    struct vpc *vpc;
    char link[IFNAMSIZ];
    int r = vpc_enter(fabric, interface, &vpc, err);

    if (r < 0)
        return r;
    link_name(interface->id, link);
    r = link_router_end(fabric->owner, interface, link, vpc->next_index++, guest, err);
    if (r == -EEXIST) { /* its earlier link is still on its way out */
        link_delete_now(link);
        r = link_router_end(fabric->owner, interface, link, vpc->next_index++, guest, err);
    }
    if (r == 0)
        r = namespace_enter(guest, err);
    if (r == 0)
        r = link_guest_end(interface, err);
    if (r < 0) {
        if (namespace_enter(vpc->fd, &ERR_INIT) == 0)
            link_delete_now(link);
        if (vpc->interfaces == 0)
            vpc_end(fabric, vpc, &ERR_INIT);
        return err_wrap(err, "attach " STR_FMT, STR_ARG(interface->id));
    }
    note_attached(fabric, interface, vpc);
    return 0;
}

static int adopt(struct fabric *fabric, const struct fabric_interface *interface, struct err *err)
{
    struct vpc *vpc;
    int r = vpc_enter(fabric, interface, &vpc, err);

    if (r == 0)
        note_attached(fabric, interface, vpc);
    return r;
}

static void end_later(struct fabric *fabric, const char *link)
{
    struct link_end *end = mem_alloc(sizeof *end);

    end->fd = link_socket();
    snprintf(end->link, sizeof end->link, "%s", link);
    pthread_mutex_lock(&fabric->reaper_lock);
    end->next = fabric->ending;
    fabric->ending = end;
    pthread_cond_signal(&fabric->reaper_asked);
    pthread_mutex_unlock(&fabric->reaper_lock);
}

static int detach(struct fabric *fabric, struct str id, struct err *err)
{
    struct attached *attached = map_remove(&fabric->interfaces, id);
    struct vpc *vpc = attached ? attached->vpc : NULL;
    int r;

    if (!attached)
        return 0;
    r = namespace_enter(vpc->fd, err);
    if (r == 0)
        r = link_down(attached->link, err);
    if (r == 0)
        end_later(fabric, attached->link);
    free(attached->id);
    free(attached);
    if (--vpc->interfaces == 0)
        return vpc_end(fabric, vpc, err);
    return r;
}

static int remove_vpc(struct fabric *fabric, struct str id, struct err *err)
{
    struct vpc *vpc = map_get(&fabric->vpcs, id);

    if (vpc) {
        for (struct map_slot *at = NULL; (at = map_next(&fabric->interfaces, at));) {
            struct attached *attached = at->value;

            if (attached->vpc != vpc)
                continue;
            map_remove(&fabric->interfaces, at->key);
            free(attached->id);
            free(attached);
            at = NULL; /* removal moves slots: from the start again */
        }
        return vpc_end(fabric, vpc, err);
    }
    return 0;
}

/* ---- the threads ---- */

static int serve(struct fabric *fabric, struct request *request)
{
    switch (request->kind) {
    case ATTACH:
        return attach(fabric, request->interface, request->guest, request->err);
    case ADOPT:
        return adopt(fabric, request->interface, request->err);
    case DETACH:
        return detach(fabric, request->id, request->err);
    case REMOVE_VPC:
        return remove_vpc(fabric, request->id, request->err);
    case CLOSE_AND_REMOVE:
        return fabric_remove_owner(str_of(fabric->owner), request->err);
    case CLOSE:
        return 0;
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
        setns(fabric->home, CLONE_NEWNET);
        pthread_mutex_lock(&fabric->lock);
        request->done = true;
        pthread_cond_broadcast(&fabric->answered);
    }
    pthread_mutex_unlock(&fabric->lock);
    return NULL;
}

static void *reaper_main(void *arg)
{
    struct fabric *fabric = arg;

    pthread_mutex_lock(&fabric->reaper_lock);
    for (;;) {
        struct link_end *end = fabric->ending;

        if (!end && fabric->reaper_ends)
            break;
        if (!end) {
            pthread_cond_wait(&fabric->reaper_asked, &fabric->reaper_lock);
            continue;
        }
        fabric->ending = end->next;
        pthread_mutex_unlock(&fabric->reaper_lock);
        if (end->fd >= 0)
            link_delete(end->link, end->fd);
        fd_close(&end->fd);
        free(end);
        pthread_mutex_lock(&fabric->reaper_lock);
    }
    pthread_mutex_unlock(&fabric->reaper_lock);
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

static void start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(thread, NULL, run, arg) != 0)
        abort(); /* at the start, as when memory is out */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct fabric *fabric_new(struct str owner)
{
    struct fabric *fabric = mem_alloc(sizeof *fabric);

    if (!str_to_z(owner, fabric->owner, sizeof fabric->owner))
        abort(); /* owner ids are ours: 8 characters */
    fabric->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    fabric->last = &fabric->first;
    pthread_mutex_init(&fabric->lock, NULL);
    pthread_mutex_init(&fabric->reaper_lock, NULL);
    pthread_cond_init(&fabric->asked, NULL);
    pthread_cond_init(&fabric->answered, NULL);
    pthread_cond_init(&fabric->reaper_asked, NULL);
    start_thread(&fabric->thread, fabric_main, fabric);
    start_thread(&fabric->reaper, reaper_main, fabric);
    return fabric;
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
    char prefix[64];

    snprintf(prefix, sizeof prefix, "haar-" STR_FMT "-", STR_ARG(owner));
    return namespace_remove_all(str_of(prefix), err);
}

int fabric_close(struct fabric *fabric, bool remove_all, struct err *err)
{
    int r = ask(fabric, &(struct request){.kind = remove_all ? CLOSE_AND_REMOVE : CLOSE, .err = err});

    pthread_join(fabric->thread, NULL);
    pthread_mutex_lock(&fabric->reaper_lock);
    fabric->reaper_ends = true;
    pthread_cond_signal(&fabric->reaper_asked);
    pthread_mutex_unlock(&fabric->reaper_lock);
    pthread_join(fabric->reaper, NULL);
    for (struct map_slot *at = NULL; (at = map_next(&fabric->interfaces, at));) {
        free(((struct attached *)at->value)->id);
        free(at->value);
    }
    for (struct map_slot *at = NULL; (at = map_next(&fabric->vpcs, at));) {
        struct vpc *vpc = at->value;

        close(vpc->fd);
        free(vpc->id);
        free(vpc);
    }
    map_free(&fabric->interfaces);
    map_free(&fabric->vpcs);
    fd_close(&fabric->home);
    free(fabric);
    return r;
}
