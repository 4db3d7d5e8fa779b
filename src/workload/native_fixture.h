/*
 * What tests with machines that really run share. Needs root; each test is skipped, by its name, where the probe says
 * that none can run.
 */
#pragma once

#include "base/buf.h"
#include "workload/owner.h"
#include "workload/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- the world ---- */

extern struct owner owner;
extern struct workload_backend backend;
extern char why_not[1000];       /* there are no machines; empty if there are */
extern bool host_bash;           /* the host image is what a machine boots by default */
extern unsigned pretend_missing; /* of the next backend that is opened: a bit a feature of the host */

#define NEEDS_MACHINES()                                  \
    do {                                                  \
        if (why_not[0]) {                                 \
            print_message("%s: %s\n", __func__, why_not); \
            skip();                                       \
        }                                                 \
    } while (0)

int open_world(void **state);
int close_world(void **state);
struct workload_backend open_backend(void);

/* ---- what machines have told ---- */

struct seen {
    char id[32];
    int ready, booted, exited;
    int64_t ready_us;
    struct workload_exit exit;
};

struct seen *seen_of(struct str id);
bool await_count(const char *id, size_t member, int count);
#define AWAIT(id, what, count) assert_true(await_count((id), offsetof(struct seen, what), (count)))

/* ---- what a test asks of a machine ---- */

struct machine_wish {
    const char *id, *image, *user_data, *vpc, *cidr;
    unsigned host;       /* of 10.9.0.0/16 */
    uint64_t disk_bytes; /* 0: without limit */
};

int boot(struct machine_wish wish, struct err *err);
void must_boot(struct machine_wish wish);
void must_remove(const char *id);

bool read_exactly(int fd, void *p, size_t size);
/* Its exit status; what it wrote, both outputs together, goes to `out`. */
int run_words(const char *id, const struct str *words, size_t count, bool tty, struct buf *out);
int run(const char *id, const char *script, struct buf *out);
void assert_output(const char *id, const char *script, const char *expected);
void read_console(const char *id, struct buf *out);

/* ---- what a host has ---- */

struct census {
    int mounts, links, namespaces, processes, cgroups, machines;
};

struct census take_census(void);
void assert_same_census(struct census before);
