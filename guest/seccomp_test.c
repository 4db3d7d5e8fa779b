/* The compiled filters, read as the kernel reads them: their bytes are run over calls that no C program would make. */
#include "guest_seccomp.h"

#include <errno.h>
#include <linux/close_range.h>
#include <linux/falloc.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <setjmp.h>

#include <cmocka.h>

enum { INSTRUCTIONS = sizeof guest_seccomp / sizeof(struct sock_filter), CALLS = 512, COMPARED = 64 };

/* The one that is read; `usual` unless a test says otherwise. */
static const struct filter {
    const unsigned char *bytes;
    size_t size;
} usual = {guest_seccomp, sizeof guest_seccomp},
  allocation = {guest_seccomp_allocation, sizeof guest_seccomp_allocation},
  projects = {guest_seccomp_projects, sizeof guest_seccomp_projects};
static struct filter filter;

/* What a run looked at of its call's arguments: the constants that each was held against. */
struct trace {
    bool compared[6];
    uint32_t constants[COMPARED];
    size_t count;
};

static void note_constant(struct trace *trace, unsigned offset, uint32_t constant)
{
    if (offset < offsetof(struct seccomp_data, args))
        return;
    trace->compared[(offset - offsetof(struct seccomp_data, args)) / 8] = true;
    assert_true(trace->count < COMPARED);
    trace->constants[trace->count++] = constant;
}

static bool jumps(const struct sock_filter *at, uint32_t accumulator)
{
    switch (BPF_OP(at->code)) {
    case BPF_JEQ:
        return accumulator == at->k;
    case BPF_JGT:
        return accumulator > at->k;
    case BPF_JGE:
        return accumulator >= at->k;
    case BPF_JSET:
        return accumulator & at->k;
    default:
        fail_msg("jump %x", at->code);
        return false;
    }
}

/* The filter's verdict on a call. */
static uint32_t run(const struct seccomp_data *call, struct trace *trace)
{
    struct sock_filter program[INSTRUCTIONS];
    uint32_t accumulator = 0;
    unsigned loaded = 0;

    assert_true(filter.size <= sizeof program);
    memcpy(program, filter.bytes, filter.size);
    for (size_t i = 0; i < filter.size / sizeof *program; i++) {
        const struct sock_filter *at = &program[i];

        if (at->code == (BPF_LD | BPF_W | BPF_ABS)) {
            loaded = at->k;
            memcpy(&accumulator, (const char *)call + loaded, sizeof accumulator);
        } else if (at->code == (BPF_ALU | BPF_AND | BPF_K)) {
            accumulator &= at->k;
        } else if (at->code == (BPF_JMP | BPF_JA)) {
            i += at->k;
        } else if (BPF_CLASS(at->code) == BPF_JMP) {
            if (trace)
                note_constant(trace, loaded, at->k);
            i += jumps(at, accumulator) ? at->jt : at->jf;
        } else if (at->code == (BPF_RET | BPF_K)) {
            return at->k;
        } else {
            fail_msg("instruction %x", at->code);
        }
    }
    fail_msg("the filter has no end");
    return 0;
}

static uint32_t verdict(int number, unsigned argument, uint64_t value)
{
    struct seccomp_data call = {.nr = number, .arch = AUDIT_ARCH_X86_64};

    call.args[argument] = value;
    return run(&call, NULL);
}

static const uint32_t eperm = SECCOMP_RET_ERRNO | EPERM, enosys = SECCOMP_RET_ERRNO | ENOSYS;

/* Values of an argument that lead through every comparison of it: each constant, and one beside it. */
static void trace_call(int number, struct trace *trace)
{
    struct trace first = {0};

    run(&(struct seccomp_data){.nr = number, .arch = AUDIT_ARCH_X86_64}, &first);
    *trace = first;
    for (size_t i = 0; i < first.count; i++) {
        for (unsigned argument = 0; argument < 6; argument++) {
            struct seccomp_data call = {.nr = number, .arch = AUDIT_ARCH_X86_64};

            call.args[argument] = first.constants[i];
            if (first.compared[argument])
                run(&call, trace);
        }
    }
}

/* Everything that a filter compares is an int to the kernel. How many calls it looks into. */
static size_t assert_compares_ints(void)
{
    static const uint64_t high[] = {1ull << 32, 1ull << 63, 0xffffffffull << 32, 0xdeadbeefull << 32};
    size_t calls = 0;

    for (int number = 0; number < CALLS; number++) {
        struct trace trace;

        trace_call(number, &trace);
        calls += trace.count > 0;
        for (unsigned argument = 0; argument < 6; argument++) {
            for (size_t i = 0; trace.compared[argument] && i < trace.count * 3; i++) {
                uint32_t low = trace.constants[i / 3] + (uint32_t)(i % 3) - 1;
                uint32_t plain = verdict(number, argument, low);

                for (size_t h = 0; h < sizeof high / sizeof *high; h++) {
                    if (verdict(number, argument, high[h] | low) != plain)
                        fail_msg("call %d, argument %u: %#llx and %#x", number, argument,
                                 (unsigned long long)(high[h] | low), low);
                }
            }
        }
    }
    return calls;
}

static void what_an_argument_holds_above_an_int_changes_no_verdict(void **state)
{
    assert_true(assert_compares_ints() >= 3); /* clone, socket, socketpair at least */
    filter = allocation;
    assert_int_equal(assert_compares_ints(), 4); /* clone, close_range, fallocate, ioctl */
    filter = projects;
    assert_int_equal(assert_compares_ints(), 1);
}

static void families_and_namespaces_are_refused(void **state)
{
    static const int families[] = {AF_VSOCK, AF_ALG, AF_QIPCRTR};
    static const uint32_t namespaces[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                          CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(verdict(SYS_socket, 0, (uint64_t)families[i]), eperm);
        assert_int_equal(verdict(SYS_socketpair, 0, (uint64_t)families[i]), eperm);
    }
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
        assert_int_equal(verdict(SYS_clone, 0, namespaces[i] | 17), eperm);
}

static void what_programs_do_is_allowed(void **state)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};

    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        assert_int_equal(verdict(SYS_socket, 0, (uint64_t)families[i]), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_socketpair, 0, AF_UNIX), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_clone, 0, CLONE_VM | CLONE_FILES | CLONE_THREAD | CLONE_SIGHAND), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_clone, 0, 17), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_fallocate, 1, 0), SECCOMP_RET_ALLOW);
}

static void allocation_is_refused_and_giving_back_is_not(void **state)
{
    static const uint32_t takes[] = {0,
                                     FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE,
                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_UNSHARE_RANGE,
                                     0x80};
    static const uint32_t gives[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_COLLAPSE_RANGE,
                                     FALLOC_FL_INSERT_RANGE};
    static const uint32_t old[] = {0x40305828, 0x4030582a, 0x40305839}; /* RESVSP, RESVSP64, ZERO_RANGE */

    filter = allocation;
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++)
        assert_int_equal(verdict(SYS_fallocate, 1, takes[i]), SECCOMP_RET_ERRNO | EOPNOTSUPP);
    for (size_t i = 0; i < sizeof gives / sizeof *gives; i++)
        assert_int_equal(verdict(SYS_fallocate, 1, gives[i]), SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        assert_int_equal(verdict(SYS_ioctl, 1, old[i]), SECCOMP_RET_ERRNO | EOPNOTSUPP);
    assert_int_equal(verdict(SYS_ioctl, 1, FIONREAD), SECCOMP_RET_ALLOW);
}

static void a_thread_has_its_processs_descriptors(void **state)
{
    filter = allocation;
    assert_int_equal(verdict(SYS_clone, 0, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD), eperm);
    assert_int_equal(verdict(SYS_clone, 0, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_clone, 0, 17), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_close_range, 2, CLOSE_RANGE_UNSHARE), eperm);
    assert_int_equal(verdict(SYS_close_range, 2, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC), eperm);
    assert_int_equal(verdict(SYS_close_range, 2, CLOSE_RANGE_CLOEXEC), SECCOMP_RET_ALLOW);
    assert_int_equal(verdict(SYS_close_range, 2, 0), SECCOMP_RET_ALLOW);
}

static void no_file_changes_its_project(void **state)
{
    static const uint32_t refused[] = {(uint32_t)FS_IOC_FSSETXATTR, (uint32_t)FS_IOC_SETFLAGS,
                                       (uint32_t)FS_IOC32_SETFLAGS};

    filter = projects;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(verdict(SYS_ioctl, 1, refused[i]), SECCOMP_RET_ERRNO | ENOTTY);
    assert_int_equal(verdict(SYS_ioctl, 1, (uint32_t)FS_IOC_FSGETXATTR), SECCOMP_RET_ALLOW);
    filter = usual;
    assert_int_equal(verdict(469, 0, 0), enosys); /* file_setattr, which does the same */
}

static int begin_usual(void **state)
{
    filter = usual;
    return 0;
}

static void other_tables_of_calls_are_closed(void **state)
{
    struct seccomp_data call = {.nr = 20, .arch = AUDIT_ARCH_I386};

    assert_int_equal(run(&call, NULL), enosys);
    call = (struct seccomp_data){.nr = 0x40000000 | SYS_mount, .arch = AUDIT_ARCH_X86_64}; /* x32 */
    assert_int_not_equal(run(&call, NULL), SECCOMP_RET_ALLOW);
    call.nr = 0x40000000 | SYS_getpid;
    assert_int_not_equal(run(&call, NULL), SECCOMP_RET_ALLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_an_argument_holds_above_an_int_changes_no_verdict, begin_usual),
        cmocka_unit_test_setup(families_and_namespaces_are_refused, begin_usual),
        cmocka_unit_test_setup(what_programs_do_is_allowed, begin_usual),
        cmocka_unit_test_setup(allocation_is_refused_and_giving_back_is_not, begin_usual),
        cmocka_unit_test_setup(a_thread_has_its_processs_descriptors, begin_usual),
        cmocka_unit_test_setup(no_file_changes_its_project, begin_usual),
        cmocka_unit_test_setup(other_tables_of_calls_are_closed, begin_usual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
