#include <stdint.h>
#include <string.h>

#include "lib/json.h"
#include "link/frame.h"
#include "link/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every message as every type: what isn't of a type must be refused, not misread. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_join join = {0};
    struct message_hello hello;
    struct message_ack ack;
    struct message_joined joined;
    struct message_welcome welcome;
    struct message_put put;
    struct message_sync sync;
    struct message_refused refused;
    struct message_ask ask;
    struct message_answer answer;
    struct error error;
    const json_t *object;
    const char *type, *text;
    json_t *message;

    if (frame_parse((const char *)data, size, &message, &type, &error) < 0) {
        return 0;
    }
    message_join(message, &join, &error);
    message_hello(message, &hello, &error);
    message_ack(message, &ack, &error);
    message_facts(message, &object, &error);
    message_status(message, &object, &error);
    message_renew(message, &text, &error);
    message_joined(message, &joined, &error);
    message_welcome(message, &welcome, &error);
    message_put(message, &put, &error);
    message_delete(message, &put, &error);
    message_sync(message, &sync, &error);
    message_renewed(message, &text, &error);
    message_refused(message, &refused, &error);
    message_counters(message, &object, &error);
    message_ask(message, &ask, &error);
    if (message_answer(message, &answer, &error) == 0 && answer.error) {
        message_read_error(answer.error, &error);
    }
    message_read_error(message, &error);
    json_decref(message_error(&error));
    json_decref(message);
    return 0;
}
