/* New pairs and the files of their private keys. Sources: OpenSSH's PROTOCOL.key; PuTTY's manual, appendix C (format
 * 2). */
#include "aws/base64.h"
#include "services/ec2/key_inside.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

enum { RSA_BITS = 2048, LINE = 64, OPENSSH_LINE = 70 };

/* In base64, `width` to a line, each line ended. Returns how many lines. */
static size_t append_base64(struct arena *arena, struct buf *out, struct str bytes, size_t width)
{
    struct str text = base64_encode(arena, bytes);
    size_t lines = 0;

    for (; text.len; text = str_skip(text, width), lines++)
        buf_printf(out, STR_FMT "\n", STR_ARG(str_first(text, width)));
    return lines;
}

/* PKCS#1. Without a line's end behind it, as AWS sends it. */
static struct str rsa_pem(struct arena *arena, const EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    struct str text = {0};
    char *p;
    long size;

    if (bio && PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL)) {
        size = BIO_get_mem_data(bio, &p);
        text = arena_str(arena, str_trim((struct str){p, (size_t)size}));
    }
    BIO_free(bio);
    return text;
}

static struct str ed25519_pem(struct arena *arena, const EVP_PKEY *key, struct str blob, struct str comment)
{
    struct str public = ed25519_bytes(arena, key, false), private = ed25519_bytes(arena, key, true);
    AUTO_BUF inner = BUF_INIT;
    AUTO_BUF outer = BUF_INIT;
    AUTO_BUF out = BUF_INIT;
    uint32_t check = 0;

    RAND_bytes((unsigned char *)&check, sizeof check);
    ssh_number(&inner, check); /* twice: how a reader sees that it has decrypted rightly */
    ssh_number(&inner, check);
    ssh_string(&inner, key_algorithm(KEY_ED25519));
    ssh_string(&inner, public);
    ssh_number(&inner, 2 * ED25519_SIZE);
    buf_append(&inner, private);
    buf_append(&inner, public);
    ssh_string(&inner, comment);
    for (char pad = 1; inner.len % 8; pad++)
        buf_byte(&inner, pad);
    buf_append(&outer, (struct str){"openssh-key-v1", sizeof "openssh-key-v1"}); /* with its NUL */
    ssh_string(&outer, S("none"));
    ssh_string(&outer, S("none"));
    ssh_string(&outer, S(""));
    ssh_number(&outer, 1);
    ssh_string(&outer, blob);
    ssh_string(&outer, buf_str(&inner));
    buf_append(&out, S("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    append_base64(arena, &out, buf_str(&outer), OPENSSH_LINE);
    buf_append(&out, S("-----END OPENSSH PRIVATE KEY-----\n"));
    return arena_str(arena, buf_str(&out));
}

/* PuTTY's private half: RSA as d, p, q, iqmp; ED25519 as the 32 bytes. */
static void ppk_private(struct arena *arena, struct buf *out, enum key_type type, const EVP_PKEY *key)
{
    if (type == KEY_ED25519) {
        ssh_string(out, ed25519_bytes(arena, key, true));
        return;
    }
    ssh_member(out, key, OSSL_PKEY_PARAM_RSA_D);
    ssh_member(out, key, OSSL_PKEY_PARAM_RSA_FACTOR1);
    ssh_member(out, key, OSSL_PKEY_PARAM_RSA_FACTOR2);
    ssh_member(out, key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1);
}

/* Over all that the file says; its key is derived from the passphrase, here none. */
static void append_ppk_mac(struct buf *out, struct str algorithm, struct str comment, struct str public,
                           struct str private)
{
    static const char salt[] = "putty-private-key-file-mac-key";
    unsigned char key[EVP_MAX_MD_SIZE], mac[EVP_MAX_MD_SIZE];
    unsigned key_size = 0, size = 0;
    AUTO_BUF said = BUF_INIT;

    ssh_string(&said, algorithm);
    ssh_string(&said, S("none"));
    ssh_string(&said, comment);
    ssh_string(&said, public);
    ssh_string(&said, private);
    EVP_Digest(salt, sizeof salt - 1, key, &key_size, EVP_sha1(), NULL);
    HMAC(EVP_sha1(), key, (int)key_size, (const unsigned char *)said.p, said.len, mac, &size);
    for (unsigned i = 0; i < size; i++)
        buf_printf(out, "%02x", mac[i]);
}

static struct str ppk(struct arena *arena, const EVP_PKEY *key, const struct public_key *public, struct str comment)
{
    struct str algorithm = key_algorithm(public->type);
    AUTO_BUF private = BUF_INIT;
    AUTO_BUF lines = BUF_INIT;
    AUTO_BUF out = BUF_INIT;
    size_t count = append_base64(arena, &lines, public->blob, LINE);

    buf_printf(
        &out, "PuTTY-User-Key-File-2: " STR_FMT "\nEncryption: none\nComment: " STR_FMT "\nPublic-Lines: %zu\n" STR_FMT,
        STR_ARG(algorithm), STR_ARG(comment), count, STR_ARG(buf_str(&lines)));
    ppk_private(arena, &private, public->type, key);
    lines.len = 0;
    count = append_base64(arena, &lines, buf_str(&private), LINE);
    buf_printf(&out, "Private-Lines: %zu\n" STR_FMT "Private-MAC: ", count, STR_ARG(buf_str(&lines)));
    append_ppk_mac(&out, algorithm, comment, public->blob, buf_str(&private));
    buf_byte(&out, '\n');
    return arena_str(arena, buf_str(&out));
}

static struct str private_file(struct arena *arena, const EVP_PKEY *key, enum key_file format, struct str comment,
                               const struct public_key *public)
{
    if (format == KEY_FILE_PPK)
        return ppk(arena, key, public, comment);
    if (public->type == KEY_RSA)
        return rsa_pem(arena, key);
    return ed25519_pem(arena, key, public->blob, comment);
}

int key_generate(struct arena *arena, enum key_type type, enum key_file format, struct str comment,
                 struct public_key *ret, struct str *ret_file, struct err *err)
{
    EVP_PKEY *key = type == KEY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS)
                                    : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    if (!key)
        return err_plain(err, "OpenSSL made no key");
    key_describe(arena, type, key, true, ret);
    *ret_file = private_file(arena, key, format, comment, ret);
    EVP_PKEY_free(key);
    return ret_file->p ? 0 : err_plain(err, "OpenSSL wrote no private key");
}
