/* Machines and servers that end without each other. */
#include "workload/native_fixture.h"
#include "base/arena.h"
#include "guest/monitor.h"
#include "workload/native.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- as another server would ---- */

static int connect_monitor(const char *id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s/m/%s/sock", owner.state, id);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static struct monitor_message hear(int fd)
{
    struct pollfd word = {fd, POLLIN, 0};
    struct monitor_message message;

    assert_int_equal(poll(&word, 1, 20000), 1);
    assert_int_equal(recv(fd, &message, sizeof message, 0), sizeof message);
    return message;
}

static void say_stop(int fd, int grace_ms)
{
    struct monitor_message message = {.kind = MONITOR_STOP, .number = grace_ms, .version = MONITOR_VERSION};

    assert_int_equal(send(fd, &message, sizeof message, MSG_NOSIGNAL), sizeof message);
}

static void await_end(int fd)
{
    char byte;

    while (hear(fd).kind != MONITOR_EXITED)
        ;
    assert_int_equal(recv(fd, &byte, 1, 0), 0); /* its monitor is gone too */
}

/* ---- */

static void a_later_server_adopts_what_runs(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct workload_observed *observed;
    struct err err = ERR_INIT;
    size_t count;
    int exited;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-adopt", .host = 60});
    AWAIT("i-adopt", booted, 1);
    assert_output("i-adopt", "setsid sleep 1000 >/dev/null 2>&1 & echo $! > /run/pid", "");
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    backend = open_backend();
    assert_int_equal(backend.driver->observe(backend.cookie, &arena, &observed, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(observed[0].state, WORKLOAD_RUNNING);
    assert_true(observed[0].ready && observed[0].booted);
    assert_output("i-adopt", "kill -0 $(cat /run/pid) && echo alive", "alive\n");
    must_boot((struct machine_wish){.id = "i-adopt", .host = 60});
    assert_int_equal(seen_of(S("i-adopt"))->ready, 1);
    assert_int_equal(backend.driver->reboot(backend.cookie, S("i-adopt"), 1000, &err), 0);
    AWAIT("i-adopt", booted, 2);
    exited = seen_of(S("i-adopt"))->exited;
    assert_int_equal(exited, 0);
    must_remove("i-adopt");
}

static void an_end_that_no_server_saw_is_told_to_the_next(void **state)
{
    struct err err = ERR_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-unseen", .host = 61, .user_data = "#!/bin/sh\n(sleep 0.3; poweroff) &\n"});
    AWAIT("i-unseen", booted, 1);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    usleep(700000);
    backend = open_backend();
    AWAIT("i-unseen", exited, 1);
    assert_true(seen_of(S("i-unseen"))->exit.power_off);
    must_remove("i-unseen");
}

static void an_end_that_was_asked_for_is_not_told_to_the_next_server(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct workload_observed *observed;
    struct err err = ERR_INIT;
    size_t count;
    int fd;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-asked", .host = 62});
    AWAIT("i-asked", booted, 1);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    fd = connect_monitor("i-asked");
    assert_int_equal(hear(fd).kind, MONITOR_STATE);
    say_stop(fd, 1000);
    await_end(fd); /* how it ended is written down, and nobody has read it */
    close(fd);
    backend = open_backend(); /* tells of ends before it returns */
    assert_int_equal(seen_of(S("i-asked"))->exited, 0);
    assert_int_equal(backend.driver->observe(backend.cookie, &arena, &observed, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(observed[0].state, WORKLOAD_STOPPED);
    must_remove("i-asked");
}

static void a_machine_whose_init_hangs_is_killed_by_its_monitor_when_the_grace_is_over(void **state)
{
    struct monitor_message message;
    struct err err = ERR_INIT;
    int fd;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-hang", .host = 66});
    AWAIT("i-hang", booted, 1);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0); /* no server kills it instead */
    fd = connect_monitor("i-hang");
    message = hear(fd);
    assert_int_equal(message.kind, MONITOR_STATE);
    assert_int_equal(kill(message.number, SIGSTOP), 0); /* connected, and it has not ended: the number is its init's */
    say_stop(fd, 100);
    await_end(fd);
    close(fd);
    backend = open_backend();
    must_remove("i-hang");
}

static void a_dead_owners_machines_are_reaped(void **state)
{
    struct owner alive = owner;
    struct workload_backend backend_of_alive = backend;
    struct err err = ERR_INIT;
    char dead_run[OWNER_PATH], dead_state[OWNER_PATH];

    NEEDS_MACHINES();
    assert_int_equal(owner_take((struct str){0}, &owner, &err), 0);
    backend = open_backend();
    must_boot((struct machine_wish){.id = "i-orphan", .host = 64});
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    memcpy(dead_run, owner.run, sizeof dead_run);
    memcpy(dead_state, owner.state, sizeof dead_state);
    owner_release(&owner, false);
    owner = alive;
    backend = backend_of_alive;
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(dead_run, F_OK), -1);
    assert_int_equal(access(dead_state, F_OK), -1);
    assert_int_equal(access(owner.run, F_OK), 0);
}

static void a_monitor_killed_by_hand_takes_its_machine_along(void **state)
{
    struct census before;
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd;

    NEEDS_MACHINES();
    before = take_census();
    must_boot((struct machine_wish){.id = "i-mon", .host = 65});
    AWAIT("i-mon", booted, 1);
    fd = connect_monitor("i-mon");
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    assert_int_equal(kill(peer.pid, SIGKILL), 0); /* connected: it is this monitor */
    close(fd);
    AWAIT("i-mon", exited, 1);
    assert_int_equal(WTERMSIG(seen_of(S("i-mon"))->exit.status), SIGKILL);
    must_remove("i-mon");
    assert_same_census(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_server_adopts_what_runs),
        cmocka_unit_test(an_end_that_no_server_saw_is_told_to_the_next),
        cmocka_unit_test(an_end_that_was_asked_for_is_not_told_to_the_next_server),
        cmocka_unit_test(a_machine_whose_init_hangs_is_killed_by_its_monitor_when_the_grace_is_over),
        cmocka_unit_test(a_dead_owners_machines_are_reaped),
        cmocka_unit_test(a_monitor_killed_by_hand_takes_its_machine_along),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
