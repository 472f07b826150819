/* Stands between a program and its allocator (LD_PRELOAD), and fails one allocation: the n-th of at least so many bytes,
 * counted from when it is told so. It is told by a file that is mapped into memory, named by the variable FAILING_MALLOC:
 *
 *     offset 0: int64, the n; it is counted down, and at 0 nothing fails
 *     offset 8: int64, the least number of bytes
 *     offset 16: int64, how many were failed so far
 *     offset 24: int64, the greatest number of bytes, 0 is any
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static int64_t *orders;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAILING_MALLOC");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        orders = mapped;
}

static int fails(size_t bytes) {
    if (!orders || __atomic_load_n(&orders[0], __ATOMIC_RELAXED) <= 0 || (int64_t)bytes < orders[1])
        return 0;
    if (orders[3] && (int64_t)bytes > orders[3])
        return 0;
    if (__atomic_sub_fetch(&orders[0], 1, __ATOMIC_RELAXED) != 0)
        return 0;
    __atomic_add_fetch(&orders[2], 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes) { return fails(bytes) ? NULL : __libc_malloc(bytes); }

void *calloc(size_t count, size_t bytes) { return fails(count * bytes) ? NULL : __libc_calloc(count, bytes); }

void *realloc(void *old, size_t bytes) { return fails(bytes) ? NULL : __libc_realloc(old, bytes); }

void *memalign(size_t alignment, size_t bytes) { return fails(bytes) ? NULL : __libc_memalign(alignment, bytes); }

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void **place, size_t alignment, size_t bytes) {
    void *memory = memalign(alignment, bytes);
    if (!memory)
        return ENOMEM;
    *place = memory;
    return 0;
}
