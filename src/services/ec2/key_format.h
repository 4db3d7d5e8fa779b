/*
 * Keys as EC2 shows, takes and gives them: public keys as SSH's blobs, private keys as files, fingerprints. Everything
 * is in the arena. Nothing here is the loop's: it may run on a worker.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

enum key_type { KEY_RSA, KEY_ED25519 };
enum key_file { KEY_FILE_PEM, KEY_FILE_PPK };

struct public_key {
    enum key_type type;
    struct str blob;        /* SSH's wire form, RFC 4253 section 6.6 */
    struct str fingerprint; /* as AWS shows it */
};

/*
 * A new pair: RSA of 2048 bits (0.1 s and more) or ED25519. *ret_file: the private key, as PKCS#1 or OpenSSH's PEM, or
 * as PuTTY's format 2, with `comment`. Fingerprint of RSA: SHA-1 of the private key's PKCS#8 in DER, in hex.
 */
int key_generate(struct arena *arena, enum key_type type, enum key_file format, struct str comment,
                 struct public_key *ret, struct str *ret_file, struct err *err);

/*
 * Reads a public key: an OpenSSH line, RFC 4716, PEM, or DER in base64. False when it is none of them, or not ED25519
 * or RSA of 1024, 2048 or 4096 bits. Fingerprint of RSA: MD5 of the SubjectPublicKeyInfo in DER, in hex.
 */
bool key_read_public(struct arena *arena, struct str material, struct public_key *ret);

/* "ssh-rsa AAAA… comment" */
struct str key_line(struct arena *arena, const struct public_key *key, struct str comment);
struct str key_type_name(enum key_type type); /* "rsa", as KeyType has it */
