/* The least that an HTTP check can cost: a program that does nothing else, wakes every 50 ms and starts all checks that are due.
 *
 *   floor SERVERS INTERVAL_MS PORT FIRST_ADDRESS        checks until killed
 *
 * Fresh connection, one request, one read, the status is compared, the connection is reset. One check of each server each interval. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 50

enum phase { IDLE, CONNECTING, WAITING };
struct server { struct sockaddr_in address; int fd; enum phase phase; char request[256]; int size; uint64_t due; };

static uint64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void end(struct server *server) {
    struct linger reset = {1, 0};
    setsockopt(server->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(server->fd);
    server->phase = IDLE;
}

int main(int count, char **words) {
    if (count < 5) return 2;
    struct rlimit files = {60000, 60000};
    setrlimit(RLIMIT_NOFILE, &files);
    int servers = atoi(words[1]), interval = atoi(words[2]);
    struct server *all = calloc(servers, sizeof *all);
    uint64_t start = now_ms();
    for (int i = 0; i < servers; i++) {
        char text[32];
        all[i].address.sin_family = AF_INET;
        all[i].address.sin_port = htons(atoi(words[3]));
        all[i].address.sin_addr.s_addr = htonl(ntohl(inet_addr(words[4])) + i);
        inet_ntop(AF_INET, &all[i].address.sin_addr, text, sizeof text);
        all[i].size = snprintf(all[i].request, sizeof all[i].request,
            "GET /health HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: %s:%s\r\n\r\n", text, words[3]);
        all[i].due = start + (uint64_t)interval * i / servers;
    }
    int epoll = epoll_create1(0), next = 0, failed = 0;
    int tick = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec every = {{0, TICK_MS * 1000000}, {0, TICK_MS * 1000000}};
    timerfd_settime(tick, 0, &every, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[1024];
    epoll_ctl(epoll, EPOLL_CTL_ADD, tick, &event);
    static char in[4096];
    for (;;) {
        int ready = epoll_wait(epoll, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            struct server *server = events[i].data.ptr;
            if (server == NULL) {
                uint64_t ticks, now = now_ms();
                if (read(tick, &ticks, sizeof ticks) < 0) continue;
                for (; all[next].due <= now; next = (next + 1) % servers) {
                    server = &all[next];
                    server->due += interval;
                    if (server->phase != IDLE) { failed++; end(server); }
                    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                    if (connect(server->fd, (struct sockaddr *)&server->address, sizeof server->address) && errno != EINPROGRESS) {
                        failed++;
                        close(server->fd);
                        continue;
                    }
                    server->phase = CONNECTING;
                    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
                    event.data.ptr = server;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, server->fd, &event);
                }
                continue;
            }
            if (server->phase == CONNECTING) {
                server->phase = WAITING;
                if (send(server->fd, server->request, server->size, MSG_NOSIGNAL) < 0) { failed++; end(server); continue; }
                if (!(events[i].events & EPOLLIN)) continue;
            }
            ssize_t got = recv(server->fd, in, sizeof in, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got < 12 || memcmp(in + 8, " 200", 4)) failed++;
            end(server);
        }
    }
}
