#include <string.h>

#include "http/internal.h"
#include "lib/mem.h"

enum {
    BLOCK_BYTES = 2048,
};

/* Two hold it: the application, until `gone` was called; and the response, until it is freed. */
struct http_stream {
    struct http_request *request; /* NULL once the connection is gone */
    struct buf queue;
    int ending;  /* send what is queued, then close */
    int cut;     /* the client reads too slowly: close now */
    int reading; /* the response still needs us */
    int told;    /* gone() was called */
    void (*gone)(void *arg);
    void *arg;
};

static void unref(struct http_stream *stream)
{
    if (!stream->reading && stream->told) {
        buf_done(&stream->queue);
        free(stream);
    }
}

static ssize_t read_stream(void *cls, uint64_t position, char *block, size_t max)
{
    struct http_stream *stream = cls;

    if (stream->cut) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (stream->queue.size == 0) {
        if (stream->ending) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        stream->request->suspended = 1;
        MHD_suspend_connection(stream->request->connection);
        return 0;
    }
    size_t size = stream->queue.size < max ? stream->queue.size : max;
    memcpy(block, stream->queue.data, size);
    buf_consume(&stream->queue, size);
    return (ssize_t)size;
}

static void free_reader(void *cls)
{
    struct http_stream *stream = cls;

    stream->reading = 0;
    unref(stream);
}

static void wake(struct http_stream *stream)
{
    struct http_request *request = stream->request;

    if (request && request->suspended) {
        request->suspended = 0;
        MHD_resume_connection(request->connection);
        http_kick(request->server);
    }
}

static void tell_gone(struct http_stream *stream)
{
    if (!stream->told) {
        stream->told = 1;
        if (stream->gone) {
            stream->gone(stream->arg);
        }
    }
}

struct http_stream *http_stream_begin(struct http_request *request, size_t queue_max,
                                      void (*gone)(void *arg), void *arg)
{
    struct http_stream *stream = xnew(struct http_stream);

    stream->queue.limit = queue_max;
    stream->gone = gone;
    stream->arg = arg;
    stream->reading = 1;
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, stream, free_reader);
    if (request->server) {
        stream->request = request;
        request->stream = stream;
    }
    http_answer(request, 200, "text/event-stream", response);
    return stream;
}

void http_stream_lost(struct http_stream *stream)
{
    stream->request = NULL;
    tell_gone(stream);
    unref(stream);
}

void http_stream_send(struct http_stream *stream, const char *event, const char *id,
                      const char *data)
{
    _cleanup_free_ char *text = NULL;

    if (stream->told || stream->ending) {
        return;
    }
    if (!event) {
        text = xasprintf(": %s\n\n", data);
    } else {
        text = xasprintf("%s%s%sevent: %s\ndata: %s\n\n", id ? "id: " : "", id ? id : "",
                         id ? "\n" : "", event, data);
    }
    if (buf_append(&stream->queue, text, strlen(text)) < 0) {
        stream->cut = 1;
        buf_done(&stream->queue);
        tell_gone(stream);
    }
    wake(stream);
}

void http_stream_end(struct http_stream *stream)
{
    stream->ending = 1;
    if (stream->request) {
        wake(stream);
    } else { /* begun when nobody was there any more */
        tell_gone(stream);
        unref(stream);
    }
}
