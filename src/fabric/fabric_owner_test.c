/* A later server, and what stays on the host when one ends or is dead. */
#include "fabric/fabric_fixture.h"
#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWNER "fabrownr"
#define STATE "/tmp/haar-" OWNER

const char *fixture_owner = OWNER;

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
#define WITHOUT_OURS " | grep -v 'haar-" OWNER "\\|_dad_\\|random'"

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

static void a_dead_owner_is_removed_whole(void **state)
{
    struct guest a = {"eni-a", "vpc-1", "sg-open", 0x0a00000a, 0, -1};
    const struct fabric_group groups[] = {group("sg-open", open_rules, 2)};
    AUTO_BUF left = BUF_INIT, forwarding = BUF_INIT;
    struct err err = ERR_INIT;

    NEEDS_ABLE();
    reopen((struct fabric_config){.internet = FABRIC_INTERNET_ON});
    a.public = pool.network + 90;
    describe("vpc-1", true, groups, 1);
    add(&a);
    must(fabric_close(fabric, false, &err), &err);
    enter(host);
    must(fabric_remove_owner(S(OWNER), &err), &err);
    read_command("{ ip -o link; ip route; nft list ruleset; ls /run/netns; } 2>&1 | grep " OWNER, &left);
    assert_string_equal(left.p, "");
    read_command("cat /proc/sys/net/ipv4/ip_forward", &forwarding);
    assert_string_equal(forwarding.p, "0\n");
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_later_server_takes_over_without_dropping_a_flow, forget),
        cmocka_unit_test_teardown(the_host_gets_one_link_and_one_route_and_keeps_nothing, forget),
        cmocka_unit_test_teardown(a_dead_owner_is_removed_whole, forget),
        cmocka_unit_test_teardown(pools_of_owners_that_do_not_run_are_taken_when_no_other_is_free, forget),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_world, close_world);
}
