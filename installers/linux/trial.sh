#!/bin/sh
# Inside of a fresh Debian: installs the packages in /packages, starts what they hold, removes them, and compares the
# disk with what it was. `cargo xtask bundle --test` starts it there, by itself in a root and with processes of its own.
#
# What the packages say that they need is installed first, and by that alone: `dpkg` then takes them or names what lacks.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

say() { printf '    %s\n' "$*"; }
die() { printf 'trial: %s\n' "$*" >&2; exit 1; }

files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /packages \
        -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/log -o -path /var/cache \) -prune -o -print | sort
}

# Everything that the package needs from elsewhere.
needs() { dpkg-deb --field "$1" Depends | sed 's/sublet (= [^)]*), //'; }

as_lender() { su lender --shell /bin/sh --command "$1"; }

# Until the command succeeds; a minute on a slow machine is long enough for anything here.
wait_for() {
    for _ in $(seq 120); do
        if "$@" >/tmp/said 2>&1; then return 0; fi
        sleep 0.5
    done
    cat /tmp/said >&2
    die "a minute has passed without: $*"
}

answers() { as_lender 'sublet status'; }
is_gone() { ! as_lender 'sublet status'; }

# What is on the disk now and was not before, but for the lender's own data.
nothing_left() {
    files >/tmp/after
    grep -v '^/home/lender' /tmp/after >/tmp/after.rest
    if ! diff /tmp/before /tmp/after.rest >/tmp/left; then
        cat /tmp/left >&2
        die "$1 has left this behind"
    fi
    say "$1 is purged: $(wc -l </tmp/before) files and folders as before; left with the user: $(du -sh /home/lender/.local/share/sublet | cut -f1) of data"
}

snapshot() { files | grep -v '^/home/lender' >/tmp/before; }

apt-get update -qq
apt-get satisfy -qq --yes --no-install-recommends "$(needs /packages/sublet.deb)" procps >/dev/null
useradd --create-home lender

# --- the command line and the host without a screen
snapshot
dpkg --install /packages/sublet.deb >/dev/null
dpkg --verify sublet
say "$(sublet --version) is installed"
[ "$(zcat /usr/share/man/man1/sublet-host.1.gz | head -c 15)" = '.TH SUBLET-HOST' ] || die 'there is no manual'
bash -n /usr/share/bash-completion/completions/sublet

code=0
as_lender 'sublet doctor' >/tmp/doctor 2>&1 || code=$?
[ "$code" -le 1 ] || { cat /tmp/doctor >&2; die "sublet doctor ends with $code"; }
grep -q crun /tmp/doctor || { cat /tmp/doctor >&2; die 'sublet doctor does not see crun'; }
say "sublet doctor ends with $code: $(grep -c . /tmp/doctor) lines"

as_lender 'exec sublet host' >/tmp/host 2>&1 &
wait_for answers
say "sublet host answers: $(head -n 1 /tmp/said)"
sleep 3
answers >/dev/null || die 'sublet host has ended by itself'
pkill --signal INT --exact --uid lender sublet
wait_for is_gone
dpkg --purge sublet >/dev/null 2>&1
nothing_left sublet

# --- where AppArmor forbids user namespaces, and so on Ubuntu: the profile comes and goes with the package
mkdir -p /etc/apparmor.d/abi && touch /etc/apparmor.d/abi/4.0
dpkg --install /packages/sublet.deb >/dev/null
cmp -s /usr/share/sublet/apparmor-sublet /etc/apparmor.d/sublet || die 'the AppArmor profile is not in its place'
dpkg --purge sublet >/dev/null 2>&1
[ ! -e /etc/apparmor.d/sublet ] || die 'the AppArmor profile is left behind'
rm -r /etc/apparmor.d/abi && rmdir --ignore-fail-on-non-empty /etc/apparmor.d
say 'the AppArmor profile comes and goes with the package'

# --- the window
apt-get satisfy -qq --yes --no-install-recommends "$(needs /packages/sublet-desktop.deb)" xvfb xauth dbus \
    desktop-file-utils >/dev/null
snapshot
dpkg --install /packages/sublet.deb /packages/sublet-desktop.deb >/dev/null
dpkg --verify sublet sublet-desktop
grep -q '^x-scheme-handler/sublet=org.sublet.desktop.desktop;' /usr/share/applications/mimeinfo.cache ||
    die 'nothing opens sublet:// links'
as_lender 'exec dbus-run-session -- xvfb-run --auto-servernum sublet-desktop' >/tmp/window 2>&1 &
window=$!
wait_for answers
say "sublet-desktop answers: $(head -n 1 /tmp/said)"
sleep 3
kill -0 "$window" || { cat /tmp/window >&2; die 'sublet-desktop has ended by itself'; }
pkill --signal TERM --full --uid lender '^sublet-desktop' || true
wait_for is_gone
pkill --uid lender || true
dpkg --purge sublet-desktop sublet >/dev/null 2>&1
nothing_left sublet-desktop
