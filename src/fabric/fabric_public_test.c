/* What a guest reaches beyond its VPC, and who reaches it from there: the host, other VPCs, the internet. */
#include "fabric/fabric_fixture.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *fixture_owner = "fabrpubl";

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

/* ---- beyond the host ---- */

enum { OUTSIDE = 0x08080808 };

/* A namespace behind the host's uplink, with 8.8.8.8. Made once: the uplink ends in it. */
static int make_outside(void)
{
    static int made = -1;
    char command[200];
    int fd;

    if (made >= 0)
        return made;
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
    made = fd;
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
    close(listener);
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

/* ---- the hub's table of flows ---- */

/* A way beyond the host, whoever is there. */
static void reopen_with_internet(void)
{
    (void)!system("ip route replace 8.8.8.8 via 203.0.113.2");
    reopen((struct fabric_config){.internet = FABRIC_INTERNET_ON});
}

static void enter_named(const char *what)
{
    char path[64];
    AUTO_FD fd = -1;

    snprintf(path, sizeof path, "/run/netns/haar-%s-%s", fixture_owner, what);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    enter(fd);
}

static int read_number(const char *path)
{
    char text[16] = "";
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    return atoi(text);
}

/* That the kernel tracks in the namespace that the thread is in. */
static int flows_here(void)
{
    return read_number("/proc/sys/net/netfilter/nf_conntrack_count");
}

/* … in the hub, or in a VPC. */
static int flows_in(const char *what)
{
    int count;

    enter_named(what);
    count = flows_here();
    enter(host);
    return count;
}

enum { FLOOD = 5000 };

/* A datagram each from `count` ports of its own, the first ones after `from`. */
static void flood_from(int where, uint32_t address, unsigned from, unsigned count)
{
    struct sockaddr_in to = place(address, 0);
    int fd = socket_in(where, SOCK_RAW, IPPROTO_UDP);

    for (unsigned i = 0; i < count; i++) {
        uint16_t datagram[4] = {htons((uint16_t)(from + i)), htons(9), htons(8), 0};

        while (sendto(fd, datagram, sizeof datagram, 0, (struct sockaddr *)&to, sizeof to) < 0)
            assert_true(ready(fd, POLLOUT));
    }
    close(fd);
}

static void flood(int where, uint32_t address)
{
    flood_from(where, address, 1024, FLOOD);
}

static void flows_between_accounts_and_to_the_internet_take_no_place_in_the_hub(void **state)
{
    struct guest one = {"eni-one", "vpc-1", "sg-open", 0x0a00000a, pool.network + 20, -1};
    struct guest two = {"eni-two", "vpc-2", "sg-open", 0x0a00000a, pool.network + 21, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    int listener, before;

    NEEDS_ABLE();
    reopen_with_internet();
    describe("vpc-1", true, groups, 1);
    describe("vpc-2", true, groups, 1);
    add(&one);
    add(&two);
    listener = listen_in(two.fd, SOCK_STREAM, 80);
    before = flows_in("hub");
    flood(one.fd, two.public);
    assert_true(flows_in("vpc-1") >= FLOOD && flows_in("vpc-2") >= FLOOD);
    flood(one.fd, OUTSIDE);
    assert_true(flows_in("vpc-1") >= 2 * FLOOD);
    assert_true(reaches(one.fd, two.public, 80));
    assert_true(flows_in("hub") <= before);
    assert_true(reaches(host, two.public, 80)); /* what is tracked, and has its answers through that */
    assert_true(flows_in("hub") > before);
    close(listener);
    drop(&one);
    drop(&two);
    reopen((struct fabric_config){0});
}

/* In the namespace that the thread is in, so that none ends while a slow host still makes others. */
static void keep_flows(void)
{
    (void)!system("echo 600 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout");
}

static void a_machine_has_no_more_of_the_hosts_table_of_flows_than_its_share(void **state)
{
    struct guest greedy = {"eni-one", "vpc-1", "sg-open", 0x0a00000a, pool.network + 60, -1};
    struct guest other = {"eni-two", "vpc-2", "sg-open", 0x0a00000a, pool.network + 61, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    int share, before, listener;

    NEEDS_ABLE();
    share = read_number("/proc/sys/net/netfilter/nf_conntrack_max") / 8;
    if (share > 40000)
        skip(); /* a host with a large table: too much to fill */
    listener = listen_in(make_outside(), SOCK_STREAM, 443);
    reopen_with_internet();
    describe("vpc-1", true, groups, 1);
    describe("vpc-2", true, groups, 1);
    add(&greedy);
    add(&other);
    keep_flows();
    enter_named("vpc-1");
    keep_flows();
    enter(host);
    before = flows_here();
    flood_from(greedy.fd, OUTSIDE, 1024, (unsigned)share + FLOOD);
    assert_true(flows_in("vpc-1") > share);
    assert_in_range(flows_here() - before, share / 2, share + 100);
    assert_false(reaches(greedy.fd, OUTSIDE, 443));
    assert_true(reaches(other.fd, OUTSIDE, 443));
    close(listener);
    drop(&greedy);
    drop(&other);
    reopen((struct fabric_config){0});
}

static void the_hub_forgets_the_flows_of_an_address_with_the_address(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-in", 0x0a00000a, pool.network + 10, -1};
    struct guest b = {"eni-b", "vpc-1", "sg-in", 0x0a00000b, pool.network + 11, -1};
    const struct fabric_group group_80 = group("sg-in", in_80, 2);
    int listeners[2], before, held;

    NEEDS_ABLE();
    reopen((struct fabric_config){0});
    describe("vpc-1", true, &group_80, 1);
    add(&a);
    add(&b);
    listeners[0] = listen_in(a.fd, SOCK_STREAM, 80);
    listeners[1] = listen_in(b.fd, SOCK_STREAM, 80);
    for (int machine_ends = 0; machine_ends < 2; machine_ends++) {
        before = flows_in("hub");
        held = connect_from(host, a.public, 80);
        assert_true(held >= 0 && reaches(host, b.public, 80));
        assert_int_equal(flows_in("hub"), before + 2);
        if (machine_ends) {
            drop(&a);
        } else {
            a.public += 10;
            set_interface(&a);
        }
        for (int i = 0; i < 500 && flows_in("hub") > before + 1; i++)
            usleep(10000); /* done behind everybody's back, by a thread */
        assert_int_equal(flows_in("hub"), before + 1);
        close(held);
    }
    close(listeners[0]);
    close(listeners[1]);
    drop(&b);
}

static void flows_between_accounts_go_on_before_a_new_server_has_adopted_their_machines(void **state)
{
    struct guest one = {"eni-one", "vpc-1", "sg-open", 0x0a00000a, pool.network + 20, -1};
    struct guest two = {"eni-two", "vpc-2", "sg-open", 0x0a00000a, pool.network + 21, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    struct err err = ERR_INIT;
    int listener, held, accepted;

    NEEDS_ABLE();
    describe("vpc-1", true, groups, 1);
    describe("vpc-2", true, groups, 1);
    add(&one);
    add(&two);
    listener = listen_in(two.fd, SOCK_STREAM, 80);
    held = connect_from(one.fd, two.public, 80);
    assert_int_equal(accept_one(listener, &accepted), one.public);
    must(fabric_close(fabric, false, &err), &err);
    open_fabric();
    assert_true(passes(held, accepted, '1') && passes(accepted, held, '2'));
    adopt(&one);
    adopt(&two);
    assert_true(passes(held, accepted, '3') && passes(accepted, held, '4'));
    close(held);
    close(accepted);
    close(listener);
    drop(&one);
    drop(&two);
}

static void an_error_of_a_router_in_the_hosts_networks_reaches_who_caused_it(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, pool.network + 10, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    struct sockaddr_in to = place(OUTSIDE, 9);
    int fd, one = 1, hops = 3; /* the VPC's, the hub's, the host's, which ends it */
    int number = 0;
    socklen_t size = sizeof number;

    NEEDS_ABLE();
    reopen_with_internet();
    describe("vpc-1", true, groups, 1);
    add(&a);
    fd = socket_in(a.fd, SOCK_DGRAM, 0);
    setsockopt(fd, IPPROTO_IP, IP_TTL, &hops, sizeof hops);
    setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_true(ready(fd, POLLIN));
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size), 0);
    assert_int_equal(number, EHOSTUNREACH);
    close(fd);
    drop(&a);
    reopen((struct fabric_config){0});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_host_reaches_a_public_address_once_the_group_allows_it, forget),
        cmocka_unit_test_teardown(a_host_that_is_offline_reaches_a_public_address_too, forget),
        cmocka_unit_test_teardown(vpcs_of_one_cidr_live_side_by_side_and_meet_by_public_addresses, forget),
        cmocka_unit_test_teardown(subnets_without_a_route_out_stay_in, forget),
        cmocka_unit_test_teardown(guests_reach_nothing_of_the_host, forget),
        cmocka_unit_test_teardown(the_internet_is_reached_where_the_host_forwards_and_the_switch_allows, forget),
        cmocka_unit_test_teardown(what_allow_host_names_is_reached_and_no_more, forget),
        cmocka_unit_test_teardown(flows_between_accounts_and_to_the_internet_take_no_place_in_the_hub, forget),
        cmocka_unit_test_teardown(a_machine_has_no_more_of_the_hosts_table_of_flows_than_its_share, forget),
        cmocka_unit_test_teardown(the_hub_forgets_the_flows_of_an_address_with_the_address, forget),
        cmocka_unit_test_teardown(flows_between_accounts_go_on_before_a_new_server_has_adopted_their_machines, forget),
        cmocka_unit_test_teardown(an_error_of_a_router_in_the_hosts_networks_reaches_who_caused_it, forget),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_world, close_world);
}
