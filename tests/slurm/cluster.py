"""A real Slurm of two nodes on this machine: munged, slurmctld and two slurmd as processes of the caller's own.

`python tests/slurm/cluster.py` starts one, prints the SLURM_CONF to export, and stops it on Ctrl-C.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
HOW = "to get it on Debian: apt-get install slurmctld slurmd slurm-client munge, and run as root"
NODES = ("n1", "n2")
START_SECONDS = 30.0
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"

CONF = """
ClusterName=suite
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={munge}/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
SlurmctldParameters=preempt_send_user_signal
ReturnToService=1
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
SlurmdTimeout=10
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{accounting}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 Gres=gpu:4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000 Gres=gpu:4
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE
PartitionName=warned Nodes=n1,n2 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30 MaxTime=INFINITE
PartitionName=cancelled Nodes=n1,n2 PriorityTier=1 PreemptMode=CANCEL MaxTime=INFINITE
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


def missing() -> str:
    """What a cluster lacks here and how to get it, or an empty string."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"no Slurm here ({', '.join(lacking)} not found); {HOW}"
    return "" if os.geteuid() == 0 else f"the suite's Slurm needs root; {HOW}"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class Cluster:
    """A running cluster; `environment` is what its commands need."""

    home: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *command: str, seconds: float = 20.0) -> str:
        """One Slurm command; its output."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=seconds, check=True
        )
        return done.stdout

    def start(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground, so that its process is ours."""
        with (self.home / f"{name}.out").open("ab") as out:
            environment = {**os.environ, **self.environment}
            self.daemons[name] = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def stop(self, name: str) -> None:
        """End one daemon that `start` has started."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def controller(self) -> None:
        """Start the controller."""
        self.start("slurmctld", "slurmctld", "-D")

    def node(self, name: str) -> None:
        """Start a node's daemon."""
        self.start(name, "slurmd", "-D", "-N", name)

    def wait_ready(self) -> None:
        """Wait until every node is idle.

        Raises:
            RuntimeError: they were not in time; with what the daemons said.
        """
        limit, states = time.monotonic() + START_SECONDS, ""
        while time.monotonic() < limit:
            with suppress(subprocess.SubprocessError):
                states = self.run("sinfo", "-h", "-N", "-p", "low", "-o", "%T", seconds=5)
                if states.split() == ["idle"] * len(NODES):
                    return
            time.sleep(0.2)
        said = "\n".join(log.read_text()[-2000:] for log in sorted(self.home.glob("*.log")))
        raise RuntimeError(f"the suite's Slurm did not start: nodes are {states.split()}\n{said}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _munge(cluster: Cluster, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    key = folder / "key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(1024))
    for path in (folder, key):
        shutil.chown(path, "munge", "munge")
    files = {name: f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")}
    cluster.start(
        "munged", "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups",
        "munged", "--foreground", f"--socket={folder / 'socket'}", *files.values(),
    )  # fmt: skip  # one option after the other
    limit = time.monotonic() + START_SECONDS
    while not (folder / "socket").exists():
        if time.monotonic() > limit:
            raise RuntimeError(f"munged did not start: {(cluster.home / 'munged.out').read_text()}")
        time.sleep(0.05)


def _configure(home: Path, accounting: str) -> None:
    ports = free_ports(3)
    text = CONF.format(host=socket.gethostname(), home=home, munge=home / "munge", ports=ports, accounting=accounting)
    (home / "slurm.conf").write_text(text)
    (home / "state").mkdir()
    for node in NODES:
        (home / f"spool-{node}").mkdir()
    for device in range(4):
        subprocess.run(["mknod", str(home / f"gpu{device}"), "c", "1", "3"], check=True)
    (home / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={home}/gpu[0-3]\n")


@contextmanager
def running(before: Callable[[Cluster], str] = lambda cluster: NO_ACCOUNTING) -> Iterator[Cluster]:
    """A cluster for the duration of a `with` block; its jobs and daemons are ended after it.

    Args:
        before: starts what has to run before the controller, and gives the lines of slurm.conf about accounting.
    """
    home = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, since a socket's path may have 107 characters
    home.chmod(0o755)  # munged runs as another user
    cluster = Cluster(home, {"SLURM_CONF": str(home / "slurm.conf"), "PATH": _path()})
    try:
        _munge(cluster, home / "munge")
        _configure(home, before(cluster))
        cluster.controller()
        for node in NODES:
            cluster.node(node)
        cluster.wait_ready()
        yield cluster
    finally:
        if "slurmctld" in cluster.daemons:
            with suppress(subprocess.SubprocessError):
                cluster.run("scancel", "--user=root")
                _wait_empty(cluster)
        for name in reversed(list(cluster.daemons)):
            cluster.stop(name)
        shutil.rmtree(home, ignore_errors=True)


def _wait_empty(cluster: Cluster) -> None:
    limit = time.monotonic() + 10
    while cluster.run("squeue", "-h") and time.monotonic() < limit:
        time.sleep(0.2)


if __name__ == "__main__":
    with running() as found:
        print(f"export SLURM_CONF={found.environment['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(60)
