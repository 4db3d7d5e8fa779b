/* Public keys in SSH's form (RFC 4253, RFC 8709) and their fingerprints. */
#include "services/ec2/key_format.h"

#include "aws/base64.h"
#include "services/ec2/key_inside.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

enum { MAX_MPINT = 8192 / 8 };

struct str key_type_name(enum key_type type)
{
    return type == KEY_RSA ? S("rsa") : S("ed25519");
}

struct str key_algorithm(enum key_type type)
{
    return type == KEY_RSA ? S("ssh-rsa") : S("ssh-ed25519");
}

struct str key_line(struct arena *arena, const struct public_key *key, struct str comment)
{
    return arena_printf(arena, STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(key_algorithm(key->type)),
                        STR_ARG(base64_encode(arena, key->blob)), STR_ARG(comment));
}

/* --- SSH's wire form ------------------------------------------------------------------------------------------- */

void ssh_number(struct buf *out, uint32_t n)
{
    const char bytes[] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};

    buf_append(out, (struct str){bytes, sizeof bytes});
}

void ssh_string(struct buf *out, struct str s)
{
    ssh_number(out, (uint32_t)s.len);
    buf_append(out, s);
}

/* mpint: big-endian, and a zero byte in front of a highest bit that is set. */
static void ssh_integer(struct buf *out, const BIGNUM *n)
{
    unsigned char bytes[1 + MAX_MPINT] = {0};
    size_t size = (size_t)BN_num_bytes(n), lead = BN_num_bits(n) % 8 == 0 && size;

    if (size > MAX_MPINT) /* no key that we made or took */
        abort();
    BN_bn2bin(n, bytes + lead);
    ssh_string(out, (struct str){(const char *)bytes, size + lead});
    OPENSSL_cleanse(bytes, sizeof bytes);
}

void ssh_member(struct buf *out, const EVP_PKEY *key, const char *name)
{
    BIGNUM *n = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &n))
        ssh_integer(out, n);
    BN_clear_free(n);
}

struct str ed25519_bytes(struct arena *arena, const EVP_PKEY *key, bool private)
{
    size_t size = ED25519_SIZE;
    unsigned char *bytes = arena_alloc(arena, size);

    if (private)
        EVP_PKEY_get_raw_private_key(key, bytes, &size);
    else
        EVP_PKEY_get_raw_public_key(key, bytes, &size);
    return (struct str){(const char *)bytes, size};
}

static struct str public_blob(struct arena *arena, enum key_type type, const EVP_PKEY *key)
{
    AUTO_BUF out = BUF_INIT;

    ssh_string(&out, key_algorithm(type));
    if (type == KEY_RSA) {
        ssh_member(&out, key, OSSL_PKEY_PARAM_RSA_E);
        ssh_member(&out, key, OSSL_PKEY_PARAM_RSA_N);
    } else {
        ssh_string(&out, ed25519_bytes(arena, key, false));
    }
    return arena_str(arena, buf_str(&out));
}

/* --- fingerprints ---------------------------------------------------------------------------------------------- */

static struct str colon_hex(struct arena *arena, const unsigned char *bytes, size_t size)
{
    AUTO_BUF out = BUF_INIT;

    for (size_t i = 0; i < size; i++)
        buf_printf(&out, "%s%02x", i ? ":" : "", bytes[i]);
    return arena_str(arena, buf_str(&out));
}

/* Of DER that OpenSSL has allocated, which is wiped and freed. */
static struct str der_fingerprint(struct arena *arena, unsigned char *der, int size, const EVP_MD *digest)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned hash_size = 0;

    if (size > 0)
        EVP_Digest(der, (size_t)size, hash, &hash_size, digest, NULL);
    OPENSSL_clear_free(der, size > 0 ? (size_t)size : 0);
    return colon_hex(arena, hash, hash_size);
}

static struct str private_rsa_fingerprint(struct arena *arena, const EVP_PKEY *key)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *der = NULL;
    int size = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;

    PKCS8_PRIV_KEY_INFO_free(info);
    return der_fingerprint(arena, der, size, EVP_sha1());
}

static struct str public_rsa_fingerprint(struct arena *arena, const EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);

    return der_fingerprint(arena, der, size, EVP_md5());
}

static struct str ed25519_fingerprint(struct arena *arena, struct str blob)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    EVP_Digest(blob.p, blob.len, hash, &size, EVP_sha256(), NULL);
    return base64_encode(arena, (struct str){(const char *)hash, size});
}

void key_describe(struct arena *arena, enum key_type type, const EVP_PKEY *key, bool created, struct public_key *ret)
{
    ret->type = type;
    ret->blob = public_blob(arena, type, key);
    if (type == KEY_ED25519)
        ret->fingerprint = ed25519_fingerprint(arena, ret->blob);
    else
        ret->fingerprint = created ? private_rsa_fingerprint(arena, key) : public_rsa_fingerprint(arena, key);
}
