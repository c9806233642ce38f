/* xstate: lets user-mode-linux run on processors whose extended state is larger than it knows.
 *
 * The kernel wants a process's floating-point registers set whole (arch/x86/kernel/fpu/regset.c:
 * xstateregs_set), as large as the processor has them. user-mode-linux before 6.13 has room for less
 * than AMX takes, so it dies at its first process. Preloaded, this adds what it left out: the
 * registers as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

typedef long ptrace_function(int request, pid_t pid, void *address, void *data);

static ptrace_function *next;
static unsigned char whole[64 << 10]; /* its kernel has one CPU, and small stacks */

__attribute__((constructor)) static void find_next(void)
{
    next = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
}

static long set_whole(pid_t pid, void *type, const struct iovec *part)
{
    struct iovec all = {whole, sizeof(whole)};
    long rc = next(PTRACE_GETREGSET, pid, type, &all);

    if (rc < 0 || part->iov_len >= all.iov_len)
        return rc < 0 ? rc : next(PTRACE_SETREGSET, pid, type, (void *)(unsigned long)part);
    memcpy(whole, part->iov_base, part->iov_len);
    return next(PTRACE_SETREGSET, pid, type, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, request);
    pid_t pid = __builtin_va_arg(arguments, pid_t);
    void *address = __builtin_va_arg(arguments, void *);
    void *data = __builtin_va_arg(arguments, void *);
    __builtin_va_end(arguments);

    if (request == PTRACE_SETREGSET && (unsigned long)address == NT_X86_XSTATE)
        return set_whole(pid, address, data);
    return next(request, pid, address, data);
}
