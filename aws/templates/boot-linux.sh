# What a Linux instance does when it boots, as root. The lines before these, which aws/render.py writes, set the
# variables in capitals from parameters with patterns.
set -euo pipefail
umask 022
exec > >(tee -a /var/log/spotbed-boot.log) 2>&1

install_packages() { command -v dnf >/dev/null && dnf install --quiet --assumeyes "$@"; }

python3 -c 'import boto3' 2>/dev/null || install_packages python3-boto3
id spotbed-job >/dev/null 2>&1 || useradd --system --create-home --shell /sbin/nologin spotbed-job

# Commands of jobs are code of others: unless the team wants it, their user does not reach the instance's role, after a
# reboot neither: without the rule the agent does not start, and no job comes.
if [ "$JOB_CREDENTIALS" = none ]; then
  command -v iptables >/dev/null || install_packages iptables-nft
  cat > /etc/systemd/system/spotbed-credentials.service <<UNIT
[Unit]
Description=Keep the user of spotbed's jobs from the credentials of the instance
Before=amazon-ssm-agent.service
[Service]
Type=oneshot
ExecStart=$(command -v iptables) -I OUTPUT -d 169.254.169.254 -m owner --uid-owner spotbed-job -j REJECT
[Install]
WantedBy=multi-user.target
RequiredBy=amazon-ssm-agent.service
UNIT
  systemctl enable --quiet spotbed-credentials
  systemctl start spotbed-credentials
fi

work_root=$WORK_DIRECTORY
if [ -n "$INSTANCE_STORE" ]; then
  mapfile -t disks < <(readlink -f /dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_* 2>/dev/null | grep 'n1$' | sort -u)
  disk=${disks[0]:-}
  if [ "${#disks[@]}" -gt 1 ]; then
    command -v mdadm >/dev/null || install_packages mdadm
    disk=/dev/md0
    mdadm --create "$disk" --run --level=0 --raid-devices="${#disks[@]}" "${disks[@]}"
  fi
  if [ -n "$disk" ]; then
    mkfs.xfs -f -q "$disk"
    mkdir -p "$INSTANCE_STORE"
    mount "$disk" "$INSTANCE_STORE"
    work_root=$INSTANCE_STORE/spotbed
  fi
fi
mkdir -p "$work_root" /opt/spotbed
chmod 0711 "$work_root" # a job's user goes through it, and lists nobody else's
install -d -m 0700 /etc/spotbed

mount_shared() { # kind, id, directory, share
  mkdir -p "$3"
  case $1 in
    efs)
      command -v mount.efs >/dev/null || install_packages amazon-efs-utils
      mount -t efs -o tls "$2:/" "$3"
      ;;
    fsx-lustre)
      command -v mount.lustre >/dev/null || install_packages lustre-client
      mount -t lustre -o relatime,flock "$2.fsx.$REGION.amazonaws.com@tcp:/$4" "$3"
      ;;
    fsx-openzfs) mount -t nfs -o nfsvers=4.2 "$2.fsx.$REGION.amazonaws.com:$4" "$3" ;;
    *) echo "$1 cannot be mounted on Linux" >&2 && return 1 ;;
  esac
}
while IFS=' ' read -r -d ';' kind id directory share; do
  mount_shared "$kind" "$id" "$directory" "$share"
done <<<"$MOUNTS"

aws s3 cp --only-show-errors --region "$REGION" "s3://$CODE_BUCKET/$WRAPPER_KEY" /opt/spotbed/wrapper.py
cat > /etc/spotbed/config.json <<CONFIG
{"jobs_table": "$SCHEDULER-jobs", "region": "$REGION", "bucket": "$BUCKET", "prefix": "spotbed/", "lease_ms": $LEASE_MS,
 "deliver_function": "$SCHEDULER-deliver:live", "work_root": "$work_root", "run_as": "spotbed-job"}
CONFIG
chmod 0600 /etc/spotbed/config.json

if [ -s /opt/spotbed/boot ]; then /opt/spotbed/boot; fi

# A command that is sent before the agent has registered is refused. The worker waits for us, and for no longer than a
# boot may take; Deliver answers with an error until the worker's record is there.
until ssm-cli get-instance-information >/dev/null 2>&1; do sleep 1; done
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' http://169.254.169.254/latest/api/token)
instance=$(curl -sf -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/instance-id)
for pause_s in 1 2 4 8 16 32 60 60; do
  ready="{\"worker\": \"$instance\", \"id\": \"$instance/ready\", \"event\": {\"v\": 1, \"is\": \"Ready\", \"at_ms\": $(date +%s%3N)}}"
  answer=$(aws lambda invoke --region "$REGION" --function-name "$SCHEDULER-deliver:live" --cli-binary-format raw-in-base64-out \
    --payload "$ready" --query FunctionError --output text /dev/null || echo failed)
  if [ "$answer" = None ]; then exit 0; fi
  sleep "$pause_s"
done
echo 'Deliver has not taken the worker' >&2
exit 1
