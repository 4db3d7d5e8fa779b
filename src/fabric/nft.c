#include "fabric/nft.h"
#include "base/fd.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    MESSAGE_MAX = 64 * 1024, /* room kept for one: a nested attribute's length has 16 bits */
    LIST_MAX = 48 * 1024,    /* a longer list of elements goes on in another message */
};

struct nft_object {
    const char *what; /* "add chain" … */
    char name[NFT_NAME];
};

static struct nlmsghdr *current(const struct nft_batch *batch)
{
    return (struct nlmsghdr *)(batch->bytes.p + batch->message);
}

static void end_message(struct nft_batch *batch)
{
    batch->bytes.len = batch->message + MNL_ALIGN(current(batch)->nlmsg_len);
}

static void note_object(struct nft_batch *batch, const char *what, const char *name)
{
    mem_grow(batch->objects, batch->count, &batch->capacity);
    batch->objects[batch->count].what = what;
    snprintf(batch->objects[batch->count].name, NFT_NAME, "%s", name ? name : batch->table);
    batch->count++;
}

static struct nlmsghdr *put_message(struct nft_batch *batch, uint16_t type, uint16_t flags, uint8_t family,
                                    uint16_t resource)
{
    struct nlmsghdr *head;
    struct nfgenmsg *generic;

    buf_reserve(&batch->bytes, MESSAGE_MAX);
    batch->message = batch->bytes.len;
    head = mnl_nlmsg_put_header(batch->bytes.p + batch->message);
    head->nlmsg_type = type;
    head->nlmsg_flags = NLM_F_REQUEST | flags;
    head->nlmsg_seq = batch->first + (uint32_t)batch->count;
    generic = mnl_nlmsg_put_extra_header(head, sizeof *generic);
    *generic = (struct nfgenmsg){family, NFNETLINK_V0, htons(resource)};
    return head;
}

/* A message about an object of the batch's table; its table attribute is in it. */
static struct nlmsghdr *put_request(struct nft_batch *batch, uint16_t type, uint16_t flags, uint16_t table_attribute,
                                    const char *what, const char *name)
{
    struct nlmsghdr *head = put_message(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, batch->family, 0);

    note_object(batch, what, name);
    mnl_attr_put_strz(head, table_attribute, batch->table);
    return head;
}

/* ---- the batch ---- */

void nft_begin(struct nft_batch *batch, uint8_t family, const char *table)
{
    static atomic_uint batches;

    batch->first = atomic_fetch_add(&batches, 1) * 65536; /* so that answers of another batch are known */
    batch->bytes.len = 0;
    batch->count = 0;
    batch->family = family;
    batch->no_arp = false;
    snprintf(batch->table, NFT_NAME, "%s", table);
    put_message(batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    note_object(batch, "begin", "a batch");
    end_message(batch);
}

void nft_family(struct nft_batch *batch, uint8_t family)
{
    batch->family = family;
}

bool nft_is_empty(const struct nft_batch *batch)
{
    return batch->count <= 1;
}

void nft_free(struct nft_batch *batch)
{
    buf_free(&batch->bytes);
    free(batch->objects);
    *batch = NFT_BATCH_INIT;
}

static void make_room(int fd, size_t size)
{
    int room = (int)(size + 64 * 1024);

    if (size > 100 * 1024)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
}

static int open_socket(struct err *err)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    struct timeval limit = {.tv_sec = 10};
    int one = 1;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int number = errno;

        fd_close(&fd);
        return err_os(err, number, "open an nf_tables socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one); /* an error does not repeat the request */
    return fd;
}

/* One datagram's answers. 1: the last message has been answered. */
static int read_answers(const struct nft_batch *batch, int fd, struct err *err)
{
    char bytes[8192] __attribute__((aligned(8)));
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    int left = (int)n, result = 0;

    if (n < 0)
        return err_os(err, errno, "read nf_tables' answer");
    for (struct nlmsghdr *head = (void *)bytes; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
        const struct nlmsgerr *answer = mnl_nlmsg_get_payload(head);
        const struct nft_object *object;

        uint32_t at = head->nlmsg_seq - batch->first;

        if (head->nlmsg_type != NLMSG_ERROR || at >= batch->count) /* of a batch before, that had more errors */
            continue;
        object = &batch->objects[at];
        if (answer->error)
            return err_os(err, -answer->error, "%s %s in table %s", object->what, object->name, batch->table);
        if (at + 1 == batch->count)
            result = 1;
    }
    return result;
}

int nft_send_over(struct nft_batch *batch, int *fd, struct err *err)
{
    int r;

    if (nft_is_empty(batch))
        return 0;
    current(batch)->nlmsg_flags |= NLM_F_ACK;
    put_message(batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end_message(batch);
    if (*fd < 0)
        *fd = open_socket(err);
    if (*fd < 0)
        return *fd;
    make_room(*fd, batch->bytes.len);
    if (send(*fd, batch->bytes.p, batch->bytes.len, 0) < 0)
        return err_os(err, errno, "send %zu bytes of rules", batch->bytes.len);
    do
        r = read_answers(batch, *fd, err);
    while (r == 0);
    return r < 0 ? r : 0;
}

int nft_send(struct nft_batch *batch, struct err *err)
{
    AUTO_FD fd = -1;

    return nft_send_over(batch, &fd, err);
}

/* ---- tables and chains ---- */

void nft_table_add(struct nft_batch *batch)
{
    put_request(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFTA_TABLE_NAME, "add", NULL);
    end_message(batch);
}

void nft_table_delete(struct nft_batch *batch)
{
    put_request(batch, NFT_MSG_DELTABLE, 0, NFTA_TABLE_NAME, "delete", NULL);
    end_message(batch);
}

void nft_chain_add(struct nft_batch *batch, const char *name)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFTA_CHAIN_TABLE, "add chain", name);

    mnl_attr_put_strz(head, NFTA_CHAIN_NAME, name);
    end_message(batch);
}

void nft_base_chain_add(struct nft_batch *batch, const char *name, const struct nft_hook *hook)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFTA_CHAIN_TABLE, "add chain", name);
    struct nlattr *nest;

    mnl_attr_put_strz(head, NFTA_CHAIN_NAME, name);
    nest = mnl_attr_nest_start(head, NFTA_CHAIN_HOOK);
    mnl_attr_put_u32(head, NFTA_HOOK_HOOKNUM, htonl(hook->number));
    mnl_attr_put_u32(head, NFTA_HOOK_PRIORITY, htonl((uint32_t)hook->priority));
    mnl_attr_nest_end(head, nest);
    mnl_attr_put_u32(head, NFTA_CHAIN_POLICY, htonl(hook->policy));
    mnl_attr_put_strz(head, NFTA_CHAIN_TYPE, hook->type);
    end_message(batch);
}

void nft_chain_flush(struct nft_batch *batch, const char *name)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_DELRULE, 0, NFTA_RULE_TABLE, "empty chain", name);

    mnl_attr_put_strz(head, NFTA_RULE_CHAIN, name);
    end_message(batch);
}

void nft_chain_delete(struct nft_batch *batch, const char *name)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_DELCHAIN, 0, NFTA_CHAIN_TABLE, "delete chain", name);

    mnl_attr_put_strz(head, NFTA_CHAIN_NAME, name);
    end_message(batch);
}

/* ---- sets ---- */

/* What nft keeps beside a set, to show its values in the right order of bytes; see libnftnl's udata.h. */
static void put_byte_orders(struct nlmsghdr *head, const struct nft_set *set)
{
    enum { KEY = 0, DATA = 1, HOST = 1, NETWORK = 2 };
    struct {
        uint8_t type, size;
        uint32_t order;
    } __attribute__((packed)) notes[] = {
        {KEY, 4, set->key_type == NFT_TYPE_IFNAME ? HOST : NETWORK},
        {DATA, 4, set->data_type == NFT_TYPE_MARK ? HOST : NETWORK},
    };

    mnl_attr_put(head, NFTA_SET_USERDATA, set->data_type ? sizeof notes : sizeof notes[0], notes);
}

static void put_set(struct nft_batch *batch, const struct nft_set *set, uint32_t flags, uint32_t room)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_NEWSET, NLM_F_CREATE, NFTA_SET_TABLE, "add set", set->name);

    mnl_attr_put_strz(head, NFTA_SET_NAME, set->name);
    mnl_attr_put_u32(head, NFTA_SET_FLAGS, htonl(flags));
    mnl_attr_put_u32(head, NFTA_SET_KEY_TYPE, htonl(set->key_type));
    mnl_attr_put_u32(head, NFTA_SET_KEY_LEN, htonl(set->key_size));
    if (set->data_type) {
        mnl_attr_put_u32(head, NFTA_SET_DATA_TYPE, htonl(set->data_type));
        mnl_attr_put_u32(head, NFTA_SET_DATA_LEN, htonl(set->data_size));
    }
    mnl_attr_put_u32(head, NFTA_SET_ID, htonl((uint32_t)batch->count));
    if (room) {
        struct nlattr *nest = mnl_attr_nest_start(head, NFTA_SET_DESC);

        mnl_attr_put_u32(head, NFTA_SET_DESC_SIZE, htonl(room));
        mnl_attr_nest_end(head, nest);
    }
    put_byte_orders(head, set);
    end_message(batch);
}

void nft_set_add(struct nft_batch *batch, const struct nft_set *set)
{
    put_set(batch, set, set->data_type ? NFT_SET_MAP : 0, 0);
}

void nft_meter_add(struct nft_batch *batch, const struct nft_set *set, uint32_t room)
{
    put_set(batch, set, NFT_SET_EVAL, room);
}

void nft_set_delete(struct nft_batch *batch, const char *name)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_DELSET, 0, NFTA_SET_TABLE, "delete set", name);

    mnl_attr_put_strz(head, NFTA_SET_NAME, name);
    end_message(batch);
}

static struct nlattr *open_list(struct nft_batch *batch, uint16_t attribute)
{
    struct nlattr *nest = mnl_attr_nest_start(current(batch), attribute);

    batch->list = (size_t)((char *)nest - batch->bytes.p);
    return nest;
}

static void close_list(struct nft_batch *batch)
{
    mnl_attr_nest_end(current(batch), (struct nlattr *)(batch->bytes.p + batch->list));
    end_message(batch);
}

static void open_elements(struct nft_batch *batch)
{
    struct nlmsghdr *head = put_request(batch, batch->adding ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
                                        batch->adding ? NLM_F_CREATE : 0, NFTA_SET_ELEM_LIST_TABLE,
                                        batch->adding ? "add elements to" : "delete elements of", batch->set);

    mnl_attr_put_strz(head, NFTA_SET_ELEM_LIST_SET, batch->set);
    open_list(batch, NFTA_SET_ELEM_LIST_ELEMENTS);
    batch->listing = true;
}

void nft_elements_begin(struct nft_batch *batch, const char *set, bool add)
{
    batch->set = set;
    batch->adding = add;
    batch->listing = false; /* no message without an element */
}

void nft_elements_end(struct nft_batch *batch)
{
    if (batch->listing)
        close_list(batch);
    batch->listing = false;
}

static void put_value(struct nlmsghdr *head, uint16_t attribute, const void *value, size_t size)
{
    struct nlattr *nest = mnl_attr_nest_start(head, attribute);

    mnl_attr_put(head, NFTA_DATA_VALUE, size, value);
    mnl_attr_nest_end(head, nest);
}

static void put_verdict(struct nlmsghdr *head, uint16_t attribute, int code, const char *chain)
{
    struct nlattr *nest = mnl_attr_nest_start(head, attribute);
    struct nlattr *verdict = mnl_attr_nest_start(head, NFTA_DATA_VERDICT);

    mnl_attr_put_u32(head, NFTA_VERDICT_CODE, htonl((uint32_t)code));
    if (chain)
        mnl_attr_put_strz(head, NFTA_VERDICT_CHAIN, chain);
    mnl_attr_nest_end(head, verdict);
    mnl_attr_nest_end(head, nest);
}

static struct nlattr *begin_element(struct nft_batch *batch, const void *key, size_t size)
{
    struct nlattr *element;

    if (batch->listing && current(batch)->nlmsg_len > LIST_MAX)
        nft_elements_end(batch);
    if (!batch->listing)
        open_elements(batch);
    element = mnl_attr_nest_start(current(batch), NFTA_LIST_ELEM);
    put_value(current(batch), NFTA_SET_ELEM_KEY, key, size);
    return element;
}

void nft_element(struct nft_batch *batch, const void *key, size_t size)
{
    mnl_attr_nest_end(current(batch), begin_element(batch, key, size));
}

void nft_element_data(struct nft_batch *batch, const void *key, size_t size, const void *data, size_t data_size)
{
    struct nlattr *element = begin_element(batch, key, size);

    put_value(current(batch), NFTA_SET_ELEM_DATA, data, data_size);
    mnl_attr_nest_end(current(batch), element);
}

void nft_element_goto(struct nft_batch *batch, const void *key, size_t size, const char *chain)
{
    struct nlattr *element = begin_element(batch, key, size);

    put_verdict(current(batch), NFTA_SET_ELEM_DATA, NFT_GOTO, chain);
    mnl_attr_nest_end(current(batch), element);
}

/* ---- rules ---- */

void nft_rule_begin(struct nft_batch *batch, const char *chain)
{
    struct nlmsghdr *head = put_request(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFTA_RULE_TABLE,
                                        "add a rule to chain", chain);

    mnl_attr_put_strz(head, NFTA_RULE_CHAIN, chain);
    open_list(batch, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft_batch *batch)
{
    close_list(batch);
}

struct expression {
    struct nlattr *element, *data;
};

static struct expression begin(struct nlmsghdr *head, const char *name)
{
    struct expression expression = {.element = mnl_attr_nest_start(head, NFTA_LIST_ELEM)};

    mnl_attr_put_strz(head, NFTA_EXPR_NAME, name);
    expression.data = mnl_attr_nest_start(head, NFTA_EXPR_DATA);
    return expression;
}

static void end(struct nlmsghdr *head, struct expression expression)
{
    mnl_attr_nest_end(head, expression.data);
    mnl_attr_nest_end(head, expression.element);
}

static void put_number(struct nlmsghdr *head, uint16_t attribute, uint32_t number)
{
    mnl_attr_put_u32(head, attribute, htonl(number));
}

void nft_meta(struct nft_batch *batch, enum nft_meta_keys key, uint32_t to)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "meta");

    put_number(head, NFTA_META_KEY, key);
    put_number(head, NFTA_META_DREG, to);
    end(head, expression);
}

void nft_meta_set(struct nft_batch *batch, enum nft_meta_keys key, uint32_t from)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "meta");

    put_number(head, NFTA_META_KEY, key);
    put_number(head, NFTA_META_SREG, from);
    end(head, expression);
}

void nft_ct(struct nft_batch *batch, enum nft_ct_keys key, uint32_t to)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "ct");

    put_number(head, NFTA_CT_KEY, key);
    put_number(head, NFTA_CT_DREG, to);
    end(head, expression);
}

void nft_payload(struct nft_batch *batch, enum nft_payload_bases base, uint32_t offset, uint32_t size, uint32_t to)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "payload");

    put_number(head, NFTA_PAYLOAD_DREG, to);
    put_number(head, NFTA_PAYLOAD_BASE, base);
    put_number(head, NFTA_PAYLOAD_OFFSET, offset);
    put_number(head, NFTA_PAYLOAD_LEN, size);
    end(head, expression);
}

void nft_bitwise(struct nft_batch *batch, uint32_t reg, const void *mask, size_t size)
{
    static const uint8_t zero[16];
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "bitwise");

    put_number(head, NFTA_BITWISE_SREG, reg);
    put_number(head, NFTA_BITWISE_DREG, reg);
    put_number(head, NFTA_BITWISE_LEN, (uint32_t)size);
    put_value(head, NFTA_BITWISE_MASK, mask, size);
    put_value(head, NFTA_BITWISE_XOR, zero, size);
    end(head, expression);
}

void nft_compare(struct nft_batch *batch, enum nft_cmp_ops op, uint32_t reg, const void *value, size_t size)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "cmp");

    put_number(head, NFTA_CMP_SREG, reg);
    put_number(head, NFTA_CMP_OP, op);
    put_value(head, NFTA_CMP_DATA, value, size);
    end(head, expression);
}

void nft_lookup(struct nft_batch *batch, const char *set, uint32_t key, enum nft_found found)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "lookup");

    mnl_attr_put_strz(head, NFTA_LOOKUP_SET, set);
    put_number(head, NFTA_LOOKUP_SREG, key);
    if (found == NFT_NOT_FOUND)
        put_number(head, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
    end(head, expression);
}

void nft_map(struct nft_batch *batch, const char *map, uint32_t key, uint32_t to)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "lookup");

    mnl_attr_put_strz(head, NFTA_LOOKUP_SET, map);
    put_number(head, NFTA_LOOKUP_SREG, key);
    put_number(head, NFTA_LOOKUP_DREG, to);
    end(head, expression);
}

void nft_count_over(struct nft_batch *batch, const char *set, uint32_t key, uint32_t limit)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "dynset");
    struct nlattr *each, *data;

    mnl_attr_put_strz(head, NFTA_DYNSET_SET_NAME, set);
    put_number(head, NFTA_DYNSET_OP, NFT_DYNSET_OP_ADD);
    put_number(head, NFTA_DYNSET_SREG_KEY, key);
    each = mnl_attr_nest_start(head, NFTA_DYNSET_EXPR);
    mnl_attr_put_strz(head, NFTA_EXPR_NAME, "connlimit");
    data = mnl_attr_nest_start(head, NFTA_EXPR_DATA);
    put_number(head, NFTA_CONNLIMIT_COUNT, limit);
    put_number(head, NFTA_CONNLIMIT_FLAGS, NFT_CONNLIMIT_F_INV);
    mnl_attr_nest_end(head, data);
    mnl_attr_nest_end(head, each);
    end(head, expression);
}

void nft_verdict(struct nft_batch *batch, int code, const char *chain)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "immediate");

    put_number(head, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    put_verdict(head, NFTA_IMMEDIATE_DATA, code, chain);
    end(head, expression);
}

void nft_counter(struct nft_batch *batch)
{
    struct nlmsghdr *head = current(batch);

    end(head, begin(head, "counter"));
}

void nft_nat(struct nft_batch *batch, enum nft_nat_types type, uint32_t address)
{
    struct nlmsghdr *head = current(batch);
    struct expression expression = begin(head, "nat");

    put_number(head, NFTA_NAT_TYPE, type);
    put_number(head, NFTA_NAT_FAMILY, NFPROTO_IPV4);
    put_number(head, NFTA_NAT_REG_ADDR_MIN, address);
    end(head, expression);
}

void nft_masquerade(struct nft_batch *batch)
{
    struct nlmsghdr *head = current(batch);

    end(head, begin(head, "masq"));
}

void nft_notrack(struct nft_batch *batch)
{
    struct nlmsghdr *head = current(batch);

    end(head, begin(head, "notrack"));
}

/* ---- several together ---- */

void nft_match_word(struct nft_batch *batch, enum nft_meta_keys key, uint8_t value)
{
    nft_meta(batch, key, NFT_REG_1);
    nft_compare(batch, NFT_CMP_EQ, NFT_REG_1, &value, 1);
}

void nft_match_link(struct nft_batch *batch, enum nft_meta_keys key, enum nft_cmp_ops op, const char *link)
{
    char name[16] = "";

    snprintf(name, sizeof name, "%s", link);
    nft_meta(batch, key, NFT_REG_1);
    nft_compare(batch, op, NFT_REG_1, name, sizeof name);
}

void nft_match_ct_state(struct nft_batch *batch, uint32_t bits)
{
    uint32_t none = 0;

    nft_ct(batch, NFT_CT_STATE, NFT_REG_1);
    nft_bitwise(batch, NFT_REG_1, &bits, sizeof bits);
    nft_compare(batch, NFT_CMP_NEQ, NFT_REG_1, &none, sizeof none);
}

void nft_match_network(struct nft_batch *batch, bool source, enum nft_cmp_ops op, uint32_t network, unsigned prefix)
{
    uint32_t mask = htonl(prefix ? UINT32_MAX << (32 - prefix) : 0), value = htonl(network) & mask;

    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    if (prefix == 0)
        return;
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, source ? 12 : 16, 4, NFT_REG_1);
    if (prefix < 32)
        nft_bitwise(batch, NFT_REG_1, &mask, sizeof mask);
    nft_compare(batch, op, NFT_REG_1, &value, sizeof value);
}
