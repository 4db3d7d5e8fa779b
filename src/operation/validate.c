#include "operation/validate.h"

#include "errors.h"

#include <stdint.h>

/* AWS's messages name a parameter as its SDKs do: first letter small. */
struct shown {
    char text[80];
};

static struct shown shown_name(struct str name)
{
    struct shown shown;

    if (!str_to_z(str_first(name, sizeof shown.text - 1), shown.text, sizeof shown.text))
        shown.text[0] = '\0';
    if (shown.text[0] >= 'A' && shown.text[0] <= 'Z')
        shown.text[0] = (char)(shown.text[0] | 0x20);
    return shown;
}

static int bad_number(struct str name, int64_t value, const struct range *range, struct err *err)
{
    bool low = value < range->min;

    return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                   "Value ( %lld ) for parameter %s is invalid. Expecting a value %s than %lld.", (long long)value,
                   shown_name(name).text, low ? "greater" : "less", (long long)(low ? range->min - 1 : range->max + 1));
}

static int bad_length(struct str name, size_t length, const struct range *range, struct err *err)
{
    bool low = (int64_t)length < range->min;

    return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "The parameter %s has length %zu; its %s length is %lld.",
                   shown_name(name).text, length, low ? "minimum" : "maximum",
                   (long long)(low ? range->min : range->max));
}

static bool outside(const struct range *range, int64_t value)
{
    return value < range->min || value > range->max;
}

static int validate_value(const struct service *service, struct str name, const struct shape *shape, const void *p,
                          struct err *err);

static int validate_text(const struct service *service, struct str name, const struct shape *shape, struct str text,
                         struct err *err)
{
    const struct range *range = &service->ranges[shape->range];

    if (shape->count && !shape_has_value(service, shape, text))
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Value (" STR_FMT ") for parameter %s is invalid.",
                       STR_ARG(str_first(text, 255)), shown_name(name).text);
    if (shape->range && outside(range, (int64_t)text.len))
        return bad_length(name, text.len, range, err);
    return 0;
}

static int validate_list(const struct service *service, struct str name, const struct shape *shape,
                         const struct any_list *list, struct err *err)
{
    const struct shape *element = &service->shapes[shape->element];

    if (shape->range && outside(&service->ranges[shape->range], (int64_t)list->count))
        return bad_length(name, list->count, &service->ranges[shape->range], err);
    for (size_t i = 0; i < list->count; i++) {
        const char *item = (const char *)list->items + i * element->size;
        int r = element->kind == SHAPE_STRUCT ? validate_input(service, element, item, err)
                                              : validate_value(service, name, element, item, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int validate_value(const struct service *service, struct str name, const struct shape *shape, const void *p,
                          struct err *err)
{
    const struct range *range = &service->ranges[shape->range];

    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        return validate_input(service, shape, *(const void *const *)p, err);
    case SHAPE_LIST:
        return validate_list(service, name, shape, p, err);
    case SHAPE_STRING:
    case SHAPE_BLOB:
        return validate_text(service, name, shape, *(const struct str *)p, err);
    case SHAPE_INT:
    case SHAPE_LONG:
        if (shape->range && outside(range, ((const struct opt_int *)p)->value))
            return bad_number(name, ((const struct opt_int *)p)->value, range, err);
        return 0;
    case SHAPE_DOUBLE: /* the model's two ranges of fractions round outwards to whole numbers */
        if (shape->range && outside(range, (int64_t)((const struct opt_double *)p)->value))
            return bad_number(name, (int64_t)((const struct opt_double *)p)->value, range, err);
        return 0;
    case SHAPE_BOOL:
    case SHAPE_TIME:
        return 0;
    }
    return 0;
}

int validate_input(const struct service *service, const struct shape *shape, const void *in, struct err *err)
{
    const struct member *member = service->members + shape->first, *end = member + shape->count;

    for (; member < end; member++) {
        const struct shape *inner = &service->shapes[member->shape];
        const char *p = (const char *)in + member->offset;
        struct str name = service_name(service, member->name);
        int r;

        if (!shape_present(inner, p)) {
            if (member->flags & MEMBER_REQUIRED)
                return err_aws(err, &AWS_MISSING_PARAMETER, "The request must contain the parameter %s",
                               shown_name(name).text);
            continue;
        }
        r = validate_value(service, name, inner, p, err);
        if (r < 0)
            return r;
    }
    return 0;
}
