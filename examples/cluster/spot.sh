#!/bin/bash
# Train on spot instances of AWS or Google Cloud, which are taken away at short notice:
#
#     spot.sh RECIPE -o FOLDER [KEY=VALUE ...]
#
# FOLDER is on a disk that outlives the instance (EFS, FSx, Filestore or a network disk). Run it on every instance at its
# start, as by cloud-init or a systemd service with Restart=on-failure; RENDEZVOUS is HOST:PORT of one instance that stays,
# and NODES how many take part, such as 1:8. When the notice comes (two minutes before the end on AWS, 30 seconds on Google
# Cloud) the run is saved; the other instances go on from there, and new ones join them.
set -u
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # otherwise an instance that comes later is not told where the first one is

metadata=${METADATA:-http://169.254.169.254}
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)

taken_away() {
    local token
    token=$(curl --silent --fail --max-time 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
        "$metadata/latest/api/token") &&
        curl --silent --fail --max-time 2 -H "X-aws-ec2-metadata-token: $token" \
            "$metadata/latest/meta-data/spot/instance-action" >/dev/null && return
    [ "$(curl --silent --fail --max-time 2 -H 'Metadata-Flavor: Google' \
        "$metadata/computeMetadata/v1/instance/preempted")" = TRUE ]
}

torchrun --nnodes="${NODES:-1}" --nproc-per-node="$((gpus > 0 ? gpus : 1))" --max-restarts=1000 \
    --rdzv-backend=c10d --rdzv-endpoint="${RENDEZVOUS:-localhost:29400}" --rdzv-id=vitrail \
    -m vitrail train "$@" --resume=auto &
run=$!
trap 'kill -TERM $run' TERM INT # as when the instance shuts down

while kill -0 "$run" 2>/dev/null; do
    if taken_away; then
        echo "this instance is taken away: the run is saved"
        kill -TERM "$run"
        break
    fi
    sleep "${POLL_SECONDS:-5}"
done
wait "$run"
