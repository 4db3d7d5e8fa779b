/* Records in, descriptions for the fabric out: over a store in memory with its computed default world. */
#include "reconcile/network_spec.h"

#include "services/ec2/default_world.h"
#include "services/services.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct store *store;
static struct arena arena;
static struct tx *tx;

static int open_world(void **state)
{
    struct store_options options = {service_kinds, service_kind_count, NULL, uv_default_loop()};
    struct err err = ERR_INIT;

    assert_int_equal(store_open(&options, &store, &err), 0);
    store_set_seed(store, ec2_seed_world, NULL);
    tx = tx_begin(store, store_world(store, S("123456789012"), S("us-east-1")), &arena, S("test"));
    return 0;
}

static int close_world(void **state)
{
    tx_rollback(tx);
    store_close(store);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    arena_free(&arena);
    return 0;
}

static const struct ec2_vpc *the_vpc(void)
{
    uint64_t position = 0;

    return vpc_next(tx, &position);
}

static struct fabric_vpc described(void)
{
    struct fabric_vpc vpc;

    assert_true(network_vpc(tx, &arena, the_vpc()->vpc_id, 7, &vpc));
    return vpc;
}

static void the_default_vpc_routes_to_its_gateway(void **state)
{
    struct fabric_vpc vpc = described();

    assert_int_equal(vpc.version, 7);
    assert_true(vpc.internet_gateway);
    assert_int_equal(vpc.cidr_count, 1);
    assert_int_equal(vpc.cidrs[0].network, 0xac1f0000);
    assert_int_equal(vpc.subnet_count, 6);
    assert_int_equal(vpc.subnets[1].cidr.network, 0xac1f1000);
    assert_int_equal(vpc.subnets[1].cidr.prefix, 20);
    assert_true(str_equal(vpc.subnets[1].route_table, vpc.route_tables[0].id));
    assert_int_equal(vpc.route_tables[0].count, 2);
    assert_int_equal(vpc.route_tables[0].routes[0].target, FABRIC_LOCAL);
    assert_int_equal(vpc.route_tables[0].routes[1].target, FABRIC_INTERNET);
    assert_int_equal(vpc.route_tables[0].routes[1].to.prefix, 0);
}

static void a_route_to_a_gateway_that_was_detached_is_a_black_hole(void **state)
{
    uint64_t position = 0;
    struct str id = internet_gateway_next(tx, &position)->internet_gateway_id;
    struct ec2_internet_gateway *gateway = tx_edit(tx, EC2_INTERNET_GATEWAY, id);

    gateway->attachments.count = 0;
    assert_false(described().internet_gateway);
    assert_int_equal(described().route_tables[0].routes[1].target, FABRIC_BLACKHOLE);
}

static void a_subnet_with_a_table_of_its_own_has_that(void **state)
{
    uint64_t position = 0;
    struct str subnet_id = subnet_next(tx, &position)->subnet_id;
    struct ec2_route_table *table = route_table_create(tx, S("rtb-00000000000000001"));
    struct ec2_route_table_association association = {.route_table_association_id = S("rtbassoc-1"),
                                                      .subnet_id = subnet_id};

    table->vpc_id = the_vpc()->vpc_id;
    table->associations.items = &association;
    table->associations.count = 1;
    assert_true(str_equal(described().subnets[0].route_table, S("rtb-00000000000000001")));
    assert_false(str_equal(described().subnets[1].route_table, S("rtb-00000000000000001")));
}

static void the_default_group_lets_itself_in_and_everything_out(void **state)
{
    uint64_t position = 0;
    struct str id = security_group_next(tx, &position)->group_id;
    struct fabric_group group;

    assert_true(network_group(tx, &arena, id, 3, &group));
    assert_int_equal(group.count, 2);
    assert_false(group.rules[0].egress);
    assert_int_equal(group.rules[0].peer, FABRIC_PEER_GROUP);
    assert_true(str_equal(group.rules[0].group, id));
    assert_true(group.rules[1].egress);
    assert_int_equal(group.rules[1].protocol, FABRIC_ANY);
    assert_int_equal(group.rules[1].ipv4.prefix, 0);
}

static void rules_keep_ports_and_icmp_types(void **state)
{
    static const struct {
        const char *protocol, *cidr4, *cidr6;
        int64_t from, to;
        int number, port_from, port_to;
    } rows[] = {
        {"tcp", "10.0.0.0/8", NULL, 22, 23, 6, 22, 23},
        {"udp", NULL, "2001:db8::/32", 53, 53, 17, 53, 53},
        {"icmp", "0.0.0.0/0", NULL, 8, -1, 1, 8, FABRIC_ANY},
        {"50", "0.0.0.0/0", NULL, -1, -1, 50, FABRIC_ANY, FABRIC_ANY},
    };
    struct ec2_security_group *group = security_group_create(tx, S("sg-00000000000000001"));

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ec2_security_group_rule *rule = security_group_rule_create(
            tx, arena_printf(&arena, "sgr-0000000000000000%zu", i));
        struct fabric_group out;

        rule->group_id = group->group_id;
        rule->ip_protocol = str_of(rows[i].protocol);
        rule->cidr_ipv4 = str_of(rows[i].cidr4);
        rule->cidr_ipv6 = str_of(rows[i].cidr6);
        rule->from_port = INT(rows[i].from);
        rule->to_port = INT(rows[i].to);
        assert_true(network_group(tx, &arena, group->group_id, 1, &out));
        assert_int_equal(out.count, i + 1);
        for (size_t k = 0; k < out.count; k++)
            if (out.rules[k].protocol == rows[i].number) {
                assert_int_equal(out.rules[k].from, rows[i].port_from);
                assert_int_equal(out.rules[k].to, rows[i].port_to);
                assert_int_equal(out.rules[k].peer, rows[i].cidr6 ? FABRIC_PEER_IPV6 : FABRIC_PEER_IPV4);
            }
    }
}

/* What is not known is let through by nobody. */
static void a_rule_that_cannot_be_read_lets_nothing_pass(void **state)
{
    static const char *const protocols[] = {"", "any", "all", "256", "-2", "6x", "TCP"};
    struct ec2_security_group *group = security_group_create(tx, S("sg-00000000000000002"));
    struct fabric_group out;

    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        struct ec2_security_group_rule *rule = security_group_rule_create(
            tx, arena_printf(&arena, "sgr-0000000000000001%zu", i));

        rule->group_id = group->group_id;
        rule->ip_protocol = str_of(protocols[i]);
        rule->cidr_ipv4 = S("0.0.0.0/0");
    }
    assert_true(network_group(tx, &arena, group->group_id, 1, &out));
    assert_int_equal(out.count, 0);
}

int main(void)
{
    static const struct CMUnitTest spec_tests[] = {
        cmocka_unit_test_setup_teardown(the_default_vpc_routes_to_its_gateway, open_world, close_world),
        cmocka_unit_test_setup_teardown(a_route_to_a_gateway_that_was_detached_is_a_black_hole, open_world,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_subnet_with_a_table_of_its_own_has_that, open_world, close_world),
        cmocka_unit_test_setup_teardown(the_default_group_lets_itself_in_and_everything_out, open_world, close_world),
        cmocka_unit_test_setup_teardown(rules_keep_ports_and_icmp_types, open_world, close_world),
        cmocka_unit_test_setup_teardown(a_rule_that_cannot_be_read_lets_nothing_pass, open_world, close_world),
    };

    return cmocka_run_group_tests(spec_tests, NULL, NULL);
}
