/* wild: messages of which only so much is known: each is answered once, or not at all. See wild.c. */
#ifndef WILD_H
#define WILD_H

#include "kernel.h"

struct wild;
struct wild *wild_new(struct kernel *kernel);
void wild_free(struct wild *wild);
/* So many. Before INIT as well. */
void wild_run(struct wild *wild, unsigned messages);
/* Closes what the server has opened for it, and brings a file view that was told to end back. */
void wild_end(struct wild *wild);
void wild_greet(struct wild *wild); /* INIT; it may have been answered before */

#endif
