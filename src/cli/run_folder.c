#include "cli/run_folder.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

enum { SETTLE_MS = 200 };

static void address_path(const struct run_folder *folder, char path[OWNER_PATH + 8])
{
    snprintf(path, OWNER_PATH + 8, "%s/listen", folder->owner->run);
}

static int write_address(const struct run_folder *folder, struct err *err)
{
    char path[OWNER_PATH + 8];

    address_path(folder, path);
    return file_write_atomic(AT_FDCWD, path, folder->address, 0600, err);
}

static void on_event(uv_fs_event_t *watch, const char *name, int events, int status);

static void watch(struct run_folder *folder)
{
    int r;

    uv_fs_event_stop(&folder->watch); /* of a folder that is gone, perhaps */
    r = uv_fs_event_start(&folder->watch, on_event, folder->owner->run, 0);
    if (r < 0)
        log_info("%s is not watched: %s", folder->owner->run, uv_strerror(r));
}

/* The watch first: what happens from here on is looked at again. */
static void on_settled(uv_timer_t *timer)
{
    struct run_folder *folder = timer->data;
    struct err err = ERR_INIT;
    char path[OWNER_PATH + 8];
    int r = owner_restore(folder->owner, folder->data, &err);

    address_path(folder, path);
    if (r == 1)
        watch(folder);
    if (r >= 0 && access(path, F_OK) < 0) {
        r = write_address(folder, &err);
        r = r < 0 ? r : 1;
    }
    if (r < 0)
        log_warning("%s: %s", folder->owner->run, err.text);
    else if (r == 1)
        log_warning("%s was taken away and is made anew", folder->owner->run);
}

static void on_event(uv_fs_event_t *watched, const char *name, int events, int status)
{
    struct run_folder *folder = watched->data;

    uv_timer_start(&folder->settle, on_settled, SETTLE_MS, 0);
}

int run_folder_open(struct run_folder *folder, uv_loop_t *loop, struct owner *owner, struct str data,
                    struct str address, struct err *err)
{
    folder->owner = owner;
    folder->data = data;
    folder->address = address;
    uv_fs_event_init(loop, &folder->watch);
    uv_timer_init(loop, &folder->settle);
    folder->watch.data = folder->settle.data = folder;
    folder->open = true;
    watch(folder);
    return write_address(folder, err);
}

void run_folder_close(struct run_folder *folder)
{
    if (!folder->open)
        return;
    folder->open = false;
    uv_close((uv_handle_t *)&folder->watch, NULL);
    uv_close((uv_handle_t *)&folder->settle, NULL);
}
