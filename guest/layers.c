/*
 * What a machine's root is laid from, in the monitor, which is still the host's root. Each layer is bound below the
 * mount points with its ids mapped to the machine's, and overlays lie over them:
 *
 *   root       the machine's disk over the image's layers
 *   root/usr   the machine's disk over "view", where the image shows a folder of the host's
 *   view       that folder as an unprivileged user of the host sees it, read-only
 *
 * An overlay acts for ever with the rights of who mounted it. Who mounts the root owns what the machine owns. Who
 * mounts the view owns nothing, is in no group and may override nothing: whatever the machine's root may do to the
 * files that it seems to own there, the overlay itself opens what everybody may read, and no other file, whenever it
 * came to be or became private. The rule is the kernel's, at each access; nothing is looked for beforehand.
 */
#include "guest/kernel.h"
#include "guest/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The user and group that own nothing: above every machine's range of ids, so no mapped file's owner is it either. */
enum { STRANGER = 0x7fff0001, NOBODY = 65534 };

const char *layers_point(const struct monitor_config *config, const char *name, char *buf)
{
    snprintf(buf, MONITOR_PATH + 32, "%s/%s", config->mounts, name);
    return buf;
}

/* Binds `from` at `to`, with the ids of the user namespace `user` (-1: as they are). */
static int bind_mapped(const char *from, const char *to, int user)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV, .userns_fd = user};
    int tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int r = 0;

    if (tree < 0)
        return launch_fail_path("open layer", from);
    if (user >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        r = launch_fail_path("map the ids of", from);
    else if (move_mount(tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        r = launch_fail_path("mount at", to);
    close(tree);
    return r;
}

/* Binds the layers at points "<prefix>0" … and lists those for an overlay, relative to the folder of the points. */
static int bind_layers(const struct monitor_config *config, const char layers[][MONITOR_PATH], const char *prefix,
                       int user, char *list, size_t size)
{
    size_t at = 0;

    for (int i = 0; i < MONITOR_LAYERS && layers[i][0]; i++) {
        char name[16];

        snprintf(name, sizeof name, "%s%d", prefix, i);
        if (bind_mapped(layers[i], LAYERS_POINT(config, name), user) < 0)
            return -1;
        at += (size_t)snprintf(list + at, size - at, "%s%s", i ? ":" : "", name);
    }
    return 0;
}

static void act_as(uint32_t id)
{
    setfsgid(id);
    setfsuid(id);
}

/* The mount points are the current folder. */
static int mount_overlay(const struct monitor_config *config, const char *lower, const char *upper, const char *work,
                         const char *to)
{
    char options[256];
    int r = 0;

    snprintf(options, sizeof options, "lowerdir=%s,upperdir=disk/%s,workdir=disk/%s,index=off%s", lower, upper, work,
             config->volatile_disk ? ",volatile" : "");
    act_as(config->id_base); /* through a mapped layer only a mapped id may create anything */
    if (mount("haar", to, "overlay", MS_NODEV, options) < 0)
        r = launch_fail_path("mount the overlay", to);
    act_as(0);
    return r;
}

/* A host that is a container may have no such id. */
static int become_stranger(void)
{
    act_as(STRANGER);
    if (setfsuid(-1) != STRANGER || setfsgid(-1) != STRANGER)
        act_as(NOBODY);
    return setfsuid(-1) == 0 || setfsgid(-1) == 0 ? launch_fail("act as nobody") : 0;
}

static int mount_view(const char *lower)
{
    char options[128];
    uint64_t permitted;
    int r;

    snprintf(options, sizeof options, "lowerdir=%s,index=off", lower);
    if (setgroups(0, NULL) < 0 || get_capabilities(&permitted) < 0)
        return launch_fail("leave our groups");
    r = become_stranger();
    if (r == 0 && set_capabilities(permitted, permitted & 1ull << CAP_SYS_ADMIN) < 0)
        r = launch_fail("give up rights for a while");
    if (r == 0 && mount("haar", "view", "overlay", MS_NODEV | MS_RDONLY, options) < 0)
        r = launch_fail("mount the view of the host's folder");
    if (set_capabilities(permitted, permitted) < 0)
        r = launch_fail("take rights again");
    act_as(0);
    return r;
}

static int mount_all(const struct monitor_config *config, int user)
{
    char list[MONITOR_LAYERS * 16];

    if (bind_mapped(config->disk, LAYERS_POINT(config, "disk"), user) < 0 ||
        bind_layers(config, config->layers, "l", user, list, sizeof list) < 0 ||
        mount_overlay(config, list, "upper", "work", "root") < 0)
        return -1;
    if (!config->usr_layers[0][0])
        return 0;
    if (bind_layers(config, config->usr_layers, "u", user, list, sizeof list) < 0 ||
        (config->usr_is_viewed && mount_view(list) < 0))
        return -1;
    return mount_overlay(config, config->usr_is_viewed ? "view" : list, "usr-upper", "usr-work", "root/usr");
}

int layers_mount(const struct monitor_config *config, int user)
{
    int r;

    if (chdir(config->mounts) < 0)
        return launch_fail_path("enter", config->mounts);
    /* So that a change of ids leaves the monitor its rights. */
    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
    r = mount_all(config, user);
    prctl(PR_SET_SECUREBITS, 0, 0, 0, 0);
    return chdir("/") < 0 && r == 0 ? launch_fail("leave the mount points") : r;
}
