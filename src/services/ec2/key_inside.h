/* Keys from inside: what key_format.c, key_file.c and key_read.c share. */
#pragma once

#include "base/buf.h"
#include "services/ec2/key_format.h"

#include <openssl/types.h>

enum { ED25519_SIZE = 32 };

/* SSH's wire form, RFC 4251 section 5. */
void ssh_number(struct buf *out, uint32_t n);
void ssh_string(struct buf *out, struct str s);
void ssh_member(struct buf *out, const EVP_PKEY *key, const char *name); /* an mpint, by its name in OpenSSL */

struct str key_algorithm(enum key_type type); /* "ssh-rsa" */
struct str ed25519_bytes(struct arena *arena, const EVP_PKEY *key, bool private);
/* `created`: by us, which decides the fingerprint of RSA. */
void key_describe(struct arena *arena, enum key_type type, const EVP_PKEY *key, bool created, struct public_key *ret);
