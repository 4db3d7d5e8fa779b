/* Filling an empty store from its file. */
#pragma once

#include "store/db.h"
#include "store/names.h"
#include "store/records.h"

/* ret_names: how many names the file has; the model may have added more meanwhile. */
int load_store(struct store *store, struct db *db, struct names *names, size_t *ret_names, struct err *err);
