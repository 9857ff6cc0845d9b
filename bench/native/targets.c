/* Be many real servers: one process that answers on every loopback address as nginx does, and counts.
 *
 *   targets COUNTERS [DISTINCT [PORT]]      prints its port; COUNTERS is a file of 16 bytes: connections accepted, requests answered
 *
 * The head is nginx's for a file of 1 KiB, with a Date that changes each second; with DISTINCT = 1 each address has a Last-Modified and an
 * ETag of its own, as machines have whose files were copied one after another. A connection stays open when the client asks for it.
 * A request must come in one piece: all that are measured do that. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BODY 1024

static char date[64];
static int distinct;

static int answer(char *out, size_t size, int keep, uint32_t number) {
    int length = snprintf(out, size,
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
        "Last-Modified: Tue, 03 Nov 2026 07:%02u:%02u GMT\r\nConnection: %s\r\nETag: \"690864%02x-400\"\r\nAccept-Ranges: bytes\r\n\r\n",
        date, BODY, number / 60 % 60, number % 60, keep ? "keep-alive" : "close", number);
    memset(out + length, 'x', BODY);
    return length + BODY;
}

int main(int count, char **words) {
    struct rlimit files = {60000, 60000};
    setrlimit(RLIMIT_NOFILE, &files);
    int file = open(words[1], O_RDWR);
    distinct = count > 2 && atoi(words[2]);
    volatile uint64_t *counters = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED) { perror(words[1]); return 1; }

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), port_text = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 3 ? atoi(words[3]) : 0)};
    socklen_t length = sizeof address;
    int again = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 8192)) { perror("listen"); return 1; }
    getsockname(listener, (struct sockaddr *)&address, &length);
    port_text = ntohs(address.sin_port);
    printf("%d\n", port_text);
    fflush(stdout);

    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    time_t second = 0;
    static char in[8192], out[4096];
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        time_t now = time(NULL);
        if (now != second) {
            struct tm parts;
            second = now;
            strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
        }
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client;
                while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    counters[0]++;
                    event.events = EPOLLIN;
                    event.data.fd = client;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
                }
                continue;
            }
            ssize_t got = recv(fd, in, sizeof in - 1, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { close(fd); continue; }
            in[got] = 0;
            int keep = strcasestr(in, "\r\nConnection: keep-alive") || (strstr(in, " HTTP/1.1\r\n") && !strcasestr(in, "\r\nConnection: close"));
            uint32_t number = 0;
            if (distinct) {
                getsockname(fd, (struct sockaddr *)&address, &length);
                number = ntohl(address.sin_addr.s_addr) & 0xffff;
            }
            int size = answer(out, sizeof out, keep, number);
            counters[1]++;
            if (send(fd, out, size, MSG_NOSIGNAL) < 0 || !keep) close(fd);
        }
    }
}
