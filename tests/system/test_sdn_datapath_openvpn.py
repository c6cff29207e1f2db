"""sdn's datapath when the fabric is OpenVPN: the same tests, and the hub is one of the nodes."""
# pylint: disable=unused-import
from test_sdn_datapath import (on, test_agent_restarts,  # noqa: F401
                               test_another_nodes_address_is_not_sent,
                               test_both_ways_and_large_packets, test_leave_with_sdn_on,
                               test_on_and_off_while_packets_flow, test_taken_away_by_hand)

LAB = {"nodes": 2, "clouds": 2, "ovs": True, "fabric": "openvpn"}
