/* scullv_ioctl.h: the ioctls of a scullv node, for programs that use one. Compiles alone, as C and
 * as C++, for 32 and for 64 bits: every structure has the same layout everywhere and no padding.
 *
 * The commands of magic 'K' and 'k', their names and numbers, come from the book "Linux Device
 * Drivers" by Alessandro Rubini, Jonathan Corbet and Greg Kroah-Hartman, published by O'Reilly &
 * Associates, whose scullv.h and scull.h define them.
 *
 * Every command fails with -1 and errno: ENOTTY (not a command of this device), EFAULT (a bad
 * pointer), EINVAL (a bad value; nothing has changed), EPERM (changing asks for a file that is open
 * for writing, or for CAP_SYS_ADMIN). */
#ifndef SCULLV_IOCTL_H
#define SCULLV_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* --- the book's, scullv and scullp ----------------------------------------------------------
 *
 * S: set through a pointer. T: tell by value. G: get through a pointer. Q: query, the value is
 * returned. X: exchange, S and G at once. H: shift, T and Q at once.
 *
 * ORDER is the size of a quantum, as a power of two of pages; QSET, how many quanta make a set.
 * What is set is pending for all devices of the server: a device adopts it when it is trimmed.
 * RESET brings back the numbers that the server's preset has. */
#define SCULLV_IOC_MAGIC 'K'
#define SCULLV_IOCRESET _IO(SCULLV_IOC_MAGIC, 0)
#define SCULLV_IOCSORDER _IOW(SCULLV_IOC_MAGIC, 1, int)
#define SCULLV_IOCTORDER _IO(SCULLV_IOC_MAGIC, 2)
#define SCULLV_IOCGORDER _IOR(SCULLV_IOC_MAGIC, 3, int)
#define SCULLV_IOCQORDER _IO(SCULLV_IOC_MAGIC, 4)
#define SCULLV_IOCXORDER _IOWR(SCULLV_IOC_MAGIC, 5, int)
#define SCULLV_IOCHORDER _IO(SCULLV_IOC_MAGIC, 6)
#define SCULLV_IOCSQSET _IOW(SCULLV_IOC_MAGIC, 7, int)
#define SCULLV_IOCTQSET _IO(SCULLV_IOC_MAGIC, 8)
#define SCULLV_IOCGQSET _IOR(SCULLV_IOC_MAGIC, 9, int)
#define SCULLV_IOCQQSET _IO(SCULLV_IOC_MAGIC, 10)
#define SCULLV_IOCXQSET _IOWR(SCULLV_IOC_MAGIC, 11, int)
#define SCULLV_IOCHQSET _IO(SCULLV_IOC_MAGIC, 12)
#define SCULLV_IOC_MAXNR 12

/* --- the book's, scull ------------------------------------------------------------------------
 *
 * The same parameters, with QUANTUM, the size of a quantum in bytes, in place of ORDER. */
#define SCULL_IOC_MAGIC 'k'
#define SCULL_IOCRESET _IO(SCULL_IOC_MAGIC, 0)
#define SCULL_IOCSQUANTUM _IOW(SCULL_IOC_MAGIC, 1, int)
#define SCULL_IOCSQSET _IOW(SCULL_IOC_MAGIC, 2, int)
#define SCULL_IOCTQUANTUM _IO(SCULL_IOC_MAGIC, 3)
#define SCULL_IOCTQSET _IO(SCULL_IOC_MAGIC, 4)
#define SCULL_IOCGQUANTUM _IOR(SCULL_IOC_MAGIC, 5, int)
#define SCULL_IOCGQSET _IOR(SCULL_IOC_MAGIC, 6, int)
#define SCULL_IOCQQUANTUM _IO(SCULL_IOC_MAGIC, 7)
#define SCULL_IOCQQSET _IO(SCULL_IOC_MAGIC, 8)
#define SCULL_IOCXQUANTUM _IOWR(SCULL_IOC_MAGIC, 9, int)
#define SCULL_IOCXQSET _IOWR(SCULL_IOC_MAGIC, 10, int)
#define SCULL_IOCHQUANTUM _IO(SCULL_IOC_MAGIC, 11)
#define SCULL_IOCHQSET _IO(SCULL_IOC_MAGIC, 12)
#define SCULL_IOC_MAXNR 12

/* --- extensions ------------------------------------------------------------------------------- */
#define SCULLV_IOC_EXT_MAGIC 0xEE

/* Moves the open file's position: the node itself ignores lseek. `whence` is SEEK_SET, SEEK_CUR,
 * SEEK_END, SEEK_DATA or SEEK_HOLE; `offset` comes back as the new position. `reserved`: 0. */
struct scullv_seek {
    __s64 offset;
    __u32 whence;
    __u32 reserved;
};
#define SCULLV_IOC_SEEK _IOWR(SCULLV_IOC_EXT_MAGIC, 1, struct scullv_seek)

/* Empties the device, which adopts the pending parameters: as opening it O_WRONLY does. */
#define SCULLV_IOC_TRIM _IO(SCULLV_IOC_EXT_MAGIC, 2)

/* Makes a hole. Whole quanta give their memory back; the rest is zeroed. The size stays. Length 0
 * is EINVAL, an end past 2^63-1 EFBIG. */
struct scullv_range {
    __u64 offset;
    __u64 length;
};
#define SCULLV_IOC_PUNCH _IOW(SCULLV_IOC_EXT_MAGIC, 3, struct scullv_range)

/* The state of the device. Sizes are bytes. */
struct scullv_info {
    __u64 size;            /* one past the last byte written */
    __u64 quantum;         /* of one quantum */
    __u64 region_bytes;    /* of the memory of one quantum: whole pages */
    __u64 regions;         /* how many quanta have memory */
    __u64 resident_bytes;  /* of that memory, all together */
    __u64 limit;           /* for all devices of the server; 0: none */
    __u64 used;            /* of that limit */
    __u64 index_bytes;     /* of what finds the quanta */
    __u64 pending_quantum; /* what the next trim adopts */
    __u32 qset;            /* quanta of one set */
    __u32 pending_qset;
    __u32 order;           /* of a quantum's region */
    __u32 page_size;
    __u32 flags;           /* SCULLV_INFO_* */
    __u32 number;          /* of this device in its server, from 0 */
    __u32 devices;         /* of the server */
    __u32 opens;           /* files open on this device */
    __u32 reserved[6];     /* 0 */
};
#define SCULLV_INFO_LDD3 1u /* the server follows the book's rules */
#define SCULLV_INFO_BYTES 2u /* as scullc: what K's commands call an order is a quantum in bytes */
#define SCULLV_INFO_MEMFD 4u        /* the bytes are those of an anonymous file, … */
#define SCULLV_INFO_FILE 8u         /* … of a file, … */
#define SCULLV_INFO_MAP 16u         /* … of a part of a file; else of the server's memory */
#define SCULLV_INFO_PASSTHROUGH 32u /* the kernel does the file view's I/O without the server */
#define SCULLV_IOC_INFO _IOR(SCULLV_IOC_EXT_MAGIC, 4, struct scullv_info)

/* A piece of the device's part of the scullvmem text: at most `length` bytes from `offset`. The
 * `length` that comes back is how many bytes `data` has, 0 at the end. Offset 0 makes the text
 * anew; other offsets read on in the text that this open file got last. */
struct scullv_text {
    __u32 offset;
    __u32 length;
    char data[1016];
};
#define SCULLV_IOC_TEXT _IOWR(SCULLV_IOC_EXT_MAGIC, 5, struct scullv_text)

/* What has been answered since the process that serves began: of the device's node, or of the file view,
 * which is one for all devices and knows nothing of what the kernel does by passthrough. */
struct scullv_count {
    __u64 bytes;  /* read, written, copied by ioctls */
    __u64 errors; /* answers with an errno */
    __u64 ns;     /* that all took together, in the server */
    __u64 latency[28]; /* how many took less than 2^10 ns, 2^11 ns, …; the last: longer */
};
struct scullv_statistics {
    __u32 under_way;   /* requests that are not answered */
    __u32 deaths;      /* of processes that served, and were followed by another */
    __u32 reserved[2]; /* 0 */
    char placement[16]; /* where the threads run: "follow", "crew", …; empty: nothing is there */
    struct scullv_count count[9]; /* SCULLV_COUNT_* */
};
#define SCULLV_COUNT_OPEN 0
#define SCULLV_COUNT_RELEASE 1
#define SCULLV_COUNT_READ 2
#define SCULLV_COUNT_WRITE 3
#define SCULLV_COUNT_IOCTL 4
#define SCULLV_COUNT_POLL 5
#define SCULLV_COUNT_FSYNC 6
#define SCULLV_COUNT_RESIZE 7
#define SCULLV_COUNT_REMOVE 8
#define SCULLV_IOC_STATISTICS _IOR(SCULLV_IOC_EXT_MAGIC, 6, struct scullv_statistics)
#define SCULLV_IOC_VIEW_STATISTICS _IOR(SCULLV_IOC_EXT_MAGIC, 7, struct scullv_statistics)

#endif
