/* Key pairs. What is stored is the public half; a private key that we make leaves with the answer and is nowhere else.
 */
#include "base/mem.h"
#include "base/time.h"
#include "services/ec2/key_format.h"
#include "services/ec2/local.h"

#include <openssl/crypto.h>
#include <stdlib.h>

enum { MAX_NAME = 255, MAX_MATERIAL = 2048, MAX_KEY_PAIRS = 5000 };

static const struct ec2_key_pair_info *find_by_name(struct call *call, struct str name)
{
    const struct ec2_key_pair_info *const *found;

    return name.len && key_pair_find(call->tx, EC2_KEY_PAIR_BY_KEY_NAME, name, &found) ? found[0] : NULL;
}

/* "Up to 255 ASCII characters. Can't include leading or trailing spaces." Control characters would break key files. */
static int check_name(struct str name, struct err *err)
{
    bool printable = true;

    for (size_t i = 0; i < name.len; i++)
        printable = printable && name.p[i] >= ' ' && name.p[i] <= '~';
    if (!name.len)
        return err_aws(err, &AWS_MISSING_PARAMETER, "The request must contain the parameter KeyName");
    if (name.len > MAX_NAME)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT ") for parameter KeyName is invalid. Length exceeds maximum of %d.",
                       STR_ARG(str_first(name, MAX_NAME)), MAX_NAME);
    if (!printable)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT
                       ") for parameter KeyName is invalid. Character sets beyond ASCII are not supported.",
                       STR_ARG(name));
    if (!str_equal(name, str_trim(name)))
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT
                       ") for parameter KeyName is invalid. Leading and trailing spaces are not allowed.",
                       STR_ARG(name));
    return 0;
}

/* May a pair of this name be made, with these tags? */
static int check_new(struct call *call, struct str name, const struct ec2_tag_specification_list *specifications,
                     struct ec2_tag_list *ret_tags, struct err *err)
{
    int r = check_name(name, err);

    if (r == 0)
        r = tags_specified(call, specifications, "key-pair", NULL, ret_tags, err);
    if (r == 0 && find_by_name(call, name))
        r = err_aws(err, &EC2_INVALID_KEY_PAIR_DUPLICATE, "The keypair already exists");
    if (r == 0 && tx_count(call->tx, EC2_KEY_PAIR) >= MAX_KEY_PAIRS)
        r = err_aws(err, &EC2_RESOURCE_LIMIT_EXCEEDED, "You have reached the maximum number of key pairs allowed (%d).",
                    MAX_KEY_PAIRS);
    return r;
}

/* Lands at commit, which copies: `key` need not live longer than that. */
static const struct ec2_key_pair_info *record_pair(struct call *call, struct str name, const struct public_key *key,
                                                   struct ec2_tag_list tags)
{
    struct ec2_key_pair_info *pair = key_pair_create(call->tx, id_new(call->arena, S("key-")));

    pair->key_name = name;
    pair->key_type = key_type_name(key->type);
    pair->key_fingerprint = arena_str(call->arena, key->fingerprint);
    pair->public_key_material = key_line(call->arena, key, name);
    pair->create_time = TIME(time_now_ms());
    pair->tags = tags;
    return pair;
}

/* On a worker: RSA takes longer than the loop may be held. */
struct generate_job {
    struct arena arena;
    enum key_type type;
    enum key_file format;
    char name[MAX_NAME + 1];
    struct public_key key;
    struct str file;
    struct err err;
    int r;
};

static void generate(void *arg)
{
    struct generate_job *job = arg;

    job->r = key_generate(&job->arena, job->type, job->format, str_of(job->name), &job->key, &job->file, &job->err);
}

static int answer_created(struct call *call, struct generate_job *job, struct err *err)
{
    const struct ec2_create_key_pair_request *in = call->in;
    const struct ec2_key_pair_info *pair;
    struct ec2_key_pair *out = call->out;
    struct ec2_tag_list tags;
    int r = job->r;

    if (r < 0) {
        *err = job->err;
        return r;
    }
    r = check_new(call, in->key_name, &in->tag_specifications, &tags, err); /* others may have been faster */
    if (r < 0)
        return r;
    pair = record_pair(call, in->key_name, &job->key, tags);
    out->key_pair_id = pair->key_pair_id;
    out->key_name = pair->key_name;
    out->key_fingerprint = pair->key_fingerprint;
    out->key_material = arena_str(call->arena, job->file);
    out->tags = pair->tags;
    return 0;
}

static int finish_created(struct call *call, void *arg, struct err *err)
{
    struct generate_job *job = arg;
    int r = call ? answer_created(call, job, err) : 0;

    if (job->file.p)
        OPENSSL_cleanse((char *)job->file.p, job->file.len);
    arena_free(&job->arena);
    free(job);
    return r;
}

int ec2_create_key_pair(struct call *call, const struct ec2_create_key_pair_request *in, struct ec2_key_pair *out,
                        struct err *err)
{
    struct generate_job *job;
    struct ec2_tag_list tags;
    int r = check_new(call, in->key_name, &in->tag_specifications, &tags, err);

    if (r < 0 || call->dry_run)
        return r;
    job = mem_alloc(sizeof *job);
    job->type = str_equal(in->key_type, S("ed25519")) ? KEY_ED25519 : KEY_RSA;
    job->format = str_equal(in->key_format, S("ppk")) ? KEY_FILE_PPK : KEY_FILE_PEM;
    str_to_z(in->key_name, job->name, sizeof job->name);
    return call_later(call, generate, finish_created, job);
}

int ec2_import_key_pair(struct call *call, const struct ec2_import_key_pair_request *in,
                        struct ec2_import_key_pair_result *out, struct err *err)
{
    const struct ec2_key_pair_info *pair;
    struct public_key key;
    struct ec2_tag_list tags;
    int r = check_new(call, in->key_name, &in->tag_specifications, &tags, err);

    if (r < 0)
        return r;
    if (in->public_key_material.len > MAX_MATERIAL)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Value for parameter PublicKeyMaterial is invalid. Length exceeds maximum of %d.", MAX_MATERIAL);
    if (!key_read_public(call->arena, in->public_key_material, &key))
        return err_aws(err, &EC2_INVALID_KEY_FORMAT, "Key is not in valid OpenSSH public key format");
    pair = record_pair(call, in->key_name, &key, tags);
    out->key_pair_id = pair->key_pair_id;
    out->key_name = pair->key_name;
    out->key_fingerprint = pair->key_fingerprint;
    out->tags = pair->tags;
    return 0;
}

/* Names first, as ids: the row does the rest. */
static int ids_wanted(struct call *call, const struct ec2_describe_key_pairs_request *in,
                      struct ec2_describe_key_pairs_request *ret, struct err *err)
{
    size_t names = in->key_names.count, ids = in->key_pair_ids.count;

    *ret = *in;
    ret->key_pair_ids.items = arena_array(call->arena, struct str, names + ids);
    ret->key_pair_ids.count = names + ids;
    for (size_t i = 0; i < names; i++) {
        const struct ec2_key_pair_info *pair = find_by_name(call, in->key_names.items[i]);
        if (!pair)
            return err_aws(err, &EC2_INVALID_KEY_PAIR_NOT_FOUND, "The key pair '" STR_FMT "' does not exist",
                           STR_ARG(str_first(in->key_names.items[i], MAX_NAME)));
        ret->key_pair_ids.items[i] = pair->key_pair_id;
    }
    for (size_t i = 0; i < ids; i++)
        ret->key_pair_ids.items[names + i] = in->key_pair_ids.items[i];
    return 0;
}

int ec2_describe_key_pairs(struct call *call, const struct ec2_describe_key_pairs_request *in,
                           struct ec2_describe_key_pairs_result *out, struct err *err)
{
    struct ec2_describe_key_pairs_request wanted;
    struct str next = {0};
    int r = ids_wanted(call, in, &wanted, err);

    if (r == 0)
        r = resource_select(call, EC2_KEY_PAIR, &wanted, (struct any_list *)&out->key_pairs, &next, err);
    for (size_t i = 0; r == 0 && in->include_public_key.value && i < out->key_pairs.count; i++)
        out->key_pairs.items[i].public_key = out->key_pairs.items[i].public_key_material;
    return r;
}

/* One that does not exist is deleted already. */
int ec2_delete_key_pair(struct call *call, const struct ec2_delete_key_pair_request *in,
                        struct ec2_delete_key_pair_result *out, struct err *err)
{
    const struct ec2_key_pair_info *pair;

    if (!in->key_name.len && !in->key_pair_id.len)
        return err_aws(err, &AWS_MISSING_PARAMETER, "The request must contain the parameter KeyName or KeyPairId");
    if (in->key_name.len && in->key_pair_id.len)
        return err_aws(err, &AWS_INVALID_PARAMETER_COMBINATION,
                       "The parameter KeyName cannot be used with the parameter KeyPairId");
    if (in->key_pair_id.len && !resource_id_well_formed(&ec2_resources[EC2_KEY_PAIR], in->key_pair_id))
        return resource_malformed(&ec2_resources[EC2_KEY_PAIR], in->key_pair_id, err);
    pair = in->key_name.len ? find_by_name(call, in->key_name) : key_pair_peek(call->tx, in->key_pair_id);
    out->return_ = YES;
    if (!pair)
        return 0;
    out->key_pair_id = pair->key_pair_id;
    key_pair_remove(call->tx, pair->key_pair_id);
    return 0;
}
