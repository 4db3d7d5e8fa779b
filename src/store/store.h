/*
 * The store: typed records in worlds (an account in a region), changed by transactions, made durable by the
 * journal, published as one feed. Loop thread only; the journal's writer is a thread of its own behind it.
 *
 * A record is one block of memory: the C struct of its kind's shape and all that hangs on it, copied at
 * commit. Pointers to records are good until control returns to the loop (there the store frees what commits
 * have replaced, once the feed has delivered it); a const pointer taken before an edit of the same record
 * shows its old version. A pointer to a world that holds nothing is good as long.
 *
 * Invariants
 *  1. Every commit has a number, one higher than the last. Commit n is durable when store_durable() >= n.
 *  2. Nobody outside sees a commit before it is durable: answers wait for the newest commit that they could have seen
 *     (tx_saw or store_last as it was when they were made, store_when_durable), and the feed delivers durable changes
 *     only, in order.
 *  3. Without a data folder every commit is durable at once (but the feed still delivers from the loop,
 *     never from inside tx_commit).
 *  4. While the journal cannot be written (disk full), commits are refused. What was applied in memory but is not
 *     durable is tried again for two seconds, and then taken back: in memory all is as before, the journal
 *     never writes it, who waits for it is told so, and from then on everything in memory is durable again. A disk
 *     that neither takes a write nor refuses it is waited for, since what it will do with it is not known.
 */
#pragma once

#include "aws/shape.h"
#include "base/err.h"

#include <uv.h>

enum { STORE_MAX_INDEXES = 12 };

/* What the store knows of a kind of record. Rows are compiled by tools/modelc. */
struct store_kind {
    const char *name; /* "vpc": its name in the journal */
    const struct service *service;
    uint16_t shape;     /* the record's structure */
    uint16_t id_offset; /* a struct str in it: the record's id */
    uint16_t index_count;
    const path_step *indexes[STORE_MAX_INDEXES]; /* values under which records are found; a path may reach several */
};

struct store;
struct world;
struct tx;

struct store_options {
    const struct store_kind *kinds;
    size_t kind_count;
    const char *folder; /* NULL: in memory */
    uv_loop_t *loop;
};

/* Opens and loads. With a folder: FOLDER/state.db (SQLite, WAL). */
int store_open(const struct store_options *options, struct store **ret, struct err *err);
/* Makes FOLDER/state.db where it has never been. Missing or empty beside what only comes with it, it is an error, which
 * says how to go on: ask before anything else is put into the folder. */
int store_make(const char *folder, struct err *err);
/* Makes everything durable first (gives up after a few seconds on a disk that fails). The loop must run once more,
 * to close handles. */
void store_close(struct store *store);

uint64_t store_last(const struct store *store);    /* number of the newest commit */
uint64_t store_durable(const struct store *store); /* of the newest durable one */
/*
 * Calls done from the loop once commit `number` is durable; when it already is, at once (and returns NULL). Or, with
 * false, when it has been taken back: it never was, and what it was to change is as before.
 * cancel: it will not be called. Those still waiting at store_close are not called.
 */
struct store_wait;
struct store_wait *store_when_durable(struct store *store, uint64_t number, void (*done)(void *cookie, bool durable),
                                      void *cookie);
void store_wait_cancel(struct store_wait *wait);
bool store_has_lost(const struct store *store); /* at its start changes were missing that had been written */
bool store_healthy(const struct store *store);  /* false while the journal cannot be written */
/* Frees replaced versions and worlds that nobody wrote to. The loop does it after each delivery; only who runs no loop
 * calls it, when nothing points at records. */
void store_collect(struct store *store);

/*
 * Worlds are made when first asked for. One that holds nothing journaled is dropped again whenever control returns to
 * the loop (the longest unused first, beyond 256 of them). So a pointer to a world is good until then; who needs the
 * world later asks for it again by its names, or keeps it.
 */
struct world *store_world(struct store *store, struct str account, struct str region);
/* *place is the world from now on, and what was there is let go. While it is in a place it is not dropped. NULL is
 * none. */
void world_keep(struct world **place, struct world *world);
struct str world_account(const struct world *world);
struct str world_region(const struct world *world);
struct world *store_next_world(struct store *store, struct world *after); /* all, in no order; NULL starts and ends */

/*
 * Seeding: a world whose default records are computed, not stored. seed is called in the first
 * transaction that touches an empty, unseeded world, with a transaction of its own; its records are in memory only, and
 * become durable together with the first real commit in that world. When it fails, so does tx_commit, and the next
 * transaction tries again.
 */
void store_set_seed(struct store *store, int (*seed)(void *cookie, struct tx *tx, struct err *err), void *cookie);

/*
 * Transactions. One at a time. Reads see its own writes. Memory that an edited record points at must live
 * until tx_commit returns; commit copies. `what` names the operation, for the feed.
 */
struct tx *tx_begin(struct store *store, struct world *world, struct arena *arena, struct str what);
struct world *tx_world(const struct tx *tx);
struct arena *tx_arena(const struct tx *tx);
void tx_enter(struct tx *tx, struct world *world); /* go on in another world, explicitly */
/* Ends tx either way; on failure nothing is changed. -EAGAIN: the journal takes nothing at present, and has logged why;
 * later it may. */
int tx_commit(struct tx *tx, struct err *err);
void tx_rollback(struct tx *tx);      /* ends tx */
uint64_t tx_saw(const struct tx *tx); /* the newest commit in the worlds that it has entered */

const void *tx_get(struct tx *tx, uint16_t kind, struct str id); /* NULL: none */
void *tx_edit(struct tx *tx, uint16_t kind,
              struct str id); /* a copy in the arena, the same one when edited before; NULL: none */
void *tx_create(struct tx *tx, uint16_t kind, struct str id); /* a zeroed struct, its id set; the id must be free */
void tx_remove(struct tx *tx, uint16_t kind, struct str id);  /* absent is fine */
size_t tx_count(struct tx *tx, uint16_t kind);

/* In order of creation. *position starts at 0 and is what a page token carries: a record's creation number, stable over
 * removals. */
const void *tx_next(struct tx *tx, uint16_t kind, uint64_t *position);

/* All records of `kind` in the world whose n-th index reaches `value`, in order of creation. Also of a transaction's
 * own writes. */
size_t tx_find(struct tx *tx, uint16_t kind, unsigned index, struct str value, const void *const **ret);
/* Any one of them, or NULL: in constant time however many there are ("is it in use?", keys that are unique). */
const void *tx_find_any(struct tx *tx, uint16_t kind, unsigned index, struct str value);

/*
 * A number that this version of the record has, and no other version of any record in this process: what is computed
 * from records is still right while their numbers are the same. Not for what the running transaction has changed.
 */
uint64_t record_version(const void *record);

/* How many tx_find would give, without gathering them. */
size_t tx_find_count(struct tx *tx, uint16_t kind, unsigned index, struct str value);

/* The feed. old is NULL at creation, new at removal; both are good during the call. */
struct change {
    uint64_t number;
    struct world *world;
    uint16_t kind;
    struct str id;
    const void *old, *new;
    struct str what;
    bool last; /* of its commit */
};
/* Delivery is from the loop, after the change is durable. Seeded records are delivered when they become durable.
 * Commits that are taken back are not delivered, but every record that they touched is, as it is again: its removal
 * then may be of one that never was delivered, and old what nobody was told. */
void store_subscribe(struct store *store, void (*each)(void *cookie, const struct change *change), void *cookie);

/* Forgets every record of the account (absent: of all), durably; removals go through the feed. -EAGAIN as tx_commit's.
 */
int store_reset(struct store *store, struct str account, struct err *err);
