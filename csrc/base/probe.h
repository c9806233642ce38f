/* probe: places where tracers (bpftrace, perf, SystemTap) may look in: an instruction that does nothing and a
 * note of where the arguments are. None where the compiler has no sys/sdt.h. docs/watching.md lists them. */
#ifndef PROBE_H
#define PROBE_H

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PROBE2(name, a, b) DTRACE_PROBE2(cuse_scullv, name, a, b)
#define PROBE5(name, a, b, c, d, e) DTRACE_PROBE5(cuse_scullv, name, a, b, c, d, e)
#else
#define PROBE2(name, a, b) ((void)0)
#define PROBE5(name, a, b, c, d, e) ((void)0)
#endif

#endif
