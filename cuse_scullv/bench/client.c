/* client.c: what a benchmark's clients do, in one program that is built on the spot.
 *
 * The parent forks `clients` processes, which open their files, meet at a gate, and then make the
 * same system call over and over until the time is up, all of them at once. What they moved is
 * added up over the time from the first one's start to the last one's end, by CLOCK_MONOTONIC.
 *
 * A client has `span` bytes of its file to itself, starting at its `start`. Reading, and writing
 * over what is there, begin again at the end of it. A fresh write cannot: its pass ends, for all
 * clients, as soon as one has filled its span, and with time left the parent empties the files
 * and lets the next pass run. Emptying is not timed, nor is the first pass.
 *
 * Nothing is verified in the timed part but the counts that the system calls return.
 *
 * Invariants: children touch only their own `result` between the gates; the parent reads results
 * only after the second gate. */
#include "client.h"

static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void die(const char *what, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static int fail(struct client *client, const char *what, int64_t got)
{
    struct result *result = client->result;

    result->error = got < 0 ? errno : EIO;
    snprintf(result->what, sizeof(result->what), "%s: %lld of %zu bytes at %llu", what,
             (long long)got, client->plan->block, (unsigned long long)(client->base + client->at));
    return -1;
}

static int rewind_client(struct client *client)
{
    struct seek seek = {.offset = (int64_t)client->base, .whence = SEEK_SET};
    int64_t rc = 0;

    client->at = 0;
    if (client->fd >= 0 && client->plan->position == POSITION_NODE)
        rc = ioctl(client->fd, IOC_SEEK, &seek);
    else if (client->fd >= 0 && client->plan->position == POSITION_FILE)
        rc = lseek(client->fd, seek.offset, SEEK_SET);
    return rc < 0 ? fail(client, "seek", -1) : 0;
}

/* One block in or out; the memory barrier keeps the compiler from dropping copies nobody reads. */
static int64_t move(struct client *client, bool out)
{
    size_t block = client->plan->block;

    if (client->fd >= 0)
        return out ? write(client->fd, client->block, block)
                   : read(client->fd, client->block, block);
    if (out)
        memcpy(client->memory + client->at, client->block, block);
    else
        memcpy(client->block, client->memory + client->at, block);
    __asm__ volatile("" ::: "memory");
    return (int64_t)block;
}

/* 0; 1: a fresh write has no room left; -1: an error, noted. */
static int transfer(struct client *client, bool out)
{
    const struct plan *plan = client->plan;
    int64_t got;

    if (client->at + plan->block > plan->span) {
        if (plan->op == OP_FRESH)
            return 1;
        if (rewind_client(client) < 0)
            return -1;
    }
    got = move(client, out);
    if (got != (int64_t)plan->block)
        return fail(client, out ? "short write" : "short read", got);
    client->at += plan->block;
    client->result->bytes += plan->block;
    client->result->ops++;
    return 0;
}

static int call_ioctl(struct client *client)
{
    uint64_t argument = 0;

    if (ioctl(client->fd, client->plan->command, &argument) < 0)
        return fail(client, "ioctl", -1);
    client->result->ops++;
    return 0;
}

/* A device that gives back what it was given last: two operations. */
static int echo(struct client *client)
{
    size_t block = client->plan->block;
    ssize_t got = pwrite(client->fd, client->block, block, 0);

    if (got != (ssize_t)block)
        return fail(client, "short write", got);
    got = pread(client->fd, client->block, block, 0);
    if (got != (ssize_t)block)
        return fail(client, "short read", got);
    client->result->bytes += 2 * block;
    client->result->ops += 2;
    return 0;
}

/* A load and a store of a page that is not in our page tables, though the file has it. */
static int fault(struct client *client)
{
    const struct plan *plan = client->plan;
    volatile char *page = client->memory + client->at;

    if (client->at + plan->block > plan->span) {
        if (madvise(client->memory, plan->span, MADV_DONTNEED) < 0)
            return fail(client, "madvise", -1);
        client->at = 0;
        page = client->memory;
    }
    *page = (char)(*page + 1);
    client->at += plan->block;
    client->result->bytes += plan->block;
    client->result->ops++;
    return 0;
}

static int step(struct client *client)
{
    int op = client->plan->op;

    if (op == OP_FAULT)
        return fault(client);

    if (op == OP_IOCTL)
        return call_ioctl(client);
    return op == OP_ECHO ? echo(client) : transfer(client, op != OP_READ);
}

/* Small blocks look at the clock only now and then: it must not be what is measured. */
static void run_pass(struct client *client)
{
    const struct plan *plan = client->plan;
    unsigned turns = plan->block < 16384 ? 16 : 1;
    uint64_t limit = plan->limit_ns;
    int rc = 0;

    client->result->from_ns = now_ns();
    do {
        for (unsigned turn = 0; turn < turns && rc == 0; turn++)
            rc = step(client);
        client->result->to_ns = now_ns();
        if (rc != 0 || (limit != 0 && client->result->to_ns - client->result->from_ns >= limit))
            atomic_store(&client->shared->stop, true);
    } while (!atomic_load_explicit(&client->shared->stop, memory_order_relaxed));
}

static void open_client(struct client *client, int number)
{
    const struct plan *plan = client->plan;
    const char *path = plan->paths[number % plan->n_paths];

    client->result = &client->shared->result[number];
    client->base = plan->start + (uint64_t)(number / plan->n_paths) * plan->stride;
    client->block = aligned_alloc(4096, (plan->block + 4095) / 4096 * 4096);
    if (client->block == NULL)
        die("cannot allocate a block for", path);
    memset(client->block, 'a' + number % 26, plan->block);
    client->fd = -1;
    if (strcmp(path, MEMORY) != 0) {
        client->fd = open(path, O_RDWR | O_CLOEXEC);
        if (client->fd < 0)
            client->result->error = errno;
    }
}

static int map_file(struct client *client)
{
    const struct plan *plan = client->plan;

    client->memory = mmap(NULL, plan->span, PROT_READ | PROT_WRITE, MAP_SHARED, client->fd,
                          (off_t)client->base);
    return client->memory == MAP_FAILED ? fail(client, "mmap", -1) : 0;
}

/* MEMORY: new pages for a fresh write, touched ones for the others. */
static int renew_memory(struct client *client)
{
    const struct plan *plan = client->plan;

    if (plan->op == OP_FAULT)
        return client->memory == NULL ? map_file(client) : 0;

    if (client->fd >= 0 || (client->memory != NULL && plan->op != OP_FRESH))
        return 0;
    if (client->memory != NULL)
        munmap(client->memory, plan->span);
    client->memory = mmap(NULL, plan->span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
    if (client->memory == MAP_FAILED)
        return fail(client, "mmap", -1);
    if (plan->op != OP_FRESH)
        memset(client->memory, 1, plan->span);
    return 0;
}

static void run_client(const struct plan *plan, struct shared *shared, int number)
{
    struct client client = {.plan = plan, .shared = shared};
    bool works;

    open_client(&client, number);
    do {
        works = client.result->error == 0 && renew_memory(&client) == 0;
        works = works && rewind_client(&client) == 0;
        pthread_barrier_wait(&shared->gate);
        if (works)
            run_pass(&client);
        else
            atomic_store(&shared->stop, true);
        pthread_barrier_wait(&shared->gate);
        pthread_barrier_wait(&shared->gate); /* `again` is decided */
    } while (shared->again);
}

static void reset_files(const struct plan *plan)
{
    for (int i = 0; i < plan->n_paths; i++) {
        const char *path = plan->paths[i];
        int fd;

        if (plan->op != OP_FRESH || plan->reset == RESET_NONE || strcmp(path, MEMORY) == 0)
            continue;
        fd = open(path, (plan->reset == RESET_OPEN ? O_WRONLY : O_RDWR) | O_CLOEXEC);
        if (fd < 0)
            die("cannot open", path);
        if ((plan->reset == RESET_TRIM && ioctl(fd, IOC_TRIM) < 0) ||
            (plan->reset == RESET_TRUNCATE && ftruncate(fd, 0) < 0))
            die("cannot empty", path);
        close(fd);
    }
}

/* Nanoseconds from the first start to the last end of the pass. */
static uint64_t elapsed_ns(const struct plan *plan, const struct shared *shared)
{
    uint64_t from = UINT64_MAX, to = 0;

    for (int i = 0; i < plan->clients; i++) {
        const struct result *result = &shared->result[i];

        if (result->error != 0) {
            fprintf(stderr, "client %d, %s: %s: %s\n", i, plan->paths[i % plan->n_paths],
                    result->what[0] ? result->what : "open", strerror(result->error));
            exit(1);
        }
        from = result->from_ns < from ? result->from_ns : from;
        to = result->to_ns > to ? result->to_ns : to;
    }
    return to - from;
}

/* With all clients at the gate. */
static void forget_results(const struct plan *plan, struct shared *shared)
{
    for (int i = 0; i < plan->clients; i++)
        shared->result[i].bytes = shared->result[i].ops = 0;
}

/* Passes of a fresh write go on until they took the time together, but not for ever where
 * emptying takes long: `patience` bounds the whole. The first of them is not counted: it shows
 * where the memory of the machine was before (a hypervisor may have to find some), not how fast
 * files are filled that were emptied. */
static void run_passes(const struct plan *plan, struct shared *shared)
{
    uint64_t began = now_ns(), patience = 4 * plan->limit_ns, spent = 0, bytes = 0, ops = 0;
    bool trial = plan->op == OP_FRESH && plan->limit_ns != 0;

    do {
        atomic_store(&shared->stop, false);
        reset_files(plan);
        pthread_barrier_wait(&shared->gate);
        pthread_barrier_wait(&shared->gate);
        if (trial) {
            forget_results(plan, shared);
            began = now_ns();
        } else {
            spent += elapsed_ns(plan, shared);
        }
        shared->again = plan->op == OP_FRESH &&
                        (trial || (spent < plan->limit_ns && now_ns() - began < patience));
        trial = false;
        pthread_barrier_wait(&shared->gate);
    } while (shared->again);
    for (int i = 0; i < plan->clients; i++) {
        bytes += shared->result[i].bytes;
        ops += shared->result[i].ops;
    }
    printf("%llu %llu %llu\n", (unsigned long long)bytes, (unsigned long long)ops,
           (unsigned long long)spent);
}

static void start_child(const struct plan *plan, struct shared *shared, int number)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0)
        die("cannot start", "a client");
    if (pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    run_client(plan, shared, number);
    _exit(0);
}

static int choose(const char *word, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    fprintf(stderr, "unknown word: %s\n", word);
    exit(2);
}

static void parse(struct plan *plan, int argc, char **argv)
{
    static const char *const ops[] = {"write", "fresh", "read", "ioctl", "echo", "fault",
                                     NULL};
    static const char *const positions[] = {"file", "node", "none", NULL};
    static const char *const resets[] = {"truncate", "trim", "open", "none", NULL};
    int option;

    while ((option = getopt(argc, argv, "o:p:r:c:b:a:d:s:t:i:")) != -1) {
        switch (option) {
        case 'o': plan->op = choose(optarg, ops); break;
        case 'p': plan->position = choose(optarg, positions); break;
        case 'r': plan->reset = choose(optarg, resets); break;
        case 'c': plan->clients = atoi(optarg); break;
        case 'b': plan->block = strtoull(optarg, NULL, 0); break;
        case 'a': plan->start = strtoull(optarg, NULL, 0); break;
        case 'd': plan->stride = strtoull(optarg, NULL, 0); break;
        case 's': plan->span = strtoull(optarg, NULL, 0); break;
        case 't': plan->limit_ns = (uint64_t)(atof(optarg) * 1e9); break;
        case 'i': plan->command = strtoul(optarg, NULL, 0); break;
        default: exit(2);
        }
    }
    plan->paths = argv + optind;
    plan->n_paths = argc - optind;
    if (plan->clients < 1 || plan->clients > CLIENTS_MAX || plan->block < 1 ||
        plan->span < plan->block || plan->n_paths < 1)
        die("bad plan:", "see parse()");
}

int main(int argc, char **argv)
{
    struct plan plan = {.clients = 1, .block = 4096, .span = 1 << 20, .limit_ns = 0};
    pthread_barrierattr_t attributes;
    struct shared *shared;

    parse(&plan, argc, argv);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("cannot allocate", "memory");
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->gate, &attributes, (unsigned)plan.clients + 1);
    for (int i = 0; i < plan.clients; i++)
        start_child(&plan, shared, i);
    run_passes(&plan, shared);
    while (wait(NULL) > 0) /* their files are closed before anyone measures on */
        ;
    return 0;
}
