#include "fabric/reaper.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "fabric/conntrack.h"
#include "fabric/link.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { FLOWS_DELAY_US = 25000, FLOWS_LOOK_MS = 5 };

enum kind { LINK, FLOWS };

struct end {
    enum kind kind;
    uint64_t key;
    int socket;
    unsigned index;
    uint32_t address;
    int64_t due_us;
    struct end *next;
};

struct reaper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct end *waiting, *ending; /* not begun; in hand */
    bool closing;
};

static bool is_due(const struct reaper *reaper, const struct end *end)
{
    return reaper->closing || time_monotonic_us() >= end->due_us;
}

/* All of one kind and namespace that wait, taken out of the list. Flows first: somebody may wait for them. */
static struct end *take(struct reaper *reaper)
{
    struct end *first = NULL, *taken = NULL;

    for (struct end *at = reaper->waiting; at; at = at->next) {
        if (is_due(reaper, at) && (!first || at->kind == FLOWS))
            first = at;
    }
    for (struct end **at = &reaper->waiting; first && *at;) {
        struct end *end = *at;

        if (end->kind != first->kind || end->key != first->key) {
            at = &end->next;
            continue;
        }
        *at = end->next;
        end->next = taken;
        taken = end;
    }
    return taken;
}

static void end_flows(const struct end *ending)
{
    uint32_t addresses[CONNTRACK_ADDRESSES];
    struct err err = ERR_INIT;

    for (const struct end *at = ending; at;) {
        size_t count = 0;

        for (; at && count < CONNTRACK_ADDRESSES; at = at->next)
            addresses[count++] = at->address;
        if (conntrack_forget(ending->socket, addresses, count, &err) < 0)
            log_warning("%s", err.text);
    }
}

static void end_links(const struct end *ending)
{
    if (ending->next)
        link_delete_leaving(ending->socket);
    else
        link_delete(ending->index, ending->socket);
}

static void free_all(struct end *ending)
{
    while (ending) {
        struct end *next = ending->next;

        fd_close(&ending->socket);
        free(ending);
        ending = next;
    }
}

static void await_work(struct reaper *reaper)
{
    struct timespec until;

    if (!reaper->waiting) {
        pthread_cond_wait(&reaper->changed, &reaper->lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += FLOWS_LOOK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&reaper->changed, &reaper->lock, &until);
}

static void *reaper_main(void *arg)
{
    struct reaper *reaper = arg;

    pthread_mutex_lock(&reaper->lock);
    for (;;) {
        reaper->ending = take(reaper);
        if (!reaper->ending && reaper->closing)
            break;
        if (!reaper->ending) {
            await_work(reaper);
            continue;
        }
        pthread_mutex_unlock(&reaper->lock);
        if (reaper->ending->kind == FLOWS)
            end_flows(reaper->ending);
        else
            end_links(reaper->ending);
        pthread_mutex_lock(&reaper->lock);
        free_all(reaper->ending);
        reaper->ending = NULL;
        pthread_cond_broadcast(&reaper->changed);
    }
    pthread_mutex_unlock(&reaper->lock);
    return NULL;
}

static void add(struct reaper *reaper, struct end end)
{
    struct end *added = mem_copy(&end, sizeof end);

    if (end.socket < 0) {
        free(added);
        return;
    }
    pthread_mutex_lock(&reaper->lock);
    added->next = reaper->waiting;
    reaper->waiting = added;
    pthread_cond_broadcast(&reaper->changed);
    pthread_mutex_unlock(&reaper->lock);
}

void reaper_end_link(struct reaper *reaper, uint64_t key, unsigned index)
{
    add(reaper, (struct end){.kind = LINK, .key = key, .socket = link_socket(), .index = index});
}

void reaper_end_flows(struct reaper *reaper, uint64_t key, int socket, uint32_t address)
{
    add(reaper, (struct end){.kind = FLOWS,
                             .key = key,
                             .socket = socket,
                             .address = address,
                             .due_us = time_monotonic_us() + FLOWS_DELAY_US});
}

/* Whether there are any; they are urgent now. */
static bool hurry(struct end *list, uint64_t key, uint32_t address)
{
    bool found = false;

    for (; list; list = list->next) {
        if (list->kind != FLOWS || list->key != key || list->address != address)
            continue;
        list->due_us = 0;
        found = true;
    }
    return found;
}

void reaper_await_flows(struct reaper *reaper, uint64_t key, uint32_t address)
{
    pthread_mutex_lock(&reaper->lock);
    while (hurry(reaper->waiting, key, address) || hurry(reaper->ending, key, address)) {
        pthread_cond_broadcast(&reaper->changed);
        pthread_cond_wait(&reaper->changed, &reaper->lock);
    }
    pthread_mutex_unlock(&reaper->lock);
}

struct reaper *reaper_new(void)
{
    struct reaper *reaper = mem_alloc(sizeof *reaper);
    sigset_t all, before;

    pthread_mutex_init(&reaper->lock, NULL);
    pthread_cond_init(&reaper->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&reaper->thread, NULL, reaper_main, reaper) != 0)
        abort(); /* at the start, as when memory is out */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reaper;
}

void reaper_free(struct reaper *reaper)
{
    pthread_mutex_lock(&reaper->lock);
    reaper->closing = true;
    pthread_cond_broadcast(&reaper->changed);
    pthread_mutex_unlock(&reaper->lock);
    pthread_join(reaper->thread, NULL);
    free(reaper);
}
