/* lies: messages that are refused, and change nothing. See lies.c. */
#ifndef LIES_H
#define LIES_H

#include "kernel.h"

/* Tells one. `message`: room for it. `number`: of an open file of `node`, which stays as it is. */
void lies_tell(struct kernel *kernel, struct message *message, uint64_t node, uint64_t number);

#endif
