#include "cli/token.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static bool is_owner(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9')))
            return false;
    return s.len == 8;
}

/* host:port, [v6]:port: cut at the last colon. */
static struct str port_of(struct str address)
{
    size_t i = address.len;

    while (i && address.p[i - 1] != ':' && address.p[i - 1] != ']')
        i--;
    return i && address.p[i - 1] == ':' ? str_skip(address, i) : S("");
}

/* Loopback, by whichever of its names; exactly, as a name that only begins so may be anybody's. */
static bool is_this_host(struct str address)
{
    struct str host = str_first(address, address.len - port_of(address).len);
    struct in_addr in;
    char z[64];

    if (str_ends(host, S(":")))
        host.len--;
    return str_equal(host, S("localhost")) || str_equal(host, S("[::1]")) ||
           (str_to_z(host, z, sizeof z) && inet_pton(AF_INET, z, &in) == 1 && ntohl(in.s_addr) >> 24 == 127);
}

bool endpoint_is(struct str endpoint, struct str listen)
{
    struct str address = str_starts(endpoint, S("http://")) ? str_skip(endpoint, 7) : endpoint;

    address = str_cut(&address, '/');
    if (!listen.len || !str_equal(port_of(address), port_of(listen)))
        return false;
    return str_equal(address, listen) ||
           (is_this_host(address) &&
            (is_this_host(listen) || str_starts(listen, S("0.0.0.0:")) || str_starts(listen, S("[::]:"))));
}

static struct str read_line(struct arena *arena, struct str owner, const char *name)
{
    AUTO_BUF text = BUF_INIT;
    struct str path = arena_printf(arena, "/run/haar/" STR_FMT "/%s", STR_ARG(owner), name);
    struct err ignored = ERR_INIT;

    if (file_read(AT_FDCWD, path.p, &text, 4096, &ignored) < 0)
        return (struct str){0};
    return arena_str(arena, str_trim(buf_str(&text)));
}

/* A lock that we could take, for a moment and shared, is nobody's. */
static bool is_alive(struct arena *arena, struct str owner)
{
    struct str path = arena_printf(arena, "/run/haar/" STR_FMT "/lock", STR_ARG(owner));
    AUTO_FD fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

struct str token_read(struct arena *arena, struct str owner, struct str endpoint)
{
    if (!is_owner(owner) || !is_alive(arena, owner) || !endpoint_is(endpoint, read_line(arena, owner, "listen")))
        return (struct str){0};
    return read_line(arena, owner, "token");
}
