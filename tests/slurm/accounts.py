"""Accounting for the suite's Slurm: a MariaDB and a slurmdbd of its own."""

from __future__ import annotations

import getpass
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from cluster import START_SECONDS, Cluster, free_ports

PROGRAMS = ("mariadbd", "mariadb", "mariadb-install-db", "slurmdbd", "sacct", "sacctmgr")
HOW = "to get it on Debian: apt-get install mariadb-server slurmdbd slurm-wlm-mysql-plugin"
CONF = """
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
LogFile={home}/slurmdbd.log
PidFile={home}/slurmdbd.pid
"""


def missing() -> str:
    """What accounting lacks here and how to get it, or an empty string."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]
    return f"no accounting here ({', '.join(lacking)} not found); {HOW}" if lacking else ""


def start(cluster: Cluster) -> str:
    """Start both; what slurm.conf has to say about them."""
    home, password = cluster.home, secrets.token_hex(8)
    port, database = free_ports(2)
    _database(cluster, database, password)
    conf = home / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(CONF.format(home=home, port=port, database=database, password=password))
    accounting = (
        "AccountingStorageType=accounting_storage/slurmdbd\n"
        f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={port}\n"
        f"AccountingStoragePass={home}/munge/socket\n"  # with munge it is no password
        "AccountingStorageEnforce=limits"
    )
    # for sacctmgr alone; the cluster's own takes its place
    (home / "slurm.conf").write_text(f"ClusterName=suite\nSlurmctldHost=localhost\n{accounting}\n")
    cluster.start("slurmdbd", "slurmdbd", "-D")
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            cluster.run("sacctmgr", "--immediate", "add", "cluster", "suite")
            break
        except subprocess.CalledProcessError as error:
            if time.monotonic() > limit:
                said = (home / "slurmdbd.log").read_text() + error.stderr + error.stdout
                raise RuntimeError(f"slurmdbd did not start: {said}") from error
            time.sleep(0.5)
    cluster.run("sacctmgr", "--immediate", "add", "account", "people")
    cluster.run("sacctmgr", "--immediate", "add", "user", getpass.getuser(), "account=people")
    return accounting


def limit(cluster: Cluster, jobs: int) -> None:
    """Let this user have so many jobs in the queue; -1 for any number."""
    wish = f"MaxSubmitJobs={jobs}"
    cluster.run("sacctmgr", "--immediate", "modify", "user", getpass.getuser(), "set", wish)


def _database(cluster: Cluster, port: int, password: str) -> None:
    data, socket = cluster.home / "database", cluster.home / "database.socket"
    cluster.run(
        "mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
        "--auth-root-authentication-method=normal", "--skip-test-db", seconds=60,
    )  # fmt: skip  # one option after the other
    cluster.start(
        "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}",
        f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={cluster.home / 'database.pid'}",
        "--innodb-buffer-pool-size=64M",
    )  # fmt: skip
    orders = f"create user slurm@'127.0.0.1' identified by '{password}'; grant all on *.* to slurm@'127.0.0.1';"
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            cluster.run("mariadb", "--no-defaults", f"--socket={socket}", f"--execute={orders}")
            return
        except subprocess.CalledProcessError as error:
            if time.monotonic() > limit:
                said = (cluster.home / "mariadbd.out").read_text()
                raise RuntimeError(f"mariadbd did not start: {said}") from error
            time.sleep(0.5)
