#include "services/ec2/catalogue/text.h"

#include "services/ec2/catalogue/tables.h"

struct str catalogue_text(uint32_t place)
{
    if (!place)
        return (struct str){NULL, 0};
    return (struct str){catalogue_texts + place + 1, (unsigned char)catalogue_texts[place]};
}

uint32_t catalogue_number(struct catalogue_list list, size_t i)
{
    return catalogue_numbers[list.first + i];
}

struct str catalogue_item(struct catalogue_list list, size_t i)
{
    return catalogue_text(catalogue_number(list, i));
}

bool catalogue_has(struct catalogue_list list, struct str item)
{
    for (size_t i = 0; i < list.count; i++)
        if (str_equal(catalogue_item(list, i), item))
            return true;
    return false;
}

bool catalogue_has_number(struct catalogue_list list, uint32_t number)
{
    for (size_t i = 0; i < list.count; i++)
        if (catalogue_number(list, i) == number)
            return true;
    return false;
}
