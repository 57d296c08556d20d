/* Counts the calls that change files below a folder, and stops, tears or fails one of them. Built by faulty.py.

   FAULTS_CONTROL  a file of `struct control`, shared with the test and with every process of the run
   FAULTS_UNDER    the folder; calls for files elsewhere, pipes and sockets are passed on uncounted
   FAULTS_LOG      each counted call is appended: "NAME OFFSET LENGTH PATH-LENGTH PATH-LENGTH\n", the paths, the data

   Interposed are the functions of libc: Python, SQLite and Arrow call these. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FULL, FAIL };
enum { PIDS = 64 };

struct control {
    int at;        /* number of the call at which the fault is injected, from 1; 0: none */
    int action;
    int with_data; /* whether the log contains the data of writes */
    int count;
    int dead;      /* set after a kill: no process may change a file */
    int processes;
    int pids[PIDS]; /* processes that made a counted call */
};

static struct control *control;
static char under[PATH_MAX];
static size_t under_length;
static int log_file = -1;

__attribute__((constructor)) static void start(void) {
    const char *shared = getenv("FAULTS_CONTROL"), *folder = getenv("FAULTS_UNDER"), *log = getenv("FAULTS_LOG");
    if (!shared || !folder || !log)
        return;
    int file = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
    if (file < 0)
        return;
    void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    int opened = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    if (memory == MAP_FAILED || opened < 0)
        return;
    /* A high descriptor: programs may close low ones, which they take for their own. */
    log_file = fcntl(opened, F_DUPFD_CLOEXEC, 900);
    close(opened);
    snprintf(under, sizeof under, "%s/", folder);
    under_length = strlen(under);
    control = memory;
}

/* SQLite's -shm is shared memory that is recreated after a crash, so its content does not matter. */
static int is_counted(const char *path) {
    size_t length = strlen(path);
    return !strncmp(path, under, under_length) && (length < 4 || strcmp(path + length - 4, "-shm"));
}

/* The path of an open regular file or folder below FAULTS_UNDER, or 0. */
static int path_of(int file, char *path) {
    struct stat found;
    char link[64];
    if (!control || fstat(file, &found) || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_counted(path);
}

static int path_at(int folder, const char *name, char *path) {
    char base[PATH_MAX];
    if (!control || !name)
        return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            return 0;
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0)
            return 0;
        base[length] = 0;
        snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
    }
    return is_counted(path);
}

static void record(const char *name, long offset, size_t size, const char *path, const char *other, const void *data) {
    char head[128];
    int saved = errno;
    size_t kept = control->with_data && data ? size : 0;
    int length = snprintf(head, sizeof head, "%s %ld %zu %zu %zu\n", name, offset, kept, strlen(path), strlen(other));
    struct iovec parts[] = {{head, length}, {(void *)path, strlen(path)}, {(void *)other, strlen(other)}, {(void *)data, kept}};
    syscall(SYS_writev, log_file, parts, 4);
    errno = saved;
}

static void die(void) {
    control->dead = 1;
    int known = control->processes < PIDS ? control->processes : PIDS;
    for (int i = 0; i < known; i++)
        if (control->pids[i] != getpid())
            kill(control->pids[i], SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* The fault to inject at this call: COUNT for none. */
static int fault(int frees) {
    if (control->dead)
        die();
    int own = getpid(), known = control->processes < PIDS ? control->processes : PIDS, i = 0;
    while (i < known && control->pids[i] != own)
        i++;
    if (i == known && (i = __sync_fetch_and_add(&control->processes, 1)) < PIDS)
        control->pids[i] = own;
    int number = __sync_add_and_fetch(&control->count, 1);
    if (!control->at || number < control->at)
        return COUNT;
    if (control->action == FULL) /* a full disk stays full, but files can be removed */
        return frees ? COUNT : FULL;
    return number == control->at ? control->action : COUNT;
}

static int fails(int met) {
    errno = met == FULL ? ENOSPC : EIO;
    return -1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A call without data: killed before it, torn after it. */
#define AROUND(label, first, second, frees, call)        \
    int met = fault(frees);                              \
    if (met != COUNT) record(met >= FULL ? "failed " label : "died " label, 0, 0, first, second, NULL); \
    if (met == KILL) die();                              \
    if (met >= FULL) return fails(met);                  \
    int result = call;                                   \
    if (met == TEAR) die();                              \
    if (!result) record(label, 0, 0, first, second, NULL); \
    return result

/* A write of `size` bytes at `offset`: torn after half of them. */
#define WRITING(label, file, data, size, offset, whole, half)     \
    char path[PATH_MAX];                                  \
    if (!path_of(file, path)) return whole;               \
    long place = offset;                                  \
    int met = fault(0);                                   \
    if (met != COUNT) record(met >= FULL ? "failed " label : "died " label, place, 0, path, "", NULL); \
    if (met == TEAR) (void)!half;                         \
    if (met == KILL || met == TEAR) die();                \
    if (met >= FULL) return fails(met);                   \
    ssize_t written = whole;                              \
    if (written > 0) record("write", place, written, path, "", data); \
    return written

static long end_of(int file) {
    struct stat found;
    return fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &found) ? found.st_size : lseek(file, 0, SEEK_CUR);
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    WRITING("write", file, data, size, end_of(file), real(file, data, size), real(file, data, size / 2));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    WRITING("write", file, data, size, offset, real(file, data, size, offset), real(file, data, size / 2, offset));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    WRITING("write", file, data, size, offset, real(file, data, size, offset), real(file, data, size / 2, offset));
}

/* Each part is a separate write, so that the log holds its data; short results are allowed. */
ssize_t writev(int file, const struct iovec *parts, int number) {
    REAL(writev);
    char path[PATH_MAX];
    if (!path_of(file, path))
        return real(file, parts, number);
    ssize_t sum = 0;
    for (int i = 0; i < number; i++) {
        ssize_t written = write(file, parts[i].iov_base, parts[i].iov_len);
        if (written < 0)
            return sum ? sum : written;
        sum += written;
        if ((size_t)written < parts[i].iov_len)
            break;
    }
    return sum;
}

/* These fail, so that callers fall back to copying by read and write, which are counted. */
ssize_t sendfile(int out, int in, off_t *offset, size_t size) {
    REAL(sendfile);
    char path[PATH_MAX];
    if (path_of(out, path)) { errno = ENOTSOCK; return -1; }
    return real(out, in, offset, size);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    REAL(sendfile64);
    char path[PATH_MAX];
    if (path_of(out, path)) { errno = ENOTSOCK; return -1; }
    return real(out, in, offset, size);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    char path[PATH_MAX];
    if (path_of(out, path)) { errno = EXDEV; return -1; }
    return real(in, from, out, to, size, flags);
}

#define ON_FILE(name, label, frees, parameters, arguments, offset)    \
    int name parameters {                                \
        REAL(name);                                      \
        char path[PATH_MAX];                             \
        if (!path_of(file, path)) return real arguments; \
        char length[32] = "";                            \
        if (offset >= 0) snprintf(length, sizeof length, "%ld", (long)(offset)); \
        AROUND(label, path, length, frees, real arguments); \
    }

ON_FILE(fsync, "fsync", 1, (int file), (file), -1)
ON_FILE(fdatasync, "fsync", 1, (int file), (file), -1)
ON_FILE(ftruncate, "truncate", 1, (int file, off_t length_), (file, length_), length_)
ON_FILE(ftruncate64, "truncate", 1, (int file, off64_t length_), (file, length_), length_)

#define ON_NAMES(name, label, parameters, arguments, from, old, to, new) \
    int name parameters {                                \
        REAL(name);                                      \
        char path[PATH_MAX], other[PATH_MAX];            \
        int counted = path_at(from, old, path);          \
        counted |= path_at(to, new, other);              \
        if (!counted) return real arguments;             \
        AROUND(label, path, other, 0, real arguments);   \
    }

ON_NAMES(rename, "rename", (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
ON_NAMES(renameat, "rename", (int f, const char *a, int t, const char *b), (f, a, t, b), f, a, t, b)
ON_NAMES(renameat2, "rename", (int f, const char *a, int t, const char *b, unsigned g), (f, a, t, b, g), f, a, t, b)
ON_NAMES(link, "link", (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
ON_NAMES(linkat, "link", (int f, const char *a, int t, const char *b, int g), (f, a, t, b, g), f, a, t, b)

#define ON_NAME(name, label, frees, parameters, arguments, folder) \
    int name parameters {                                \
        REAL(name);                                      \
        char path[PATH_MAX];                             \
        if (!path_at(folder, a, path)) return real arguments; \
        AROUND(label, path, "", frees, real arguments);  \
    }

ON_NAME(unlink, "unlink", 1, (const char *a), (a), AT_FDCWD)
ON_NAME(unlinkat, "unlink", 1, (int f, const char *a, int g), (f, a, g), f)
ON_NAME(rmdir, "unlink", 1, (const char *a), (a), AT_FDCWD)
ON_NAME(mkdir, "mkdir", 0, (const char *a, mode_t m), (a, m), AT_FDCWD)
ON_NAME(mkdirat, "mkdir", 0, (int f, const char *a, mode_t m), (f, a, m), f)

/* An open is counted if it creates or truncates a file. */
#define OPENING(name, folder, parameters, arguments)     \
    int name parameters {                                \
        REAL(name);                                      \
        mode_t mode = 0;                                 \
        if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
            va_list rest;                                \
            va_start(rest, flags);                       \
            mode = va_arg(rest, mode_t);                 \
            va_end(rest);                                \
        }                                                \
        char path[PATH_MAX];                             \
        if (!(flags & (O_CREAT | O_TRUNC)) || !path_at(folder, a, path)) return real arguments; \
        int is_there = !syscall(SYS_faccessat, AT_FDCWD, path, F_OK); \
        if (is_there && !(flags & O_TRUNC)) return real arguments; \
        int met = fault(0);                              \
        if (met != COUNT) record(met >= FULL ? "failed open" : "died open", 0, 0, path, "", NULL); \
        if (met == KILL) die();                          \
        if (met >= FULL) return fails(met);              \
        int result = real arguments;                     \
        if (met == TEAR) die();                          \
        if (result >= 0) record("open", 0, 0, path, "", NULL); \
        return result;                                   \
    }

OPENING(open, AT_FDCWD, (const char *a, int flags, ...), (a, flags, mode))
OPENING(open64, AT_FDCWD, (const char *a, int flags, ...), (a, flags, mode))
OPENING(openat, f, (int f, const char *a, int flags, ...), (f, a, flags, mode))
OPENING(openat64, f, (int f, const char *a, int flags, ...), (f, a, flags, mode))
