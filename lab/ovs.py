"""ovs.py - Open vSwitch on a machine of the lab, as Debian's units run it.

Two daemons, without a monitor: whoever kills one has to start it again, as systemd would. The
database, under /var/lib, is the machine's own and outlives its restart.
"""
import os
import signal

from lab.machine import Machine
from lab.processes import LabError, wait_for

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
        self._start("ovsdb-server", "--no-ovs-vswitchd")

    def start_vswitchd(self):
        self._start("ovs-vswitchd", "--no-ovsdb-server")

    def _start(self, name, without):
        said = self.run([*OVS_CTL, without, "start"]).stdout
        if not self.processes(name):
            raise LabError(f"{self.name}: {name} did not start: {said.strip()}")

    def ovs_runs(self):
        return bool(self.processes("ovsdb-server") and self.processes("ovs-vswitchd"))

    # --- faults ---------------------------------------------------------------------------------

    def kill_vswitchd(self, number=signal.SIGKILL):
        """Ends it; returns when it is gone. start_vswitchd() makes it run again."""
        return self._kill("ovs-vswitchd", number)

    def kill_ovsdb(self, number=signal.SIGKILL):
        return self._kill("ovsdb-server", number)

    def _kill(self, name, number):
        """Until it is reaped too: to ovs-ctl one that is dead but in /proc runs already."""
        pids = self.kill_processes(name, number)
        wait_for(f"nothing left of {name} on {self.name}",
                 lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 20)
        return pids

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
