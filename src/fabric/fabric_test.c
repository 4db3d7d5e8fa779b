/* Security groups, by real packets; and, as `fabric_test bench`, figures. */
#include "fabric/fabric_fixture.h"
#include "base/fd.h"
#include "base/time.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *fixture_owner = "fabrgrps";

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

int main(int argc, char **argv)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_teardown(groups_open_what_they_say_and_revoked_ports_take_no_new_connection, forget),
        cmocka_unit_test_teardown(a_rule_that_names_a_group_follows_its_members_through_subnets, forget),
        cmocka_unit_test_teardown(icmp_is_allowed_by_type_and_sources_by_network, forget),
        cmocka_unit_test_teardown(a_guest_that_allows_nothing_gets_no_packet_from_its_first_moment, forget),
        cmocka_unit_test_teardown(a_spoofed_source_goes_nowhere, forget),
        cmocka_unit_test_teardown(a_host_that_cannot_filter_runs_guests_and_says_so, forget),
    };
    const struct CMUnitTest figures[] = {cmocka_unit_test(bench)};

    if (argc > 1 && strcmp(argv[1], "bench") == 0)
        return cmocka_run_group_tests(figures, open_world, close_world);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(all, open_world, close_world);
}
