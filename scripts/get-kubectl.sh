#!/bin/sh
# Prints the path of a kubectl: the one on PATH if there is one, else that of Debian's package
# kubernetes-client, which is fetched once, without root and without installing it, into .tools/.
set -eu
if command -v kubectl; then exit 0; fi

tools=$(cd "$(dirname "$0")/.." && pwd)/.tools
kubectl=$tools/usr/bin/kubectl
if [ ! -x "$kubectl" ]; then
  mkdir -p "$tools/apt/partial"
  cd "$tools"
  # apt's own state belongs to root; lists of our own make `apt-get update` work for anyone.
  options="-o Dir::State::Lists=$tools/apt -o Debug::NoLocking=true -o APT::Sandbox::User="
  # shellcheck disable=SC2086  # the options are words
  apt-get $options -qq update >&2
  # shellcheck disable=SC2086
  apt-get $options -qq download kubernetes-client >&2
  dpkg-deb -x kubernetes-client_*.deb .
  rm -rf apt kubernetes-client_*.deb
fi
echo "$kubectl"
