/* extent: quanta of an arena that come and go without bytes that move. See backing.h and extent.c. */
#ifndef EXTENT_H
#define EXTENT_H

#include "store/store.h"

int extent_punch(struct store *store, uint64_t from, uint64_t end);
int extent_resize(struct store *store, uint64_t size);
int extent_allocate(struct store *store, uint64_t offset, uint64_t length, bool keep_size);
int64_t extent_seek(struct store *store, uint64_t offset, bool hole);
int extent_next_quantum(struct store *store, uint64_t from, uint64_t *number, uint64_t *offset);

#endif
