#include "fabric/pool.h"
#include "base/fd.h"
#include "base/mem.h"
#include "fabric/netlink.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK "/run/haar/pool.lock"

enum { FIRST = 0xc6120000 /* 198.18.0.0 */, PREFIX = 20, POOLS = 32 };

struct taken {
    struct fabric_cidr *networks;
    size_t count, capacity;
    unsigned own_link; /* whose routes are ours */
};

static bool overlap(struct fabric_cidr a, struct fabric_cidr b)
{
    unsigned prefix = a.prefix < b.prefix ? a.prefix : b.prefix;
    uint32_t mask = prefix ? UINT32_MAX << (32 - prefix) : 0;

    return (a.network & mask) == (b.network & mask);
}

static bool is_taken(const struct taken *taken, struct fabric_cidr network)
{
    for (size_t i = 0; i < taken->count; i++) {
        if (overlap(taken->networks[i], network))
            return true;
    }
    return false;
}

static void take(struct taken *taken, struct fabric_cidr network)
{
    mem_grow(taken->networks, taken->count, &taken->capacity);
    taken->networks[taken->count++] = network;
}

static void note_route(void *cookie, const struct nlmsghdr *head)
{
    struct taken *taken = cookie;
    const struct rtmsg *info = mnl_nlmsg_get_payload(head);
    struct fabric_cidr to = {.prefix = info->rtm_dst_len};
    const struct nlattr *attribute;
    unsigned link = 0;

    mnl_attr_for_each(attribute, head, sizeof *info)
    {
        if (mnl_attr_get_type(attribute) == RTA_DST)
            to.network = ntohl(mnl_attr_get_u32(attribute));
        if (mnl_attr_get_type(attribute) == RTA_OIF)
            link = mnl_attr_get_u32(attribute);
    }
    if (to.prefix > 1 && (!link || link != taken->own_link)) /* /0 and /1 are default routes, a VPN's too */
        take(taken, to);
}

static bool read_pool(const char *path, struct fabric_cidr *ret)
{
    AUTO_BUF text = BUF_INIT;
    unsigned a, b, c, d, prefix;

    if (file_read(AT_FDCWD, path, &text, 64, &ERR_INIT) < 0)
        return false;
    buf_byte(&text, '\0');
    if (sscanf(text.p, "%3u.%3u.%3u.%3u/%2u", &a, &b, &c, &d, &prefix) != 5 || (a | b | c | d) > 255 || prefix < 8 ||
        prefix > 30)
        return false;
    *ret = (struct fabric_cidr){a << 24 | b << 16 | c << 8 | d, prefix};
    return true;
}

/* As workload/owner.h has it: a server's lock is held as long as it lives. */
static bool is_alive(const char *owner)
{
    char path[300];
    AUTO_FD lock = -1;

    snprintf(path, sizeof path, "/run/haar/%s/lock", owner);
    lock = open(path, O_RDONLY | O_CLOEXEC);
    return lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0;
}

/* Owners are folders side by side; of those that do not run, when only the living count, the pool is free. */
static void note_others(struct taken *taken, const char *owner, struct str state_dir, bool only_living)
{
    char parent[256], path[600];
    DIR *dir;

    if (!str_to_z(state_dir, parent, sizeof parent) || !strrchr(parent, '/'))
        return;
    *strrchr(parent, '/') = '\0';
    dir = opendir(parent);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct fabric_cidr pool;

        snprintf(path, sizeof path, "%s/%s/pool", parent, entry->d_name);
        if (strcmp(entry->d_name, owner) != 0 && read_pool(path, &pool) && (!only_living || is_alive(entry->d_name)))
            take(taken, pool);
    }
    if (dir)
        closedir(dir);
}

static int write_pool(const char *path, struct fabric_cidr pool, struct err *err)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%u.%u.%u.%u/%u\n", pool.network >> 24, pool.network >> 16 & 255,
                     pool.network >> 8 & 255, pool.network & 255, pool.prefix);

    return file_write_atomic(AT_FDCWD, path, (struct str){text, (size_t)n}, 0644, err);
}

static bool find_free(const struct taken *taken, struct fabric_cidr *ret)
{
    for (unsigned i = 0; i < POOLS; i++) {
        *ret = (struct fabric_cidr){FIRST + (i << (32 - PREFIX)), PREFIX};
        if (!is_taken(taken, *ret))
            return true;
    }
    return false;
}

static int choose(const struct taken *taken, const struct taken *living, struct fabric_cidr wanted, const char *path,
                  struct fabric_cidr *ret, struct err *err)
{
    if (wanted.prefix) {
        *ret = wanted;
        if (wanted.prefix < 8 || wanted.prefix > 30)
            return err_plain(err, "the public pool's prefix is 8 to 30");
        return is_taken(living, wanted) ? err_plain(err, "the public pool touches a network that the host has") : 0;
    }
    if (read_pool(path, ret) && !is_taken(living, *ret))
        return 0;
    if (find_free(taken, ret) || find_free(living, ret))
        return 0;
    return err_plain(err, "no /%d of 198.18.0.0/15 is free on this host: HAAR_PUBLIC_POOL names another network",
                     PREFIX);
}

int pool_take(const char *owner, struct str state_dir, struct fabric_cidr wanted, struct fabric_cidr *ret,
              struct err *err)
{
    struct taken taken = {0}, living = {0};
    char path[300], link[IFNAMSIZ];
    AUTO_FD lock = -1;
    int r;

    *ret = (struct fabric_cidr){0};
    mkdir("/run/haar", 0755);
    lock = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return err_os(err, errno, "lock " LOCK);
    snprintf(path, sizeof path, STR_FMT "/pool", STR_ARG(str_first(state_dir, 256)));
    snprintf(link, sizeof link, "haar-%s", owner);
    taken.own_link = living.own_link = if_nametoindex(link);
    r = netlink_list(RTM_GETROUTE, note_route, &taken, err);
    if (r == 0)
        r = netlink_list(RTM_GETROUTE, note_route, &living, err);
    note_others(&taken, owner, state_dir, false);
    note_others(&living, owner, state_dir, true);
    if (r == 0)
        r = choose(&taken, &living, wanted, path, ret, err);
    if (r == 0)
        r = write_pool(path, *ret, err);
    if (r < 0)
        *ret = (struct fabric_cidr){0};
    free(taken.networks);
    free(living.networks);
    return r;
}
