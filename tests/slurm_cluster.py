"""A Slurm cluster of processes: a controller and two nodes on this machine.

It needs Linux, root, and Debian's packages slurm-wlm and munge; it starts and stops its
own daemons, with its own key, on free ports, in one folder.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("n1", "n2")
# A node that is silent for SlurmdTimeout seconds is lost; a job that was on it starts
# again after cred_expire seconds more.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdTimeout=6
KillWait=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class SlurmCluster:
    """Daemons that run until `stop`."""

    def __init__(self, folder: Path) -> None:
        missing = [n for n in ("munged", "slurmctld", "slurmd") if not shutil.which(n)]
        if missing or os.getuid() != 0:
            why = f"{', '.join(missing)} missing" if missing else "not root"
            raise RuntimeError(
                f"{why}: these tests need root, and apt-get install slurm-wlm munge"
            )
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "state").mkdir()
        self.configuration.write_text(
            CONFIGURATION.format(
                folder=folder, host=socket.gethostname(), ports=free_ports(3)
            )
        )
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        try:
            self.start(
                *("munged", "--foreground", "--force", f"--key-file={key}"),
                *(f"--{name}-file={folder}/munged.{name}" for name in ("pid", "seed")),
                f"--socket={folder}/munge.socket",
            )
            wait_until(lambda: (folder / "munge.socket").exists())
            self.start("slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
        except BaseException:
            self.stop()
            raise

    def start(self, *command: str, node: str = "") -> None:
        name = node or command[0]
        log = (self.folder / f"{name}.log").open("ab")
        environment = {"SLURM_CONF": str(self.configuration), "TEST_NODE": node}
        with log:
            self.daemons[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | environment
            )

    def start_node(self, node: str) -> None:
        """Start a node, and wait until jobs can run there."""
        self.start("slurmd", "-D", "-N", node, node=node)
        wait_until(lambda: self.ask("sinfo", "-h", "-n", node, "-o", "%t") == "idle")

    def kill_node(self, node: str) -> None:
        """What a power cut does: the daemon, its helpers and the jobs die at once."""
        self.kill(node)
        self.daemons.pop(node).wait()

    def kill(self, node: str) -> None:
        """Daemons of the node, which hand down TEST_NODE, and processes of jobs."""
        for process in self.processes():
            if node in (process.get("TEST_NODE"), process.get("SLURMD_NODENAME")):
                try:
                    os.kill(int(process["pid"]), 9)
                except ProcessLookupError:
                    continue

    def processes(self) -> list[dict[str, str]]:
        """Environments of all processes of this cluster, and their "pid"."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                entries = (folder / "environ").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            environment = dict(e.split("=", 1) for e in entries if "=" in e)
            if environment.get("SLURM_CONF") == str(self.configuration):
                found.append(environment | {"pid": folder.name})
        return found

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints; empty if it fails."""
        environment = os.environ | {"SLURM_CONF": str(self.configuration)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    def stop(self) -> None:
        """End all daemons and whatever they have started."""
        for node in NODES:
            self.kill(node)
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_until(holds: Callable[[], object], seconds: float = 120) -> None:
    """Look again and again; an AssertionError when the time is over."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"in vain for {seconds} seconds"
        time.sleep(0.05)
