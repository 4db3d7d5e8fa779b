/* The record's lines: "boot ID", then "was NAME FIELD VALUE" for what to restore, then "owner ID". */
#include "fabric/forwarding.h"
#include "base/fd.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN "/run/haar"
#define CONF "/proc/sys/net/ipv4/conf"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum { RECORD_LIMIT = 1 << 20 };

struct record {
    char path[64];
    struct buf was, owners; /* whole lines */
    size_t owner_count;
};

static void record_free(struct record *record)
{
    buf_free(&record->was);
    buf_free(&record->owners);
}

#define AUTO_RECORD __attribute__((cleanup(record_free))) struct record

/* ---- sysctls ---- */

static int sysctl_read(const char *name, const char *field, struct buf *out)
{
    char path[320];

    snprintf(path, sizeof path, CONF "/%s/%s", name, field);
    out->len = 0;
    return file_read(AT_FDCWD, path, out, 64, &ERR_INIT);
}

static int sysctl_write(const char *name, const char *field, struct str value, struct err *err)
{
    char path[320];
    AUTO_FD fd = -1;

    snprintf(path, sizeof path, CONF "/%s/%s", name, field);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, value.p, value.len) < 0)
        return err_os(err, errno, "write %s", path);
    return 0;
}

/* Of "all" it is what net.ipv4.ip_forward is another name for. */
bool forwarding_is_on(void)
{
    AUTO_BUF value = BUF_INIT;

    return sysctl_read("all", "forwarding", &value) == 0 && value.len && value.p[0] == '1';
}

static void note(struct record *record, const char *name, const char *field, struct str value)
{
    buf_printf(&record->was, "was %s %s " STR_FMT "\n", name, field, STR_ARG(str_trim(value)));
}

/*
 * While it is off. A switch of "all" switches every interface and "default" with it, and sets accept_redirects of "all"
 * to the opposite (inet_forward_change() in net/ipv4/devinet.c).
 */
static void note_what_is(struct record *record)
{
    AUTO_BUF value = BUF_INIT;
    DIR *dir = opendir(CONF);

    record->was.len = 0;
    if (sysctl_read("all", "accept_redirects", &value) == 0)
        note(record, "all", "accept_redirects", buf_str(&value));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.' && sysctl_read(entry->d_name, "forwarding", &value) == 0 && value.len &&
            value.p[0] == '1')
            note(record, entry->d_name, "forwarding", buf_str(&value));
    }
    if (dir)
        closedir(dir);
}

/* An interface that has gone since is none's concern. */
static void restore(const struct record *record)
{
    struct str rest = buf_str(&record->was);
    struct err err = ERR_INIT;

    if (forwarding_is_on() && sysctl_write("all", "forwarding", S("0"), &err) < 0)
        log_warning("forwarding stays on: %s", err.text);
    while (rest.len) {
        struct str line = str_cut(&rest, '\n'), name, field;
        char name_z[64], field_z[64];

        str_cut(&line, ' ');
        name = str_cut(&line, ' ');
        field = str_cut(&line, ' ');
        if (str_to_z(name, name_z, sizeof name_z) && str_to_z(field, field_z, sizeof field_z))
            sysctl_write(name_z, field_z, line, &ERR_INIT);
    }
}

/* ---- the record ---- */

/* Against other servers; closing it unlocks. */
static int lock_records(struct err *err)
{
    int r = dir_make(RUN, 0755, err), fd;

    if (r < 0)
        return r;
    fd = open(RUN, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        return fd;
    r = err_os(err, errno, "lock " RUN);
    fd_close(&fd);
    return r;
}

/* Its cookie is not given again, as its inode's number is; before Linux 5.14 there is none. */
static uint64_t namespace_id(void)
{
    AUTO_FD socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t cookie;
    socklen_t size = sizeof cookie;
    struct stat st;

    if (socket_fd >= 0 && getsockopt(socket_fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0)
        return cookie;
    return stat("/proc/thread-self/ns/net", &st) == 0 ? st.st_ino : 0;
}

static void read_boot(struct buf *out)
{
    file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", out, 64, &ERR_INIT);
    out->len = str_trim(buf_str(out)).len;
}

static bool has_run_folder(struct str owner)
{
    char path[64];
    int n = snprintf(path, sizeof path, RUN "/" STR_FMT, STR_ARG(owner));

    return n < (int)sizeof path && access(path, F_OK) == 0;
}

static void add_owner(struct record *record, struct str owner)
{
    buf_printf(&record->owners, "owner " STR_FMT "\n", STR_ARG(owner));
    record->owner_count++;
}

/* Without `owner`, and those that are gone. False: there is no record, of this boot. */
static bool record_read(struct record *record, struct str owner)
{
    AUTO_BUF text = BUF_INIT, boot = BUF_INIT;
    struct str rest;

    *record = (struct record){.was = BUF_INIT, .owners = BUF_INIT};
    snprintf(record->path, sizeof record->path, RUN "/forwarding-%llx", (unsigned long long)namespace_id());
    read_boot(&boot);
    if (file_read(AT_FDCWD, record->path, &text, RECORD_LIMIT, &ERR_INIT) < 0)
        return false;
    rest = buf_str(&text);
    while (rest.len) {
        struct str line = str_cut(&rest, '\n'), value = line, word = str_cut(&value, ' ');

        if (str_equal(word, S("boot")) && !str_equal(value, buf_str(&boot)))
            return false;
        if (str_equal(word, S("was")))
            buf_printf(&record->was, STR_FMT "\n", STR_ARG(line));
        else if (str_equal(word, S("owner")) && !str_equal(value, owner) && has_run_folder(value))
            add_owner(record, value);
    }
    return true;
}

static int record_write(const struct record *record, struct err *err)
{
    AUTO_BUF text = BUF_INIT, boot = BUF_INIT;

    read_boot(&boot);
    buf_printf(&text, "boot " STR_FMT "\n", STR_ARG(buf_str(&boot)));
    buf_append(&text, buf_str(&record->was));
    buf_append(&text, buf_str(&record->owners));
    return file_write_atomic(AT_FDCWD, record->path, buf_str(&text), 0600, err);
}

/* ---- who needs it ---- */

/* The record is there before anything is changed: who is killed in between has left word. */
int forwarding_claim(const char *owner, struct err *err)
{
    AUTO_FD lock = lock_records(err);
    AUTO_RECORD record = {0};
    bool on, ours;
    int r;

    if (lock < 0)
        return lock;
    ours = record_read(&record, str_of(owner));
    on = forwarding_is_on();
    if (on && !ours)
        return 0;
    if (!on)
        note_what_is(&record); /* whatever an older record says: somebody has turned it off since */
    add_owner(&record, str_of(owner));
    r = record_write(&record, err);
    return r == 0 && !on ? sysctl_write("all", "forwarding", S("1"), err) : r;
}

void forwarding_release(const char *owner)
{
    struct err err = ERR_INIT;
    AUTO_FD lock = lock_records(&err);
    AUTO_RECORD record = {0};

    if (lock < 0 || !record_read(&record, str_of(owner)))
        return;
    if (record.owner_count == 0) {
        restore(&record);
        unlink(record.path);
    } else if (record_write(&record, &err) < 0) {
        log_warning("%s", err.text);
    }
}
