/*
 * A disk that can lose power, for any program: preloaded in front of the C library.
 *
 * Below the directory POWER_CUT_DIR it keeps a second copy, in POWER_CUT_SHADOW, of what a power cut would leave:
 *
 *   data/ID     the bytes of one file that were synced; ID is its inode and the time of its birth
 *   names/PATH  the names that were synced: a file with the ID in it, or a directory
 *
 * A write changes nothing there. A sync of a file copies what this process wrote to it since the last one; a sync of a
 * directory copies its names as they are. So the copy holds what was synced and nothing else, and the test builds the
 * directory anew from it after it has killed everything.
 *
 *   POWER_CUT_IGNORE_SYNC=1   nothing counts as synced: the control
 *   POWER_CUT_LATE_SYNC=1     a sync of data returns at once, and is made later: another control
 *   POWER_CUT_AT=N            the process is killed at its Nth call, from 0, that would change the directory
 *   POWER_CUT_AT_ERRNO=CODE   that call fails with this errno instead
 *   POWER_CUT_FAULT=PATH      while that file exists, what would change the directory fails with the errno in it
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 4096
#define NAMES_MAX 4096

struct dirty { dev_t dev; ino_t ino; off_t low, high; int cut; };

static struct dirty dirty[FILES_MAX];
static int dirty_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Where `path` lies below the directory: "" for itself, NULL when it does not. */
static const char *below(const char *path) {
    const char *root = getenv("POWER_CUT_DIR");
    size_t length = root ? strlen(root) : 0;
    if (!length || strncmp(path, root, length)) return NULL;
    if (path[length] == 0) return "";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *below_fd(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return below(path);
}

/* The errno that a change of `path` fails with now; 0 where it is to succeed. May not return. */
static int fault(const char *path) {
    static int calls;
    if (!path || !below(path)) return 0;
    const char *at = getenv("POWER_CUT_AT"), *code_at = getenv("POWER_CUT_AT_ERRNO");
    if (at && __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST) == atoi(at)) {
        if (!code_at) kill(getpid(), SIGKILL);
        return errno = atoi(code_at);
    }
    const char *name = getenv("POWER_CUT_FAULT");
    FILE *file = name ? fopen(name, "r") : NULL;
    int code = 0;
    if (!file) return 0;
    if (fscanf(file, "%d", &code) != 1) code = EIO;
    fclose(file);
    return errno = code;
}

static int fails_fd(int fd) {
    char path[PATH_MAX];
    int saved = errno;
    int code = below_fd(fd, path) ? fault(path) : 0;
    errno = code ? code : saved;
    return code != 0;
}

static int fails(const char *path) { return fault(path) != 0; }

/* What makes a name says first that the name is taken, as the kernel does. */
static int fails_to_make(const char *path) {
    int code = fault(path);
    if (code) errno = access(path, F_OK) ? code : EEXIST;
    return code != 0;
}

static void shadow_path(char out[PATH_MAX], const char *kind, const char *name) {
    snprintf(out, PATH_MAX, "%s/%s/%s", getenv("POWER_CUT_SHADOW"), kind, name);
}

static int identify(int at, const char *path, int flags, char id[96]) {
    struct statx about;
    if (statx(at, path, flags, STATX_INO | STATX_BTIME, &about)) return -1;
    snprintf(id, 96, "%llu-%lld-%u", (unsigned long long)about.stx_ino, (long long)about.stx_btime.tv_sec,
             about.stx_btime.tv_nsec);
    return 0;
}

static struct dirty *entry(int fd) {
    struct stat about;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) return NULL;
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].dev == about.st_dev && dirty[i].ino == about.st_ino) return &dirty[i];
    if (dirty_count == FILES_MAX) {
        /* A test that writes so many files in one process needs a longer table, and must hear of it. */
        fprintf(stderr, "power cut: too many files\n");
        abort();
    }
    dirty[dirty_count] = (struct dirty){about.st_dev, about.st_ino, 0, 0, 0};
    return &dirty[dirty_count++];
}

static void wrote(int fd, off_t begin, ssize_t count) {
    char path[PATH_MAX];
    if (count <= 0 || !below_fd(fd, path)) return;
    int saved = errno;
    pthread_mutex_lock(&lock);
    struct dirty *file = entry(fd);
    if (file) {
        if (file->low == file->high) file->low = file->high = begin;
        if (begin < file->low) file->low = begin;
        if (begin + count > file->high) file->high = begin + count;
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}

static void copy(int from, const struct dirty *range, off_t length) {
    char id[96], path[PATH_MAX], link[64], buffer[65536];
    if (identify(from, "", AT_EMPTY_PATH, id)) return;
    shadow_path(path, "data", id);
    int to = REAL(open)(path, O_WRONLY | O_CREAT, 0600);
    if (to < 0) return;
    int source = from;
    if ((fcntl(from, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", from);
        source = REAL(open)(link, O_RDONLY);
    }
    for (off_t at = range->low; at < range->high;) {
        size_t want = range->high - at < (off_t)sizeof buffer ? (size_t)(range->high - at) : sizeof buffer;
        ssize_t got = pread(source, buffer, want, at);
        if (got <= 0 || REAL(pwrite)(to, buffer, got, at) != got) break;
        at += got;
    }
    if (range->cut && REAL(ftruncate)(to, length)) { /* the next sync tries again */ }
    if (source != from) close(source);
    close(to);
}

static void write_name(const char *name, const char *id) {
    char draft[PATH_MAX], path[PATH_MAX], number[64];
    snprintf(number, sizeof number, "draft-%d-%lu", getpid(), (unsigned long)pthread_self());
    shadow_path(draft, "", number);
    shadow_path(path, "names", name);
    int file = REAL(open)(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) return;
    if (REAL(write)(file, id, strlen(id)) > 0) { /* whole or not at all, by the rename */ }
    close(file);
    REAL(rename)(draft, path);
}

static void copy_names(const char *directory, const char *relative) {
    static char seen[NAMES_MAX][NAME_MAX + 1];
    char path[PATH_MAX], name[PATH_MAX], id[96];
    int count = 0;
    pthread_mutex_lock(&lock);
    DIR *list = opendir(directory);
    for (struct dirent *one; list && (one = readdir(list));) {
        if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..") || count == NAMES_MAX) continue;
        strcpy(seen[count++], one->d_name);
        snprintf(path, sizeof path, "%s/%s", directory, one->d_name);
        snprintf(name, sizeof name, "%s%s%s", relative, *relative ? "/" : "", one->d_name);
        struct stat about;
        if (lstat(path, &about)) continue;
        if (S_ISDIR(about.st_mode)) {
            shadow_path(path, "names", name);
            mkdir(path, 0700);
        } else if (S_ISREG(about.st_mode) && !identify(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, id)) {
            write_name(name, id);
        }
    }
    if (list) closedir(list);
    shadow_path(name, "names", relative);
    list = opendir(name);
    for (struct dirent *one; list && (one = readdir(list));) {
        int there = !strcmp(one->d_name, ".") || !strcmp(one->d_name, "..");
        for (int i = 0; i < count && !there; i++) there = !strcmp(seen[i], one->d_name);
        snprintf(path, sizeof path, "%s/%s", name, one->d_name);
        if (!there) REAL(unlink)(path);
    }
    if (list) closedir(list);
    pthread_mutex_unlock(&lock);
}

static int sync_with(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    const char *relative = below_fd(fd, path);
    if (fails_fd(fd)) return -1;
    if (!relative || getenv("POWER_CUT_IGNORE_SYNC")) return sync(fd);
    struct stat about;
    if (fstat(fd, &about)) return -1;
    if (S_ISDIR(about.st_mode)) {
        int result = sync(fd);
        if (!result) copy_names(path, relative);
        return result;
    }
    struct dirty range = {0};
    pthread_mutex_lock(&lock);
    struct dirty *file = entry(fd);
    if (file) {
        range = *file;
        file->low = file->high = file->cut = 0;
    }
    pthread_mutex_unlock(&lock);
    int result = sync(fd);
    if (!result) copy(fd, &range, about.st_size);
    return result;
}

static void *sync_later(void *given) {
    int fd = (int)(intptr_t)given;
    usleep(300000);
    REAL(fdatasync)(fd);
    close(fd);
    return NULL;
}

/* Says that it is done, and does it then. */
static int late(int fd) {
    pthread_t thread;
    int copy = dup(fd);
    if (copy < 0 || pthread_create(&thread, NULL, sync_later, (void *)(intptr_t)copy)) return REAL(fdatasync)(fd);
    pthread_detach(thread);
    return 0;
}

int fsync(int fd) { return sync_with(fd, REAL(fsync)); }
int fdatasync(int fd) {
    return getenv("POWER_CUT_LATE_SYNC") ? late(fd) : sync_with(fd, REAL(fdatasync));
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fails_fd(fd)) return -1;
    ssize_t done = REAL(write)(fd, bytes, count);
    if (done > 0) {
        int saved = errno;
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) wrote(fd, end - done, done);
        errno = saved;
    }
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fails_fd(fd)) return -1;
    ssize_t done = REAL(writev)(fd, parts, count);
    if (done > 0) {
        int saved = errno;
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) wrote(fd, end - done, done);
        errno = saved;
    }
    return done;
}

#define PWRITE(name, offset_type)                                                      \
    ssize_t name(int fd, const void *bytes, size_t count, offset_type at) {            \
        if (fails_fd(fd)) return -1;                                                   \
        ssize_t done = REAL(name)(fd, bytes, count, at);                               \
        wrote(fd, at, done);                                                           \
        return done;                                                                   \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

static int cut(int fd, off_t length, int result) {
    char path[PATH_MAX];
    if (result || !below_fd(fd, path)) return result;
    pthread_mutex_lock(&lock);
    struct dirty *file = entry(fd);
    if (file) {
        file->cut = 1;
        if (file->high > length) file->high = length;
        if (file->low > file->high) file->low = file->high;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) {
    return fails_fd(fd) ? -1 : cut(fd, length, REAL(ftruncate)(fd, length));
}
int ftruncate64(int fd, off64_t length) {
    return fails_fd(fd) ? -1 : cut(fd, length, REAL(ftruncate64)(fd, length));
}

#define OPEN(name)                                                                                  \
    int name(const char *path, int flags, ...) {                                                    \
        va_list more;                                                                               \
        va_start(more, flags);                                                                      \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                   \
        va_end(more);                                                                               \
        if (flags & O_EXCL ? fails_to_make(path)                                                    \
                           : (flags & O_ACCMODE) != O_RDONLY && fails(path)) return -1;                             \
        int fd = REAL(name)(path, flags, mode);                                                     \
        if (fd >= 0 && flags & O_TRUNC) cut(fd, 0, 0);                                              \
        return fd;                                                                                  \
    }
OPEN(open)
OPEN(open64)

int rename(const char *from, const char *to) { return fails(to) ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return fails(to) ? -1 : REAL(link)(from, to); }
int unlink(const char *path) { return fails(path) ? -1 : REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return fails_to_make(path) ? -1 : REAL(mkdir)(path, mode); }
int chmod(const char *path, mode_t mode) { return fails(path) ? -1 : REAL(chmod)(path, mode); }
