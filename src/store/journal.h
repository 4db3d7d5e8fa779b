/*
 * The journal: what makes commits durable. The loop encodes each commit's changes into a buffer and hands
 * the buffer over once a turn; the writer, a thread of its own, appends all that it was handed as one row of
 * the log, in one SQLite transaction, and wakes the loop. When it has nothing to do it folds log rows into
 * the record table, in small slices.
 *
 * Invariants
 *  1. Commits become durable in order; a row holds whole commits.
 *  2. A row that cannot be written is tried again for REFUSE_AFTER_MS, and meanwhile journal_ready fails. Then the
 *     loop drops it and all that waits behind it, and has the store take these commits back (undo.c). What is
 *     written next is an empty row with the number of the undoing, until it is written: that is the trial whether the
 *     disk is well again. A failed row leaves nothing in the WAL that a start would find: its last frame, which makes
 *     it count, is its last write, and there is no sync behind it; the empty row lies over the rest.
 *  3. Folding a row twice, or half and then again from its start, ends in the same records.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"

struct journal;
struct record;

/* Opens FOLDER/state.db and loads it into the store, which is empty. */
int journal_open(struct store *store, const char *folder, struct journal **ret, struct err *err);
/* Writes what it was handed, gives up after a few seconds when it cannot, ends the thread. */
void journal_close(struct journal *journal);

/* -EAGAIN while the journal cannot be written and while too many bytes wait for it: why is in the log, once. Ask before
 * the first journal_… of a commit. */
int journal_ready(struct journal *journal, struct err *err);
bool journal_healthy(struct journal *journal);
uint64_t journal_durable(struct journal *journal);

void journal_world(struct journal *journal,
                   const struct world *world); /* world->number is set; before its first record */
void journal_world_end(struct journal *journal, uint64_t number);
/* The record as `data` has it. Members that the model does not know are kept from its current version: then the
 * document, good until the next call, is returned, to be kept with the new version; else absent. */
struct str journal_put(struct journal *journal, const struct record *record, const void *data);
void journal_remove(struct journal *journal, const struct record *record);

/* Everything so far is for the writer; `last` is the newest commit in it. Nothing new: nothing happens. */
void journal_hand_over(struct journal *journal, uint64_t last);
