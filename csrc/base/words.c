/* words: what a process says last, when a fault ends it: the signal, and the address. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "scullv.h"

static int words_fd = -1;
static struct sigaction before[NSIG];

static char *put_hex(char *at, uintptr_t value)
{
    for (int shift = (int)sizeof(value) * 8 - 4; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

/* Puts back what was there before, and lets the fault happen again. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    static const char text[] = "fault at address 0x";
    char line[sizeof(text) + 2 * sizeof(uintptr_t) + 1], *at = line + sizeof(text) - 1;

    (void)context;
    memcpy(line, text, sizeof(text) - 1);
    at = put_hex(at, (uintptr_t)info->si_addr);
    *at++ = '\n';
    if (write(words_fd, line, (size_t)(at - line)) < 0)
        words_fd = -1; /* nobody listens */
    sigaction(number, &before[number], NULL);
    if (info->si_code <= 0) /* somebody sent it: it does not happen by itself */
        raise(number);
}

void last_words(int fd)
{
    const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    words_fd = fd;
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        sigaction(faults[i], &action, &before[faults[i]]);
}
