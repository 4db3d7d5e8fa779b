#include "services/ec2/catalogue/images.h"

#include "services/ec2/catalogue/tables.h"

size_t image_count(void)
{
    return catalogue_image_count;
}

const struct image *image_at(size_t i)
{
    return &catalogue_images[i];
}

/* The ids of a region's own images. */
static const uint64_t *ids_of(const struct region *region)
{
    return catalogue_regional_ids + (size_t)(region - catalogue_regions) * catalogue_regional_count;
}

static uint64_t id_of(const struct image *image, const struct region *region)
{
    size_t i = image - catalogue_images;

    return i < catalogue_regional_count ? ids_of(region)[i] : catalogue_fixed_ids[i - catalogue_regional_count];
}

/* Lower-case digits only, as AWS writes them; at most 17, of which the first of 17 is 0. */
static bool parse_id(struct str id, uint64_t *ret_value, bool *ret_short)
{
    uint64_t value = 0;

    if (!str_starts(id, S("ami-")))
        return false;
    struct str digits = str_skip(id, 4);
    if (digits.len != 8 && (digits.len != 17 || digits.p[0] != '0'))
        return false;

    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.p[i];
        bool decimal = c >= '0' && c <= '9';
        if (!decimal && (c < 'a' || c > 'f'))
            return false;
        value = value << 4 | (uint64_t)(decimal ? c - '0' : c - 'a' + 10);
    }
    *ret_value = value;
    *ret_short = digits.len == 8;
    return true;
}

const struct image *image_find(const struct region *region, struct str id)
{
    const uint64_t *ids = ids_of(region);
    uint64_t value;
    bool is_short;

    if (!parse_id(id, &value, &is_short))
        return NULL;
    for (size_t i = 0; i < catalogue_image_count; i++) {
        const struct image *image = &catalogue_images[i];
        uint64_t of_image = i < catalogue_regional_count ? ids[i] : catalogue_fixed_ids[i - catalogue_regional_count];
        if (of_image == value && image->short_id == is_short)
            return image;
    }
    return NULL;
}

static struct str write_id(char out[IMAGE_ID_SIZE], const char *prefix, int digits, uint64_t value)
{
    int len = snprintf(out, IMAGE_ID_SIZE, "%s-%0*llx", prefix, digits, (unsigned long long)value);

    return (struct str){out, len};
}

struct str image_id(const struct image *image, const struct region *region, char out[IMAGE_ID_SIZE])
{
    return write_id(out, "ami", image->short_id ? 8 : 17, id_of(image, region));
}

/* A snapshot's id has no meaning but to be the image's own, always the same: the image's, mixed. */
struct str image_snapshot_id(const struct image *image, const struct region *region, char out[IMAGE_ID_SIZE])
{
    uint64_t value = (id_of(image, region) ^ (uint64_t)(region - catalogue_regions)) * 0x9e3779b97f4a7c15;

    return write_id(out, "snap", 17, value ^ value >> 31);
}

struct str image_location(const struct image *image, struct arena *arena)
{
    struct str owner = catalogue_text(image->owner_alias ? image->owner_alias : image->owner_id);
    struct str name = catalogue_text(image->name);

    return arena_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(owner), STR_ARG(name));
}

const struct image *image_of_parameter(struct str parameter)
{
    for (size_t i = 0; i < catalogue_alias_count; i++)
        if (str_equal(catalogue_text(catalogue_aliases[i].name), parameter))
            return &catalogue_images[catalogue_aliases[i].image];
    return NULL;
}
