#include "store/names.h"

#include "base/mem.h"

struct name {
    uint32_t number;
    struct str text;
};

struct named_model {
    const struct service *service;
    uint32_t *numbers;
};

void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    for (size_t i = 0; i < names->model_count; i++)
        free(names->models[i].numbers);
    free(names->list);
    free(names->models);
    map_free(&names->by_text);
    *names = (struct names){0};
}

uint32_t names_number(struct names *names, struct str text)
{
    struct name *name = map_get(&names->by_text, text);
    char *copy;

    if (name)
        return name->number;
    name = mem_alloc(sizeof *name + text.len + 1);
    copy = (char *)(name + 1);
    memcpy(copy, text.p, text.len);
    name->text = (struct str){copy, text.len};
    mem_grow(names->list, names->count, &names->capacity);
    names->list[names->count++] = name;
    name->number = (uint32_t)names->count;
    map_put(&names->by_text, name->text, name);
    return name->number;
}

struct str names_text(const struct names *names, uint64_t number)
{
    return number >= 1 && number <= names->count ? names->list[number - 1]->text : (struct str){0};
}

uint32_t *names_model(struct names *names, const struct service *service)
{
    for (size_t i = 0; i < names->model_count; i++)
        if (names->models[i].service == service)
            return names->models[i].numbers;
    mem_grow(names->models, names->model_count, &names->model_capacity);
    names->models[names->model_count] = (struct named_model){service,
                                                             mem_alloc(service->member_count * sizeof(uint32_t))};
    return names->models[names->model_count++].numbers;
}

void name_members(struct names *names, uint32_t *numbers, const struct service *service, const struct shape *shape)
{
    if (shape->count == 0 || numbers[shape->first])
        return;
    for (size_t i = 0; i < shape->count; i++)
        numbers[shape->first + i] = names_number(names, service_name(service, service->members[shape->first + i].name));
}
