#include "openflow/openflow-samples.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct of_flow_mod sample_mods[SAMPLES];

const char *const SAMPLE_TEXTS[SAMPLES] = {
    "table=3,priority=100,cookie=0x1122334455667788,in_port=1,eth_src=02:00:00:00:00:01,"
    "eth_dst=02:00:00:00:00:02/ff:ff:ff:00:00:00,tcp,nw_src=10.77.0.0/16,nw_dst=10.77.0.3,"
    "tcp_src=1000,tcp_dst=0x400/0xfc00,nw_frag=no,ip_dscp=10,nw_ecn=1,nw_ttl=64,metadata=0x5/0xf,"
    "reg0=7,reg3=0x10/0xf0,idle_timeout=600,hard_timeout=1200,importance=7,send_flow_rem "
    "actions=set_field:5->metadata,output:2,goto_table:7",
    "table=3,priority=99,udp,in_port=LOCAL,udp_dst=53,nw_frag=not_later actions=drop",
    "table=3,priority=98,icmp,icmp_type=8,icmp_code=0 "
    "actions=write_metadata:0x1/0xff,goto_table:4",
    "table=3,priority=97,arp,arp_op=1,arp_spa=10.77.0.1,arp_tpa=10.77.0.0/24,"
    "arp_sha=02:00:00:00:00:01,arp_tha=00:00:00:00:00:00 "
    "actions=set_field:10->reg0,set_field:02:00:00:00:00:09->eth_dst,LOCAL",
    "table=3,priority=96,dl_vlan=10,dl_vlan_pcp=3 actions=IN_PORT,NORMAL",
    "table=3,priority=95,ip,nw_frag=later actions=CONTROLLER:65535",
    "table=3,priority=94,udp,udp_src=1024/0xfc00 actions=output:1",
    "table=3,priority=93,dl_type=0x0800,nw_proto=47 actions=drop",
};

static void make_tcp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3,
                             .priority = 100,
                             .cookie = 0x1122334455667788,
                             .idle_sec = 600,
                             .hard_sec = 1200,
                             .importance = 7,
                             .flags = OF_FLOW_SEND_REMOVED,
                             .goto_table = 7};
    of_match_set(&flow->match, OF_IN_PORT, 1);
    of_match_set(&flow->match, OF_ETH_SRC, 0x020000000001);
    of_match_set_masked(&flow->match, OF_ETH_DST, 0x020000000002, 0xffffff000000);
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 6);
    of_match_set_masked(&flow->match, OF_IPV4_SRC, 0x0a4d0000, 0xffff0000);
    of_match_set(&flow->match, OF_IPV4_DST, 0x0a4d0003);
    of_match_set(&flow->match, OF_TCP_SRC, 1000);
    of_match_set_masked(&flow->match, OF_TCP_DST, 0x400, 0xfc00);
    of_match_set(&flow->match, OF_IP_FRAG, 0);
    of_match_set(&flow->match, OF_IP_DSCP, 10);
    of_match_set(&flow->match, OF_IP_ECN, 1);
    of_match_set(&flow->match, OF_IP_TTL, 64);
    of_match_set_masked(&flow->match, OF_METADATA, 5, 15);
    of_match_set(&flow->match, OF_REG0, 7);
    of_match_set_masked(&flow->match, OF_REG3, 0x10, 0xf0);
    of_flow_set_field(flow, OF_METADATA, 5);
    of_flow_output(flow, 2);
}

static void make_udp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3, .priority = 99};
    of_match_set(&flow->match, OF_IN_PORT, OF_PORT_LOCAL);
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 17);
    of_match_set(&flow->match, OF_UDP_DST, 53);
    of_match_set_masked(&flow->match, OF_IP_FRAG, 0, OF_FRAG_LATER);
}

static void make_icmp(struct of_flow *flow)
{
    *flow = (struct of_flow){
        .table = 3, .priority = 98, .metadata = 1, .metadata_mask = 0xff, .goto_table = 4};
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&flow->match, OF_IP_PROTO, 1);
    of_match_set(&flow->match, OF_ICMPV4_TYPE, 8);
    of_match_set(&flow->match, OF_ICMPV4_CODE, 0);
}

static void make_arp(struct of_flow *flow)
{
    *flow = (struct of_flow){.table = 3, .priority = 97};
    of_match_set(&flow->match, OF_ETH_TYPE, ETH_ARP);
    of_match_set(&flow->match, OF_ARP_OP, 1);
    of_match_set(&flow->match, OF_ARP_SPA, 0x0a4d0001);
    of_match_set_masked(&flow->match, OF_ARP_TPA, 0x0a4d0000, 0xffffff00);
    of_match_set(&flow->match, OF_ARP_SHA, 0x020000000001);
    of_match_set(&flow->match, OF_ARP_THA, 0);
    of_flow_set_field(flow, OF_REG0, 10);
    of_flow_set_field(flow, OF_ETH_DST, 0x020000000009);
    of_flow_output(flow, OF_PORT_LOCAL);
}

static void make_others(void)
{
    sample_mods[4].flow = (struct of_flow){.table = 3, .priority = 96};
    of_match_set(&sample_mods[4].flow.match, OF_VLAN_VID, OF_VLAN_PRESENT | 10);
    of_match_set(&sample_mods[4].flow.match, OF_VLAN_PCP, 3);
    of_flow_output(&sample_mods[4].flow, OF_PORT_IN_PORT);
    of_flow_output(&sample_mods[4].flow, OF_PORT_NORMAL);
    sample_mods[5].flow = (struct of_flow){.table = 3, .priority = 95};
    of_match_set(&sample_mods[5].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&sample_mods[5].flow.match, OF_IP_FRAG, OF_FRAG_LATER | OF_FRAG_ANY);
    of_flow_output(&sample_mods[5].flow, OF_PORT_CONTROLLER);
    sample_mods[6].flow = (struct of_flow){.table = 3, .priority = 94};
    of_match_set(&sample_mods[6].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&sample_mods[6].flow.match, OF_IP_PROTO, 17);
    of_match_set_masked(&sample_mods[6].flow.match, OF_UDP_SRC, 1024, 0xfc00);
    of_flow_output(&sample_mods[6].flow, 1);
    sample_mods[7].flow = (struct of_flow){.table = 3, .priority = 93};
    of_match_set(&sample_mods[7].flow.match, OF_ETH_TYPE, ETH_IP);
    of_match_set(&sample_mods[7].flow.match, OF_IP_PROTO, 47);
}

void samples_make(void)
{
    make_tcp(&sample_mods[0].flow);
    make_udp(&sample_mods[1].flow);
    make_icmp(&sample_mods[2].flow);
    make_arp(&sample_mods[3].flow);
    make_others();
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_int_equal(of_match_check(&sample_mods[i].flow.match, NULL), 0);
    }
}
