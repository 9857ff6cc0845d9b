/* A kernel that agrees to everything, for keepalived on a machine without IPVS: LD_PRELOAD.
 *
 * keepalived asks the kernel for IPVS over generic netlink and, where there is none, over the old socket options. These are answered here:
 * the version is one that it knows, and every change succeeds. Nothing else is touched, so its checkers are the real ones. What the
 * kernel's part of a change would cost is not in the measurement; while all servers are well there are no changes.
 *
 * With IPVS_STANDIN_COUNT=FILE (8 bytes that exist) the changes are counted there, as an unsigned 64-bit number of the machine.
 * With IPVS_STANDIN_WRITES=FILE (which exists) each change of a destination is a line there, "SECONDS ADDRESS:PORT WEIGHT": on
 * CLOCK_MONOTONIC, IPv4 only, weight -1 when it is deleted; as bench/timed_daemon.py writes of ours. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IP_VS_FIRST (64 + 1024 + 64)            /* linux/ip_vs.h: IP_VS_BASE_CTL */
#define IP_VS_LAST (IP_VS_FIRST + 63)
#define IP_VS_GET_INFO (IP_VS_FIRST + 1)
#define IP_VS_ADD_DESTINATION (IP_VS_FIRST + 7)
#define IP_VS_DELETE_DESTINATION (IP_VS_FIRST + 8)
#define IP_VS_CHANGE_DESTINATION (IP_VS_FIRST + 9)

static uint64_t unread, *changes = &unread;
static int writes = -1;

__attribute__((constructor)) static void open_count(void) {
    const char *path = getenv("IPVS_STANDIN_COUNT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *changes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) changes = found;
    close(fd);
}

__attribute__((constructor)) static void open_writes(void) {
    const char *path = getenv("IPVS_STANDIN_WRITES");
    if (path) writes = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

struct service { uint16_t protocol; uint32_t address; uint16_t port; uint32_t mark; char scheduler[16]; uint32_t flags, timeout, mask; };
struct destination { uint32_t address; uint16_t port; uint32_t flags; int32_t weight; uint32_t most, least; };
struct change { struct service service; struct destination destination; };   /* linux/ip_vs.h: ip_vs_service_user, ip_vs_dest_user */

static void write_down(int name, const struct change *change) {
    char line[96], address[INET_ADDRSTRLEN];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    inet_ntop(AF_INET, &change->destination.address, address, sizeof address);
    int size = snprintf(line, sizeof line, "%lld.%06ld %s:%u %d\n", (long long)now.tv_sec, now.tv_nsec / 1000, address,
                        ntohs(change->destination.port), name == IP_VS_DELETE_DESTINATION ? -1 : change->destination.weight);
    if (write(writes, line, size) != size) abort();
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
        int destination = name >= IP_VS_ADD_DESTINATION && name <= IP_VS_CHANGE_DESTINATION;
        if (writes >= 0 && destination && size >= sizeof(struct change)) write_down(name, value);
        return 0;
    }
    if (!real) real = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, name, value, size);
}
