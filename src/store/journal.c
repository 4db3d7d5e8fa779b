#include "store/journal.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/doc.h"
#include "store/load.h"

#include <errno.h>
#include <stdatomic.h>

enum {
    QUEUE_LIMIT = 64 << 20, /* bytes that may wait for the writer; a single commit may go beyond */
    HAND_OVER_AT = 1 << 20, /* bytes of commits, when the loop does not turn */
    LOG_LIMIT = 64 << 20,   /* bytes in the log beyond which it is folded under load too */
    SLICE = 16 << 10,       /* bytes folded in one transaction: about a millisecond */
    BUFFER_KEPT = 1 << 20,  /* bytes of a buffer that a burst has blown up */
    IDLE_NS = 50 * 1000000, /* nothing to write for so long: fold */
    REFUSE_AFTER_MS = 2000, /* of failing: longer than a hiccup, shorter than a client's patience */
    BACKOFF_MIN_MS = 10,
    BACKOFF_MAX_MS = 1000,
    LAST_TRIES_MS = 3000, /* at close */
};

struct group {
    struct buf names, batch; /* new names, which the batch's documents use */
};

struct journal {
    uv_async_t durable_wake; /* first: freed by its close callback */
    struct store *store;
    struct names names;
    size_t names_told; /* of them are in batches or in the file */
    uint32_t *kinds;   /* names of kinds, by kind; 0: not asked yet */
    struct buf doc;
    struct group pending;
    bool behind; /* too much waits, and that has been logged */

    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    struct group queue;  /* under the lock, as all to the next blank line */
    uint64_t queue_last; /* the newest commit in it */
    bool queued, trial;  /* there is something in it; that is an empty row */
    bool refused;        /* the writer has given up, and waits until the loop has taken everything back */
    bool stop, sleeping;

    _Atomic uint64_t durable;
    _Atomic bool healthy;
    _Atomic size_t writing; /* bytes */

    struct db *db;      /* the writer's alone, as all that follows */
    struct group group; /* being written; the loop's while the writer has given up */
    bool failing;       /* since the last row of commits that was written: logged, and more is not waited for */
    bool fold_failed, fold_told; /* until a row is written; until folding works */
    bool folded;                 /* since the last checkpoint */
};

/* The lock is held. */
static void sleep_ms(struct journal *journal, unsigned ms)
{
    uint64_t until = uv_hrtime() + ms * (uint64_t)1000000;

    while (!journal->stop && uv_hrtime() < until)
        uv_cond_timedwait(&journal->wake, &journal->lock, until - uv_hrtime());
}

static void set_health(struct journal *journal, bool healthy)
{
    if (atomic_exchange(&journal->healthy, healthy) != healthy)
        uv_async_send(&journal->durable_wake);
}

/* An empty row is a small one: that it could be written does not say that the trouble is over. */
static void succeeded(struct journal *journal, bool trial)
{
    set_health(journal, true);
    if (trial || !journal->failing)
        return;
    log_info("the journal can be written again");
    journal->failing = false;
}

static void failed(struct journal *journal, const struct err *err)
{
    set_health(journal, false);
    if (!journal->failing)
        log_error("the journal cannot be written; changes are refused until it can: %s", err->text);
    journal->failing = true;
}

/* May a row that has failed be tried again, after a pause? For how long is said by *since, uv_hrtime of its first
 * failure, and *closing_ms, the pauses since the journal has been closing. */
static bool may_retry(struct journal *journal, unsigned pause, bool trial, uint64_t since, unsigned *closing_ms)
{
    bool stop;

    uv_mutex_lock(&journal->lock);
    stop = journal->stop;
    if (!stop && (trial || uv_hrtime() - since < REFUSE_AFTER_MS * (uint64_t)1000000))
        sleep_ms(journal, pause);
    else if (!stop)
        pause = 0;
    uv_mutex_unlock(&journal->lock);
    if (!stop)
        return pause > 0;
    uv_sleep(pause);
    return !trial && (*closing_ms += pause) <= LAST_TRIES_MS;
}

/* Tries until it is written, or as long as may be. A journal that was failing before is not waited for. */
static bool append(struct journal *journal, uint64_t last, bool trial)
{
    unsigned pause = BACKOFF_MIN_MS, closing_ms = 0;
    uint64_t since = journal->failing ? 0 : uv_hrtime();
    struct err err;

    while (db_append(journal->db, last, buf_str(&journal->group.names), buf_str(&journal->group.batch), &err) < 0) {
        failed(journal, &err);
        if (!may_retry(journal, pause, trial, since, &closing_ms))
            return false;
        pause = pause * 2 < BACKOFF_MAX_MS ? pause * 2 : BACKOFF_MAX_MS;
    }
    succeeded(journal, trial);
    return true;
}

/* A failure is told once, and ends folding until a row has been written. */
static void fold(struct journal *journal, size_t bytes)
{
    struct err err;

    if (db_fold(journal->db, bytes, &err) == 0) {
        journal->folded = true;
        journal->fold_told = false;
        return;
    }
    if (!journal->fold_told)
        log_warning("the journal's log is not folded: %s", err.text);
    journal->fold_told = true;
    journal->fold_failed = true;
}

static void rest(struct journal *journal)
{
    struct err err;

    if (db_log_bytes(journal->db) > 0 && !journal->fold_failed) {
        fold(journal, SLICE);
        return;
    }
    journal->folded = false;
    if (db_checkpoint(journal->db, &err) < 0)
        log_warning("%s", err.text);
}

static bool has_to_rest(const struct journal *journal)
{
    return (db_log_bytes(journal->db) > 0 && !journal->fold_failed) || journal->folded;
}

static void group_clear(struct group *group)
{
    if (group->batch.capacity > BUFFER_KEPT)
        buf_free(&group->batch);
    group->names.len = group->batch.len = 0;
}

/* Lets the loop take back what could not be written. False: it does not, because the journal is closing. */
static bool give_up(struct journal *journal)
{
    bool stop;

    uv_mutex_lock(&journal->lock);
    journal->refused = true;
    uv_async_send(&journal->durable_wake);
    while (journal->refused && !journal->stop)
        uv_cond_wait(&journal->wake, &journal->lock);
    stop = journal->refused;
    uv_mutex_unlock(&journal->lock);
    return !stop;
}

static bool write_group(struct journal *journal, uint64_t last, bool trial)
{
    if (!append(journal, last, trial))
        return give_up(journal);
    journal->fold_failed = false;
    atomic_store(&journal->durable, last);
    uv_async_send(&journal->durable_wake);
    if (db_log_bytes(journal->db) > LOG_LIMIT)
        fold(journal, SLICE + 2 * journal->group.batch.len);
    group_clear(&journal->group);
    atomic_store(&journal->writing, 0);
    return true;
}

/* Waits for something to write; folds when there is nothing for a while. The lock is held. False: closing, and all is
 * written. */
static bool wait_for_group(struct journal *journal)
{
    bool idle = false;

    while (!journal->queued && !journal->stop) {
        if (idle && has_to_rest(journal)) {
            uv_mutex_unlock(&journal->lock);
            rest(journal);
            uv_mutex_lock(&journal->lock);
            continue;
        }
        journal->sleeping = true;
        if (has_to_rest(journal))
            idle = uv_cond_timedwait(&journal->wake, &journal->lock, IDLE_NS) == UV_ETIMEDOUT;
        else
            uv_cond_wait(&journal->wake, &journal->lock);
        journal->sleeping = false;
    }
    return journal->queued;
}

static void writer(void *arg)
{
    struct journal *journal = arg;
    bool going = true, trial;

    while (going) {
        struct group taken;
        uint64_t last;

        uv_mutex_lock(&journal->lock);
        going = wait_for_group(journal);
        taken = journal->queue;
        journal->queue = journal->group;
        journal->group = taken;
        last = journal->queue_last;
        trial = journal->trial;
        journal->queued = journal->trial = false;
        atomic_store(&journal->writing, taken.batch.len);
        uv_mutex_unlock(&journal->lock);
        if (going)
            going = write_group(journal, last, trial);
    }
}

/* Something is in the queue now. The lock is held. */
static void wake_writer(struct journal *journal, uint64_t last)
{
    journal->queued = true;
    journal->queue_last = last;
    if (journal->sleeping)
        uv_cond_signal(&journal->wake);
}

/* Its names go on, since documents to come use them; its commits do not. */
static void drop_group(struct journal *journal, struct group *group)
{
    buf_append(&journal->queue.names, buf_str(&group->names));
    group_clear(group);
}

/* All that has not been written is dropped and taken back, and the writer goes on with an empty row. */
static void take_back(struct journal *journal)
{
    struct store *store = journal->store;

    undo_commits(store);
    uv_mutex_lock(&journal->lock);
    journal->queue.batch.len = 0;
    drop_group(journal, &journal->group);
    drop_group(journal, &journal->pending);
    atomic_store(&journal->writing, 0);
    atomic_store(&journal->durable, store->last);
    journal->refused = false;
    journal->trial = true;
    wake_writer(journal, store->last);
    uv_cond_signal(&journal->wake);
    uv_mutex_unlock(&journal->lock);
    store->durable = store->last;
    feed_refuse(store);
}

static bool has_given_up(struct journal *journal)
{
    bool refused;

    uv_mutex_lock(&journal->lock);
    refused = journal->refused;
    uv_mutex_unlock(&journal->lock);
    return refused;
}

static void on_wake(uv_async_t *async)
{
    struct journal *journal = async->data;
    bool refused = !journal_healthy(journal) && has_given_up(journal); /* then nothing becomes durable meanwhile */

    feed_advance(journal->store, journal_durable(journal));
    if (refused) {
        take_back(journal);
        feed_advance(journal->store, journal_durable(journal));
    }
    if (journal->store->durable == journal->store->last)
        uv_unref((uv_handle_t *)async);
}

static void start(struct journal *journal)
{
    uv_async_init(journal->store->loop, &journal->durable_wake, on_wake);
    journal->durable_wake.data = journal;
    uv_unref((uv_handle_t *)&journal->durable_wake); /* what waits keeps the loop alive, not the handle itself */
    uv_mutex_init(&journal->lock);
    uv_cond_init(&journal->wake);
    if (uv_thread_create(&journal->thread, writer, journal) < 0) /* as when memory is out */
        abort();
}

static void group_free(struct group *group)
{
    buf_free(&group->names);
    buf_free(&group->batch);
}

static void free_unstarted(struct journal *journal)
{
    names_free(&journal->names);
    buf_free(&journal->doc);
    group_free(&journal->pending);
    group_free(&journal->queue);
    group_free(&journal->group);
    free(journal->kinds);
    db_close(journal->db);
}

int journal_open(struct store *store, const char *folder, struct journal **ret, struct err *err)
{
    struct journal *journal = mem_alloc(sizeof *journal);
    int r = db_open(folder, &journal->db, err);

    if (r < 0) {
        free(journal);
        return r;
    }
    r = load_store(store, journal->db, &journal->names, &journal->names_told, err);
    if (r < 0) {
        free_unstarted(journal);
        free(journal);
        return r;
    }
    journal->store = store;
    journal->kinds = mem_alloc(store->kind_count * sizeof *journal->kinds);
    journal->durable = store->last;
    journal->healthy = true;
    start(journal);
    *ret = journal;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void journal_close(struct journal *journal)
{
    uv_mutex_lock(&journal->lock);
    journal->stop = true;
    uv_cond_signal(&journal->wake);
    uv_mutex_unlock(&journal->lock);
    uv_thread_join(&journal->thread);
    if (journal_durable(journal) < journal->store->last)
        log_error("the newest %llu commits are lost: the journal could not be written",
                  (unsigned long long)(journal->store->last - journal_durable(journal)));
    free_unstarted(journal);
    uv_mutex_destroy(&journal->lock);
    uv_cond_destroy(&journal->wake);
    uv_close((uv_handle_t *)&journal->durable_wake, on_closed);
}

bool journal_healthy(struct journal *journal)
{
    return atomic_load(&journal->healthy);
}

uint64_t journal_durable(struct journal *journal)
{
    return atomic_load(&journal->durable);
}

int journal_ready(struct journal *journal, struct err *err)
{
    size_t waiting;

    if (!journal_healthy(journal)) {
        err_plain(err, "the journal cannot be written at present");
        return -EAGAIN;
    }
    if (journal->pending.batch.len > HAND_OVER_AT)
        journal_hand_over(journal, journal->store->last);
    uv_mutex_lock(&journal->lock);
    waiting = journal->queue.batch.len;
    uv_mutex_unlock(&journal->lock);
    if (waiting + atomic_load(&journal->writing) <= QUEUE_LIMIT) {
        journal->behind = false;
        return 0;
    }
    err_plain(err, "the journal is %zu MiB behind", waiting >> 20);
    if (!journal->behind)
        log_error("changes are refused: %s", err->text);
    journal->behind = true;
    return -EAGAIN;
}

void journal_world(struct journal *journal, const struct world *world)
{
    struct op op = {OP_WORLD, .number = world->number, .text = world->account, .id = world->region};

    batch_add(&journal->pending.batch, &op);
}

void journal_world_end(struct journal *journal, uint64_t number)
{
    batch_add(&journal->pending.batch, &(struct op){OP_WORLD_END, .number = number});
}

static uint32_t kind_name(struct journal *journal, const struct table *table)
{
    uint32_t *number = &journal->kinds[table->number];

    if (!*number)
        *number = names_number(&journal->names, str_of(table->kind->name));
    return *number;
}

static void tell_names(struct journal *journal)
{
    for (; journal->names_told < journal->names.count; journal->names_told++) {
        uint64_t number = journal->names_told + 1;
        struct op op = {OP_NAME, .number = number, .text = names_text(&journal->names, number)};
        batch_add(&journal->pending.names, &op);
    }
}

static struct op record_op(struct journal *journal, enum op_kind kind, const struct record *record)
{
    return (struct op){
        .kind = kind,
        .number = record->created,
        .world = record->table->world->number,
        .name = kind_name(journal, record->table),
        .id = record->id,
    };
}

struct str journal_put(struct journal *journal, const struct record *record, const void *data)
{
    const struct store_kind *kind = record->table->kind;
    struct str foreign = record->now ? version_foreign(record->now) : (struct str){0};
    struct op op = record_op(journal, OP_PUT, record);
    bool keeps;

    journal->doc.len = 0;
    keeps = doc_encode(&journal->names, kind->service, &kind->service->shapes[kind->shape], data, foreign,
                       &journal->doc);
    op.doc = buf_str(&journal->doc);
    tell_names(journal);
    batch_add(&journal->pending.batch, &op);
    return keeps ? op.doc : (struct str){0};
}

void journal_remove(struct journal *journal, const struct record *record)
{
    struct op op = record_op(journal, OP_REMOVE, record);

    tell_names(journal);
    batch_add(&journal->pending.batch, &op);
}

void journal_hand_over(struct journal *journal, uint64_t last)
{
    if (!journal->pending.batch.len)
        return;
    uv_mutex_lock(&journal->lock);
    if (journal->queued) {
        buf_append(&journal->queue.names, buf_str(&journal->pending.names));
        buf_append(&journal->queue.batch, buf_str(&journal->pending.batch));
    } else {
        struct group empty = journal->queue;
        journal->queue = journal->pending;
        journal->pending = empty;
    }
    journal->pending.names.len = journal->pending.batch.len = 0;
    wake_writer(journal, last);
    uv_mutex_unlock(&journal->lock);
    uv_ref((uv_handle_t *)&journal->durable_wake);
}
