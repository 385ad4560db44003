/* Lets the n-th call that could fail do so. Loaded with LD_PRELOAD; told what to do through fault_arm().
 *
 * Only files below one folder are touched, so that the interpreter and its libraries go on working. What was opened is
 * remembered by descriptor. Calls are counted also when nothing is to fail: that tells how many there are.
 */
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
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, MAKE = 16, READ = 32 };

static char folder[PATH_MAX];
static size_t length;
static int kinds, number, error, lasting, calls, injected;

void fault_arm(const char *below, int which, int nth, int code, int goes_on) {
    snprintf(folder, sizeof folder, "%s", below);
    length = strlen(folder);
    kinds = which, number = nth, error = code, lasting = goes_on;
    calls = injected = 0;
}
int fault_calls(void) { return calls; }
int fault_injected(void) { return injected; }

static int fails(int kind) {
    if (!(kinds & kind)) return 0;
    int now = __sync_add_and_fetch(&calls, 1);
    if (!number || (lasting ? now < number : now != number)) return 0;
    __sync_add_and_fetch(&injected, 1);
    if (error < 0) { /* not the call fails, but the process gets a signal in the middle of what it does */
        raise(-error);
        return 0;
    }
    errno = error;
    return 1;
}
static int ours(int at, const char *path) {
    if (!length || !path) return 0;
    char whole[PATH_MAX];
    if (path[0] != '/') {
        char base[PATH_MAX], link[64];
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t got = readlink(link, base, sizeof base - 1);
            if (got < 0) return 0;
            base[got] = 0;
        }
        if (snprintf(whole, sizeof whole, "%s/%s", base, path) >= (int)sizeof whole) return 0;
        path = whole;
    }
    return !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}
static int ours_open(int descriptor) {
    if (!length || descriptor <= 2) return 0;
    char link[64], path[PATH_MAX];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t got = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (got < 0) return 0;
    path[got] = 0;
    return ours(AT_FDCWD, path);
}
static int may_open(int at, const char *path, int flags) {
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
    if (!changes && (error == EROFS || error == ENOSPC || error == EDQUOT)) return 1;
    return !(ours(at, path) && fails(changes ? OPEN : READ));
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { REAL(open); MODE return may_open(AT_FDCWD, path, flags) ? real(path, flags, mode) : -1; }
int open64(const char *path, int flags, ...) { REAL(open64); MODE return may_open(AT_FDCWD, path, flags) ? real(path, flags, mode) : -1; }
int openat(int at, const char *path, int flags, ...) { REAL(openat); MODE return may_open(at, path, flags) ? real(at, path, flags, mode) : -1; }
int openat64(int at, const char *path, int flags, ...) { REAL(openat64); MODE return may_open(at, path, flags) ? real(at, path, flags, mode) : -1; }
ssize_t write(int d, const void *b, size_t n) {
    REAL(write);
    if (ours_open(d) && fails(WRITE)) {
        /* a full disk takes a part before it takes nothing any more */
        if (error == ENOSPC && n > 1) { int kept = errno; if (real(d, b, n / 2) < 0) {} errno = kept; }
        return -1;
    }
    return real(d, b, n);
}
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { REAL(pwrite); return ours_open(d) && fails(WRITE) ? -1 : real(d, b, n, o); }
ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { REAL(pwrite64); return ours_open(d) && fails(WRITE) ? -1 : real(d, b, n, o); }
ssize_t writev(int d, const struct iovec *v, int n) { REAL(writev); return ours_open(d) && fails(WRITE) ? -1 : real(d, v, n); }
ssize_t sendfile(int o, int i, off_t *p, size_t n) { static ssize_t (*real)(int, int, off_t *, size_t); if (!real) real = dlsym(RTLD_NEXT, "sendfile"); return ours_open(o) && fails(WRITE) ? -1 : real(o, i, p, n); }
ssize_t sendfile64(int o, int i, off64_t *p, size_t n) { static ssize_t (*real)(int, int, off64_t *, size_t); if (!real) real = dlsym(RTLD_NEXT, "sendfile64"); return ours_open(o) && fails(WRITE) ? -1 : real(o, i, p, n); }
ssize_t read(int d, void *b, size_t n) { REAL(read); return ours_open(d) && error == EIO && fails(READ) ? -1 : real(d, b, n); }
ssize_t pread64(int d, void *b, size_t n, off64_t o) { REAL(pread64); return ours_open(d) && error == EIO && fails(READ) ? -1 : real(d, b, n, o); }
int ftruncate(int d, off_t n) { REAL(ftruncate); return ours_open(d) && fails(WRITE) ? -1 : real(d, n); }
int ftruncate64(int d, off64_t n) { REAL(ftruncate64); return ours_open(d) && fails(WRITE) ? -1 : real(d, n); }
int fsync(int d) { REAL(fsync); return ours_open(d) && fails(SYNC) ? -1 : real(d); }
int fdatasync(int d) { REAL(fdatasync); return ours_open(d) && fails(SYNC) ? -1 : real(d); }
int rename(const char *a, const char *b) { REAL(rename); return ours(AT_FDCWD, b) && fails(RENAME) ? -1 : real(a, b); }
int renameat(int x, const char *a, int y, const char *b) { REAL(renameat); return ours(y, b) && fails(RENAME) ? -1 : real(x, a, y, b); }
int link(const char *a, const char *b) { REAL(link); return ours(AT_FDCWD, b) && fails(RENAME) ? -1 : real(a, b); }
int mkdir(const char *a, mode_t m) { REAL(mkdir); return ours(AT_FDCWD, a) && fails(MAKE) ? -1 : real(a, m); }
int mkdirat(int x, const char *a, mode_t m) { REAL(mkdirat); return ours(x, a) && fails(MAKE) ? -1 : real(x, a, m); }

/* The clock of the day jumps at the n-th look at it; clocks that only go forward do not. */
static long long jump;
static int looks, jumps_at;

void clock_arm(int nth, long long seconds) { jumps_at = nth, jump = seconds, looks = 0; }
static long long shifted(void) { return jumps_at && __sync_add_and_fetch(&looks, 1) >= jumps_at ? jump : 0; }
int clock_gettime(clockid_t which, struct timespec *t) {
    REAL(clock_gettime);
    int got = real(which, t);
    if (!got && which == CLOCK_REALTIME) t->tv_sec += shifted();
    return got;
}
int gettimeofday(struct timeval *t, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int got = real(t, zone);
    if (!got) t->tv_sec += shifted();
    return got;
}
time_t time(time_t *t) {
    REAL(time);
    time_t now = real(NULL) + shifted();
    if (t) *t = now;
    return now;
}
