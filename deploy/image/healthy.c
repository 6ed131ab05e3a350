/* artstore-healthy: exit code 0 if the server of this container is SERVING, else 1 and why.
 *
 * Asks what `grpc.health.v1.Health/Check` says of the server as a whole, by the port that clients
 * use, so a server that hangs, drains or has no listener is found. Docker runs it every few
 * seconds: a Python process for this would cost a hundred times as much. The request is always the
 * same bytes and of the answer one frame matters, so there is no HTTP/2 library here.
 *
 * Reads ARTSTORE_PORT, ARTSTORE_PORT_OFFSET (0), ARTSTORE_HOST (127.0.0.1), and
 * ARTSTORE_TLS_CERT_FILE, which says that the server speaks TLS. One that asks for certificates
 * (ARTSTORE_TLS_CLIENT_CA_FILE) is shown its own (with ARTSTORE_TLS_KEY_FILE).
 */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_SECONDS 3
#define FRAME_HEADER 9
#define LARGEST_FRAME 16384 /* what a server may send to whom sets nothing else */

enum { DATA = 0, RST_STREAM = 3, GOAWAY = 7 };
enum { END_STREAM = 1 };

static const char REQUEST[] =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\0\0\0\4\0\0\0\0\0"                         /* SETTINGS, none */
    "\0\0\113\1\4\0\0\0\1"                       /* HEADERS, 75 bytes, END_HEADERS, stream 1 */
    "\203"                                       /* :method POST */
    "\206"                                       /* :scheme http */
    "\4\34/grpc.health.v1.Health/Check"          /* :path */
    "\1\11localhost"                             /* :authority */
    "\17\20\20application/grpc"                  /* content-type */
    "\0\2te\10trailers"
    "\0\0\5\0\1\0\0\0\1"                         /* DATA, 5 bytes, END_STREAM, stream 1 */
    "\0\0\0\0\0";                                /* a HealthCheckRequest that names no service */

/* A HealthCheckResponse of 2 bytes: status = SERVING. */
static const char SERVING[] = "\0\0\0\0\2\10\1";

static void fail(const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    vprintf(format, rest);
    va_end(rest);
    putchar('\n');
    exit(1);
}

static void too_late(int number)
{
    static const char text[] = "no answer within 3 s\n";
    (void)number;
    (void)!write(STDOUT_FILENO, text, sizeof text - 1);
    _exit(1);
}

static long number_of(const char *variable, long otherwise)
{
    const char *text = getenv(variable);
    char *end;
    if (text == NULL || *text == '\0')
        return otherwise;
    long number = strtol(text, &end, 10);
    if (*end != '\0' || number < 0 || number > 65535)
        fail("%s=%s is no port", variable, text);
    return number;
}

static int is_set(const char *variable)
{
    const char *text = getenv(variable);
    return text != NULL && *text != '\0';
}

/* Where a server that listens there is reached from the same container; IPv6 in brackets. */
static const char *address(void)
{
    static char bracketed[256];
    const char *host = is_set("ARTSTORE_HOST") ? getenv("ARTSTORE_HOST") : "127.0.0.1";
    if (strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    if (strcmp(host, "::") == 0 || strcmp(host, "[::]") == 0)
        return "[::1]";
    if (strchr(host, ':') == NULL || host[0] == '[')
        return host;
    if (snprintf(bracketed, sizeof bracketed, "[%s]", host) >= (int)sizeof bracketed)
        fail("ARTSTORE_HOST=%s is no address", host);
    return bracketed;
}

static BIO *connection(int tls)
{
    char port[16];
    long number = number_of("ARTSTORE_PORT", 0);
    if (number == 0)
        fail("ARTSTORE_PORT is not set: where the server listens is not known");
    snprintf(port, sizeof port, "%ld", number + number_of("ARTSTORE_PORT_OFFSET", 0));

    BIO *bio;
    if (tls) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        /* It is this container's own server, whatever name its certificate has. */
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        if (is_set("ARTSTORE_TLS_CLIENT_CA_FILE")
            && (SSL_CTX_use_certificate_chain_file(context, getenv("ARTSTORE_TLS_CERT_FILE")) != 1
                || !is_set("ARTSTORE_TLS_KEY_FILE")
                || SSL_CTX_use_PrivateKey_file(context, getenv("ARTSTORE_TLS_KEY_FILE"),
                                               SSL_FILETYPE_PEM) != 1))
            fail("the server's own certificate and key cannot be read");
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\2h2", 3);
        bio = BIO_new_ssl_connect(context);
    } else {
        bio = BIO_new(BIO_s_connect());
    }
    BIO_set_conn_hostname(bio, address());
    BIO_set_conn_port(bio, port);
    if (BIO_do_connect(bio) <= 0) {
        unsigned long error = ERR_peek_error();
        const char *reason = ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error))
                                                     : ERR_reason_error_string(error);
        fail("no connection to %s port %s: %s", address(), port, reason ? reason : "it closed it");
    }
    return bio;
}

static void take(BIO *bio, unsigned char *to, int size)
{
    for (int got = 0; got < size;) {
        int more = BIO_read(bio, to + got, size - got);
        if (more <= 0)
            fail("the server closed the connection");
        got += more;
    }
}

/* Reads frames until the answer is whole. */
static int is_serving(BIO *bio)
{
    unsigned char header[FRAME_HEADER], payload[LARGEST_FRAME];
    char answer[sizeof SERVING - 1];
    size_t got = 0;
    for (;;) {
        take(bio, header, FRAME_HEADER);
        int size = header[0] << 16 | header[1] << 8 | header[2];
        int type = header[3], flags = header[4], stream = header[8];
        if (size > LARGEST_FRAME)
            fail("what listens there is no gRPC server");
        take(bio, payload, size);
        if (type == DATA && stream == 1) {
            for (int at = 0; at < size && got < sizeof answer; at++)
                answer[got++] = (char)payload[at];
            if (got == sizeof answer)
                return memcmp(answer, SERVING, sizeof answer) == 0;
        }
        if (type == GOAWAY || (stream == 1 && (type == RST_STREAM || flags & END_STREAM)))
            return 0;
    }
}

int main(void)
{
    char request[sizeof REQUEST - 1];
    int tls = is_set("ARTSTORE_TLS_CERT_FILE");
    signal(SIGALRM, too_late);
    alarm(DEADLINE_SECONDS);
    BIO *bio = connection(tls);
    memcpy(request, REQUEST, sizeof request);
    if (tls) /* :scheme https */
        *(char *)memchr(request, '\206', sizeof request) = '\207';
    if (BIO_write(bio, request, sizeof request) != (int)sizeof request)
        fail("the server closed the connection");
    if (!is_serving(bio))
        fail("the server says that it is not serving");
    puts("SERVING");
    return 0;
}
