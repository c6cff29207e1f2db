"""The lab: a deployment of CNSMO on one machine. See lab/topology.py for the picture."""
