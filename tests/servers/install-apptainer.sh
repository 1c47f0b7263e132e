#!/bin/sh
# Installs Apptainer into /opt/apptainer, with a link in /usr/local/bin; both can be removed at any time. Needs root.
#
# Debian has the package in its unstable suite only, where it wants a newer C library. Both are taken from there, by
# the mirror that this machine uses, and kept apart from the system: its own programs see neither.
set -eu
to=/opt/apptainer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

suite=$(grep -rhE '^(URIs:|deb) ' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
    grep -oE -m1 '[a-z]+://[^ ]*/debian/?( |$)' | head -n1) || true
[ "$suite" ] || { echo "no Debian mirror among this machine's package sources" >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $suite sid main" >sources
mkdir -p lists cache/archives/partial root
apart() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
apart update
apart download apptainer libc6
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends patchelf squashfs-tools squashfuse fuse2fs \
    fuse-overlayfs uidmap fakeroot libseccomp2 libsqlite3-0 >/dev/null

rm -rf "$to"
mkdir -p "$to/var/lib/apptainer/mnt/session" "$to/libc"
for package in *.deb; do dpkg-deb -x "$package" root; done
rm -rf root/usr/lib/*/gconv
cp -a root/usr/bin root/usr/lib root/etc "$to"
mv "$to"/lib/*/*.so* "$to/libc"
ln -s ../etc ../var "$to/lib"  # its starter, two folders down, looks for them there
for program in "$to/bin/apptainer" "$to"/lib/*/apptainer/bin/starter; do
    patchelf --set-interpreter "$(echo "$to"/libc/ld-linux*)" --set-rpath "$to/libc" "$program"
done
# Root in a container may lack some of the "full" capabilities, and there may be no systemd to ask for cgroups.
sed -i 's/^root default capabilities = .*/root default capabilities = file/; s/^systemd cgroups = .*/systemd cgroups = no/' \
    "$to/etc/apptainer/apptainer.conf"
[ ! -e /dev/fuse ] || chmod 666 /dev/fuse
ln -sf "$to/bin/apptainer" /usr/local/bin/apptainer
apptainer --version
