/* storm: plays the kernel to a real server, on a socket: honest clients, lies, and what is neither.
 *
 *   storm FD node|file|foreign SEED MESSAGES
 *
 * A run is decided by its seed, but for what the threads of the server make of it. It ends with 0 when
 * every message was answered as it should be; else what was wrong is said, and the seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "honest.h"
#include "kernel.h"
#include "wild.h"

#define TURN 500u /* messages, on average, of a time that is honest, or wild */

static enum kind kind_of(const char *word)
{
    if (strcmp(word, "node") == 0)
        return KIND_NODE;
    if (strcmp(word, "file") == 0)
        return KIND_FILE;
    if (strcmp(word, "foreign") == 0)
        return KIND_FOREIGN;
    fprintf(stderr, "storm: no kind '%s'\n", word);
    exit(2);
}

static unsigned turn(struct dice *dice)
{
    return 1 + (unsigned)dice_roll(dice, 2 * TURN);
}

static void run(struct kernel *kernel, uint64_t messages)
{
    struct dice *dice = kernel_dice(kernel);
    struct honest *honest = honest_new(kernel);
    struct wild *wild = wild_new(kernel);

    wild_run(wild, (unsigned)dice_roll(dice, 50));
    wild_greet(wild);
    do {
        honest_begin(honest);
        honest_run(honest, turn(dice));
        honest_end(honest);
        wild_run(wild, turn(dice));
        wild_end(wild);
        honest_clear(honest);
    } while (kernel_sent(kernel) < messages);
    honest_begin(honest);
    honest_end(honest);
    kernel_expect_silence(kernel, 100);
    wild_free(wild);
    honest_free(honest);
}

int main(int argc, char **argv)
{
    struct kernel *kernel;

    if (argc != 5) {
        fprintf(stderr, "usage: storm FD node|file|foreign SEED MESSAGES\n");
        return 2;
    }
    kernel = kernel_new(atoi(argv[1]), kind_of(argv[2]), strtoull(argv[3], NULL, 10));
    run(kernel, strtoull(argv[4], NULL, 10));
    printf("%llu\n", (unsigned long long)kernel_sent(kernel));
    kernel_free(kernel);
    return 0;
}
