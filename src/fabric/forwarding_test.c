/* In a network namespace of its own, which needs root: the host's sysctls are not touched. */
#include "fabric/forwarding.h"
#include "base/fd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONF "/proc/sys/net/ipv4/conf"

static const char *const owners[] = {"fwdtest1", "fwdtest2"};

static void sysctl(const char *name, const char *value)
{
    struct err err = ERR_INIT;
    char path[128];

    snprintf(path, sizeof path, CONF "/%s", name);
    assert_int_equal(file_write(AT_FDCWD, path, str_of(value), 0, &err), 0);
}

/* Every sysctl of IPv4's interfaces. */
static void dump(struct buf *out)
{
    char line[512];
    FILE *pipe = popen("grep -rs . " CONF " | sort", "r");

    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe))
        buf_append(out, str_of(line));
    assert_int_equal(pclose(pipe), 0);
    assert_true(out->len > 1000);
}

static void assert_same(const struct buf *before)
{
    AUTO_BUF now = BUF_INIT;

    dump(&now);
    buf_byte(&now, '\0');
    assert_int_equal(now.len, before->len + 1);
    assert_memory_equal(now.p, before->p, before->len);
}

/* A host that was hardened, with one interface that forwards though the host as a whole does not. */
static int make_host(void **state)
{
    char path[64];
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        return 0;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/run/haar/%s", owners[i]);
        if (dir_make(path, 0711, &err) < 0)
            return -1;
    }
    if (unshare(CLONE_NEWNET) < 0)
        return -1;
    sysctl("all/forwarding", "0");
    sysctl("all/accept_redirects", "0");
    sysctl("lo/forwarding", "1");
    *state = (void *)owners;
    return 0;
}

static int remove_host(void **state)
{
    char path[64];
    struct err err = ERR_INIT;

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/run/haar/%s", owners[i]);
        if (*state)
            forwarding_release(owners[i]);
        tree_remove(AT_FDCWD, path, &err);
    }
    return 0;
}

static void claim(const char *owner)
{
    struct err err = ERR_INIT;

    assert_int_equal(forwarding_claim(owner, &err), 0);
    assert_true(forwarding_is_on());
}

static void what_it_was_is_restored_to_the_last_sysctl(void **state)
{
    AUTO_BUF before = BUF_INIT;

    if (!*state)
        skip();
    dump(&before);
    claim(owners[0]);
    claim(owners[0]); /* once more changes nothing */
    forwarding_release(owners[0]);
    assert_same(&before);
    forwarding_release(owners[0]);
    assert_same(&before);
}

static void the_last_of_two_restores(void **state)
{
    AUTO_BUF before = BUF_INIT;

    if (!*state)
        skip();
    dump(&before);
    claim(owners[0]);
    claim(owners[1]);
    forwarding_release(owners[0]);
    assert_true(forwarding_is_on());
    forwarding_release(owners[1]);
    assert_same(&before);
}

static void a_host_that_forwards_by_itself_goes_on_doing_so(void **state)
{
    AUTO_BUF before = BUF_INIT;

    if (!*state)
        skip();
    sysctl("all/forwarding", "1");
    dump(&before);
    claim(owners[0]);
    assert_same(&before);
    forwarding_release(owners[0]);
    assert_same(&before);
    sysctl("all/forwarding", "0");
}

static void an_owner_that_is_gone_from_the_host_holds_nothing_up(void **state)
{
    AUTO_BUF before = BUF_INIT;

    if (!*state)
        skip();
    dump(&before);
    claim(owners[0]);
    claim("fwdgone1"); /* no folder in /run/haar */
    forwarding_release(owners[0]);
    assert_same(&before);
}

static void an_older_record_gives_way_to_what_is(void **state)
{
    AUTO_BUF before = BUF_INIT;

    if (!*state)
        skip();
    claim(owners[0]);
    sysctl("all/forwarding", "0"); /* an administrator, who meant all of it */
    sysctl("lo/forwarding", "0");
    dump(&before);
    claim(owners[1]);
    forwarding_release(owners[0]);
    assert_true(forwarding_is_on());
    forwarding_release(owners[1]);
    assert_same(&before);
}

int main(void)
{
#define ON_A_HOST(test) cmocka_unit_test_setup_teardown(test, make_host, remove_host)
    const struct CMUnitTest tests[] = {
        ON_A_HOST(what_it_was_is_restored_to_the_last_sysctl),
        ON_A_HOST(the_last_of_two_restores),
        ON_A_HOST(a_host_that_forwards_by_itself_goes_on_doing_so),
        ON_A_HOST(an_owner_that_is_gone_from_the_host_holds_nothing_up),
        ON_A_HOST(an_older_record_gives_way_to_what_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
