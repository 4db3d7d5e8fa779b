/*
 * What tests of the journal share: a store in a folder of its own, on a disk that fails when it is told to.
 */
#pragma once

#include "store/store.h"
#include "store/test_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

extern atomic_int disk_stuck; /* writes wait while it is set */
extern atomic_int disk_full;  /* every write fails */
extern atomic_int fail_at;    /* the n-th from now fails, once; -1: none */

void install_failing_disk(void); /* before a store is opened */

struct fixture {
    uv_loop_t loop;
    char folder[32], path[64];
    const struct store_kind *kinds;
    size_t kind_count;
    struct store *store;
    struct world *world;
    struct arena arena;
    struct tx *tx;
    size_t changes;
    uint64_t newest_change;
};

int setup(void **state);
int teardown(void **state);

int try_open(struct fixture *f, struct err *err);
void open_store(struct fixture *f);
void close_store(struct fixture *f);
void reopen(struct fixture *f);

struct tx *begin(struct fixture *f);
void commit(struct fixture *f);
int create_thing(struct fixture *f, int n, struct err *err);
void create_things(struct fixture *f, int first, int count);
const struct thing *get_thing(struct fixture *f, int n);
size_t count_things(struct fixture *f);

void set_flag(void *cookie, bool durable);
/* Runs the loop until everything is durable, but not for ever. */
bool settle(struct fixture *f);
int64_t query(struct fixture *f, const char *sql);

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
