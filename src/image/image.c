#include "image/image.h"
#include "base/fd.h"
#include "base/mem.h"
#include "image/hidden.h"
#include "image/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUSYBOX "/bin/busybox"

static const struct folder {
    const char *path;
    unsigned mode;
} folders[] = {
    {"dev", 0755},      {"proc", 0555},          {"sys", 0555},
    {"run", 0755},      {"tmp", 01777},          {"etc", 0755},
    {"root", 0700},     {"home", 0755},          {"mnt", 0755},
    {"opt", 0755},      {"srv", 0755},           {"var", 0755},
    {"usr", 0755},      {"var/lib", 0755},       {"var/log", 0755},
    {"var/tmp", 01777}, {"var/cache", 0755},     {"var/spool", 0755},
    {"var/mail", 0755}, {"var/lib/cloud", 0755}, {"var/lib/cloud/instance", 0755},
};

static const char *const power_names[] = {"poweroff", "reboot", "halt", "shutdown"};

#define PROFILE "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
#define NSSWITCH "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"

static int fill_common(int root, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++) {
        r = tree_folder(root, folders[i].path, folders[i].mode, err);
        if (r == 0 && fchmodat(root, folders[i].path, folders[i].mode, 0) < 0) /* whatever our umask is */
            r = err_os(err, errno, "set the mode of %s", folders[i].path);
    }
    if (r == 0)
        r = tree_link(root, "var/run", "/run", err);
    if (r == 0)
        r = tree_file(root, "etc/nsswitch.conf", S(NSSWITCH), 0644, err);
    return r;
}

static int fill_power(int root, const char *folder, struct str init, struct err *err)
{
    char path[128];
    int r;

    snprintf(path, sizeof path, "%s/haar-power", folder);
    r = tree_file(root, path, init, 0755, err);
    for (size_t i = 0; i < ARRAY_LEN(power_names) && r == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, power_names[i]);
        r = tree_link(root, path, "haar-power", err);
    }
    return r;
}

/* ---- tiny ---- */

/* The names that this busybox answers to, one a line. */
static int list_applets(struct buf *out, struct err *err)
{
    char *const argv[] = {"busybox", "--list", NULL};
    char *const envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    int pipes[2], status, r;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_os(err, errno, "open a pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    r = posix_spawn(&pid, BUSYBOX, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    if (r == 0) {
        r = fd_read_to_end(pipes[0], out, 64 * 1024);
        waitpid(pid, &status, 0);
    }
    close(pipes[0]);
    return r == 0 ? 0 : err_os(err, r < 0 ? -r : r, "list busybox's applets");
}

static int link_applets(int root, struct err *err)
{
    AUTO_BUF names = BUF_INIT;
    int r = list_applets(&names, err);
    struct str rest = buf_str(&names);

    while (r == 0 && rest.p && rest.len) {
        struct str name = str_cut(&rest, '\n');
        char path[64];

        if (name.len == 0 || name.len > 32 || str_contains(name, S("/")) || str_equal(name, S("busybox")))
            continue;
        snprintf(path, sizeof path, "bin/" STR_FMT, STR_ARG(name));
        /* Hard links: four hundred names, one inode to make and to delete. */
        if (linkat(root, "bin/busybox", root, path, 0) < 0 && errno != EEXIST)
            r = err_os(err, errno, "link %s", path);
    }
    return r;
}

#define TINY_PASSWD "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
#define TINY_GROUP "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
#define TINY_RELEASE "ID=haar-tiny\nNAME=\"haar tiny\"\nPRETTY_NAME=\"haar tiny (busybox)\"\n"

/* What an image is filled from. */
struct filling {
    struct str init;
    bool local;                /* the host's /usr/local too */
    const atomic_bool *cancel; /* may be NULL */
};

static int fill_tiny(int root, const struct filling *filling, struct err *err)
{
    int r = fill_common(root, err);

    if (r == 0)
        r = tree_folder(root, "bin", 0755, err);
    if (r == 0)
        r = tree_folder(root, "sbin", 0755, err);
    if (r == 0)
        r = tree_link(root, "usr/bin", "../bin", err);
    if (r == 0)
        r = tree_link(root, "usr/sbin", "../sbin", err);
    if (r == 0)
        r = tree_copy(BUSYBOX, root, "bin/busybox", filling->cancel, err);
    if (r == 0)
        r = fill_power(root, "sbin", filling->init, err);
    if (r == 0)
        r = tree_file(root, "etc/passwd", S(TINY_PASSWD), 0644, err);
    if (r == 0)
        r = tree_file(root, "etc/group", S(TINY_GROUP), 0644, err);
    if (r == 0)
        r = tree_file(root, "etc/profile", S(PROFILE), 0644, err);
    if (r == 0)
        r = tree_file(root, "etc/os-release", S(TINY_RELEASE), 0644, err);
    return r == 0 ? link_applets(root, err) : r;
}

/* ---- host ---- */

static const char *const copied[] = {
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates.conf",
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/bash.bashrc",
    "/etc/inputrc",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.gen",
    "/etc/locale.alias",
    "/etc/mime.types",
    "/etc/services",
    "/etc/protocols",
    "/etc/rpc",
    "/etc/ethertypes",
    "/etc/login.defs",
    "/etc/shells",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/skel",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/networks",
    "/etc/iproute2",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/perl",
    "/etc/terminfo",
    "/etc/magic",
    "/etc/xattr.conf",
    "/etc/security",
    "/etc/pam.d",
    "/etc/pam.conf",
    "/etc/environment",
    "/etc/debconf.conf",
};

static const char *const merged[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

/* The host's accounts that belong to software: id under 1000, or nobody. People's stay out; passwords too. */
static void pick_accounts(struct str text, struct buf *accounts, struct buf *shadow)
{
    while (text.p && text.len) {
        struct str line = str_cut(&text, '\n'), rest = line;
        struct str name = str_cut(&rest, ':');
        int64_t id;

        str_cut(&rest, ':');
        if (!name.len || !rest.p || !str_to_int(str_cut(&rest, ':'), &id) || (id >= 1000 && id != 65534))
            continue;
        buf_append(accounts, line);
        buf_byte(accounts, '\n');
        if (shadow)
            buf_printf(shadow, STR_FMT ":*:19000:0:99999:7:::\n", STR_ARG(name));
    }
}

static int fill_accounts(int root, struct err *err)
{
    AUTO_BUF passwd = BUF_INIT, group = BUF_INIT, accounts = BUF_INIT, groups = BUF_INIT, shadow = BUF_INIT;
    int r = file_read(AT_FDCWD, "/etc/passwd", &passwd, 1024 * 1024, err);

    if (r == 0)
        r = file_read(AT_FDCWD, "/etc/group", &group, 1024 * 1024, err);
    if (r < 0)
        return r;
    pick_accounts(buf_str(&passwd), &accounts, &shadow);
    pick_accounts(buf_str(&group), &groups, NULL);
    r = tree_file(root, "etc/passwd", buf_str(&accounts), 0644, err);
    if (r == 0)
        r = tree_file(root, "etc/group", buf_str(&groups), 0644, err);
    return r == 0 ? tree_file(root, "etc/shadow", buf_str(&shadow), 0600, err) : r;
}

static int fill_host(int root, const struct filling *filling, struct err *err)
{
    int r = fill_common(root, err);

    for (size_t i = 0; i < ARRAY_LEN(merged) && r == 0; i++) {
        char host[16], target[16];

        snprintf(host, sizeof host, "/%s", merged[i]);
        snprintf(target, sizeof target, "usr/%s", merged[i]);
        if (access(host, F_OK) == 0)
            r = tree_link(root, merged[i], target, err);
    }
    if (r == 0)
        r = tree_folder(root, "etc/ssl", 0755, err);
    for (size_t i = 0; i < ARRAY_LEN(copied) && r == 0; i++)
        r = tree_copy(copied[i], root, copied[i] + 1, filling->cancel, err);
    return r == 0 ? fill_accounts(root, err) : r;
}

static atomic_bool view_forgone;

void image_forgo_view(void)
{
    view_forgone = true;
}

/* The kernel stacks two overlays, and no third one. */
static bool usr_is_overlay(void)
{
    struct statfs fs;

    return statfs("/usr", &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

bool image_is_viewed(void)
{
    return !view_forgone && !usr_is_overlay();
}

static int fill_host_usr(int usr, const struct filling *filling, struct err *err)
{
    int r = tree_folder(usr, "sbin", 0755, err);

    if (r == 0)
        r = fill_power(usr, "sbin", filling->init, err);
    if (r == 0 && !filling->local)
        r = hidden_local(usr, err);
    if (r == 0)
        r = hidden_mounts(usr, filling->local, err);
    return r == 0 && !image_is_viewed() ? hidden_private(usr, filling->local, filling->cancel, err) : r;
}

/* ---- which ---- */

/* Merged /usr, bash, and a file system whose ids can be mapped (an overlay's cannot). */
static bool host_usable(void)
{
    struct stat st;

    return lstat("/lib", &st) == 0 && S_ISLNK(st.st_mode) && access("/usr/bin/bash", X_OK) == 0 && !usr_is_overlay();
}

struct str image_default(void)
{
    return host_usable() ? S("host") : S("tiny");
}

int image_probe(struct err *err)
{
    if (host_usable() || access(BUSYBOX, X_OK) == 0)
        return 0;
    return err_plain(err,
                     "no root file system: " BUSYBOX " is missing (package busybox-static), and /usr does not serve");
}

/* What an image was made from: another busybox, linker cache or program of ours makes another one. */
static uint32_t stamp_of(const struct filling *filling, bool host)
{
    static const char *const sources[] = {BUSYBOX, "/etc/ld.so.cache", "/etc/passwd", "/etc/group"};
    uint64_t hash = str_hash(filling->init) * 2 + filling->local;

    if (host)
        hash = hash * 31 + hidden_mounts_stamp() * 2 + image_is_viewed();

    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct stat st;

        if (stat(sources[i], &st) == 0)
            hash = hash * 31 + (uint64_t)st.st_ino * 7 + (uint64_t)st.st_mtim.tv_sec;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static int open_folder(const char *path, struct err *err)
{
    int r = dir_make(path, 0755, err), fd;

    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_os(err, errno, "open %s", path) : fd;
}

static int fill_at(const char *path, const char *sub,
                   int (*fill)(int root, const struct filling *filling, struct err *err), const struct filling *filling,
                   struct err *err)
{
    char full[IMAGE_PATH + 16];
    AUTO_FD root = -1;

    snprintf(full, sizeof full, "%s/%s", path, sub);
    root = open_folder(full, err);
    return root < 0 ? root : fill(root, filling, err);
}

/* Filled beside its place and renamed, so that an image is whole or absent. */
static int make(const char *path, bool host, const struct filling *filling, struct err *err)
{
    char fresh[IMAGE_PATH + 8];
    int r;

    snprintf(fresh, sizeof fresh, "%s.new", path);
    r = tree_remove(AT_FDCWD, fresh, err);
    if (r == 0)
        r = fill_at(fresh, "root", host ? fill_host : fill_tiny, filling, err);
    if (r == 0 && host)
        r = fill_at(fresh, "usr", fill_host_usr, filling, err);
    if (r == 0 && rename(fresh, path) < 0)
        r = err_os(err, errno, "name image %s", path);
    return r;
}

int image_prepare(const char *folder, struct str name, struct str init, bool local, const atomic_bool *cancel,
                  struct image *ret_image, struct err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const struct filling filling = {init, local, cancel};
    bool host = str_equal(name, S("host"));
    char path[IMAGE_PATH - 8];
    int r = 0;

    if (!host && !str_equal(name, S("tiny")))
        return err_plain(err, "there is no image '" STR_FMT "'", STR_ARG(name));
    if (!host && access(BUSYBOX, X_OK) < 0)
        return err_os(err, errno, "image tiny: " BUSYBOX " (package busybox-static)");
    pthread_mutex_lock(&lock);
    if (snprintf(path, sizeof path, "%s/" STR_FMT "-%08x", folder, STR_ARG(name), stamp_of(&filling, host)) >=
        (int)sizeof path)
        r = err_os(err, ENAMETOOLONG, "image folder %s", folder);
    else if (access(path, F_OK) < 0)
        r = make(path, host, &filling, err);
    pthread_mutex_unlock(&lock);
    if (r < 0)
        return err_wrap(err, "make image " STR_FMT, STR_ARG(name));
    *ret_image = (struct image){0};
    snprintf(ret_image->layers[0], IMAGE_PATH, "%s/root", path);
    if (host) {
        snprintf(ret_image->usr_layers[0], IMAGE_PATH, "%s/usr", path);
        snprintf(ret_image->usr_layers[1], IMAGE_PATH, "/usr");
        ret_image->usr_is_viewed = image_is_viewed();
    }
    return 0;
}
