/*
 * nf_tables requests as the kernel reads them: one batch of tables, chains, rules, sets and elements for one table,
 * taken whole or not at all. Only what the fabric's rules need; in design, section 9, why it is our own.
 *
 *     nft_begin(&batch, NFPROTO_INET, "haar_abc");
 *     nft_chain_add(&batch, "deny");
 *     nft_rule_begin(&batch, "deny");
 *     nft_counter(&batch);
 *     nft_verdict(&batch, NFT_DROP, NULL);
 *     nft_rule_end(&batch);
 *     r = nft_send(&batch, err);
 *
 * Objects are named by NUL-terminated strings under NFT_NAME bytes. A batch may be used again by nft_begin; nft_free
 * ends it. Addresses: IPv4, host order.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

enum { NFT_NAME = 32 };

struct nft_object;

struct nft_batch {
    struct buf bytes;
    size_t message; /* where the current one starts */
    size_t list;    /* its open list of expressions or elements */
    uint32_t first; /* sequence number */
    uint8_t family;
    bool no_arp; /* this kernel has no tables for ARP: whoever fills the batch leaves them out */
    char table[NFT_NAME];
    struct nft_object *objects; /* what each message is about */
    size_t count, capacity;
    const char *set; /* whose elements are being listed */
    bool adding, listing;
};

#define NFT_BATCH_INIT ((struct nft_batch){0})

void nft_begin(struct nft_batch *batch, uint8_t family, const char *table);
/* What follows is for the table of this name of another family: one batch changes both or none. */
void nft_family(struct nft_batch *batch, uint8_t family);
bool nft_is_empty(const struct nft_batch *batch);
void nft_free(struct nft_batch *batch);
#define AUTO_NFT __attribute__((cleanup(nft_free))) struct nft_batch

/*
 * To the network namespace that the calling thread is in. -errno of the first message that the kernel refused; err
 * says which object's. An empty batch: 0.
 */
int nft_send(struct nft_batch *batch, struct err *err);

/*
 * The same over a socket that is kept, opened here when *socket is -1. Closing one takes the kernel some milliseconds
 * while anything that was deleted over any of the namespace's waits for its grace period (nft_rcv_nl_event() in the
 * kernel's nf_tables_api.c), so what changes rules often keeps one as long as it keeps the namespace.
 */
int nft_send_over(struct nft_batch *batch, int *socket, struct err *err);

void nft_table_add(struct nft_batch *batch); /* there already: fine */
void nft_table_delete(struct nft_batch *batch);

struct nft_hook {
    const char *type; /* "filter", "nat" */
    uint32_t number;  /* NF_INET_… */
    int32_t priority;
    uint32_t policy; /* NF_ACCEPT, NF_DROP */
};

void nft_chain_add(struct nft_batch *batch, const char *name); /* there already: fine */
void nft_base_chain_add(struct nft_batch *batch, const char *name, const struct nft_hook *hook);
void nft_chain_flush(struct nft_batch *batch, const char *name);
void nft_chain_delete(struct nft_batch *batch, const char *name);

/* nft's numbers for the types of keys and data, so that `nft list` shows them; see datatype.h there. */
enum nft_type {
    NFT_TYPE_IPV4 = 7,
    NFT_TYPE_PROTOCOL = 12,
    NFT_TYPE_PORT = 13,
    NFT_TYPE_MARK = 19,
    NFT_TYPE_IFNAME = 41,
    NFT_TYPE_VERDICT = -256, /* NFT_DATA_VERDICT */
};
enum { NFT_TYPE_BITS = 6 }; /* a concatenation's type: its parts', the first one highest */

struct nft_set {
    const char *name;
    uint32_t key_type, key_size;
    uint32_t data_type, data_size; /* type 0: a set; else a map */
};

void nft_set_add(struct nft_batch *batch, const struct nft_set *set); /* there already: fine */
/* A set of which packets add elements, at most `room`, as nft_count_over says; its elements are without data. */
void nft_meter_add(struct nft_batch *batch, const struct nft_set *set, uint32_t room);
void nft_set_delete(struct nft_batch *batch, const char *name);

/* Elements of one set, added or deleted: begin, any number of elements, end. `set` is kept until the end. */
void nft_elements_begin(struct nft_batch *batch, const char *set, bool add);
void nft_element(struct nft_batch *batch, const void *key, size_t size);
void nft_element_data(struct nft_batch *batch, const void *key, size_t size, const void *data, size_t data_size);
void nft_element_goto(struct nft_batch *batch, const void *key, size_t size, const char *chain);
void nft_elements_end(struct nft_batch *batch);

/* A rule: begin, expressions in order, end. Expressions work on registers: NFT_REG_1 … NFT_REG_4, 16 bytes each. */
void nft_rule_begin(struct nft_batch *batch, const char *chain);
void nft_rule_end(struct nft_batch *batch);

void nft_meta(struct nft_batch *batch, enum nft_meta_keys key, uint32_t to);
void nft_meta_set(struct nft_batch *batch, enum nft_meta_keys key, uint32_t from);
void nft_ct(struct nft_batch *batch, enum nft_ct_keys key, uint32_t to);
void nft_payload(struct nft_batch *batch, enum nft_payload_bases base, uint32_t offset, uint32_t size, uint32_t to);
void nft_bitwise(struct nft_batch *batch, uint32_t reg, const void *mask, size_t size);
void nft_compare(struct nft_batch *batch, enum nft_cmp_ops op, uint32_t reg, const void *value, size_t size);

enum nft_found { NFT_FOUND = 0, NFT_NOT_FOUND = 1 };

void nft_lookup(struct nft_batch *batch, const char *set, uint32_t key, enum nft_found found);
void nft_map(struct nft_batch *batch, const char *map, uint32_t key, uint32_t to); /* to: NFT_REG_VERDICT … */
/* The rule goes on where the flow of a packet is one more than `limit` of those whose key was the same. The set is a
 * meter's. */
void nft_count_over(struct nft_batch *batch, const char *set, uint32_t key, uint32_t limit);
void nft_verdict(struct nft_batch *batch, int code, const char *chain); /* NF_DROP, NFT_JUMP …; chain or NULL */
void nft_counter(struct nft_batch *batch);
void nft_nat(struct nft_batch *batch, enum nft_nat_types type, uint32_t address); /* IPv4, the register */
void nft_masquerade(struct nft_batch *batch);
void nft_notrack(struct nft_batch *batch); /* the packet belongs to no flow; before conntrack has seen it */

/* What several expressions together say. */
void nft_match_word(struct nft_batch *batch, enum nft_meta_keys key, uint8_t value); /* nfproto, l4proto */
void nft_match_link(struct nft_batch *batch, enum nft_meta_keys key, enum nft_cmp_ops op, const char *link);
void nft_match_ct_state(struct nft_batch *batch, uint32_t bits); /* any of them */
void nft_match_network(struct nft_batch *batch, bool source, enum nft_cmp_ops op, uint32_t network, unsigned prefix);
