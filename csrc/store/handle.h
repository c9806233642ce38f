/* handle: an open file of a store. See handle.c. */
#ifndef HANDLE_H
#define HANDLE_H

#include <stdbool.h>

#include "recover/cell.h"
#include "store/store.h"

/* The kernel cuts one system call into requests; `continues` tells those after the first, for
 * which the book's rules know an end between two requests too. */

/* Reads at the handle's position and moves it. As store_plan_read. */
int handle_plan_read(struct handle *handle, size_t len, bool continues, struct read_plan *plan);
/* Reads into `data` where a plan does not reach: bytes, or -errno. */
ssize_t handle_read(struct handle *handle, void *data, size_t len, bool continues);
/* Writes at the position and moves it. As store_write_from. */
ssize_t handle_write(struct handle *handle, const struct iovec *src, size_t len, bool continues,
                     struct spares *spares);
uint64_t handle_position(struct handle *handle);
struct handle *handle_hold(struct handle *handle); /* handle_free gives the reference back */
struct store *handle_store(const struct handle *handle); /* borrowed */
/* The position is in this cell from here on, with what it has there; `number`: of the open file. */
void handle_keep_position(struct handle *handle, struct cell *position, uint64_t number);
/* … no more: the cell will be another's, and whoever is at work with the handle moves its own. */
void handle_leave_position(struct handle *handle);
unsigned handle_flags(const struct handle *handle);      /* STORE_LDD3 or 0 */

#endif
