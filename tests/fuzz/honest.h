/* honest: clients whose every byte is known, and the lies that are told beside them. See honest.c. */
#ifndef HONEST_H
#define HONEST_H

#include "kernel.h"

struct honest;
struct honest *honest_new(struct kernel *kernel);
void honest_free(struct honest *honest);
/* On a device that is empty. */
void honest_begin(struct honest *honest);
/* So many messages, of which some lie and are refused. */
void honest_run(struct honest *honest, unsigned messages);
/* Closes the files, of which the server must have had no more. */
void honest_end(struct honest *honest);
/* Leaves the device empty, whatever was done to it; nobody has it open. */
void honest_clear(struct honest *honest);

#endif
