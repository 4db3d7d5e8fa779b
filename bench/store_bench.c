/*
 * What the store costs: processor time (all threads) of a CreateTags-like commit, with 10 and 100,000
 * records, in memory and with a journal, alone and in groups of 16 as 16 clients make them; and the load of
 * 100,000 records from the log and from records. store_bench [FOLDER]: where the journal lies.
 */
#include "store/store.h"

#include "base/fd.h"
#include "base/mem.h"
#include "store/test_model.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { COMMITS = 50000, CLIENTS = 16 };

static uv_loop_t loop;
static struct arena arena;

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void end(const char *what, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

static struct store *open_store(const char *folder)
{
    struct store_options options = {model_kinds(), KIND_COUNT, folder, &loop};
    struct store *store;
    struct err err = ERR_INIT;

    if (store_open(&options, &store, &err) < 0)
        end("open", &err);
    return store;
}

static struct world *world_of(struct store *store)
{
    return store_world(store, S("000000000000"), S("us-east-1"));
}

static void close_store(struct store *store)
{
    store_close(store);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void wait_durable(struct store *store)
{
    while (store_durable(store) < store_last(store))
        uv_run(&loop, UV_RUN_ONCE);
}

static void commit(struct tx *tx)
{
    struct err err = ERR_INIT;

    if (tx_commit(tx, &err) < 0)
        end("commit", &err);
}

static struct str thing_id(size_t n)
{
    return arena_printf(&arena, "i-%017zx", n);
}

static void fill(struct store *store, size_t count)
{
    struct str groups[] = {S("sg-0123456789abcdef0")};
    struct tag tags[] = {{S("Name"), S("web server")}, {S("stage"), S("production")}};
    struct place place = {S("us-east-1a"), INT(3)};

    for (size_t n = 0; n < count;) {
        struct tx *tx = tx_begin(store, world_of(store), &arena, S("Fill"));
        for (size_t i = 0; i < 100 && n < count; i++, n++) {
            struct thing *thing = tx_create(tx, THING, thing_id(n));
            thing->owner = S("vpc-0123456789abcdef0"); /* all under one key */
            thing->name = S("a machine among others");
            thing->size = INT((int64_t)n);
            thing->made = TIME(1764072000123);
            thing->on = YES;
            thing->groups = (struct str_list){groups, 1};
            thing->tags = (struct tag_list){tags, 2};
            thing->place = &place;
        }
        commit(tx);
        arena_reset(&arena);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    wait_durable(store);
}

static void tag_one(struct store *store, size_t n)
{
    static struct tag tags[3] = {{S("Name"), S("web server")}, {S("stage"), S("production")}, {S("run"), {0}}};
    struct tx *tx = tx_begin(store, world_of(store), &arena, S("CreateTags"));
    struct thing *thing = tx_edit(tx, THING, thing_id(n));

    tags[2].value = S("2026-11-25");
    thing->tags = (struct tag_list){tags, 3};
    commit(tx);
}

static int turn(void)
{
    arena_reset(&arena);
    return uv_run(&loop, UV_RUN_NOWAIT);
}

/* µs of processor time a commit, `group` commits before each wait. */
static double measure(struct store *store, size_t records, int group, int commits, double *ret_wall)
{
    double cpu, wall;
    size_t n = 1;

    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    wall = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < commits; i += group) {
        for (int k = 0; k < group; k++) {
            n = (n * 7919 + 13) % records;
            tag_one(store, n);
        }
        arena_reset(&arena);
        uv_run(&loop, UV_RUN_NOWAIT);
        wait_durable(store);
    }
    *ret_wall = (seconds(CLOCK_MONOTONIC) - wall) * 1e6 / commits;
    return (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / commits;
}

static void bench(const char *name, const char *folder, size_t records)
{
    struct store *store = open_store(folder);
    double wall, cpu;
    int groups[] = {1, CLIENTS, CLIENTS};

    fill(store, records);
    for (size_t i = 0; i < records; i++) /* the tag is there everywhere, all is warm */
        tag_one(store, i), i % 100 ? 0 : turn();
    wait_durable(store);
    sleep(folder ? 3 : 0); /* the writer folds, as it does between bursts */
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        cpu = measure(store, records, groups[i], COMMITS * (i + 1), &wall);
        printf("%-10s %6zu records, groups of %2d: %6.2f us processor, %6.2f us wall a commit\n", name, records,
               groups[i], cpu, wall);
    }
    close_store(store);
}

/* RunInstances of 1,000: four records each, and a look into an index that holds none of them. */
static void bench_large(void)
{
    struct store *store = open_store(NULL);
    struct tx *tx = tx_begin(store, world_of(store), &arena, S("RunInstances"));
    double start = seconds(CLOCK_PROCESS_CPUTIME_ID);

    for (size_t n = 0; n < 4000; n++) {
        struct thing *thing = tx_create(tx, THING, thing_id(n));
        thing->owner = S("vpc-0123456789abcdef0");
        if (n % 4 == 0 && tx_find_any(tx, THING, 0, S("vpc-of another")))
            abort();
    }
    commit(tx);
    printf("in memory  4,000 creations and 1,000 look-ups in one transaction: %.1f ms\n",
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3);
    arena_reset(&arena);
    close_store(store);
}

static void load(const char *name, const char *folder)
{
    double start = seconds(CLOCK_MONOTONIC);
    struct store *store = open_store(folder);

    printf("%-10s load: %.0f ms\n", name, (seconds(CLOCK_MONOTONIC) - start) * 1e3);
    close_store(store);
}

static void bench_load(const char *folder)
{
    struct store *store = open_store(folder);

    fill(store, 100000);
    close_store(store);
    load("from log", folder);
    store = open_store(folder);
    fill(store, 0);
    sleep(4); /* the writer folds */
    close_store(store);
    load("folded", folder);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/haar-bench-XXXXXX";
    const char *base = argc > 1 ? argv[1] : mkdtemp(folder);
    size_t sizes[] = {10, 100000};
    struct err err = ERR_INIT;

    uv_loop_init(&loop);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        bench("in memory", NULL, sizes[i]);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *path = mem_printf("%s/%zu", base, sizes[i]);
        bench("journal", path, sizes[i]);
        free(path);
    }
    bench_large();
    char *path = mem_printf("%s/load", base);
    bench_load(path);
    free(path);
    if (tree_remove(AT_FDCWD, base, &err) < 0)
        end("remove", &err);
    arena_free(&arena);
    return 0;
}
