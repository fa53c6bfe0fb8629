#!/usr/bin/env bash
# A SLURM cluster on this machine, of this user: munged, slurmctld and two slurmd (nodes a and b) in one folder.
# cluster.sh start FOLDER | node FOLDER NAME (starts a node daemon again) | stop FOLDER
# Debian: apt-get install slurm-wlm munge. Use it with SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
folder=$2
export SLURM_CONF="$folder/slurm.conf"

configuration() {
    local host user
    host=$(hostname) user=$(id -un)
    cat <<CONF
ClusterName=zoo
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock,cred_expire=5
SlurmctldPort=$1
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
SlurmdTimeout=10
KillWait=3
NodeName=a NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 1)) CPUs=2
NodeName=b NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 2)) CPUs=2
PartitionName=gpu Nodes=a,b Default=YES MaxTime=INFINITE State=UP
CONF
}

ended() { # PIDFILE...: asks the processes to leave, waits a little, makes them
    local file pid
    for file in "$@"; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
}

case $1 in
start)
    mkdir -p "$folder/state"
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 600 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" >/dev/null 2>&1
    configuration $((20000 + RANDOM % 10000)) >"$folder/slurm.conf"
    slurmctld -c
    slurmd -N a
    slurmd -N b
    for _ in $(seq 100); do
        [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && exit 0
        sleep 0.2
    done
    echo "the two nodes are not idle after 20 s; see the logs in $folder" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
    ;;
node)
    slurmd -N "$3"
    ;;
stop)
    scancel --user "$(id -un)" 2>/dev/null || true
    sleep 1
    ended "$folder"/slurmd.*.pid "$folder/slurmctld.pid" "$folder/munged.pid"
    ;;
*)
    echo "cluster.sh start|node|stop FOLDER" >&2
    exit 2
    ;;
esac
