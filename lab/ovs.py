"""ovs.py - Open vSwitch on a machine of the lab, as Debian's units run it.

Two daemons, without a monitor: whoever kills one has to start it again, as systemd would. The
database, under /var/lib, is the machine's own and outlives its restart.
"""
import signal

from lab.machine import Machine

OVS_CTL = ["/usr/share/openvswitch/scripts/ovs-ctl", "--no-monitor", "--no-mlockall",
           "--no-record-hostname", "--system-id=random"]
# Many machines share few cores here.
THREADS = ["other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"]


class OvsMachine(Machine):
    STATE = {**Machine.STATE, "ovs": "ovs-vsctl --timeout=5 show",
             "flows": "ovs-ofctl --timeout=5 -O OpenFlow14 dump-flows cnsmo-sdn"}

    # --- start and stop, each of the two or both ------------------------------------------------

    def start_ovs(self):
        """Both daemons; those that run already go on."""
        self.start_ovsdb()
        self.run(["ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *THREADS])
        self.start_vswitchd()

    def stop_ovs(self):
        """As `systemctl stop`: nothing forwards any more, the database stays."""
        self.run([*OVS_CTL, "stop"])

    def restart_ovs(self):
        self.stop_ovs()
        self.start_ovs()

    def start_ovsdb(self):
        self.run([*OVS_CTL, "--no-ovs-vswitchd", "start"])

    def start_vswitchd(self):
        self.run([*OVS_CTL, "--no-ovsdb-server", "start"])

    def ovs_runs(self):
        return bool(self.processes("ovsdb-server") and self.processes("ovs-vswitchd"))

    # --- faults ---------------------------------------------------------------------------------

    def kill_vswitchd(self, number=signal.SIGKILL):
        """Ends it; returns when it is gone. start_vswitchd() makes it run again."""
        return self.kill_processes("ovs-vswitchd", number)

    def kill_ovsdb(self, number=signal.SIGKILL):
        return self.kill_processes("ovsdb-server", number)

    def restart_vswitchd(self, number=signal.SIGKILL):
        self.kill_vswitchd(number)
        self.start_vswitchd()

    def restart_ovsdb(self, number=signal.SIGKILL):
        self.kill_ovsdb(number)
        self.start_ovsdb()

    def hang_vswitchd(self):
        """It is there but does nothing, until resume_vswitchd()."""
        self.signal_processes("ovs-vswitchd", signal.SIGSTOP)

    def resume_vswitchd(self):
        self.signal_processes("ovs-vswitchd", signal.SIGCONT)
