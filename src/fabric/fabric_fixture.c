#include "fabric/fabric_fixture.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

bool able;
int host = -1;
struct fabric *fabric;
struct fabric_cidr pool;
static char parent[64], state_dir[80];

const struct fabric_rule nothing[1] = {ALL};
const struct fabric_rule only_out[1] = {ALL_OUT};
const struct fabric_rule in_80[2] = {ALL_OUT, TCP_IN(80)};
const struct fabric_rule open_rules[2] = {ALL, ALL_OUT};

void must(int r, struct err *err)
{
    if (r < 0)
        fail_msg("%s", err->text);
}

struct fabric_group group(const char *id, const struct fabric_rule *rules, size_t count)
{
    return (struct fabric_group){.id = str_of(id), .rules = rules, .count = count};
}

/* 10.0.0.0/16 with two subnets, the second without a route out. */
void describe(const char *id, bool gateway, const struct fabric_group *groups, size_t count)
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

void set_group(const char *vpc, const char *id, const struct fabric_rule *rules, size_t count)
{
    struct fabric_group to = group(id, rules, count);
    struct err err = ERR_INIT;

    must(fabric_set_group(fabric, str_of(vpc), &to, &err), &err);
}

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

void enter(int fd)
{
    assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

void make_guest(struct guest *guest)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    guest->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(guest->fd >= 0);
    enter(host);
}

void attach(struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_attach(fabric, &interface, guest->fd, &err), &err);
}

void add(struct guest *guest)
{
    make_guest(guest);
    attach(guest);
}

void set_interface(const struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_set_interface(fabric, &interface, &err), &err);
}

void drop(struct guest *guest)
{
    struct err err = ERR_INIT;

    must(fabric_detach(fabric, str_of(guest->id), &err), &err);
    fd_close(&guest->fd);
}

int socket_in(int where, int type, int protocol)
{
    int fd;

    enter(where);
    fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    assert_true(fd >= 0);
    enter(host);
    return fd;
}

struct sockaddr_in place(uint32_t address, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

int listen_in(int where, int type, uint16_t port)
{
    struct sockaddr_in at = place(0, port);
    int fd = socket_in(where, type, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_true(type != SOCK_STREAM || listen(fd, 64) == 0);
    return fd;
}

bool ready(int fd, short what)
{
    struct pollfd polled = {fd, what, 0};

    return poll(&polled, 1, WAIT_MS) > 0;
}

/* A connected socket, or -1. */
int connect_from(int where, uint32_t address, uint16_t port)
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

bool reaches(int where, uint32_t address, uint16_t port)
{
    int fd = connect_from(where, address, port);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool pings(int where, uint32_t address)
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
uint32_t accept_one(int listener, int *ret)
{
    struct sockaddr_in from;
    socklen_t size = sizeof from;

    *ret = ready(listener, POLLIN) ? accept(listener, (struct sockaddr *)&from, &size) : -1;
    return *ret >= 0 ? ntohl(from.sin_addr.s_addr) : 0;
}

bool passes(int from, int to, char c)
{
    char got = 0;

    return send(from, &c, 1, MSG_NOSIGNAL) == 1 && ready(to, POLLIN) && recv(to, &got, 1, 0) == 1 && got == c;
}

void reopen(struct fabric_config config)
{
    struct err err = ERR_INIT;

    must(fabric_close(fabric, true, &err), &err);
    config.owner = str_of(fixture_owner);
    config.state_dir = str_of(state_dir);
    fabric = fabric_new(&config);
    pool = fabric_public_pool(fabric);
}

void open_fabric(void)
{
    struct fabric_config config = {.owner = str_of(fixture_owner), .state_dir = str_of(state_dir)};

    fabric = fabric_new(&config);
    pool = fabric_public_pool(fabric);
}

void adopt(const struct guest *guest)
{
    struct fabric_address address;
    struct str id;
    struct fabric_interface interface = interface_of(guest, &address, &id);
    struct err err = ERR_INIT;

    must(fabric_adopt(fabric, &interface, &err), &err);
}

/* A test that failed leaves nothing to the next. */
int forget(void **state)
{
    if (able) {
        enter(host);
        fabric_vpc_remove(fabric, S("vpc-1"), &ERR_INIT);
        fabric_vpc_remove(fabric, S("vpc-2"), &ERR_INIT);
    }
    return 0;
}

int open_world(void **state)
{
    struct err err = ERR_INIT;

    if (geteuid() != 0 || fabric_probe(&err) < 0) {
        print_message("skipped: %s\n", err.text[0] ? err.text : "needs root");
        return 0;
    }
    able = true;
    snprintf(parent, sizeof parent, "/tmp/haar-%s", fixture_owner);
    snprintf(state_dir, sizeof state_dir, "%s/%s", parent, fixture_owner);
    assert_int_equal(dir_make(state_dir, 0700, &err), 0);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    (void)!system("ip link set lo up; ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up;"
                  "ip addr add 203.0.113.1/24 dev up0");
    open_fabric();
    return pool.prefix == 0;
}

int close_world(void **state)
{
    struct err err = ERR_INIT;

    if (!able)
        return 0;
    must(fabric_close(fabric, true, &err), &err);
    return tree_remove(AT_FDCWD, parent, &err);
}
