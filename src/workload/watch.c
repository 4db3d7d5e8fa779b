/*
 * The watcher: one thread that hears all monitors. When a socket ends, its machine has ended: the watcher takes
 * away what it had on the host, then says so.
 */
#include "workload/machine.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(struct native *native, const struct machine *machine, enum workload_event_kind kind)
{
    struct workload_event event = {.kind = kind, .id = str_of(machine->id), .exit = machine->exit};

    native->sink.event(native->sink.cookie, &event);
}

static void note_exit(struct machine *machine, const struct monitor_message *message)
{
    machine->exited = true;
    machine->exit = (struct workload_exit){
        .status = message->number,
        .out_of_memory = message->flags & MONITOR_OUT_OF_MEMORY,
        .power_off = message->flags & MONITOR_POWER_OFF,
        .reboot = message->flags & MONITOR_REBOOT,
        .over_allowance = message->flags & MONITOR_OVER_ALLOWANCE,
    };
}

/* Positive: an event to tell, plus one. */
static int note(struct native *native, struct machine *machine, const struct monitor_message *message)
{
    int event = 0;

    pthread_mutex_lock(&native->lock);
    if (message->kind == MONITOR_READY && !machine->ready) {
        machine->ready = machine->was_ready = true;
        machine->state = MACHINE_RUNNING;
        event = 1 + WORKLOAD_READY;
    } else if (message->kind == MONITOR_BOOTED && !machine->booted) {
        machine->booted = true;
        event = 1 + WORKLOAD_BOOTED;
    } else if (message->kind == MONITOR_EXITED) {
        note_exit(machine, message);
    } else if (message->kind == MONITOR_FAILED) {
        err_os(&machine->failure, message->number, "%.*s", (int)sizeof message->text - 1, message->text);
    }
    pthread_cond_broadcast(&native->changed);
    pthread_mutex_unlock(&native->lock);
    return event;
}

/* ---- monitors that leave ---- */

/* A monitor may linger after its last word while the kernel unmounts its overlay, so it is not waited for at once. */
static void leave(struct native *native, pid_t pid)
{
    struct leaving *leaving = mem_alloc(sizeof *leaving);

    leaving->pid = pid;
    leaving->next = native->leaving;
    native->leaving = leaving;
}

/* last: those that stand still too. They have nothing left to do. */
static void reap(struct native *native, bool last)
{
    for (struct leaving **at = &native->leaving; *at;) {
        struct leaving *leaving = *at;

        if (last)
            kill(leaving->pid, SIGKILL); /* ours to wait for: nobody else can have its number */
        if (waitpid(leaving->pid, NULL, last ? 0 : WNOHANG) == 0) {
            at = &leaving->next;
            continue;
        }
        *at = leaving->next;
        free(leaving);
    }
}

/* ---- what monitors say ---- */

/* The machine is gone. If its monitor is without a word, it was killed: SIGKILL stands for what nobody saw. */
static void ended(struct native *native, struct machine *machine)
{
    bool told;

    epoll_ctl(native->poll, EPOLL_CTL_DEL, machine->control, NULL);
    if (machine->monitor_pid)
        leave(native, machine->monitor_pid);
    machine_clean(native, machine);
    pthread_mutex_lock(&native->lock);
    if (!machine->exited)
        machine->exit = (struct workload_exit){.status = SIGKILL, .lost = true};
    told = machine->state == MACHINE_RUNNING && !machine->asked; /* what is STARTING ends as ensure's error */
    fd_close(&machine->control);
    fd_close(&machine->monitor);
    machine->monitor_pid = 0;
    machine->state = MACHINE_STOPPED;
    machine->ready = machine->booted = machine->exited = machine->asked = machine->hurried = false;
    if (told) /* before anyone can start it anew, so that events keep their order */
        tell(native, machine, WORKLOAD_EXITED);
    pthread_cond_broadcast(&native->changed);
    pthread_mutex_unlock(&native->lock);
}

static void hear(struct native *native, struct machine *machine)
{
    struct monitor_message message;
    ssize_t n = recv(machine->control, &message, sizeof message, MSG_DONTWAIT);
    int event;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    event = n == sizeof message ? note(native, machine, &message) : 0;
    if (event > 0)
        tell(native, machine, (enum workload_event_kind)(event - 1));
    if (n <= 0 || machine->exited)
        ended(native, machine);
}

static void *watch_main(void *arg)
{
    struct native *native = arg;
    struct epoll_event events[64];

    for (;;) {
        int n = epoll_wait(native->poll, events, 64, native->leaving ? 20 : -1);
        bool ends = false;

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                hear(native, events[i].data.ptr);
            else
                ends = true;
        }
        reap(native, ends);
        if (ends)
            return NULL;
    }
}

void watch_add(struct native *native, struct machine *machine)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = machine};

    if (epoll_ctl(native->poll, EPOLL_CTL_ADD, machine->control, &event) < 0)
        log_error("watch %s: %s", machine->id, strerror(errno));
}

int watch_start(struct native *native, struct err *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    sigset_t all, before;
    int r;

    native->poll = epoll_create1(EPOLL_CLOEXEC);
    native->wake = eventfd(0, EFD_CLOEXEC);
    if (native->poll < 0 || native->wake < 0 || epoll_ctl(native->poll, EPOLL_CTL_ADD, native->wake, &event) < 0)
        return err_os(err, errno, "watch monitors");
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;

        if (machine->control >= 0)
            watch_add(native, machine);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&native->watcher, NULL, watch_main, native);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r ? err_os(err, r, "start the watcher") : 0;
}

void watch_stop(struct native *native)
{
    uint64_t one = 1;

    if (write(native->wake, &one, sizeof one) == sizeof one)
        pthread_join(native->watcher, NULL);
    fd_close(&native->poll);
    fd_close(&native->wake);
}
