#include "fabric/conntrack.h"
#include "base/buf.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { ANSWER_SIZE = 32 * 1024, DELETES_SIZE = 32 * 1024 };

static struct nlmsghdr *put_head(char *at, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *head = mnl_nlmsg_put_header(at);
    struct nfgenmsg *generic = mnl_nlmsg_put_extra_header(head, sizeof *generic);

    head->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    head->nlmsg_flags = NLM_F_REQUEST | flags;
    *generic = (struct nfgenmsg){AF_INET, NFNETLINK_V0, 0};
    return head;
}

struct wanted {
    const uint32_t *addresses;
    size_t count;
};

static bool is_wanted(const struct wanted *wanted, uint32_t address)
{
    for (size_t i = 0; i < wanted->count; i++) {
        if (wanted->addresses[i] == address)
            return true;
    }
    return false;
}

static bool tuple_has(const struct nlattr *tuple, const struct wanted *wanted)
{
    const struct nlattr *part, *ip;

    mnl_attr_for_each_nested(part, tuple)
    {
        if (mnl_attr_get_type(part) != CTA_TUPLE_IP)
            continue;
        mnl_attr_for_each_nested(ip, part)
        {
            if ((mnl_attr_get_type(ip) == CTA_IP_V4_SRC || mnl_attr_get_type(ip) == CTA_IP_V4_DST) &&
                is_wanted(wanted, ntohl(mnl_attr_get_u32(ip))))
                return true;
        }
    }
    return false;
}

/* Deletes what one entry of the dump names, when the address is in it. */
static void put_delete(struct buf *deletes, const struct nlmsghdr *entry, const struct wanted *wanted)
{
    const struct nlattr *attribute, *original = NULL, *id = NULL;
    struct nlmsghdr *head;
    bool has = false;

    mnl_attr_for_each(attribute, entry, sizeof(struct nfgenmsg))
    {
        uint16_t type = mnl_attr_get_type(attribute);

        if (type == CTA_TUPLE_ORIG)
            original = attribute;
        if (type == CTA_ID)
            id = attribute;
        if (type == CTA_TUPLE_ORIG || type == CTA_TUPLE_REPLY)
            has = has || tuple_has(attribute, wanted);
    }
    if (!has || !original)
        return;
    head = put_head(buf_reserve(deletes, 512), IPCTNL_MSG_CT_DELETE, 0);
    mnl_attr_put(head, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(original),
                 mnl_attr_get_payload(original));
    if (id)
        mnl_attr_put(head, CTA_ID, mnl_attr_get_payload_len(id), mnl_attr_get_payload(id));
    deletes->len += MNL_ALIGN(head->nlmsg_len);
}

/* One datagram of the dump. 1: the end. */
static int read_entries(int fd, const struct wanted *wanted, struct buf *deletes, struct err *err)
{
    static char bytes[ANSWER_SIZE] __attribute__((aligned(8))); /* one thread */
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    int left = (int)n;

    if (n < 0)
        return err_os(err, errno, "read the tracked flows");
    for (struct nlmsghdr *head = (void *)bytes; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
        if (head->nlmsg_type == NLMSG_DONE)
            return 1;
        if (head->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *answer = mnl_nlmsg_get_payload(head);

            return err_os(err, -answer->error, "list the tracked flows");
        }
        put_delete(deletes, head, wanted);
    }
    return 0;
}

/* Entry by entry: one that has ended meanwhile is no failure. */
static void send_deletes(int fd, const struct buf *deletes)
{
    for (size_t at = 0, end; at < deletes->len; at = end) {
        for (end = at; end < deletes->len && end - at < DELETES_SIZE;)
            end += MNL_ALIGN(((const struct nlmsghdr *)(deletes->p + end))->nlmsg_len);
        send(fd, deletes->p + at, end - at, 0);
    }
}

int conntrack_socket(void)
{
    struct timeval limit = {.tv_sec = 5};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* Answers to deletions that failed, entries that ended by themselves, are of no interest to the next. */
static void drain(int fd)
{
    char bytes[1024];

    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0)
        ;
}

int conntrack_forget(int fd, const uint32_t *addresses, size_t count, struct err *err)
{
    const struct wanted wanted = {addresses, count};
    AUTO_BUF deletes = BUF_INIT;
    char question[64] __attribute__((aligned(8)));
    struct nlmsghdr *head = put_head(question, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
    int r;

    if (send(fd, head, head->nlmsg_len, 0) < 0)
        return err_os(err, errno, "list the tracked flows");
    do
        r = read_entries(fd, &wanted, &deletes, err);
    while (r == 0);
    send_deletes(fd, &deletes);
    drain(fd);
    return r < 0 ? r : 0;
}
