# The first process of a host, or of the controller's place: makes the namespaces that it was started in a place of its
# own, says "ready", and waits until its standard input is closed. All that runs there ends with it.
#   place.sh NAME LAB SHARE [WORK [BUNDLE]]     LAB is seen there as SHARE; with WORK it is a host, which has BUNDLE there
set -eu
name=$1 lab=$2 share=$3 work=${4-} bundle=${5-}
mount --make-rprivate /
ip link set lo up
echo "$name" >/proc/sys/kernel/hostname

if [ -z "$work" ]; then
  mount -t tmpfs tmpfs "${share%/*}"
  mkdir "$share"
  mount --bind "$lab" "$share"
  mount -t proc proc /proc
  ip link add br0 type bridge
  ip addr add 10.77.0.1/24 dev br0
  ip link set br0 up
else
  # What is written there is kept in memory, and gone with the host.
  cd "$lab/$name"
  mount -t tmpfs tmpfs .
  cd "$lab/$name"
  mkdir up work root
  mount -t overlay overlay -o "lowerdir=/,upperdir=up,workdir=work" root
  cd root
  mount --rbind /dev dev
  mount -t proc proc proc
  for folder in tmp run root; do mount -t tmpfs -o mode=700 tmpfs $folder; done
  mkdir -p ".$share" run/sshd run/outside
  mount --bind "$lab" ".$share"
  cp "$lab/ssh/id.pub" run/authorized_keys
  cp "$lab/ssh/$name" run/host_key
  cp "$lab/ssh/sshd.conf" run/sshd.conf
  if [ -n "$bundle" ]; then
    # As setup_workers.sh would have left it.
    mkdir -p ".$work/versions/built"
    mount --bind "$bundle" ".$work/versions/built"
    ln -s versions/built ".$work/current"
    for program in worker merger query; do ln -s "current/bin/$program" ".$work/$program"; done
  fi
  pivot_root . run/outside
  cd /
  umount -l /run/outside
  /usr/sbin/sshd -f /run/sshd.conf
fi
echo ready
exec cat >/dev/null
