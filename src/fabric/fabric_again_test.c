/*
 * What the kernel has refused and is told again ends as if it had never been refused, whichever request it was that
 * failed, and whether it failed before it was done or after. What is told late changes nothing.
 */
#include "fabric/fabric_fixture.h"
#include "base/fd.h"
#include "fabric/namespace.h"
#include "fabric/netlink.h"
#include "fabric/nft.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static char owner[9]; /* this process's: what stands is compared, so nobody else's may be in it */
const char *fixture_owner = owner;

/* --- the n-th request fails ----------------------------------------------------------------------------------------
 */

static atomic_int fail_at;   /* 0: none does */
static atomic_bool too_late; /* it fails when it is done */

int __real_nft_send_over(struct nft_batch *batch, int *fd, struct err *err);
int __wrap_nft_send_over(struct nft_batch *batch, int *fd, struct err *err);
int __real_netlink_send(struct netlink *nl, struct err *err);
int __wrap_netlink_send(struct netlink *nl, struct err *err);
int __real_namespace_enter(int fd, struct err *err);
int __wrap_namespace_enter(int fd, struct err *err);

static bool has_to_fail(void)
{
    return fail_at > 0 && atomic_fetch_sub(&fail_at, 1) == 1;
}

int __wrap_nft_send_over(struct nft_batch *batch, int *fd, struct err *err)
{
    bool fails = has_to_fail();
    int r = fails && !too_late ? 0 : __real_nft_send_over(batch, fd, err);

    return fails ? err_plain(err, "refused") : r;
}

int __wrap_netlink_send(struct netlink *nl, struct err *err)
{
    bool fails = has_to_fail();
    int r = fails && !too_late ? 0 : __real_netlink_send(nl, err);

    return fails ? err_plain(err, "refused") : r;
}

int __wrap_namespace_enter(int fd, struct err *err)
{
    return has_to_fail() ? err_plain(err, "refused") : __real_namespace_enter(fd, err);
}

/* --- what is told ----------------------------------------------------------------------------------------------------
 */

enum { FIRST = 10, LATE = 15, SECOND = 20, BACK = 30 /* as the first */ };

static bool is_second(uint64_t version)
{
    return version == SECOND;
}

static const struct fabric_rule from_out[2] = {
    TCP_IN(80), {.protocol = 6, .from = 22, .to = 22, .peer = FABRIC_PEER_GROUP, .group = S("sg-out")}};

static int tell_group(uint64_t version, struct err *err)
{
    struct fabric_group to = is_second(version) ? group("sg-in", only_out, 1) : group("sg-in", from_out, 2);

    to.version = version;
    return fabric_set_group(fabric, S("vpc-1"), &to, err);
}

static struct fabric_vpc vpc_of(uint64_t version)
{
    static const struct fabric_cidr cidr = {0x0a000000, 16};
    static const struct fabric_route out[] = {
        {{0x0a000000, 16}, FABRIC_LOCAL}, {{0, 0}, FABRIC_INTERNET}, {{0x0e000000, 8}, FABRIC_BLACKHOLE}};
    static const struct fabric_route other[] = {
        {{0x0a000000, 16}, FABRIC_LOCAL}, {{0x0b000000, 8}, FABRIC_BLACKHOLE}, {{0x0c000000, 8}, FABRIC_BLACKHOLE}};
    static const struct fabric_route_table first[] = {{S("rtb-1"), out, 3}, {S("rtb-2"), out, 1}};
    static const struct fabric_route_table second[] = {{S("rtb-1"), other, 3}, {S("rtb-3"), other, 2}};
    static const struct fabric_subnet first_subnets[] = {{S("subnet-1"), {0x0a000000, 24}, S("rtb-1")}};
    static const struct fabric_subnet second_subnets[] = {{S("subnet-1"), {0x0a000000, 24}, S("rtb-3")}};

    return (struct fabric_vpc){.id = S("vpc-1"),
                               .version = version,
                               .cidrs = &cidr,
                               .cidr_count = 1,
                               .internet_gateway = !is_second(version),
                               .subnets = is_second(version) ? second_subnets : first_subnets,
                               .subnet_count = 1,
                               .route_tables = is_second(version) ? second : first,
                               .route_table_count = 2};
}

static int tell_vpc(uint64_t version, struct err *err)
{
    struct fabric_vpc vpc = vpc_of(version);

    return fabric_set_vpc(fabric, &vpc, err);
}

/* The gateway comes back. */
static int tell_gateway(uint64_t version, struct err *err)
{
    struct fabric_vpc vpc = vpc_of(FIRST);

    vpc.version = is_second(version) ? BACK : version;
    return fabric_set_vpc(fabric, &vpc, err);
}

/* Other public addresses, another group and, when it moves, another private address. */
static struct fabric_interface interface_of(uint64_t version, bool moves)
{
    static struct fabric_address first[2], second[2];
    static const struct str in[] = {S("sg-in")}, both[] = {S("sg-in"), S("sg-out")};

    first[0] = (struct fabric_address){0x0a00000a, pool.network + 50};
    first[1] = (struct fabric_address){0x0a00000b, pool.network + 51};
    second[0] = (struct fabric_address){0x0a00000a, pool.network + 60};
    second[1] = (struct fabric_address){moves ? 0x0a00000c : 0x0a00000b, pool.network + 61};
    return (struct fabric_interface){.id = S("eni-a"),
                                     .vpc_id = S("vpc-1"),
                                     .version = version,
                                     .subnet_id = S("subnet-1"),
                                     .vpc_cidr = {0x0a000000, 16},
                                     .mac = {2, 0, 0, 0, 0, 10},
                                     .addresses = is_second(version) ? second : first,
                                     .address_count = 2,
                                     .groups = is_second(version) ? both : in,
                                     .group_count = is_second(version) ? 2 : 1,
                                     .gateway = 0x0a000001,
                                     .prefix = 24,
                                     .source_dest_check = !is_second(version)};
}

static int tell_interface(uint64_t version, struct err *err)
{
    struct fabric_interface interface = interface_of(version, true);

    return fabric_set_interface(fabric, &interface, err);
}

static int tell_groups(uint64_t version, struct err *err)
{
    struct fabric_interface interface = interface_of(version, false);

    return fabric_set_interface(fabric, &interface, err);
}

/* --- what stands
 * ------------------------------------------------------------------------------------------------------ */

#define IN_BOTH                                                                                            \
    "for name in vpc-1 hub; do nsenter --net=/run/netns/haar-%s-$name sh -c "                              \
    "'ip -o route show table all; ip rule; ip neigh show nud permanent; nft -s list ruleset'; echo; done " \
    "| sed s/%s/OWNER/g | tr ',' '\\n' | sort"

/* Of the VPC and the hub, in an order of its own. */
static void list_kernel(struct buf *out)
{
    const char *list;
    char command[512];
    FILE *pipe;
    size_t n;

    snprintf(command, sizeof command, IN_BOTH, owner, owner);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    while ((n = fread(buf_reserve(out, 4096), 1, 4096, pipe)) > 0)
        out->len += n;
    assert_int_equal(pclose(pipe), 0);
    buf_byte(out, '\0');
    list = strstr(out->p, "lookup main");
    assert_non_null(list);
    assert_non_null(strstr(list + 1, "lookup main")); /* both were there */
}

/* The other has both groups from the start, and a rule names one of them: what is shared stands already. */
static struct guest guest = {.fd = -1}, other = {.fd = -1};

static struct fabric_interface other_interface(void)
{
    static const struct fabric_address address = {0x0a000014, 0};
    struct fabric_interface interface = interface_of(SECOND, false);

    interface.id = S("eni-b");
    interface.mac[5] = 20;
    interface.addresses = &address;
    interface.address_count = 1;
    return interface;
}

static void make_first(void)
{
    struct fabric_vpc vpc = vpc_of(FIRST);
    struct fabric_group groups[] = {group("sg-in", from_out, 2), group("sg-out", only_out, 1)};
    struct fabric_interface interface = interface_of(FIRST, false), besides = other_interface();
    struct err err = ERR_INIT;

    groups[0].version = groups[1].version = FIRST;
    make_guest(&guest);
    make_guest(&other);
    must(fabric_describe(fabric, &vpc, groups, 2, &err), &err);
    must(fabric_attach(fabric, &interface, guest.fd, &err), &err);
    must(fabric_attach(fabric, &besides, other.fd, &err), &err);
}

static void make_without_gateway(void)
{
    struct err err = ERR_INIT;

    make_first();
    must(tell_vpc(SECOND, &err), &err);
}

/* Its machines go on under a later server, which has been told of the other only. */
static void make_adopted(void)
{
    struct fabric_vpc vpc = vpc_of(FIRST);
    struct fabric_interface interfaces[] = {interface_of(FIRST, false), other_interface()};
    struct err err = ERR_INIT;

    make_first();
    must(fabric_close(fabric, false, &err), &err);
    open_fabric();
    for (size_t i = 0; i < 2; i++)
        must(fabric_adopt(fabric, &interfaces[i], &err), &err);
    must(fabric_set_interface(fabric, &interfaces[1], &err), &err);
    must(fabric_set_vpc(fabric, &vpc, &err), &err);
}

static int end(void **state)
{
    fail_at = 0;
    fd_close(&guest.fd);
    fd_close(&other.fd);
    return forget(state);
}

typedef int (*tell_fn)(uint64_t version, struct err *err);

/* The first line that is another one. */
static const char *first_other(char *lines, const char *expected)
{
    for (;;) {
        size_t len = strcspn(lines, "\n");

        if (strncmp(lines, expected, len + 1) != 0) {
            lines[len] = '\0';
            return lines;
        }
        lines += len + 1;
        expected += len + 1;
    }
}

/* False: it has fewer requests. */
static bool try_failure(void (*make)(void), tell_fn tell, int n, const char *expected)
{
    AUTO_BUF stands = BUF_INIT;
    struct err err = ERR_INIT;
    bool failed;
    int r;

    make();
    fail_at = n;
    r = tell(SECOND, &err);
    failed = fail_at == 0;
    fail_at = 0;
    if (r < 0) {
        must(tell(LATE, &err), &err);
        must(tell(SECOND, &err), &err);
    }
    list_kernel(&stands);
    end(NULL);
    if (strcmp(stands.p, expected) != 0)
        fail_msg("request %d fails%s: there stands '%s'", n, too_late ? " late" : "", first_other(stands.p, expected));
    return failed;
}

static void try_failures(void (*make)(void), tell_fn tell)
{
    AUTO_BUF expected = BUF_INIT;
    struct err err = ERR_INIT;
    int tried = 0;

    NEEDS_ABLE();
    make();
    must(tell(SECOND, &err), &err);
    list_kernel(&expected);
    end(NULL);
    for (int late = 0; late < 2; late++) {
        too_late = late;
        for (int n = 1; try_failure(make, tell, n, expected.p); n++)
            tried++;
    }
    assert_true(tried > 2);
}

static void a_group_that_was_refused_is_obeyed_when_it_is_told_again(void **state)
{
    try_failures(make_first, tell_group);
}

static void a_vpc_that_was_refused_is_obeyed_when_it_is_told_again(void **state)
{
    try_failures(make_first, tell_vpc);
}

static void a_gateway_that_was_refused_is_linked_when_it_is_told_again(void **state)
{
    try_failures(make_without_gateway, tell_gateway);
}

static void an_interface_that_was_refused_is_obeyed_when_it_is_told_again(void **state)
{
    try_failures(make_first, tell_interface);
    try_failures(make_first, tell_groups);
}

static void the_last_word_on_an_adopted_vpc_may_be_refused_too(void **state)
{
    try_failures(make_adopted, tell_interface);
}

static void a_route_that_came_before_its_refusal_goes_when_it_is_not_wanted_any_more(void **state)
{
    struct err err = ERR_INIT;
    int tried = 0;

    NEEDS_ABLE();
    too_late = true;
    for (bool failed = true; failed; tried++) {
        AUTO_BUF stands = BUF_INIT;

        make_first();
        fail_at = tried + 1;
        tell_vpc(SECOND, &err);
        failed = fail_at == 0;
        fail_at = 0;
        must(tell_vpc(BACK, &err), &err);
        list_kernel(&stands);
        assert_null(strstr(stands.p, "blackhole 11.0.0.0/8"));
        end(NULL);
    }
    assert_true(tried > 2);
}

static void what_is_told_late_changes_nothing(void **state)
{
    static const tell_fn tells[] = {tell_group, tell_vpc, tell_interface, tell_groups};

    NEEDS_ABLE();
    for (size_t i = 0; i < sizeof tells / sizeof *tells; i++) {
        AUTO_BUF before = BUF_INIT, after = BUF_INIT;
        struct err err = ERR_INIT;

        make_first();
        must(tells[i](SECOND, &err), &err);
        list_kernel(&before);
        must(tells[i](LATE, &err), &err);
        list_kernel(&after);
        assert_string_equal(after.p, before.p);
        end(NULL);
    }
}

int main(void)
{
    static const struct CMUnitTest again_tests[] = {
        cmocka_unit_test_teardown(a_group_that_was_refused_is_obeyed_when_it_is_told_again, end),
        cmocka_unit_test_teardown(a_vpc_that_was_refused_is_obeyed_when_it_is_told_again, end),
        cmocka_unit_test_teardown(a_gateway_that_was_refused_is_linked_when_it_is_told_again, end),
        cmocka_unit_test_teardown(an_interface_that_was_refused_is_obeyed_when_it_is_told_again, end),
        cmocka_unit_test_teardown(the_last_word_on_an_adopted_vpc_may_be_refused_too, end),
        cmocka_unit_test_teardown(a_route_that_came_before_its_refusal_goes_when_it_is_not_wanted_any_more, end),
        cmocka_unit_test_teardown(what_is_told_late_changes_nothing, end),
    };

    snprintf(owner, sizeof owner, "fa%06x", (unsigned)getpid() & 0xffffff);
    return cmocka_run_group_tests(again_tests, open_world, close_world);
}
