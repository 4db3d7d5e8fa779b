/* Public keys as ImportKeyPair is given them. */
#include "aws/base64.h"
#include "services/ec2/key_inside.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

/* Takes a string off SSH's wire form. */
static bool take(struct str *from, struct str *ret)
{
    const unsigned char *p = (const unsigned char *)from->p;
    uint32_t size;

    if (from->len < 4)
        return false;
    size = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    *from = str_skip(*from, 4);
    if (size > from->len)
        return false;
    *ret = str_first(*from, size);
    *from = str_skip(*from, size);
    return true;
}

static EVP_PKEY *rsa_key(const BIGNUM *e, const BIGNUM *n)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (build && context && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) && (params = OSSL_PARAM_BLD_to_param(build)) &&
        EVP_PKEY_fromdata_init(context) > 0)
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *rsa_from_blob(struct str rest)
{
    struct str e, n;
    BIGNUM *exponent, *modulus;
    EVP_PKEY *key;

    if (!take(&rest, &e) || !take(&rest, &n) || rest.len || !e.len || !n.len || (e.p[0] | n.p[0]) & 0x80)
        return NULL;
    exponent = BN_bin2bn((const unsigned char *)e.p, (int)e.len, NULL);
    modulus = BN_bin2bn((const unsigned char *)n.p, (int)n.len, NULL);
    key = exponent && modulus ? rsa_key(exponent, modulus) : NULL;
    BN_free(exponent);
    BN_free(modulus);
    return key;
}

static EVP_PKEY *key_from_blob(struct str blob)
{
    struct str algorithm, bytes;

    if (!take(&blob, &algorithm))
        return NULL;
    if (str_equal(algorithm, S("ssh-rsa")))
        return rsa_from_blob(blob);
    if (!str_equal(algorithm, S("ssh-ed25519")) || !take(&blob, &bytes) || blob.len || bytes.len != ED25519_SIZE)
        return NULL;
    return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, (const unsigned char *)bytes.p, bytes.len);
}

/* SubjectPublicKeyInfo. */
static EVP_PKEY *key_from_der(struct str der)
{
    const unsigned char *p = (const unsigned char *)der.p;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)der.len);

    if (key && p != (const unsigned char *)der.p + der.len) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

/* "ssh-rsa AAAA… comment": the name must be the blob's. */
static EVP_PKEY *key_from_line(struct arena *arena, struct str line)
{
    struct str name = str_cut(&line, ' '), text, blob, rest, said;

    line = str_trim(line);
    text = str_cut(&line, ' ');
    if (!text.p || !base64_decode(arena, text, &blob))
        return NULL;
    rest = blob;
    return take(&rest, &said) && str_equal(said, name) ? key_from_blob(blob) : NULL;
}

/* The base64 between two lines that begin with dashes; RFC 4716's headers ("Comment: …", \ goes on) are left out. */
static bool armoured(struct arena *arena, struct str text, struct str *ret)
{
    AUTO_BUF body = BUF_INIT;
    bool header = false;

    str_cut(&text, '\n');
    while (text.p) {
        struct str line = str_trim(str_cut(&text, '\n'));
        if (str_starts(line, S("----")))
            return base64_decode(arena, arena_str(arena, buf_str(&body)), ret);
        header = header || str_contains(line, S(":"));
        if (!header)
            buf_append(&body, line);
        header = header && str_ends(line, S("\\"));
    }
    return false;
}

static EVP_PKEY *read_key(struct arena *arena, struct str material)
{
    struct str bytes;

    if (str_starts(material, S("ssh-")))
        return key_from_line(arena, material);
    if (str_starts(material, S("-----BEGIN PUBLIC KEY-----")))
        return armoured(arena, material, &bytes) ? key_from_der(bytes) : NULL;
    if (str_starts(material, S("---- BEGIN SSH2 PUBLIC KEY ----")))
        return armoured(arena, material, &bytes) ? key_from_blob(bytes) : NULL;
    return base64_decode(arena, material, &bytes) ? key_from_der(bytes) : NULL;
}

/* An exponent that RSA can use: odd, more than 1 and smaller than the modulus. */
static bool is_sound(const EVP_PKEY *key)
{
    BIGNUM *e = NULL, *n = NULL;
    bool sound = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) &&
                 EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) && BN_is_odd(e) && !BN_is_one(e) &&
                 !BN_is_negative(e) && !BN_is_negative(n) && BN_cmp(e, n) < 0;

    BN_free(e);
    BN_free(n);
    return sound;
}

static bool is_taken(const EVP_PKEY *key, enum key_type *ret)
{
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "ED25519")) {
        *ret = KEY_ED25519;
        return true;
    }
    *ret = KEY_RSA;
    return EVP_PKEY_is_a(key, "RSA") && (bits == 1024 || bits == 2048 || bits == 4096) && is_sound(key);
}

bool key_read_public(struct arena *arena, struct str material, struct public_key *ret)
{
    EVP_PKEY *key = read_key(arena, str_trim(material));
    enum key_type type;
    bool taken = key && is_taken(key, &type);

    if (taken)
        key_describe(arena, type, key, false, ret);
    EVP_PKEY_free(key);
    return taken;
}
