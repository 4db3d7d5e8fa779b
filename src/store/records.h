/*
 * The store from inside; only files of this folder include it.
 *
 * A record is a small shell that stays (its place in the maps, its links in indexes) around the version that
 * is current: one block, never changed once it is in. A commit puts a new version in and the old one on the
 * garbage queue, where it stays until the feed has delivered that commit.
 *
 * The running transaction is seen through the shells: record->draft says what it does with that record, and
 * records that it creates are in the maps at once, without a version. So a read costs the same inside a
 * transaction as outside, however many changes the transaction holds.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "store/store.h"

struct version {
    struct version *next; /* on the garbage queue */
    uint64_t replaced;    /* there: by which commit */
    uint64_t serial;      /* no two versions ever have the same */
    /* Its document, when that holds members which the model does not know: bytes of `data`. Length 0: it does not. */
    uint32_t foreign_at, foreign_len;
    uint64_t data[]; /* the record's struct, then what hangs on it */
};

/* One value of one record in an index. key NULL: the record has none. */
struct link {
    struct link *previous, *next; /* among those with the same value */
    struct link *sibling;         /* the same record's next in the same index, in the order of its path */
    struct index_key *key;
    struct record *record;
};

struct record {
    struct table *table;
    struct version *now; /* NULL: created by the running transaction */
    struct draft *draft; /* what the running transaction does with it; NULL: nothing */
    uint64_t created;    /* creation numbers rise over the whole store */
    struct str id;
    struct link links[]; /* an index's first, of the values that the record has; then the id's bytes */
};

struct draft {
    struct draft *next;          /* of the transaction, in order */
    struct draft *next_in_table; /* newest first */
    struct draft *next_found;    /* while tx_find gathers */
    struct table *table;
    struct record *record; /* NULL: created and removed again */
    void *data;            /* in the arena; NULL: removed */
};

/* All records of a kind in a world. */
struct table {
    struct world *world;
    const struct store_kind *kind;
    uint16_t number; /* of the kind */
    struct map by_id;
    struct place *order; /* by creation number; removed ones leave a hole until there are too many */
    size_t order_count, order_capacity, holes;
    size_t hint;          /* where the last tx_next stopped in `order` */
    struct draft *drafts; /* of the running transaction */
    size_t removed;       /* records that it removes */
    struct map indexes[]; /* kind->index_count of them: value → struct index_key */
};

struct place {
    uint64_t created;
    struct record *record; /* NULL: a hole */
};

struct world {
    struct store *store;
    struct world *previous, *next; /* in store->written or store->fresh */
    struct str key, account, region;
    struct table **tables; /* made when first needed */
    size_t table_count, table_capacity;
    uint64_t number; /* in the journal; 0: not written */
    uint64_t last_change;
    unsigned kept; /* by how many */
    bool seeded;
    struct record **seeds; /* seeded records that no commit has taken along yet, in order of creation */
    size_t seed_count, seed_capacity;
    uint8_t table_at[]; /* by kind: 1 + its table's place; 0: there is none. An account uses few of the kinds. */
};

struct world_list {
    struct world *first, *last;
};

struct subscriber {
    void (*each)(void *cookie, const struct change *change);
    void *cookie;
};

struct store {
    const struct store_kind *kinds;
    size_t kind_count;
    uv_loop_t *loop;

    struct map worlds;
    struct world_list written, fresh; /* fresh: nothing journaled; the longest unused first */
    size_t fresh_count;
    struct buf key;                 /* a world's key, while it is looked up */
    uint64_t world_number, created; /* the highest so far */

    struct tx *tx; /* the running one */
    int (*seed)(void *cookie, struct tx *tx, struct err *err);
    void *seed_cookie;

    uint64_t last, durable, delivered;
    bool lost; /* at the start, changes that had been written */
    struct feed *feed;
    struct journal *journal; /* NULL: in memory */
};

/* The changes of one commit: what the feed delivers, and what undo.c takes back. */
struct feed_batch {
    struct feed_batch *next;
    uint64_t number;
    struct str what;
    size_t count;
    struct feed_change {
        struct world *world;
        uint16_t kind;    /* or one of enum world_change */
        uint64_t created; /* the record's creation number; of a world's: its number in the journal */
        struct version *old, *new;
    } changes[]; /* then the bytes of `what` */
};

/* Not delivered. A world's come before the records that its commit creates or removes in it. */
enum world_change { WORLD_BEGAN = UINT16_MAX - 1, WORLD_ENDED };

/* table.c */
struct table *world_table(struct world *world, uint16_t kind);                   /* makes it */
struct table *world_has_table(const struct world *world, uint16_t kind);         /* NULL: it has no records */
void table_free(struct table *table);                                            /* with its records */
struct record *record_new(struct table *table, struct str id, uint64_t created); /* in the maps, without a version */
void record_free(struct record *record);                   /* out of maps and indexes; its version is not freed */
size_t table_after(struct table *table, uint64_t created); /* the first place with a higher number; may be a hole */
uint64_t version_serial(void);                             /* for a new version, made or loaded: one count for both */
struct version *version_new(const struct store_kind *kind, const void *data, struct str foreign);
struct str version_foreign(const struct version *version); /* absent: there is none */
static inline struct str data_id(const struct store_kind *kind, const void *data)
{
    return *(const struct str *)((const char *)data + kind->id_offset);
}

/* index.c */
/* The record is `new` from now on, and was `old`; NULL: it was not in the indexes. */
void index_update(struct record *record, const void *old, const void *new);
void index_remove(struct record *record);
void index_free(struct map *index);
struct link *index_first(struct table *table, unsigned index, struct str value);
struct link *link_next(const struct link *link);
struct record *link_record(const struct link *link);
size_t link_siblings(const struct link *link); /* how many records have its value */
bool data_reaches(const struct store_kind *kind, unsigned index, const void *data, struct str value);

/* commit.c */
void world_seed(struct world *world, struct tx *outer); /* unless it is; called when a transaction enters it */
/* The world as new. Seeds that no commit took along were never seen: they just go. batch may be NULL for such a world.
 */
void world_empty(struct world *world, struct feed_batch *batch);

/* store.c */
void world_written(struct world *world); /* it is in the journal from now on */
void world_fresh(struct world *world);   /* it is as new, without records */
void worlds_trim(struct store *store);
struct world *world_new(struct store *store, struct str account, struct str region);

/* feed.c */
struct feed *feed_new(struct store *store);
void feed_close(struct store *store);
void feed_wake(struct store *store); /* feed_advance in the loop's next turn */
struct feed_batch *feed_batch_new(uint64_t number, size_t room, struct str what);
void feed_batch_add(struct feed_batch *batch, const struct table *table, uint64_t created, struct version *old,
                    struct version *new);
void feed_batch_add_world(struct feed_batch *batch, enum world_change change, struct world *world);
void feed_push(struct store *store, struct feed_batch *batch);
void feed_discard(struct store *store, struct version *version, uint64_t replaced);
void feed_advance(struct store *store, uint64_t durable); /* calls who waits, delivers, collects */
/* The commits that are not durable, newest first, out of the feed; what they replaced is garbage no more. free() them.
 */
struct feed_batch *feed_cut(struct store *store);
void feed_refuse(struct store *store); /* calls all who wait: it will not be */

/* undo.c */
void undo_commits(struct store *store); /* all that are not durable */
