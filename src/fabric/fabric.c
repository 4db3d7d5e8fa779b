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
#include "fabric/namespace.h"
#include "fabric/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MTU = 9001,
    FIRST_INDEX = 16, /* of router ends; the guests' are 2 + device index */
    LOOPBACK = 1,
};

/* The router end's address on every link: each is a wire of its own between two ends, so one is enough. */
static const uint8_t router_mac[6] = {0x0a, 0x68, 0x61, 0x61, 0x72, 0x01};

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

    int home; /* the namespace that the thread rests in, so that it pins none */
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

/* Interface names hold 15 bytes: "e" and the id's last 14. */
static void name_link(struct str id, char name[IFNAMSIZ])
{
    snprintf(name, IFNAMSIZ, "e" STR_FMT, STR_ARG(str_skip(id, id.len > 14 ? id.len - 14 : 0)));
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
    netlink_link_up(&nl, LOOPBACK, NULL, "bring the VPC's loopback up");
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

static void put_pair(struct netlink *nl, const struct fabric_interface *interface, const char *link, unsigned index,
                     int guest)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make the interface's link", 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    struct nlattr *link_info, *data, *peer;
    char name[IFNAMSIZ];

    info->ifi_index = (int)index;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    mnl_attr_put(head, IFLA_ADDRESS, 6, router_mac);
    mnl_attr_put_u32(head, IFLA_MTU, MTU);
    mnl_attr_put_u32(head, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NUM_RX_QUEUES, 1);
    link_info = mnl_attr_nest_start(head, IFLA_LINKINFO);
    mnl_attr_put_strz(head, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(head, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(head, VETH_INFO_PEER);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info); /* not up: the kernel refuses a peer that is */
    info->ifi_index = (int)(2 + interface->device_index);
    snprintf(name, sizeof name, "eth%u", interface->device_index);
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    mnl_attr_put(head, IFLA_ADDRESS, 6, interface->mac);
    mnl_attr_put_u32(head, IFLA_MTU, MTU);
    mnl_attr_put_u32(head, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NUM_RX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NET_NS_FD, (uint32_t)guest);
    mnl_attr_nest_end(head, peer);
    mnl_attr_nest_end(head, data);
    mnl_attr_nest_end(head, link_info);
}

/* An ARP question for a neighbour is answered at once, not after up to 0.8 s, the default. */
static void put_proxy_delay(struct netlink *nl, unsigned index)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_SETNEIGHTBL, 0, "answer ARP without delay", 0);
    struct ndtmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    struct nlattr *parameters;

    info->ndtm_family = AF_INET;
    mnl_attr_put_strz(head, NDTA_NAME, "arp_cache");
    parameters = mnl_attr_nest_start(head, NDTA_PARMS);
    mnl_attr_put_u32(head, NDTPA_IFINDEX, index);
    mnl_attr_put_u64(head, NDTPA_PROXY_DELAY, 0);
    mnl_attr_nest_end(head, parameters);
}

static int router_end(struct fabric *fabric, const struct fabric_interface *interface, const char *link, unsigned index,
                      int guest, struct err *err)
{
    struct netlink_route route = {
        .type = RTN_UNICAST, .to = interface->address, .prefix = 32, .source = interface->gateway, .index = index};
    struct netlink nl;
    char alias[128];

    snprintf(alias, sizeof alias, "haar:%s:" STR_FMT, fabric->owner, STR_ARG(interface->id));
    netlink_begin(&nl);
    put_pair(&nl, interface, link, index, guest);
    put_proxy_delay(&nl, index);
    netlink_address(&nl, LOOPBACK, interface->gateway, 32, EEXIST);
    netlink_link_up(&nl, index, alias, "bring the router's end up");
    netlink_route(&nl, &route, 0);
    netlink_neighbour(&nl, index, interface->address, interface->mac);
    return netlink_send(&nl, err);
}

static int guest_end(const struct fabric_interface *interface, struct err *err)
{
    struct netlink_route route = {.type = RTN_UNICAST, .gateway = interface->gateway};
    unsigned index = 2 + interface->device_index;
    struct netlink nl;

    netlink_begin(&nl);
    netlink_address(&nl, index, interface->address, interface->prefix, 0);
    netlink_link_up(&nl, index, NULL, "bring the guest's end up");
    netlink_neighbour(&nl, index, interface->gateway,
                      router_mac); /* pinned: it costs no place in the shared ARP table */
    if (interface->device_index == 0)
        netlink_route(&nl, &route, 0);
    return netlink_send(&nl, err);
}

static void link_delete(const char *link, int fd)
{
    struct netlink nl;
    struct nlmsghdr *head;
    struct ifinfomsg *info;
    char answer[512];

    netlink_begin(&nl);
    head = netlink_message(&nl, RTM_DELLINK, NLM_F_ACK, "delete the link", ENODEV);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    if (send(fd, head, head->nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0)
        log_warning("fabric: delete link %s: %s", link, strerror(errno));
}

static int netlink_here(void)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static void link_delete_now(const char *link)
{
    AUTO_FD fd = netlink_here();

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
    name_link(interface->id, attached->link);
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
    name_link(interface->id, link);
    r = router_end(fabric, interface, link, vpc->next_index++, guest, err);
    if (r == -EEXIST) { /* its earlier link is still on its way out */
        link_delete_now(link);
        r = router_end(fabric, interface, link, vpc->next_index++, guest, err);
    }
    if (r == 0)
        r = namespace_enter(guest, err);
    if (r == 0)
        r = guest_end(interface, err);
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

    end->fd = netlink_here();
    snprintf(end->link, sizeof end->link, "%s", link);
    pthread_mutex_lock(&fabric->reaper_lock);
    end->next = fabric->ending;
    fabric->ending = end;
    pthread_cond_signal(&fabric->reaper_asked);
    pthread_mutex_unlock(&fabric->reaper_lock);
}

static int link_down(const char *link, struct err *err)
{
    struct netlink nl;
    struct nlmsghdr *head;
    struct ifinfomsg *info;

    netlink_begin(&nl);
    head = netlink_message(&nl, RTM_NEWLINK, 0, "take the link down", ENODEV);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    info->ifi_change = IFF_UP;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    return netlink_send(&nl, err);
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
