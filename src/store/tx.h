/* A transaction from inside: what tx.c and commit.c share. */
#pragma once

#include "store/records.h"

struct tx {
    struct store *store;
    struct world *world;
    struct arena *arena;
    struct str what;
    struct draft *first, *last;
    struct tx *outer;    /* this one seeds a world for it; NULL: an ordinary one */
    uint64_t saw;        /* as tx_saw */
    struct err *failure; /* a world could not be seeded: tx_commit fails with this */
};

void tx_end(struct tx *tx); /* forgets its drafts; the store has no running transaction, or the outer one, again */
