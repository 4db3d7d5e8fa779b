/*
 * The fabric with real packets: guests are network namespaces with sockets of this process in them, the host is a
 * namespace of its own too, so nothing of the real host is touched. Needs root.
 */
#include "fabric/fabric.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/time.h"
#include "fabric/namespace.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER "fabrtest"
#define STATE "/tmp/haar-fabric-test"

enum { HOST = 0xcb007101 /* 203.0.113.1 */, ELSEWHERE = 0xcb007102, WAIT_MS = 150 };

static bool able;
static int host = -1;
static struct fabric *fabric;
static struct fabric_cidr pool;

#define NEEDS_ABLE() \
    do {             \
        if (!able)   \
            skip();  \
    } while (0)

static void must(int r, struct err *err)
{
    if (r < 0)
        fail_msg("%s", err->text);
}

/* ---- what is told ---- */

#define ALL                    \
    {                          \
        .protocol = FABRIC_ANY \
    }
#define ALL_OUT                                \
    {                                          \
        .protocol = FABRIC_ANY, .egress = true \
    }
#define TCP_IN(port)                                \
    {                                               \
        .protocol = 6, .from = (port), .to = (port) \
    }

static const struct fabric_rule nothing[] = {ALL};
static const struct fabric_rule only_out[] = {ALL_OUT};
static const struct fabric_rule in_80[] = {ALL_OUT, TCP_IN(80)};
static const struct fabric_rule open_rules[] = {ALL, ALL_OUT};

static struct fabric_group group(const char *id, const struct fabric_rule *rules, size_t count)
{
    return (struct fabric_group){.id = str_of(id), .rules = rules, .count = count};
}

/* 10.0.0.0/16 with two subnets, the second without a route out. */
static void describe(const char *id, bool gateway, const struct fabric_group *groups, size_t count)
{
    static const struct fabric_cidr cidr = {0x0a000000, 16};
    static const struct fabric_route to_internet[] = {{{0x0a000000, 16}, FABRIC_LOCAL}, {{0, 0}, FABRIC_INTERNET}};
    static const struct fabric_route_table tables[] = {{S("rtb-1"), to_internet, 2}, {S("rtb-2"), to_internet, 1}};
    static const struct fabric_subnet subnets[] = {{S("subnet-1"), {0x0a000000, 24}, S("rtb-1")},
                                                   {S("subnet-2"), {0x0a000100, 24}, S("rtb-2")}};
    struct fabric_vpc vpc = {.id = str_of(id),
                             .cidrs = &cidr,
                             .cidr_count = 1,
                             .internet_gateway = gateway,
                             .subnets = subnets,
                             .subnet_count = 2,
                             .route_tables = tables,
                             .route_table_count = 2};
    struct err err = ERR_INIT;

    must(fabric_describe(fabric, &vpc, groups, count, &err), &err);
}

static void set_group(const char *vpc, const char *id, const struct fabric_rule *rules, size_t count)
{
    struct fabric_group to = group(id, rules, count);
    struct err err = ERR_INIT;

    must(fabric_set_group(fabric, str_of(vpc), &to, &err), &err);
}

/* ---- guests ---- */

struct guest {
    const char *id, *vpc, *group;
    uint32_t address, public;
    int fd;
};

static struct fabric_interface interface_of(const struct guest *guest, struct fabric_address *address, struct str *id)
{
    *address = (struct fabric_address){guest->address, guest->public};
    *id = str_of(guest->group);
    return (struct fabric_interface){.id = str_of(guest->id),
                                     .vpc_id = str_of(guest->vpc),
                                     .subnet_id = guest->address & 0xff00 ? S("subnet-2") : S("subnet-1"),
                                     .vpc_cidr = {0x0a000000, 16},
                                     .mac = {0x02, 0, 0, 0, (uint8_t)(guest->address >> 8), (uint8_t)guest->address},
                                     .addresses = address,
                                     .address_count = 1,
                                     .groups = id,
                                     .group_count = 1,
                                     .gateway = (guest->address & ~0xffu) | 1,
                                     .prefix = 24,
                                     .source_dest_check = true};
}

static void enter(int fd)
{
    assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

static void make_guest(struct guest *guest)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    guest->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(guest->fd >= 0);
    enter(host);
}

static void attach(struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_attach(fabric, &interface, guest->fd, &err), &err);
}

static void add(struct guest *guest)
{
    make_guest(guest);
    attach(guest);
}

static void set_interface(const struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_set_interface(fabric, &interface, &err), &err);
}

static void drop(struct guest *guest)
{
    struct err err = ERR_INIT;

    must(fabric_detach(fabric, str_of(guest->id), &err), &err);
    fd_close(&guest->fd);
}

static int socket_in(int where, int type, int protocol)
{
    int fd;

    enter(where);
    fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    assert_true(fd >= 0);
    enter(host);
    return fd;
}

static struct sockaddr_in place(uint32_t address, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

static int listen_in(int where, int type, uint16_t port)
{
    struct sockaddr_in at = place(0, port);
    int fd = socket_in(where, type, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_true(type != SOCK_STREAM || listen(fd, 64) == 0);
    return fd;
}

static bool ready(int fd, short what)
{
    struct pollfd polled = {fd, what, 0};

    return poll(&polled, 1, WAIT_MS) > 0;
}

/* A connected socket, or -1. */
static int connect_from(int where, uint32_t address, uint16_t port)
{
    struct sockaddr_in to = place(address, port);
    int fd = socket_in(where, SOCK_STREAM, 0), number = 0;
    socklen_t size = sizeof number;

    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    if (ready(fd, POLLOUT) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 && number == 0)
        return fd;
    close(fd);
    return -1;
}

static bool reaches(int where, uint32_t address, uint16_t port)
{
    int fd = connect_from(where, address, port);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool pings(int where, uint32_t address)
{
    struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {.id = 7, .sequence = 1}};
    struct sockaddr_in to = place(address, 0);
    int fd = socket_in(where, SOCK_RAW, IPPROTO_ICMP);
    bool answered = false;

    echo.checksum = (uint16_t) ~(htons(ICMP_ECHO << 8) + 7 + 1);
    sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to);
    while (!answered && ready(fd, POLLIN)) {
        char packet[256];
        ssize_t n = recv(fd, packet, sizeof packet, 0);

        answered = n >= 28 && packet[20] == ICMP_ECHOREPLY;
    }
    close(fd);
    return answered;
}

/* Who called, as the guest sees it; 0: nobody. The connection stays open in *ret. */
static uint32_t accept_one(int listener, int *ret)
{
    struct sockaddr_in from;
    socklen_t size = sizeof from;

    *ret = ready(listener, POLLIN) ? accept(listener, (struct sockaddr *)&from, &size) : -1;
    return *ret >= 0 ? ntohl(from.sin_addr.s_addr) : 0;
}

static bool passes(int from, int to, char c)
{
    char got = 0;

    return send(from, &c, 1, MSG_NOSIGNAL) == 1 && ready(to, POLLIN) && recv(to, &got, 1, 0) == 1 && got == c;
}

static void reopen(struct fabric_config config)
{
    struct err err = ERR_INIT;

    must(fabric_close(fabric, true, &err), &err);
    config.owner = S(OWNER);
    config.state_dir = S(STATE "/" OWNER);
    fabric = fabric_new(&config);
    pool = fabric_public_pool(fabric);
}

/* ---- tests ---- */

static void groups_open_what_they_say_and_revoked_ports_take_no_new_connection(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-out", 0x0a00000a, 0, -1},
                 b = {"eni-b", "vpc-1", "sg-in", 0x0a00000b, 0, -1};
    const struct fabric_group groups[] = {group("sg-out", only_out, 1), group("sg-in", in_80, 2)};
    int listener, other, held, accepted;

    NEEDS_ABLE();
    describe("vpc-1", false, groups, 2);
    add(&a);
    add(&b);
    listener = listen_in(b.fd, SOCK_STREAM, 80);
    other = listen_in(b.fd, SOCK_STREAM, 81);
    held = connect_from(a.fd, b.address, 80);
    assert_true(held >= 0);
    assert_int_equal(accept_one(listener, &accepted), a.address);
    assert_false(reaches(a.fd, b.address, 81));
    assert_false(pings(a.fd, b.address));
    set_group("vpc-1", "sg-in", only_out, 1);
    assert_false(reaches(a.fd, b.address, 80));
    assert_true(passes(held, accepted, 'x'));
    assert_true(passes(accepted, held, 'y'));
    set_group("vpc-1", "sg-in", open_rules, 2);
    assert_true(pings(a.fd, b.address));
    assert_true(reaches(a.fd, b.address, 81));
    set_group("vpc-1", "sg-out", nothing, 0);
    assert_false(reaches(a.fd, b.address, 81));
    close(held);
    close(accepted);
    close(listener);
    close(other);
    drop(&a);
    drop(&b);
}

static void a_rule_that_names_a_group_follows_its_members_through_subnets(void **state)
{
    static const struct fabric_rule from_web[] = {
        {.protocol = 6, .from = 5432, .to = 5432, .peer = FABRIC_PEER_GROUP, .group = {"sg-web", 6}}};
    struct guest web = {"eni-web", "vpc-1", "sg-web", 0x0a00000a, 0, -1};
    struct guest db = {"eni-db", "vpc-1", "sg-db", 0x0a00010b, 0, -1};
    struct guest other = {"eni-other", "vpc-1", "sg-other", 0x0a00000c, 0, -1};
    const struct fabric_group groups[] = {group("sg-web", only_out, 1), group("sg-db", from_web, 1),
                                          group("sg-other", only_out, 1)};
    int listener;

    NEEDS_ABLE();
    describe("vpc-1", false, groups, 3);
    add(&db);
    add(&web);
    add(&other);
    listener = listen_in(db.fd, SOCK_STREAM, 5432);
    assert_true(reaches(web.fd, db.address, 5432));
    assert_false(reaches(other.fd, db.address, 5432));
    other.group = "sg-web";
    set_interface(&other);
    assert_true(reaches(other.fd, db.address, 5432));
    web.group = "sg-other";
    set_interface(&web);
    assert_false(reaches(web.fd, db.address, 5432));
    close(listener);
    drop(&web);
    drop(&db);
    drop(&other);
}

static void icmp_is_allowed_by_type_and_sources_by_network(void **state)
{
    static const struct fabric_rule echo_from_a[] = {
        {.protocol = 1, .from = 8, .to = FABRIC_ANY, .ipv4 = {0x0a00000a, 32}}};
    struct guest a = {"eni-a", "vpc-1", "sg-out", 0x0a00000a, 0, -1},
                 b = {"eni-b", "vpc-1", "sg-in", 0x0a00000b, 0, -1},
                 c = {"eni-c", "vpc-1", "sg-out", 0x0a00000c, 0, -1};
    const struct fabric_group groups[] = {group("sg-out", only_out, 1), group("sg-in", echo_from_a, 1)};

    NEEDS_ABLE();
    describe("vpc-1", false, groups, 2);
    add(&a);
    add(&b);
    add(&c);
    assert_true(pings(a.fd, b.address));
    assert_false(pings(c.fd, b.address));
    drop(&a);
    drop(&b);
    drop(&c);
}

struct flood {
    int fd;
    uint32_t to;
    atomic_bool ends;
};

static void *flood_main(void *arg)
{
    struct flood *flood = arg;
    struct sockaddr_in to = place(flood->to, 9);

    while (!atomic_load(&flood->ends))
        sendto(flood->fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to);
    return NULL;
}

static void a_guest_that_allows_nothing_gets_no_packet_from_its_first_moment(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-out", 0x0a00000a, 0, -1};
    const struct fabric_group groups[] = {group("sg-out", only_out, 1), group("sg-closed", only_out, 1),
                                          group("sg-open", open_rules, 2)};
    struct flood flood = {.to = 0x0a00010b}; /* by the gateway: no ARP question delays it */
    pthread_t thread;

    NEEDS_ABLE();
    describe("vpc-1", false, groups, 3);
    add(&a);
    flood.fd = socket_in(a.fd, SOCK_DGRAM, 0);
    assert_int_equal(pthread_create(&thread, NULL, flood_main, &flood), 0);
    for (int i = 0; i < 20; i++) {
        struct guest b = {"eni-b", "vpc-1", i < 19 ? "sg-closed" : "sg-open", 0x0a00010b, 0, -1};
        char byte;
        int receiver;

        make_guest(&b);
        receiver = listen_in(b.fd, SOCK_DGRAM, 9);
        attach(&b);
        usleep(20000);
        assert_int_equal(recv(receiver, &byte, 1, 0), i < 19 ? -1 : 1);
        close(receiver);
        drop(&b);
    }
    atomic_store(&flood.ends, true);
    pthread_join(thread, NULL);
    close(flood.fd);
    drop(&a);
}

static void the_host_reaches_a_public_address_once_the_group_allows_it(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-in", 0x0a00000a, pool.network + 10, -1};
    const struct fabric_group closed = group("sg-in", only_out, 1);
    int listener, accepted;

    NEEDS_ABLE();
    describe("vpc-1", true, &closed, 1);
    add(&a);
    listener = listen_in(a.fd, SOCK_STREAM, 80);
    assert_false(reaches(host, a.public, 80));
    set_group("vpc-1", "sg-in", in_80, 2);
    assert_true(reaches(host, a.public, 80));
    assert_int_equal(accept_one(listener, &accepted), HOST);
    close(accepted);
    set_group("vpc-1", "sg-in", only_out, 1);
    assert_false(reaches(host, a.public, 80));
    set_group("vpc-1", "sg-in", in_80, 2);
    a.public = 0;
    set_interface(&a);
    assert_false(reaches(host, pool.network + 10, 80));
    a.public = pool.network + 11;
    set_interface(&a);
    assert_true(reaches(host, a.public, 80));
    describe("vpc-1", false, NULL, 0); /* the gateway detached */
    assert_false(reaches(host, a.public, 80));
    describe("vpc-1", true, NULL, 0);
    assert_true(reaches(host, a.public, 80));
    close(listener);
    drop(&a);
}

static void a_host_that_is_offline_reaches_a_public_address_too(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-in", 0x0a00000a, pool.network + 10, -1};
    struct guest b = {"eni-b", "vpc-1", "sg-in", 0x0a00000b, pool.network + 11, -1};
    const struct fabric_group group_80 = group("sg-in", in_80, 2);
    int first, second;

    NEEDS_ABLE();
    describe("vpc-1", true, &group_80, 1);
    add(&a);
    first = listen_in(a.fd, SOCK_STREAM, 80);
    assert_true(reaches(host, a.public, 80));
    (void)!system("ip addr del 203.0.113.1/24 dev up0"); /* while it serves */
    add(&b);
    second = listen_in(b.fd, SOCK_STREAM, 80);
    assert_true(reaches(host, a.public, 80));
    assert_true(reaches(host, b.public, 80));
    assert_false(reaches(a.fd, pool.network + 1, 80)); /* the host's own end stays the host's */
    (void)!system("ip addr add 203.0.113.1/24 dev up0");
    close(first);
    close(second);
    drop(&a);
    drop(&b);
    reopen((struct fabric_config){0});
    assert_true(pool.prefix > 0);
}

static void vpcs_of_one_cidr_live_side_by_side_and_meet_by_public_addresses(void **state)
{
    struct guest one = {"eni-one", "vpc-1", "sg-in", 0x0a00000a, pool.network + 20, -1};
    struct guest two = {"eni-two", "vpc-2", "sg-in", 0x0a00000a, pool.network + 21, -1};
    struct guest near = {"eni-near", "vpc-1", "sg-in", 0x0a00000b, 0, -1};
    struct guest twin = {"eni-twin", "vpc-2", "sg-in", 0x0a00000b, 0, -1};
    const struct fabric_group groups[] = {group("sg-in", in_80, 2)};
    int listeners[2], accepted[2], held[2];

    NEEDS_ABLE();
    describe("vpc-1", true, groups, 1);
    describe("vpc-2", true, groups, 1);
    add(&one);
    add(&two);
    add(&near);
    add(&twin);
    listeners[0] = listen_in(one.fd, SOCK_STREAM, 80);
    listeners[1] = listen_in(two.fd, SOCK_STREAM, 80);
    held[0] = connect_from(near.fd, 0x0a00000a, 80);
    held[1] = connect_from(twin.fd, 0x0a00000a, 80);
    assert_int_equal(accept_one(listeners[0], &accepted[0]), near.address);
    assert_int_equal(accept_one(listeners[1], &accepted[1]), twin.address);
    assert_true(passes(accepted[0], held[0], '1'));
    assert_true(passes(accepted[1], held[1], '2'));
    for (int i = 0; i < 2; i++) {
        close(held[i]);
        close(accepted[i]);
    }
    assert_true(reaches(one.fd, two.public, 80)); /* VPC to VPC: as a public address */
    assert_int_equal(accept_one(listeners[1], &accepted[1]), one.public);
    close(accepted[1]);
    assert_true(reaches(one.fd, one.public, 80));   /* and back into its own */
    assert_false(reaches(near.fd, two.public, 80)); /* without a public address there is no way out */
    close(listeners[0]);
    close(listeners[1]);
    drop(&one);
    drop(&two);
    drop(&near);
    drop(&twin);
}

static void subnets_without_a_route_out_stay_in(void **state)
{
    struct guest in = {"eni-in", "vpc-1", "sg-in", 0x0a00010a, pool.network + 30, -1};
    struct guest other = {"eni-other", "vpc-2", "sg-in", 0x0a00000a, pool.network + 31, -1};
    const struct fabric_group groups[] = {group("sg-in", in_80, 2)};
    int listener;

    NEEDS_ABLE();
    describe("vpc-1", true, groups, 1);
    describe("vpc-2", true, groups, 1);
    add(&in);
    add(&other);
    listener = listen_in(other.fd, SOCK_STREAM, 80);
    assert_false(reaches(in.fd, other.public, 80));
    in.address = 0x0a00000a; /* the same in the other subnet, by another interface */
    in.id = "eni-out";
    make_guest(&in);
    in.public = pool.network + 32;
    attach(&in);
    assert_true(reaches(in.fd, other.public, 80));
    close(listener);
    drop(&in);
    in.id = "eni-in";
    drop(&in);
    drop(&other);
}

static void guests_reach_nothing_of_the_host(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, pool.network + 40, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    int listener;

    NEEDS_ABLE();
    reopen((struct fabric_config){.internet = FABRIC_INTERNET_ON}); /* so that only what is the host's is kept away */
    describe("vpc-1", true, groups, 1);
    add(&a);
    listener = listen_in(host, SOCK_STREAM, 4566);
    assert_false(reaches(a.fd, HOST, 4566));
    assert_false(pings(a.fd, HOST));
    (void)!system("ip addr add 198.51.100.7/24 dev up0"); /* the host has moved */
    a.public ++;
    set_interface(&a);
    assert_false(reaches(a.fd, 0xc6336407, 4566));
    (void)!system("ip addr del 198.51.100.7/24 dev up0");
    assert_false(reaches(a.fd, 0xa9fea9fe, 80));   /* 169.254.169.254 */
    assert_false(reaches(a.fd, 0x0a000001, 4566)); /* its gateway answers nothing */
    assert_false(pings(a.fd, 0x0a000001));
    assert_false(pings(a.fd, 0xa9fe6401)); /* the host's end of the hub */
    assert_false(pings(a.fd, 0xa9fe6402));
    close(listener);
    drop(&a);
    reopen((struct fabric_config){0});
}

static void a_spoofed_source_goes_nowhere(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, 0, -1},
                 b = {"eni-b", "vpc-1", "sg-open", 0x0a00000b, 0, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    struct sockaddr_in from = place(0x0a00000c, 99), to = place(0x0a00000b, 9);
    int receiver, sender, one = 1;
    char byte;

    NEEDS_ABLE();
    describe("vpc-1", false, groups, 1);
    add(&a);
    add(&b);
    receiver = listen_in(b.fd, SOCK_DGRAM, 9);
    sender = socket_in(a.fd, SOCK_DGRAM, 0);
    setsockopt(sender, SOL_IP, IP_FREEBIND, &one, sizeof one);
    setsockopt(sender, SOL_IP, IP_TRANSPARENT, &one, sizeof one);
    assert_int_equal(bind(sender, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
    assert_false(ready(receiver, POLLIN));
    close(sender);
    sender = socket_in(a.fd, SOCK_DGRAM, 0);
    assert_int_equal(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
    assert_true(ready(receiver, POLLIN));
    assert_int_equal(recv(receiver, &byte, 1, 0), 1);
    close(sender);
    close(receiver);
    drop(&a);
    drop(&b);
}

/* ---- over a restart, and the end ---- */

static void open_fabric(void)
{
    struct fabric_config config = {.owner = S(OWNER), .state_dir = S(STATE "/" OWNER)};

    fabric = fabric_new(&config);
    pool = fabric_public_pool(fabric);
}

static void adopt(const struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_adopt(fabric, &interface, &err), &err);
}

static void a_later_server_takes_over_without_dropping_a_flow(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-out", 0x0a00000a, 0, -1};
    struct guest b = {"eni-b", "vpc-1", "sg-in", 0x0a00000b, pool.network + 50, -1};
    struct guest c = {"eni-c", "vpc-1", "sg-out", 0x0a00000c, 0, -1};
    const struct fabric_group groups[] = {group("sg-out", only_out, 1), group("sg-in", in_80, 2)};
    int listener, held[2], accepted[2];
    struct fabric_cidr before;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    describe("vpc-1", true, groups, 2);
    add(&a);
    add(&b);
    listener = listen_in(b.fd, SOCK_STREAM, 80);
    held[0] = connect_from(a.fd, b.address, 80);
    assert_int_equal(accept_one(listener, &accepted[0]), a.address);
    held[1] = connect_from(host, b.public, 80);
    assert_int_equal(accept_one(listener, &accepted[1]), HOST);
    before = pool;
    must(fabric_close(fabric, false, &err), &err);
    assert_true(reaches(a.fd, b.address, 80)); /* nobody is there, all goes on */
    open_fabric();
    assert_int_equal(pool.network, before.network);
    adopt(&a);
    adopt(&b);
    assert_true(reaches(host, b.public, 80));
    describe("vpc-1", true, groups, 2);
    assert_true(reaches(a.fd, b.address, 80));
    set_interface(&a);
    assert_true(reaches(a.fd, b.address, 80));
    set_interface(&b); /* the last: the rules are replaced */
    for (int i = 0; i < 2; i++) {
        assert_true(passes(held[i], accepted[i], 'x'));
        assert_true(passes(accepted[i], held[i], 'y'));
        close(held[i]);
        close(accepted[i]);
    }
    assert_true(reaches(a.fd, b.address, 80));
    assert_true(reaches(host, b.public, 80));
    add(&c);
    assert_true(reaches(c.fd, b.address, 80));
    set_group("vpc-1", "sg-in", only_out, 1);
    assert_false(reaches(host, b.public, 80));
    close(listener);
    drop(&a);
    drop(&b);
    drop(&c);
}

static void read_command(const char *command, struct buf *out)
{
    FILE *pipe = popen(command, "r");
    size_t n;

    assert_non_null(pipe);
    while ((n = fread(buf_reserve(out, 4096), 1, 4096, pipe)) > 0)
        out->len += n;
    pclose(pipe);
    buf_byte(out, '\0');
}

#define DUMP "ip -o addr; ip route show table all; ip rule; nft list ruleset; sysctl -a 2>/dev/null | grep '^net\\.'"
#define WITHOUT_OURS " | grep -v 'haar-fabrtest\\|_dad_\\|random'"

static void the_host_gets_one_link_and_one_route_and_keeps_nothing(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-in", 0x0a00000a, pool.network + 60, -1};
    const struct fabric_group groups[] = {group("sg-in", in_80, 2)};
    AUTO_BUF before = BUF_INIT, during = BUF_INIT, after = BUF_INIT;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    must(fabric_close(fabric, true, &err), &err);
    read_command("{ " DUMP "; }", &before);
    open_fabric();
    describe("vpc-1", true, groups, 1);
    add(&a);
    read_command("{ " DUMP "; }" WITHOUT_OURS, &during);
    must(fabric_close(fabric, true, &err), &err);
    read_command("{ " DUMP "; }", &after);
    assert_string_equal(before.p, after.p);
    buf_free(&before);
    before = BUF_INIT;
    read_command("{ " DUMP "; }" WITHOUT_OURS, &before);
    assert_string_equal(before.p, during.p);
    fd_close(&a.fd);
    open_fabric();
}

/* ---- beyond the host ---- */

enum { OUTSIDE = 0x08080808 };

/* A namespace behind the host's uplink, with 8.8.8.8. */
static int make_outside(void)
{
    char command[200];
    int fd;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    (void)!system("ip link set lo up; ip addr add 8.8.8.8/32 dev lo");
    enter(host);
    snprintf(command, sizeof command, "ip link set up1 netns /proc/%d/fd/%d", getpid(), fd);
    (void)!system(command);
    enter(fd);
    (void)!system("ip link set up1 up; ip addr add 203.0.113.2/24 dev up1");
    enter(host);
    (void)!system("ip route replace 8.8.8.8 via 203.0.113.2");
    return fd;
}

static char read_forwarding(void)
{
    char c = 0;
    AUTO_FD fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY | O_CLOEXEC); /* of the thread's namespace */

    return read(fd, &c, 1) == 1 ? c : 0;
}

static void the_internet_is_reached_where_the_host_forwards_and_the_switch_allows(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, 0, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    struct fabric_status status;
    int outside, listener, accepted;

    NEEDS_ABLE();
    outside = make_outside();
    listener = listen_in(outside, SOCK_STREAM, 443);
    a.public = pool.network + 70;
    for (int i = 0; i < 3; i++) {
        static const enum fabric_internet modes[] = {FABRIC_INTERNET_AUTO, FABRIC_INTERNET_ON, FABRIC_INTERNET_OFF};

        reopen((struct fabric_config){.internet = modes[i]});
        fabric_status(fabric, &status);
        assert_int_equal(status.internet, modes[i] == FABRIC_INTERNET_ON);
        assert_true(status.internet || status.internet_reason[0]);
        assert_int_equal(read_forwarding(), modes[i] == FABRIC_INTERNET_ON ? '1' : '0');
        describe("vpc-1", true, groups, 1);
        add(&a);
        assert_int_equal(reaches(a.fd, OUTSIDE, 443), status.internet);
        if (status.internet)
            assert_int_equal(accept_one(listener, &accepted), HOST);
        assert_false(reaches(a.fd, ELSEWHERE, 443)); /* a network that the host is in */
        drop(&a);
    }
    close(accepted);
    (void)!system("nft 'table ip f { chain forwards { type filter hook forward priority 0; policy drop; }; }'");
    reopen((struct fabric_config){.internet = FABRIC_INTERNET_ON});
    fabric_status(fabric, &status);
    assert_false(status.internet);
    assert_non_null(strstr(status.internet_reason, "chain forwards of table ip f"));
    (void)!system("nft delete table ip f");
    reopen((struct fabric_config){0});
    assert_int_equal(read_forwarding(), '0');
    close(listener); /* outside stays: the host's uplink ends in it */
}

static void what_allow_host_names_is_reached_and_no_more(void **state)
{
    static const struct fabric_cidr allowed = {HOST, 32};
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, 0, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    int listener;

    NEEDS_ABLE();
    reopen((struct fabric_config){.allowed_hosts = &allowed, .allowed_host_count = 1});
    a.public = pool.network + 80;
    describe("vpc-1", true, groups, 1);
    add(&a);
    listener = listen_in(host, SOCK_STREAM, 5000);
    assert_true(reaches(a.fd, HOST, 5000));
    drop(&a);
    reopen((struct fabric_config){0});
    describe("vpc-1", true, groups, 1);
    add(&a);
    assert_false(reaches(a.fd, HOST, 5000));
    close(listener);
    drop(&a);
}

static void a_host_that_cannot_filter_runs_guests_and_says_so(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-closed", 0x0a00000a, 0, -1},
                 b = {"eni-b", "vpc-1", "sg-closed", 0x0a00000b, 0, -1};
    const struct fabric_group groups[] = {group("sg-closed", nothing, 0)};
    struct fabric_status status;

    NEEDS_ABLE();
    reopen((struct fabric_config){.no_rules = "this host cannot filter packets"});
    fabric_status(fabric, &status);
    assert_false(status.enforced);
    assert_true(status.reason[0]);
    assert_int_equal(status.public_pool.prefix, 0);
    describe("vpc-1", true, groups, 1);
    add(&a);
    add(&b);
    assert_true(pings(a.fd, b.address));
    b.group = "sg-other";
    set_interface(&b);
    drop(&a);
    drop(&b);
    reopen((struct fabric_config){0});
    fabric_status(fabric, &status);
    assert_true(status.enforced);
}

static void a_dead_owner_is_removed_whole(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, 0, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    AUTO_BUF left = BUF_INIT;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    reopen((struct fabric_config){.internet = FABRIC_INTERNET_ON});
    a.public = pool.network + 90;
    describe("vpc-1", true, groups, 1);
    add(&a);
    must(fabric_close(fabric, false, &err), &err);
    enter(host);
    must(fabric_remove_owner(S(OWNER), &err), &err);
    read_command("{ ip -o link; ip route; nft list ruleset; ls /run/netns; } 2>&1 | grep fabrtest", &left);
    assert_string_equal(left.p, "");
    (void)!system("echo 0 >/proc/sys/net/ipv4/ip_forward");
    fd_close(&a.fd);
    open_fabric();
}

static void pools_of_owners_that_do_not_run_are_taken_when_no_other_is_free(void **state)
{
    char path[128], text[64];
    struct fabric_cidr first;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    first = pool;
    for (unsigned i = 0; i < 32; i++) {
        snprintf(path, sizeof path, STATE "/other%03u", i);
        must(dir_make(path, 0700, &err), &err);
        snprintf(path, sizeof path, STATE "/other%03u/pool", i);
        snprintf(text, sizeof text, "198.%u.%u.0/20\n", 18 + i / 16, i % 16 * 16);
        if (0xc6120000 + (i << 12) != first.network)
            must(file_write(AT_FDCWD, path, str_of(text), 0600, &err), &err);
    }
    reopen((struct fabric_config){0});
    assert_int_equal(pool.network, first.network); /* its own, kept */
    must(file_write(AT_FDCWD, STATE "/" OWNER "/pool", S("10.1.0.0/33"), 0600, &err), &err);
    snprintf(path, sizeof path, STATE "/other%03u/pool", (first.network - 0xc6120000) >> 12);
    must(file_write(AT_FDCWD, path, S("198.18.0.0/15"), 0600, &err), &err);
    reopen((struct fabric_config){0});
    assert_int_equal(pool.prefix, 20);
    reopen((struct fabric_config){.public_pool = {0xcb007100, 24}}); /* the host's own network */
    assert_int_equal(pool.prefix, 0);
    reopen((struct fabric_config){.public_pool = {0xc6336400, 24}});
    assert_int_equal(pool.network, 0xc6336400);
    reopen((struct fabric_config){0});
}

/* ---- figures ---- */

static int64_t since(int64_t start)
{
    return time_monotonic_us() - start;
}

static void bench(void **state)
{
    enum { MANY = 500 };
    static struct guest guests[MANY];
    static char ids[MANY][16];
    const struct fabric_group groups[] = {group("sg-in", in_80, 2), group("sg-out", only_out, 1)};
    int64_t start = 0, sum;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    describe("vpc-1", true, groups, 2);
    for (int i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "eni-%04d", i);
        guests[i] = (struct guest){ids[i],
                                   "vpc-1",
                                   "sg-in",
                                   0x0a000004 + (uint32_t)i % 250 + (i >= 250 ? 256 : 0),
                                   pool.network + 100 + (uint32_t)i,
                                   -1};
        make_guest(&guests[i]);
        if (i == 0 || i == 50 || i == 450)
            start = time_monotonic_us();
        attach(&guests[i]);
        if (i == 49 || i == 99 || i == 499)
            printf("attach %d to %d: %.2f ms each\n", i - 49, i, (double)since(start) / 50000);
    }
    sum = 0;
    for (int i = 0; i < 100; i++) {
        start = time_monotonic_us();
        set_group("vpc-1", "sg-in", i % 2 ? in_80 : open_rules, 2);
        sum += since(start);
    }
    printf("a group's change among %d: %.2f ms\n", MANY, (double)sum / 100000);
    start = time_monotonic_us();
    guests[7].group = "sg-out";
    set_interface(&guests[7]);
    printf("an interface's other group: %.2f ms\n", (double)since(start) / 1000);
    must(fabric_close(fabric, false, &err), &err);
    start = time_monotonic_us();
    open_fabric();
    for (int i = 0; i < MANY; i++)
        adopt(&guests[i]);
    printf("%d adopted: %.1f ms\n", MANY, (double)since(start) / 1000);
    describe("vpc-1", true, groups, 2);
    for (int i = 0; i < MANY; i++)
        set_interface(&guests[i]);
    printf("… and told of, their rules replaced: %.1f ms\n", (double)since(start) / 1000);
    sum = 0;
    for (int i = 0; i < MANY; i++) {
        start = time_monotonic_us();
        drop(&guests[i]);
        sum += since(start);
    }
    printf("detach: %.2f ms each\n", (double)sum / MANY / 1000);
}

/* ---- the world ---- */

/* A test that failed leaves nothing to the next. */
static int forget(void **state)
{
    if (able) {
        enter(host);
        fabric_vpc_remove(fabric, S("vpc-1"), &ERR_INIT);
        fabric_vpc_remove(fabric, S("vpc-2"), &ERR_INIT);
    }
    return 0;
}

static int open_world(void **state)
{
    struct err err = ERR_INIT;

    if (geteuid() != 0 || fabric_probe(&err) < 0) {
        print_message("skipped: %s\n", err.text[0] ? err.text : "needs root");
        return 0;
    }
    able = true;
    assert_int_equal(dir_make(STATE "/" OWNER, 0700, &err), 0);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    (void)!system("ip link set lo up; ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up;"
                  "ip addr add 203.0.113.1/24 dev up0");
    open_fabric();
    return pool.prefix == 0;
}

static int close_world(void **state)
{
    struct err err = ERR_INIT;

    if (!able)
        return 0;
    must(fabric_close(fabric, true, &err), &err);
    return tree_remove(AT_FDCWD, STATE, &err);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_teardown(groups_open_what_they_say_and_revoked_ports_take_no_new_connection, forget),
        cmocka_unit_test_teardown(a_rule_that_names_a_group_follows_its_members_through_subnets, forget),
        cmocka_unit_test_teardown(icmp_is_allowed_by_type_and_sources_by_network, forget),
        cmocka_unit_test_teardown(a_guest_that_allows_nothing_gets_no_packet_from_its_first_moment, forget),
        cmocka_unit_test_teardown(the_host_reaches_a_public_address_once_the_group_allows_it, forget),
        cmocka_unit_test_teardown(a_host_that_is_offline_reaches_a_public_address_too, forget),
        cmocka_unit_test_teardown(vpcs_of_one_cidr_live_side_by_side_and_meet_by_public_addresses, forget),
        cmocka_unit_test_teardown(subnets_without_a_route_out_stay_in, forget),
        cmocka_unit_test_teardown(guests_reach_nothing_of_the_host, forget),
        cmocka_unit_test_teardown(a_spoofed_source_goes_nowhere, forget),
        cmocka_unit_test_teardown(a_later_server_takes_over_without_dropping_a_flow, forget),
        cmocka_unit_test_teardown(the_host_gets_one_link_and_one_route_and_keeps_nothing, forget),
        cmocka_unit_test_teardown(the_internet_is_reached_where_the_host_forwards_and_the_switch_allows, forget),
        cmocka_unit_test_teardown(what_allow_host_names_is_reached_and_no_more, forget),
        cmocka_unit_test_teardown(a_host_that_cannot_filter_runs_guests_and_says_so, forget),
        cmocka_unit_test_teardown(a_dead_owner_is_removed_whole, forget),
        cmocka_unit_test_teardown(pools_of_owners_that_do_not_run_are_taken_when_no_other_is_free, forget),
    };
    const struct CMUnitTest figures[] = {cmocka_unit_test(bench)};

    if (argc > 1 && strcmp(argv[1], "bench") == 0)
        return cmocka_run_group_tests(figures, open_world, close_world);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(all, open_world, close_world);
}
