/* switch.h - what a switch says of itself: features, ports, counters of ports and tables.
 *
 * Plain structs, filled by decoders that check every length; conn.h hands them out. Entries of a
 * multipart answer are decoded one by one: *ret_size is what the entry at the beginning of `data`
 * took. -EBADMSG for anything malformed. The layouts of versions 1.3 and 1.4 differ; properties
 * that 1.4 appends and that we don't know are skipped.
 *
 * Sources: OpenFlow 1.4.1 sections 7.3.1 (features), 7.2.1 (ports), 7.3.5.3 (tables), 7.3.5.6
 * (port statistics), 7.4.3 (port status); 1.3.5 sections 7.2.1 and 7.3.5. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct of_features {
    uint64_t datapath_id;
    uint32_t capabilities; /* OFPC_… */
    uint8_t tables_len;
};

enum {
    OF_PORT_NAME_SIZE = 16, /* the longest name and NUL */
};

/* of_port.config and .state */
enum {
    OF_PORT_IS_DOWN = 1, /* config: by administration */
    OF_PORT_NO_LINK = 1, /* state */
};

struct of_port {
    uint32_t number;
    uint8_t hardware[6];
    char name[OF_PORT_NAME_SIZE];
    uint32_t config, state;
};

/* A counter that the switch doesn't have is UINT64_MAX. */
struct of_port_stats {
    uint32_t number;
    uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
    uint64_t rx_dropped, tx_dropped, rx_errors, tx_errors;
    uint32_t duration_sec, duration_nsec;
};

struct of_table_stats {
    uint8_t table;
    uint32_t flows_len;
    uint64_t lookups, matches; /* packets */
};

enum of_port_change {
    OF_PORT_ADDED = 0,
    OF_PORT_DELETED = 1,
    OF_PORT_MODIFIED = 2,
};

int of_features_decode(const uint8_t *message, size_t size, struct of_features *ret_features);

int of_port_decode(uint8_t version, const uint8_t *data, size_t size, struct of_port *ret_port,
                   size_t *ret_size);
int of_port_stats_decode(uint8_t version, const uint8_t *data, size_t size,
                         struct of_port_stats *ret_stats, size_t *ret_size);
int of_table_stats_decode(const uint8_t *data, size_t size, struct of_table_stats *ret_stats,
                          size_t *ret_size);

int of_port_status_decode(uint8_t version, const uint8_t *message, size_t size,
                          enum of_port_change *ret_change, struct of_port *ret_port);
