/* A kernel that agrees to everything, for keepalived on a machine without IPVS: LD_PRELOAD.
 *
 * keepalived asks the kernel for IPVS over generic netlink and, where there is none, over the old socket options. These are answered here:
 * the version is one that it knows, and every change succeeds. Nothing else is touched, so its checkers are the real ones. What the
 * kernel's part of a change would cost is not in the measurement; while all servers are well there are no changes.
 *
 * With IPVS_STANDIN_COUNT=FILE (8 bytes that exist) the changes are counted there, as an unsigned 64-bit number of the machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define IP_VS_FIRST (64 + 1024 + 64)            /* linux/ip_vs.h: IP_VS_BASE_CTL */
#define IP_VS_LAST (IP_VS_FIRST + 63)
#define IP_VS_GET_INFO (IP_VS_FIRST + 1)

static uint64_t unread, *changes = &unread;

__attribute__((constructor)) static void open_count(void) {
    const char *path = getenv("IPVS_STANDIN_COUNT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *changes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) changes = found;
    close(fd);
}

struct info { unsigned version, size, services; };

int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
    static int (*real)(int, int, int, void *, socklen_t *);
    if (level == IPPROTO_IP && name >= IP_VS_FIRST && name <= IP_VS_LAST) {
        memset(value, 0, *size);
        if (name == IP_VS_GET_INFO && *size >= sizeof(struct info)) *(struct info *)value = (struct info){0x010201, 4096, 0};
        return 0;
    }
    if (!real) real = (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
    return real(fd, level, name, value, size);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
    static int (*real)(int, int, int, const void *, socklen_t);
    if (level == IPPROTO_IP && name >= IP_VS_FIRST && name <= IP_VS_LAST) {
        __atomic_add_fetch(changes, 1, __ATOMIC_RELAXED);
        return 0;
    }
    if (!real) real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, name, value, size);
}
